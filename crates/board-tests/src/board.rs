//! A board with shipped images in its flash, and what one does with it.

use crate::images::file;
use hal_mk3060::PARTITIONS;
use hal_mk3060::memory::LOADER_START;
use mk3060_sim::{Limit, Machine, ResetCause, Stop, Time, load_code};
use ota_flash::PartitionId;

/// Flash offset of a partition.
///
/// # Panics
/// When the board has none of that name.
#[must_use]
pub fn start(id: PartitionId) -> u32 {
    PARTITIONS
        .get(id)
        .expect("a partition of the board")
        .start()
}

/// A board that has just been switched on, with the loader from the file
/// `loader`, and images in both slots.
///
/// # Panics
/// When the file is not there.
#[must_use]
pub fn board_with(loader: &str, active: &[u8], update: &[u8]) -> Machine {
    let mut machine = Machine::new();
    load_code(&mut machine, LOADER_START, &file(loader));
    let flash = &mut machine.board.flash;
    flash.load(start(PartitionId::Application), active);
    flash.load(start(PartitionId::OtaTemp), update);
    machine.stop_at_reset = true;
    machine
        .power_on()
        .expect("the first stage starts the loader");
    machine
}

/// The same with the loader as it ships.
#[must_use]
pub fn board(active: &[u8], update: &[u8]) -> Machine {
    board_with("boot2.bin", active, update)
}

/// Runs until the console shows `text`; the number of resets until then.
///
/// # Panics
/// When it does not come within two minutes of the board's time.
pub fn expect(machine: &mut Machine, text: &str) -> u32 {
    try_expect(machine, text).unwrap_or_else(|why| panic!("{why}"))
}

/// As [`expect`].
///
/// # Errors
/// Says what happened instead.
pub fn try_expect(machine: &mut Machine, text: &str) -> Result<u32, String> {
    let mut seen = String::new();
    let mut resets = 0;
    let end = machine.board.now() + Time::millis(120_000);
    while machine.board.now() < end {
        let stop = machine.run(Limit::until(machine.board.now() + Time::micros(5)));
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
            other => return Err(format!("{other:?}\nconsole: {seen}")),
        }
    }
    Err(format!("no {text:?} on the console: {seen:?}"))
}

/// The rest of the line that the console shows, from where [`expect`] has stopped.
///
/// # Panics
/// When it does not end within a second.
pub fn line(machine: &mut Machine) -> String {
    let mut seen = Vec::new();
    let end = machine.board.now() + Time::millis(1000);
    while machine.board.now() < end {
        machine.run(Limit::until(machine.board.now() + Time::micros(5)));
        seen.extend(machine.board.uarts[0].take_from_board());
        if let Some(at) = seen.iter().position(|byte| *byte == b'\r') {
            return String::from_utf8_lossy(&seen[..at]).into_owned();
        }
    }
    panic!("no end of the line: {seen:?}");
}

/// Presses a key and waits for the answer.
///
/// # Panics
/// When it does not come.
pub fn tell(machine: &mut Machine, key: &[u8], answer: &str) {
    machine.board.send(1, key);
    expect(machine, answer);
}

/// Runs to the next reset.
///
/// # Panics
/// When something else happens first.
pub fn run_to_reset(machine: &mut Machine) {
    match machine.run(Limit::until(machine.board.now() + Time::millis(60_000))) {
        Stop::Reset(_) => {}
        other => panic!("{other:?}"),
    }
}

/// The first `len` bytes of a partition.
#[must_use]
pub fn slot(machine: &Machine, id: PartitionId, len: usize) -> Vec<u8> {
    machine.board.flash.chip.dump(start(id), len)
}

/// Runs to right before the loader's first look at the flash. Until then nothing
/// depends on what the flash holds but for the loader's own code, so every start
/// in a sweep can begin here.
///
/// # Panics
/// When the loader does not get there.
pub fn run_to_flash(machine: &mut Machine) {
    let reads = machine.board.flash.counts.reads;
    for step in [10_000, 100, 1] {
        loop {
            let mut next = machine.clone();
            let stop = next.run(Limit {
                instructions: machine.instructions() + step,
                ..Limit::NONE
            });
            assert_eq!(stop, Stop::Limit);
            if next.board.flash.counts.reads > reads {
                break;
            }
            *machine = next;
        }
    }
}

/// `tiny-1.0.0` asks for `tiny-2.0.0`, which is installed, confirmed and stays.
///
/// # Panics
/// When it is not so.
pub fn updates(machine: &mut Machine, v2: &[u8]) {
    expect(machine, "tiny-1.0.0 started");
    tell(machine, b"u", "requested");
    machine.board.send(1, b"r");
    expect(machine, "tiny-2.0.0 started");
    assert_eq!(slot(machine, PartitionId::Application, v2.len()), v2);
    tell(machine, b"s", "trial 1");
    tell(machine, b"c", "confirmed");
    machine.board.send(1, b"r");
    expect(machine, "tiny-2.0.0 started");
    tell(machine, b"s", "idle");
}

/// `tiny-1.0.0` asks for `tiny-2.0.0`, which fails each trial as `key` tells it to:
/// the old image comes back.
///
/// # Panics
/// When it does not.
pub fn reverts(machine: &mut Machine, v1: &[u8], key: &[u8]) {
    expect(machine, "tiny-1.0.0 started");
    tell(machine, b"u", "requested");
    machine.board.send(1, b"r");
    for _ in 0..3 {
        expect(machine, "tiny-2.0.0 started");
        machine.board.send(1, key);
    }
    expect(machine, "tiny-1.0.0 started");
    assert_eq!(machine.last_reset(), ResetCause::Watchdog);
    assert_eq!(slot(machine, PartitionId::Application, v1.len()), v1);
    tell(machine, b"s", "idle");
}
