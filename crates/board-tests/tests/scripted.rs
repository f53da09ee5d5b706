//! An update with peers that are part of the test: no socket, no wall clock.
//! Everything the board does, to the last byte and flash operation, happens at
//! the same virtual time each time.

use board_tests::scripted::Scripted;
use board_tests::{app, file};
use hal_mk3060::memory::{FIRST_STAGE_ERASES, SECTOR_LEN};
use mk3060_sim::{Event, Fault, FirstStage, Machine, Time, load_code};
use ota_flash::PartitionId;

/// What happened when.
type Trace = Vec<(Time, Event)>;

fn update() -> (Trace, Time) {
    let (v1, v2) = (app("app-1.0.0"), app("app-2.0.0"));
    let mut world = Scripted::new(&v1, &v2);
    world.desk.session.machine.board.trace.start();
    world.update();
    let desk = &mut world.desk;
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    let now = desk.now();
    (desk.session.machine.board.trace.take(), now)
}

#[test]
fn an_update_is_the_same_to_the_last_byte_each_time() {
    let (first, time) = update();
    let (second, again) = update();
    assert_eq!(time, again);
    assert_eq!(first.len(), second.len());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a, b);
    }
    println!("{} events, confirmed after {time}", first.len());
}

/// The vendor's first stage in front: it looks at `PARAMETER_1`, clears a range of
/// flash and leaves all of it protected, at each start.
#[test]
fn an_update_behind_the_vendors_first_stage_is_confirmed() {
    let (v1, v2) = (app("app-1.0.0"), app("app-2.0.0"));
    let mut world = Scripted::new(&v1, &v2);
    let desk = &mut world.desk;
    let machine = &mut desk.session.machine;
    machine.first_stage = FirstStage::Mico30;
    // Something that it clears away.
    let last = FIRST_STAGE_ERASES.end - 4;
    machine.board.flash.load(last, b"junk");
    machine.board.trace.start();
    desk.session.power_on().unwrap();
    world.update();
    let desk = &mut world.desk;
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    let machine = &mut desk.session.machine;
    assert_eq!(machine.board.flash.chip.dump(last, 4), [0xFF; 4]);
    let trace = machine.board.trace.take();
    let erased = |event: &Event| match event {
        Event::Erase(at) => FIRST_STAGE_ERASES.contains(at),
        _ => false,
    };
    // Once: nothing of ours is ever there.
    let count = trace.iter().filter(|(_, event)| erased(event)).count();
    assert_eq!(count, FIRST_STAGE_ERASES.len() / SECTOR_LEN as usize);
    // Each start takes the half second in which it waits for spaces.
    let wait = Time::millis(500);
    let mut resets = 0;
    for (at, (begin, event)) in trace.iter().enumerate() {
        if matches!(event, Event::Reset(_)) {
            resets += 1;
            let next = trace[at + 1..].iter().find(|(_, event)| !erased(event));
            assert!(next.unwrap().0.since(*begin) >= wait);
        }
    }
    assert_eq!(resets, 2, "power-on and one reset");
}

/// A board behind the vendor's first stage; nothing of ours has run.
fn behind_the_first_stage() -> Machine {
    let mut machine = Machine::new();
    load_code(
        &mut machine,
        hal_mk3060::memory::LOADER_START,
        &file("boot2.bin"),
    );
    machine.first_stage = FirstStage::Mico30;
    machine
}

/// More than three spaces in a row on UART2 while it waits, and nothing less.
#[test]
fn spaces_at_a_start_open_the_first_stages_menu() {
    for (line, opens) in [
        (&b"    "[..], true),
        (b"\xC0AT\r     ", true),
        (b"   ", false),
        (b"   x   x   ", false),
        (b"no spaces here, but SLIP", false),
        (b"", false),
    ] {
        let mut machine = behind_the_first_stage();
        machine.board.send(2, line);
        match machine.power_on() {
            Err(Fault::FirstStageActs(what)) => {
                assert!(opens && what.contains("menu"), "{line:?}: {what}");
            }
            Ok(()) => assert!(!opens, "{line:?}"),
            Err(other) => panic!("{line:?}: {other}"),
        }
    }
    // Spaces that come when it no longer waits are too late.
    let mut machine = behind_the_first_stage();
    machine.board.send(2, &[b'x'; 48 << 10]);
    machine.board.send(2, b"     ");
    machine.power_on().unwrap();
}

/// What it would do then nobody has written down, so the emulator stops.
#[test]
fn a_boot_table_that_asks_for_an_update_stops_the_emulator() {
    // Start, length, version, kind, what to do, CRC 0xFFFF for none.
    let mut table = [0xFF; 24];
    table[..8].copy_from_slice(&[0, 0x10, 0x10, 0, 0, 0x10, 0, 0]);
    table[8..16].copy_from_slice(b"1.0.0\0\0\0");
    for (kind, action, acts) in [
        (b'A', b'U', true),
        (b'B', b'U', true),
        (b'D', b'U', true),
        (b'A', b'R', false),
        // `RSUF` of C firmware has these two bytes there.
        (b'S', b'R', false),
        (b'S', b'U', false),
    ] {
        table[16..18].copy_from_slice(&[kind, action]);
        let mut machine = behind_the_first_stage();
        machine.board.flash.load(0x1_0000, &table);
        match machine.power_on() {
            Err(Fault::FirstStageActs(what)) => {
                assert!(acts && what.contains("boot_table_t"), "{what}");
            }
            Ok(()) => assert!(!acts, "{kind} {action}"),
            Err(other) => panic!("{other}"),
        }
    }
}
