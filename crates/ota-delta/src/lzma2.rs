//! LZMA2 decoding, small rather than fast: one core for .xz sections of nbdiff
//! patches and for full images. Format: the LZMA specification (Igor Pavlov) and
//! "The .xz File Format" 1.1, section 5.3.1.
//!
//! The core is fed slices of input and fills slices of output; it never blocks
//! and never holds input back except in its caller's buffer.

use crate::xz::XzError;

// Offsets into the one probability array.
const POS: usize = 4; // pb <= 4: at most 16 position states
const IS_MATCH: usize = 0;
const IS_REP: usize = IS_MATCH + (12 << POS);
const IS_REP0: usize = IS_REP + 12;
const IS_REP1: usize = IS_REP0 + 12;
const IS_REP2: usize = IS_REP1 + 12;
const IS_REP0_LONG: usize = IS_REP2 + 12;
const DIST_SLOT: usize = IS_REP0_LONG + (12 << POS);
const DIST_SPECIAL: usize = DIST_SLOT + 4 * 64;
const DIST_ALIGN: usize = DIST_SPECIAL + 115;
const LEN_MATCH: usize = DIST_ALIGN + 16;
const LEN_SIZE: usize = 2 + (8 << POS) * 2 + 256;
const LEN_REP: usize = LEN_MATCH + LEN_SIZE;
const LITERAL: usize = LEN_REP + LEN_SIZE;
/// Literal coders for lc + lp <= 3.
const PROBS: usize = LITERAL + (0x300 << 3);

/// No symbol takes more input than this.
const SYMBOL_MAX: usize = 21;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// Expect a control byte.
    Control,
    /// `have` of `need` header bytes are in `head`.
    Header {
        have: u8,
        need: u8,
    },
    Lzma,
    Copy,
    End,
}

/// State of one LZMA2 stream, without its dictionary (kept beside it so that one
/// core serves dictionaries of any size).
pub(crate) struct Lzma2 {
    probs: [u16; PROBS],
    range: u32,
    code: u32,
    state: u8,
    lc: u8,
    lp_mask: u8,
    pb_mask: u8,
    rep: [u32; 4],
    /// Bytes of the current match still to be copied.
    match_left: u32,
    /// Write position in the dictionary and how much of it is valid.
    pos: u32,
    full: u32,
    prev: u8,
    need_dict: bool,
    need_props: bool,
    chunk: Chunk,
    head: [u8; 6],
    out_left: u32,
    in_left: u32,
    /// Position modulo 16 since the last reset (for pb and lp).
    count: u32,
}

struct Input<'a> {
    data: &'a [u8],
    pos: usize,
    limit: usize,
    overrun: bool,
}

impl Input<'_> {
    #[inline(always)]
    fn next(&mut self) -> u8 {
        if self.pos < self.limit
            && let Some(&b) = self.data.get(self.pos)
        {
            self.pos += 1;
            return b;
        }
        self.overrun = true;
        0
    }
}

impl Lzma2 {
    pub(crate) const fn new() -> Self {
        Lzma2 {
            probs: [1024; PROBS],
            range: 0,
            code: 0,
            state: 0,
            lc: 0,
            lp_mask: 0,
            pb_mask: 0,
            rep: [0; 4],
            match_left: 0,
            pos: 0,
            full: 0,
            prev: 0,
            need_dict: true,
            need_props: true,
            chunk: Chunk::Control,
            head: [0; 6],
            out_left: 0,
            in_left: 0,
            count: 0,
        }
    }

    /// Ready for another stream. Cheaper in code than building a fresh value.
    pub(crate) fn restart(&mut self) {
        self.need_dict = true;
        self.need_props = true;
        self.chunk = Chunk::Control;
        self.match_left = 0;
    }

    pub(crate) fn ended(&self) -> bool {
        self.chunk == Chunk::End
    }

    /// Consumes from `input`, fills `out`; returns (consumed, produced).
    ///
    /// Stops when `out` is full, when the stream ends, or when fewer than
    /// 21 bytes of input are left: the caller shows those again with more behind.
    pub(crate) fn decode(
        &mut self,
        dict: &mut [u8],
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, usize), XzError> {
        let (mut i, mut o) = (0usize, 0usize);
        loop {
            match self.chunk {
                Chunk::End => break,
                Chunk::Control => {
                    let Some(&c) = input.get(i) else { break };
                    i += 1;
                    self.control(c)?;
                }
                Chunk::Header { have, need } => {
                    let Some(&b) = input.get(i) else { break };
                    i += 1;
                    if let Some(h) = self.head.get_mut(have as usize) {
                        *h = b;
                    }
                    if have + 1 < need {
                        self.chunk = Chunk::Header {
                            have: have + 1,
                            need,
                        };
                    } else {
                        self.header(need)?;
                    }
                }
                Chunk::Copy => {
                    let (Some(&b), Some(slot)) = (input.get(i), out.get_mut(o)) else {
                        break;
                    };
                    i += 1;
                    *slot = b;
                    o += 1;
                    self.put(dict, b);
                    self.out_left -= 1;
                    if self.out_left == 0 {
                        self.chunk = Chunk::Control;
                    }
                }
                Chunk::Lzma => {
                    let mut inp = Input {
                        data: input,
                        pos: i,
                        limit: input.len().min(i.saturating_add(self.in_left as usize)),
                        overrun: false,
                    };
                    let used = self.symbols(dict, &mut inp, out, &mut o)?;
                    i += used;
                    self.in_left -= used as u32;
                    if self.out_left != 0 {
                        break;
                    }
                    // The range coder ends at zero with all its input used.
                    if self.in_left != 0 || self.code != 0 || self.match_left != 0 {
                        return Err(XzError::Data);
                    }
                    self.chunk = Chunk::Control;
                }
            }
        }
        Ok((i, o))
    }

    fn control(&mut self, c: u8) -> Result<(), XzError> {
        self.head[0] = c;
        if c == 0 {
            self.chunk = Chunk::End;
            return Ok(());
        }
        if c >= 0xE0 || c == 1 {
            self.need_dict = false;
            self.need_props = true;
            self.full = 0;
            self.pos = 0;
            self.prev = 0;
            self.count = 0;
        } else if self.need_dict {
            return Err(XzError::Data);
        }
        let need = if c < 0x80 {
            if c > 2 {
                return Err(XzError::Data);
            }
            3
        } else if c >= 0xC0 {
            6
        } else if self.need_props {
            return Err(XzError::Data);
        } else {
            5
        };
        self.chunk = Chunk::Header { have: 1, need };
        Ok(())
    }

    fn header(&mut self, need: u8) -> Result<(), XzError> {
        let [c, h1, h2, h3, h4, props] = self.head;
        let size = (u32::from(h1) << 8 | u32::from(h2)) + 1;
        if need == 3 {
            self.out_left = size;
            self.chunk = Chunk::Copy;
            return Ok(());
        }
        self.out_left = size + (u32::from(c & 0x1F) << 16);
        self.in_left = (u32::from(h3) << 8 | u32::from(h4)) + 1;
        if need == 6 {
            if props >= 9 * 5 * 5 {
                return Err(XzError::Options);
            }
            let (lc, rest) = (props % 9, props / 9);
            let (lp, pb) = (rest % 5, rest / 5);
            if lc + lp > 3 {
                return Err(XzError::Options);
            }
            self.lc = lc;
            self.lp_mask = (1 << lp) - 1;
            self.pb_mask = (1 << pb) - 1;
            self.need_props = false;
        }
        if c >= 0xA0 {
            self.state = 0;
            self.rep = [0; 4];
            self.probs.fill(1024);
        }
        // The range coder's five start bytes are read as the first "symbol".
        self.range = 0;
        self.chunk = Chunk::Lzma;
        Ok(())
    }

    #[inline]
    fn put(&mut self, dict: &mut [u8], b: u8) {
        if let Some(d) = dict.get_mut(self.pos as usize) {
            *d = b;
        }
        self.pos += 1;
        if self.pos as usize >= dict.len() {
            self.pos = 0;
        }
        if (self.full as usize) < dict.len() {
            self.full += 1;
        }
        self.count = self.count.wrapping_add(1);
        self.prev = b;
    }

    #[inline]
    fn back(&self, dict: &[u8], dist: u32) -> u8 {
        let p = if self.pos > dist {
            self.pos - dist - 1
        } else {
            (self.pos + dict.len() as u32).wrapping_sub(dist + 1)
        };
        dict.get(p as usize).copied().unwrap_or(0)
    }

    /// Decodes symbols; returns how much input was used.
    fn symbols(
        &mut self,
        dict: &mut [u8],
        inp: &mut Input<'_>,
        out: &mut [u8],
        o: &mut usize,
    ) -> Result<usize, XzError> {
        let start = inp.pos;
        if self.range == 0 {
            if inp.limit - inp.pos < 5 {
                // A chunk shorter than the coder's start is broken; else wait.
                return if self.in_left < 5 {
                    Err(XzError::Data)
                } else {
                    Ok(0)
                };
            }
            if inp.next() != 0 {
                return Err(XzError::Data);
            }
            self.code = 0;
            for _ in 0..4 {
                self.code = self.code << 8 | u32::from(inp.next());
            }
            self.range = u32::MAX;
        }
        loop {
            while self.match_left != 0 {
                let Some(slot) = out.get_mut(*o) else {
                    return Ok(inp.pos - start);
                };
                let b = self.back(dict, self.rep[0]);
                *slot = b;
                *o += 1;
                self.put(dict, b);
                self.match_left -= 1;
                self.out_left -= 1;
            }
            // Whole chunk in sight, or enough for any symbol?
            let whole = inp.limit - start >= self.in_left as usize;
            if !whole && inp.limit - inp.pos < SYMBOL_MAX {
                return Ok(inp.pos - start);
            }
            if self.out_left == 0 {
                self.normalize(inp);
                break;
            }
            if *o >= out.len() {
                return Ok(inp.pos - start);
            }
            self.symbol(dict, inp, out, o)?;
            if inp.overrun {
                return Err(XzError::Data);
            }
        }
        if inp.overrun {
            return Err(XzError::Data);
        }
        Ok(inp.pos - start)
    }

    fn symbol(
        &mut self,
        dict: &mut [u8],
        inp: &mut Input<'_>,
        out: &mut [u8],
        o: &mut usize,
    ) -> Result<(), XzError> {
        let pos_state = (self.count & u32::from(self.pb_mask)) as usize;
        let st = self.state as usize;
        if !self.bit(inp, IS_MATCH + (st << POS) + pos_state) {
            let b = self.literal(dict, inp);
            if let Some(slot) = out.get_mut(*o) {
                *slot = b;
            }
            *o += 1;
            self.put(dict, b);
            self.out_left -= 1;
            return Ok(());
        }
        let len;
        if !self.bit(inp, IS_REP + st) {
            self.rep = [self.rep[0], self.rep[0], self.rep[1], self.rep[2]];
            self.state = if st < 7 { 7 } else { 10 };
            len = self.length(inp, LEN_MATCH, pos_state);
            self.rep[0] = self.distance(inp, len);
        } else {
            if !self.bit(inp, IS_REP0 + st) {
                if !self.bit(inp, IS_REP0_LONG + (st << POS) + pos_state) {
                    self.state = if st < 7 { 9 } else { 11 };
                    return self.start_match(1);
                }
            } else {
                let d = if !self.bit(inp, IS_REP1 + st) {
                    self.rep[1]
                } else {
                    let d = if !self.bit(inp, IS_REP2 + st) {
                        self.rep[2]
                    } else {
                        let d = self.rep[3];
                        self.rep[3] = self.rep[2];
                        d
                    };
                    self.rep[2] = self.rep[1];
                    d
                };
                self.rep[1] = self.rep[0];
                self.rep[0] = d;
            }
            self.state = if st < 7 { 8 } else { 11 };
            len = self.length(inp, LEN_REP, pos_state);
        }
        self.start_match(len)
    }

    fn start_match(&mut self, len: u32) -> Result<(), XzError> {
        // A distance past what is valid, or a match past its chunk.
        if self.rep[0] >= self.full || len > self.out_left {
            return Err(XzError::Data);
        }
        self.match_left = len;
        Ok(())
    }

    #[inline(never)]
    fn normalize(&mut self, inp: &mut Input<'_>) {
        if self.range < 1 << 24 {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(inp.next());
        }
    }

    #[inline(never)]
    fn bit(&mut self, inp: &mut Input<'_>, index: usize) -> bool {
        self.normalize(inp);
        let Some(p) = self.probs.get_mut(index) else {
            return false;
        };
        let bound = (self.range >> 11) * u32::from(*p);
        if self.code < bound {
            self.range = bound;
            *p += (2048 - *p) >> 5;
            false
        } else {
            self.range -= bound;
            self.code -= bound;
            *p -= *p >> 5;
            true
        }
    }

    fn tree(&mut self, inp: &mut Input<'_>, base: usize, limit: u32) -> u32 {
        let mut sym = 1;
        while sym < limit {
            sym = sym << 1 | u32::from(self.bit(inp, base + sym as usize));
        }
        sym
    }

    fn tree_reverse(&mut self, inp: &mut Input<'_>, base: usize, bits: u32) -> u32 {
        let (mut sym, mut value) = (1usize, 0);
        for i in 0..bits {
            let b = self.bit(inp, base + sym);
            sym = sym << 1 | usize::from(b);
            value |= u32::from(b) << i;
        }
        value
    }

    fn literal(&mut self, dict: &[u8], inp: &mut Input<'_>) -> u8 {
        let lp = (self.count & u32::from(self.lp_mask)) << self.lc;
        let ctx = lp + (u32::from(self.prev) >> (8 - self.lc));
        let base = LITERAL + 0x300 * ctx as usize;
        let sym = if self.state < 7 {
            self.tree(inp, base, 256)
        } else {
            let mut matched = u32::from(self.back(dict, self.rep[0])) << 1;
            let (mut offset, mut sym) = (256u32, 1u32);
            while sym < 256 {
                let m = matched & offset;
                matched <<= 1;
                let b = self.bit(inp, base + (offset + m + sym) as usize);
                sym = sym << 1 | u32::from(b);
                offset &= if b { m } else { !m };
            }
            sym
        };
        self.state = match self.state {
            0..=3 => 0,
            s @ 4..=9 => s - 3,
            s => s - 6,
        };
        sym as u8
    }

    fn length(&mut self, inp: &mut Input<'_>, base: usize, pos_state: usize) -> u32 {
        let low = base + 2 + (pos_state << 3);
        if !self.bit(inp, base) {
            return self.tree(inp, low, 8) - 8 + 2;
        }
        if !self.bit(inp, base + 1) {
            return self.tree(inp, low + (8 << POS), 8) - 8 + 10;
        }
        self.tree(inp, base + 2 + (8 << POS) * 2, 256) - 256 + 18
    }

    fn distance(&mut self, inp: &mut Input<'_>, len: u32) -> u32 {
        let set = (len - 2).min(3) as usize;
        let slot = self.tree(inp, DIST_SLOT + (set << 6), 64) - 64;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let mut dist = (2 | (slot & 1)) << bits;
        if slot < 14 {
            // Base is one low: trees count from 1.
            let base = DIST_SPECIAL + dist as usize - slot as usize - 1;
            return dist + self.tree_reverse(inp, base, bits);
        }
        let mut direct = 0;
        for _ in 0..bits - 4 {
            self.normalize(inp);
            self.range >>= 1;
            let b = self.code >= self.range;
            if b {
                self.code -= self.range;
            }
            direct = direct << 1 | u32::from(b);
        }
        dist = dist.wrapping_add(direct << 4);
        dist.wrapping_add(self.tree_reverse(inp, DIST_ALIGN, 4))
    }
}
