//! The shipped loader applies nbdiff patches on the emulated board, with the example
//! `tinyapp` as the application.

use hal_mk3060::memory::{FLASH_LEN, LOADER_START, RAM_END, RAM_FREE, RAM_START};
use hal_mk3060::{PARTITIONS, line_code};
use mk3060_sim::{Limit, Machine, Stop, Time, load_code};
use ota_agent::{BootJournal, BootRequest, PackageId, PatchSlot, UpdateSink, VerifyImage};
use ota_bootlib::{FailCode, Journal, Phase, Strategy};
use ota_delta::nbdiff;
use ota_flash::PartitionId;
use ota_flash::sim::{CutVariant, SimFlash};
use ota_proto::messages::Diff;
use ota_verify::build::{Layout, PackOptions, pack};
use ota_verify::{Coding, Digest, ImageKind, Module, Policy, Version, crc16_xmodem};
use std::cell::RefCell;
use std::path::PathBuf;

fn file(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES"));
    std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The application with `tail` behind it, as it is uploaded: padded, coded, with trailer.
fn image(version: &str, tail: &[u8]) -> Vec<u8> {
    let mut program = file("tinyapp.bin");
    program.extend_from_slice(tail);
    let version = Version::new(version).unwrap();
    pack(
        &program,
        &PackOptions {
            kind: ImageKind::App,
            layout: Layout::Board {
                coding: Coding::MK3060,
                encode: |plain| line_code::encode(plain).flatten().collect(),
            },
            version: Some(&version),
            module: Module::DEFAULT,
            key: None,
        },
    )
    .unwrap()
    .bytes
}

/// Code to fill images with (that of the demo application), and the same after a change
/// to it: a function grew, and with it every address behind.
fn code(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut old = file("otaapp.bin");
    old.truncate(len);
    let mut new = old.clone();
    for word in new.chunks_exact_mut(4).step_by(29) {
        let value = u32::from_le_bytes(word.try_into().unwrap());
        word.copy_from_slice(&value.wrapping_add(0x24).to_le_bytes());
    }
    let at = (len / 3) & !3;
    let more: Vec<u8> = old[at / 2..at / 2 + 36].iter().map(|b| b ^ 0x11).collect();
    new.splice(at..at, more);
    (old, new)
}

fn make(old: &[u8], new: &[u8]) -> Vec<u8> {
    nbdiff::encode(old, new, &nbdiff::Options::default(), &|_| {}).unwrap()
}

fn start(id: PartitionId) -> u32 {
    PARTITIONS.get(id).unwrap().start()
}

/// A board that runs `active` for the first time.
fn board(active: &[u8]) -> Machine {
    let mut machine = Machine::new();
    load_code(&mut machine, LOADER_START, &file("boot2.bin"));
    machine
        .board
        .flash
        .load(start(PartitionId::Application), active);
    machine.stop_at_reset = true;
    machine.power_on().unwrap();
    machine
}

/// Runs until the console shows `text`.
fn expect(machine: &mut Machine, text: &str) {
    try_expect(machine, text).unwrap_or_else(|why| panic!("{why}"));
}

fn try_expect(machine: &mut Machine, text: &str) -> Result<(), String> {
    let mut seen = String::new();
    let end = machine.board.now() + Time::millis(60_000);
    while machine.board.now() < end {
        let stop = machine.run(Limit::until(machine.board.now() + Time::millis(1)));
        let bytes = machine.board.uarts[0].take_from_board();
        seen.push_str(&String::from_utf8_lossy(&bytes));
        if seen.contains(text) {
            return Ok(());
        }
        match stop {
            Stop::Limit | Stop::Reset(_) => {}
            other => return Err(format!("{other:?}\nconsole: {seen}")),
        }
    }
    Err(format!("no {text:?} on the console: {seen:?}"))
}

fn tell(machine: &mut Machine, key: &[u8], answer: &str) {
    machine.board.send(1, key);
    expect(machine, answer);
}

fn slot(machine: &Machine, id: PartitionId, len: usize) -> Vec<u8> {
    machine.board.flash.chip.dump(start(id), len)
}

/// Does to the flash what software on the board does, but from here.
fn on_flash<T>(machine: &mut Machine, work: impl FnOnce(&RefCell<SimFlash>) -> T) -> T {
    let blank = SimFlash::new(FLASH_LEN as usize);
    let chip = RefCell::new(std::mem::replace(&mut machine.board.flash.chip, blank));
    let result = work(&chip);
    machine.board.flash.replace_chip(chip.into_inner());
    result
}

/// Stores and requests a patch as ota-agent does.
fn request(machine: &mut Machine, patch: &[u8], version: &str) {
    on_flash(machine, |flash| {
        let open = |id| PARTITIONS.open(flash, id).unwrap();
        let package = PackageId {
            size: patch.len() as u32,
            digest: Digest::Md5([7; 16]),
            version,
            diff: Some(Diff {
                slice: nbdiff::SLICE,
            }),
        };
        let mut slot = PatchSlot::<_, 256>::new(
            open(PartitionId::OtaTemp),
            0xE_4000,
            &Policy::DEFAULT,
            &[],
            Coding::MK3060,
        );
        slot.begin(&package, 0).unwrap();
        while slot.prepare(package.size).unwrap() {}
        slot.write(patch).unwrap();
        slot.finish().unwrap();
        let verified = slot.verify_image(&package).unwrap();
        let journal = open(PartitionId::RecoveryBackPara);
        let mut journal = BootJournal::open(journal, Strategy::PatchSwap, ()).unwrap();
        journal.request(&package, &verified).unwrap();
    });
}

/// Stores and requests a patch as C firmware does: at the slot's start, and a
/// `PatchStatus` of 87 bytes in `PARAMETER_1`.
fn request_as_c(machine: &mut Machine, patch: &[u8]) {
    let mut status = [0; 87];
    status[0] = 1;
    status[4] = 3;
    status[14..18].copy_from_slice(b"YVER");
    status[19..23].copy_from_slice(&(patch.len() as u32).to_le_bytes());
    status[23..27].copy_from_slice(&nbdiff::SLICE.to_le_bytes());
    status[43] = 1;
    let crc = crc16_xmodem(0, &status[..85]);
    status[85..].copy_from_slice(&crc.to_le_bytes());
    let flash = &mut machine.board.flash;
    flash.load(start(PartitionId::OtaTemp), patch);
    flash.load(start(PartitionId::Parameter1), &status);
}

/// Why the last update failed, and in which phase.
fn failure(machine: &mut Machine) -> Option<(Phase, FailCode)> {
    on_flash(machine, |flash| {
        let journal = PARTITIONS.open(flash, PartitionId::RecoveryBackPara);
        let journal = Journal::open(journal.unwrap()).unwrap();
        journal.state().failure().map(|f| (f.phase, f.code))
    })
}

/// The largest part of RAM that still holds the paint: statics lie below, the stack
/// above.
fn untouched(machine: &Machine, paint: u8) -> (u32, u32) {
    let ram = &machine.board.ram()[(RAM_FREE - RAM_START) as usize..];
    let (mut best, mut from) = ((0, 0), 0);
    for (at, byte) in ram.iter().chain(&[!paint]).enumerate() {
        if *byte != paint {
            if at - from > best.1 - best.0 {
                best = (from, at);
            }
            from = at + 1;
        }
    }
    (RAM_FREE + best.0 as u32, RAM_FREE + best.1 as u32)
}

#[test]
fn patch_trial_confirm() {
    let (old, new) = code(200_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let patch = make(&v1, &v2);
    let mut machine = board(&v1);
    expect(&mut machine, "tiny-1.0.0 started");
    request(&mut machine, &patch, "tiny-2.0.0");
    machine.board.send(1, b"r");
    while !matches!(machine.run(Limit::NONE), Stop::Reset(_)) {}
    machine.paint_ram(RAM_FREE, 0xA5);
    let (begin, instructions) = (machine.board.now(), machine.instructions());
    let counts = machine.board.flash.counts;
    // The application's first word comes after the loader's last.
    machine.add_breakpoint(hal_mk3060::memory::APP_START);
    assert!(matches!(machine.run(Limit::NONE), Stop::Breakpoint { .. }));
    machine.remove_breakpoint(hal_mk3060::memory::APP_START);
    let (bottom, top) = untouched(&machine, 0xA5);
    let (fixed, stack) = (bottom - RAM_FREE, RAM_END - top);
    println!(
        "patch of {} bytes for an image of {}",
        patch.len(),
        v2.len()
    );
    println!(
        "rebuilt, verified and swapped in {} ({} million instructions, {} sectors erased, {} units programmed)",
        machine.board.now().since(begin),
        (machine.instructions() - instructions) / 1_000_000,
        machine.board.flash.counts.erases - counts.erases,
        machine.board.flash.counts.programs - counts.programs,
    );
    println!("RAM of the loader while it patches: {fixed} static, {stack} stack");
    assert!(fixed + stack <= 200 * 1024);
    assert!(stack <= 8 * 1024);
    expect(&mut machine, "tiny-2.0.0 started");
    assert!(slot(&machine, PartitionId::Application, v2.len()) == v2);
    tell(&mut machine, b"s", "trial 1");
    tell(&mut machine, b"c", "confirmed");
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-2.0.0 started");
    tell(&mut machine, b"s", "idle");
    assert_eq!(failure(&mut machine), None);
}

#[test]
fn what_is_not_confirmed_is_reverted() {
    let (old, new) = code(70_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let mut machine = board(&v1);
    expect(&mut machine, "tiny-1.0.0 started");
    request(&mut machine, &make(&v1, &v2), "tiny-2.0.0");
    machine.board.send(1, b"r");
    for _ in 0..3 {
        expect(&mut machine, "tiny-2.0.0 started");
        machine.board.send(1, b"r");
    }
    expect(&mut machine, "tiny-1.0.0 started");
    assert!(slot(&machine, PartitionId::Application, v1.len()) == v1);
    assert_eq!(
        failure(&mut machine),
        Some((Phase::Trial, FailCode::NotConfirmed))
    );
}

/// What C firmware asks for: the patch lies where the image is to be rebuilt.
#[test]
fn a_patch_at_the_start_of_the_slot_is_moved_first() {
    let (old, new) = code(100_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let mut machine = board(&v1);
    expect(&mut machine, "tiny-1.0.0 started");
    request_as_c(&mut machine, &make(&v1, &v2));
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-2.0.0 started");
    assert!(slot(&machine, PartitionId::Application, v2.len()) == v2);
    tell(&mut machine, b"s", "trial 1");
    tell(&mut machine, b"c", "confirmed");
}

/// Whatever is wrong with a patch: the old image starts, and the reason can be read.
#[test]
fn what_cannot_be_rebuilt_is_not_installed() {
    let (old, new) = code(70_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let patch = make(&v1, &v2);
    let mut begun = board(&v1);
    expect(&mut begun, "tiny-1.0.0 started");

    // Made for another image.
    let mut other = v1.clone();
    for byte in other.iter_mut().step_by(3).take(20_000) {
        *byte = byte.wrapping_mul(7);
    }
    let mut cases = vec![("wrong base", make(&other, &v2))];
    // Damaged in the flash, in both sections: control and difference data.
    let second = 48
        + patch[8..32].chunks(8).fold(0, |sum, len| {
            sum + u64::from_le_bytes(len.try_into().unwrap()) as usize
        });
    for at in [60, 400, second + 60, patch.len() - 30] {
        let mut bad = patch.clone();
        bad[at] ^= 0x10;
        cases.push(("damaged", bad));
    }
    // Well made, but what it makes is no image.
    let mut broken = v2.clone();
    broken[66_000] ^= 1;
    cases.push(("digest", make(&v1, &broken)));
    for (what, patch) in cases {
        let mut machine = begun.clone();
        request(&mut machine, &patch, "tiny-2.0.0");
        machine.board.send(1, b"r");
        expect(&mut machine, "tiny-1.0.0 started");
        assert!(slot(&machine, PartitionId::Application, v1.len()) == v1);
        let (phase, code) = failure(&mut machine).expect(what);
        println!("{what}: {} while {phase:?}", code.text());
        let wanted = if what == "digest" {
            FailCode::Digest
        } else {
            FailCode::Patch
        };
        assert_eq!((phase, code), (Phase::Rebuilding, wanted), "{what}");
        tell(&mut machine, b"s", "idle");
    }
}

/// Runs to the loader's first look at the flash. Until then nothing depends on what the
/// flash holds, so every start in a sweep can begin here.
fn at_first_flash_access(machine: &mut Machine) {
    let reads = machine.board.flash.counts.reads;
    while machine.board.flash.counts.reads == reads {
        let step = Limit {
            instructions: machine.instructions() + 100,
            ..Limit::NONE
        };
        assert_eq!(machine.run(step), Stop::Limit);
    }
}

/// Power fails while a patch is moved, applied and its image swapped in; then the board
/// starts one of the two images, whole, and the update is never lost.
#[test]
fn power_cuts_while_patching() {
    let (old, new) = code(3_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let patch = make(&v1, &v2);
    let mut machine = board(&v1);
    expect(&mut machine, "tiny-1.0.0 started");
    request_as_c(&mut machine, &patch);
    machine.board.send(1, b"r");
    while !matches!(machine.run(Limit::NONE), Stop::Reset(_)) {}
    let mut begin = machine.clone();
    begin.power_on().unwrap();
    at_first_flash_access(&mut begin);
    let mut walker = begin.clone();

    let mut whole = walker.clone();
    let first = whole.board.flash.chip.ops();
    expect(&mut whole, "tiny-2.0.0 started");
    let ops = whole.board.flash.chip.ops() - first;
    println!(
        "patch of {} bytes for an image of {}: {ops} flash operations",
        patch.len(),
        v2.len()
    );

    let full = std::env::var_os("UOTA_FULL").is_some();
    let (step, variants) = if full {
        (1, CutVariant::for_erase(7).to_vec())
    } else {
        (
            67,
            vec![
                CutVariant::Random { seed: 3 },
                CutVariant::Unstable { seed: 5 },
            ],
        )
    };
    let (mut cuts, mut new) = (0, 0);
    for op in (0..ops).step_by(step) {
        // Up to the operation before, once for all variants.
        while walker.board.flash.chip.ops() < first + op {
            let one = Limit {
                instructions: walker.instructions() + 1,
                ..Limit::NONE
            };
            assert_eq!(walker.run(one), Stop::Limit);
        }
        for variant in &variants {
            let mut cut = walker.clone();
            cut.board.flash.chip.cut_at(first + op, *variant);
            assert_eq!(cut.run(Limit::NONE), Stop::PowerCut);
            let fired = cut.board.flash.chip.fired().expect("the cut fired");
            let mut again = begin.clone();
            again.board.flash.replace_chip(cut.board.flash.chip);
            try_expect(&mut again, " started").unwrap_or_else(|why| panic!("{fired:?}: {why}"));
            let active = slot(&again, PartitionId::Application, v1.len().max(v2.len()));
            let is_new = active.starts_with(&v2);
            assert!(is_new || active.starts_with(&v1), "{fired:?}: a mixture");
            new += u32::from(is_new);
            cuts += 1;
        }
    }
    println!(
        "{cuts} cuts: all images whole, {new} new, {} old",
        cuts - new
    );
    // Once the request is in the journal nothing stops the update.
    assert!(new * 10 > cuts * 9, "{new} of {cuts}");
}
