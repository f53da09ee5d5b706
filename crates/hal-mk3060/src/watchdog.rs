//! Watchdog and software reset.

use crate::regs::watchdog::{CONTROL, Control, KEY1, KEY2, TICK_HZ};
use crate::regs::{Bus, icu};

/// The watchdog of this core.
pub struct Watchdog<B> {
    bus: B,
}

impl<B: Bus> Watchdog<B> {
    /// Takes the watchdog as it is, running or not.
    pub const fn new(bus: B) -> Self {
        Self { bus }
    }

    /// Starts it: without [`Watchdog::feed`] the chip resets after `ms`
    /// milliseconds (at most 65 535 ticks, taken as 1 ms each).
    #[inline(never)]
    pub fn start(&mut self, ms: u32) {
        let period = u16::try_from(ms.saturating_mul(TICK_HZ / 1000)).unwrap_or(u16::MAX);
        self.clock(true);
        self.keys(period);
    }

    /// Starts the count again. Without effect when it is not running.
    pub fn feed(&mut self) {
        let period = CONTROL.read(&self.bus).period();
        self.keys(period);
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.clock(false);
    }

    fn clock(&mut self, on: bool) {
        icu::CLOCK_POWER_DOWN.modify(&self.bus, |old| old.with_watchdog(!on));
    }

    fn keys(&mut self, period: u16) {
        let control = Control::new().with_period(period);
        CONTROL.write(&self.bus, control.with_key(KEY1));
        CONTROL.write(&self.bus, control.with_key(KEY2));
    }

    /// Resets the chip.
    #[cfg(target_os = "none")]
    pub fn reset(&mut self) -> ! {
        self.start(1);
        #[allow(clippy::empty_loop)] // nothing may run until the reset
        loop {}
    }
}
