//! Power cuts of the shipped loader on the emulated board.
//!
//! A life of two images is cut in four parts: the application asks for the
//! update, the loader installs it, the application confirms it, the loader takes
//! an image back that was not confirmed. For each flash operation of a part the
//! board is forked right before it; power fails in the operation, in every way
//! the flash model knows; then the board starts again from what the flash holds.
//! What it starts must be one of the two images, whole: its bytes in the slot
//! are compared, and it must say its version on the console.
//!
//! The machine is deterministic, so two machines in the same state have the same
//! future, and what the core executes between two erases is decided by its
//! registers, the RAM in use, the peripherals, and the units of flash it reads
//! meanwhile. Each such stretch is executed once; where all of that is the same
//! again, its flash operations are carried out on the chip directly. A restart
//! that comes into a state that an earlier one has gone on from ends there: most
//! cuts inside a sector end in the same state as soon as it has been erased again.

use crate::board::{board, expect, run_to_flash, run_to_reset, slot, start};
use crate::images::{other_tiny, tiny};
use crate::symbols;
use hal_mk3060::memory::{APP_START, SECTOR_LEN};
use mk3060_sim::{Limit, Machine, Point, Stop, Time, Touch};
use ota_flash::PartitionId;
use ota_flash::sim::{CutVariant, Op, OpKind, SimFlash};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

/// Version of the images.
const VERSIONS: [&str; 2] = ["tiny-1.0.0", "tiny-2.0.0"];
/// Longest image the update slot takes beside its spare sector.
const LONGEST: usize = 0xE_4000;
/// A start that takes longer hangs.
const LONGEST_START: Time = Time::millis(600_000);
/// Most of what all remembered stretches have read and changed, together: some
/// 40 bytes each. The oldest ones that begin alike are forgotten first.
const MOST_TOUCHES: usize = 5_000_000;

/// Which of the two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Image {
    /// Version 1.
    Old,
    /// Version 2.
    New,
}

/// A part of the life of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The application asks for the update.
    Request,
    /// The loader installs it and starts it on trial.
    Install,
    /// The application confirms it.
    Confirm,
    /// The loader takes back what was not confirmed.
    Revert,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Request, Self::Install, Self::Confirm, Self::Revert];

    /// Whether `image` may run after a cut in this part.
    fn allows(self, image: Image) -> bool {
        match self {
            // Not durable yet, or just durable.
            Self::Request => true,
            // What is durably asked for is completed.
            Self::Install | Self::Confirm => image == Image::New,
            Self::Revert => image == Image::Old,
        }
    }
}

/// Which cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// Every operation in every way.
    All,
    /// So many, chosen by seed 1, each in one way chosen by the seed.
    Seeded(usize),
}

/// What to sweep.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Sectors in which the images differ.
    pub changed: usize,
    /// Cuts of the request and of the confirmation.
    pub app: Points,
    /// Cuts of the part that installs.
    pub install: Points,
    /// Cuts of the part that reverts.
    pub revert: Points,
    /// Second cuts, each in a restart after a first one.
    pub second: usize,
    /// Whether what runs after a cut of the install is not confirmed then, and
    /// must be reverted to version 1, whole.
    pub way_back: bool,
    /// Threads that make cuts.
    pub threads: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flash operations of the parts.
    pub operations: u64,
    /// Cuts that were planned; all of them must have happened.
    pub planned: u64,
    /// Cuts that happened, second ones included.
    pub cuts: u64,
    /// Second cuts among them.
    pub second: u64,
    /// Restarts that ended with version 1.
    pub old: u64,
    /// Restarts that ended with version 2.
    pub new: u64,
    /// Restarts that were followed to their end; the others came into a state
    /// that was known.
    pub whole: u64,
    /// Images that were not confirmed and reverted.
    pub reverted: u64,
    /// Instructions the emulated core has executed in restarts.
    pub instructions: u64,
}

impl core::fmt::Display for Counts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} operations, {} cuts planned, {} fired ({} of them in a restart after a cut): \
             {} times version 1 whole, {} times version 2 whole, nothing else; \
             {} restarts followed to the end, {} not confirmed and reverted; \
             {} million instructions executed",
            self.operations,
            self.planned,
            self.cuts,
            self.second,
            self.old,
            self.new,
            self.whole,
            self.reverted,
            self.instructions / 1_000_000
        )
    }
}

/// Two images, and a board in front of each part.
pub struct Sweep {
    images: [Vec<u8>; 2],
    plan: Plan,
    /// At the loader's first look at the flash.
    begin: Machine,
    statics_end: u32,
    /// What runs in the end, by machine and chip.
    known: Mutex<HashMap<(u128, u128), Image>>,
    /// By machine, what comes next; which of them depends on what is read.
    stretches: Mutex<Stretches>,
    /// Chips from which version 1 comes back.
    reverts: Mutex<HashSet<u128>>,
    progress: Progress,
}

/// Stretches by the machine at their begin.
#[derive(Default)]
struct Stretches {
    by_begin: HashMap<u128, VecDeque<Arc<Stretch>>>,
    touches: usize,
}

impl Stretches {
    /// Those that begin at `here`, the youngest first: a cut and the next one often
    /// leave the same to be done.
    fn begin_at(&self, here: u128) -> Vec<Arc<Stretch>> {
        let same = self.by_begin.get(&here);
        same.map_or_else(Vec::new, |same| same.iter().rev().cloned().collect())
    }

    fn add(&mut self, here: u128, stretch: Stretch) {
        let same = self.by_begin.entry(here).or_default();
        self.touches += stretch.log.len();
        same.push_back(Arc::new(stretch));
        while self.touches > MOST_TOUCHES && same.len() > 1 {
            let oldest = same.pop_front().map_or(0, |oldest| oldest.log.len());
            self.touches -= oldest;
        }
    }
}

/// What the core did from one erase to the next.
struct Stretch {
    log: Vec<Touch>,
    end: Point,
    /// It ended in front of the application.
    started: bool,
}

/// A cut to be made: the board right before the operation.
struct Job {
    part: Part,
    machine: Machine,
    number: u64,
    variant: CutVariant,
    second: Option<Second>,
}

/// A cut in the restart after the first one.
#[derive(Clone, Copy)]
struct Second {
    /// Operation of the restart, at most: it is halved until there is one.
    operation: u64,
    variant: CutVariant,
}

impl Sweep {
    /// Makes the images and runs the board to its first restart.
    ///
    /// # Panics
    /// When the images are not there, or a run without cuts goes wrong.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let images = images(plan.changed);
        let mut begin = board(&images[0], &images[1]);
        run_to_flash(&mut begin);
        begin.add_breakpoint(APP_START);
        let statics_end = symbols::address(&symbols::read("boot2"), "_ram_end");
        Self {
            images,
            plan,
            begin,
            statics_end,
            known: Mutex::default(),
            stretches: Mutex::default(),
            reverts: Mutex::default(),
            progress: Progress::new(),
        }
    }

    /// Makes all cuts of the plan.
    ///
    /// # Errors
    /// The first cut after which something else than one of the images ran.
    pub fn run(&self) -> Result<Counts, String> {
        let mut counts = Counts::default();
        for part in Part::ALL {
            let points = match part {
                Part::Request | Part::Confirm => self.plan.app,
                Part::Install => self.plan.install,
                Part::Revert => self.plan.revert,
            };
            if points != Points::Seeded(0) {
                self.part(part, points, &mut counts)?;
            }
        }
        if counts.cuts != counts.planned {
            return Err(format!("not every planned cut fired: {counts}"));
        }
        Ok(counts)
    }

    /// The board at the beginning of a part.
    fn prepare(&self, part: Part) -> Result<Machine, String> {
        let on_trial = || -> Result<Machine, String> {
            let mut machine = self.prepare(Part::Install)?;
            machine.remove_breakpoint(APP_START);
            expect(&mut machine, "tiny-2.0.0 started");
            Ok(machine)
        };
        Ok(match part {
            Part::Request => {
                let mut machine = board(&self.images[0], &self.images[1]);
                expect(&mut machine, "tiny-1.0.0 started");
                machine.board.send(1, b"u");
                machine
            }
            Part::Install => {
                let mut machine = self.prepare(Part::Request)?;
                expect(&mut machine, "requested");
                machine.board.send(1, b"r");
                run_to_reset(&mut machine);
                self.restart(machine.board.flash.chip)
            }
            Part::Confirm => {
                let mut machine = on_trial()?;
                machine.board.send(1, b"c");
                machine
            }
            Part::Revert => {
                let mut machine = on_trial()?;
                for _ in 0..2 {
                    machine = self.restart(machine.board.flash.chip);
                    machine.remove_breakpoint(APP_START);
                    expect(&mut machine, "tiny-2.0.0 started");
                }
                self.restart(machine.board.flash.chip)
            }
        })
    }

    /// Runs a part to its end.
    fn finish(&self, part: Part, machine: &mut Machine) {
        machine.remove_breakpoint(APP_START);
        expect(
            machine,
            match part {
                Part::Request => "requested",
                Part::Install => "tiny-2.0.0 started",
                Part::Confirm => "confirmed",
                Part::Revert => "tiny-1.0.0 started",
            },
        );
    }

    fn part(&self, part: Part, points: Points, counts: &mut Counts) -> Result<(), String> {
        let mut walker = self.prepare(part)?;
        let mut whole = walker.clone();
        whole.board.flash.chip.start_trace();
        self.finish(part, &mut whole);
        let ops = whole.board.flash.chip.take_trace();
        drop(whole);
        counts.operations += ops.len() as u64;
        let cuts = self.choose(part, &ops, points);
        let planned = cuts
            .iter()
            .map(|c| 1 + u64::from(c.2.is_some()))
            .sum::<u64>();
        counts.planned += planned;
        self.progress.begin(part, planned);

        let first = walker.board.flash.chip.ops();
        let (sender, receiver) = mpsc::sync_channel::<Job>(4 * self.plan.threads);
        let receiver = Mutex::new(receiver);
        let results = Mutex::new((Counts::default(), None::<String>));
        std::thread::scope(|scope| {
            for _ in 0..self.plan.threads {
                scope.spawn(|| {
                    loop {
                        let job = lock(&receiver).recv();
                        let Ok(job) = job else { return };
                        if lock(&results).1.is_some() {
                            continue;
                        }
                        let mut mine = Counts::default();
                        let outcome = self.cut(job, &mut mine);
                        let mut results = lock(&results);
                        results.0.add(&mine);
                        if let Err(why) = outcome {
                            results.1.get_or_insert(why);
                        }
                    }
                });
            }
            for (operation, variant, second) in cuts {
                let number = first + operation as u64;
                if walker.board.flash.chip.ops() < number {
                    let stop = walker.run(Limit::flash_ops(number));
                    if walker.board.flash.chip.ops() != number {
                        lock(&results).1 = Some(format!("{stop:?} before operation {operation}"));
                        break;
                    }
                }
                let job = Job {
                    part,
                    machine: walker.clone(),
                    number,
                    variant,
                    second,
                };
                if sender.send(job).is_err() {
                    break;
                }
            }
            drop(sender);
        });
        let (found, failure) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        counts.add(&found);
        self.progress.end();
        failure.map_or(Ok(()), Err)
    }

    /// The cuts of a part, in order: operation, how, second cut.
    fn choose(
        &self,
        part: Part,
        ops: &[Op],
        points: Points,
    ) -> Vec<(usize, CutVariant, Option<Second>)> {
        let mut random = Random(1 + part as u64);
        let mut chosen: Vec<_> = match points {
            Points::All => ops
                .iter()
                .enumerate()
                .flat_map(|(n, op)| {
                    variants(op, n as u64)
                        .into_iter()
                        .map(move |v| (n, v, None))
                })
                .collect(),
            Points::Seeded(count) => (0..count)
                .filter_map(|_| {
                    let n = random.below(ops.len());
                    let all = variants(ops.get(n)?, random.next());
                    Some((n, *all.get(random.below(all.len()))?, None))
                })
                .collect(),
        };
        if part == Part::Install {
            for _ in 0..self.plan.second {
                let n = random.below(ops.len());
                let Some(op) = ops.get(n) else { continue };
                let all = variants(op, random.next());
                let first = all[random.below(all.len())];
                let left = (ops.len() - n).max(2);
                // Small numbers are more likely: a restart sorts itself out first.
                let bits = random.below(left.ilog2() as usize + 1) as u32;
                let operation = (1_u64 << bits) - 1 + random.below(1 << bits) as u64;
                // Half of the second cuts hit an erase or a program alike.
                let seed = random.next();
                let all = CutVariant::for_erase(seed);
                let second = Second {
                    operation,
                    variant: all[random.below(all.len())],
                };
                chosen.push((n, first, Some(second)));
            }
        }
        chosen.sort_by_key(|(n, ..)| *n);
        chosen
    }

    fn cut(&self, job: Job, counts: &mut Counts) -> Result<(), String> {
        let Job {
            part,
            mut machine,
            number,
            variant,
            second,
        } = job;
        machine.remove_breakpoint(APP_START);
        let chip = fail_at(&mut machine, number, variant)?;
        let what = format!("{part:?}: {:?}", chip.fired());
        counts.cuts += 1;
        let image = match second {
            None => self.recover(part, chip, counts),
            Some(second) => {
                let mut operation = second.operation;
                loop {
                    let mut again = self.restart(chip.clone());
                    let number = again.board.flash.chip.ops() + operation;
                    again.board.flash.chip.cut_at(number, second.variant);
                    let stop = again.run(Limit::until(again.board.now() + LONGEST_START));
                    if again.board.flash.chip.fired().is_some() {
                        counts.cuts += 1;
                        counts.second += 1;
                        let what = format!("{:?}", again.board.flash.chip.fired());
                        break self
                            .recover(part, again.board.flash.chip, counts)
                            .map_err(|why| format!("then {what}: {why}"));
                    }
                    if operation == 0 || !matches!(stop, Stop::Breakpoint { .. }) {
                        return Err(format!("{what}: no second cut: {stop:?}"));
                    }
                    operation /= 2;
                }
            }
        }
        .map_err(|why| format!("{what}: {why}"))?;
        self.progress.step(1 + u64::from(second.is_some()));
        match image {
            Image::Old => counts.old += 1,
            Image::New => counts.new += 1,
        }
        if part.allows(image) {
            Ok(())
        } else {
            Err(format!("{what}: the {image:?} image was started"))
        }
    }

    /// A board that starts with `chip`.
    fn restart(&self, chip: SimFlash) -> Machine {
        let mut machine = self.begin.clone();
        machine.board.flash.replace_fork(chip);
        machine
    }

    /// Starts with `chip` and says what runs then.
    fn recover(&self, part: Part, chip: SimFlash, counts: &mut Counts) -> Result<Image, String> {
        let mut machine = self.restart(chip);
        let mut passed = Vec::new();
        let image = loop {
            let here = machine.fingerprint(self.statics_end);
            let state = (here, machine.board.flash.chip.state_digest());
            if let Some(image) = lock(&self.known).get(&state) {
                break *image;
            }
            passed.push(state);
            if self.stretch(&mut machine, here, counts)? {
                counts.whole += 1;
                break self.started(part, machine, counts)?;
            }
        };
        let mut known = lock(&self.known);
        known.extend(passed.into_iter().map(|state| (state, image)));
        Ok(image)
    }

    /// Goes behind the next erase, or to the application (`true`). `here` is
    /// the machine's fingerprint.
    fn stretch(
        &self,
        machine: &mut Machine,
        here: u128,
        counts: &mut Counts,
    ) -> Result<bool, String> {
        let known = lock(&self.stretches).begin_at(here);
        for stretch in known {
            if machine.board.flash.replay(&stretch.log) {
                machine.go_to(&stretch.end);
                return Ok(stretch.started);
            }
        }
        let limit = machine.board.now() + LONGEST_START;
        let instructions = machine.instructions();
        let erases = machine.board.flash.counts.erases;
        machine.board.flash.start_log();
        let stop = loop {
            let ops = machine.board.flash.chip.ops();
            let stop = machine.run(Limit {
                time: limit,
                ..Limit::flash_ops(ops + 1)
            });
            let erased = machine.board.flash.counts.erases > erases;
            if stop != Stop::Limit || erased || machine.board.now() >= limit {
                break stop;
            }
        };
        counts.instructions += machine.instructions() - instructions;
        let log = machine.board.flash.take_log();
        let started = match stop {
            Stop::Limit if machine.board.now() < limit => false,
            Stop::Breakpoint { .. } => true,
            other => return Err(format!("{other:?}")),
        };
        let stretch = Stretch {
            log,
            end: machine.point(self.statics_end),
            started,
        };
        lock(&self.stretches).add(here, stretch);
        Ok(started)
    }

    /// Which image it is that starts; both its bytes and what it says.
    fn started(
        &self,
        part: Part,
        mut machine: Machine,
        counts: &mut Counts,
    ) -> Result<Image, String> {
        let active = PartitionId::Application;
        let found = [Image::Old, Image::New].into_iter().find(|image| {
            let bytes = &self.images[*image as usize];
            slot(&machine, active, bytes.len()) == *bytes
        });
        let image = found.ok_or("the active slot holds neither image")?;
        let len = self.images[image as usize].len();
        let first = start(active) / SECTOR_LEN;
        for sector in first..first + len.div_ceil(SECTOR_LEN as usize) as u32 {
            if machine.board.flash.chip.unstable_bits_in(sector as usize) > 0 {
                return Err(format!(
                    "sector {sector:#x} of the active slot has unstable bits"
                ));
            }
        }
        machine.remove_breakpoint(APP_START);
        machine.board.uarts[0].take_from_board();
        let version = VERSIONS[image as usize];
        crate::board::try_expect(&mut machine, &format!("{version} started"))?;
        // What was confirmed stays.
        if self.plan.way_back
            && image == Image::New
            && matches!(part, Part::Request | Part::Install)
        {
            self.reverts(machine.board.flash.chip, counts)?;
        }
        Ok(image)
    }

    /// What runs is not confirmed: after three starts version 1 must run.
    fn reverts(&self, mut chip: SimFlash, counts: &mut Counts) -> Result<(), String> {
        let state = chip.state_digest();
        if lock(&self.reverts).contains(&state) {
            return Ok(());
        }
        for _ in 0..4 {
            let mut machine = self.restart(chip);
            loop {
                let here = machine.fingerprint(self.statics_end);
                match self.stretch(&mut machine, here, counts) {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(why) => return Err(format!("on the way back: {why}")),
                }
            }
            chip = machine.board.flash.chip;
            let old = &self.images[Image::Old as usize];
            if chip.dump(start(PartitionId::Application), old.len()) == *old {
                counts.reverted += 1;
                lock(&self.reverts).insert(state);
                return Ok(());
            }
        }
        Err("version 1 did not come back".into())
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.cuts += more.cuts;
        self.second += more.second;
        self.old += more.old;
        self.new += more.new;
        self.whole += more.whole;
        self.reverted += more.reverted;
        self.instructions += more.instructions;
    }
}

/// Lets power fail in operation `number`.
fn fail_at(machine: &mut Machine, number: u64, variant: CutVariant) -> Result<SimFlash, String> {
    let chip = &mut machine.board.flash.chip;
    chip.cut_at(number, variant);
    match machine.run(Limit::until(machine.board.now() + LONGEST_START)) {
        Stop::PowerCut => {}
        other => return Err(format!("{other:?} instead of a cut at operation {number}")),
    }
    let chip = machine.board.flash.chip.clone();
    match chip.fired() {
        Some(fired) if fired.number == number => Ok(chip),
        other => Err(format!("{other:?} instead of a cut at operation {number}")),
    }
}

/// The ways in which power can fail in `op`.
fn variants(op: &Op, seed: u64) -> Vec<CutVariant> {
    match op.kind {
        OpKind::Erase => CutVariant::for_erase(seed).to_vec(),
        OpKind::Program => CutVariant::for_program(seed).to_vec(),
    }
}

/// Two images that differ in `changed` sectors: the first (version), the last
/// (trailer), and the ones between that filling makes different; or in all
/// sectors there are.
fn images(changed: usize) -> [Vec<u8>; 2] {
    let differ = |images: &[Vec<u8>; 2]| {
        let [a, b] = images
            .each_ref()
            .map(|image| image.chunks(SECTOR_LEN as usize));
        a.zip(b).filter(|(a, b)| a != b).count()
    };
    let pair = |tail: usize| {
        let new = if changed == most_sectors() {
            other_tiny
        } else {
            tiny
        };
        [tiny(VERSIONS[0], tail, 0x11), new(VERSIONS[1], tail, 0x22)]
    };
    // Filling is coded too; what is missing in the last sector follows.
    let bare = pair(0);
    let more = changed.saturating_sub(differ(&bare)) * SECTOR_LEN as usize;
    let longest = LONGEST.saturating_sub(bare[1].len() + 64) / 34 * 32;
    let images = pair((more / 34 * 32).min(longest));
    assert_eq!(
        differ(&images),
        changed,
        "sectors in which the images differ"
    );
    images
}

/// The largest number of sectors in which two images can differ.
#[must_use]
pub fn most_sectors() -> usize {
    LONGEST / SECTOR_LEN as usize
}

/// A small generator (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked has failed the sweep already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line now and then on the error output.
struct Progress {
    begin: Instant,
    part_begin: Mutex<Instant>,
    state: Mutex<(Option<Part>, Instant)>,
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            part_begin: Mutex::new(Instant::now()),
            state: Mutex::new((None, Instant::now())),
            done: AtomicU64::new(0),
            all: AtomicU64::new(0),
        }
    }

    fn begin(&self, part: Part, all: u64) {
        *lock(&self.state) = (Some(part), Instant::now());
        *lock(&self.part_begin) = Instant::now();
        self.done.store(0, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
    }

    fn step(&self, cuts: u64) {
        let done = self.done.fetch_add(cuts, Ordering::Relaxed) + cuts;
        let mut state = lock(&self.state);
        if state.1.elapsed().as_secs() >= 5 {
            state.1 = Instant::now();
            self.line(state.0, done);
        }
    }

    fn end(&self) {
        let part = lock(&self.state).0;
        self.line(part, self.done.load(Ordering::Relaxed));
    }

    fn line(&self, part: Option<Part>, done: u64) {
        let begin = *lock(&self.part_begin);
        eprintln!(
            "{:>6.1} s  {}: {done} of {} cuts, {:.0}/s",
            self.begin.elapsed().as_secs_f64(),
            part.map_or_else(String::new, |part| format!("{part:?}").to_lowercase()),
            self.all.load(Ordering::Relaxed),
            done as f64 / begin.elapsed().as_secs_f64().max(0.001)
        );
    }
}
