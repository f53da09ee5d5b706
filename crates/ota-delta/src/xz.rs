//! .xz streams: one stream, LZMA2 only, check CRC-32 or none. Format: "The .xz File
//! Format" 1.1. Headers, block sizes, index and footer are all checked.

use crate::lzma2::Lzma2;
use ota_verify::Crc32;

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
/// With this much in sight any part can be taken, but for longer block headers.
const PART_MAX: usize = 12;

/// One .xz stream with its dictionary of `DICT` bytes, a power of two. All zeros to
/// begin with; `restart` before use.
pub(crate) struct Xz<const DICT: usize> {
    lzma: Lzma2<DICT>,
    /// Of the header, the data, the index or the footer.
    crc: Crc32,
    /// Where the present block or the index begins.
    start: u32,
    produced: u32,
    /// Blocks decoded, and numbers left in the index.
    blocks: u32,
    numbers: u32,
    /// Sizes of the blocks, as found and as the index says.
    found: u32,
    listed: u32,
    stage: Stage,
    check: u8,
}

/// Folds `value` into a running sum of sizes, in order.
fn fold(sum: &mut u32, value: u32) {
    *sum = (*sum ^ value).wrapping_mul(0x0100_0193);
}

/// `error` unless `holds`.
fn ensure(holds: bool, error: XzError) -> Result<(), XzError> {
    if holds { Ok(()) } else { Err(error) }
}

impl<const DICT: usize> Xz<DICT> {
    pub(crate) const fn new() -> Self {
        Xz {
            lzma: Lzma2::new(),
            crc: Crc32::new(),
            start: 0,
            produced: 0,
            blocks: 0,
            numbers: 0,
            found: 0,
            listed: 0,
            stage: Stage::StreamHeader,
            check: 0,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.lzma.clear();
        self.stage = Stage::StreamHeader;
        self.blocks = 0;
        self.found = 0;
        self.listed = 0;
    }

    pub(crate) fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// How much of the input that was added is still there.
    pub(crate) fn in_sight(&self) -> usize {
        self.lzma.in_sight()
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
                self.lzma.decode(room)?;
                let n = self.lzma.made as usize;
                self.produced = self.produced.wrapping_add(n as u32);
                if self.check != 0 {
                    self.crc.update(room.get(..n).unwrap_or(&[]));
                }
                made += n;
                if self.lzma.ended() {
                    self.stage = Stage::BlockEnd;
                } else if n == 0 {
                    return Ok(made);
                }
            } else if !self.part()? {
                return Ok(made);
            }
        }
    }

    /// Takes a byte into the CRC.
    #[inline(never)]
    fn next(&mut self) -> u8 {
        let byte = self.lzma.byte() as u8;
        self.crc.byte(byte);
        byte
    }

    #[inline(never)]
    fn word(&mut self) -> u32 {
        let mut word = 0;
        for _ in 0..4 {
            word = word >> 8 | self.lzma.byte() << 24;
        }
        word
    }

    /// Takes the CRC of what was taken since the last one.
    #[inline(never)]
    fn crc(&mut self) -> Result<(), XzError> {
        let crc = core::mem::take(&mut self.crc);
        ensure(self.word() == crc.value(), XzError::HeaderCrc)
    }

    /// Takes zeros up to `end`, which must lie ahead.
    #[inline(never)]
    fn zeros(&mut self, end: u32, error: XzError) -> Result<(), XzError> {
        while self.lzma.position() != end {
            ensure(self.next() == 0, error)?;
        }
        Ok(())
    }

    /// Takes the part that comes next, if all of it is in sight.
    fn part(&mut self) -> Result<bool, XzError> {
        let here = self.lzma.position();
        let aligned = here.wrapping_add(3) & !3;
        let seen = self.lzma.in_sight();
        if seen < PART_MAX {
            return Ok(false);
        }
        match self.stage {
            Stage::StreamHeader => {
                for byte in MAGIC {
                    ensure(self.next() == byte, XzError::Magic)?;
                }
                self.crc = Crc32::new();
                let zero = self.next();
                self.check = self.next();
                self.crc()?;
                ensure(zero == 0 && self.check <= 1, XzError::Options)?;
                self.stage = Stage::BlockHeader;
            }
            Stage::BlockHeader => {
                let size = usize::from(self.lzma.peek()) * 4;
                ensure(size <= HEADER_MAX - 4, XzError::Options)?;
                if seen < size + 4 {
                    return Ok(false);
                }
                self.start = here;
                self.next();
                if size == 0 {
                    self.numbers = self.blocks.wrapping_mul(2).wrapping_add(1);
                    self.stage = Stage::Index;
                } else {
                    self.block_header(here.wrapping_add(size as u32))?;
                }
            }
            Stage::BlockEnd => {
                let crc = core::mem::take(&mut self.crc);
                self.zeros(aligned, XzError::Format)?;
                if self.check != 0 {
                    ensure(self.word() == crc.value(), XzError::Check)?;
                }
                self.crc = Crc32::new();
                // The padding does not count.
                let end = self.lzma.position() - (aligned - here);
                fold(&mut self.found, end - self.start);
                fold(&mut self.found, self.produced);
                self.blocks = self.blocks.wrapping_add(1);
                self.stage = Stage::BlockHeader;
            }
            Stage::Index => {
                let mut value = 0u32;
                let mut shift = 0;
                loop {
                    let b = self.next();
                    // 32 bits are enough for anything this decoder has decoded itself.
                    if shift == 28 && b > 15 || shift != 0 && b == 0 {
                        return Err(XzError::Format);
                    }
                    value |= u32::from(b & 0x7F) << shift;
                    shift += 7;
                    if b & 0x80 == 0 {
                        break;
                    }
                }
                if self.numbers == self.blocks.wrapping_mul(2).wrapping_add(1) {
                    ensure(value == self.blocks, XzError::Format)?;
                } else {
                    fold(&mut self.listed, value);
                }
                self.numbers -= 1;
                if self.numbers == 0 {
                    ensure(self.listed == self.found, XzError::Format)?;
                    self.stage = Stage::Footer;
                }
            }
            Stage::Footer => {
                if seen < (aligned - here) as usize + 16 {
                    return Ok(false);
                }
                self.zeros(aligned, XzError::Format)?;
                self.crc()?;
                let crc = self.word();
                let mut index = 0;
                for shift in [0, 8, 16, 24] {
                    index |= u32::from(self.next()) << shift;
                }
                let zero = self.next();
                let check = self.next();
                ensure(crc == self.crc.value(), XzError::HeaderCrc)?;
                let same = index == (aligned - self.start) / 4 && zero == 0 && check == self.check;
                let end = self.next() == b'Y' && self.next() == b'Z';
                ensure(same && end, XzError::Format)?;
                self.stage = Stage::Done;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes the rest of a block's header; its CRC is at `end`.
    fn block_header(&mut self, end: u32) -> Result<(), XzError> {
        let flags = self.next();
        // One filter; the sizes, which `xz -T` writes, are checked through the index.
        ensure(flags & 0x3F == 0, XzError::Options)?;
        for bit in [0x40, 0x80] {
            if flags & bit != 0 {
                while self.next() & 0x80 != 0 {}
            }
        }
        let (id, size, prop) = (self.next(), self.next(), self.next());
        ensure(self.lzma.position() <= end, XzError::Format)?;
        self.zeros(end, XzError::Options)?;
        self.crc()?;
        ensure(id == 0x21 && size == 1 && prop <= 40, XzError::Options)?;
        // 2^11 and up, in steps of a half: 4, 6, 8, 12, 16 ... KiB.
        let shift = u32::from(prop) / 2 + 11;
        let dict = (2 | u32::from(prop) & 1) << shift.min(30);
        ensure(shift <= 30 && dict <= DICT as u32, XzError::Dictionary)?;
        self.lzma.restart();
        self.produced = 0;
        self.stage = Stage::Data;
        Ok(())
    }
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
