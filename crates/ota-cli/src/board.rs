//! What the image commands know of boards.

use boot2::{INFO_LEN, LoaderInfo, capability};
use clap::ValueEnum;
use hal_mk3060::memory::{self, COMBINED_OFFSET, FIRST_STAGE_ERASES, LOADER_MAX};
use hal_mk3060::{PARTITIONS, line_code};
use ota_flash::PartitionId;
use ota_verify::Coding;
use ota_verify::build::Layout;

/// A board whose flash layout is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Board {
    /// MXCHIP MK3060 (MOC108 / BK7231)
    Mk3060,
}

/// How an image for no board (a host device) is laid out.
pub const fn layout(board: Option<Board>) -> Layout {
    match board {
        None => Layout::Host,
        Some(Board::Mk3060) => Layout::Board {
            coding: Coding::MK3060,
            encode,
        },
    }
}

fn encode(program: &[u8]) -> Vec<u8> {
    line_code::encode(program).flatten().collect()
}

impl Board {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mk3060 => "mk3060",
        }
    }

    /// Flash offset and length of the active slot.
    fn slot(self) -> (u32, u32) {
        let Self::Mk3060 = self;
        PARTITIONS
            .get(PartitionId::Application)
            .map_or((0, 0), |p| (p.start(), p.len()))
    }

    /// Longest file that can be updated to: the slot without the spare sector
    /// that a swap needs.
    pub fn max_file(self) -> u32 {
        self.slot().1 - PARTITIONS.sector_size()
    }

    /// Where the app begins in a merged file.
    pub fn app_offset(self) -> usize {
        (self.slot().0 - COMBINED_OFFSET) as usize
    }

    /// Flash offset at which a merged file is written.
    pub const fn merged_address(self) -> u32 {
        COMBINED_OFFSET
    }

    /// Longest loader, before coding.
    pub const fn max_loader(self) -> usize {
        LOADER_MAX as usize
    }

    /// A file this long, in the active slot, reaches into flash that the
    /// vendor's known first stage erases.
    pub fn warning(self, file_len: usize) -> Option<String> {
        let safe = (FIRST_STAGE_ERASES.start - self.slot().0) as usize;
        (file_len > safe).then(|| {
            format!(
                "{file_len} bytes reach past flash {:#x} (safe: {safe}): the vendor's first stage \
                 MiCO v3.0 erases {:#x}..{:#x} at reset when it finds no update log there",
                FIRST_STAGE_ERASES.start, FIRST_STAGE_ERASES.start, FIRST_STAGE_ERASES.end
            )
        })
    }

    /// Codes a program that starts at a line.
    pub fn encode(self, program: &[u8]) -> Vec<u8> {
        encode(program)
    }

    /// The first line of `lines` whose CRC is wrong.
    pub fn bad_line(self, lines: &[u8]) -> Option<usize> {
        line_code::decode(lines).find_map(Result::err)
    }
}

/// Where the information block of a raw boot loader begins.
const LOADER_INFO: usize = (memory::LOADER_INFO - memory::LOADER_START) as usize;

/// What a boot loader says about itself, if `bytes` is one (`boot2.bin`).
pub fn loader_info(bytes: &[u8]) -> Option<LoaderInfo> {
    let block = bytes.get(LOADER_INFO..)?.first_chunk::<INFO_LEN>()?;
    LoaderInfo::parse(block)
}

/// What it can do, in words.
pub fn capabilities(loader: &LoaderInfo) -> String {
    let all = [
        (capability::SWAP, "swap"),
        (capability::PATCH_SWAP, "patch-swap"),
        (capability::MAILBOX, "mailbox"),
        (capability::SIGNED_ONLY, "signed-only"),
        (capability::SERIAL_RECOVERY, "serial-recovery"),
    ];
    let names = all
        .into_iter()
        .filter(|(bit, _)| loader.capabilities & bit != 0)
        .map(|(_, name)| name);
    names.collect::<Vec<_>>().join(" ")
}
