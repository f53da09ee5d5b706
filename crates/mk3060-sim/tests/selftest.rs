//! The drivers on the emulated board: `hal-mk3060`'s example `selftest`.

use hal_mk3060::memory::{APP_START, LOADER_START};
use mk3060_sim::{Fault, Limit, Machine, ResetCause, Stop, Time, load_code};
use std::path::PathBuf;

/// `ldr pc, [pc, #-4]`, then where to.
const LOADER: [u32; 2] = [0xE51F_F004, APP_START];

fn machine() -> Machine {
    let dir = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES"));
    let app = std::fs::read(dir.join("selftest.bin")).expect("selftest.bin");
    let mut machine = Machine::new();
    let loader: Vec<u8> = LOADER.iter().flat_map(|word| word.to_le_bytes()).collect();
    load_code(&mut machine, LOADER_START, &loader);
    // The application's first line is shared with nothing: 0x1A5C0 is line aligned.
    load_code(&mut machine, APP_START, &app);
    machine.stop_at_reset = true;
    machine.power_on().unwrap();
    machine
}

/// Runs until the console shows `text`.
fn expect(machine: &mut Machine, text: &str) -> String {
    let mut seen = String::new();
    for _ in 0..1000 {
        let stop = machine.run(Limit::until(machine.board.now() + Time::millis(1)));
        let bytes = machine.board.uarts[0].take_from_board();
        seen.push_str(&String::from_utf8_lossy(&bytes));
        if seen.contains(text) {
            return seen;
        }
        match stop {
            Stop::Limit => {}
            Stop::Fault(report) => panic!("{report}\nconsole: {seen}"),
            other => panic!("{other:?}\nconsole: {seen}"),
        }
    }
    panic!("no {text:?} on the console within 1 s: {seen:?}");
}

#[test]
fn drivers_work_and_bytes_come_by_interrupt() {
    let mut machine = machine();
    let seen = expect(&mut machine, "flash ok\r\n");
    assert_eq!(seen, "selftest\r\nticks ok\r\nflash ok\r\n");
    assert!(machine.board.now() > Time::millis(20 + 50));
    machine.board.send(1, b"12345");
    assert_eq!(expect(&mut machine, "12345"), "12345");
    let counts = machine.board.flash.counts;
    assert_eq!(
        (counts.erases, counts.programs, counts.status_writes),
        (1, 2, 2)
    );
}

#[test]
fn reset_goes_through_the_watchdog() {
    for (command, least) in [(b"r", 1), (b"h", 100)] {
        let mut machine = machine();
        expect(&mut machine, "flash ok\r\n");
        let begin = machine.board.now();
        machine.board.send(1, command);
        assert_eq!(
            machine.run(Limit::until(begin + Time::millis(500))),
            Stop::Reset(ResetCause::Watchdog)
        );
        let span = machine.board.now().since(begin);
        assert!(
            span >= Time::millis(least) && span < Time::millis(least + 2),
            "{span}"
        );
        expect(&mut machine, "flash ok\r\n");
    }
}

#[test]
fn an_undefined_instruction_stops_with_a_report() {
    let mut machine = machine();
    expect(&mut machine, "flash ok\r\n");
    machine.board.send(1, b"u");
    let stop = machine.run(Limit::until(machine.board.now() + Time::millis(10)));
    let Stop::Fault(report) = stop else {
        panic!("{stop:?}")
    };
    assert!(matches!(report.fault, Fault::Undefined { address } if address == report.pc));
}

#[test]
fn a_snapshot_goes_on_exactly_as_the_original() {
    let mut one = machine();
    expect(&mut one, "ticks ok\r\n");
    let mut two = one.clone();
    for machine in [&mut one, &mut two] {
        machine.board.send(1, b"abc");
        expect(machine, "abc");
    }
    assert_eq!(one.instructions(), two.instructions());
    assert_eq!(one.board.now(), two.board.now());
    assert_eq!(one.board.ram(), two.board.ram());
}
