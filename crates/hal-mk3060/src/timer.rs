//! Time from a PWM channel in timer mode.

use crate::regs::pwm::{self, ChannelControl, Counter};
use crate::regs::{Bus, icu};

/// A millisecond tick on one PWM channel, polled or by interrupt.
///
/// The channel's end flag is set every millisecond. [`Tick::take`] sees and
/// clears it; milliseconds during which nobody looks merge into one.
pub struct Tick<B> {
    bus: B,
    channel: u32,
}

impl<B: Bus> Tick<B> {
    /// Starts `channel` (0 to 5) from the 26 MHz clock.
    pub fn start(bus: B, channel: u32) -> Self {
        let tick = Self {
            bus,
            channel: channel.min(pwm::CHANNELS - 1),
        };
        let bit = 1 << tick.channel;
        icu::PWM_CLOCK_MUX.modify(&tick.bus, |old| old & !bit);
        icu::CLOCK_POWER_DOWN.modify(&tick.bus, |old| old.with_pwm(old.pwm() & !(bit as u8)));
        tick.control(ChannelControl::new());
        pwm::counter(tick.channel).write(
            &tick.bus,
            Counter::new().with_end((pwm::CLOCK_HZ / 1000) as u16),
        );
        tick.take();
        // The flag may depend on the channel's interrupt enable; whether it
        // reaches the core is up to the interrupt unit.
        tick.control(
            ChannelControl::new()
                .with_enable(true)
                .with_int_enable(true)
                .with_mode(1),
        );
        tick
    }

    /// Takes a channel that was started before (in an interrupt handler).
    pub const fn attach(bus: B, channel: u32) -> Self {
        Self { bus, channel }
    }

    /// Stops the channel.
    pub fn stop(self) {
        self.control(ChannelControl::new());
        self.take();
    }

    fn control(&self, bits: ChannelControl) {
        let shift = 4 * self.channel;
        pwm::CONTROL.modify(&self.bus, |old| {
            old & !(0xF << shift) | u32::from(bits.into_bits()) << shift
        });
    }

    /// Whether a millisecond has ended since the last call.
    pub fn take(&self) -> bool {
        let bit = 1 << self.channel;
        let ended = pwm::INT_STATUS.read(&self.bus) & bit != 0;
        if ended {
            // The flag crosses clock domains: written until it reads clear.
            while pwm::INT_STATUS.read(&self.bus) & bit != 0 {
                pwm::INT_STATUS.write(&self.bus, bit);
            }
        }
        ended
    }
}
