//! Links every device crate into one image that is never run.
//!
//! Each module of the probe feeds the entries of one crate with input the
//! compiler cannot know, so that nothing is optimised away. `cargo xtask board
//! check` builds it and asks the symbol table whether each crate is there.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("error: the probe is for the board: `cargo xtask board check` builds it");
    std::process::exit(2);
}

#[cfg(target_os = "none")]
mod agent;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod delta;
#[cfg(target_os = "none")]
mod hal;
#[cfg(target_os = "none")]
mod proto;
#[cfg(target_os = "none")]
mod verify;

#[cfg(target_os = "none")]
mod bare {
    use core::hint::black_box;

    /// Bytes the compiler knows nothing of.
    pub fn input() -> &'static [u8] {
        static BYTES: [u8; 4096] = [0; 4096];
        black_box(&BYTES[..])
    }

    /// The same as text.
    pub fn text() -> &'static str {
        core::str::from_utf8(input()).unwrap_or_default()
    }

    /// A number the compiler knows nothing of.
    pub fn number() -> u32 {
        black_box(0)
    }

    /// A flash that does nothing, in ways the compiler cannot see.
    pub struct Flash;

    impl embedded_storage::nor_flash::ErrorType for Flash {
        type Error = embedded_storage::nor_flash::NorFlashErrorKind;
    }

    impl embedded_storage::nor_flash::ReadNorFlash for Flash {
        const READ_SIZE: usize = 1;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
            black_box((offset, bytes));
            Ok(())
        }
        fn capacity(&self) -> usize {
            black_box(0)
        }
    }

    impl embedded_storage::nor_flash::NorFlash for Flash {
        const WRITE_SIZE: usize = 32;
        const ERASE_SIZE: usize = 4096;
        fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            black_box((from, to));
            Ok(())
        }
        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            black_box((offset, bytes));
            Ok(())
        }
    }

    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        super::agent::probe();
        super::boot::probe();
        super::delta::probe();
        super::hal::probe();
        super::proto::probe();
        super::verify::probe();
        loop {}
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }
}
