//! Applies a ptr patch from one part of flash to another, to measure the decoder: what
//! it takes of time and stack on the board.
//!
//! Started by a key on UART1; the tests that run it lay out the flash.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on the board: cargo xtask test --only board");
}

#[cfg(target_os = "none")]
mod board {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    use hal_mk3060::flash::Flash;
    use hal_mk3060::regs::Mmio;
    use hal_mk3060::uart::{Port, Uart};
    use hal_mk3060::watchdog::Watchdog;
    use ota_delta::IoError;
    use ota_delta::ptr::{Decoder, Header, Target};

    hal_mk3060::app_entry!(main, irq, fault);

    /// Flash offsets of the old image, the new one, and the patch behind its length.
    const OLD: u32 = 0x4_0000;
    const NEW: u32 = 0x10_0000;
    const PATCH: u32 = 0x18_0000;

    struct Images(Flash<Mmio>);

    impl Images {
        fn read(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
            self.0.read(offset, buf).map_err(|_| IoError)
        }
    }

    impl Target for Images {
        fn begin(&mut self, _: &Header) -> Result<(), IoError> {
            Ok(())
        }
        fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
            self.read(OLD + offset, buf)
        }
        fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
            self.read(NEW + offset, buf)
        }
        fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
            // The last block is shorter than a unit of flash.
            let (whole, rest) = data.split_at(data.len() & !31);
            let at = NEW + offset;
            self.0.write(at, whole).map_err(|_| IoError)?;
            if rest.is_empty() {
                return Ok(());
            }
            let mut last = [0xFF; 32];
            last[..rest.len()].copy_from_slice(rest);
            let at = at + whole.len() as u32;
            self.0.write(at, &last).map_err(|_| IoError)
        }
    }

    extern "C" fn irq() {}

    extern "C" fn fault(_: u32) -> ! {
        Watchdog::new(Mmio).reset()
    }

    fn apply() -> bool {
        static mut DECODER: Decoder = Decoder::new();
        // SAFETY: one thread, and only this call takes it.
        let decoder = unsafe { &mut *(&raw mut DECODER) };
        let mut images = Images(Flash::new(Mmio));
        let mut word = [0; 4];
        if images.read(PATCH, &mut word).is_err() {
            return false;
        }
        let end = PATCH + 4 + u32::from_le_bytes(word);
        let mut at = PATCH + 4;
        while at < end {
            let mut piece = [0; 128];
            let n = piece.len().min((end - at) as usize);
            let good = images.read(at, &mut piece[..n]).is_ok()
                && decoder.push(&mut images, &piece[..n]).is_ok();
            if !good {
                return false;
            }
            Watchdog::new(Mmio).feed();
            at += n as u32;
        }
        decoder.finish().is_ok()
    }

    extern "C" fn main() -> ! {
        let uart = Uart::new(Mmio, Port::Uart1, 921_600);
        uart.send_all(b"ready\r\n");
        loop {
            Watchdog::new(Mmio).feed();
            if uart.poll().is_some() {
                let done = apply();
                uart.send_all(if done { b"applied\r\n" } else { b"failed\r\n" });
            }
        }
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        Watchdog::new(Mmio).reset()
    }
}
