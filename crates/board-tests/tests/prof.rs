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
use ota_verify::{Coding, Digest, ImageKind, Module, Policy, Version};
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
    load_code(&mut machine, LOADER_START, &file("boot2-nbdiff.bin"));
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
fn prof() {
    use mk3060_sim::Cpu;
    let (old, new) = code(130_000);
    let (v1, v2) = (image("tiny-1.0.0", &old), image("tiny-2.0.0", &new));
    let patch = make(&v1, &v2);
    let mut machine = board(&v1);
    expect(&mut machine, "tiny-1.0.0 started");
    request(&mut machine, &patch, "tiny-2.0.0");
    machine.board.send(1, b"r");
    while !matches!(machine.run(Limit::NONE), Stop::Reset(_)) {}
    let mut out = String::new();
    loop {
        let pc = machine.cpu.pc();
        if pc >= hal_mk3060::memory::APP_START && pc < 0x400000 {
            break;
        }
        out.push_str(&format!("{pc:x}\n"));
        let l = Limit {
            instructions: machine.instructions() + 10007,
            ..Limit::NONE
        };
        machine.run(l);
    }
    std::fs::write("/tmp/nbboot/prof.txt", out).unwrap();
    println!("{} {}", patch.len(), v2.len());
}
