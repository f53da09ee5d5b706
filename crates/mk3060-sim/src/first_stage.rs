//! What runs before the second-stage loader.
//!
//! The real first stage (flash 0 to 0x10000) belongs to the module's vendor.
//! The emulator stands in for it: vectors at 0 that lead through the RAM
//! pointers, and, if asked, the habits of the one version that is publicly
//! known.

use crate::flash::FlashUnit;
use crate::report::Fault;
use crate::time::Time;
use crate::trace::Trace;
use embedded_storage::nor_flash::ReadNorFlash;
use hal_mk3060::memory::{FIRST_STAGE_ERASES, SECTOR_LEN};
use hal_mk3060::regs::flash::ChipStatus;
use std::collections::VecDeque;

/// Logical addresses the first stage occupies.
pub const LEN: u32 = 0x1_0000;

/// Which first stage to stand in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstStage {
    /// Vectors only; the loader starts at once.
    #[default]
    None,
    /// "MiCO bootloader v3.0": acts on a `boot_table_t` in `PARAMETER_1`,
    /// erases flash 0xF0000..0xFF000 when it finds no update there and the
    /// range is not blank, waits 500 ms for four spaces in a row on UART2,
    /// leaves the flash protected.
    Mico30,
}

/// How long it waits for spaces.
const WAIT: Time = Time::millis(500);
/// Bytes that come in meanwhile: ten bits each at 921,600 baud.
const WAIT_BYTES: usize = 921_600 / 10 / 2;

/// `boot_table_t` lies at the start of `PARAMETER_1`.
const BOOT_TABLE: u32 = 0x1_0000;

/// Each stub pushes the handler's address from the pointer at RAM + `n` and
/// pops it into the program counter, leaving all registers as they were.
const fn stub(pointer: u32) -> [u32; 6] {
    [
        0xE24D_D004,           // sub sp, sp, #4
        0xE52D_0004,           // str r0, [sp, #-4]!
        0xE3A0_0501,           // mov r0, #0x400000
        0xE590_0000 | pointer, // ldr r0, [r0, #pointer]
        0xE58D_0004,           // str r0, [sp, #4]
        0xE8BD_8001,           // ldmfd sp!, {r0, pc}
    ]
}

const IRQ: [u32; 6] = stub(0);
const FIQ: [u32; 6] = stub(4);
const SWI: [u32; 6] = stub(8);

/// `b to`, at `at`.
const fn branch(at: u32, to: u32) -> u32 {
    0xEA00_0000 | ((to - at - 8) / 4)
}

/// The word at `address` of the stand-in, if the stand-in has code there.
pub(crate) fn word(address: u32) -> Option<u32> {
    let stub = |code: &[u32; 6], at: u32| code.get(((address - at) / 4) as usize).copied();
    match address & !3 {
        0x08 => Some(branch(0x08, 0x80)),
        0x18 => Some(branch(0x18, 0x40)),
        0x1C => Some(branch(0x1C, 0x60)),
        0x40..0x58 => stub(&IRQ, 0x40),
        0x60..0x78 => stub(&FIQ, 0x60),
        0x80..0x98 => stub(&SWI, 0x80),
        _ => None,
    }
}

/// More than three spaces in a row.
fn opens_menu<'a>(line: impl Iterator<Item = &'a u8>) -> bool {
    let mut row = 0;
    line.into_iter().any(|byte| {
        row = if *byte == b' ' { row + 1 } else { 0 };
        row > 3
    })
}

impl FirstStage {
    /// What it does after reset, and how long that takes.
    pub(crate) fn run(
        self,
        flash: &mut FlashUnit,
        uart2: &VecDeque<u8>,
        now: Time,
        trace: &mut Trace,
    ) -> Result<Time, Fault> {
        match self {
            Self::None => Ok(Time::ZERO),
            Self::Mico30 => {
                let mut spent = Time::ZERO;
                let mut table = [0; 24];
                // Power is on here: the machine has just been reset.
                let _ = flash.chip.read(BOOT_TABLE, &mut table);
                let [.., kind, upgrade, _, _, _, _, _, _] = table;
                let update = matches!(kind, b'A' | b'B' | b'D') && upgrade == b'U';
                if update {
                    return Err(Fault::FirstStageActs(
                        "PARAMETER_1 holds a boot_table_t that asks for an update",
                    ));
                }
                let mut sector = vec![0; SECTOR_LEN as usize];
                let mut range = FIRST_STAGE_ERASES.step_by(SECTOR_LEN as usize);
                let dirty = range.any(|at| {
                    flash.chip.read(at, &mut sector).is_ok()
                        && sector.iter().any(|byte| *byte != 0xFF)
                });
                if dirty {
                    for at in FIRST_STAGE_ERASES.step_by(SECTOR_LEN as usize) {
                        spent += flash.first_stage_erase(at, now + spent, trace);
                    }
                }
                flash.set_chip_status(ChipStatus::new().with_complement(true));
                if opens_menu(uart2.iter().take(WAIT_BYTES)) {
                    return Err(Fault::FirstStageActs(
                        "spaces on UART2 have opened its menu",
                    ));
                }
                Ok(spent + WAIT)
            }
        }
    }
}
