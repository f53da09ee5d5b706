//! The simulated NOR flash.

mod content;

use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::cut::{CutVariant, SplitMix};
use super::sector::Sector;
use super::types::{Fault, FiredCut, Op, OpKind, SimError, Stats};

/// A NOR flash with erase sectors of `SECTOR` bytes and program units of `UNIT`
/// bytes (1..=256). Programs only clear bits.
///
/// Each erased sector and each programmed unit is one operation and has a
/// number, counted from 0 over the whole life of the flash, resets included.
/// [`cut_at`](Self::cut_at) makes power fail in a given operation; then
/// everything fails until [`power_on`](Self::power_on).
///
/// `clone` is cheap: sectors are shared until one side changes them, so a test
/// can fork the flash at every operation.
#[derive(Debug, Clone)]
pub struct SimFlash<const SECTOR: usize = 4096, const UNIT: usize = 32> {
    /// Shared in three steps (all, groups, sectors), so that the first change
    /// after a `clone` copies few pointers.
    groups: Arc<Vec<Group>>,
    count: usize,
    ops: u64,
    stats: Stats,
    powered: bool,
    plan: Option<(u64, CutVariant)>,
    fired: Option<FiredCut>,
    noise: SplitMix,
    refuse_reprogram: bool,
    faults: Vec<(u32, Fault)>,
    ignored: Vec<u64>,
    trace: Option<Vec<Op>>,
}

/// [`GROUP`] sectors; fewer in the last group.
type Group = Arc<Vec<Arc<Sector>>>;
const GROUP: usize = 16;

/// What is to be done about an operation.
enum Step {
    Do,
    Tear(CutVariant),
    Ignore,
}

impl<const SECTOR: usize, const UNIT: usize> SimFlash<SECTOR, UNIT> {
    const UNITS: usize = {
        assert!(
            UNIT >= 1 && UNIT <= 256,
            "SimFlash: program unit is not 1..=256 bytes"
        );
        assert!(
            SECTOR > 0 && SECTOR.is_multiple_of(UNIT),
            "SimFlash: the program unit does not divide the sector"
        );
        SECTOR / UNIT
    };

    /// A blank flash of `size` bytes, never erased.
    ///
    /// # Panics
    /// When `size` is no whole number of sectors or does not fit 32 bits.
    pub fn new(size: usize) -> Self {
        assert!(
            size.is_multiple_of(SECTOR),
            "SimFlash: size is no whole number of sectors"
        );
        assert!(
            u32::try_from(size).is_ok(),
            "SimFlash: size does not fit 32 bits"
        );
        let blank = Arc::new(Sector::blank(SECTOR, Self::UNITS, 0));
        let count = size / SECTOR;
        let groups = (0..count)
            .step_by(GROUP)
            .map(|first| Arc::new(vec![blank.clone(); GROUP.min(count - first)]));
        Self {
            groups: Arc::new(groups.collect()),
            count,
            ops: 0,
            stats: Stats::default(),
            powered: true,
            plan: None,
            fired: None,
            noise: SplitMix(0),
            refuse_reprogram: false,
            faults: Vec::new(),
            ignored: Vec::new(),
            trace: None,
        }
    }

    // ---- operations and power -------------------------------------------

    /// Operations so far; the number of the next one.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Plans a power cut in operation number `op` (see [`ops`](Self::ops)) and
    /// forgets an earlier plan and an earlier [`fired`](Self::fired).
    pub fn cut_at(&mut self, op: u64, variant: CutVariant) {
        self.plan = Some((op, variant));
        self.fired = None;
    }

    /// Plans a power cut after `done` more whole operations.
    pub fn cut_after(&mut self, done: u64, variant: CutVariant) {
        self.cut_at(self.ops + done, variant);
    }

    /// Forgets a planned cut.
    pub fn cancel_cut(&mut self) {
        self.plan = None;
    }

    /// The cut that happened since the last plan. A test that plans a cut
    /// asserts on this: a cut that never fires proves nothing.
    pub fn fired(&self) -> Option<FiredCut> {
        self.fired
    }

    /// Switches power off now, between two operations.
    pub fn power_off(&mut self) {
        self.powered = false;
    }

    /// Switches power on again.
    pub fn power_on(&mut self) {
        self.powered = true;
    }

    /// Whether power is on.
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// Records operations from now on, see [`trace`](Self::trace).
    pub fn start_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The operations since [`start_trace`](Self::start_trace), an interrupted
    /// one included.
    pub fn trace(&self) -> &[Op] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// Ends the recording and returns it.
    pub fn take_trace(&mut self) -> Vec<Op> {
        self.trace.take().unwrap_or_default()
    }

    // ---- counts ----------------------------------------------------------

    /// What has been done.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sets [`stats`](Self::stats) and all erase counts to 0. Operation
    /// numbers go on.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
        for index in 0..self.count {
            if self.sector(index).erases != 0 {
                self.sector_mut(index).erases = 0;
            }
        }
    }

    /// How often a sector was erased.
    pub fn erase_count(&self, sector: usize) -> u32 {
        self.sector(sector).erases
    }

    /// The most erased sector of a range of sectors and its count; the first
    /// of several.
    pub fn hottest_sector(&self, sectors: core::ops::Range<usize>) -> Option<(usize, u32)> {
        let counts = sectors.map(|i| (i, self.erase_count(i)));
        counts.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// Programs of the unit at flash address `offset` since its last erase.
    pub fn programs_of_unit(&self, offset: u32) -> u8 {
        let at = offset as usize;
        self.sector(at / SECTOR).programs[at % SECTOR / UNIT]
    }

    /// Number of sectors.
    pub fn sectors(&self) -> usize {
        self.count
    }

    // ---- defects -----------------------------------------------------------

    /// Makes the second program of a unit an error instead of a count.
    pub fn refuse_reprogram(&mut self, refuse: bool) {
        self.refuse_reprogram = refuse;
    }

    /// Gives the sector that holds address `offset` a lasting defect.
    pub fn add_fault(&mut self, offset: u32, fault: Fault) {
        self.faults.push((offset / SECTOR as u32, fault));
    }

    /// Removes all defects and planned ignored operations.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
        self.ignored.clear();
    }

    /// Operation number `op` will report success and change nothing.
    pub fn ignore_op(&mut self, op: u64) {
        self.ignored.push(op);
    }

    /// Inverts the bits of `mask` at flash address `offset`.
    pub fn flip(&mut self, offset: u32, mask: u8) {
        let at = offset as usize;
        let sector = self.sector_mut(at / SECTOR);
        sector.touch();
        sector.data[at % SECTOR] ^= mask;
    }

    // ---- inside ------------------------------------------------------------

    fn sector(&self, index: usize) -> &Arc<Sector> {
        &self.groups[index / GROUP][index % GROUP]
    }

    /// The place of a sector, not shared with another flash (the sector may be).
    fn place(&mut self, index: usize) -> &mut Arc<Sector> {
        let group = &mut Arc::make_mut(&mut self.groups)[index / GROUP];
        &mut Arc::make_mut(group)[index % GROUP]
    }

    fn sector_mut(&mut self, index: usize) -> &mut Sector {
        Arc::make_mut(self.place(index))
    }

    fn has_fault(&self, at: usize, fault: Fault) -> bool {
        let sector = (at / SECTOR) as u32;
        !self.faults.is_empty() && self.faults.contains(&(sector, fault))
    }

    fn check(&self, offset: u32, checked: Result<(), NorFlashErrorKind>) -> Result<(), SimError> {
        if !self.powered {
            return Err(SimError::PoweredOff);
        }
        checked.map_err(|kind| match kind {
            NorFlashErrorKind::NotAligned => SimError::NotAligned { offset },
            _ => SimError::OutOfBounds { offset },
        })
    }

    /// Numbers an operation and says what becomes of it.
    fn step(&mut self, op: Op, ignored: Fault, fails: Fault) -> Result<Step, SimError> {
        let number = self.ops;
        self.ops += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(op);
        }
        if let Some((at, variant)) = self.plan
            && at == number
        {
            self.plan = None;
            self.powered = false;
            self.fired = Some(FiredCut {
                number,
                op,
                variant,
            });
            if let CutVariant::Unstable { seed } | CutVariant::Flicker { seed } = variant {
                self.noise = SplitMix(seed);
            }
            return Ok(Step::Tear(variant));
        }
        let at = op.offset as usize;
        if self.has_fault(at, fails) {
            return Err(SimError::Fault { offset: op.offset });
        }
        if self.has_fault(at, ignored) || self.ignored.contains(&number) {
            return Ok(Step::Ignore);
        }
        Ok(Step::Do)
    }

    fn erase_sector(&mut self, index: usize) -> Result<(), SimError> {
        let op = Op {
            kind: OpKind::Erase,
            offset: (index * SECTOR) as u32,
        };
        let step = self.step(op, Fault::EraseIgnored, Fault::EraseFails)?;
        match step {
            Step::Ignore => self.stats.erases += 1,
            Step::Tear(CutVariant::Before) => return Err(SimError::PoweredOff),
            Step::Do | Step::Tear(CutVariant::After) => {
                self.stats.erases += 1;
                let slot = self.place(index);
                match Arc::get_mut(slot) {
                    Some(sector) => sector.erase(),
                    // Shared: a new blank one is cheaper than a copy.
                    None => *slot = Arc::new(Sector::blank(SECTOR, Self::UNITS, slot.erases + 1)),
                }
            }
            Step::Tear(variant) => {
                self.stats.erases += 1;
                self.sector_mut(index).tear_erase(variant);
            }
        }
        self.still_powered()
    }

    fn program_unit(&mut self, at: usize, bytes: &[u8]) -> Result<(), SimError> {
        let offset = at as u32;
        let programmed = self.programs_of_unit(offset) > 0;
        if programmed && self.refuse_reprogram {
            return Err(SimError::Reprogram { offset });
        }
        let op = Op {
            kind: OpKind::Program,
            offset,
        };
        let step = self.step(op, Fault::ProgramIgnored, Fault::ProgramFails)?;
        if let Step::Tear(CutVariant::Before) = step {
            return Err(SimError::PoweredOff);
        }
        self.stats.programs += 1;
        if programmed {
            self.stats.reprograms += 1;
            self.stats.last_reprogram = Some(offset);
        }
        match step {
            Step::Ignore => {}
            Step::Do | Step::Tear(CutVariant::After) => {
                self.sector_mut(at / SECTOR).program(at % SECTOR, bytes);
            }
            Step::Tear(variant) => {
                let sector = self.sector_mut(at / SECTOR);
                sector.tear_program(at % SECTOR, bytes, variant);
            }
        }
        self.still_powered()
    }

    fn still_powered(&self) -> Result<(), SimError> {
        if self.powered {
            Ok(())
        } else {
            Err(SimError::PoweredOff)
        }
    }
}

impl<const SECTOR: usize, const UNIT: usize> ErrorType for SimFlash<SECTOR, UNIT> {
    type Error = SimError;
}

impl<const SECTOR: usize, const UNIT: usize> ReadNorFlash for SimFlash<SECTOR, UNIT> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SimError> {
        self.check(offset, check_read(self, offset, bytes.len()))?;
        self.stats.reads += 1;
        self.stats.read_bytes += bytes.len() as u64;
        let mut at = offset as usize;
        let end = at + bytes.len();
        if end > at {
            self.stats.read_units += (end.div_ceil(UNIT) - at / UNIT) as u64;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let take = rest.len().min(SECTOR - at % SECTOR);
            let (now, later) = rest.split_at_mut(take);
            if self.has_fault(at, Fault::ReadFails) {
                return Err(SimError::Fault { offset: at as u32 });
            }
            let sector = &self.groups[at / SECTOR / GROUP][at / SECTOR % GROUP];
            sector.read(at % SECTOR, now, &mut self.noise);
            at += take;
            rest = later;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.count * SECTOR
    }
}

impl<const SECTOR: usize, const UNIT: usize> NorFlash for SimFlash<SECTOR, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
        self.check(from, check_erase(self, from, to))?;
        for index in from as usize / SECTOR..to as usize / SECTOR {
            self.erase_sector(index)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
        self.check(offset, check_write(self, offset, bytes.len()))?;
        for (i, unit) in bytes.chunks_exact(UNIT).enumerate() {
            self.program_unit(offset as usize + i * UNIT, unit)?;
        }
        Ok(())
    }
}
