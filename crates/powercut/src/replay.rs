//! Sweeps over devices that run from their first operation for each cut, because
//! they are more than a flash: no state of theirs is kept between runs.

use std::ops::Range;
use std::time::Instant;

use ota_flash::sim::{CutVariant, Op, OpKind, SimFlash};

use crate::Row;
use crate::table::Amount;
use crate::world::Cut;

/// A device and what it goes through.
pub trait Device: Sync {
    /// Runs it through `cuts` to its end, without cuts with a trace.
    ///
    /// # Errors
    /// The promise that was broken.
    fn run(&self, cuts: &[Cut]) -> Result<Ran, String>;

    /// The row of the table that it makes.
    fn shape(&self) -> Shape;
}

/// What a device looks like, and how much of it is tried.
pub struct Shape {
    /// Strategy and what the application does.
    pub name: String,
    /// Geometry.
    pub geometry: String,
    /// Where a part of the cuts will do, only every n-th of that.
    pub sparse: u64,
    /// Operations between the cuts of a sequence, at most.
    pub reach: u64,
}

/// One run.
pub struct Ran {
    /// Cuts that fired.
    fired: usize,
    erases: u64,
    reprograms: u64,
    hottest: (u32, u32),
    trace: Vec<Op>,
}

impl Ran {
    /// A run to its end with so many cuts, which left this flash. Slots are the
    /// sectors in front of the `journal`'s.
    pub fn new<const S: usize, const U: usize>(
        fired: usize,
        flash: &mut SimFlash<S, U>,
        journal: Range<usize>,
    ) -> Self {
        let hot = |range| flash.hottest_sector(range).map_or(0, |h| h.1);
        Self {
            fired,
            erases: flash.stats().erases,
            reprograms: flash.stats().reprograms,
            hottest: (hot(0..journal.start), hot(journal)),
            trace: flash.take_trace(),
        }
    }
}

/// Wrong results after which a sweep stops.
const ENOUGH: u64 = 20;

/// Threads of a sweep.
const PARTS: u64 = 2;

/// The row of `device`, and the seconds it took.
pub fn row(device: &impl Device, amount: Amount) -> (Row, f32) {
    let started = Instant::now();
    let shape = device.shape();
    let mut row = Row {
        name: shape.name.clone(),
        geometry: shape.geometry.clone(),
        ..Row::default()
    };
    match device.run(&[]) {
        Ok(ran) => {
            row.erases = ran.erases;
            row.twice.0 = ran.reprograms;
            row.hottest = ran.hottest;
            row.ops = ran.trace.len() as u64;
            let sweep = Sweep {
                device,
                shape,
                amount,
                trace: ran.trace,
            };
            sweep.both(&mut row);
        }
        Err(why) => {
            row.wrong = 1;
            row.first = Some(why);
        }
    }
    (row, started.elapsed().as_secs_f32())
}

struct Sweep<'a, D> {
    device: &'a D,
    shape: Shape,
    amount: Amount,
    /// Operations of the run without cuts.
    trace: Vec<Op>,
}

impl<D: Device> Sweep<'_, D> {
    fn both(&self, row: &mut Row) {
        std::thread::scope(|scope| {
            let part = |part| {
                scope.spawn(move || {
                    let mut row = Row::default();
                    self.singles(&mut row, part);
                    self.sequences(&mut row, part);
                    row
                })
            };
            let parts: Vec<_> = (0..PARTS).map(part).collect();
            for part in parts {
                row.merge(part.join().expect("sweep"));
            }
        });
    }

    /// One run; how many of the cuts fired.
    fn one(&self, row: &mut Row, cuts: &[Cut]) -> usize {
        match self.device.run(cuts) {
            Ok(ran) => {
                row.twice.1 = row.twice.1.max(ran.reprograms);
                ran.fired
            }
            Err(why) => {
                row.wrong += 1;
                row.first.get_or_insert(format!("{why} with {cuts:?}"));
                cuts.len()
            }
        }
    }

    /// All single cuts of this part.
    fn singles(&self, row: &mut Row, part: u64) {
        let step = match self.amount.large_step {
            1 => 1,
            some => some * self.shape.sparse,
        };
        for (i, op) in (0u64..).zip(&self.trace) {
            let mine = i % PARTS == part && (i / PARTS).is_multiple_of(step);
            if !mine || row.wrong >= ENOUGH {
                continue;
            }
            let seed = i << 8 | 1;
            let variants = match op.kind {
                OpKind::Erase => CutVariant::for_erase(seed).to_vec(),
                OpKind::Program => CutVariant::for_program(seed).to_vec(),
            };
            row.variants = row.variants.max(variants.len() as u64);
            for variant in variants {
                row.singles += 1;
                row.unfired += 1 - self.one(row, &[(i, variant)]) as u64;
            }
        }
    }

    /// Random sequences of two to four cuts.
    fn sequences(&self, row: &mut Row, part: u64) {
        let mut x = self.amount.seed.wrapping_mul(2) + part;
        let mut random = |below: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 33) % below
        };
        for _ in 0..self.amount.sequences / 400 {
            let cuts: Vec<Cut> = (0..2 + random(3))
                .map(|k| {
                    let range = match k {
                        0 => self.trace.len() as u64,
                        _ => self.shape.reach,
                    };
                    let all = CutVariant::for_erase(random(u64::from(u32::MAX)));
                    let variant = all[random(all.len() as u64) as usize];
                    (random(range), variant)
                })
                .collect();
            // A device that is at its end before the last cut is not counted.
            row.sequences += u64::from(self.one(row, &cuts) == cuts.len());
        }
    }
}
