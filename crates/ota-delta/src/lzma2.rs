//! LZMA2 decoding, small rather than fast: one core for the streams of nbdiff patches
//! and for full images. Format: the LZMA specification (Igor Pavlov) and "The .xz File
//! Format" 1.1, section 5.3.1.
//!
//! Input passes through a window of [`WINDOW`] bytes. A step (a chunk's header, a
//! symbol, a byte of an uncompressed chunk) begins only when all the input it can take
//! is in sight, so no step is ever left half-way. Output goes to the dictionary and is
//! copied from there.

use crate::xz::XzError;

// Offsets into the one probability array.
const POS: u32 = 4; // pb <= 4: at most 16 position states
const IS_MATCH: u32 = 0;
const IS_REP: u32 = IS_MATCH + (12 << POS);
const IS_REP0: u32 = IS_REP + 12;
const IS_REP1: u32 = IS_REP0 + 12;
const IS_REP2: u32 = IS_REP1 + 12;
const IS_REP0_LONG: u32 = IS_REP2 + 12;
const DIST_SLOT: u32 = IS_REP0_LONG + (12 << POS);
const DIST_SPECIAL: u32 = DIST_SLOT + 4 * 64;
const DIST_ALIGN: u32 = DIST_SPECIAL + 115;
const LEN_MATCH: u32 = DIST_ALIGN + 16;
const LEN_SIZE: u32 = 2 + (8 << POS) * 2 + 256;
const LEN_REP: u32 = LEN_MATCH + LEN_SIZE;
const LITERAL: u32 = LEN_REP + LEN_SIZE;
/// Literal coders for lc + lp <= 3.
const PROBS: usize = LITERAL as usize + (0x300 << 3);

/// No step takes more input than this. In a .xz stream as much follows the last one:
/// the end marker, an index of 8 bytes, the footer of 12.
pub(crate) const STEP_MAX: usize = 21;

/// Bytes the range coder starts with, part of the chunk.
const CODER_START: u32 = 5;

/// Bytes of input in sight: more than the longest part of a .xz stream.
pub(crate) const WINDOW: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Expect a control byte.
    Control,
    Lzma,
    Copy,
    End,
}

/// One LZMA2 stream with its dictionary of `DICT` bytes, a power of two, and its input
/// window. All zeros to begin with, so that a `static` one takes no flash.
// What is used most comes first: short offsets make short code.
#[repr(C)]
pub(crate) struct Lzma2<const DICT: usize> {
    range: u32,
    code: u32,
    /// Bytes of the chunk not yet taken.
    in_left: u32,
    /// The part of the window that is in sight.
    at: u32,
    have: u32,
    /// Bytes that were in the window before.
    passed: u32,
    state: u32,
    rep: [u32; 4],
    /// Bytes of the present match still to be copied.
    match_left: u32,
    /// Bytes produced since the dictionary was reset, and at the end of this chunk.
    count: u32,
    end: u32,
    /// Bytes the last call of `decode` produced.
    pub(crate) made: u32,
    lc: u32,
    lp_mask: u32,
    pb_mask: u32,
    chunk: Chunk,
    need_dict: bool,
    need_props: bool,
    window: [u8; WINDOW],
    probs: [u16; PROBS],
    dict: [u8; DICT],
}

impl<const DICT: usize> Lzma2<DICT> {
    const MASK: u32 = {
        assert!(DICT.is_power_of_two());
        DICT as u32 - 1
    };

    pub(crate) const fn new() -> Self {
        Lzma2 {
            range: 0,
            code: 0,
            in_left: 0,
            at: 0,
            have: 0,
            passed: 0,
            state: 0,
            rep: [0; 4],
            match_left: 0,
            count: 0,
            end: 0,
            made: 0,
            lc: 0,
            lp_mask: 0,
            pb_mask: 0,
            chunk: Chunk::Control,
            need_dict: false,
            need_props: false,
            window: [0; WINDOW],
            probs: [0; PROBS],
            dict: [0; DICT],
        }
    }

    /// Ready for another stream; what is in the window stays.
    pub(crate) fn restart(&mut self) {
        self.need_dict = true;
        self.need_props = true;
        self.chunk = Chunk::Control;
        self.match_left = 0;
    }

    pub(crate) fn ended(&self) -> bool {
        self.chunk == Chunk::End
    }

    /// Forgets the input.
    pub(crate) fn clear(&mut self) {
        self.at = 0;
        self.have = 0;
        self.passed = 0;
    }

    /// Bytes of input in sight.
    pub(crate) fn in_sight(&self) -> usize {
        self.have.saturating_sub(self.at) as usize
    }

    /// The first of them.
    pub(crate) fn peek(&self) -> u8 {
        self.window.get(self.at as usize).copied().unwrap_or(0)
    }

    /// Bytes of input taken since [`clear`](Self::clear).
    pub(crate) fn position(&self) -> u32 {
        self.passed.wrapping_add(self.at)
    }

    /// Room for more input behind what is in sight; [`added`](Self::added) says how
    /// much was put there.
    #[inline(never)]
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.passed = self.position();
        let mut to = 0;
        while self.at < self.have {
            let byte = self.peek();
            if let Some(slot) = self.window.get_mut(to as usize) {
                *slot = byte;
            }
            self.at += 1;
            to += 1;
        }
        self.at = 0;
        self.have = to;
        self.window.get_mut(to as usize..).unwrap_or(&mut [])
    }

    pub(crate) fn added(&mut self, n: u32) {
        self.have += n;
    }

    /// Fills `out` as far as the input in sight and the stream go; [`made`](Self::made)
    /// says how far. Call again while that is more than nothing.
    #[inline(never)]
    pub(crate) fn decode(&mut self, out: &mut [u8]) -> Result<(), XzError> {
        let mut from = self.count;
        let room = out.len().min(DICT) as u32;
        loop {
            // Matches need no input.
            if self.match_left != 0 {
                if self.count.wrapping_sub(from) == room {
                    break;
                }
                self.match_left -= 1;
                let byte = self.back(self.rep[0]);
                self.put(byte);
                continue;
            }
            if self.chunk == Chunk::End || self.in_sight() < STEP_MAX {
                break;
            }
            if self.chunk == Chunk::Control {
                // The dictionary begins anew only when all of it was copied.
                let c = self.peek();
                let reset = c == 1 || c >= 0xE0;
                if reset {
                    if self.count != from {
                        break;
                    }
                    self.count = 0;
                    from = 0;
                }
                self.control(reset)?;
            } else if self.count == self.end {
                self.normalize();
                // The range coder ends at zero with all its input used.
                if self.in_left | self.code != 0 {
                    return Err(XzError::Data);
                }
                self.chunk = Chunk::Control;
            } else if self.count.wrapping_sub(from) == room {
                break;
            } else if self.chunk == Chunk::Copy {
                let byte = self.byte();
                self.put(byte);
            } else {
                self.symbol();
                // Past the input, the chunk, or what was produced so far.
                if self.in_left > u32::from(u16::MAX) + 1
                    || self.match_left > self.end.wrapping_sub(self.count)
                    || self.rep[0] >= self.count.min(DICT as u32)
                {
                    return Err(XzError::Data);
                }
            }
        }
        self.made = self.count.wrapping_sub(from);
        let mut left = self.made;
        for slot in out.iter_mut().take(left as usize) {
            left -= 1;
            *slot = self.back(left) as u8;
        }
        Ok(())
    }

    /// A chunk's header, all of which is in sight.
    fn control(&mut self, reset: bool) -> Result<(), XzError> {
        let c = self.byte();
        if c == 0 {
            self.chunk = Chunk::End;
            return Ok(());
        }
        if reset {
            self.need_dict = false;
            self.need_props = true;
            // What stands in front of the first byte.
            if let Some(last) = self.dict.last_mut() {
                *last = 0;
            }
        }
        let mut len = self.word();
        if c < 0x80 {
            if c > 2 || self.need_dict {
                return Err(XzError::Data);
            }
            self.in_left = len;
            self.range = u32::MAX;
            self.code = 0;
            self.chunk = Chunk::Copy;
        } else {
            len += (c & 0x1F) << 16;
            let packed = self.word();
            if c >= 0xC0 {
                let (mut lc, mut lp, mut pb) = (self.byte(), 0, 0);
                // Without a division.
                while lc >= 9 {
                    lc -= 9;
                    lp += 1;
                    if lp == 5 {
                        lp = 0;
                        pb += 1;
                    }
                }
                if lc + lp > 3 || pb > 4 {
                    return Err(XzError::Options);
                }
                self.lc = lc;
                self.lp_mask = (1 << lp) - 1;
                self.pb_mask = (1 << pb) - 1;
                self.need_props = false;
            }
            if self.need_dict || self.need_props || packed < CODER_START || self.byte() != 0 {
                return Err(XzError::Data);
            }
            if c >= 0xA0 {
                self.state = 0;
                self.rep = [0; 4];
                self.probs.fill(1024);
            }
            for _ in 1..CODER_START {
                self.code = self.code << 8 | self.byte();
            }
            self.range = u32::MAX;
            self.in_left = packed - CODER_START;
            self.chunk = Chunk::Lzma;
        }
        self.end = self.count.wrapping_add(len);
        Ok(())
    }

    /// Takes a byte. Past the end of the chunk `in_left` goes out of range.
    #[inline(never)]
    pub(crate) fn byte(&mut self) -> u32 {
        let byte = self.peek();
        self.at += 1;
        self.in_left = self.in_left.wrapping_sub(1);
        u32::from(byte)
    }

    /// A length of 16 bits, stored less one.
    fn word(&mut self) -> u32 {
        let high = self.byte() << 8;
        (high | self.byte()) + 1
    }

    #[inline(never)]
    fn put(&mut self, byte: u32) {
        if let Some(slot) = self.dict.get_mut((self.count & Self::MASK) as usize) {
            *slot = byte as u8;
        }
        self.count = self.count.wrapping_add(1);
    }

    /// The byte `distance + 1` back.
    #[inline(never)]
    fn back(&self, distance: u32) -> u32 {
        let at = self.count.wrapping_sub(distance).wrapping_sub(1) & Self::MASK;
        u32::from(self.dict.get(at as usize).copied().unwrap_or(0))
    }

    /// Decodes one symbol: puts a literal, or leaves a match in `match_left`.
    fn symbol(&mut self) {
        let pos_state = self.count & self.pb_mask;
        let st = self.state;
        if self.bit(IS_MATCH + (st << POS) + pos_state) == 0 {
            let byte = self.literal();
            self.put(byte);
            return;
        }
        let short = if st < 7 { 0 } else { 3 };
        let base;
        if self.bit(IS_REP + st) == 0 {
            self.rep = [self.rep[0], self.rep[0], self.rep[1], self.rep[2]];
            self.state = 7 + short;
            base = LEN_MATCH;
        } else {
            self.state = if short == 0 { 8 } else { 11 };
            base = LEN_REP;
            if self.bit(IS_REP0 + st) == 0 {
                if self.bit(IS_REP0_LONG + (st << POS) + pos_state) == 0 {
                    self.state = if short == 0 { 9 } else { 11 };
                    self.match_left = 1;
                    return;
                }
            } else {
                let [r0, r1, r2, r3] = self.rep;
                self.rep = if self.bit(IS_REP1 + st) == 0 {
                    [r1, r0, r2, r3]
                } else if self.bit(IS_REP2 + st) == 0 {
                    [r2, r0, r1, r3]
                } else {
                    [r3, r0, r1, r2]
                };
            }
        }
        let len = self.length(base, pos_state);
        self.match_left = len;
        if base == LEN_MATCH {
            self.rep[0] = self.distance(len);
        }
    }

    fn normalize(&mut self) {
        if self.range < 1 << 24 {
            self.range <<= 8;
            self.code = self.code << 8 | self.byte();
        }
    }

    #[inline(never)]
    fn bit(&mut self, index: u32) -> u32 {
        self.normalize();
        let Some(p) = self.probs.get_mut(index as usize) else {
            return 0;
        };
        let bound = (self.range >> 11) * u32::from(*p);
        if self.code < bound {
            self.range = bound;
            *p += (2048 - *p) >> 5;
            0
        } else {
            self.range -= bound;
            self.code -= bound;
            *p -= *p >> 5;
            1
        }
    }

    /// A symbol of `bits` bits, the highest first.
    #[inline(never)]
    fn tree(&mut self, base: u32, bits: u32) -> u32 {
        let mut sym = 1;
        while sym >> bits == 0 {
            sym = sym << 1 | self.bit(base + sym);
        }
        sym - (1 << bits)
    }

    /// A symbol of `bits` bits, the lowest first.
    #[inline(never)]
    fn tree_reverse(&mut self, base: u32, bits: u32) -> u32 {
        let (mut sym, mut value) = (1, 0);
        for i in 0..bits {
            let b = self.bit(base + sym);
            sym = sym << 1 | b;
            value |= b << i;
        }
        value
    }

    fn literal(&mut self) -> u32 {
        let high = self.back(0) >> (8 - self.lc);
        let context = ((self.count & self.lp_mask) << self.lc) + high;
        let base = LITERAL + 0x300 * context;
        // After a match the byte it would have gone on with says more; `offset` is
        // zero once that has failed, or when there was none.
        let mut matched = self.back(self.rep[0]);
        let mut offset = if self.state < 7 { 0 } else { 256 };
        let mut sym = 1;
        while sym < 256 {
            matched <<= 1;
            let m = matched & offset;
            let b = self.bit(base + offset + m + sym);
            sym = sym << 1 | b;
            offset &= if b == 0 { !m } else { m };
        }
        self.state = match self.state {
            0..=3 => 0,
            s @ 4..=9 => s - 3,
            s => s - 6,
        };
        sym
    }

    fn length(&mut self, base: u32, pos_state: u32) -> u32 {
        let low = base + 2 + (pos_state << 3);
        if self.bit(base) == 0 {
            self.tree(low, 3) + 2
        } else if self.bit(base + 1) == 0 {
            self.tree(low + (8 << POS), 3) + 10
        } else {
            self.tree(base + 2 + (8 << POS) * 2, 8) + 18
        }
    }

    fn distance(&mut self, len: u32) -> u32 {
        let set = (len - 2).min(3);
        let slot = self.tree(DIST_SLOT + (set << 6), 6);
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let mut dist = 2 | (slot & 1);
        if slot < 14 {
            dist <<= bits;
            // Base is one low: trees count from 1.
            return dist + self.tree_reverse(DIST_SPECIAL + dist - slot - 1, bits);
        }
        for _ in 4..bits {
            self.normalize();
            self.range >>= 1;
            dist <<= 1;
            if self.code >= self.range {
                self.code -= self.range;
                dist |= 1;
            }
        }
        (dist << 4) + self.tree_reverse(DIST_ALIGN, 4)
    }
}
