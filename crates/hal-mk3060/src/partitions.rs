//! The module's partition table.

use crate::memory::{FLASH_LEN, SECTOR_LEN};
use ota_flash::PartitionId::{
    Application, Bootloader, OtaTemp, Parameter1, Parameter2, Parameter4, Recovery,
    RecoveryBackPara,
};
use ota_flash::{PartitionEntry, PartitionTable, Permissions};

/// The layout AliOS Things 2.1 and later use on this module (flash offsets).
///
/// `Recovery` holds the second-stage loader, `Application` the active slot,
/// `OtaTemp` the update slot.
pub const PARTITIONS: PartitionTable<8> = PartitionTable::new(
    FLASH_LEN,
    SECTOR_LEN,
    [
        PartitionEntry::new(Bootloader, 0, 0x1_0000, Permissions::READ),
        PartitionEntry::new(Parameter4, 0xD000, 0x1000, Permissions::READ_WRITE)
            .nested_in(Bootloader),
        PartitionEntry::new(Parameter1, 0x1_0000, 0x1000, Permissions::READ_WRITE),
        PartitionEntry::new(Parameter2, 0x1_1000, 0x2000, Permissions::READ_WRITE),
        PartitionEntry::new(Recovery, 0x1_3000, 0x7000, Permissions::READ_WRITE),
        PartitionEntry::new(RecoveryBackPara, 0x1_A000, 0x2000, Permissions::READ_WRITE),
        PartitionEntry::new(Application, 0x1_C000, 0xE_5000, Permissions::READ_WRITE),
        PartitionEntry::new(OtaTemp, 0x10_1000, 0xE_5000, Permissions::READ_WRITE),
    ],
);
