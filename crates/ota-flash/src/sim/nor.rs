//! The simulated NOR flash.

use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

use super::cut::{CutVariant, SplitMix};
use super::sector::{Digest, Sector};

/// The two operations that change flash. Reads are not numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Erase of one sector.
    Erase,
    /// Program of one unit.
    Program,
}

/// One numbered operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// Which of the two.
    pub kind: OpKind,
    /// Flash address of the sector or unit.
    pub offset: u32,
}

/// A power cut that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiredCut {
    /// Number of the operation in hand.
    pub number: u64,
    /// The operation in hand.
    pub op: Op,
    /// What was left of it.
    pub variant: CutVariant,
}

/// Why the simulated flash refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimError {
    /// Power is off since a cut: see [`SimFlash::power_on`].
    PoweredOff,
    /// Offset or length is not aligned.
    NotAligned {
        /// Where.
        offset: u32,
    },
    /// Past the end.
    OutOfBounds {
        /// Where.
        offset: u32,
    },
    /// A fault that the test asked for.
    Fault {
        /// Where.
        offset: u32,
    },
    /// A unit was programmed twice without an erase, and
    /// [`SimFlash::refuse_reprogram`] is on.
    Reprogram {
        /// Where.
        offset: u32,
    },
}

impl NorFlashError for SimError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl core::fmt::Display for SimError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("power is off"),
            Self::NotAligned { offset } => write!(f, "not aligned (flash {offset:#x})"),
            Self::OutOfBounds { offset } => write!(f, "past the end (flash {offset:#x})"),
            Self::Fault { offset } => write!(f, "injected fault (flash {offset:#x})"),
            Self::Reprogram { offset } => write!(f, "programmed twice (flash {offset:#x})"),
        }
    }
}

impl core::error::Error for SimError {}

/// What has been done to the flash since it was made or
/// [`SimFlash::reset_stats`] was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sectors erased, interrupted ones included.
    pub erases: u64,
    /// Units programmed, interrupted ones included.
    pub programs: u64,
    /// Units programmed a second time without a whole erase in between
    /// (also: programmed into a sector whose erase was interrupted).
    pub reprograms: u64,
    /// Address of the latest of those.
    pub last_reprogram: Option<u32>,
    /// Read calls.
    pub reads: u64,
    /// Program units touched by reads, counted per call.
    pub read_units: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// A defect of one sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Erases report success and change nothing.
    EraseIgnored,
    /// Programs report success and change nothing.
    ProgramIgnored,
    /// Erases fail with [`SimError::Fault`] and change nothing.
    EraseFails,
    /// Programs fail with [`SimError::Fault`] and change nothing.
    ProgramFails,
    /// Reads fail with [`SimError::Fault`].
    ReadFails,
}

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
    sectors: Arc<Vec<Arc<Sector>>>,
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
        Self {
            sectors: Arc::new(vec![blank; size / SECTOR]),
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
        for sector in Arc::make_mut(&mut self.sectors) {
            if sector.erases != 0 {
                Arc::make_mut(sector).erases = 0;
            }
        }
    }

    /// How often a sector was erased.
    pub fn erase_count(&self, sector: usize) -> u32 {
        self.sectors[sector].erases
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
        self.sectors[at / SECTOR].programs[at % SECTOR / UNIT]
    }

    /// Number of sectors.
    pub fn sectors(&self) -> usize {
        self.sectors.len()
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

    // ---- content -----------------------------------------------------------

    /// Puts bytes there as a programmer would: no alignment, no operation, no
    /// count; touched units count as programmed.
    ///
    /// # Panics
    /// Past the end.
    pub fn load(&mut self, offset: u32, mut bytes: &[u8]) {
        let mut at = offset as usize;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SECTOR - at % SECTOR));
            self.sector_mut(at / SECTOR).load(at % SECTOR, now, UNIT);
            at += now.len();
            bytes = later;
        }
    }

    /// The bytes from `offset`, without counting a read, also while power is
    /// off. Unstable bits are taken as if the operation had finished.
    ///
    /// # Panics
    /// Past the end.
    pub fn dump(&self, offset: u32, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset as usize;
        while bytes.len() < len {
            let take = (len - bytes.len()).min(SECTOR - at % SECTOR);
            let from = at % SECTOR;
            bytes.extend_from_slice(&self.sectors[at / SECTOR].data[from..from + take]);
            at += take;
        }
        bytes
    }

    /// Unstable bits in the whole flash.
    pub fn unstable_bits(&self) -> usize {
        self.sectors.iter().map(|s| s.unstable_bits()).sum()
    }

    /// Unstable bits in one sector.
    pub fn unstable_bits_in(&self, sector: usize) -> usize {
        self.sectors[sector].unstable_bits()
    }

    /// Digest of one sector's bytes, computed once until they change.
    pub fn sector_digest(&self, sector: usize) -> u128 {
        self.sectors[sector].content_digest()
    }

    /// Digest of the bytes of a range of sectors.
    pub fn digest(&self, sectors: core::ops::Range<usize>) -> u128 {
        let mut d = Digest::new();
        for sector in &self.sectors[sectors] {
            d.word(sector.content_digest() as u64);
            d.word((sector.content_digest() >> 64) as u64);
        }
        d.finish()
    }

    /// Digest of everything that decides what software will see from now on:
    /// bytes, programmed units, unstable bits (and, if there are any, what
    /// reads will return). Not in it: counts, plans, defects.
    pub fn state_digest(&self) -> u128 {
        let mut d = Digest::new();
        let mut unstable = false;
        for sector in self.sectors.iter() {
            d.word(sector.state_digest() as u64);
            d.word((sector.state_digest() >> 64) as u64);
            unstable |= sector.unstable.is_some();
        }
        d.word(u64::from(self.powered));
        if unstable {
            d.word(self.noise.0);
        }
        d.finish()
    }

    /// Whether `len` bytes from `offset` equal those of `other`. Sectors that
    /// are still shared are not compared byte by byte.
    ///
    /// # Panics
    /// Past the end of either.
    pub fn same_bytes(&self, other: &Self, offset: u32, len: usize) -> bool {
        let (mut at, end) = (offset as usize, offset as usize + len);
        while at < end {
            let take = (end - at).min(SECTOR - at % SECTOR);
            let (a, b) = (&self.sectors[at / SECTOR], &other.sectors[at / SECTOR]);
            let range = at % SECTOR..at % SECTOR + take;
            if !Arc::ptr_eq(a, b) && a.data[range.clone()] != b.data[range] {
                return false;
            }
            at += take;
        }
        true
    }

    // ---- inside ------------------------------------------------------------

    fn sector_mut(&mut self, index: usize) -> &mut Sector {
        Arc::make_mut(&mut Arc::make_mut(&mut self.sectors)[index])
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
                let slot = &mut Arc::make_mut(&mut self.sectors)[index];
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
            self.sectors[at / SECTOR].read(at % SECTOR, now, &mut self.noise);
            at += take;
            rest = later;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.sectors.len() * SECTOR
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
