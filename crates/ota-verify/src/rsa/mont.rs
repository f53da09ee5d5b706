//! Montgomery arithmetic on 32-bit limbs, least significant first.
//!
//! Everything here works on public values, so nothing needs constant time. All
//! of it is `const fn`: a key in a `static` is prepared by the compiler. Loops
//! count to a limb number that is clamped to the array, so no access can panic.

use super::KeyError;

/// Limbs of the longest modulus this build takes.
pub(super) const MAX_LIMBS: usize = if cfg!(feature = "rsa-4096") {
    128
} else if cfg!(feature = "rsa-3072") {
    96
} else {
    64
};

/// A number below 2^(32 * MAX_LIMBS).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Limbs([u32; MAX_LIMBS]);

impl Limbs {
    const ZERO: Self = Self([0; MAX_LIMBS]);

    /// From big-endian bytes; bytes above the array's size are dropped (callers
    /// check the length).
    #[inline(never)]
    pub(super) const fn from_be(bytes: &[u8]) -> Self {
        let mut out = Self::ZERO;
        let mut rest = bytes;
        let mut i = 0;
        while let [head @ .., last] = rest {
            if i < MAX_LIMBS * 4 {
                out.0[i / 4] |= (*last as u32) << (i % 4 * 8);
            }
            i += 1;
            rest = head;
        }
        out
    }
}

/// An odd modulus with its top bit set, and what Montgomery needs besides.
#[derive(Clone, Copy)]
pub(super) struct Modulus {
    n: Limbs,
    /// R^2 mod n, R = 2^(32 * limbs).
    rr: Limbs,
    /// -1/n mod 2^32.
    n0: u32,
    limbs: usize,
}

impl Modulus {
    /// Checks a big-endian modulus and prepares it.
    pub(super) const fn new(mut bytes: &[u8]) -> Result<Self, KeyError> {
        while let [0, rest @ ..] = bytes {
            bytes = rest;
        }
        let limbs = bytes.len() / 4;
        let size_ok = matches!(bytes.len(), 256 | 384 | 512) && limbs <= MAX_LIMBS;
        let top_bit = matches!(bytes, [0x80..=0xFF, ..]);
        if !size_ok || !top_bit {
            return Err(KeyError::Size(bytes.len() * 8));
        }
        if !matches!(bytes, [.., last] if *last % 2 == 1) {
            return Err(KeyError::Even);
        }
        let n = Limbs::from_be(bytes);
        // Newton: each step doubles the bits of 1/n mod 2^32 that are right.
        let mut inverse = 1u32;
        let mut bits = 1;
        while bits < 32 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(n.0[0].wrapping_mul(inverse)));
            bits *= 2;
        }
        let mut out = Self {
            n,
            rr: Limbs::ZERO,
            n0: inverse.wrapping_neg(),
            limbs,
        };
        out.prepare();
        Ok(out)
    }

    /// R mod n is R - n. Doubled once for each limb it is R * 2^limbs; each of
    /// five Montgomery squarings doubles the exponent: R * 2^(32 * limbs) = R^2.
    const fn prepare(&mut self) {
        let mut r = Limbs::ZERO;
        self.subtract(&mut r);
        let mut i = 0;
        while i < self.limbs {
            self.double(&mut r);
            i += 1;
        }
        i = 0;
        while i < 5 {
            let mut square = Limbs::ZERO;
            self.multiply(&mut square, &r, &r);
            r = square;
            i += 1;
        }
        self.rr = r;
    }

    /// A constant where only one size is taken, else clamped to the array.
    pub(super) const fn limbs(&self) -> usize {
        if MAX_LIMBS == 64 || self.limbs > MAX_LIMBS {
            MAX_LIMBS
        } else {
            self.limbs
        }
    }

    /// All limbs there is room for.
    pub(super) const fn array(&self) -> &[u32; MAX_LIMBS] {
        &self.n.0
    }

    pub(super) fn value(&self) -> &[u32] {
        self.n.0.get(..self.limbs()).unwrap_or(&[])
    }

    /// Whether `x` is below the modulus.
    pub(super) const fn is_above(&self, x: &Limbs) -> bool {
        let mut i = self.limbs();
        while i > 0 {
            i -= 1;
            if x.0[i] != self.n.0[i] {
                return x.0[i] < self.n.0[i];
            }
        }
        false
    }

    /// x - n modulo R.
    #[cfg_attr(
        all(feature = "arm-state", target_arch = "arm"),
        instruction_set(arm::a32)
    )]
    const fn subtract(&self, x: &mut Limbs) {
        let limbs = self.limbs();
        let mut carry = 0i64;
        let mut i = 0;
        while i < limbs {
            carry += x.0[i] as i64 - self.n.0[i] as i64;
            x.0[i] = carry as u32;
            carry >>= 32;
            i += 1;
        }
    }

    /// 2 * x mod n for x below n.
    const fn double(&self, x: &mut Limbs) {
        let limbs = self.limbs();
        let mut carry = 0;
        let mut i = 0;
        while i < limbs {
            let limb = x.0[i];
            x.0[i] = limb << 1 | carry;
            carry = limb >> 31;
            i += 1;
        }
        if carry != 0 || !self.is_above(x) {
            self.subtract(x);
        }
    }

    /// t = a * b / R mod n, below n when one of a and b is.
    #[inline(never)]
    #[cfg_attr(
        all(feature = "arm-state", target_arch = "arm"),
        instruction_set(arm::a32)
    )]
    const fn multiply(&self, t: &mut Limbs, a: &Limbs, b: &Limbs) {
        let limbs = self.limbs();
        *t = Limbs::ZERO;
        let mut top = 0u32;
        let mut i = 0;
        while i < limbs {
            // t = (t + a[i] * b + m * n) / 2^32, with m such that the division
            // leaves nothing over. Both products in one pass, a carry for each.
            let x = a.0[i];
            let m = t.0[0]
                .wrapping_add(x.wrapping_mul(b.0[0]))
                .wrapping_mul(self.n0);
            let (mut carry_x, mut carry_m) = (0u32, 0u32);
            let mut j = 0;
            while j < limbs {
                let s = x as u64 * b.0[j] as u64 + t.0[j] as u64 + carry_x as u64;
                carry_x = (s >> 32) as u32;
                let s = m as u64 * self.n.0[j] as u64 + (s as u32) as u64 + carry_m as u64;
                carry_m = (s >> 32) as u32;
                // The lowest limb is 0 by the choice of m.
                if j > 0 {
                    t.0[j - 1] = s as u32;
                }
                j += 1;
            }
            let s = top as u64 + carry_x as u64 + carry_m as u64;
            t.0[limbs - 1] = s as u32;
            top = (s >> 32) as u32;
            i += 1;
        }
        if top != 0 || !self.is_above(t) {
            self.subtract(t);
        }
    }

    /// x^e mod n for x below n and odd e of at least 3.
    pub(super) fn power(&self, x: &Limbs, e: u32) -> Limbs {
        // Left to right in the Montgomery domain; the last factor is x itself,
        // which leaves the domain without one more multiplication.
        let mut base = Limbs::ZERO;
        self.multiply(&mut base, x, &self.rr);
        let mut acc = base;
        let mut bit = 32;
        while bit > 1 && e >> (bit - 1) == 0 {
            bit -= 1;
        }
        bit -= 1;
        while bit > 0 {
            bit -= 1;
            let mut square = Limbs::ZERO;
            self.multiply(&mut square, &acc, &acc);
            if e >> bit & 1 == 1 {
                self.multiply(&mut acc, &square, if bit == 0 { x } else { &base });
            } else {
                acc = square;
            }
        }
        acc
    }
}
