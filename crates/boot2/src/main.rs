//! The loader: decide, install if asked, start.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("boot2 runs on the board: cargo xtask board build");
}

#[cfg(all(target_os = "none", feature = "console"))]
mod console;

#[cfg(target_os = "none")]
mod board {
    use boot2::{INFO_LEN, KEYS, LoaderInfo, capability};
    use hal_mk3060::memory::APP_START;
    use hal_mk3060::regs::Mmio;
    use hal_mk3060::watchdog::Watchdog;
    use hal_mk3060::{PARTITIONS, Window, start};
    use ota_bootlib::{Config, Decision, Partitions, RuleCheck};
    use ota_flash::PartitionId;
    use ota_verify::{Coding, Module, Policy, Refusal, Requirement, RsaPublicKey, Rules};

    hal_mk3060::loader_entry!(main);
    hal_mk3060::memory_functions!();

    /// An image on trial that does not feed the watchdog for this long has
    /// failed its start. As in the loader AliOS Things shipped.
    const TRIAL_WATCHDOG_MS: u32 = 6000;
    /// Bytes read or copied at a time; half a sector keeps RAM below 8 KiB.
    const BUFFER_LEN: usize = 2048;
    /// Longest time between two flash operations: a sector erase, or hashing
    /// one buffer, with a lot of room.
    const OWN_WATCHDOG_MS: u32 = 6000;

    /// Format of the boot journal, as in `docs/journal.md`.
    const JOURNAL_VERSION: u16 = 1;

    pub(crate) const VERSION: &str = concat!("boot2-", env!("CARGO_PKG_VERSION"));

    const INFO: LoaderInfo = LoaderInfo::new(
        JOURNAL_VERSION,
        capability::SWAP
            | if cfg!(feature = "nbdiff") {
                capability::PATCH_SWAP
            } else {
                0
            }
            | if cfg!(feature = "mailbox") {
                capability::MAILBOX
            } else {
                0
            }
            | if KEYS.is_empty() {
                0
            } else {
                capability::SIGNED_ONLY
            },
        VERSION,
    );

    #[used]
    #[unsafe(link_section = ".descriptor")]
    static INFO_BLOCK: [u8; INFO_LEN] = INFO.to_bytes();

    /// What an image must satisfy, all of it known here.
    pub(crate) struct Demands;

    impl Rules for Demands {
        const MD5: bool = cfg!(feature = "md5");
        const FLOOR: bool = cfg!(feature = "floor");
        const BARE: bool = cfg!(feature = "mailbox");
        const EACH_START: bool = false;

        /// Images for the device itself only. Behind the first zero there is none
        /// but zeros in a descriptor that is whole.
        fn check_module(&self, field: &[u8; 32]) -> Result<(), Refusal> {
            if field[0] == 0 {
                Ok(())
            } else {
                Err(Refusal::Module(Module::DEFAULT))
            }
        }

        fn policy(&self) -> &Policy {
            const {
                &Policy {
                    image_signature: if KEYS.is_empty() {
                        Requirement::Optional
                    } else {
                        Requirement::Required
                    },
                    // The last sector of the update slot is spare.
                    max_image_len: 0xE_4000,
                    ..Policy::DEFAULT
                }
            }
        }

        fn keys(&self) -> &[RsaPublicKey] {
            static STORE: [RsaPublicKey; KEYS.len()] = KEYS;
            &STORE
        }

        fn coding(&self) -> Coding {
            Coding::MK3060
        }
    }

    pub(crate) const CHECK: RuleCheck<Demands> = RuleCheck(Demands);

    pub(crate) type Slots = Partitions<Window<Mmio>>;

    const fn partition(id: PartitionId) -> Window<Mmio> {
        match PARTITIONS.get(id) {
            Some(entry) => Window::new(Mmio, entry),
            None => panic!("not in the partition table"),
        }
    }

    const SLOTS: Slots = Partitions {
        active: partition(PartitionId::Application),
        update: partition(PartitionId::OtaTemp),
        journal: partition(PartitionId::RecoveryBackPara),
        mailbox: if cfg!(feature = "mailbox") {
            Some(partition(PartitionId::Parameter1))
        } else {
            None
        },
    };

    /// Decides what to start, and installs what is asked for.
    fn start_up(slots: &mut Slots, buffer: &mut [u8]) -> Decision {
        let config = Config::default();
        #[cfg(feature = "nbdiff")]
        {
            use core::ptr::addr_of_mut;
            use ota_bootlib::Nbdiff;
            use ota_delta::nbdiff::Workspace;

            // All zeros, so that it takes no flash.
            static mut WORKSPACE: Workspace = Workspace::new();
            // SAFETY: this function runs once, and nothing else names it.
            let mut patch = Nbdiff::new(unsafe { &mut *addr_of_mut!(WORKSPACE) });
            ota_bootlib::start_up_with_patch(
                slots,
                &mut { CHECK },
                &mut patch,
                &mut (),
                &config,
                buffer,
            )
        }
        #[cfg(not(feature = "nbdiff"))]
        ota_bootlib::start_up(slots, &mut { CHECK }, &mut (), &config, buffer)
    }

    extern "C" fn main() -> ! {
        let mut watchdog = Watchdog::new(Mmio);
        watchdog.start(OWN_WATCHDOG_MS);
        // Not on the stack: what lies behind it there is out of reach of short
        // instructions.
        static mut BUFFER: [u8; BUFFER_LEN] = [0; BUFFER_LEN];
        // SAFETY: this function runs once, and nothing else names it.
        let buffer = unsafe { &mut *core::ptr::addr_of_mut!(BUFFER) };
        let mut slots = SLOTS;
        let protection = Window::chip_status(&Mmio);
        #[cfg(feature = "planted-panic")]
        {
            // The compiler does not know what the buffer holds.
            let at = usize::from(core::hint::black_box(buffer[0]));
            buffer[0] = [1, 2, 3][at];
        }
        #[cfg(feature = "console")]
        if crate::console::key_pressed() {
            crate::console::run(&mut slots, None, buffer);
        }
        match start_up(&mut slots, buffer) {
            Decision::Start { trial, .. } => {
                Window::restore(&Mmio, protection);
                if trial {
                    watchdog.start(TRIAL_WATCHDOG_MS);
                } else {
                    watchdog.stop();
                }
                // SAFETY: `start_up` found an image there that may run, and nothing
                // here lets interrupts through.
                unsafe { start::jump(APP_START) }
            }
            Decision::Recovery { reason } => {
                #[cfg(feature = "console")]
                crate::console::run(&mut slots, Some(reason), buffer);
                // Without a console there is nothing to do but to try again:
                // a cable may have brought an image by then.
                #[cfg(not(feature = "console"))]
                {
                    let _ = reason;
                    watchdog.reset()
                }
            }
        }
    }

    /// A panic that can be reached is a link error: nothing defines this.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        unsafe extern "C" {
            fn boot2_can_panic() -> !;
        }
        // SAFETY: never linked.
        unsafe { boot2_can_panic() }
    }
}
