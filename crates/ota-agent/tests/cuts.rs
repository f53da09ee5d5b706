//! Power goes in the middle: the download resumes, and nothing is lost.

mod common;

use std::io::Write;

use common::server::Fault;
use common::*;
use ota_flash::sim::CutVariant;

/// Program unit of the flash.
const UNIT: usize = 32;

/// What the design promises: so many bytes are fetched twice for each cut.
const TWICE: usize = 64 * 1024 + SECTOR;

/// A figure that is shown also when the test passes.
fn say(figure: &str) {
    let _ = writeln!(std::io::stderr(), "{figure}");
}

fn world(old: &[u8], new: &[u8], sectors: u32) -> World {
    let w = World::new(old, sectors);
    w.publish("2.0.0", new);
    w
}

/// Operations of a whole update that begins with a blank journal.
fn operations(old: &[u8], new: &[u8], sectors: u32) -> u64 {
    let w = world(old, new, sectors);
    w.live(5 * MINUTE);
    assert!(w.runs(new) && w.is_settled());
    w.flash.borrow().ops()
}

/// Cuts power in operation `op`; the update completes all the same. Bytes fetched twice.
fn cut(old: &[u8], new: &[u8], sectors: u32, op: u64, variant: CutVariant) -> usize {
    let w = world(old, new, sectors);
    w.flash.borrow_mut().cut_at(op, variant);
    w.live(5 * MINUTE);
    let name = format!("cut at {op}, {variant:?}");
    assert!(w.flash.borrow().fired().is_some(), "{name}: no cut");
    assert!(w.runs(new) && w.is_settled(), "{name}: {}", w.tail());
    let failures = w.net.broker.borrow().failures();
    assert_eq!(failures, [], "{name}");
    w.net.server.borrow().sent - new.len()
}

#[test]
fn at_every_flash_operation() {
    let old = image("1.0.0", 9_000, None);
    let new = image("2.0.0", 9_500, None);
    let all = operations(&old, &new, 4);
    let mut twice = 0;
    for op in 0..all {
        let variants = [
            CutVariant::Before,
            CutVariant::After,
            CutVariant::Random { seed: op },
            CutVariant::Unstable { seed: op },
            CutVariant::Flicker { seed: op },
        ];
        twice = twice.max(cut(&old, &new, 4, op, variants[(op % 5) as usize]));
    }
    say(&format!(
        "{all} cuts: at most {twice} bytes fetched twice of {}",
        new.len()
    ));
    assert!(twice <= new.len());
}

#[test]
fn a_long_download_is_resumed_at_the_last_record() {
    let old = image("1.0.0", 9_000, None);
    let new = image("2.0.0", 150_000, None);
    let sectors = new.len().div_ceil(SECTOR) as u32;
    let all = operations(&old, &new, sectors);
    // The download's part of it: units and erases, and the records.
    let download = (new.len() / UNIT + sectors as usize) as u64;
    let mut worst = 0;
    let mut cuts = 0;
    for op in 0..download.min(all) {
        let twice = cut(&old, &new, sectors, op, CutVariant::Random { seed: op });
        worst = worst.max(twice);
        cuts += 1;
    }
    say(&format!(
        "{cuts} cuts: at most {worst} bytes fetched twice (limit {TWICE})"
    ));
    assert!(worst <= TWICE, "{worst}");
    // It is the record that saves the rest: without it, more would be fetched again.
    assert!(worst > SECTOR);
}

#[test]
fn cuts_in_a_row() {
    let old = image("1.0.0", 9_000, None);
    let new = image("2.0.0", 150_000, None);
    let sectors = new.len().div_ceil(SECTOR) as u32;
    let w = world(&old, &new, sectors);
    // A little less than a window's erases and programs.
    let cuts = w.cut_in_a_row(2_400);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
    let twice = w.net.server.borrow().sent - new.len();
    say(&format!(
        "{cuts} cuts in a row: {twice} bytes fetched twice"
    ));
    assert!(cuts >= 2 && twice <= cuts * TWICE);
}

#[test]
fn the_journal_is_erased_four_times_at_most() {
    let old = image("1.0.0", 60_000, None);
    let new = image("2.0.0", 600_000, None);
    let sectors = new.len().div_ceil(SECTOR) as u32;
    let w = world(&old, &new, sectors);
    // One start before it, as on any device.
    w.net.broker.borrow_mut().pushes = false;
    w.live(MINUTE);
    w.net.broker.borrow_mut().pushes = true;
    let first = (w.active + w.update) as usize;
    let erases = |w: &World| {
        let flash = w.flash.borrow();
        (first..first + 2)
            .map(|s| flash.erase_count(s))
            .sum::<u32>()
    };
    let before = erases(&w);
    // A bad connection does not make it more.
    w.net.server.borrow_mut().faults = vec![Some(Fault::Reset(20_000)); 8].into();
    w.live(5 * MINUTE);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
    let count = erases(&w) - before;
    say(&format!("journal erases for one update: {count}"));
    assert!(count <= 4, "{count}");
}

#[test]
fn a_slot_changed_behind_the_record_costs_a_download_and_no_more() {
    let old = image("1.0.0", 9_000, None);
    let new = image("2.0.0", 150_000, None);
    let sectors = new.len().div_ceil(SECTOR) as u32;
    let w = world(&old, &new, sectors);
    w.flash.borrow_mut().cut_at(3_500, CutVariant::After);
    assert_eq!(w.power(MINUTE), Stop::Cut);
    assert!(w.journal(|j| j.state().resume_offset()) >= 64 * 1024);
    let noise = vec![0x55; SECTOR];
    w.flash
        .borrow_mut()
        .load((w.active + 3) * SECTOR as u32, &noise);
    w.live(5 * MINUTE);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
    assert_eq!(w.net.broker.borrow().failures(), []);
}

#[test]
fn all_is_stored_already() {
    let old = image("1.0.0", 9_000, None);
    let new = image("2.0.0", 9_500, None);
    let all = operations(&old, &new, 4);
    // The last cut at which the request is not durable yet: nothing is fetched again.
    let mut saved = 0;
    for op in (0..all).rev() {
        let w = world(&old, &new, 4);
        w.flash.borrow_mut().cut_at(op, CutVariant::Before);
        loop {
            match w.power(MINUTE) {
                Stop::Cut => break,
                Stop::Reboot => {}
                end => panic!("{end:?} at {op}"),
            }
        }
        if w.saw("Verified") && !w.saw("Requested") {
            let before = w.asked();
            w.live(5 * MINUTE);
            assert!(w.runs(&new) && w.is_settled(), "{op}: {}", w.tail());
            assert_eq!(w.asked(), before, "{op}: {}", w.tail());
            saved += 1;
        } else if saved > 0 {
            break;
        }
    }
    assert!(saved > 0);
}

#[test]
fn a_full_slot_and_no_byte_more() {
    let old = image("1.0.0", 9_000, None);
    for sectors in [3, 4] {
        let len = sectors as usize * SECTOR - 160 - 28;
        let mut new = image("2.0.0", len, None);
        // As long as the slot allows.
        let missing = sectors as usize * SECTOR - new.len();
        new = image("2.0.0", len + missing, None);
        assert_eq!(new.len(), sectors as usize * SECTOR);
        let w = world(&old, &new, sectors);
        w.live(5 * MINUTE);
        assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
        let longer = image("3.0.0", len + missing + 1, None);
        w.publish("3.0.0", &longer);
        w.live(5 * MINUTE);
        let failures = w.net.broker.borrow().failures();
        assert_eq!(failures, [(-1, "package larger than slot".into())]);
    }
}
