//! Digests of machines: equal digests, equal future.

use crate::time::Time;
use std::hash::{DefaultHasher, Hasher};

/// Takes in what decides how a machine goes on. Moments go in as spans from
/// now, so that the same state at another time has the same digest.
pub(crate) struct Fingerprint(DefaultHasher, DefaultHasher);

impl Fingerprint {
    pub fn new() -> Self {
        let mut second = DefaultHasher::new();
        second.write_u64(0x9E37_79B9_7F4A_7C15);
        Self(DefaultHasher::new(), second)
    }

    pub fn word(&mut self, word: u64) {
        self.0.write_u64(word);
        self.1.write_u64(word);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    pub fn span(&mut self, to: Time, now: Time) {
        self.word(if to == Time::NEVER {
            u64::MAX
        } else {
            to.since(now).units()
        });
    }

    pub fn finish(self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
    }
}
