//! What the ptr decoder takes on the board: instructions, stack, memory.

use hal_mk3060::memory::{APP_START, LOADER_START, RAM_START};
use mk3060_sim::{Limit, Machine, Stop, Time, load_code};
use ota_delta::ptr::{Decoder, INSTRUCTIONS, Options, encode};
use std::path::PathBuf;

/// As in the example `ptrapply`.
const OLD: u32 = 0x4_0000;
const NEW: u32 = 0x10_0000;
const PATCH: u32 = 0x18_0000;
/// `ldr pc, [pc, #-4]`, then where to.
const LOADER: [u32; 2] = [0xE51F_F004, APP_START];
/// Above all variables of the program, far below its stack.
const STACK_FROM: u32 = RAM_START + 0x1_8000;
/// Stacks of interrupts and exceptions above the program's, laid out by the start code.
const OTHER_STACKS: u32 = 0x600;

fn file(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES"));
    std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn expect(machine: &mut Machine, text: &str) {
    let mut seen = String::new();
    let end = machine.board.now() + Time::millis(60_000);
    while machine.board.now() < end {
        let stop = machine.run(Limit::until(machine.board.now() + Time::millis(5)));
        seen.push_str(&String::from_utf8_lossy(
            &machine.board.uarts[0].take_from_board(),
        ));
        if seen.contains(text) {
            return;
        }
        assert!(matches!(stop, Stop::Limit), "{stop:?}, console: {seen}");
    }
    panic!("no {text:?} on the console: {seen:?}");
}

/// Applies the patch from `old` to `new` on the board: instructions and stack.
fn apply(name: &str, old: &[u8], new: &[u8]) -> (u64, u32) {
    let patch = encode(old, new, &Options::default(), &|_| {}).unwrap();
    let mut machine = Machine::new();
    let loader: Vec<u8> = LOADER.iter().flat_map(|w| w.to_le_bytes()).collect();
    load_code(&mut machine, LOADER_START, &loader);
    load_code(&mut machine, APP_START, &file("ptrapply.bin"));
    machine.board.flash.load(OLD, old);
    machine
        .board
        .flash
        .load(PATCH, &(patch.len() as u32).to_le_bytes());
    machine.board.flash.load(PATCH + 4, &patch);
    // Waiting for the chip is not the decoder's work.
    machine.board.flash.times.program = Time::micros(0);
    machine.board.flash.times.read = Time::micros(0);
    machine.power_on().unwrap();
    machine.paint_ram(STACK_FROM, 0xA5);
    expect(&mut machine, "ready");
    let before = machine.instructions();
    machine.board.send(1, b"g");
    expect(&mut machine, "applied");
    let instructions = machine.instructions() - before;
    let stack = machine.painted_depth(STACK_FROM, 0xA5) - OTHER_STACKS;
    assert!(machine.board.flash.chip.dump(NEW, new.len()) == new);
    println!(
        "ptr, {name}: patch {} of {} bytes, {:.1} M instructions, stack {stack}",
        patch.len(),
        new.len(),
        instructions as f64 / 1e6
    );
    (instructions, stack)
}

/// 500,000 bytes of code, and the same after a change at which all behind moves.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let code = file("otaapp.bin");
    let mut old = Vec::new();
    for round in 0u8.. {
        // No two rounds alike, so that the images are not one piece many times.
        old.extend(code.iter().enumerate().map(|(i, b)| match i % 61 {
            0 => b ^ round,
            _ => *b,
        }));
        if old.len() >= 500_000 {
            break;
        }
    }
    old.truncate(500_000);
    let mut new = old.clone();
    for word in new.chunks_exact_mut(4).step_by(97) {
        let value = u32::from_le_bytes(word.try_into().unwrap());
        word.copy_from_slice(&value.wrapping_add(0x24).to_le_bytes());
    }
    let more: Vec<u8> = old[1000..1036].iter().map(|b| b ^ 0x11).collect();
    new.splice(160_000..160_000, more);
    new.truncate(500_000);
    (old, new)
}

#[test]
fn memory_and_instructions() {
    // Variables that begin as zeros take no room in the image.
    let image = file("ptrapply.bin").len();
    assert!(image < 52 * 1024, "{image}");
    let (old, new) = pair();
    let (instructions, stack) = apply("500,000 bytes changed everywhere", &old, &new);
    // Pointer-sized fields make the struct larger on the host, never smaller.
    let memory = size_of::<Decoder>() as u32 + stack;
    println!(
        "ptr decoder: {} + stack {stack} = {memory} bytes",
        size_of::<Decoder>()
    );
    assert!(memory <= 32 * 1024, "{memory}");
    assert!(instructions <= 300_000_000, "{instructions}");
    // Everything new: the encoder keeps to what it estimates.
    let (old, new) = (file("tinyapp.bin"), &file("otaapp.elf")[..500_000]);
    let (instructions, stack) = apply("500,000 bytes that are new", &old, new);
    assert!(stack + size_of::<Decoder>() as u32 <= 32 * 1024, "{stack}");
    assert!(instructions <= 300_000_000, "{instructions}");
    assert!(instructions <= u64::from(INSTRUCTIONS) * new.len() as u64);
    // Any other pair, by path: `old new`.
    if let Some(paths) = std::env::var_os("UOTA_PTR_PAIR") {
        let paths: Vec<PathBuf> = std::env::split_paths(&paths).collect();
        let (old, new) = (&paths[0], &paths[1]);
        let (old, new) = (std::fs::read(old).unwrap(), std::fs::read(new).unwrap());
        apply("given pair", &old, &new);
    }
}
