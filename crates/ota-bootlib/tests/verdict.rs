//! Nothing is started that did not verify.

use ota_bootlib::{
    Config, Decision, FailCode, ImageCheck, Journal, Partitions, RecoveryReason, Request, Slot,
    Strategy, start_up,
};
use ota_flash::sim::SimFlash;
use ota_verify::{Coding, ImageKind, Policy, Trailer, md5, sha256};

type Flash = SimFlash<1024, 32>;

fn start(parts: &mut Partitions<Flash>) -> Decision {
    let mut check = ImageCheck {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: Coding::Plain,
    };
    start_up(
        parts,
        &mut check,
        &mut (),
        &Config::default(),
        &mut [0; 2048],
    )
}

/// A program and the whole image of it.
fn image(fill: u8) -> ([u8; 1500], Vec<u8>) {
    let program = [fill; 1500];
    let mut file = program.to_vec();
    let trailer = Trailer {
        kind: ImageKind::App,
        size: program.len() as u32,
        md5: md5(&program),
    };
    file.extend(trailer.to_bytes());
    (program, file)
}

fn request(parts: &mut Partitions<Flash>, request: &Request) {
    let mut journal = Journal::open(&mut parts.journal).expect("a good geometry");
    journal.request(request, &mut ()).expect("idle");
}

/// The way back restores what was there, which need not be an image: with a
/// request in the journal of a device that never started before.
#[test]
fn what_is_restored_is_verified_before_it_starts() {
    let (program, file) = image(7);
    let mut parts = Partitions {
        active: Flash::new(4 * 1024),
        update: Flash::new(5 * 1024),
        journal: Flash::new(4 * 1024),
        mailbox: None,
    };
    parts.active.load(0, b"no image");
    parts.update.load(0, &file);
    let mut update = Request::image(Strategy::Swap, file.len() as u32, sha256(&program));
    update.tries = 1;
    request(&mut parts, &update);

    let on_trial = Decision::Start {
        slot: Slot::First,
        trial: true,
    };
    assert_eq!(start(&mut parts), on_trial);
    // Never confirmed: the old content goes back.
    assert_eq!(
        start(&mut parts),
        Decision::Recovery {
            reason: RecoveryReason::NoImage(FailCode::Format)
        }
    );
    assert_eq!(parts.active.dump(0, 8), b"no image");
}

/// `Swap` installs into the first slot; with the second one running that would
/// start what was not installed.
#[cfg(feature = "switch")]
#[test]
fn with_the_second_slot_running_only_switch_is_taken() {
    let (old, new) = (image(1), image(2));
    let mut parts = Partitions {
        active: Flash::new(4 * 1024),
        update: Flash::new(5 * 1024),
        journal: Flash::new(4 * 1024),
        mailbox: None,
    };
    parts.active.load(0, &old.1);
    parts.update.load(0, &new.1);
    let len = new.1.len() as u32;
    request(
        &mut parts,
        &Request::image(Strategy::Switch, len, sha256(&new.0)),
    );
    let second = |trial| Decision::Start {
        slot: Slot::Second,
        trial,
    };
    assert_eq!(start(&mut parts), second(true));
    let mut journal = Journal::open(&mut parts.journal).expect("a good geometry");
    journal.confirm(false, &mut ()).expect("on trial");

    request(
        &mut parts,
        &Request::image(Strategy::Swap, len, sha256(&new.0)),
    );
    assert_eq!(start(&mut parts), second(false));
    let journal = Journal::open(&mut parts.journal).expect("a good geometry");
    let failure = journal.state().failure().expect("refused");
    assert_eq!(failure.code, FailCode::Strategy);
    assert_eq!(parts.active.dump(0, old.1.len()), old.1);
    assert_eq!(parts.update.dump(0, new.1.len()), new.1);
}
