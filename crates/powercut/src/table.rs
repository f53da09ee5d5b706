//! The table that `cargo xtask powercut` prints.

use std::time::Instant;

use ota_bootlib::Strategy;

use crate::{App, Known, Layout, Plan, Row, Sweep, World, image};

/// How much is run.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Every n-th first cut of a pair on small devices.
    pub pairs: u64,
    /// Random sequences, over all rows.
    pub sequences: u64,
    /// Every n-th operation of the large device.
    pub large_step: u64,
    /// Seed of the random sequences.
    pub seed: u64,
}

impl Amount {
    /// Everything.
    pub const FULL: Self = Self {
        pairs: 1,
        sequences: 140_000,
        large_step: 1,
        seed: 1,
    };
    /// A part of it, for every day.
    pub const QUICK: Self = Self {
        pairs: 11,
        sequences: 5_000,
        large_step: 37,
        seed: 1,
    };
}

/// The MK3060: 229 sectors of 4 KiB a slot, program unit 32 bytes.
pub const MK3060: Layout = Layout::new(229, 229, 2);

/// Runs `world` as one row.
fn row<const S: usize, const U: usize>(
    rows: &mut Vec<Row>,
    geometry: &str,
    what: &str,
    world: &World<S, U>,
    plan: Plan,
) {
    let started = Instant::now();
    let name = format!("{} {what}", world.strategy.name());
    let row = Sweep { world, plan }.run(&name, geometry);
    show(rows, row, started.elapsed().as_secs_f32());
}

fn show(rows: &mut Vec<Row>, row: Row, seconds: f32) {
    println!("{}", line(&row));
    if let Some(first) = &row.first {
        println!("    first: {first}");
    }
    eprintln!("    {seconds:.1} s");
    rows.push(row);
}

/// A swap, overwrite or switch of whole images on a device of this layout.
/// `same` is the number of sectors, from the start, in which the images agree.
pub fn whole<const S: usize, const U: usize>(
    layout: Layout,
    strategy: Strategy,
    app: App,
    sectors: u32,
    same: u32,
) -> World<S, U> {
    let old = image::<S, U>(layout.active, layout.active * S as u32, 1);
    let total = sectors * S as u32 - 5;
    let mut bytes = image::<S, U>(sectors, total, 2).bytes.to_vec();
    let agree = (same as usize * S).min(bytes.len());
    bytes[..agree].copy_from_slice(&old.bytes[..agree]);
    World::new(
        layout,
        strategy,
        old,
        Known::new::<S, U>(bytes, total, 2),
        app,
    )
}

fn head() -> String {
    format!(
        "{:<28} {:<24} {:>6} {:>8} {:>4} {:>9} {:>7} {:>5} {:>7} {:>8} {:>11}",
        "strategy",
        "sectors x bytes, unit",
        "ops",
        "singles",
        "var",
        "pairs",
        "seq",
        "wrong",
        "erases",
        "hottest",
        "twice"
    )
}

fn line(r: &Row) -> String {
    format!(
        "{:<28} {:<24} {:>6} {:>8} {:>4} {:>9} {:>7} {:>5} {:>7} {:>8} {:>11}",
        r.name,
        r.geometry,
        r.ops,
        r.singles,
        r.variants,
        r.pairs,
        r.sequences,
        r.wrong,
        r.erases,
        format!("{}/{}", r.hottest.0, r.hottest.1),
        format!("{}/{}", r.twice.0, r.twice.1),
    )
}

/// Runs all rows and prints them.
pub fn run(amount: Amount) -> Vec<Row> {
    println!("{}", head());
    let mut rows = Vec::new();
    small(&mut rows, amount);
    large(&mut rows, amount);
    let mut shown = |row, seconds| show(&mut rows, row, seconds);
    crate::in_place::rows(amount, &mut shown);
    crate::stream::rows(amount, &mut shown);
    println!(
        "hottest: slot sector / journal sector, twice: units programmed twice without a cut / \
         at most with cuts (zeros over an interrupted journal row)"
    );
    rows
}

/// Nine small devices: every operation, every variant, pairs; and the smallest
/// program units, single cuts only.
fn small(rows: &mut Vec<Row>, amount: Amount) {
    let sequences = amount.sequences / 10;
    let plan = Plan {
        every_unit: true,
        pairs: amount.pairs,
        sequences,
        step: 1,
        seed: amount.seed,
    };
    let two = Layout::new(2, 3, 16);
    let w = whole::<256, 32>(two, Strategy::Swap, App::Confirms, 2, 0);
    row(rows, "2+3 x 256, 32", "confirmed", &w, plan);
    let w = whole::<256, 32>(two, Strategy::Swap, App::NeverConfirms, 2, 0);
    row(rows, "2+3 x 256, 32", "never confirmed", &w, plan);
    let other = Layout::new(3, 4, 16);
    let w = whole::<512, 64>(other, Strategy::Swap, App::AsksBack, 3, 1);
    row(rows, "3+4 x 512, 64", "taken back", &w, plan);
    let byte = Layout::new(1, 2, 64);
    let w = whole::<64, 8>(byte, Strategy::Swap, App::Confirms, 1, 0);
    row(rows, "1+2 x 64, 8", "confirmed", &w, plan);
    let page = Layout::new(3, 5, 120);
    let w = whole::<256, 256>(page, Strategy::Swap, App::Confirms, 3, 0);
    row(rows, "3+5 x 256, 256", "confirmed", &w, plan);
    let patch = Layout::new(3, 6, 16);
    let old = image::<256, 32>(3, 3 * 256, 1);
    let w = World::<256, 32>::with_patch(
        patch,
        Strategy::PatchSwap,
        512,
        0,
        (old.clone(), 700, 200),
        App::Confirms,
    );
    row(rows, "3+6 x 256, 32", "moved", &w, plan);
    let w = World::<256, 32>::with_patch(
        patch,
        Strategy::InPlace,
        256,
        6 * 256 - 84,
        (old, 500, 0),
        App::Confirms,
    );
    row(rows, "3+6 x 256, 32", "confirmed", &w, plan);
    let w = whole::<128, 16>(
        Layout::new(4, 3, 30),
        Strategy::Overwrite,
        App::Confirms,
        3,
        0,
    );
    row(rows, "4+3 x 128, 16", "confirmed", &w, plan);
    let w = whole::<256, 32>(two, Strategy::Switch, App::NeverConfirms, 2, 0);
    row(rows, "2+3 x 256, 32", "never confirmed", &w, plan);
    let w = whole::<256, 32>(two, Strategy::Swap, App::Confirms, 2, 0).spoil();
    row(rows, "2+3 x 256, 32", "damaged image", &w, plan);
    // C firmware on both sides: it asks and confirms through PARAMETER_1.
    let old = || image::<256, 32>(2, 512, 1);
    let new = || image::<256, 32>(2, 507, 2);
    for (app, what) in [
        (App::CConfirms, "C firmware"),
        (App::CErases, "C firmware erases"),
        (App::CAsksBack, "C firmware, ROBK"),
    ] {
        let w = World::<256, 32>::c_request(two, old(), new(), None, app);
        row(rows, "2+3 x 256, 32", what, &w, plan);
    }
    let old = image::<256, 32>(3, 3 * 256, 1);
    let small = image::<256, 32>(2, 400, 2);
    let w = World::<256, 32>::c_request(patch, old, small, Some((256, 100)), App::CConfirms);
    row(rows, "3+6 x 256, 32", "C firmware", &w, plan);
    patches(rows, plan);
    for r in &rows[..18] {
        assert!(r.ops <= 150, "{} has {} operations", r.name, r.ops);
    }
    let plan = Plan {
        pairs: 0,
        sequences: 0,
        ..plan
    };
    let w = whole::<64, 1>(byte, Strategy::Swap, App::NeverConfirms, 1, 0);
    row(rows, "1+2 x 64, 1", "never confirmed", &w, plan);
    let bytes = Layout::new(2, 3, 30);
    let w = whole::<128, 4>(bytes, Strategy::Swap, App::Confirms, 2, 0);
    row(rows, "2+3 x 128, 4", "confirmed", &w, plan);
}

/// A patch as AliOS makes it, through the real decoder, `gap` bytes from the start of
/// the slot; it changes a byte at each of `changes`.
pub fn nbdiff(strategy: Strategy, gap: u32, changes: &[usize]) -> World<1024, 256> {
    let layout = Layout::new(5, 7, 28);
    let old = image::<1024, 256>(5, 5 * 1024, 1);
    // Two slices.
    let total = 4 * 1024 + 500;
    let mut bytes = old.bytes.to_vec();
    bytes[total..].fill(0xFF);
    for at in changes {
        bytes[*at] ^= 0x5A;
    }
    let new = Known::new::<1024, 256>(bytes, total as u32, 2);
    World::with_nbdiff(layout, strategy, gap, (old, new), App::Confirms)
}

/// Real patches: at the end of the slot, and in front where C firmware puts them.
/// Every sector differs, in little.
fn patches(rows: &mut Vec<Row>, plan: Plan) {
    let changes = [0, 1, 2, 3, 4].map(|sector| sector * 1024 + 100);
    for strategy in [Strategy::PatchSwap, Strategy::InPlace] {
        for (gap, what) in [(0, "nbdiff moved"), (6144, "nbdiff")] {
            let w = nbdiff(strategy, gap, &changes);
            row(rows, "5+7 x 1024, 256", what, &w, plan);
        }
    }
}

/// The MK3060's own geometry, every sector different, and a small update.
fn large(rows: &mut Vec<Row>, amount: Amount) {
    let plan = Plan {
        every_unit: false,
        pairs: 0,
        sequences: amount.sequences / 100,
        step: amount.large_step,
        seed: amount.seed,
    };
    let w = whole::<4096, 32>(MK3060, Strategy::Swap, App::Confirms, 228, 218);
    row(rows, "229+229 x 4096, 32", "10 sectors", &w, plan);
    let w = whole::<4096, 32>(MK3060, Strategy::Swap, App::Confirms, 228, 0);
    row(rows, "229+229 x 4096, 32", "all sectors", &w, plan);
    let w = whole::<4096, 32>(MK3060, Strategy::Swap, App::AsksBack, 228, 0);
    row(rows, "229+229 x 4096, 32", "all, taken back", &w, plan);
    let old = image::<4096, 32>(229, 229 * 4096, 1);
    let w = World::<4096, 32>::with_patch(
        MK3060,
        Strategy::PatchSwap,
        65536,
        0,
        (old, 600_000, 2000),
        App::Confirms,
    );
    row(rows, "229+229 x 4096, 32", "moved", &w, plan);
}

/// The rows of ptr patches, in place and while they download, alone.
pub fn show_stream(amount: Amount) -> Vec<Row> {
    println!("{}", head());
    let mut rows = Vec::new();
    let mut shown = |row, seconds| show(&mut rows, row, seconds);
    crate::in_place::rows(amount, &mut shown);
    crate::stream::rows(amount, &mut shown);
    rows
}
