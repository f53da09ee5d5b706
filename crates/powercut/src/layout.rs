//! Where things lie on a device.

use core::cell::RefCell;

use ota_bootlib::Partitions;
use ota_flash::sim::SimFlash;
use ota_flash::{Partition, PartitionEntry, PartitionId, PartitionTable, Permissions};

/// Sizes of a device, in sectors of `SECTOR` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Sectors of the active slot.
    pub active: u32,
    /// Sectors of the update slot.
    pub update: u32,
    /// Sectors of the journal partition.
    pub journal: u32,
}

/// The views of one flash.
pub type View<'a, const S: usize, const U: usize> = Partition<'a, SimFlash<S, U>>;

impl Layout {
    /// A device of so many sectors.
    pub const fn new(active: u32, update: u32, journal: u32) -> Self {
        Self {
            active,
            update,
            journal,
        }
    }

    /// Sectors in all: active, update, journal, mailbox, in this order.
    pub fn sectors(&self) -> u32 {
        self.active + self.update + self.journal + 1
    }

    fn table(&self, sector: u32) -> PartitionTable<4> {
        let rw = Permissions::READ_WRITE;
        let at = |n: u32| n * sector;
        let journal = self.active + self.update;
        PartitionTable::new(
            at(self.sectors()),
            sector,
            [
                PartitionEntry::new(PartitionId::Application, 0, at(self.active), rw),
                PartitionEntry::new(PartitionId::OtaTemp, at(self.active), at(self.update), rw),
                PartitionEntry::new(
                    PartitionId::RecoveryBackPara,
                    at(journal),
                    at(self.journal),
                    rw,
                ),
                PartitionEntry::new(
                    PartitionId::Parameter1,
                    at(journal + self.journal),
                    sector,
                    rw,
                ),
            ],
        )
    }

    /// The partitions of `flash`.
    pub fn open<'a, const S: usize, const U: usize>(
        &self,
        flash: &'a RefCell<SimFlash<S, U>>,
    ) -> Partitions<View<'a, S, U>> {
        let table = self.table(S as u32);
        let open = |id| table.open(flash, id).expect("partition");
        Partitions {
            active: open(PartitionId::Application),
            update: open(PartitionId::OtaTemp),
            journal: open(PartitionId::RecoveryBackPara),
            mailbox: Some(open(PartitionId::Parameter1)),
        }
    }

    /// Sectors of the journal partition, as numbers of the whole flash.
    pub fn journal_sectors(&self) -> core::ops::Range<usize> {
        let from = (self.active + self.update) as usize;
        from..from + self.journal as usize
    }
}
