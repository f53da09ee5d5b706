//! A boot loader on any flash content.
//!
//! Slots hold images, damaged images or noise; the journal what an application
//! wrote, records with good CRCs and any content, or noise; the mailbox likewise.
//! Power fails and flash misbehaves in between.
//!
//! * `start_up` always ends, within a bounded number of flash operations.
//! * It never starts an image that does not verify. (Without secure boot a
//!   journal that claims a verdict is believed, so those runs use secure boot.)
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_bootlib::{
    Config, Decision, ImageCheck, Journal, MAIL_LEN, Partitions, Request, ResumeIdentity, Slot,
    Strategy, Verify, VersionText, start_up,
};
use ota_flash::sim::{Fault, SimFlash};
use ota_verify::{Coding, Policy};
use uota_fuzz::images::{Shape, sha256};
use uota_fuzz::packages::{crc16, crc32};
use uota_fuzz::{Input, damage};

const SECTOR: usize = 1024;
const ACTIVE: usize = 4 * SECTOR;
const UPDATE: usize = 5 * SECTOR;
const JOURNAL: usize = 4 * SECTOR;
type Flash = SimFlash<SECTOR, 32>;

fn shape(input: &mut Input<'_>) -> Shape {
    let mut shape = Shape::take(input, 3500);
    (shape.signed, shape.coded) = (false, false);
    shape
}

/// Fills a slot; its image, should it be whole.
fn fill(input: &mut Input<'_>, flash: &mut Flash, size: usize) -> Option<Vec<u8>> {
    let mut bytes = match input.u8() % 8 {
        0 => return None,
        1 => input.bytes(64).to_vec(),
        _ => shape(input).file(),
    };
    let whole = bytes.clone();
    if input.u8() % 4 == 0 {
        damage(input, &mut bytes);
    }
    bytes.truncate(size);
    flash.load(0, &bytes);
    (bytes == whole).then_some(bytes)
}

fn request(input: &mut Input<'_>, image: Option<&[u8]>) -> Request {
    let strategy = if input.flag() {
        Strategy::Swap
    } else {
        Strategy::ALL[input.below(5)]
    };
    let mut r = match image {
        Some(file) if file.len() >= 28 => Request::image(
            strategy,
            file.len() as u32,
            sha256(&file[..file.len() - 28]),
        ),
        _ => Request::image(strategy, input.u16().into(), [0; 32]),
    };
    if input.u8() % 8 == 0 {
        r.sha256 = [0; 32];
        r.image_len = input.u16().into();
    }
    r.tries = input.u8() % 4;
    r.version = VersionText::new(input.bytes(8)).unwrap_or(VersionText::NONE);
    if matches!(strategy, Strategy::PatchSwap | Strategy::InPlace) {
        (r.package_len, r.package_at) = (input.u16().into(), input.u16().into());
    }
    r
}

/// What an application may do at any time. Errors are fine.
fn application(input: &mut Input<'_>, journal: &mut Flash, image: Option<&[u8]>) {
    let Ok(mut j) = Journal::open(journal) else {
        return;
    };
    let _ = match input.u8() % 10 {
        0..=2 => j.request(&request(input, image), &mut ()),
        3 => j.confirm(input.flag(), &mut ()),
        4 => j.revert(&mut ()),
        5 => j.revoke_verdict(&mut ()),
        6 => {
            let id = ResumeIdentity {
                method: input.u8(),
                size: input.u32(),
                digest: [7; 32],
            };
            j.resume_begin(&id, &VersionText::NONE, &mut ())
                .and_then(|()| j.resume_advance(input.u32(), &mut ()))
        }
        7 => j.offer_failed(&input.array(), input.flag(), &mut ()),
        8 => j.recovery_begin(&mut ()),
        _ => j.recovery_end(&mut ()),
    };
}

/// Records with good CRCs and the content of the input.
fn records(input: &mut Input<'_>, journal: &mut Flash) {
    let mut at = if input.flag() { 0 } else { JOURNAL as u32 / 2 };
    let mut row = 0u16;
    for seq in 1..=u32::from(input.u8() % 24) {
        let kind = match input.u8() % 8 {
            0..=2 => 0xA1,
            3 | 4 => 0xA2,
            5 | 6 => 0xA3,
            _ => input.u8(),
        };
        let cell = input.u8() % 24;
        let link = match kind {
            0xA1 => u16::from(input.u8()) % (row + 2),
            _ => u16::from(input.u8()),
        };
        let seq = if input.u8() == 255 { input.u32() } else { seq };
        let mut bytes = vec![kind, if kind == 0xA1 { 0 } else { cell }];
        bytes.extend(link.to_le_bytes());
        bytes.extend(seq.to_le_bytes());
        bytes.extend(input.array::<20>());
        bytes.extend(crc32(&bytes).to_le_bytes());
        if input.u8() % 16 == 15 {
            bytes[5] ^= 1;
        }
        journal.load(at, &bytes);
        at = (at + 32) % JOURNAL as u32;
        row += 1;
    }
}

fn mail(input: &mut Input<'_>, flash: &mut Flash) {
    let size = [0, 30, 33, 34, 37, 87, 211, 215][input.below(8)];
    let mut bytes = vec![0; size];
    if size > 0 {
        let own = input.bytes(40);
        let n = own.len().min(size - 2);
        bytes[..n].copy_from_slice(&own[..n]);
        let flag = [0, 0x5245_5659u32, 0x5245_5656, 0x5253_5546, 0x524F_424B][input.below(5)];
        bytes[14..18].copy_from_slice(&flag.to_le_bytes());
        let crc = crc16(&bytes[..size - 2]);
        bytes[size - 2..].copy_from_slice(&crc.to_le_bytes());
    }
    damage(input, &mut bytes);
    bytes.truncate(MAIL_LEN);
    flash.load(0, &bytes);
}

fn fault(input: &mut Input<'_>, flash: &mut Flash) {
    let which = [
        Fault::EraseIgnored,
        Fault::ProgramIgnored,
        Fault::EraseFails,
        Fault::ProgramFails,
        Fault::ReadFails,
    ][input.below(5)];
    let at = input.below(flash.sectors()) * SECTOR;
    flash.add_fault(at as u32, which);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut parts = Partitions {
        active: Flash::new(ACTIVE),
        update: Flash::new(UPDATE),
        journal: Flash::new(JOURNAL),
        mailbox: None,
    };
    fill(&mut input, &mut parts.active, ACTIVE);
    let image = fill(&mut input, &mut parts.update, UPDATE);
    let mut secure = input.flag();
    match input.u8() % 6 {
        0 => {
            parts.journal.load(0, input.bytes(128));
            secure = true;
        }
        1 | 2 => {
            records(&mut input, &mut parts.journal);
            secure = true;
        }
        _ => application(&mut input, &mut parts.journal, image.as_deref()),
    }
    if input.u8() % 3 == 0 {
        let mut mailbox = Flash::new(SECTOR);
        mail(&mut input, &mut mailbox);
        parts.mailbox = Some(mailbox);
    }
    let config = Config {
        secure_boot: secure,
    };
    let mut check = ImageCheck {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: Coding::Plain,
    };
    let mut buf = vec![0; 64 << input.below(6)];

    for _ in 0..12 {
        let ops = |p: &Partitions<Flash>| p.active.ops() + p.update.ops() + p.journal.ops();
        if input.u8() % 3 == 0 {
            let (after, how) = (u64::from(input.u8()), input.cut());
            match input.u8() % 3 {
                0 => parts.active.cut_after(after, how),
                1 => parts.update.cut_after(after, how),
                _ => parts.journal.cut_after(after % 16, how),
            }
        }
        if input.u8() % 16 == 15 {
            match input.u8() % 3 {
                0 => fault(&mut input, &mut parts.active),
                1 => fault(&mut input, &mut parts.update),
                _ => fault(&mut input, &mut parts.journal),
            }
        }
        let before = ops(&parts);
        let decision = start_up(&mut parts, &mut check, &mut (), &config, &mut buf);
        assert!(ops(&parts) - before < 5000, "too many flash operations");

        let all = [&mut parts.active, &mut parts.update, &mut parts.journal];
        let dead = all.iter().any(|f| !f.is_powered());
        for flash in all {
            flash.cancel_cut();
            flash.power_on();
            flash.clear_faults();
        }
        if dead {
            // Power failed: nothing was started.
            continue;
        }
        if let Decision::Start { slot, .. } = decision {
            let flash = match slot {
                Slot::First => &mut parts.active,
                Slot::Second => &mut parts.update,
            };
            let mut copy = flash.clone();
            let good = check.verify(&mut copy, None, &VersionText::NONE, &mut buf, &mut ());
            assert!(good.is_ok(), "started {slot:?}: {good:?}");
        }
        if input.is_empty() {
            break;
        }
        if input.flag() {
            application(&mut input, &mut parts.journal, image.as_deref());
        }
        if input.u8() % 8 == 0
            && let Some(mailbox) = &mut parts.mailbox
        {
            *mailbox = Flash::new(SECTOR);
            mail(&mut input, mailbox);
        }
    }
});
