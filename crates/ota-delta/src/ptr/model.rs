//! The entropy model: adaptive bit counters, logistic mixing, a binary range coder.
//! Integers only; every step is laid down in `docs/delta-format.md`, section 5.

/// One end of the coder. The encoder codes `bit`; the decoder ignores it. Both return
/// the bit that was coded, so that all model code is written once.
pub(crate) trait Coder {
    /// `p` is the probability of a 1 in 1/65536, within 1..=65535.
    fn code(&mut self, bit: u32, p: u32) -> u32;
    /// The same of a bit that one counter tells or none, copied to its caller.
    #[inline(always)]
    fn code_flag(&mut self, bit: u32, p: u32) -> u32 {
        self.code(bit, p)
    }
    /// The same of a bit of a byte.
    #[inline(always)]
    fn code_here(&mut self, bit: u32, p: u32) -> u32 {
        self.code(bit, p)
    }
}

/// 65536 / (1 + e^-(i/8)), i = 0..=96.
static SQUASH: [u16; 97] = [
    32768, 34813, 36843, 38841, 40793, 42687, 44511, 46254, 47911, 49474, 50941, 52310, 53581,
    54754, 55834, 56822, 57724, 58544, 59287, 59959, 60565, 61109, 61598, 62036, 62428, 62778,
    63090, 63368, 63615, 63835, 64030, 64203, 64357, 64494, 64614, 64721, 64816, 64900, 64974,
    65039, 65097, 65149, 65194, 65234, 65269, 65300, 65328, 65352, 65374, 65393, 65410, 65425,
    65438, 65449, 65459, 65468, 65476, 65483, 65489, 65495, 65500, 65504, 65508, 65511, 65514,
    65517, 65519, 65521, 65523, 65524, 65526, 65527, 65528, 65529, 65530, 65530, 65531, 65532,
    65532, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65535, 65535, 65535, 65535, 65535,
    65535, 65535, 65535, 65535, 65535, 65535,
];

/// Stretched probabilities are 1/256 steps of ln(p / (1 - p)), within +-`LIMIT`.
const LIMIT: i32 = 3071;

const fn squash_const(x: i32) -> u32 {
    let a = if x < 0 { -x } else { x };
    let (i, f) = ((a >> 5) as usize, (a & 31) as u32);
    let (lo, hi) = (SQUASH[i] as u32, SQUASH[i + 1] as u32);
    let v = lo + (((hi - lo) * f + 16) >> 5);
    if x < 0 { 65536 - v } else { v }
}

/// Probability for a stretched one, 1..=65535.
#[inline]
fn squash(x: i32) -> u32 {
    let x = x.clamp(-LIMIT, LIMIT);
    let a = x.unsigned_abs();
    let i = (a >> 5) as usize;
    let lo = u32::from(SQUASH.get(i).copied().unwrap_or(0));
    let hi = u32::from(SQUASH.get(i + 1).copied().unwrap_or(0));
    let v = lo + (((hi - lo) * (a & 31) + 16) >> 5);
    if x < 0 { 65536 - v } else { v }
}

/// Inverse of `squash`: the smallest x with squash(x) >= p.
const fn stretch_table<const N: usize>(step: u32) -> [i16; N] {
    let mut t = [0i16; N];
    let (mut i, mut x) = (0usize, -LIMIT);
    while i < N {
        let p = i as u32 * step + step / 2;
        while x < LIMIT && squash_const(x) < p {
            x += 1;
        }
        t[i] = x as i16;
        i += 1;
    }
    t
}

/// [`stretch`] of a small counter by its highest ten bits, in 1/16.
const fn coarse_stretch() -> [i8; 1024] {
    let mut t = [0i8; 1024];
    let mut i = 0;
    while i < 1024 {
        let p = 64 * i + 32;
        let x = if p < 1024 {
            STRETCH_LOW[p]
        } else if p >= 64512 {
            -STRETCH_LOW[65535 - p]
        } else {
            STRETCH[i]
        };
        t[i] = ((x + 8) >> 4) as i8;
        i += 1;
    }
    t
}

/// `squash` in steps of 1/16, each at its middle.
const fn coarse_squash() -> [u16; 256] {
    let mut t = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = squash_const(16 * (i as i32 - 128) + 8) as u16;
        i += 1;
    }
    t
}
/// By p / 64, for the middle; by p, for the first 1024 (the last ones by symmetry).
static STRETCH: [i16; 1024] = stretch_table::<1024>(64);
static STRETCH_LOW: [i16; 1024] = stretch_table::<1024>(1);

#[inline]
fn stretch(p: u32) -> i32 {
    let v = if p < 1024 {
        STRETCH_LOW.get(p as usize)
    } else if p >= 64512 {
        return -i32::from(STRETCH_LOW.get(65535 - p as usize).copied().unwrap_or(0));
    } else {
        STRETCH.get((p >> 6) as usize)
    };
    i32::from(v.copied().unwrap_or(0))
}

/// 65536 / (n + 1.6): how far a counter moves that has seen n bits.
const fn rates<const N: usize>() -> [u16; N] {
    let mut t = [0u16; N];
    let mut n = 0;
    while n < N {
        t[n] = (655_360 / (10 * n as u32 + 16)) as u16;
        n += 1;
    }
    t
}
static RATE: [u16; 64] = rates::<64>();

/// Probabilities that adapt: 16 bits each and a count of what it has seen. Two arrays,
/// as a pair would be padded.
pub(crate) struct Table<const N: usize> {
    p: [u16; N],
    n: [u8; N],
}

impl<const N: usize> Table<N> {
    /// Unusable until [`reset`](Self::reset): zeros take no room in an image.
    pub const ZERO: Self = Table {
        p: [0; N],
        n: [0; N],
    };

    pub fn reset(&mut self, p: u16, n: u8) {
        self.p.fill(p);
        self.n.fill(n);
    }

    #[inline]
    pub fn p(&self, i: usize) -> u16 {
        self.p.get(i).copied().unwrap_or(32768)
    }

    #[inline]
    pub fn update(&mut self, i: usize, bit: u32, limit: u8) {
        if let (Some(p), Some(n)) = (self.p.get_mut(i), self.n.get_mut(i)) {
            let rate = i32::from(RATE.get(*n as usize).copied().unwrap_or(0));
            let now = i32::from(*p);
            let target = if bit != 0 { 65535 } else { 0 };
            *p = (now + (((target - now) * (rate >> 1)) >> 15)) as u16;
            if *n < limit {
                *n += 1;
            }
        }
    }

    /// Codes a bit by one counter alone.
    #[inline(never)]
    pub fn code<C: Coder>(&mut self, c: &mut C, i: usize, bit: u32) -> u32 {
        let bit = c.code_flag(bit, u32::from(self.p(i)).clamp(64, 65535 - 64));
        self.update(i, bit, LIMIT_ALONE);
        bit
    }
}
/// Count limit of counters that code alone.
const LIMIT_ALONE: u8 = 30;

/// The same in two bytes, for the many: 12 bits of probability, 4 of count.
pub(crate) type Small = u16;
pub(crate) const SMALL_NEW: Small = 2048 << 4;

#[inline]
pub(crate) fn small_p(v: Small) -> u16 {
    (v & 0xFFF0) | 8
}

#[inline]
pub(crate) fn small_update(v: &mut Small, bit: u32, limit: u16) {
    let n = *v & 15;
    let p = i32::from(*v >> 4);
    let target = if bit != 0 { 4095 } else { 0 };
    let rate = i32::from(RATE.get(n as usize).copied().unwrap_or(0));
    let p = p + (((target - p) * rate + 32768) >> 16);
    *v = (p as u16) << 4 | if n < limit { n + 1 } else { n };
}

/// A table of those.
pub(crate) struct SmallTable<const N: usize>([Small; N]);

impl<const N: usize> SmallTable<N> {
    /// Unusable until [`reset`](Self::reset).
    pub const ZERO: Self = SmallTable([0; N]);

    pub fn reset(&mut self) {
        self.0.fill(SMALL_NEW);
    }

    #[inline]
    pub fn p(&self, i: usize) -> u16 {
        small_p(self.0.get(i).copied().unwrap_or(SMALL_NEW))
    }

    #[inline]
    pub fn update(&mut self, i: usize, bit: u32, limit: u16) {
        if let Some(v) = self.0.get_mut(i) {
            small_update(v, bit, limit);
        }
    }

    pub fn all(&mut self) -> &mut [Small; N] {
        &mut self.0
    }

    pub fn blocks(&mut self) -> &mut [[Small; 256]] {
        self.0.as_chunks_mut().0
    }

    /// Codes a bit by one counter alone.
    #[inline(never)]
    pub fn code<C: Coder>(&mut self, c: &mut C, i: usize, bit: u32) -> u32 {
        let bit = c.code_flag(bit, u32::from(self.p(i)).clamp(64, 65536 - 65));
        self.update(i, bit, 15);
        bit
    }
}

/// One weight set of so many inputs per context; 4096 is one.
pub(crate) const INPUTS: usize = 8;
pub(crate) type Weights = [i16; INPUTS];

/// Codes a bit by predictions mixed, and lets the weights follow. Inputs that are
/// [`NONE`] change nothing.
#[inline]
pub(crate) fn mix<C: Coder, const N: usize>(
    c: &mut C,
    p: [u16; N],
    w: &mut Weights,
    bit: u32,
) -> u32 {
    let st = p.map(|p| stretch(u32::from(p)));
    let mut dot = 0i32;
    for (s, w) in st.iter().zip(w.iter()) {
        dot = dot.wrapping_add((s * i32::from(*w)) >> 6);
    }
    let p = squash(dot >> 6).clamp(32, 65536 - 32);
    let bit = c.code(bit, p);
    let err = ((bit << 16) as i32 - p as i32) >> 2;
    for (s, w) in st.iter().zip(w.iter_mut()) {
        let by = (s * err + (1 << 14)) >> 15;
        *w = (i32::from(*w) + by).clamp(-32768, 32767) as i16;
    }
    bit
}

/// Errors below this do not move weights of bytes.
const SMALL_ERROR: u32 = 4096;
static COARSE_STRETCH: [i8; 1024] = coarse_stretch();
static COARSE_SQUASH: [u16; 256] = coarse_squash();
/// Weights of a byte's bit; 65536 is one.
pub(crate) type ByteWeights = [i32; INPUTS];

/// As [`mix`], with coarser tables, where most of the time goes: bits of bytes.
#[inline(always)]
pub(crate) fn coarse_mix<C: Coder, const N: usize>(
    c: &mut C,
    p: [u16; N],
    w: &mut [i32; N],
    rate: u32,
    bit: u32,
) -> u32 {
    let st = p.map(|p| {
        let s = COARSE_STRETCH.get(usize::from(p >> 6));
        i32::from(s.copied().unwrap_or(0))
    });
    let mut dot = 0i32;
    for (s, w) in st.iter().zip(w.iter()) {
        dot = dot.wrapping_add(s.wrapping_mul(*w));
    }
    let x = (dot >> 16).clamp(-128, 127) + 128;
    let p = COARSE_SQUASH.get(x as usize & 255).copied().unwrap_or(0);
    let bit = c.code_here(bit, u32::from(p));
    let err = (bit << 16) as i32 - i32::from(p);
    if err.unsigned_abs() >= SMALL_ERROR {
        for (s, w) in st.iter().zip(w.iter_mut()) {
            *w = w.wrapping_add((s * err) >> rate);
        }
    }
    bit
}

/// An input that says nothing: its `stretch` is 0.
pub(crate) const NONE: u16 = 32768;

/// A number below 2^28 - 1: Exp-Golomb with adaptive bits.
pub(crate) struct Number {
    unary: Table<28>,
    top: Table<56>,
}

impl Number {
    pub const ZERO: Self = Number {
        unary: Table::ZERO,
        top: Table::ZERO,
    };

    pub fn reset(&mut self) {
        self.unary.reset(32768, 0);
        self.top.reset(32768, 0);
    }

    pub fn code<C: Coder>(&mut self, c: &mut C, v: u32) -> u32 {
        let v1 = v.wrapping_add(1).max(1);
        let want = 31 - v1.leading_zeros();
        let mut e = 0;
        while e < 27 && self.unary.code(c, e as usize, u32::from(e < want)) == 1 {
            e += 1;
        }
        let mut m = 1u32;
        for i in (0..e).rev() {
            let bit = v1 >> i & 1;
            // The two highest bits behind the leading one adapt, the rest is plain.
            let got = if m < 4 {
                let top = 2 * e + if m == 1 { 0 } else { 1 };
                self.top.code(c, top as usize, bit)
            } else {
                c.code_flag(bit, 32768)
            };
            m = m << 1 | got;
        }
        m - 1
    }
}

/// Decoder of a segment that is wholly or partly in a buffer; past its end come zeros.
pub(crate) struct RangeDecoder {
    range: u32,
    code: u32,
}

/// The bytes at hand.
pub(crate) struct Bits<'a> {
    pub rc: &'a mut RangeDecoder,
    pub data: &'a [u8],
    pub pos: usize,
}

impl RangeDecoder {
    pub const fn new() -> Self {
        RangeDecoder { range: 0, code: 0 }
    }
}

impl Bits<'_> {
    fn next(&mut self) -> u32 {
        let b = self.data.get(self.pos).copied().unwrap_or(0);
        self.pos += 1;
        u32::from(b)
    }
    #[inline(never)]
    fn refill(&mut self) {
        while self.rc.range < 1 << 24 {
            self.rc.range <<= 8;
            self.rc.code = self.rc.code << 8 | self.next();
        }
    }

    /// Takes the four start bytes.
    pub fn start(&mut self) {
        self.rc.range = u32::MAX;
        self.rc.code = 0;
        for _ in 0..4 {
            self.rc.code = self.rc.code << 8 | self.next();
        }
    }
}

impl Coder for Bits<'_> {
    #[inline(never)]
    fn code(&mut self, bit: u32, p: u32) -> u32 {
        self.code_here(bit, p)
    }

    #[inline(always)]
    fn code_flag(&mut self, bit: u32, p: u32) -> u32 {
        self.code_here(bit, p)
    }

    #[inline(always)]
    fn code_here(&mut self, _: u32, p: u32) -> u32 {
        let bound = ((u64::from(self.rc.range) * u64::from(p)) >> 16) as u32;
        let bit = if self.rc.code < bound {
            self.rc.range = bound;
            1
        } else {
            self.rc.range -= bound;
            self.rc.code -= bound;
            0
        };
        if self.rc.range < 1 << 24 {
            self.refill();
        }
        bit
    }
}
