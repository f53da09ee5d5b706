//! The golden bytes of `docs/journal.md` and of every mailbox layout, and what
//! the application side of the journal promises.

use core::cell::RefCell;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use ota_bootlib::{
    AppError, BootState, FaultKind, Journal, MAIL_LEN, Mail, Part, Request, ResumeIdentity,
    Strategy, VersionText,
};
use ota_flash::sim::{Fault, SimError, SimFlash};

/// A flash that several sessions share.
struct Shared<'a, const S: usize, const U: usize>(&'a RefCell<SimFlash<S, U>>);

impl<const S: usize, const U: usize> ErrorType for Shared<'_, S, U> {
    type Error = SimError;
}
impl<const S: usize, const U: usize> ReadNorFlash for Shared<'_, S, U> {
    const READ_SIZE: usize = 1;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SimError> {
        self.0.borrow_mut().read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }
}
impl<const S: usize, const U: usize> NorFlash for Shared<'_, S, U> {
    const WRITE_SIZE: usize = U;
    const ERASE_SIZE: usize = S;
    fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
        self.0.borrow_mut().erase(from, to)
    }
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
        self.0.borrow_mut().write(offset, bytes)
    }
}

fn open<const S: usize, const U: usize>(
    flash: &RefCell<SimFlash<S, U>>,
) -> Journal<Shared<'_, S, U>> {
    Journal::open(Shared(flash)).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the document's example does.
fn example() -> SimFlash<4096, 32> {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    let version = VersionText::new(b"app-2.0.0").unwrap();
    open(&flash)
        .set_floor(&VersionText::new(b"app-1.0.0").unwrap(), &mut ())
        .unwrap();
    let mut j = open(&flash);
    let id = ResumeIdentity {
        method: 2,
        size: 500_000,
        digest: [0x11; 32],
    };
    j.resume_begin(&id, &version, &mut ()).unwrap();
    j.resume_advance(0x10000, &mut ()).unwrap();
    j.resume_advance(0x20000, &mut ()).unwrap();
    let mut j = open(&flash);
    let request = Request {
        version,
        offer: [0x11; 16],
        ..Request::image(Strategy::Swap, 500_028, [0x22; 32])
    };
    j.request(&request, &mut ()).unwrap();
    flash.into_inner()
}

#[test]
fn golden_bytes_of_the_document() {
    let flash = example();
    let mut found = String::new();
    for half in [0, 4096] {
        for row in 0..128 {
            let bytes = flash.dump(half + row * 32, 32);
            if bytes.iter().any(|b| *b != 0xFF) {
                found += &format!("{:04x} {}\n", half + row * 32, hex(&bytes));
            }
        }
    }
    let document = include_str!("../../../docs/journal.md");
    let golden = document
        .split("```golden\n")
        .nth(1)
        .and_then(|g| g.split("```").next());
    assert_eq!(
        golden,
        Some(found.as_str()),
        "docs/journal.md should hold:\n{found}"
    );
}

#[test]
fn golden_bytes_are_read() {
    let flash = RefCell::new(example());
    let j = open(&flash);
    assert_eq!(
        j.boot_state(),
        BootState::Requested {
            strategy: Strategy::Swap
        }
    );
    assert_eq!(j.state().version().as_bytes(), b"app-2.0.0");
    assert_eq!(j.state().floor().as_bytes(), b"app-1.0.0");
    assert_eq!(j.state().new_sha256(), [0x22; 32]);
    assert_eq!(j.state().offer(), [0x11; 16]);
    assert_eq!(j.state().resume(), None);
}

#[test]
fn the_download_is_resumed_where_it_was() {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    let id = ResumeIdentity {
        method: 1,
        size: 70_000,
        digest: [9; 32],
    };
    let mut j = open(&flash);
    assert!(j.is_blank());
    j.resume_begin(&id, &VersionText::NONE, &mut ()).unwrap();
    for n in 1..=300u32 {
        j.resume_advance(n * 7, &mut ()).unwrap();
    }
    let mut j = open(&flash);
    assert_eq!(
        (j.state().resume(), j.state().resume_offset()),
        (Some(id), 2100)
    );
    j.resume_clear(&mut ()).unwrap();
    assert_eq!(open(&flash).state().resume(), None);
    assert!(flash.borrow().stats().erases <= 5);
    assert_eq!(flash.borrow().stats().reprograms, 0);
}

#[test]
fn offers_are_remembered_and_barred() {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    let offer = |n: u8| [n; 16];
    open(&flash)
        .offer_failed(&offer(1), false, &mut ())
        .unwrap();
    assert!(!open(&flash).is_offer_barred(&offer(1)));
    open(&flash)
        .offer_failed(&offer(1), false, &mut ())
        .unwrap();
    assert!(
        open(&flash).is_offer_barred(&offer(1)),
        "two whole downloads"
    );
    open(&flash).offer_failed(&offer(2), true, &mut ()).unwrap();
    for n in 3..=5 {
        open(&flash)
            .offer_failed(&offer(n), false, &mut ())
            .unwrap();
    }
    let j = open(&flash);
    let known: Vec<u8> = j.state().failed_offers().map(|o| o.digest[0]).collect();
    assert_eq!(
        known,
        [5, 4, 3, 2],
        "newest first, the oldest of five forgotten"
    );
    assert!(j.is_offer_barred(&offer(2)) && !j.is_offer_barred(&offer(1)));
    open(&flash).forget_failed_offers(&mut ()).unwrap();
    assert_eq!(open(&flash).state().failed_offers().count(), 0);
}

#[test]
fn requests_need_an_idle_device() {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    let request = Request::image(Strategy::Swap, 100, [0; 32]);
    let mut j = open(&flash);
    assert_eq!(
        j.request(
            &Request {
                image_len: 0,
                ..request
            },
            &mut ()
        ),
        Err(AppError::Request)
    );
    j.request(&request, &mut ()).unwrap();
    let state = BootState::Requested {
        strategy: Strategy::Swap,
    };
    assert_eq!(j.request(&request, &mut ()), Err(AppError::State(state)));
    assert_eq!(j.confirm(false, &mut ()), Err(AppError::State(state)));
    assert!(!j.update_slot_free());
}

#[test]
fn unknown_records_are_skipped_and_kept() {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    open(&flash)
        .set_floor(&VersionText::new(b"1").unwrap(), &mut ())
        .unwrap();
    // A record of a type that is not known yet, behind the snapshot.
    let mut row = [0x5A; 32];
    row[0] = 0x77;
    row[4..8].copy_from_slice(&40u32.to_le_bytes());
    let crc = ota_verify::crc32(&row[..28]);
    row[28..].copy_from_slice(&crc.to_le_bytes());
    flash.borrow_mut().write(3 * 32, &row).unwrap();
    for n in 0..400u32 {
        let mut j = open(&flash);
        assert_eq!(j.state().floor().as_bytes(), b"1");
        j.resume_advance(n, &mut ()).unwrap();
    }
    assert!(flash.borrow().stats().erases > 3, "halves were changed");
    let all = flash.borrow().dump(0, 8192);
    let kept = all
        .chunks(32)
        .filter(|r| r[0] == 0x77 && r[8..28] == [0x5A; 20])
        .count();
    assert!((1..=2).contains(&kept), "{kept}");
}

#[test]
fn every_program_unit_works() {
    fn run<const S: usize, const U: usize>(len: usize) {
        let flash = RefCell::new(SimFlash::<S, U>::new(len));
        for n in 0..200u32 {
            let mut j = open(&flash);
            j.resume_advance(n, &mut ()).unwrap();
            j.resume_advance(n + 1, &mut ()).unwrap();
            assert_eq!(open(&flash).state().resume_offset(), n + 1);
        }
        assert_eq!(flash.borrow().stats().reprograms, 0, "unit {U}");
    }
    run::<4096, 1>(8192);
    run::<4096, 2>(8192);
    run::<512, 4>(8192);
    run::<1024, 8>(8192);
    run::<4096, 16>(8192);
    run::<4096, 32>(8192);
    run::<4096, 64>(8192);
    run::<4096, 128>(16384);
    run::<4096, 256>(32768);
    let small = RefCell::new(SimFlash::<512, 32>::new(1024));
    let refused = Journal::open(Shared(&small)).err().unwrap();
    assert_eq!(
        (refused.part(), refused.kind()),
        (Part::Journal, FaultKind::Geometry)
    );
}

#[test]
fn a_worn_half_is_left_and_faults_name_their_place() {
    let flash = RefCell::new(SimFlash::<4096, 32>::new(8192));
    let floor = |n: u8| VersionText::new(&[b'0' + n]).unwrap();
    open(&flash).set_floor(&floor(1), &mut ()).unwrap();
    open(&flash).set_floor(&floor(2), &mut ()).unwrap();
    // The half in use takes no more programs: the other one goes on.
    let used = if flash.borrow().dump(0, 1)[0] == 0xFF {
        0
    } else {
        4096
    };
    flash
        .borrow_mut()
        .add_fault(4096 - used, Fault::ProgramIgnored);
    open(&flash).set_floor(&floor(3), &mut ()).unwrap();
    assert_eq!(open(&flash).state().floor(), floor(3));
    flash.borrow_mut().add_fault(0, Fault::ProgramFails);
    flash.borrow_mut().add_fault(4096, Fault::ProgramFails);
    match open(&flash).set_floor(&floor(4), &mut ()) {
        Err(AppError::Flash(f)) => {
            assert_eq!((f.part(), f.kind()), (Part::Journal, FaultKind::Driver))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        open(&flash).state().floor(),
        floor(3),
        "what is there stays there"
    );
}

fn mail(size: usize, fields: &[(usize, &[u8])]) -> [u8; MAIL_LEN] {
    let mut b = [0; MAIL_LEN];
    for (at, bytes) in fields {
        b[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    let crc = ota_verify::crc16_xmodem(0, &b[..size - 2]);
    b[size - 2..size].copy_from_slice(&crc.to_le_bytes());
    b[size..].fill(0xFF);
    b
}

#[test]
fn every_mailbox_layout_is_read() {
    let revy = 0x5245_5659u32.to_le_bytes();
    let len = 123_456u32.to_le_bytes();
    let slice = 65_536u32.to_le_bytes();
    let patch = Some(Mail::Patch {
        len: 123_456,
        slice: 65_536,
    });
    for (size, len_at, slice_at) in [
        (30, 8, 19),
        (33, 8, 19),
        (34, 19, 23),
        (37, 19, 23),
        (87, 19, 23),
        (211, 8, 19),
        (215, 19, 23),
    ] {
        let b = mail(size, &[(14, &revy), (len_at, &len), (slice_at, &slice)]);
        assert_eq!(Mail::parse(&b), patch, "{size} bytes");
        let rsuf = 0x5253_5546u32.to_le_bytes();
        assert_eq!(Mail::parse(&mail(size, &[(14, &rsuf)])), Some(Mail::Image));
        assert_eq!(Mail::parse(&mail(size, &[(18, &[0])])), Some(Mail::Normal));
        let robk = 0x524F_424Bu32.to_le_bytes();
        assert_eq!(Mail::parse(&mail(size, &[(14, &robk)])), Some(Mail::Revert));
        // Torn: any prefix of it.
        for cut in 0..size {
            let mut torn = b;
            torn[cut..].fill(0xFF);
            assert_eq!(Mail::parse(&torn), None, "{cut} of {size} bytes");
        }
    }
}

#[test]
fn mailbox_golden_bytes() {
    // Made with Python's binascii.crc_hqx(body, 0), which is CRC-16/XMODEM.
    let expected = "0000000000000000000000000000565645520100000000000000000000000000";
    let ours = Mail::on_trial();
    assert_eq!(hex(&ours[..32]), expected);
    assert_eq!(ours[32..34], 0xFB28u16.to_le_bytes());
    assert_eq!(
        ours[17], b'R',
        "not the 'U' that the first stage takes for a request"
    );
    assert_eq!(ours[34..], [0xFF; 30]);
    let mut b = [0xFF; MAIL_LEN];
    b[..64].copy_from_slice(&ours);
    assert_eq!(Mail::parse(&b), Some(Mail::OnTrial));
    assert_eq!(Mail::parse(&[0xFF; MAIL_LEN]), None);
}
