//! The guard is asked before each change and can refuse it.

use core::cell::RefCell;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use ota_flash::sim::{CutVariant, OpKind, SimError, SimFlash};
use ota_flash::{
    BeforeErase, FlashOp, GuardError, GuardedPartition, Partition, PartitionEntry, PartitionError,
    PartitionId, PartitionTable, Permissions, TraceFlash,
};

type Flash = SimFlash<4096, 32>;

const TABLE: PartitionTable<2> = PartitionTable::new(
    0x4000,
    0x1000,
    [
        PartitionEntry::new(PartitionId::Application, 0, 0x3000, Permissions::READ_WRITE),
        PartitionEntry::new(
            PartitionId::RecoveryBackPara,
            0x3000,
            0x1000,
            Permissions::READ_WRITE,
        ),
    ],
);

/// A verdict in one unit of the journal: blank = the image is good. Revoking
/// programs the unit.
struct Verdict<'a> {
    journal: Partition<'a, Flash>,
    revoked: bool,
}

impl BeforeErase for Verdict<'_> {
    type Error = PartitionError<SimError>;
    fn before_erase(&mut self, _from: u32, _to: u32) -> Result<(), Self::Error> {
        if !self.revoked {
            self.journal.write(0, &[0; 32])?;
            self.revoked = true;
        }
        Ok(())
    }
}

/// At every cut point: if the slot differs from before, the verdict is revoked.
#[test]
fn the_verdict_is_revoked_durably_before_any_change() {
    let mut blank = Flash::new(0x4000);
    blank.load(0, &[0xA5; 0x3000]);
    for cut in 0..4 {
        let cell = RefCell::new(blank.clone());
        cell.borrow_mut().cut_at(cut, CutVariant::After);
        let verdict = Verdict {
            journal: TABLE.open(&cell, PartitionId::RecoveryBackPara).unwrap(),
            revoked: false,
        };
        let app = TABLE.open(&cell, PartitionId::Application).unwrap();
        let mut app = GuardedPartition::new(app, verdict);
        let done = app
            .erase(0x1000, 0x2000)
            .and_then(|()| app.write(0x1000, &[1; 32]));
        let flash = cell.borrow();
        if cut < 3 {
            done.unwrap_err();
            assert_eq!(flash.fired().unwrap().number, cut);
        } else {
            done.unwrap();
            assert_eq!(flash.ops(), 3, "the guard revokes once");
        }
        let changed = !flash.same_bytes(&blank, 0, 0x3000);
        let revoked = flash.dump(0x3000, 32) == [0; 32];
        assert_eq!((changed, revoked), (cut > 0, true));
    }
}

#[test]
fn a_refusal_changes_nothing_and_reads_pass() {
    struct Never;
    impl BeforeErase for Never {
        type Error = NorFlashErrorKind;
        fn before_erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
            Err(NorFlashErrorKind::NotAligned)
        }
    }
    let mut flash = Flash::new(0x4000);
    flash.load(0, b"old");
    let mut guarded = GuardedPartition::new(&mut flash, Never);
    let refused = GuardError::Refused(NorFlashErrorKind::NotAligned);
    assert_eq!(guarded.erase(0, 0x1000), Err(refused));
    assert_eq!(guarded.write(0, &[0; 32]), Err(refused));
    assert_eq!(refused.kind(), NorFlashErrorKind::Other);
    let mut old = [0; 3];
    guarded.read(0, &mut old).unwrap();
    assert_eq!(&old, b"old");
    assert_eq!(guarded.capacity(), 0x4000);
    assert_eq!(
        guarded.read(0x4000, &mut old).unwrap_err().kind(),
        NorFlashErrorKind::OutOfBounds
    );
    assert_eq!(flash.ops(), 0);
}

#[test]
fn the_guard_sees_the_range() {
    struct Log(Vec<(OpKind, u32, u32)>);
    impl BeforeErase for Log {
        type Error = core::convert::Infallible;
        fn before_erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            self.0.push((OpKind::Erase, from, to));
            Ok(())
        }
        fn before_write(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            self.0.push((OpKind::Program, from, to));
            Ok(())
        }
    }
    let mut guarded = GuardedPartition::new(Flash::new(0x4000), Log(Vec::new()));
    guarded.erase(0x1000, 0x3000).unwrap();
    guarded.write(0x1020, &[0; 64]).unwrap();
    let (flash, log) = guarded.into_parts();
    assert_eq!(
        log.0,
        [
            (OpKind::Erase, 0x1000, 0x3000),
            (OpKind::Program, 0x1020, 0x1060)
        ]
    );
    assert_eq!(flash.ops(), 4);
}

#[test]
fn a_trace_shows_every_operation_before_it_happens() {
    let mut seen = Vec::new();
    let mut flash = TraceFlash::new(Flash::new(0x4000), |op| seen.push(op));
    flash.erase(0x1000, 0x2000).unwrap();
    flash.write(0x1000, &[0; 32]).unwrap();
    flash.read(0x1001, &mut [0; 5]).unwrap();
    flash.flash_mut().power_off();
    assert_eq!(flash.read(0, &mut [0; 1]), Err(SimError::PoweredOff));
    assert_eq!(flash.into_inner().ops(), 2);
    assert_eq!(
        seen,
        [
            FlashOp::Erase {
                from: 0x1000,
                to: 0x2000
            },
            FlashOp::Write {
                offset: 0x1000,
                len: 32
            },
            FlashOp::Read {
                offset: 0x1001,
                len: 5
            },
            FlashOp::Read { offset: 0, len: 1 },
        ]
    );
}
