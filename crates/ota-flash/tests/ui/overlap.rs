//! Two partitions that overlap do not compile, and the message names both.
use ota_flash::{PartitionEntry, PartitionId, PartitionTable, Permissions};

const TABLE: PartitionTable<2> = PartitionTable::new(
    0x20_0000,
    0x1000,
    [
        PartitionEntry::new(PartitionId::Application, 0x1_C000, 0xE_5000, Permissions::READ_WRITE),
        PartitionEntry::new(PartitionId::OtaTemp, 0x10_0000, 0xE_5000, Permissions::READ_WRITE),
    ],
);

fn main() {
    let _ = TABLE;
}
