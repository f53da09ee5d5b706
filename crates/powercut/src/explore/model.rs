//! A flash whose reads are nondeterministic: what an interrupted operation left
//! is a set of things that a read may see, and each read chooses anew.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use ota_bootlib::ROW;

use super::row::{Half, ROWS, Reading, Row};

/// A half is one sector.
pub const SECTOR: usize = ROWS * ROW;

/// Contents a slot sector has in runs without cuts.
pub type Known = Rc<Vec<Rc<Vec<u8>>>>;

/// A sector of a slot.
#[derive(Clone)]
pub struct Sector {
    /// What it holds.
    pub bytes: Rc<Vec<u8>>,
    /// An erase or a program was cut since the last whole erase: each read may
    /// also see it blank, as garbage, or as anything it ever held.
    pub torn: bool,
}

/// One operation, and what was true in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Erase of this sector.
    Erase(usize),
    /// Program of the unit at this address.
    Program(usize, [u8; ROW]),
}

/// The flash: slot sectors, then the two halves of the journal.
#[derive(Clone)]
pub struct Model {
    /// Slot sectors.
    pub slots: Vec<Sector>,
    /// The journal.
    pub halves: [Half; 2],
    /// For each slot sector what torn reads may show.
    pub known: Rc<Vec<Known>>,
    /// What reads choose, and of how many: given first, then always 0.
    pub choices: Vec<(u16, u16)>,
    made: usize,
    /// Operations, each with `mark` as it was then.
    pub ops: Vec<(Op, u8)>,
    /// What the application was told so far.
    pub mark: u8,
    /// Erases of each sector.
    pub erases: Vec<u8>,
}

impl Model {
    /// A blank flash of so many slot sectors.
    pub fn new(slots: Vec<Sector>, halves: [Half; 2], known: Rc<Vec<Known>>) -> Self {
        Self {
            erases: vec![0; slots.len() + 2],
            slots,
            halves,
            known,
            choices: Vec::new(),
            made: 0,
            ops: Vec::new(),
            mark: 0,
        }
    }

    /// As it is when power comes back. Returns the choices that reads made.
    pub fn power_off(&mut self) -> Vec<(u16, u16)> {
        self.ops.clear();
        self.erases.fill(0);
        self.made = 0;
        std::mem::take(&mut self.choices)
    }

    fn choose(&mut self, of: usize) -> usize {
        let made = self.made;
        self.made += 1;
        if let Some((chosen, _)) = self.choices.get(made) {
            return usize::from(*chosen);
        }
        self.choices.push((0, of as u16));
        0
    }

    /// The choices of the next run; `None` when all were made.
    pub fn next_choices(mut choices: Vec<(u16, u16)>) -> Option<Vec<(u16, u16)>> {
        while let Some((chosen, of)) = choices.pop() {
            if chosen + 1 < of {
                choices.push((chosen + 1, of));
                return Some(choices);
            }
        }
        None
    }

    /// Does a whole operation.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Erase(sector) => match sector.checked_sub(self.slots.len()) {
                None => {
                    self.slots[*sector] = Sector {
                        bytes: Rc::new(vec![0xFF; SECTOR]),
                        torn: false,
                    };
                }
                Some(half) => self.halves[half].fill(Row::solid(Reading::Blank)),
            },
            Op::Program(at, bytes) => match (at / SECTOR).checked_sub(self.slots.len()) {
                None => {
                    let sector = Rc::make_mut(&mut self.slots[at / SECTOR].bytes);
                    for (to, from) in sector[at % SECTOR..].iter_mut().zip(bytes) {
                        *to &= from;
                    }
                }
                Some(half) => {
                    let row = &mut self.halves[half][at % SECTOR / ROW];
                    *row = if *bytes == [0; ROW] {
                        Row::solid(Reading::Bad)
                    } else {
                        let new = Reading::of(*bytes);
                        let again = row.may_be(new);
                        let onto = |r: &Reading| match r {
                            Reading::Blank => new,
                            Reading::Torn if again => new,
                            r if *r == new => new,
                            _ => Reading::Bad,
                        };
                        Row::any(row.readings().iter().map(onto).collect())
                    };
                }
            },
        }
    }

    /// All that a cut in `op` may leave, but for nothing or all of it.
    pub fn cut(&self, op: &Op) -> Vec<Self> {
        let (at, new) = match op {
            Op::Erase(sector) => (sector * SECTOR, Reading::Blank),
            Op::Program(at, bytes) => (*at, Reading::of(*bytes)),
        };
        let Some(half) = (at / SECTOR).checked_sub(self.slots.len()) else {
            let mut left = self.clone();
            left.slots[at / SECTOR].torn = true;
            return vec![left];
        };
        if let Op::Program(..) = op {
            let row = &self.halves[half][at % SECTOR / ROW];
            if row.is(new) || matches!(new, Reading::Record(_)) && row.may_be(new) {
                return Vec::new(); // The same again: a cut changes nothing.
            }
        }
        let (mut torn, mut unstable) = (self.clone(), self.clone());
        let rows = match op {
            Op::Erase(_) => 0..ROWS,
            Op::Program(..) => at % SECTOR / ROW..at % SECTOR / ROW + 1,
        };
        for row in rows {
            torn.halves[half][row] = Row::solid(Reading::Bad);
            let torn = match new {
                Reading::Record(_) => Reading::Torn,
                _ => Reading::Bad,
            };
            unstable.halves[half][row] = self.halves[half][row].or(&[torn, new]);
        }
        vec![torn, unstable]
    }
}

/// A partition.
pub struct View<'a> {
    /// The flash.
    pub flash: &'a RefCell<Model>,
    /// First sector.
    pub first: usize,
    /// Sectors.
    pub sectors: usize,
}

/// This flash only fails for wrong arguments.
#[derive(Debug, Clone, Copy)]
pub struct Misuse;

impl NorFlashError for Misuse {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for View<'_> {
    type Error = Misuse;
}

impl ReadNorFlash for View<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Misuse> {
        let model = &mut *self.flash.borrow_mut();
        let mut at = self.first * SECTOR + offset as usize;
        if offset as usize + bytes.len() > self.capacity() {
            return Err(Misuse);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let take = rest.len().min(SECTOR - at % SECTOR);
            let (now, later) = rest.split_at_mut(take);
            rest = later;
            let (sector, from) = (at / SECTOR, at % SECTOR);
            at += take;
            let Some(half) = sector.checked_sub(model.slots.len()) else {
                read_slot(model, sector, from, now);
                continue;
            };
            // The journal is read by rows.
            if from % ROW != 0 || take != ROW {
                return Err(Misuse);
            }
            let readings = model.halves[half][from / ROW].readings().len();
            let chosen = if readings == 1 {
                0
            } else {
                model.choose(readings)
            };
            now.copy_from_slice(&model.halves[half][from / ROW].readings()[chosen].bytes());
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.sectors * SECTOR
    }
}

fn read_slot(model: &mut Model, sector: usize, from: usize, out: &mut [u8]) {
    let known = model.known[sector].clone();
    let chosen = if model.slots[sector].torn {
        model.choose(known.len() + 3)
    } else {
        0
    };
    match chosen {
        0 => out.copy_from_slice(&model.slots[sector].bytes[from..from + out.len()]),
        1 => out.fill(0xFF),
        2 => out.fill(0xC3),
        n => out.copy_from_slice(&known[n - 3][from..from + out.len()]),
    }
}

impl NorFlash for View<'_> {
    const WRITE_SIZE: usize = ROW;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Misuse> {
        let model = &mut *self.flash.borrow_mut();
        for sector in from as usize / SECTOR..to as usize / SECTOR {
            let op = Op::Erase(self.first + sector);
            model.erases[self.first + sector] += 1;
            model.ops.push((op, model.mark));
            model.apply(&op);
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Misuse> {
        let model = &mut *self.flash.borrow_mut();
        for (i, unit) in bytes.chunks_exact(ROW).enumerate() {
            let at = self.first * SECTOR + offset as usize + i * ROW;
            let op = Op::Program(at, unit.try_into().map_err(|_| Misuse)?);
            model.ops.push((op, model.mark));
            model.apply(&op);
        }
        Ok(())
    }
}
