//! Figures with a limit.

use core::cell::RefCell;

use ota_bootlib::Strategy;
use ota_flash::sim::SimFlash;

use crate::definitions::costs;
use crate::table::{MK3060, whole};
use crate::world::Past;
use crate::{App, Row, World};

/// A figure and what it may be at most.
pub struct Figure {
    name: &'static str,
    found: u64,
    limit: u64,
}

impl Figure {
    fn print(&self) -> bool {
        let right = self.found <= self.limit;
        let verdict = if right { "" } else { "  TOO MUCH" };
        println!(
            "{:<58} {:>7} of {:>7}{verdict}",
            self.name, self.found, self.limit
        );
        right
    }
}

/// Flash units that the start of a confirmed image reads, after an update that
/// changed `sectors` sectors; and whether it writes.
fn start_of_confirmed(world: &World<4096, 32>) -> (u64, u64) {
    let mut flash: SimFlash<4096, 32> = world.flash.clone();
    let ended = world.run(&mut flash, Past::default(), &[], None, None);
    if let Err(e) = ended {
        println!("no end: {}", e.0);
        return (u64::MAX, u64::MAX);
    }
    let cell = RefCell::new(flash);
    let before = cell.borrow().stats();
    world.start_only(&cell);
    let after = cell.borrow().stats();
    (
        after.read_units - before.read_units,
        after.erases + after.programs - before.erases - before.programs,
    )
}

/// Prints all figures; `rows` is the table. Returns whether each is within its limit.
pub fn print(rows: &[Row]) -> bool {
    let find = |what: &str| rows.iter().find(|r| r.name == what);
    let (Some(all), Some(ten), Some(back)) = (
        find("swap all sectors"),
        find("swap 10 sectors"),
        find("swap all, taken back"),
    ) else {
        println!("the rows of the MK3060 are missing");
        return false;
    };
    let sectors = 228;
    let swap = costs(Strategy::Swap);
    let per_pair = u64::from(swap.active + swap.update);
    let world = whole::<4096, 32>(MK3060, Strategy::Swap, App::Confirms, 228, 218);
    let (reads, writes) = start_of_confirmed(&world);
    let figure = |name, found, limit| Figure { name, found, limit };
    let all = [
        figure("MK3060, start of a confirmed image: units read", reads, 64),
        figure("MK3060, start of a confirmed image: operations", writes, 0),
        figure(
            "MK3060, swap of 228 changed sectors: erases",
            all.erases,
            per_pair * sectors + 8,
        ),
        figure(
            "MK3060, swap of 228: journal rows",
            all.journal,
            u64::from(swap.records) * sectors + 60,
        ),
        figure(
            "MK3060, swap of 228: hottest slot sector",
            all.hottest.0.into(),
            swap.active.into(),
        ),
        figure(
            "MK3060, swap of 228: hottest journal sector",
            all.hottest.1.into(),
            6,
        ),
        figure(
            "MK3060, swap of 228 taken back: hottest journal sector",
            back.hottest.1.into(),
            6,
        ),
        figure("MK3060, 10 changed sectors: erases", ten.erases, 24),
        figure(
            "all rows: units programmed twice without a cut",
            rows.iter().map(|r| r.twice.0).max().unwrap_or(u64::MAX),
            0,
        ),
    ];
    println!("\nfigures and their limits");
    all.iter().map(Figure::print).fold(true, |a, b| a & b)
}
