//! Demo application: a device that updates itself over the air.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    otaapp::host::main()
}

#[cfg(target_os = "none")]
mod image {
    use core::mem::MaybeUninit;
    use hal_mk3060::memory::APP_START;
    use ota_agent::Decoders;
    use ota_verify::{DESCRIPTOR_LEN, ImageDescriptor};
    use otaapp::board;

    hal_mk3060::app_entry!(main, irq, fault);

    /// `ota image pack` puts version and length in.
    #[used]
    #[unsafe(link_section = ".descriptor")]
    static DESCRIPTOR: [u8; DESCRIPTOR_LEN as usize] =
        ImageDescriptor::template("app-0.0.0", "", APP_START);

    /// Too large for the stack, even on the way to its place. All zeros until used:
    /// it takes no room in the image.
    static mut DECODERS: Decoders = Decoders::new();

    /// Counts starts. Not cleared at a reset, and anything after power-on: both
    /// make a start differ from the one before.
    #[unsafe(link_section = ".noinit")]
    static mut STARTS: MaybeUninit<u32> = MaybeUninit::uninit();

    extern "C" fn main() -> ! {
        let starts = (&raw mut STARTS).cast::<u32>();
        // SAFETY: one thread, before anything else; RAM holds some number, and a
        // volatile read does not ask which.
        let seed = unsafe {
            let seed = starts.read_volatile().wrapping_add(1);
            starts.write_volatile(seed);
            seed
        };
        // SAFETY: one thread, and this is the only place that names it.
        let decoders = unsafe { &mut *(&raw mut DECODERS) };
        board::run(&DESCRIPTOR, decoders, u64::from(seed) << 7)
    }

    extern "C" fn irq() {
        board::on_interrupt();
    }

    extern "C" fn fault(kind: u32) -> ! {
        board::fault(kind)
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        board::panic(info)
    }
}
