//! UART1 and UART2.

use crate::interrupt;
use crate::regs::uart::{Block, Config, FifoConfig, Interrupts, UART1, UART2};
use crate::regs::{Bus, gpio, icu};
use core::cell::{Cell, UnsafeCell};
use core::convert::Infallible;

/// Which UART.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The console: pins 10 (RX) and 11 (TX).
    Uart1,
    /// Pins 1 (RX) and 0 (TX).
    Uart2,
}

impl Port {
    const fn block(self) -> Block {
        Block::at(match self {
            Self::Uart1 => UART1,
            Self::Uart2 => UART2,
        })
    }

    const fn pins(self) -> [u32; 2] {
        match self {
            Self::Uart1 => [10, 11],
            Self::Uart2 => [0, 1],
        }
    }
}

/// Received bytes that start an interrupt before the line falls silent.
const RX_THRESHOLD: u8 = 0x20;

/// One UART, 8N1.
///
/// Sending waits for room in the FIFO. Receiving polls the FIFO; with
/// [`Uart::enable_receive_interrupt`] the handler moves bytes into a
/// [`Ring`] by calling [`Uart::drain`], and the program reads the ring.
pub struct Uart<B> {
    bus: B,
    port: Port,
}

impl<B: Bus> Uart<B> {
    /// Sets pins, clock and format.
    pub fn new(bus: B, port: Port, baud: u32) -> Self {
        let uart = Self { bus, port };
        let bus = &uart.bus;
        icu::CLOCK_POWER_DOWN.modify(bus, |old| match port {
            Port::Uart1 => old.with_uart1(false),
            Port::Uart2 => old.with_uart2(false),
        });
        for pin in port.pins() {
            gpio::config(pin).write(bus, gpio::Pin::PERIPHERAL);
            gpio::FUNCTION.modify(bus, |old| old & !(1 << pin));
        }
        let block = port.block();
        block.config.write(bus, Config::new());
        block.flow.write(bus, 0);
        block.wake.write(bus, 0);
        block.int_enable.write(bus, Interrupts::new());
        block.fifo_config.write(
            bus,
            FifoConfig::new()
                .with_tx_threshold(1)
                .with_rx_threshold(RX_THRESHOLD),
        );
        block.config.write(bus, Config::eight_n_one(baud));
        uart
    }

    /// Takes a UART that is already set up.
    pub const fn attach(bus: B, port: Port) -> Self {
        Self { bus, port }
    }

    /// Sends one byte; waits while the FIFO is full.
    pub fn send(&self, byte: u8) {
        let block = self.port.block();
        while !block.fifo_status.read(&self.bus).write_ready() {}
        block
            .port
            .write(&self.bus, crate::regs::uart::Port::new().with_tx(byte));
    }

    /// Sends all of `bytes`.
    pub fn send_all(&self, bytes: &[u8]) {
        for &byte in bytes {
            self.send(byte);
        }
    }

    /// Waits until the transmit FIFO is empty.
    pub fn wait_sent(&self) {
        while !self.port.block().fifo_status.read(&self.bus).tx_empty() {}
    }

    /// A received byte, if there is one.
    pub fn poll(&self) -> Option<u8> {
        let block = self.port.block();
        block
            .fifo_status
            .read(&self.bus)
            .read_ready()
            .then(|| block.port.read(&self.bus).rx())
    }

    /// Interrupts when bytes wait: at the threshold, and when the line falls
    /// silent.
    pub fn enable_receive_interrupt(&self) {
        let block = self.port.block();
        block.int_enable.write(
            &self.bus,
            Interrupts::new()
                .with_rx_need_read(true)
                .with_rx_overflow(true)
                .with_rx_end(true),
        );
        icu::INT_ENABLE.modify(&self.bus, |old| match self.port {
            Port::Uart1 => old.with_uart1(true),
            Port::Uart2 => old.with_uart2(true),
        });
    }

    /// Moves received bytes into `ring` and clears the interrupt. Call it in
    /// the interrupt handler.
    pub fn drain<const N: usize>(&self, ring: &Ring<N>) {
        let block = self.port.block();
        let status = block.int_status.read(&self.bus);
        block.int_status.write(&self.bus, status);
        if status.rx_overflow() {
            ring.count_lost();
        }
        while let Some(byte) = self.poll() {
            ring.push(byte);
        }
    }
}

impl<B> embedded_io::ErrorType for Uart<B> {
    type Error = Infallible;
}

impl<B: Bus> embedded_io::Write for Uart<B> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.send_all(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        self.wait_sent();
        Ok(())
    }
}

impl<B: Bus> embedded_io::Read for Uart<B> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for slot in bytes {
            // The first byte is waited for, the others are taken if there.
            *slot = loop {
                match self.poll() {
                    Some(byte) => break byte,
                    None if count == 0 => {}
                    None => return Ok(count),
                }
            };
            count += 1;
        }
        Ok(count)
    }
}

impl<B: Bus> embedded_io::ReadReady for Uart<B> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.port.block().fifo_status.read(&self.bus).read_ready())
    }
}

/// Bytes on their way from an interrupt handler to the program.
///
/// A `static` of the program; both sides mask interrupts while they touch it.
pub struct Ring<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    /// Index of the oldest byte.
    head: Cell<usize>,
    len: Cell<usize>,
    lost: Cell<u32>,
}

// SAFETY: one core, and every access happens with interrupts masked.
#[cfg(target_os = "none")]
unsafe impl<const N: usize> Sync for Ring<N> {}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; N]),
            head: Cell::new(0),
            len: Cell::new(0),
            lost: Cell::new(0),
        }
    }

    /// Adds a byte; counts it as lost when the ring is full.
    pub fn push(&self, byte: u8) {
        interrupt::free(|| {
            let len = self.len.get();
            if len == N {
                self.lost.set(self.lost.get().saturating_add(1));
                return;
            }
            let at = wrap::<N>(self.head.get() + len);
            // SAFETY: interrupts are masked, so nobody else holds a reference.
            let bytes = unsafe { &mut *self.bytes.get() };
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
                self.len.set(len + 1);
            }
        });
    }

    /// Takes up to `into.len()` bytes, oldest first; how many.
    pub fn take(&self, into: &mut [u8]) -> usize {
        let mut count = 0;
        for slot in into {
            match self.pop() {
                Some(byte) => *slot = byte,
                None => break,
            }
            count += 1;
        }
        count
    }

    /// Takes the oldest byte.
    pub fn pop(&self) -> Option<u8> {
        interrupt::free(|| {
            let len = self.len.get().checked_sub(1)?;
            let head = self.head.get();
            // SAFETY: as in `push`.
            let byte = unsafe { &*self.bytes.get() }.get(head).copied()?;
            self.head.set(wrap::<N>(head + 1));
            self.len.set(len);
            Some(byte)
        })
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        interrupt::free(|| self.len.get())
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn count_lost(&self) {
        interrupt::free(|| self.lost.set(self.lost.get().saturating_add(1)));
    }

    /// Times a byte was lost: ring full, or hardware FIFO overrun.
    pub fn lost(&self) -> u32 {
        interrupt::free(|| self.lost.get())
    }
}

const fn wrap<const N: usize>(index: usize) -> usize {
    if index >= N { index - N } else { index }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_order_and_counts_what_it_loses() {
        let ring = Ring::<4>::new();
        for byte in 0..3 {
            ring.push(byte);
        }
        let mut two = [0; 2];
        assert_eq!(ring.take(&mut two), 2);
        assert_eq!(two, [0, 1]);
        for byte in 3..8 {
            ring.push(byte);
        }
        assert_eq!((ring.len(), ring.lost()), (4, 2));
        let mut all = [0; 8];
        assert_eq!(ring.take(&mut all), 4);
        assert_eq!(all[..4], [2, 3, 4, 5]);
        assert!(ring.is_empty());
    }
}
