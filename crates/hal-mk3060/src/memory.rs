//! Memory map and flash layout of the module.
//!
//! All partition addresses are flash offsets. The table is the one AliOS
//! Things 2.1 and later use on this module, so that devices in the field keep
//! their layout.

use crate::line_code;

/// Flash size in bytes.
pub const FLASH_LEN: u32 = 0x20_0000;
/// Erase unit in bytes.
pub const SECTOR_LEN: u32 = 0x1000;
/// Program and read unit in bytes.
pub const UNIT_LEN: u32 = 32;

/// First RAM address.
pub const RAM_START: u32 = 0x0040_0000;
/// End of RAM (exclusive).
pub const RAM_END: u32 = 0x0044_0000;
/// The first stage jumps through this word on IRQ.
pub const IRQ_POINTER: u32 = 0x0040_0000;
/// The first stage jumps through this word on FIQ.
pub const FIQ_POINTER: u32 = 0x0040_0004;
/// The first stage jumps through this word on SWI.
pub const SWI_POINTER: u32 = 0x0040_0008;
/// First RAM address for programs.
pub const RAM_FREE: u32 = 0x0040_0020;

/// Logical address the first stage jumps to: the second-stage loader.
pub const LOADER_START: u32 = 0x1_2000;
/// Largest loader, plain bytes.
pub const LOADER_MAX: u32 = 0x6700;
/// Logical address of the loader's information block.
pub const LOADER_INFO: u32 = LOADER_START + 0x40;
/// Logical address of the application's vectors.
pub const APP_START: u32 = 0x1_A5C0;
/// Flash offset at which a combined image `NAME@mk3060.bin` is written.
pub const COMBINED_OFFSET: u32 = 0x1_3200;

/// What the 26 MHz crystal and the PLL make of the core clock.
pub const CORE_HZ: u32 = 120_000_000;

/// The vendor's known first stage erases this range at reset when it finds no
/// update log there.
pub const FIRST_STAGE_ERASES: core::ops::Range<u32> = 0xF_0000..0xF_F000;

const _: () = {
    assert!(matches!(
        line_code::flash_offset(LOADER_START),
        Some(COMBINED_OFFSET)
    ));
    assert!(matches!(line_code::flash_offset(APP_START), Some(0x1_C01C)));
    assert!(0x1_C000 + line_code::padding(0x1_C000) == 0x1_C01C);
    assert!(matches!(
        line_code::flash_offset(LOADER_START + LOADER_MAX),
        Some(0x1_9F6E..=0x1_A000)
    ));
};
