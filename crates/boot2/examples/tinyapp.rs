//! The smallest application that can be updated: started by boot2, it shows
//! its version and waits for keys on UART1.
//!
//! `c` confirms, `u` requests the image in the update slot, `s` shows the boot
//! state, `r` resets, `h` hangs, `n` goes on without confirming.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this program runs on the board: cargo xtask board test");
}

#[cfg(target_os = "none")]
mod board {
    use core::cell::RefCell;
    use hal_mk3060::PARTITIONS;
    use hal_mk3060::flash::Flash;
    use hal_mk3060::memory::APP_START;
    use hal_mk3060::regs::Mmio;
    use hal_mk3060::uart::{Port, Uart};
    use hal_mk3060::watchdog::Watchdog;
    use ota_bootlib::{BootState, ImageCheck, Journal, Request, Strategy, Verify, VersionText};
    use ota_flash::{Partition, PartitionId};
    use ota_verify::{Coding, DESCRIPTOR_LEN, ImageDescriptor, Policy};

    hal_mk3060::app_entry!(main, irq, fault);

    #[used]
    #[unsafe(link_section = ".descriptor")]
    static DESCRIPTOR: [u8; DESCRIPTOR_LEN as usize] =
        ImageDescriptor::template("tiny-0.0.0", "", APP_START);

    extern "C" fn irq() {}

    extern "C" fn fault(_: u32) -> ! {
        Watchdog::new(Mmio).reset()
    }

    /// Moves all code behind it.
    const SHIFT: usize = if cfg!(feature = "shifted") { 64 } else { 0 };
    #[used]
    #[unsafe(link_section = ".start")]
    static FILLING: [u8; SHIFT] = [0; SHIFT];

    type Slot<'a> = Partition<'a, Flash<Mmio>>;

    extern "C" fn main() -> ! {
        let uart = Uart::new(Mmio, Port::Uart1, 921_600);
        // `ota image pack` has put version and length in.
        let descriptor = core::hint::black_box(&DESCRIPTOR);
        if let Ok(Some(found)) = ImageDescriptor::parse(descriptor) {
            uart.send_all(b"\r\n");
            uart.send_all(found.version.as_bytes());
            uart.send_all(b" started\r\n");
        }
        let flash = RefCell::new(Flash::new(Mmio));
        loop {
            Watchdog::new(Mmio).feed();
            let Some(key) = uart.poll() else { continue };
            let answer = match key {
                b'c' => confirm(&flash),
                b'u' => request(&flash),
                b's' => state(&flash),
                b'h' => loop {},
                b'r' => {
                    uart.wait_sent();
                    Watchdog::new(Mmio).reset()
                }
                _ => None,
            };
            uart.send_all(answer.unwrap_or("failed").as_bytes());
            uart.send_all(b"\r\n");
        }
    }

    fn open(flash: &RefCell<Flash<Mmio>>, id: PartitionId) -> Option<Slot<'_>> {
        PARTITIONS.open(flash, id).ok()
    }

    fn confirm(flash: &RefCell<Flash<Mmio>>) -> Option<&'static str> {
        let mut journal = Journal::open(open(flash, PartitionId::RecoveryBackPara)?).ok()?;
        journal.confirm(false, &mut ()).ok()?;
        Some("confirmed")
    }

    fn request(flash: &RefCell<Flash<Mmio>>) -> Option<&'static str> {
        let mut check = ImageCheck {
            policy: &Policy::DEFAULT,
            keys: &[],
            coding: Coding::MK3060,
        };
        let mut update = open(flash, PartitionId::OtaTemp)?;
        let mut buf = [0; 512];
        let image = check
            .verify(&mut update, None, &VersionText::NONE, &mut buf, &mut ())
            .ok()?;
        let mut journal = Journal::open(open(flash, PartitionId::RecoveryBackPara)?).ok()?;
        let request = Request::image(Strategy::Swap, image.total, image.sha256);
        journal.request(&request, &mut ()).ok()?;
        Some("requested")
    }

    fn state(flash: &RefCell<Flash<Mmio>>) -> Option<&'static str> {
        let journal = Journal::open(open(flash, PartitionId::RecoveryBackPara)?).ok()?;
        Some(match journal.boot_state() {
            BootState::Idle => "idle",
            BootState::Requested { .. } => "asked",
            BootState::Trial { started: 1, .. } => "trial 1",
            BootState::Trial { started: 2, .. } => "trial 2",
            BootState::Trial { .. } => "trial",
            _ => "other",
        })
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        fault(9)
    }
}
