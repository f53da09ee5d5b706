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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    StreamHeader,
    BlockStart,
    BlockHeader,
    Data,
    BlockPadding,
    Check,
    IndexCount,
    IndexUnpadded,
    IndexSize,
    IndexPadding,
    IndexCrc,
    Footer,
    Done,
}

/// Longest block header taken: size, flags, both sizes, LZMA2 filter, padding, CRC.
const HEADER_MAX: usize = 32;

/// One .xz stream, without its dictionary.
pub(crate) struct XzCore {
    lzma: Lzma2,
    stage: Stage,
    check_crc: bool,
    buf: [u8; HEADER_MAX],
    have: u8,
    need: u8,
    /// Bytes of the present block: header, compressed, produced.
    header_len: u32,
    packed: u32,
    produced: u32,
    crc: Crc32,
    /// Number and digest of blocks decoded, compared with the index.
    blocks: u32,
    blocks_crc: Crc32,
    index_crc: Crc32,
    index_len: u32,
    records: u32,
    varint: u32,
    shift: u8,
}

impl XzCore {
    pub(crate) const fn new() -> Self {
        XzCore {
            lzma: Lzma2::new(),
            stage: Stage::StreamHeader,
            check_crc: false,
            buf: [0; HEADER_MAX],
            have: 0,
            need: 12,
            header_len: 0,
            packed: 0,
            produced: 0,
            crc: Crc32::new(),
            blocks: 0,
            blocks_crc: Crc32::new(),
            index_crc: Crc32::new(),
            index_len: 0,
            records: 0,
            varint: 0,
            shift: 0,
        }
    }

    pub(crate) fn restart(&mut self) {
        self.stage = Stage::StreamHeader;
        self.have = 0;
        self.need = 12;
        self.blocks = 0;
        self.blocks_crc = Crc32::new();
    }

    pub(crate) fn done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Consumes from `input`, fills `out`; returns (consumed, produced). Up to 21 bytes
    /// of input may stay unconsumed until more is shown behind them.
    pub(crate) fn decode(
        &mut self,
        dict: &mut [u8],
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, usize), XzError> {
        let (mut i, mut o) = (0usize, 0usize);
        loop {
            if self.stage == Stage::Done {
                break;
            }
            if self.stage == Stage::Data {
                let rest = input.get(i..).unwrap_or(&[]);
                let room = out.get_mut(o..).unwrap_or(&mut []);
                let (used, made) = self.lzma.decode(dict, rest, room)?;
                self.packed = self.packed.wrapping_add(used as u32);
                self.produced = self.produced.wrapping_add(made as u32);
                if self.check_crc {
                    self.crc.update(room.get(..made).unwrap_or(&[]));
                }
                i += used;
                o += made;
                if !self.lzma.ended() {
                    break;
                }
                self.end_block()?;
                continue;
            }
            let Some(&b) = input.get(i) else { break };
            i += 1;
            self.byte(b, dict.len() as u32)?;
        }
        Ok((i, o))
    }

    fn expect(&mut self, stage: Stage, need: u8) {
        self.stage = stage;
        self.need = need;
        self.have = 0;
    }

    /// One byte outside of LZMA2 data.
    fn byte(&mut self, b: u8, dict_len: u32) -> Result<(), XzError> {
        match self.stage {
            Stage::BlockPadding | Stage::IndexPadding => {
                if b != 0 {
                    return Err(XzError::Format);
                }
                if self.stage == Stage::BlockPadding {
                    self.have += 1;
                    if self.have == self.need {
                        self.check_or_next();
                    }
                } else {
                    self.index_byte(b);
                    self.index_end();
                }
                return Ok(());
            }
            Stage::BlockStart if b == 0 => {
                self.index_crc = Crc32::new();
                self.index_len = 0;
                self.index_byte(b);
                self.varint = 0;
                self.shift = 0;
                self.stage = Stage::IndexCount;
                return Ok(());
            }
            Stage::BlockStart => {
                let len = (u32::from(b) + 1) * 4;
                if len as usize > HEADER_MAX {
                    return Err(XzError::Options);
                }
                self.expect(Stage::BlockHeader, len as u8);
                self.header_len = len;
            }
            Stage::IndexCount | Stage::IndexUnpadded | Stage::IndexSize => {
                self.index_byte(b);
                return self.index_varint(b);
            }
            _ => {}
        }
        if let Some(slot) = self.buf.get_mut(self.have as usize) {
            *slot = b;
        }
        self.have += 1;
        if self.have < self.need {
            return Ok(());
        }
        match self.stage {
            Stage::StreamHeader => self.stream_header(),
            Stage::BlockHeader => self.block_header(dict_len),
            Stage::Check => {
                if self.word(0) != self.crc.value() {
                    return Err(XzError::Check);
                }
                self.expect(Stage::BlockStart, 0);
                Ok(())
            }
            Stage::IndexCrc => {
                if self.word(0) != self.index_crc.value() {
                    return Err(XzError::HeaderCrc);
                }
                self.expect(Stage::Footer, 12);
                Ok(())
            }
            _ => self.footer(),
        }
    }

    fn word(&self, at: usize) -> u32 {
        let mut v = [0; 4];
        if let Some(s) = self.buf.get(at..at + 4) {
            v.copy_from_slice(s);
        }
        u32::from_le_bytes(v)
    }

    fn stream_header(&mut self) -> Result<(), XzError> {
        if self.buf[..6] != MAGIC {
            return Err(XzError::Magic);
        }
        if self.word(8) != crc32(&self.buf[6..8]) {
            return Err(XzError::HeaderCrc);
        }
        if self.buf[6] != 0 || self.buf[7] > 1 {
            return Err(XzError::Options);
        }
        self.check_crc = self.buf[7] == 1;
        self.expect(Stage::BlockStart, 0);
        Ok(())
    }

    fn block_header(&mut self, dict_len: u32) -> Result<(), XzError> {
        let body = self.need as usize - 4;
        if self.word(body) != crc32(self.buf.get(..body).unwrap_or(&[])) {
            return Err(XzError::HeaderCrc);
        }
        // One filter; the sizes, which `xz -T` writes, are checked through the index.
        let flags = self.buf[1];
        if flags & 0x3F != 0 {
            return Err(XzError::Options);
        }
        let mut at = 2;
        for bit in [0x40, 0x80] {
            if flags & bit != 0 {
                while self.buf.get(at).is_some_and(|b| b & 0x80 != 0) {
                    at += 1;
                }
                at += 1;
            }
        }
        let Some(filter) = self
            .buf
            .get(at..body.max(at))
            .and_then(|f| f.first_chunk::<3>())
        else {
            return Err(XzError::Format);
        };
        let [id, size, prop] = *filter;
        if id != 0x21 || size != 1 || prop > 40 {
            return Err(XzError::Options);
        }
        if self
            .buf
            .get(at + 3..body)
            .is_none_or(|pad| pad.iter().any(|b| *b != 0))
        {
            return Err(XzError::Options);
        }
        // 2^11 and up, in steps of a half: 4, 6, 8, 12, 16 ... KiB.
        let shift = u32::from(prop) / 2 + 11;
        if shift > 30 || (2 | u32::from(prop) & 1) << shift > dict_len {
            return Err(XzError::Dictionary);
        }
        self.lzma.restart();
        self.packed = 0;
        self.produced = 0;
        self.crc = Crc32::new();
        self.stage = Stage::Data;
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), XzError> {
        let check = if self.check_crc { 4 } else { 0 };
        let unpadded = self
            .header_len
            .checked_add(self.packed)
            .and_then(|v| v.checked_add(check));
        self.blocks_crc
            .update(&unpadded.ok_or(XzError::Format)?.to_le_bytes());
        self.blocks_crc.update(&self.produced.to_le_bytes());
        self.blocks += 1;
        let pad = self.packed.wrapping_neg() & 3;
        if pad != 0 {
            self.expect(Stage::BlockPadding, pad as u8);
        } else {
            self.check_or_next();
        }
        Ok(())
    }

    fn check_or_next(&mut self) {
        if self.check_crc {
            self.expect(Stage::Check, 4);
        } else {
            self.expect(Stage::BlockStart, 0);
        }
    }

    fn index_byte(&mut self, b: u8) {
        self.index_crc.byte(b);
        self.index_len = self.index_len.wrapping_add(1);
    }

    fn index_varint(&mut self, b: u8) -> Result<(), XzError> {
        // 32 bits are enough for anything this decoder has decoded itself.
        if self.shift > 28 || (self.shift == 28 && b > 15) || (self.shift != 0 && b == 0) {
            return Err(XzError::Format);
        }
        self.varint |= u32::from(b & 0x7F) << self.shift;
        self.shift += 7;
        if b & 0x80 != 0 {
            return Ok(());
        }
        let value = self.varint;
        self.varint = 0;
        self.shift = 0;
        if self.stage == Stage::IndexCount {
            if value != self.blocks {
                return Err(XzError::Format);
            }
            self.records = value;
            // From here on `crc` digests the records as `blocks_crc` did the blocks.
            self.crc = Crc32::new();
        } else {
            self.crc.update(&value.to_le_bytes());
            if self.stage == Stage::IndexUnpadded {
                self.stage = Stage::IndexSize;
                return Ok(());
            }
            self.records -= 1;
        }
        if self.records != 0 {
            self.stage = Stage::IndexUnpadded;
            return Ok(());
        }
        if self.crc != self.blocks_crc {
            return Err(XzError::Format);
        }
        self.index_end();
        Ok(())
    }

    fn index_end(&mut self) {
        if self.index_len & 3 == 0 {
            self.expect(Stage::IndexCrc, 4);
        } else {
            self.stage = Stage::IndexPadding;
        }
    }

    fn footer(&mut self) -> Result<(), XzError> {
        if self.buf[10..12] != *b"YZ" {
            return Err(XzError::Format);
        }
        if self.word(0) != crc32(&self.buf[4..10]) {
            return Err(XzError::HeaderCrc);
        }
        let backward = self.index_len / 4;
        if self.word(4) != backward || self.buf[8] != 0 || self.buf[9] != u8::from(self.check_crc) {
            return Err(XzError::Format);
        }
        self.stage = Stage::Done;
        Ok(())
    }
}

/// A whole .xz stream decoded as it arrives. `DICT` is the largest dictionary taken,
/// in bytes: 32,768 for what `xz --lzma2=dict=32KiB --check=crc32` makes.
///
/// RAM: `DICT` plus about 17 KiB.
pub struct XzDecoder<const DICT: usize> {
    core: XzCore,
    dict: [u8; DICT],
    carry: [u8; 64],
    carried: u8,
}

impl<const DICT: usize> XzDecoder<DICT> {
    /// Ready for the first byte.
    pub const fn new() -> Self {
        XzDecoder {
            core: XzCore::new(),
            dict: [0; DICT],
            carry: [0; 64],
            carried: 0,
        }
    }

    /// Ready for another stream.
    pub fn restart(&mut self) {
        self.core.restart();
        self.carried = 0;
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
            let room = out.get_mut(made..).unwrap_or(&mut []);
            let before = (input.len(), made);
            if self.carried != 0 {
                // A symbol was cut by the end of the last piece: go on in the carry buffer.
                let old = self.carried as usize;
                let gap = self.carry.get_mut(old..).unwrap_or(&mut []);
                let add = gap.len().min(input.len());
                for (to, from) in gap.iter_mut().zip(input.iter()) {
                    *to = *from;
                }
                let shown = self.carry.get(..old + add).unwrap_or(&[]);
                let (used, got) = self.core.decode(&mut self.dict, shown, room)?;
                made += got;
                if used >= old {
                    *input = input.get(used - old..).unwrap_or(&[]);
                    self.carried = 0;
                } else {
                    *input = input.get(add..).unwrap_or(&[]);
                    self.carry.copy_within(used..old + add, 0);
                    self.carried = (old + add - used) as u8;
                }
            } else {
                let (used, got) = self.core.decode(&mut self.dict, input, room)?;
                made += got;
                *input = input.get(used..).unwrap_or(&[]);
                if made < out.len() && input.len() < 32 && !self.core.done() {
                    for (to, from) in self.carry.iter_mut().zip(input.iter()) {
                        *to = *from;
                    }
                    self.carried = input.len() as u8;
                    *input = &[];
                }
            }
            if self.core.done() {
                return if input.is_empty() && self.carried == 0 {
                    Ok(made)
                } else {
                    Err(XzError::Trailing)
                };
            }
            if made == out.len() || before == (input.len(), made) {
                return Ok(made);
            }
        }
    }

    /// Says that no more input comes.
    ///
    /// # Errors
    /// [`XzError::Truncated`] unless the stream is complete.
    pub fn finish(&self) -> Result<(), XzError> {
        if self.core.done() {
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
