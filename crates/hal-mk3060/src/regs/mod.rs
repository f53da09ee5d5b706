//! Register blocks: addresses and bits.
//!
//! A [`Reg`] is an address with the type of its bits; a [`Bus`] reads and
//! writes it. On the board that is `Mmio`; tests and the emulator bring
//! their own, so one set of definitions serves driver and model.

pub mod flash;
pub mod gpio;
pub mod icu;
pub mod pwm;
pub mod system;
pub mod uart;
pub mod watchdog;

use core::marker::PhantomData;

/// 32-bit access to peripheral registers.
pub trait Bus {
    /// Reads the register at `address`.
    fn read(&self, address: u32) -> u32;
    /// Writes `value` to the register at `address`.
    fn write(&self, address: u32, value: u32);
}

impl<B: Bus + ?Sized> Bus for &B {
    #[inline]
    fn read(&self, address: u32) -> u32 {
        (**self).read(address)
    }
    #[inline]
    fn write(&self, address: u32, value: u32) {
        (**self).write(address, value);
    }
}

/// The registers of the chip this program runs on.
#[cfg(target_os = "none")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Mmio;

#[cfg(target_os = "none")]
impl Bus for Mmio {
    #[inline(always)]
    fn read(&self, address: u32) -> u32 {
        // SAFETY: addresses come from `Reg`s, which lie in the peripheral area;
        // reading one has no effect on memory.
        unsafe { core::ptr::read_volatile(address as usize as *const u32) }
    }
    #[inline(always)]
    fn write(&self, address: u32, value: u32) {
        // SAFETY: as for `read`; no peripheral here is a bus master.
        unsafe { core::ptr::write_volatile(address as usize as *mut u32, value) }
    }
}

/// A 32-bit register whose bits are described by `T`.
pub struct Reg<T> {
    address: u32,
    bits: PhantomData<T>,
}

impl<T> Clone for Reg<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Reg<T> {}

impl<T> Reg<T> {
    pub(crate) const fn at(address: u32) -> Self {
        Self {
            address,
            bits: PhantomData,
        }
    }

    /// Bus address.
    #[must_use]
    pub const fn address(self) -> u32 {
        self.address
    }
}

impl<T: From<u32> + Into<u32>> Reg<T> {
    /// Reads the register.
    #[inline]
    pub fn read(self, bus: &impl Bus) -> T {
        bus.read(self.address).into()
    }

    /// Writes the register.
    #[inline]
    pub fn write(self, bus: &impl Bus, value: T) {
        bus.write(self.address, value.into());
    }

    /// Reads, changes and writes back.
    #[inline]
    pub fn modify(self, bus: &impl Bus, change: impl FnOnce(T) -> T) {
        self.write(bus, change(self.read(bus)));
    }
}
