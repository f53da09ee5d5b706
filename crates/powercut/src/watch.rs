//! Looks on while a device runs: records operations, and knows states it has seen.

use core::cell::{Cell, RefCell};

use ota_bootlib::Hooks;
use ota_flash::sim::{OpKind, SimFlash};

use crate::world::{Past, Step};

/// Ends of runs that are known to be right: digests of whole states.
pub type Memo = std::collections::HashSet<u128>;

/// Records operations, and switches power off as soon as a state comes up whose
/// end is known.
pub(crate) struct Watch<'a, const S: usize, const U: usize> {
    pub flash: &'a RefCell<SimFlash<S, U>>,
    pub past: &'a Cell<Past>,
    pub record: Option<&'a mut Vec<Step>>,
    pub taken: usize,
    pub memo: Option<&'a Memo>,
    pub journal: core::ops::Range<usize>,
    pub last: u128,
    pub seen: Vec<u128>,
    pub hit: bool,
}

impl<'a, const S: usize, const U: usize> Watch<'a, S, U> {
    /// Only looks on. `journal`: sectors of the journal.
    pub fn new(
        flash: &'a RefCell<SimFlash<S, U>>,
        past: &'a Cell<Past>,
        journal: core::ops::Range<usize>,
    ) -> Self {
        Self {
            flash,
            past,
            record: None,
            taken: flash.borrow().trace().len(),
            memo: None,
            journal,
            last: 0,
            seen: Vec::new(),
            hit: false,
        }
    }

    /// Notes the operations since the last look, with what they left.
    pub fn take(&mut self) {
        let Some(record) = &mut self.record else {
            return;
        };
        let flash = self.flash.borrow();
        for op in flash.trace().iter().skip(self.taken) {
            let data = match op.kind {
                OpKind::Erase => Vec::new(),
                OpKind::Program => flash.dump(op.offset, U),
            };
            record.push(Step {
                op: *op,
                data,
                past: self.past.get(),
            });
        }
        self.taken = flash.trace().len();
    }
}

impl<const S: usize, const U: usize> Hooks for Watch<'_, S, U> {
    fn tick(&mut self) {
        self.take();
        let Some(memo) = self.memo else { return };
        let mut flash = self.flash.borrow_mut();
        let journal = flash.digest(self.journal.clone());
        if journal == self.last || !flash.is_powered() {
            return;
        }
        // What was there at power-on says nothing: it was not written by this boot.
        let first = self.last == 0;
        self.last = journal;
        if first || flash.unstable_bits() != 0 {
            return;
        }
        let past = self.past.get();
        let salt = mix(&[past.starts, past.confirmed.into(), past.cuts.min(3)]);
        let key = flash.state_digest() ^ salt;
        if memo.contains(&key) {
            self.hit = true;
            flash.power_off();
        } else {
            self.seen.push(key);
        }
    }
}

fn mix(words: &[u64]) -> u128 {
    let mut h = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835_u128;
    for w in words {
        h = (h ^ u128::from(*w)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
        h ^= h >> 61;
    }
    h
}
