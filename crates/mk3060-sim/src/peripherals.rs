//! Interrupt and clock unit, watchdog, PWM timers, GPIO, system control.

use crate::fingerprint::Fingerprint;
use crate::time::Time;
use hal_mk3060::regs::icu::ClockPowerDown;
use hal_mk3060::regs::pwm::{CHANNELS, CLOCK_HZ, ChannelControl, Counter, SLOW_CLOCK_HZ};
use hal_mk3060::regs::{system, watchdog};

/// Interrupt and clock unit.
#[derive(Clone, Default)]
pub struct Icu {
    clock_mux: u32,
    /// Bit n: PWM channel n on the slow clock.
    pub pwm_mux: u32,
    /// 1 powers a clock down.
    pub power_down: ClockPowerDown,
    gate_disable: u32,
    divider: u32,
    jtag: u32,
    enable: u32,
    global: u32,
    wake: u32,
    /// Sources that ask.
    pub raw: u32,
}

impl Icu {
    /// After a reset the watchdog's and the timers' clocks are off; the UARTs
    /// and PWM channels are switched on by whoever uses them.
    pub fn new() -> Self {
        Self {
            power_down: ClockPowerDown::from_bits(0xF_FFFF),
            ..Self::default()
        }
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        for word in [
            self.clock_mux,
            self.pwm_mux,
            self.power_down.into(),
            self.gate_disable,
            self.divider,
            self.jtag,
            self.enable,
            self.global,
            self.wake,
            self.raw,
        ] {
            print.word(word.into());
        }
    }

    /// Whether an enabled source asks (this also ends wait-for-interrupt).
    pub fn pending(&self) -> bool {
        self.raw & self.enable != 0
    }

    /// Whether the core's IRQ line is up.
    pub fn irq(&self) -> bool {
        self.raw & self.enable & 0xFFFF != 0 && self.global & 1 != 0
    }

    /// Whether the core's FIQ line is up.
    pub fn fiq(&self) -> bool {
        self.raw & self.enable & 0xFFFF_0000 != 0 && self.global & 2 != 0
    }

    /// Whether any interrupt source is enabled at all.
    pub fn listens(&self) -> bool {
        self.enable != 0
    }

    /// Reads a register.
    pub fn read(&self, register: u32) -> Option<u32> {
        Some(match register {
            0x00 => self.clock_mux,
            0x04 => self.pwm_mux,
            0x08 => self.power_down.into(),
            0x0C => self.gate_disable,
            0x14 => self.divider,
            0x18 => self.jtag,
            0x40 => self.enable,
            0x44 => self.global,
            0x48 => self.raw,
            0x4C => self.raw & self.enable,
            0x50 => self.wake,
            _ => return None,
        })
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32) -> Option<()> {
        match register {
            0x00 => self.clock_mux = value,
            0x04 => self.pwm_mux = value,
            0x08 => self.power_down = ClockPowerDown::from_bits(value),
            0x0C => self.gate_disable = value,
            0x14 => self.divider = value,
            0x18 => self.jtag = value,
            0x40 => self.enable = value,
            0x44 => self.global = value,
            // Sources are levels here: the status clears with its cause.
            0x4C => {}
            0x50 => self.wake = value,
            _ => return None,
        }
        Some(())
    }
}

/// Watchdog.
#[derive(Clone, Default)]
pub struct Watchdog {
    control: watchdog::Control,
    armed: Option<watchdog::Control>,
    deadline: Option<Time>,
    clock_on: bool,
}

impl Watchdog {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint, now: Time) {
        print.word(u32::from(self.control).into());
        print.word(
            self.armed
                .map_or(u64::MAX, |control| u32::from(control).into()),
        );
        print.span(self.deadline.unwrap_or(Time::NEVER), now);
        print.word(self.clock_on.into());
    }

    /// When it resets the chip.
    pub fn next_event(&self) -> Time {
        match self.deadline {
            Some(at) if self.clock_on => at,
            _ => Time::NEVER,
        }
    }

    /// Follows its clock gate.
    pub fn clock(&mut self, on: bool, now: Time) {
        if on && !self.clock_on && self.control.period() != 0 && self.deadline.is_some() {
            self.deadline = Some(now + self.period());
        }
        self.clock_on = on;
    }

    fn period(&self) -> Time {
        Time::ticks(self.control.period().into(), watchdog::TICK_HZ.into())
    }

    /// Reads a register.
    pub fn read(&self, register: u32) -> Option<u32> {
        (register == 0).then(|| self.control.into())
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32, now: Time) -> Option<()> {
        if register != 0 {
            return None;
        }
        let control = watchdog::Control::from_bits(value);
        match control.key() {
            watchdog::KEY1 => self.armed = Some(control),
            watchdog::KEY2 if self.armed.is_some() => {
                self.armed = None;
                self.control = control;
                self.deadline = (control.period() != 0).then(|| now + self.period());
            }
            _ => self.armed = None,
        }
        Some(())
    }
}

/// PWM block, timer mode.
#[derive(Clone)]
pub struct Pwm {
    control: u32,
    status: u32,
    counters: [Counter; CHANNELS as usize],
    ends: [Time; CHANNELS as usize],
}

impl Default for Pwm {
    fn default() -> Self {
        Self {
            control: 0,
            status: 0,
            counters: Default::default(),
            ends: [Time::NEVER; CHANNELS as usize],
        }
    }
}

impl Pwm {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint, now: Time) {
        print.word(u64::from(self.control) << 32 | u64::from(self.status));
        for counter in self.counters {
            print.word(u32::from(counter).into());
        }
        for end in self.ends {
            print.span(end, now);
        }
    }

    fn channel(&self, n: usize) -> ChannelControl {
        ChannelControl::from_bits((self.control >> (4 * n)) as u8 & 0xF)
    }

    fn period(&self, n: usize, slow: u32) -> Time {
        let hz = if slow >> n & 1 == 1 {
            SLOW_CLOCK_HZ
        } else {
            CLOCK_HZ
        };
        Time::ticks(
            self.counters.get(n).map_or(1, |c| c.end()).max(1).into(),
            hz.into(),
        )
    }

    /// Whether the interrupt line is up.
    pub fn asks(&self) -> bool {
        (0..CHANNELS as usize).any(|n| self.status >> n & 1 == 1 && self.channel(n).int_enable())
    }

    /// When a channel reaches its end.
    pub fn next_event(&self) -> Time {
        self.ends.iter().copied().min().unwrap_or(Time::NEVER)
    }

    /// Does what is due; `slow` and `power_down` come from the clock unit.
    pub fn advance(&mut self, now: Time, slow: u32, power_down: u8) {
        for n in 0..CHANNELS as usize {
            let period = self.period(n, slow);
            let Some(end) = self.ends.get_mut(n) else {
                continue;
            };
            while *end <= now {
                if power_down >> n & 1 == 0 {
                    self.status |= 1 << n;
                }
                *end += period;
            }
        }
    }

    /// Reads a register.
    pub fn read(&self, register: u32) -> Option<u32> {
        Some(match register {
            0x00 => self.control,
            0x04 => self.status,
            _ => {
                let n = (register.checked_sub(8)? / 8) as usize;
                let counter = *self.counters.get(n)?;
                if register.is_multiple_of(8) {
                    counter.into()
                } else {
                    0
                }
            }
        })
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32, now: Time, slow: u32) -> Option<()> {
        match register {
            0x00 => {
                let old = self.clone();
                self.control = value;
                for n in 0..CHANNELS as usize {
                    let (was, is) = (old.channel(n), self.channel(n));
                    let counts = is.enable() && is.mode() == 1;
                    let period = self.period(n, slow);
                    if let Some(end) = self.ends.get_mut(n) {
                        if !counts {
                            *end = Time::NEVER;
                        } else if was != is {
                            *end = now + period;
                        }
                    }
                }
            }
            0x04 => self.status &= !value,
            _ => {
                let n = (register.checked_sub(8)? / 8) as usize;
                let counter = self.counters.get_mut(n)?;
                if register.is_multiple_of(8) {
                    *counter = Counter::from_bits(value);
                }
            }
        }
        Some(())
    }
}

/// GPIO: pins keep what is written; inputs read what the outside drives.
#[derive(Clone)]
pub struct Gpio {
    pins: [u32; 32],
    /// Levels the outside drives, one bit a pin.
    pub outside: u32,
    function: u32,
    int_enable: u32,
    int_level: [u32; 2],
    module: u32,
}

impl Default for Gpio {
    fn default() -> Self {
        Self {
            pins: [0x0C; 32],
            outside: u32::MAX,
            function: 0,
            int_enable: 0,
            int_level: [0; 2],
            module: 0,
        }
    }
}

impl Gpio {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        let more = [self.outside, self.function, self.int_enable, self.module];
        for word in self.pins.iter().chain(&more).chain(&self.int_level) {
            print.word((*word).into());
        }
    }

    /// The chip was reset; the outside stays.
    pub fn reset(&mut self) {
        *self = Self {
            outside: self.outside,
            ..Self::default()
        };
    }

    /// Reads a register.
    pub fn read(&self, register: u32) -> Option<u32> {
        Some(match register {
            0x00..0x80 => {
                let n = (register / 4) as usize;
                let pin = *self.pins.get(n)?;
                pin & !1 | self.outside >> n & 1
            }
            0x80 => self.function,
            0x84 => self.int_enable,
            0x88 | 0x8C => *self.int_level.get((register as usize - 0x88) / 4)?,
            0x90 => 0,
            0xB4 => self.module,
            _ => return None,
        })
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32) -> Option<()> {
        match register {
            0x00..0x80 => *self.pins.get_mut((register / 4) as usize)? = value,
            0x80 => self.function = value,
            0x84 => self.int_enable = value,
            0x88 | 0x8C => *self.int_level.get_mut((register as usize - 0x88) / 4)? = value,
            0x90 => {}
            0xB4 => self.module = value,
            _ => return None,
        }
        Some(())
    }

    /// Level the program drives on `pin`, if it does.
    pub fn driven(&self, pin: usize) -> Option<bool> {
        let pin = *self.pins.get(pin)?;
        (pin & 0x08 == 0).then_some(pin & 0x02 != 0)
    }
}

/// System control: identifiers and clock selection; the rest keeps what is
/// written.
#[derive(Clone)]
pub struct System {
    registers: [u32; system::BLOCK_LEN as usize / 4],
}

impl Default for System {
    fn default() -> Self {
        let mut registers = [0; system::BLOCK_LEN as usize / 4];
        registers[0] = 0x7111;
        registers[1] = 0x2015_0414;
        // PLL with divider field 3, as the first stage leaves it.
        registers[2] = 0x32;
        Self { registers }
    }
}

impl System {
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        for word in self.registers {
            print.word(word.into());
        }
    }

    fn known(register: u32) -> bool {
        matches!(
            register,
            0x00..=0x10 | 0x58..=0x68 | 0x100 | 0x104 | 0x108 | 0x12C | 0x130
        )
    }

    /// Reads a register.
    pub fn read(&self, register: u32) -> Option<u32> {
        Self::known(register)
            .then(|| self.registers.get(register as usize / 4).copied())
            .flatten()
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32) -> Option<()> {
        if !Self::known(register) || register < 8 {
            return None;
        }
        // Writes of the block-enable register count with their key only.
        if register == 0x12C && value >> 20 != u32::from(system::BLOCK_ENABLE_KEY) {
            return Some(());
        }
        *self.registers.get_mut(register as usize / 4)? = value;
        Some(())
    }
}
