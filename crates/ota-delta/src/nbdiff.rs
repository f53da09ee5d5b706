//! AliOS nbdiff: sections of bsdiff data in three .xz streams, one per slice.
//!
//! A patch is sections back to back, section `k` rebuilding slice `k` of the new image
//! against `new[..k*S] ++ old[k*S..]`, so that it can be applied in place. A section is
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `BSDIFF40` |
//! | 8, 16, 24 | 8 each | lengths of the control, difference and extra streams |
//! | 32 | 8 | bytes it produces: the slice size, less only in the last section |
//! | 40 | 8 | CRC-16/XMODEM of those bytes |
//! | 48 | | the three streams: .xz, LZMA2, dictionary at most 16 KiB, CRC-32 or none |
//!
//! Numbers are sign and magnitude, little endian. Control entries are triples (x, y, z):
//! add x difference bytes to x old bytes, append y extra bytes, move z in the old image.

mod decode;
#[cfg(feature = "encode")]
mod encode;

pub use decode::{SliceDecoder, SliceInfo, Workspace, scan};
#[cfg(feature = "encode")]
pub use encode::{EncodeError, Options, encode};

use crate::xz::XzError;
use ota_verify::ReadError;

/// First bytes of a patch, and of each of its sections.
pub const MAGIC: [u8; 8] = *b"BSDIFF40";
/// Bytes of a section header.
pub const HEADER_LEN: usize = 48;
/// Slice size of AliOS boards (`SPLICT_SIZE`), 64 KiB; ESP8266 has 16 KiB.
pub const SLICE: u32 = 0x1_0000;
/// Largest dictionary of a section's streams.
pub const DICT: usize = 16 * 1024;

/// Largest length in a header.
const LENGTH_MAX: u32 = 1 << 30;

/// The three streams of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Control triples.
    Control,
    /// Bytes added to old bytes.
    Diff,
    /// New bytes.
    Extra,
}

/// Why a patch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A section does not begin with `BSDIFF40`.
    Magic,
    /// A number in a header is negative or above 1 GiB.
    Length,
    /// A section produces nothing, more than a slice, or less though it is not the last.
    SliceLength,
    /// The CRC-16 field is negative.
    CrcField,
    /// The patch ends inside a section.
    Truncated,
    /// A control triple is negative or reaches past the slice or the old image.
    Control,
    /// A stream is broken.
    Xz(Stream, XzError),
    /// A stream holds more than the section uses.
    Surplus(Stream),
    /// The CRC-16 of the produced bytes is wrong: broken patch or wrong old image.
    Crc,
    /// Reading the patch failed.
    PatchIo,
    /// Reading the old image failed.
    OldIo,
}

impl From<ReadError> for Error {
    fn from(_: ReadError) -> Self {
        Error::PatchIo
    }
}

/// A section's header, checked for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionHeader {
    /// Bytes of the control stream.
    pub control_len: u32,
    /// Bytes of the difference stream.
    pub diff_len: u32,
    /// Bytes of the extra stream; may be 0 when there is none.
    pub extra_len: u32,
    /// Bytes the section produces.
    pub new_len: u32,
    /// CRC-16/XMODEM of the produced bytes.
    pub crc: u16,
}

/// Sign-and-magnitude, 8 bytes little endian; `None` outside of 31 bits.
pub(crate) fn number(bytes: &[u8; 8]) -> Option<i32> {
    let [a, b, c, d, e, f, g, h] = *bytes;
    let low = u32::from_le_bytes([a, b, c, d]);
    if low > i32::MAX as u32 || e | f | g | (h & 0x7F) != 0 {
        return None;
    }
    Some(if h & 0x80 != 0 {
        -(low as i32)
    } else {
        low as i32
    })
}

impl SectionHeader {
    /// Of no section: all zeros.
    const NONE: Self = SectionHeader {
        control_len: 0,
        diff_len: 0,
        extra_len: 0,
        new_len: 0,
        crc: 0,
    };

    /// Reads a header; `slice` is the slice size.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::Length`], [`Error::SliceLength`], [`Error::CrcField`].
    pub fn parse(bytes: &[u8; HEADER_LEN], slice: u32) -> Result<Self, Error> {
        let mut v = [0u32; 4];
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter();
        if words.next() != Some(&MAGIC) {
            return Err(Error::Magic);
        }
        for (slot, w) in v.iter_mut().zip(&mut words) {
            match number(w).map(u32::try_from) {
                Some(Ok(n)) if n <= LENGTH_MAX => *slot = n,
                _ => return Err(Error::Length),
            }
        }
        let [control_len, diff_len, extra_len, new_len] = v;
        if new_len == 0 || new_len > slice {
            return Err(Error::SliceLength);
        }
        // Only the low 16 bits count, as for the original; the sign must be clear.
        let crc = match words.next() {
            Some([a, b, .., h]) if h & 0x80 == 0 => u16::from_le_bytes([*a, *b]),
            _ => return Err(Error::CrcField),
        };
        Ok(SectionHeader {
            control_len,
            diff_len,
            extra_len,
            new_len,
            crc,
        })
    }

    /// Bytes of the section, header included.
    pub fn section_len(&self) -> u32 {
        // No length is above `LENGTH_MAX`.
        HEADER_LEN as u32 + self.control_len + self.diff_len + self.extra_len
    }
}
