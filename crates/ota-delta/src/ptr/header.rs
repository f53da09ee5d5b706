//! The patch header.

use super::Error;
use ota_verify::crc32;

/// First bytes of every patch.
pub const MAGIC: [u8; 4] = [0xD7, b'p', b't', b'r'];
/// Bytes of the fixed part of the header.
pub const HEADER_LEN: usize = 56;
/// Bytes of the header of a patch between line-coded images.
pub(crate) const HEADER_LEN_CODED: usize = HEADER_LEN + 16;
const VERSION: u8 = 3;

/// Which instructions the prediction understands. A wrong one costs size, never
/// correctness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Arch {
    /// No code known: words that point into the image only.
    None = 0,
    /// Thumb and Thumb-2.
    Thumb = 1,
    /// 32-bit ARM.
    Arm = 2,
    /// 64-bit ARM.
    A64 = 3,
    /// Xtensa (calls only).
    Xtensa = 4,
}

impl Arch {
    fn from_byte(b: u8) -> Option<Self> {
        use Arch::{A64, Arm, None, Thumb, Xtensa};
        [None, Thumb, Arm, A64, Xtensa]
            .into_iter()
            .find(|a| *a as u8 == b)
    }
}

/// Where an image is coded in lines of 32 bytes and their CRC-16 (BK7231). Inside of
/// that range the patch works on the bytes the processor sees; all else is verbatim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCoding {
    /// First coded byte of the old image and number of its 34-byte lines.
    pub old: (u32, u32),
    /// The same of the new image.
    pub new: (u32, u32),
}

/// What a patch is for. See `docs/delta-format.md`, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Instruction set the prediction assumes.
    pub arch: Arch,
    /// 0: the old image must stay whole while the patch is applied. n: the patch may be
    /// applied in place as long as the last n finished slices are kept aside.
    pub lag: u8,
    /// Bytes of the old image.
    pub old_len: u32,
    /// Bytes of the new image.
    pub new_len: u32,
    /// First half of the old image's SHA-256.
    pub old_digest: [u8; 16],
    /// First half of the new image's SHA-256.
    pub new_digest: [u8; 16],
    /// Address at which the image's first (decoded) byte is seen by the processor.
    pub base: u32,
    /// Present when an image holds 34/32-coded lines; the other may have none.
    pub lines: Option<LineCoding>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let w = bytes.get(at..).and_then(|b| b.first_chunk::<4>());
    w.map_or(0, |w| u32::from_le_bytes(*w))
}

fn half(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes
        .get(at..)
        .and_then(|b| b.first_chunk::<16>())
        .copied()
        .unwrap_or_default()
}

impl Header {
    /// Bytes of this header.
    pub fn encoded_len(&self) -> usize {
        if self.lines.is_some() {
            HEADER_LEN_CODED
        } else {
            HEADER_LEN
        }
    }

    /// Length of the header that begins with `first` (at least 8 bytes).
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::Unsupported`].
    pub fn len_from(first: &[u8; 8]) -> Result<usize, Error> {
        let [a, b, c, d, version, flags, ..] = *first;
        if [a, b, c, d] != MAGIC {
            return Err(Error::Magic);
        }
        if version != VERSION || flags & !0x1F != 0 {
            return Err(Error::Unsupported);
        }
        Ok(if flags & 0x10 != 0 {
            HEADER_LEN_CODED
        } else {
            HEADER_LEN
        })
    }

    /// Reads a header; `bytes` holds exactly its [`len_from`](Self::len_from) bytes or more.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::Unsupported`], [`Error::Truncated`], [`Error::Header`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let first = bytes.first_chunk::<8>().ok_or(Error::Truncated)?;
        let len = Self::len_from(first)?;
        let bytes = bytes.get(..len).ok_or(Error::Truncated)?;
        let body = len - 4;
        if word(bytes, body) != crc32(bytes.get(..body).unwrap_or(&[])) {
            return Err(Error::Header);
        }
        let [.., flags, lag, reserved] = *first;
        if reserved != 0 {
            return Err(Error::Unsupported);
        }
        let lines = (flags & 0x10 != 0).then(|| LineCoding {
            old: (word(bytes, 52), word(bytes, 56)),
            new: (word(bytes, 60), word(bytes, 64)),
        });
        let header = Header {
            arch: Arch::from_byte(flags & 0xF).ok_or(Error::Unsupported)?,
            lag,
            old_len: word(bytes, 8),
            new_len: word(bytes, 12),
            old_digest: half(bytes, 16),
            new_digest: half(bytes, 32),
            base: word(bytes, 48),
            lines,
        };
        // 128 MiB: far beyond any such device, and no sum of two offsets overflows.
        let fits = |(start, lines): (u32, u32), len: u32| {
            lines
                .checked_mul(34)
                .and_then(|n| n.checked_add(start))
                .is_some_and(|end| end <= len)
        };
        let sane = header.old_len < 1 << 27
            && header.new_len < 1 << 27
            && lines.is_none_or(|l| fits(l.old, header.old_len) && fits(l.new, header.new_len));
        if sane { Ok(header) } else { Err(Error::Header) }
    }

    /// Writes the header; returns how many bytes it has.
    pub fn write(&self, out: &mut [u8; HEADER_LEN_CODED]) -> usize {
        let len = self.encoded_len();
        let mut put = |at: usize, data: &[u8]| {
            for (to, from) in out.iter_mut().skip(at).zip(data) {
                *to = *from;
            }
        };
        put(0, &MAGIC);
        let coded = if self.lines.is_some() { 0x10 } else { 0 };
        put(4, &[VERSION, self.arch as u8 | coded, self.lag, 0]);
        put(8, &self.old_len.to_le_bytes());
        put(12, &self.new_len.to_le_bytes());
        put(16, &self.old_digest);
        put(32, &self.new_digest);
        put(48, &self.base.to_le_bytes());
        if let Some(l) = self.lines {
            for (i, v) in [l.old.0, l.old.1, l.new.0, l.new.1].into_iter().enumerate() {
                put(52 + 4 * i, &v.to_le_bytes());
            }
        }
        let crc = crc32(out.get(..len - 4).unwrap_or(&[]));
        for (to, from) in out.iter_mut().skip(len - 4).zip(crc.to_le_bytes()) {
            *to = from;
        }
        len
    }
}
