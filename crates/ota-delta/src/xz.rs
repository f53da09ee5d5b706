//! .xz streams: one stream, LZMA2 only, check CRC-32 or none. Format: "The .xz File
//! Format" 1.1. Headers, block sizes, index and footer are all checked.

use crate::lzma2::Lzma2;
use ota_verify::{Crc32, crc32};

/// First bytes of every .xz stream.
pub const MAGIC: [u8; 6] = [0xFD, b'7', b'z', b'X', b'Z', 0];

/// Why a .xz stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XzError {
    /// The magic bytes are missing: this is no .xz stream.
    Magic,
    /// Headers, padding, index or footer contradict the format or each other.
    Format,
    /// A header's or the index's own CRC-32 is wrong.
    HeaderCrc,
    /// Filters, check type, lc/lp/pb or block flags this decoder does not take.
    Options,
    /// The stream asks for a dictionary larger than the caller's.
    Dictionary,
    /// The LZMA2 data is broken.
    Data,
    /// The data's CRC-32 is wrong.
    Check,
    /// Bytes follow the end of the stream.
    Trailing,
    /// The input ended before the stream did.
    Truncated,
}

/// The part of the stream that comes next. Each is taken at once, when all of it is in
/// sight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    StreamHeader,
    BlockHeader,
    Data,
    /// Padding and check.
    BlockEnd,
    /// One number of the index.
    Index,
    /// Padding and CRC of the index, footer.
    Footer,
    Done,
}

/// Longest block header taken: size, flags, both sizes, LZMA2 filter, padding, CRC.
const HEADER_MAX: usize = 32;

/// One .xz stream with its dictionary of `DICT` bytes, a power of two. All zeros to
/// begin with; `restart` before use.
pub(crate) struct Xz<const DICT: usize> {
    lzma: Lzma2<DICT>,
    stage: Stage,
    check: bool,
    /// Input taken so far outside of LZMA2 data, and in it.
    taken: u32,
    /// Where the present block or the index begins.
    start: u32,
    produced: u32,
    /// Of the data; then of the index.
    crc: Crc32,
    /// Blocks decoded; then numbers left in the index.
    blocks: u32,
    numbers: u32,
    /// Sizes of the blocks, as found and as the index says.
    found: u32,
    listed: u32,
}

/// Folds `value` into a running sum of sizes, in order.
fn fold(sum: u32, value: u32) -> u32 {
    (sum ^ value).wrapping_mul(0x0100_0193)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

fn crc_holds(bytes: &[u8], crc: &[u8]) -> Result<(), XzError> {
    if crc32(bytes) == word(crc) {
        Ok(())
    } else {
        Err(XzError::HeaderCrc)
    }
}

impl<const DICT: usize> Xz<DICT> {
    pub(crate) const fn new() -> Self {
        Xz {
            lzma: Lzma2::new(),
            stage: Stage::StreamHeader,
            check: false,
            taken: 0,
            start: 0,
            produced: 0,
            crc: Crc32::new(),
            blocks: 0,
            numbers: 0,
            found: 0,
            listed: 0,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.lzma.clear();
        self.stage = Stage::StreamHeader;
        self.taken = 0;
        self.blocks = 0;
        self.found = 0;
        self.listed = 0;
    }

    pub(crate) fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// How much of what was added is still there.
    pub(crate) fn in_sight(&self) -> usize {
        self.lzma.seen().len()
    }

    /// No part of a stream is longer, nor a symbol.
    pub(crate) const ENOUGH: usize = HEADER_MAX;

    /// Room for more input; [`added`](Self::added) says how much came.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.lzma.space()
    }

    pub(crate) fn added(&mut self, n: u32) {
        self.lzma.added(n);
    }

    /// Fills `out` as far as the input in sight goes; returns how far. What is not
    /// taken needs more input behind it, or more room in `out`.
    pub(crate) fn decode(&mut self, out: &mut [u8]) -> Result<usize, XzError> {
        let mut made = 0;
        loop {
            if self.stage == Stage::Data {
                let room = out.get_mut(made..).unwrap_or(&mut []);
                let before = self.lzma.seen().len() as u32;
                let n = self.lzma.decode(room)?;
                self.taken = self
                    .taken
                    .wrapping_add(before - self.lzma.seen().len() as u32);
                self.produced = self.produced.wrapping_add(n as u32);
                if self.check {
                    self.crc.update(room.get(..n).unwrap_or(&[]));
                }
                made += n;
                if self.lzma.ended() {
                    self.stage = Stage::BlockEnd;
                } else if n == 0 {
                    break;
                }
            } else {
                let stage = self.stage;
                let n = self.part()? as u32;
                if n == 0 && stage == self.stage {
                    break;
                }
                self.lzma.drop_seen(n);
                self.taken = self.taken.wrapping_add(n);
            }
        }
        Ok(made)
    }

    /// Looks at the part that comes next and goes on to the one after it; how long it
    /// is. When not all of it is in sight, nothing changes.
    fn part(&mut self) -> Result<usize, XzError> {
        let seen = self.lzma.seen();
        let pad = (self.taken.wrapping_neg() & 3) as usize;
        match self.stage {
            Stage::StreamHeader => {
                let Some(head) = seen.first_chunk::<12>() else {
                    return Ok(0);
                };
                if head[..6] != MAGIC {
                    return Err(XzError::Magic);
                }
                crc_holds(&head[6..8], &head[8..])?;
                if head[6] != 0 || head[7] > 1 {
                    return Err(XzError::Options);
                }
                self.check = head[7] != 0;
                self.stage = Stage::BlockHeader;
                Ok(12)
            }
            Stage::BlockHeader => {
                let Some(&size) = seen.first() else {
                    return Ok(0);
                };
                self.start = self.taken;
                self.crc = Crc32::new();
                if size == 0 {
                    self.crc.byte(0);
                    self.numbers = self.blocks.wrapping_mul(2).wrapping_add(1);
                    self.stage = Stage::Index;
                    return Ok(1);
                }
                let len = usize::from(size) * 4 + 4;
                if len > HEADER_MAX {
                    return Err(XzError::Options);
                }
                let Some(head) = seen.get(..len) else {
                    return Ok(0);
                };
                block_header(head, DICT as u32)?;
                self.lzma.restart();
                self.produced = 0;
                self.stage = Stage::Data;
                Ok(len)
            }
            Stage::BlockEnd => {
                let check = if self.check { 4 } else { 0 };
                let Some((padding, crc)) = seen
                    .get(..pad + check)
                    .and_then(|s| s.split_at_checked(pad))
                else {
                    return Ok(0);
                };
                zeros(padding)?;
                if self.check && word(crc) != self.crc.value() {
                    return Err(XzError::Check);
                }
                let unpadded = self
                    .taken
                    .wrapping_sub(self.start)
                    .wrapping_add(check as u32);
                self.found = fold(fold(self.found, unpadded), self.produced);
                self.blocks = self.blocks.wrapping_add(1);
                self.stage = Stage::BlockHeader;
                Ok(pad + check)
            }
            Stage::Index => {
                let (mut value, mut len) = (0u32, 0);
                loop {
                    let Some(&b) = seen.get(len) else {
                        return Ok(0);
                    };
                    // 32 bits are enough for anything this decoder has decoded itself.
                    if len == 4 && b > 15 || len != 0 && b == 0 {
                        return Err(XzError::Format);
                    }
                    value |= u32::from(b & 0x7F) << (7 * len);
                    len += 1;
                    if b & 0x80 == 0 {
                        break;
                    }
                }
                self.crc.update(seen.get(..len).unwrap_or(&[]));
                if self.numbers == self.blocks.wrapping_mul(2).wrapping_add(1) {
                    if value != self.blocks {
                        return Err(XzError::Format);
                    }
                } else {
                    self.listed = fold(self.listed, value);
                }
                self.numbers -= 1;
                if self.numbers == 0 {
                    if self.listed != self.found {
                        return Err(XzError::Format);
                    }
                    self.stage = Stage::Footer;
                }
                Ok(len)
            }
            Stage::Footer => {
                let Some((padding, rest)) = seen.split_at_checked(pad) else {
                    return Ok(0);
                };
                let Some(rest) = rest.first_chunk::<16>() else {
                    return Ok(0);
                };
                zeros(padding)?;
                self.crc.update(padding);
                let (crc, footer) = rest.split_at(4);
                if word(crc) != self.crc.value() {
                    return Err(XzError::HeaderCrc);
                }
                if footer[10..] != *b"YZ" {
                    return Err(XzError::Format);
                }
                crc_holds(&footer[4..10], footer)?;
                let index = self.taken.wrapping_sub(self.start) + pad as u32;
                if word(&footer[4..]) != index / 4
                    || footer[8] != 0
                    || footer[9] != u8::from(self.check)
                {
                    return Err(XzError::Format);
                }
                self.stage = Stage::Done;
                Ok(pad + 16)
            }
            _ => Ok(0),
        }
    }
}

fn zeros(padding: &[u8]) -> Result<(), XzError> {
    if padding.iter().all(|b| *b == 0) {
        Ok(())
    } else {
        Err(XzError::Format)
    }
}

/// Checks a block's header, whole with its CRC.
fn block_header(head: &[u8], dict: u32) -> Result<(), XzError> {
    let Some((body, crc)) = head.split_last_chunk::<4>() else {
        return Err(XzError::Format);
    };
    crc_holds(body, crc)?;
    let mut bytes = body.iter().copied().skip(1);
    let mut next = || bytes.next().ok_or(XzError::Format);
    let flags = next()?;
    // One filter; the sizes, which `xz -T` writes, are checked through the index.
    if flags & 0x3F != 0 {
        return Err(XzError::Options);
    }
    for bit in [0x40, 0x80] {
        if flags & bit != 0 {
            while next()? & 0x80 != 0 {}
        }
    }
    let (id, size, prop) = (next()?, next()?, next()?);
    if id != 0x21 || size != 1 || prop > 40 || bytes.any(|b| b != 0) {
        return Err(XzError::Options);
    }
    // 2^11 and up, in steps of a half: 4, 6, 8, 12, 16 ... KiB.
    let shift = u32::from(prop) / 2 + 11;
    if shift > 30 || (2 | u32::from(prop) & 1) << shift > dict {
        return Err(XzError::Dictionary);
    }
    Ok(())
}

/// A whole .xz stream decoded as it arrives. `DICT` is the largest dictionary taken, a
/// power of two in bytes: 32,768 for what `xz --lzma2=dict=32KiB --check=crc32` makes.
///
/// RAM: `DICT` plus about 14 KiB.
pub struct XzDecoder<const DICT: usize>(Xz<DICT>);

impl<const DICT: usize> XzDecoder<DICT> {
    /// Ready for the first byte.
    pub const fn new() -> Self {
        XzDecoder(Xz::new())
    }

    /// Ready for another stream.
    pub fn restart(&mut self) {
        self.0.restart();
    }

    /// Takes bytes from the front of `input` (which becomes what is left of it) and
    /// puts decoded ones into `out`; returns how many. Call until `input` is empty and
    /// the result is less than `out.len()`.
    ///
    /// # Errors
    /// [`XzError`]: the stream must be given up. [`XzError::Trailing`] when bytes follow
    /// its end.
    pub fn decode(&mut self, input: &mut &[u8], out: &mut [u8]) -> Result<usize, XzError> {
        let mut made = 0;
        loop {
            let space = self.0.space();
            let taken = space.len().min(input.len());
            for (to, from) in space.iter_mut().zip(*input) {
                *to = *from;
            }
            *input = input.get(taken..).unwrap_or(&[]);
            self.0.added(taken as u32);
            let n = self.0.decode(out.get_mut(made..).unwrap_or(&mut []))?;
            made += n;
            if self.0.done() && (self.0.in_sight() != 0 || !input.is_empty()) {
                return Err(XzError::Trailing);
            }
            if made == out.len() || n | taken == 0 {
                return Ok(made);
            }
        }
    }

    /// Says that no more input comes.
    ///
    /// # Errors
    /// [`XzError::Truncated`] unless the stream is complete.
    pub fn finish(&self) -> Result<(), XzError> {
        if self.0.done() {
            Ok(())
        } else {
            Err(XzError::Truncated)
        }
    }
}

impl<const DICT: usize> Default for XzDecoder<DICT> {
    fn default() -> Self {
        Self::new()
    }
}
