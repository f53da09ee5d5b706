//! Virtual time.

use core::ops::{Add, AddAssign, Sub};

/// Units in a second: half cycles of the 120 MHz core, because an instruction
/// is taken to last one and a half cycles.
const UNITS_PER_SECOND: u64 = 2 * hal_mk3060::memory::CORE_HZ as u64;
/// Units an instruction lasts.
const UNITS_PER_INSTRUCTION: u64 = 3;

/// A moment of virtual time, or a span of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Power-on; the empty span.
    pub const ZERO: Self = Self(0);
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);
    /// What one instruction takes.
    pub const INSTRUCTION: Self = Self(UNITS_PER_INSTRUCTION);

    /// `count` ticks of a clock of `hz`.
    #[must_use]
    pub const fn ticks(count: u64, hz: u64) -> Self {
        Self((count as u128 * UNITS_PER_SECOND as u128 / hz as u128) as u64)
    }

    /// Microseconds.
    #[must_use]
    pub const fn micros(us: u64) -> Self {
        Self::ticks(us, 1_000_000)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Self {
        Self::ticks(ms, 1000)
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / (UNITS_PER_SECOND / 1_000_000)
    }

    /// Seconds.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / UNITS_PER_SECOND as f64
    }

    /// Instructions after which it has passed.
    pub(crate) const fn as_instructions(self) -> u64 {
        self.0.div_ceil(UNITS_PER_INSTRUCTION)
    }

    /// What so many instructions take.
    pub(crate) const fn instructions(count: u64) -> Self {
        Self(count.saturating_mul(UNITS_PER_INSTRUCTION))
    }

    /// Half cycles of the core.
    pub(crate) const fn units(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to this moment, zero if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Time {
    type Output = Self;
    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, span: Self) {
        *self = *self + span;
    }
}

impl Sub for Time {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        self.since(earlier)
    }
}

impl core::fmt::Display for Time {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:.6} s", self.as_secs_f64())
    }
}
