//! Damaged flash never panics and always ends in a decision, and what is
//! started without a verdict is an image that verifies.

use core::cell::RefCell;

use ota_bootlib::{Config, Decision, ImageCheck, Journal, Partitions, Request, Strategy, start_up};
use ota_flash::sim::SimFlash;
use ota_flash::{Partition, PartitionEntry, PartitionId, PartitionTable, Permissions};
use ota_verify::{Coding, ImageKind, Policy, Trailer, md5};
use proptest::prelude::*;

type Flash = SimFlash<512, 32>;
type View<'a> = Partition<'a, Flash>;

const RW: Permissions = Permissions::READ_WRITE;
const TABLE: PartitionTable<4> = PartitionTable::new(
    33 * 512,
    512,
    [
        PartitionEntry::new(PartitionId::Application, 0, 8 * 512, RW),
        PartitionEntry::new(PartitionId::OtaTemp, 8 * 512, 9 * 512, RW),
        PartitionEntry::new(PartitionId::RecoveryBackPara, 17 * 512, 15 * 512, RW),
        PartitionEntry::new(PartitionId::Parameter1, 32 * 512, 512, RW),
    ],
);
const UPDATE: u32 = 8 * 512;
const JOURNAL: u32 = 17 * 512;
const MAILBOX: u32 = 32 * 512;

fn parts(flash: &RefCell<Flash>) -> Partitions<View<'_>> {
    let open = |id| TABLE.open(flash, id).unwrap();
    Partitions {
        active: open(PartitionId::Application),
        update: open(PartitionId::OtaTemp),
        journal: open(PartitionId::RecoveryBackPara),
        mailbox: Some(open(PartitionId::Parameter1)),
    }
}

fn image(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|i| (i * 31) as u8 ^ seed).collect();
    let trailer = Trailer {
        kind: ImageKind::App,
        size: len as u32,
        md5: md5(&bytes),
    };
    bytes.extend(trailer.to_bytes());
    bytes
}

fn boot(flash: &RefCell<Flash>) -> Decision {
    let mut judge = ImageCheck {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: Coding::Plain,
    };
    start_up(
        &mut parts(flash),
        &mut judge,
        &mut (),
        &Config::default(),
        &mut [0; 512],
    )
}

/// A device with version 1 confirmed and version 2 requested.
fn device() -> Flash {
    let mut flash = Flash::new(33 * 512);
    flash.load(0, &image(3000, 1));
    let new = image(2500, 2);
    flash.load(UPDATE, &new);
    let flash = RefCell::new(flash);
    assert!(matches!(boot(&flash), Decision::Start { .. }));
    let mut journal = Journal::open(parts(&flash).journal).unwrap();
    let request = Request::image(Strategy::Swap, new.len() as u32, [0; 32]);
    journal.request(&request, &mut ()).unwrap();
    flash.into_inner()
}

#[test]
fn an_undamaged_device_takes_the_update() {
    let flash = RefCell::new(device());
    assert!(matches!(boot(&flash), Decision::Start { trial: true, .. }));
    assert_eq!(flash.borrow().dump(0, 2528), image(2500, 2));
    let mut journal = Journal::open(parts(&flash).journal).unwrap();
    journal.confirm(false, &mut ()).unwrap();
    assert!(matches!(boot(&flash), Decision::Start { trial: false, .. }));
    let before = flash.borrow().stats();
    boot(&flash);
    let after = flash.borrow().stats();
    assert!(
        after.read_units - before.read_units <= 64,
        "start of a confirmed image"
    );
    assert_eq!(
        (after.erases, after.programs),
        (before.erases, before.programs)
    );
}

/// Boots some times, then uses the journal as an application does.
fn check(flash: Flash) {
    let flash = RefCell::new(flash);
    for _ in 0..6 {
        let _ = boot(&flash);
    }
    let mut journal = Journal::open(parts(&flash).journal).unwrap();
    journal.offer_failed(&[7; 16], false, &mut ()).unwrap();
    let journal = Journal::open(parts(&flash).journal).unwrap();
    assert!(
        journal.state().failed_offers().any(|o| o.digest == [7; 16]),
        "written, not found"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_journals(bytes in proptest::collection::vec(any::<u8>(), 15 * 512)) {
        let mut flash = device();
        flash.load(JOURNAL, &bytes);
        // Without a journal only an image that verifies is started.
        let cell = RefCell::new(flash.clone());
        prop_assert_eq!(boot(&cell), Decision::Start { slot: ota_bootlib::Slot::First, trial: false });
        let broken = RefCell::new(flash.clone());
        broken.borrow_mut().flip(77, 4);
        let stops = matches!(boot(&broken), Decision::Recovery { .. });
        prop_assert!(stops);
        check(flash);
    }

    #[test]
    fn damaged_journals(hits in proptest::collection::vec((0u32..15 * 512, any::<u8>()), 1..40)) {
        let mut flash = device();
        for (at, mask) in hits {
            flash.flip(JOURNAL + at, mask);
        }
        check(flash);
    }

    #[test]
    fn random_mailboxes(
        flag in prop_oneof![
            Just(0u32), Just(0x5253_5546), Just(0x5245_5659), Just(0x5245_5656), any::<u32>()
        ],
        size in prop_oneof![
            Just(30usize), Just(33), Just(34), Just(37), Just(87), Just(211), Just(215)
        ],
        mut body in proptest::collection::vec(any::<u8>(), 213),
        sealed in any::<bool>(),
    ) {
        let mut flash = device();
        body[14..18].copy_from_slice(&flag.to_le_bytes());
        body.truncate(size - 2);
        let crc = ota_verify::crc16_xmodem(0, &body);
        body.extend(if sealed { crc } else { !crc }.to_le_bytes());
        flash.load(MAILBOX, &body);
        check(flash);
    }

    #[test]
    fn damaged_slots(hits in proptest::collection::vec((0u32..17 * 512, any::<u8>()), 1..40)) {
        let mut flash = device();
        for (at, mask) in hits {
            flash.flip(at, mask);
        }
        check(flash);
    }
}
