//! Random numbers for back-off and ports; not for secrets.

use ota_agent::Rng;

/// Marsaglia's xorshift, 64 bits.
pub struct XorShift(u64);

impl XorShift {
    /// Any seed will do.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9E37_79B9_7F4A_7C15 | 1)
    }
}

impl Rng for XorShift {
    fn next_u32(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_different_numbers() {
        let first = |seed| {
            let mut rng = XorShift::new(seed);
            [rng.next_u32(), rng.next_u32()]
        };
        assert_ne!(first(2), first(4));
        assert_ne!(first(0)[0], first(0)[1]);
    }
}
