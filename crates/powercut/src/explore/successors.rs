//! Everything that one boot from a state can lead to.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::device::{Device, End};
use super::model::{Model, Op, SECTOR};
use super::node::{Journals, Node};
use super::row::PrintMap;
use crate::definitions::may_follow;

/// Ways in which the reads of one boot can turn out, before it counts as broken.
const BRANCHES: u64 = 200_000;

/// What was found.
#[derive(Default)]
pub struct Successors {
    /// By key; with the flash it was found as.
    pub nodes: PrintMap<(Node, Model)>,
    /// Those that boots without a cut lead to; `None`: the update has ended.
    pub whole: BTreeSet<Option<u128>>,
    /// Runs of boot loader and application.
    pub boots: u64,
    /// Cuts that were not made unstable.
    pub limited: u64,
    /// States of the journal that followed each other.
    pub phases: BTreeSet<(u8, u8)>,
}

/// What it takes to find them.
pub struct Search {
    /// Runs.
    pub device: Device,
    /// Journal rows that are unstable at the same time, at most.
    pub unstable: usize,
    /// Of all states.
    pub journals: RefCell<Journals>,
}

impl Search {
    /// The state that stands for `model`.
    ///
    /// # Errors
    /// What the abstraction stands on does not hold.
    pub fn node(&self, model: &Model) -> Result<Node, String> {
        Node::of(model, &mut self.journals.borrow_mut())
    }

    /// A number that no other state has.
    pub fn key(&self, node: &Node) -> u128 {
        node.key(&self.journals.borrow())
    }

    /// The flash that stands for this state.
    pub fn flash(&self, node: &Node) -> Model {
        node.flash(&self.device, &self.journals.borrow())
    }

    fn add(&self, to: &mut Successors, node: Node, model: &Model) -> u128 {
        let key = self.key(&node);
        if let Entry::Vacant(new) = to.nodes.entry(key) {
            new.insert((node, model.clone()));
        }
        key
    }

    /// Runs every boot that is possible from `start`, and cuts it everywhere.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn successors(&self, start: &Model) -> Result<Successors, String> {
        let mut found = Successors::default();
        let mut prefixes = HashSet::new();
        let mut choices = Some(Vec::new());
        while let Some(given) = choices {
            let mut model = start.clone();
            model.choices = given;
            found.boots += 1;
            if found.boots > BRANCHES {
                return Err(format!("reads turn out in more than {BRANCHES} ways"));
            }
            let cell = RefCell::new(model);
            let end = self.device.boot(&cell);
            let mut model = cell.into_inner();
            let end = end.map_err(|e| format!("{e}, reads {:?}", model.choices))?;
            self.cuts(start, &model.ops, &mut prefixes, &mut found)?;
            phases(&model.ops, &mut found.phases)?;
            choices = Model::next_choices(model.power_off());
            let key = self.add(&mut found, self.node(&model)?, &model);
            found.whole.insert((end == End::GoesOn).then_some(key));
        }
        Ok(found)
    }

    /// Cuts in the operations of one run; those in `prefixes` were made before.
    fn cuts(
        &self,
        start: &Model,
        ops: &[(Op, u8)],
        prefixes: &mut HashSet<u64>,
        found: &mut Successors,
    ) -> Result<(), String> {
        let mut at = start.clone();
        let mut hash = DefaultHasher::new();
        // A slot sector that is being changed is torn, at whichever unit.
        let slots = start.slots.len();
        let slot = |op: &Op| match op {
            Op::Erase(s) => Some(*s).filter(|s| *s < slots),
            Op::Program(a, _) => Some(a / SECTOR).filter(|s| *s < slots),
        };
        let mut last = None;
        for (op, mark) in ops {
            (op, mark).hash(&mut hash);
            let begun = slot(op).is_some() && slot(op) == last;
            last = slot(op);
            at.mark = *mark;
            if prefixes.insert(hash.finish()) && !begun {
                self.add(found, self.node(&at)?, &at);
                for (i, left) in at.cut(op).iter().enumerate() {
                    let node = self.node(left).map_err(|e| format!("{e}, cut in {op:?}"))?;
                    // The second one is the unstable one.
                    if i == 1 && self.journals.borrow().of(&node).unstable > self.unstable {
                        found.limited += 1;
                    } else {
                        self.add(found, node, left);
                    }
                }
            }
            at.apply(op);
        }
        Ok(())
    }
}

/// The states of the journal that follow each other in one run, checked.
fn phases(ops: &[(Op, u8)], seen: &mut BTreeSet<(u8, u8)>) -> Result<(), String> {
    let core = |op: &(Op, u8)| match op.0 {
        // A core, or a delta of its cell.
        Op::Program(_, b) if matches!((b[0], b[1]), (0xA1 | 0xA3, 0)) => Some(b[8]),
        _ => None,
    };
    let mut before = None;
    // Slots hold no such bytes at the start of a unit.
    for phase in ops.iter().filter_map(core) {
        if let Some(before) = before.replace(phase) {
            if !may_follow(before, phase) {
                return Err(format!("phase {phase} follows {before}"));
            }
            seen.insert((before, phase));
        }
    }
    Ok(())
}
