//! A flash whose operations are shown to a closure.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// An operation that [`TraceFlash`] is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashOp {
    /// Read of `len` bytes.
    Read {
        /// First address.
        offset: u32,
        /// Bytes.
        len: usize,
    },
    /// Erase of `from..to`.
    Erase {
        /// First address.
        from: u32,
        /// First address after it.
        to: u32,
    },
    /// Program of `len` bytes.
    Write {
        /// First address.
        offset: u32,
        /// Bytes.
        len: usize,
    },
}

/// Shows every operation to a closure before it happens: for a log, a progress
/// display, or to feed a watchdog.
#[derive(Debug, Clone)]
pub struct TraceFlash<F, T> {
    flash: F,
    tracer: T,
}

impl<F, T: FnMut(FlashOp)> TraceFlash<F, T> {
    /// Puts `tracer` in front of `flash`.
    pub fn new(flash: F, tracer: T) -> Self {
        Self { flash, tracer }
    }

    /// The flash below.
    pub fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// The flash again.
    pub fn into_inner(self) -> F {
        self.flash
    }
}

impl<F: ErrorType, T> ErrorType for TraceFlash<F, T> {
    type Error = F::Error;
}

impl<F: ReadNorFlash, T: FnMut(FlashOp)> ReadNorFlash for TraceFlash<F, T> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        let len = bytes.len();
        (self.tracer)(FlashOp::Read { offset, len });
        self.flash.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash, T: FnMut(FlashOp)> NorFlash for TraceFlash<F, T> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        (self.tracer)(FlashOp::Erase { from, to });
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        let len = bytes.len();
        (self.tracer)(FlashOp::Write { offset, len });
        self.flash.write(offset, bytes)
    }
}
