//! Partition tables and the views they open.

use core::cell::RefCell;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use ota_flash::Permissions;
use ota_flash::sim::{SimError, SimFlash};
use ota_flash::{Cause, Partition, PartitionEntry, PartitionError, PartitionId, PartitionTable};
use proptest::prelude::*;

const RW: Permissions = Permissions::READ_WRITE;
const TABLE: PartitionTable<4> = PartitionTable::new(
    0x10000,
    0x1000,
    [
        PartitionEntry::new(PartitionId::Bootloader, 0x0, 0x4000, Permissions::READ),
        PartitionEntry::new(PartitionId::Parameter4, 0x2000, 0x1000, RW)
            .nested_in(PartitionId::Bootloader),
        PartitionEntry::new(PartitionId::Application, 0x4000, 0x6000, RW),
        PartitionEntry::new(PartitionId::OtaTemp, 0xA000, 0x6000, Permissions::WRITE),
    ],
);

type Flash = SimFlash<4096, 32>;

fn flash() -> RefCell<Flash> {
    RefCell::new(Flash::new(0x10000))
}

fn error(partition: PartitionId, offset: u32, cause: Cause<SimError>) -> PartitionError<SimError> {
    PartitionError {
        partition,
        offset,
        cause,
    }
}

/// The numbers are AliOS's, as boot parameter blocks hold them.
#[test]
fn ids_have_the_numbers_of_alios() {
    use PartitionId::*;
    let known = [
        (0, Bootloader),
        (1, Application),
        (2, Ate),
        (3, OtaTemp),
        (4, RfFirmware),
        (5, Parameter1),
        (6, Parameter2),
        (7, Parameter3),
        (8, Parameter4),
        (9, BtFirmware),
        (10, Spiffs),
        (11, Custom1),
        (12, Custom2),
        (13, Recovery),
        (14, RecoveryBackPara),
        (15, MbinsApp),
        (16, MbinsKernel),
    ];
    assert_eq!(known.len(), PartitionId::ALL.len());
    for (raw, id) in known {
        assert_eq!(PartitionId::from_raw(raw), Some(id));
        assert_eq!(u32::from(id.raw()), raw);
    }
    for raw in [17, 255, u32::MAX] {
        assert_eq!(PartitionId::from_raw(raw), None);
    }
}

#[test]
fn every_mistake_in_a_table_is_named() {
    use PartitionId::*;
    let boot = PartitionEntry::new(Bootloader, 0, 0x4000, Permissions::READ);
    let entry = |id, start, len| PartitionEntry::new(id, start, len, RW);
    let cases = [
        (
            entry(OtaTemp, 0x3000, 0x2000),
            "BOOTLOADER overlaps OTA_TEMP",
        ),
        (
            entry(OtaTemp, 0x1000, 0x1000),
            "BOOTLOADER overlaps OTA_TEMP",
        ),
        (entry(OtaTemp, 0x4000, 0), "OTA_TEMP is empty"),
        (entry(OtaTemp, 0x4800, 0x1000), "OTA_TEMP is not aligned"),
        (entry(OtaTemp, 0x4000, 0x1001), "OTA_TEMP is not aligned"),
        (entry(OtaTemp, 0xF000, 0x2000), "OTA_TEMP ends past the end"),
        (
            entry(OtaTemp, 0x11000, 0x1000),
            "OTA_TEMP ends past the end",
        ),
        (
            entry(OtaTemp, 0xFFFF_F000, 0x2000),
            "OTA_TEMP ends past the end",
        ),
        (entry(Bootloader, 0x4000, 0x1000), "BOOTLOADER occurs twice"),
        (
            entry(Parameter4, 0x3000, 0x2000).nested_in(Bootloader),
            "PARAMETER_4 is not wholly inside its parent BOOTLOADER",
        ),
        (
            entry(Parameter4, 0x3000, 0x1000).nested_in(Recovery),
            "PARAMETER_4 is nested in a missing partition: RECOVERY",
        ),
        (
            entry(Parameter4, 0x4000, 0x1000).nested_in(Parameter4),
            "PARAMETER_4 is nested in a missing partition: PARAMETER_4",
        ),
    ];
    for (second, message) in cases {
        for entries in [[boot, second], [second, boot]] {
            let built = std::panic::catch_unwind(|| PartitionTable::new(0x10000, 0x1000, entries));
            let text = *built.unwrap_err().downcast::<String>().unwrap();
            // In an overlap the row that comes first is named first.
            let swapped = message.replace(
                "BOOTLOADER overlaps OTA_TEMP",
                "OTA_TEMP overlaps BOOTLOADER",
            );
            assert!(text.starts_with("partition table: "), "{text}");
            assert!(
                text.contains(message) || text.contains(&swapped),
                "{text:?}, not {message:?}"
            );
        }
    }
}

/// The table of the MK3060 as its reference has it: nesting is accepted,
/// everything else is side by side.
#[test]
fn nesting_is_allowed_only_where_it_is_marked() {
    assert_eq!(
        TABLE.get(PartitionId::Parameter4).unwrap().parent(),
        Some(PartitionId::Bootloader)
    );
    let two_nested = [
        PartitionEntry::new(PartitionId::Bootloader, 0, 0x4000, RW),
        PartitionEntry::new(PartitionId::Parameter4, 0x1000, 0x2000, RW)
            .nested_in(PartitionId::Bootloader),
        PartitionEntry::new(PartitionId::Parameter3, 0x2000, 0x1000, RW)
            .nested_in(PartitionId::Bootloader),
    ];
    let built = std::panic::catch_unwind(|| PartitionTable::new(0x10000, 0x1000, two_nested));
    let text = *built.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("PARAMETER_4 overlaps PARAMETER_3"), "{text}");
}

#[test]
fn a_table_opens_only_on_flash_that_fits() {
    let cell = flash();
    let missing = TABLE.open(&cell, PartitionId::Spiffs).unwrap_err();
    assert_eq!(missing, error(PartitionId::Spiffs, 0, Cause::Missing));

    let small = RefCell::new(Flash::new(0xF000));
    assert!(TABLE.open(&small, PartitionId::Application).is_ok());
    let e = TABLE.open(&small, PartitionId::OtaTemp).unwrap_err();
    assert_eq!(e.cause, Cause::Geometry);

    let coarse = RefCell::new(SimFlash::<8192, 32>::new(0x10000));
    let e = TABLE.open(&coarse, PartitionId::Application).unwrap_err();
    assert_eq!(e.cause, Cause::Geometry);

    let held = cell.borrow_mut();
    let e = TABLE.open(&cell, PartitionId::Application).unwrap_err();
    assert_eq!(e.cause, Cause::Busy);
    drop(held);
}

#[test]
fn permissions_are_enforced() {
    let cell = flash();
    let mut boot = TABLE.open(&cell, PartitionId::Bootloader).unwrap();
    let mut update = TABLE.open(&cell, PartitionId::OtaTemp).unwrap();
    let denied = |e: PartitionError<SimError>| {
        assert_eq!(NorFlashErrorKind::from(e), NorFlashErrorKind::Other);
        (e.partition, e.offset, e.cause)
    };
    assert_eq!(
        denied(boot.erase(0x1000, 0x2000).unwrap_err()),
        (PartitionId::Bootloader, 0x1000, Cause::WriteDenied)
    );
    assert_eq!(
        denied(boot.write(32, &[0; 32]).unwrap_err()),
        (PartitionId::Bootloader, 32, Cause::WriteDenied)
    );
    assert_eq!(
        denied(update.read(7, &mut [0; 4]).unwrap_err()),
        (PartitionId::OtaTemp, 7, Cause::ReadDenied)
    );
    // Nothing happened, nor does a read-only copy take anything.
    assert_eq!(cell.borrow().ops(), 0);
    boot.read(0, &mut [0; 4]).unwrap();
    let mut app = TABLE.open(&cell, PartitionId::Application).unwrap();
    assert!(app.read_only().write(0, &[0; 32]).is_err());
    assert!(app.read_only().erase(0, 0x1000).is_err());
    app.write(0, &[0; 32]).unwrap();
    app.read_only().read(0, &mut [0; 4]).unwrap();
}

#[test]
fn a_flash_in_use_is_an_error_not_a_panic() {
    let cell = flash();
    let mut app = TABLE.open(&cell, PartitionId::Application).unwrap();
    let held = cell.borrow();
    for e in [
        app.read(5, &mut [0; 4]).unwrap_err(),
        app.write(32, &[0; 32]).unwrap_err(),
        app.erase(0x1000, 0x2000).unwrap_err(),
    ] {
        assert_eq!(e.cause, Cause::Busy);
        assert_eq!(e.to_string().split(" (").next(), Some("flash is in use"));
    }
    drop(held);
    app.erase(0x1000, 0x2000).unwrap();
}

#[test]
fn errors_say_where_and_keep_the_cause() {
    let cell = flash();
    let mut app = TABLE.open(&cell, PartitionId::Application).unwrap();
    cell.borrow_mut().power_off();
    let e = app.read(0x123, &mut [0; 4]).unwrap_err();
    assert_eq!(
        e,
        error(
            PartitionId::Application,
            0x123,
            Cause::Flash(SimError::PoweredOff)
        )
    );
    assert_eq!(
        e.to_string(),
        "flash failed: PoweredOff (partition APPLICATION, offset 0x123)"
    );
    assert_eq!(e.kind(), NorFlashErrorKind::Other);
    // In a window the offset is still that in the partition.
    let mut window = app.window(0x2000, 0x1000).unwrap();
    let e = window.write(0x20, &[0; 33]).unwrap_err();
    assert_eq!(
        e,
        error(PartitionId::Application, 0x2020, Cause::NotAligned)
    );
    assert_eq!(e.kind(), NorFlashErrorKind::NotAligned);
    let e = window.write(0xFE0, &[0; 64]).unwrap_err();
    assert_eq!(
        e,
        error(PartitionId::Application, 0x2FE0, Cause::OutOfBounds)
    );
    assert_eq!(e.kind(), NorFlashErrorKind::OutOfBounds);
    let e = window.erase(0x1000, 0).unwrap_err();
    assert_eq!(e.cause, Cause::OutOfBounds);
}

#[test]
fn windows_are_bounded_and_sector_aligned() {
    let cell = flash();
    let app = TABLE.open(&cell, PartitionId::Application).unwrap();
    let (mut slot, mut spare) = app.split_at(0x5000).unwrap();
    assert_eq!((slot.address(), slot.len()), (0x4000, 0x5000));
    assert_eq!(
        (spare.address(), spare.len(), spare.base()),
        (0x9000, 0x1000, 0x5000)
    );
    slot.write(0x4FE0, &[1; 32]).unwrap();
    spare.write(0, &[2; 32]).unwrap();
    assert!(slot.write(0x5000, &[3; 32]).is_err());
    assert!(slot.erase(0x4000, 0x6000).is_err());
    assert_eq!(cell.borrow().dump(0x8FE0, 64), [[1; 32], [2; 32]].concat());

    for (offset, len, cause) in [
        (0x800, 0x1000, Cause::NotAligned),
        (0x1000, 0x800, Cause::NotAligned),
        (0x5000, 0x2000, Cause::OutOfBounds),
        (0x7000, 0, Cause::OutOfBounds),
        (0x1000, u32::MAX, Cause::OutOfBounds),
    ] {
        assert_eq!(app.window(offset, len).unwrap_err().cause, cause);
    }
    let empty = app.window(0x6000, 0).unwrap();
    assert!(empty.is_empty());

    // For reading only, any place will do.
    let mut patch = slot.read_window(0x4FE1, 0x1F).unwrap();
    let mut bytes = [0; 0x1F];
    patch.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 0x1F]);
    assert!(patch.write(0, &[]).is_err());
    assert!(patch.read(0, &mut [0; 0x20]).is_err());
}

/// Views are generic over the flash: nothing of the simulator is needed.
fn view_is_small<F>(p: Partition<'_, F>) -> (Partition<'_, F>, Partition<'_, F>) {
    (p, p)
}

proptest! {
    /// A view never touches a byte outside itself, whatever it is asked to do,
    /// and does exactly what the flash below does for the range it allows.
    #[test]
    fn nothing_outside_a_view_changes(
        base in 0u32..7, sectors in 0u32..7,
        offset in prop_oneof![0u32..0x6100, any::<u32>()],
        len in 0usize..0x80, erase_to in prop_oneof![0u32..0x6100, any::<u32>()],
        fill in any::<u8>(),
    ) {
        let cell = flash();
        let pattern: Vec<u8> = (0..0x10000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        cell.borrow_mut().load(0, &pattern);
        let app = TABLE.open(&cell, PartitionId::Application).unwrap();
        let Ok(mut view) = app.window(base * 0x1000, sectors * 0x1000) else {
            prop_assert!(base + sectors > 6);
            return Ok(());
        };
        let (other, _) = view_is_small(view);
        let inside = |from: u32, to: u64| u64::from(from) <= to && to <= u64::from(other.len());

        let end = u64::from(offset) + len as u64;
        let ok = inside(offset, end) && offset % 32 == 0 && len % 32 == 0;
        prop_assert_eq!(view.write(offset, &vec![fill; len]).is_ok(), ok);
        let ok = inside(offset, erase_to.into()) && offset % 4096 == 0 && erase_to % 4096 == 0;
        prop_assert_eq!(view.erase(offset, erase_to).is_ok(), ok);
        let mut bytes = vec![0; len];
        let read = view.read(offset, &mut bytes);
        prop_assert_eq!(read.is_ok(), inside(offset, end));
        if read.is_ok() {
            prop_assert_eq!(bytes, cell.borrow().dump(view.address() + offset, len));
        }
        let now = cell.borrow().dump(0, 0x10000);
        let (from, to) = (view.address() as usize, (view.address() + view.len()) as usize);
        prop_assert_eq!(&now[..from], &pattern[..from]);
        prop_assert_eq!(&now[to..], &pattern[to..]);
    }
}
