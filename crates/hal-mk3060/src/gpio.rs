//! Pins as embedded-hal digital inputs and outputs.

use crate::regs::Bus;
use crate::regs::gpio::{Pin, config};
use core::convert::Infallible;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin, StatefulOutputPin};

/// A pin driven by the program.
pub struct Output<B> {
    bus: B,
    pin: u32,
}

impl<B: Bus> Output<B> {
    /// Drives `pin` (0 to 31), low at first.
    pub fn new(bus: B, pin: u32) -> Self {
        config(pin & 31).write(&bus, Pin::OUTPUT);
        Self { bus, pin: pin & 31 }
    }
}

impl<B> ErrorType for Output<B> {
    type Error = Infallible;
}

impl<B: Bus> OutputPin for Output<B> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        config(self.pin).write(&self.bus, Pin::OUTPUT);
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        config(self.pin).write(&self.bus, Pin::OUTPUT.with_output(true));
        Ok(())
    }
}

impl<B: Bus> StatefulOutputPin for Output<B> {
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        Ok(config(self.pin).read(&self.bus).output())
    }
    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        Ok(!config(self.pin).read(&self.bus).output())
    }
}

/// A pin read by the program.
pub struct Input<B> {
    bus: B,
    pin: u32,
}

impl<B: Bus> Input<B> {
    /// Makes `pin` (0 to 31) an input, floating or pulled up.
    pub fn new(bus: B, pin: u32, pull_up: bool) -> Self {
        let mode = if pull_up {
            Pin::INPUT_PULL_UP
        } else {
            Pin::INPUT
        };
        config(pin & 31).write(&bus, mode);
        Self { bus, pin: pin & 31 }
    }
}

impl<B> ErrorType for Input<B> {
    type Error = Infallible;
}

impl<B: Bus> InputPin for Input<B> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(config(self.pin).read(&self.bus).input())
    }
    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!config(self.pin).read(&self.bus).input())
    }
}
