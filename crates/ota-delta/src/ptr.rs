//! The pointer-aware patch format, `docs/delta-format.md`.
//!
//! A patch is applied while it arrives: bytes are pushed in pieces of any size into a
//! [`Decoder`], which reads the old image and writes the new one through a [`Target`].

mod decode;
#[cfg(feature = "encode")]
mod encode;
mod engine;
mod fast;
mod header;
pub mod in_place;
mod lines;
mod lz;
mod map;
#[cfg(feature = "encode")]
mod memory;
mod model;
mod predict;
mod state;
mod through;
mod view;
#[cfg(feature = "encode")]
pub use encode::{EncodeError, INSTRUCTIONS, Options, encode};
#[cfg(feature = "encode")]
pub use memory::{Memory, digest};

pub use decode::Decoder;
pub use header::{Arch, HEADER_LEN, Header, LineCoding, MAGIC};

use crate::io::IoError;

/// Output comes in slices of 64 KiB; all coder state starts afresh in each.
pub const SLICE: u32 = 0x1_0000;
/// From this on the bits of a slice's length say how literals are coded.
const LITERALS: u32 = 1 << 22;
/// [`Target::write_new`] gets whole blocks of this many bytes, aligned to it, but for
/// the image's last one: a multiple of every flash program unit.
pub const BLOCK: usize = 512;

/// Where the old image is and the new one goes.
pub trait Target {
    /// Called once, before anything is written: refuse unless the image at hand has
    /// `old_len` bytes (or more) and their SHA-256 begins with `old_digest`, and there
    /// is room for `new_len` bytes.
    ///
    /// # Errors
    /// [`IoError`] refuses the patch.
    fn begin(&mut self, header: &Header) -> Result<(), IoError>;
    /// Fills `buf` from the old image.
    ///
    /// # Errors
    /// [`IoError`] gives the patch up.
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError>;
    /// Fills `buf` from what has been written of the new image.
    ///
    /// # Errors
    /// [`IoError`] gives the patch up.
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError>;
    /// Writes the next bytes of the new image: `offset` is where the last call ended.
    ///
    /// # Errors
    /// [`IoError`] gives the patch up.
    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError>;
    /// Slice `index` is complete and its CRC-32 right: [`Decoder::resume`] may start
    /// behind it.
    ///
    /// # Errors
    /// [`IoError`] gives the patch up.
    fn slice_done(&mut self, index: u32) -> Result<(), IoError> {
        let _ = index;
        Ok(())
    }
}

/// Why a patch was refused or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The magic bytes are missing: this is no ptr patch.
    Magic,
    /// A format version or arch this decoder does not know.
    Unsupported,
    /// The header contradicts itself or its CRC-32 is wrong.
    Header,
    /// [`Target::begin`] refused: another old image, or no room.
    Refused,
    /// The address map is broken.
    Map,
    /// A slice's header is impossible.
    SliceHeader,
    /// A copy or match reaches past its slice or outside of its source.
    Range,
    /// A slice's CRC-32 is wrong: broken patch or wrong old image.
    Crc,
    /// Bytes follow the last slice.
    Trailing,
    /// The patch ended before the image was complete.
    Truncated,
    /// The old image could not be read.
    OldIo,
    /// The new image could not be read back or written.
    NewIo,
}
