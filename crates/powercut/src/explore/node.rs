//! A state, and the flash that stands for it.

use std::collections::hash_map::Entry;
use std::rc::Rc;

use super::canon;
use super::device::Device;
use super::model::{Model, SECTOR, Sector};
use super::row::{Half, Print, PrintMap, print, unstable};

/// Slot sectors of a device, at most.
const SLOTS: usize = 8;
/// Content of a slot sector that holds nothing it has in a run without cuts.
const TORN: u8 = u8::MAX;

/// A canonical state.
#[derive(Clone, Copy)]
pub struct Node {
    /// Number of the content of each slot sector; [`TORN`].
    pub slots: [u8; SLOTS],
    /// Number of the journal, in [`Journals`].
    journal: u32,
    /// What the application was told so far.
    pub mark: u8,
}

/// A canonical journal.
pub struct Journal {
    /// Its rows.
    pub halves: [Half; 2],
    /// How many of them are unstable.
    pub unstable: usize,
    print: u128,
}

/// All canonical journals that came up, each once, and which of them stands for
/// which other one.
#[derive(Default)]
pub struct Journals {
    all: Vec<Journal>,
    by_print: PrintMap<u32>,
    stands_for: PrintMap<u32>,
}

/// Journals whose canonical form is remembered.
const REMEMBERED: usize = 3_000_000;

impl Journals {
    /// The number of the one that stands for `halves`.
    fn number(&mut self, halves: &[Half; 2]) -> Result<u32, String> {
        let raw = print(halves);
        if let Some(number) = self.stands_for.get(&raw) {
            return Ok(*number);
        }
        let halves = canon::journal(halves)?;
        let own = print(&halves);
        let number = match self.by_print.entry(own) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                if print(&canon::journal(&halves)?) != own {
                    return Err("what stands for a journal does not stand for itself".into());
                }
                self.all.push(Journal {
                    halves,
                    unstable: halves.iter().map(unstable).sum(),
                    print: own,
                });
                *new.insert(self.all.len() as u32 - 1)
            }
        };
        if self.stands_for.len() >= REMEMBERED {
            self.stands_for.clear();
        }
        self.stands_for.insert(raw, number);
        Ok(number)
    }

    /// The journal of a state.
    pub fn of(&self, node: &Node) -> &Journal {
        &self.all[node.journal as usize]
    }
}

impl Node {
    /// The one that stands for this flash.
    ///
    /// # Errors
    /// What the abstraction stands on does not hold.
    pub fn of(model: &Model, journals: &mut Journals) -> Result<Self, String> {
        let mut slots = [0; SLOTS];
        let sectors = model.slots.iter().zip(model.known.iter());
        for (to, (sector, known)) in slots.iter_mut().zip(sectors) {
            // Most are the very same, which is seen without a look at the bytes.
            let found = known.iter().position(|k| *k == sector.bytes);
            *to = match found {
                Some(i) if !sector.torn => i as u8,
                _ => TORN,
            };
        }
        Ok(Self {
            slots,
            journal: journals.number(&model.halves)?,
            mark: model.mark,
        })
    }

    /// A number that no other state has.
    pub fn key(&self, journals: &Journals) -> u128 {
        let slots = u64::from_le_bytes(self.slots);
        let mut key = Print::default();
        key.word(journals.of(self).print);
        for word in [slots, u64::from(self.mark)] {
            key.word(u128::from(word) << 64 | u128::from(word));
        }
        key.finish()
    }

    /// The flash that stands for this state.
    pub fn flash(&self, device: &Device, journals: &Journals) -> Model {
        let known = &device.start.known;
        let sector = |(content, known): (&u8, &super::model::Known)| Sector {
            bytes: match known.get(usize::from(*content)) {
                Some(bytes) => bytes.clone(),
                None => Rc::new(vec![0xC3; SECTOR]),
            },
            torn: *content == TORN,
        };
        let slots = self.slots.iter().zip(known.iter()).map(sector).collect();
        let mut model = Model::new(slots, journals.of(self).halves, known.clone());
        model.mark = self.mark;
        model
    }
}
