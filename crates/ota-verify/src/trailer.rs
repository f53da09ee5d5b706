//! The 28 bytes at the end of every AliOS image.

use crate::bytes::{get, u32_at};

/// Length of a [`Trailer`] in bytes.
pub const TRAILER_LEN: u32 = 28;

/// What an image is for, as its trailer's magic says. Loaders accept all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// `0xEFEFEFEF`: an application; what the AliOS build writes.
    App,
    /// `0xCDCDCDCD`: the kernel of a split build.
    Kernel,
    /// `0xABABABAB`: kernel and application in one.
    Single,
}

impl ImageKind {
    /// The four equal bytes of the magic.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::App => 0xEF,
            Self::Kernel => 0xCD,
            Self::Single => 0xAB,
        }
    }

    /// `app`, `kernel` or `single`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Kernel => "kernel",
            Self::Single => "single",
        }
    }

    pub(crate) const fn from_magic(magic: u32) -> Option<Self> {
        match magic {
            0xEFEF_EFEF => Some(Self::App),
            0xCDCD_CDCD => Some(Self::Kernel),
            0xABAB_ABAB => Some(Self::Single),
            _ => None,
        }
    }
}

/// Image trailer ("image identity"): magic, size, MD5, two reserved bytes and a
/// CRC field that no AliOS version fills or checks. All numbers little-endian.
///
/// ```
/// use ota_verify::{ImageKind, Trailer, md5};
/// let t = Trailer { kind: ImageKind::App, size: 16, md5: md5(b"hello AliOS OTA\n") };
/// let bytes = t.to_bytes();
/// assert_eq!(bytes[..8], [0xEF, 0xEF, 0xEF, 0xEF, 16, 0, 0, 0]);
/// assert_eq!(Trailer::parse(&bytes), Ok(t));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// From the magic.
    pub kind: ImageKind,
    /// Bytes in front of the trailer (a signed image block included).
    pub size: u32,
    /// MD5 of those bytes.
    pub md5: [u8; 16],
}

/// Why 28 bytes are not a trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrailerError {
    /// Fewer than 28 bytes.
    Short,
    /// The first four bytes (given little-endian) are none of the three magics.
    Magic(u32),
}

impl Trailer {
    /// Reads the first 28 bytes of `bytes`. Reserved bytes and the CRC field
    /// are not looked at: no writer of trailers agrees on them.
    ///
    /// # Errors
    /// [`TrailerError`] says what is missing or wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrailerError> {
        let bytes = bytes.first_chunk::<{ TRAILER_LEN as usize }>();
        let bytes = bytes.ok_or(TrailerError::Short)?;
        let kind = Self::check(u32_at(bytes, 0))?;
        let md5 = get(bytes, 8).ok_or(TrailerError::Short)?;
        Ok(Self {
            kind,
            size: u32_at(bytes, 4),
            md5,
        })
    }

    /// Whether a trailer begins with this word, and of what.
    #[inline(always)]
    pub(crate) const fn check(magic: u32) -> Result<ImageKind, TrailerError> {
        match ImageKind::from_magic(magic) {
            Some(kind) => Ok(kind),
            None => Err(TrailerError::Magic(magic)),
        }
    }

    /// The 28 bytes as the AliOS build writes them (reserved and CRC all ones).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TRAILER_LEN as usize] {
        let mut out = [0xFF; TRAILER_LEN as usize];
        out[..4].fill(self.kind.byte());
        out[4..8].copy_from_slice(&self.size.to_le_bytes());
        out[8..24].copy_from_slice(&self.md5);
        out
    }
}
