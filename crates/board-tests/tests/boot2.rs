//! The shipped loader on the emulated board, with the example `tinyapp` as
//! the application.

use hal_mk3060::memory::{LOADER_START, RAM_END};
use hal_mk3060::{PARTITIONS, line_code};
use mk3060_sim::{Limit, Machine, ResetCause, Stop, Time, load_code};
use ota_flash::PartitionId;
use ota_flash::sim::CutVariant;
use ota_verify::build::{Layout, PackOptions, pack};
use ota_verify::{Coding, ImageKind, Module, Version};
use std::path::PathBuf;

fn file(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES"));
    std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The application as it is uploaded: padded, coded, with trailer. `tail` bytes
/// of filling make images that differ in more sectors.
fn image(version: &str, tail: usize, fill: u8) -> Vec<u8> {
    let mut program = file("tinyapp.bin");
    program.extend(std::iter::repeat_n(fill, tail));
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

fn start(id: PartitionId) -> u32 {
    PARTITIONS.get(id).unwrap().start()
}

fn board(active: &[u8], update: &[u8]) -> Machine {
    let mut machine = Machine::new();
    load_code(&mut machine, LOADER_START, &file("boot2.bin"));
    let flash = &mut machine.board.flash;
    flash.load(start(PartitionId::Application), active);
    flash.load(start(PartitionId::OtaTemp), update);
    machine.stop_at_reset = true;
    machine.power_on().unwrap();
    machine
}

/// Runs until the console shows `text`; resets by the watchdog are counted.
fn expect(machine: &mut Machine, text: &str) -> u32 {
    try_expect(machine, text).unwrap_or_else(|stop| panic!("{stop}"))
}

fn try_expect(machine: &mut Machine, text: &str) -> Result<u32, String> {
    let mut seen = String::new();
    let mut resets = 0;
    let end = machine.board.now() + Time::millis(120_000);
    while machine.board.now() < end {
        let stop = machine.run(Limit::until(machine.board.now() + Time::millis(1)));
        seen.push_str(&String::from_utf8_lossy(
            &machine.board.uarts[0].take_from_board(),
        ));
        if seen.contains(text) {
            return Ok(resets);
        }
        match stop {
            Stop::Limit => {}
            Stop::Reset(_) => resets += 1,
            Stop::Fault(report) => return Err(format!("{report}\nconsole: {seen}")),
            Stop::PowerCut => return Err("power cut".into()),
            other => panic!("{other:?}"),
        }
    }
    panic!("no {text:?} on the console: {seen:?}");
}

fn tell(machine: &mut Machine, key: &[u8], answer: &str) {
    machine.board.send(1, key);
    expect(machine, answer);
}

fn slot(machine: &Machine, id: PartitionId, len: usize) -> Vec<u8> {
    machine.board.flash.chip.dump(start(id), len)
}

#[test]
fn a_confirmed_image_starts_with_few_flash_reads() {
    let v1 = image("tiny-1.0.0", 0, 0);
    let mut machine = board(&v1, &[]);
    // The first start finds no journal, checks the image and records that.
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"s", "idle");
    machine.board.send(1, b"r");
    expect(&mut machine, "boot2: press w");
    let (reads, instructions) = (machine.board.flash.counts.reads, machine.instructions());
    expect(&mut machine, "tiny-1.0.0 started");
    let reads = machine.board.flash.counts.reads - reads;
    println!(
        "start of a confirmed image: {reads} flash units read, {} instructions (100 ms of them waiting for the key)",
        machine.instructions() - instructions
    );
}

#[test]
fn update_trial_confirm() {
    let (v1, v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 20_000, 0x5A));
    let mut machine = board(&v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-2.0.0 started");
    assert_eq!(slot(&machine, PartitionId::Application, v2.len()), v2);
    tell(&mut machine, b"s", "trial 1");
    tell(&mut machine, b"c", "confirmed");
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-2.0.0 started");
    tell(&mut machine, b"s", "idle");
}

/// Hangs, resets, goes on for ever: what is never confirmed is reverted.
#[test]
fn an_image_that_fails_its_trial_is_reverted() {
    for key in [b"h", b"r"] {
        let (v1, v2) = (
            image("tiny-1.0.0", 9_000, 1),
            image("tiny-2.0.0", 20_000, 2),
        );
        let mut machine = board(&v1, &v2);
        expect(&mut machine, "tiny-1.0.0 started");
        tell(&mut machine, b"u", "requested");
        machine.board.send(1, b"r");
        for _ in 0..3 {
            expect(&mut machine, "tiny-2.0.0 started");
            machine.board.send(1, key);
        }
        expect(&mut machine, "tiny-1.0.0 started");
        assert_eq!(machine.last_reset(), ResetCause::Watchdog);
        assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
        tell(&mut machine, b"s", "idle");
    }
}

#[test]
fn a_damaged_image_is_not_installed() {
    let (v1, mut v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 0, 0));
    let mut machine = board(&v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    // Damaged between request and restart.
    v2[9_000] ^= 4;
    machine.board.flash.load(start(PartitionId::OtaTemp), &v2);
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-1.0.0 started");
    assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
}

#[test]
fn nothing_to_start_opens_the_console() {
    let mut machine = board(&[], &[]);
    expect(&mut machine, "boot2# ");
    tell(&mut machine, b"i", "loader boot2-");
}

#[test]
fn the_key_opens_the_console_and_reboots() {
    let v1 = image("tiny-1.0.0", 0, 0);
    let mut machine = board(&v1, &[]);
    expect(&mut machine, "press w");
    machine.board.send(1, b"w");
    expect(&mut machine, "boot2# ");
    machine.board.send(1, b"i");
    expect(&mut machine, "active tiny-1.0.0");
    machine.run(Limit::until(machine.board.now() + Time::millis(500)));
    machine.board.send(1, b"r");
    assert_eq!(expect(&mut machine, "tiny-1.0.0 started"), 1);
}

/// Stack and statics of the loader, through a whole swap.
#[test]
fn the_loader_needs_little_ram() {
    let (v1, v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 9_000, 3));
    let mut machine = board(&v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    machine.board.send(1, b"r");
    while !matches!(machine.run(Limit::NONE), Stop::Reset(_)) {}
    // The start-up code has not run yet: nothing in RAM is in use.
    machine.paint_ram(hal_mk3060::memory::RAM_START, 0xA5);
    machine.add_breakpoint(hal_mk3060::memory::APP_START);
    assert!(matches!(machine.run(Limit::NONE), Stop::Breakpoint { .. }));
    let depth = machine.painted_depth(hal_mk3060::memory::RAM_FREE, 0xA5);
    println!("boot2: {depth} bytes of RAM through a swap");
    assert!(
        depth <= 8 * 1024,
        "{depth} bytes (stack from {RAM_END:#x} down)"
    );
}

/// Runs to the loader's first look at the flash. Until then nothing depends on
/// what the flash holds, so every start in a sweep can begin here.
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

/// Power fails in flash operations of a swap, in many ways; then the board
/// starts one of the two images, whole.
#[test]
fn power_cuts_in_a_swap() {
    let (v1, v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 0, 0));
    let differ = |(a, b): &(&[u8], &[u8])| a != b;
    let changed = v1.chunks(4096).zip(v2.chunks(4096)).filter(differ).count();
    let mut machine = board(&v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
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
    println!("swap of {changed} changed sectors: {ops} flash operations");

    let full = std::env::var_os("UOTA_FULL").is_some();
    let (step, variants) = if full {
        (1, CutVariant::for_erase(7).to_vec())
    } else {
        (
            13,
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
            let active = slot(&again, PartitionId::Application, v1.len());
            assert!(active == v1 || active == v2, "{fired:?}: a mixture");
            new += u32::from(active == v2);
            cuts += 1;
        }
    }
    println!(
        "{cuts} cuts: all images whole, {new} new, {} old",
        cuts - new
    );
    assert_eq!(v1.len(), v2.len());
    assert!(new > 0);
}
