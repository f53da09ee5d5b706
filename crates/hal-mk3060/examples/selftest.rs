//! A small application: exercises the drivers, talks on UART1.
//!
//! `cargo xtask board selftest` builds it and runs it in the emulator. On the
//! console: what is typed is echoed; `r` resets, `h` hangs with the watchdog
//! running, `u` executes an undefined instruction.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on the board: cargo xtask board selftest");
}

#[cfg(target_os = "none")]
mod board {
    use core::cell::Cell;
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    use hal_mk3060::flash::Flash;
    use hal_mk3060::interrupt;
    use hal_mk3060::regs::{Mmio, icu};
    use hal_mk3060::timer::Tick;
    use hal_mk3060::uart::{Port, Ring, Uart};
    use hal_mk3060::watchdog::Watchdog;
    use ota_flash::PartitionId;

    hal_mk3060::app_entry!(main, irq, fault);

    static RING: Ring<256> = Ring::new();

    struct Ticks(Cell<u32>);
    // SAFETY: one core; the handler adds, the program reads a word.
    unsafe impl Sync for Ticks {}
    static TICKS: Ticks = Ticks(Cell::new(0));

    static TABLE: [u8; 64] = {
        let mut table = [0; 64];
        let mut i = 0;
        while i < 64 {
            table[i] = (i * 7) as u8;
            i += 1;
        }
        table
    };

    fn console() -> Uart<Mmio> {
        Uart::attach(Mmio, Port::Uart1)
    }

    extern "C" fn irq() {
        let asks = icu::INT_STATUS.read(&Mmio);
        if asks.uart1() {
            console().drain(&RING);
        }
        if asks.pwm() && Tick::attach(Mmio, 0).take() {
            TICKS.0.set(TICKS.0.get() + 1);
        }
    }

    extern "C" fn fault(kind: u32) -> ! {
        console().send_all(b"fault ");
        console().send(b'0' + kind as u8);
        console().send_all(b"\r\n");
        console().wait_sent();
        Watchdog::new(Mmio).reset()
    }

    extern "C" fn main() -> ! {
        let uart = Uart::new(Mmio, Port::Uart1, 921_600);
        uart.enable_receive_interrupt();
        uart.send_all(b"selftest\r\n");

        Tick::start(Mmio, 0);
        icu::INT_ENABLE.modify(&Mmio, |old| old.with_pwm(true));
        icu::GLOBAL_ENABLE.modify(&Mmio, |old| old.with_irq(true));
        // SAFETY: handlers are in place since start-up.
        unsafe { interrupt::enable() };
        while TICKS.0.get() < 20 {
            interrupt::wait();
        }
        uart.send_all(b"ticks ok\r\n");

        uart.send_all(match flash() {
            Some(()) => b"flash ok\r\n",
            None => b"flash bad\r\n",
        });

        loop {
            interrupt::wait();
            while let Some(byte) = RING.pop() {
                uart.send(byte);
                match byte {
                    b'r' => Watchdog::new(Mmio).reset(),
                    b'h' => {
                        Watchdog::new(Mmio).start(100);
                        loop {}
                    }
                    // SAFETY: permanently undefined: the core takes its exception.
                    b'u' => unsafe { core::arch::asm!(".word 0xE7FFDEFE", options(noreturn)) },
                    _ => {}
                }
            }
        }
    }

    fn flash() -> Option<()> {
        let slot = hal_mk3060::PARTITIONS.get(PartitionId::OtaTemp)?;
        let mut flash = Flash::new(Mmio);
        let at = slot.start();
        flash.erase(at, at + 0x1000).ok()?;
        flash.write(at, &TABLE).ok()?;
        let mut back = [0; 64];
        flash.read(at, &mut back).ok()?;
        flash.restore_protection();
        (back == TABLE).then_some(())
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        fault(9)
    }
}
