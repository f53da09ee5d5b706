//! All that adapts while a slice is coded. `docs/delta-format.md`, section 5.

use super::fast::Literals;
use super::model::Coder;
use super::model::{ByteWeights, NONE, Number, SmallTable, Table, Weights, coarse_mix, mix};
use super::predict::kind;

/// Inputs of a hit flag and entries per input.
pub(crate) const HITS: usize = 6;
const HIT_SIZE: usize = 256;
/// Inputs of a byte and entries per input.
pub(crate) const BYTES: usize = 7;
const BYTE_SIZE: usize = 1024;
/// Remembered values.
const VALUES: usize = 128;
/// Contexts of a block flag: three inputs in one table.
const BLOCKS: usize = 64 + 256 + 128 + 64;
/// Contexts of an op's first flag: three inputs in one table.
const OPS: usize = 256 + 96 + 256;
/// First weight of every input: 0.26.
const W0: i16 = 1065;
/// Of literals in fast slices: of the two contexts, and of the first and the expected byte.
const FAST_W0: ByteWeights = [32000, 32000, 24000, 36000, 0, 0, 0, 0];
/// How slowly weights of bytes follow.
const RATE: u32 = 9;
const KINDS: usize = kind::BRANCH_KNOWN as usize + 1;

#[inline]
pub(crate) fn hash(a: u32, b: u32) -> u32 {
    (a.wrapping_mul(0x9E37_79B1) ^ b.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0xC2B2_AE35)
}

pub(crate) struct Model {
    hit: [Table<HIT_SIZE>; HITS],
    hit_w: [Weights; 32],
    block: Table<BLOCKS>,
    block_w: [Weights; 4],
    pub(super) bytes: SmallTable<{ BYTE_SIZE * BYTES }>,
    /// Whether a literal is what a match going on would give.
    pub(super) expect: SmallTable<256>,
    /// 32 sets for literals, others for differences, by kind.
    pub(super) bytes_w: [ByteWeights; 32 + KINDS],
    /// How often units of a class miss.
    pub class: Table<128>,
    pub alt: Table<64>,
    op: SmallTable<OPS>,
    op_w: [Weights; 4],
    pub flags: Table<64>,
    /// Slots of distances, by length; their low bits, by slot.
    slots: SmallTable<256>,
    low: SmallTable<176>,
    pub numbers: [Number; 4],
    values: [(u32, u32); VALUES],
    /// By 512-byte window: how far RAM addresses moved.
    shifts: [u32; 64],
}

impl Model {
    pub const ZERO: Self = Model {
        hit: [Table::ZERO; HITS],
        hit_w: [[0; 8]; 32],
        block: Table::ZERO,
        block_w: [[0; 8]; 4],
        bytes: SmallTable::ZERO,
        expect: SmallTable::ZERO,
        bytes_w: [[0; 8]; 32 + KINDS],
        class: Table::ZERO,
        alt: Table::ZERO,
        op: SmallTable::ZERO,
        op_w: [[0; 8]; 4],
        slots: SmallTable::ZERO,
        low: SmallTable::ZERO,
        flags: Table::ZERO,
        numbers: [Number::ZERO; 4],
        values: [(0, 0); VALUES],
        shifts: [0; 64],
    };

    /// The state every slice begins with.
    pub fn reset(&mut self, how: Literals) {
        self.hit.iter_mut().for_each(|t| t.reset(32768, 0));
        self.block.reset(32768, 0);
        self.bytes.reset();
        self.expect.reset();
        for w in self
            .hit_w
            .iter_mut()
            .chain(&mut self.block_w)
            .chain(&mut self.op_w)
        {
            *w = [W0; 8];
        }
        let literals = if how == Literals::Fast {
            FAST_W0
        } else {
            [16 * i32::from(W0); 8]
        };
        self.bytes_w = [[16 * i32::from(W0); 8]; 32 + KINDS];
        for w in self.bytes_w.iter_mut().take(32) {
            *w = literals;
        }
        self.class.reset(2048, 4);
        self.alt.reset(32768, 0);
        self.op.reset();
        self.flags.reset(32768, 0);
        self.slots.reset();
        self.low.reset();
        self.numbers.iter_mut().for_each(Number::reset);
        self.values = [(0, 0); VALUES];
        self.shifts = [0; 64];
    }

    /// What stands for old value `key` since it was last mispredicted.
    pub fn value(&self, key: u32) -> Option<u32> {
        let (k, v) = self.values.get(value_slot(key)).copied()?;
        (k == key && key != 0).then_some(v)
    }

    pub fn learn(&mut self, key: u32, v: u32) {
        if let Some(slot) = self.values.get_mut(value_slot(key)) {
            *slot = (key, v);
        }
    }

    pub fn shift(&self, address: u32) -> u32 {
        self.shifts
            .get((address >> 9 & 63) as usize)
            .copied()
            .unwrap_or(0)
    }

    pub fn learn_shift(&mut self, address: u32, shift: u32) {
        if let Some(slot) = self.shifts.get_mut((address >> 9 & 63) as usize) {
            *slot = shift;
        }
    }

    /// Codes whether a prediction missed; `set` is below 32.
    #[inline(never)]
    pub fn miss<C: Coder>(&mut self, c: &mut C, ctx: [u32; HITS], set: u32, miss: u32) -> u32 {
        let idx = ctx.map(|cx| (hash(cx, 0x51) >> 24) as usize);
        let mut p = [NONE; HITS];
        for ((p, table), i) in p.iter_mut().zip(&self.hit).zip(idx) {
            *p = table.p(i);
        }
        let Some(w) = self.hit_w.get_mut(set as usize) else {
            return 0;
        };
        let got = mix(c, p, w, miss);
        for (table, i) in self.hit.iter_mut().zip(idx) {
            table.update(i, got, 60);
        }
        got
    }

    /// Codes whether a block holds a miss.
    pub fn dirty<C: Coder>(&mut self, c: &mut C, ctx: [u32; 4], set: u32, dirty: u32) -> u32 {
        let p = ctx.map(|cx| self.block.p(cx as usize));
        let Some(w) = self.block_w.get_mut(set as usize) else {
            return 0;
        };
        let got = mix(c, p, w, dirty);
        for cx in ctx {
            self.block.update(cx as usize, got, 60);
        }
        got
    }

    /// Codes whether an op is a literal; where time counts by the second context alone.
    pub fn literal<C: Coder>(
        &mut self,
        c: &mut C,
        ctx: [u32; 3],
        how: Literals,
        set: u32,
        bit: u32,
    ) -> u32 {
        if how != Literals::Full {
            return self.op.code(c, ctx[1] as usize, bit);
        }
        let p = ctx.map(|cx| self.op.p(cx as usize));
        let Some(w) = self.op_w.get_mut(set as usize) else {
            return 0;
        };
        let got = mix(c, p, w, bit);
        for cx in ctx {
            self.op.update(cx as usize, got, 15);
        }
        got
    }

    /// Codes a distance less one; `by` is below 4.
    pub fn distance<C: Coder>(&mut self, c: &mut C, by: u32, v: u32) -> u32 {
        let (want, _) = slot(v);
        let mut sym = 1u32;
        for i in (0..6).rev() {
            let bit = self.slots.code(c, (by << 6 | sym) as usize, want >> i & 1);
            sym = sym << 1 | bit;
        }
        let slot = sym & 63;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let mut got = 2 | slot & 1;
        for i in (0..bits).rev() {
            if i < 4 {
                break;
            }
            got = got << 1 | c.code_flag(v >> i & 1, 32768);
        }
        // The lowest ones from the lowest up.
        let n = bits.min(4);
        let (mut sym, mut tail) = (1u32, 0);
        for i in 0..n {
            let bit = self
                .low
                .code(c, ((slot.min(14) - 4) << 4 | sym) as usize, v >> i & 1);
            sym = sym << 1 | bit;
            tail |= bit << i;
        }
        got << n | tail
    }

    /// Codes a byte, highest bit first.
    #[inline(never)]
    pub fn byte<C: Coder>(&mut self, c: &mut C, how: &Byte, want: u32) -> u32 {
        let mut sym = 1u32;
        for i in (0..8).rev() {
            let mut idx = [0usize; BYTES];
            let mut p = [NONE; BYTES + 1];
            for (k, ((at, p), cx)) in idx.iter_mut().zip(&mut p).zip(how.ctx).enumerate() {
                *at = k * BYTE_SIZE + scaled(cx, sym, BYTE_SIZE as u32) as usize;
                *p = self.bytes.p(*at);
            }
            // While the bits so far are those of the expected byte.
            let agree = how.expect >> (i + 1) == sym;
            let ex = expect_row(how.trust, agree) | (how.expect >> i & 1) << 3 | i;
            let expects = how.expect != 0;
            if let (true, Some(last)) = (expects, p.last_mut()) {
                *last = self.expect.p(ex as usize);
            }
            let set = how.set + if how.by_bit { 7 - i } else { 0 };
            let Some(w) = self.bytes_w.get_mut(set as usize) else {
                break;
            };
            let bit = coarse_mix(c, p, w, RATE, want >> i & 1);
            for at in idx {
                self.bytes.update(at, bit, how.limit);
            }
            if expects {
                self.expect.update(ex as usize, bit, 15);
            }
            sym = sym << 1 | bit;
        }
        sym & 0xFF
    }
}

/// How a byte is predicted.
pub(crate) struct Byte {
    pub ctx: [u32; BYTES],
    /// 256 + the byte that would go on with the last match; 0 if none.
    pub expect: u32,
    /// How far that can be trusted, below 8.
    pub trust: u32,
    pub set: u32,
    pub by_bit: bool,
    pub limit: u16,
}

/// Where counters of the expected byte's bits begin.
pub(crate) fn expect_row(trust: u32, agree: bool) -> u32 {
    trust << 5 | u32::from(agree) << 4
}

/// Slot of a distance less one, and how many bits it leaves open.
pub(crate) fn slot(v: u32) -> (u32, u32) {
    if v < 4 {
        return (v, 0);
    }
    let bits = 30 - v.leading_zeros();
    (2 * (bits + 1) + (v >> bits & 1), bits)
}

fn value_slot(key: u32) -> usize {
    (hash(key, 77) >> 25) as usize
}

/// A slot of `size` for a context and the bits of the byte so far.
#[inline]
pub(crate) fn scaled(ctx: u32, sym: u32, size: u32) -> u32 {
    let h = ctx
        .wrapping_add(sym.wrapping_mul(0x9E35_79B1))
        .wrapping_mul(0x2545_F491);
    ((h >> 16) * size) >> 16
}
