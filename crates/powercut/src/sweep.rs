//! Which cuts are made: single ones, pairs, random sequences.

use embedded_storage::nor_flash::NorFlash;
use ota_flash::sim::{CutVariant, Op, OpKind, SimFlash};

use crate::world::{Cut, Memo, Past, Step, World, Wrong};

/// Result of one row of the table.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Strategy and what the application does.
    pub name: String,
    /// Geometry.
    pub geometry: String,
    /// Operations of a run without cuts.
    pub ops: u64,
    /// Single cuts made.
    pub singles: u64,
    /// Variants used, at most, at one operation.
    pub variants: u64,
    /// Pairs of cuts made.
    pub pairs: u64,
    /// Random sequences of 3 to 5 cuts.
    pub sequences: u64,
    /// Runs that broke a promise.
    pub wrong: u64,
    /// The first of them.
    pub first: Option<String>,
    /// Erases of the run without cuts.
    pub erases: u64,
    /// Journal rows it writes.
    pub journal: u64,
    /// Erases of its hottest slot sector and hottest journal sector.
    pub hottest: (u32, u32),
    /// Units programmed twice in the run without cuts, and in the worst run with one.
    pub twice: (u64, u64),
    /// Planned cuts that did not fire.
    pub unfired: u64,
}

impl Row {
    /// Nothing wrong, and every cut fired.
    pub fn is_right(&self) -> bool {
        self.wrong == 0 && self.unfired == 0
    }

    fn note(&mut self, cuts: &[Cut], wrong: &Wrong) {
        self.wrong += 1;
        self.first
            .get_or_insert_with(|| format!("{} with {cuts:?}", wrong.0));
    }

    /// Adds the counts of another part of the same sweep.
    pub fn merge(&mut self, other: Self) {
        self.singles += other.singles;
        self.variants = self.variants.max(other.variants);
        self.pairs += other.pairs;
        self.sequences += other.sequences;
        self.wrong += other.wrong;
        self.first = self.first.take().or(other.first);
        self.twice.1 = self.twice.1.max(other.twice.1);
        self.unfired += other.unfired;
    }
}

/// How much of the sweep is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// All variants at data units too, not only at the first and last of a sector.
    pub every_unit: bool,
    /// All pairs of cuts whose first is at every n-th operation; 0: none.
    pub pairs: u64,
    /// Cuts at every n-th operation only; 1: at all.
    pub step: u64,
    /// Random sequences of 3 to 5 cuts.
    pub sequences: u64,
    /// Seed of these.
    pub seed: u64,
}

fn rng(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Sweeps over one world.
pub struct Sweep<'a, const S: usize, const U: usize> {
    /// The device.
    pub world: &'a World<S, U>,
    /// How much.
    pub plan: Plan,
}

/// Wrong results after which a sweep stops: no need to see more.
const ENOUGH: u64 = 20;
/// Threads of a sweep.
const PARTS: usize = 2;

impl<const S: usize, const U: usize> Sweep<'_, S, U> {
    /// Runs everything the plan asks for.
    pub fn run(&self, name: &str, geometry: &str) -> Row {
        let mut row = Row {
            name: name.into(),
            geometry: geometry.into(),
            ..Row::default()
        };
        let mut flash = self.world.flash.clone();
        let mut steps = Vec::new();
        let ran = self
            .world
            .run(&mut flash, Past::default(), &[], None, Some(&mut steps));
        if let Err(e) = ran {
            row.note(&[], &e);
            return row;
        }
        row.ops = steps.len() as u64;
        row.erases = flash.stats().erases;
        row.twice.0 = flash.stats().reprograms;
        let journal = self.world.layout.journal_sectors();
        let hot = |r| flash.hottest_sector(r).map_or(0, |h| h.1);
        row.hottest = (hot(0..journal.start), hot(journal.clone()));
        let rows = steps.iter().filter(|s| {
            s.op.kind == OpKind::Program && journal.contains(&(s.op.offset as usize / S))
        });
        row.journal = rows.count() as u64;
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..PARTS)
                .map(|part| {
                    let steps = &steps;
                    scope.spawn(move || {
                        let mut row = Row::default();
                        self.walk(&mut row, steps, part);
                        row
                    })
                })
                .collect();
            for part in parts {
                row.merge(part.join().expect("sweep"));
            }
        });
        row
    }

    /// The variants to try at step `i`.
    fn variants(&self, steps: &[Step], i: usize, every_unit: bool) -> Vec<CutVariant> {
        let op = steps[i].op;
        let seed = (i as u64) << 8 | 1;
        if op.kind == OpKind::Erase {
            return CutVariant::for_erase(seed).to_vec();
        }
        let sector = |o: &Op| (o.kind, o.offset as usize / S);
        let edge = |i: usize| steps.get(i).is_none_or(|s| sector(&s.op) != sector(&op));
        let slots = self.world.layout.journal_sectors().start * S;
        if every_unit || op.offset as usize >= slots || edge(i.wrapping_sub(1)) || edge(i + 1) {
            CutVariant::for_program(seed).to_vec()
        } else {
            vec![CutVariant::Before, CutVariant::After]
        }
    }

    /// Single cuts, pairs and sequences, along the run without cuts.
    fn walk(&self, row: &mut Row, steps: &[Step], part: usize) {
        let mut memo = Memo::new();
        let mut flash = self.world.flash.clone();
        let sequences = self.planned_sequences(steps.len() as u64, part);
        let mut sequences = sequences.iter().peekable();
        for i in 0..steps.len() {
            if row.wrong >= ENOUGH {
                return;
            }
            while let Some(cuts) = sequences.next_if(|s| s[0].0 == i as u64) {
                let fired = self.from(row, &flash, &steps[i], cuts, &mut memo, None);
                // A device that is at its end before the last cut is not counted.
                row.sequences += u64::from(fired == cuts.len());
            }
            if i % PARTS == part && (i as u64 / PARTS as u64).is_multiple_of(self.plan.step) {
                let variants = self.variants(steps, i, self.plan.every_unit);
                row.variants = row.variants.max(variants.len() as u64);
                for v in variants {
                    let cut = (i as u64, v);
                    row.singles += 1;
                    if self.plan.pairs != 0 && (i as u64).is_multiple_of(self.plan.pairs) {
                        let mut tail = Vec::new();
                        self.from(row, &flash, &steps[i], &[cut], &mut memo, Some(&mut tail));
                        self.pairs(row, &flash, &steps[i], cut, &tail, &mut memo);
                    } else {
                        let fired = self.from(row, &flash, &steps[i], &[cut], &mut memo, None);
                        row.unfired += 1 - fired as u64;
                    }
                }
            }
            apply(&mut flash, &steps[i]);
        }
    }

    /// Cuts power in `step`, in front of which `flash` stands, and runs to the
    /// end through the rest of `cuts`. Returns how many fired.
    fn from(
        &self,
        row: &mut Row,
        flash: &SimFlash<S, U>,
        step: &Step,
        cuts: &[Cut],
        memo: &mut Memo,
        record: Option<&mut Vec<Step>>,
    ) -> usize {
        let mut flash = flash.clone();
        flash.cut_after(0, cuts[0].1);
        apply(&mut flash, step);
        if flash.fired().is_none() {
            row.unfired += 1;
            return 0;
        }
        let past = Past {
            cuts: step.past.cuts + 1,
            ..step.past
        };
        let memo = if record.is_some() { None } else { Some(memo) };
        match self.world.run(&mut flash, past, &cuts[1..], memo, record) {
            Ok(run) => {
                row.twice.1 = row.twice.1.max(flash.stats().reprograms);
                run.fired + 1
            }
            Err(e) => {
                if std::env::var_os("POWERCUT_DUMP").is_some() && row.wrong == 0 {
                    self.world.dump(&flash);
                }
                row.note(cuts, &e);
                cuts.len()
            }
        }
    }

    /// All second cuts after a first one, whose run to the end was `tail`.
    fn pairs(
        &self,
        row: &mut Row,
        flash: &SimFlash<S, U>,
        step: &Step,
        first: Cut,
        tail: &[Step],
        memo: &mut Memo,
    ) {
        let mut flash = flash.clone();
        flash.cut_after(0, first.1);
        apply(&mut flash, step);
        flash.power_on();
        for j in 0..tail.len() {
            if row.wrong >= ENOUGH {
                return;
            }
            for v in self.variants(tail, j, true) {
                row.pairs += 1;
                let cut = (j as u64, v);
                let before = row.wrong;
                let fired = self.from(row, &flash, &tail[j], &[cut], memo, None);
                row.unfired += 1 - fired as u64;
                if row.wrong != before && row.wrong == 1 {
                    row.first = row.first.take().map(|t| format!("{t} after {first:?}"));
                }
            }
            apply(&mut flash, &tail[j]);
        }
    }

    /// Random sequences of this part, in the order of their first cuts.
    fn planned_sequences(&self, ops: u64, part: usize) -> Vec<Vec<Cut>> {
        let mut state = self.plan.seed ^ (part as u64) << 32;
        let mut all: Vec<Vec<Cut>> = (0..self.plan.sequences / PARTS as u64)
            .map(|_| {
                let n = 3 + rng(&mut state) % 3;
                (0..n)
                    .map(|k| {
                        let range = if k == 0 { ops } else { 24 };
                        let v = CutVariant::for_erase(rng(&mut state));
                        let v = v[(rng(&mut state) % v.len() as u64) as usize];
                        (rng(&mut state) % range, v)
                    })
                    .collect()
            })
            .collect();
        all.sort_by_key(|s| s[0].0);
        all
    }
}

/// Does `step` to `flash`.
fn apply<const S: usize, const U: usize>(flash: &mut SimFlash<S, U>, step: &Step) {
    // A planned cut makes these fail; whether it fired is asked for by the caller.
    let _ = match step.op.kind {
        OpKind::Erase => flash.erase(step.op.offset, step.op.offset + S as u32),
        OpKind::Program => flash.write(step.op.offset, &step.data),
    };
}
