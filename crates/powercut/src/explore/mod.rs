//! Explicit-state exploration: every state that any number of cuts can lead to,
//! from a device's first start through a request to the end of the update.
//!
//! A state is what flash holds at power-on, together with what the application
//! was told so far, modulo the abstraction that `canon.rs` describes. From each
//! state, boot loader and application (the real code) run once on the flash that
//! stands for it (`model.rs`), for every way in which reads of unstable bits can
//! turn out. Every operation of every such run is cut: before it, after it, torn,
//! and unstable (each later read sees what was there, what was to be, or neither).
//! One boot shows a broken promise or ends in further states, until there are none.
//!
//! When all states are known, the runs without cuts between them must not go in
//! circles: whatever reads turn out to be, each update comes to its end.
//!
//! That the abstraction hides nothing is checked by samples: a state as it came
//! up and the one that stands for it must have the same successors.

mod canon;
mod device;
mod model;
mod report;

pub use report::report;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use ota_bootlib::Strategy;

use crate::App;
use crate::definitions::may_follow;
use device::{Device, End};
use model::{Model, Op, Row, SECTOR, Sector};

/// One exploration.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// How the update is installed.
    pub strategy: Strategy,
    /// What the new image does.
    pub app: App,
    /// The new image is damaged.
    pub bad: bool,
    /// Journal rows that are unstable at the same time, at most.
    pub unstable: usize,
}

/// What an exploration found.
#[derive(Debug, Clone, Default)]
pub struct Explored {
    /// States.
    pub states: usize,
    /// Transitions between them.
    pub transitions: u64,
    /// Runs of boot loader and application.
    pub boots: u64,
    /// States that were compared with the one that stands for them.
    pub samples: u64,
    /// Cuts that were not made unstable, because of [`Goal::unstable`].
    pub limited: u64,
    /// The longest way to the end of the update without cuts, in boots.
    pub longest: usize,
    /// States of the journal that followed each other, as the journal numbers them.
    pub phases: BTreeSet<(u8, u8)>,
    /// The first broken promise.
    pub wrong: Option<String>,
}

/// Ways in which the reads of one boot can turn out, before it counts as broken.
const BRANCHES: u64 = 200_000;
/// One state in so many is compared with the one that stands for it.
const SAMPLE: u64 = 61;
/// States, before an exploration counts as without end.
const STATES: usize = 4_000_000;

/// A canonical state.
#[derive(Clone, Hash)]
struct Node {
    /// Number of the content of each slot sector; [`TORN`].
    slots: Vec<u8>,
    halves: [Vec<Row>; 2],
    mark: u8,
}

const TORN: u8 = u8::MAX;

impl Node {
    fn key(&self) -> u128 {
        let half = |salt: u64| {
            let mut h = DefaultHasher::new();
            salt.hash(&mut h);
            self.hash(&mut h);
            u128::from(h.finish())
        };
        half(1) << 64 | half(2)
    }

    fn of(model: &Model) -> Result<Self, String> {
        let content = |(sector, known): (&Sector, &model::Known)| {
            let found = known.iter().position(|k| *k == *sector.bytes);
            match found {
                Some(i) if !sector.torn => i as u8,
                _ => TORN,
            }
        };
        let slots = model.slots.iter().zip(model.known.iter());
        Ok(Self {
            slots: slots.map(content).collect(),
            halves: canon::journal(&model.halves)?,
            mark: model.mark,
        })
    }

    fn unstable(&self) -> usize {
        self.halves.iter().map(|h| canon::unstable(h)).sum()
    }

    /// The flash that stands for this state.
    fn flash(&self, device: &Device) -> Model {
        let known = &device.start.known;
        let sector = |(content, known): (&u8, &model::Known)| Sector {
            bytes: match known.get(usize::from(*content)) {
                Some(bytes) => Rc::new(bytes.clone()),
                None => Rc::new(vec![0xC3; SECTOR]),
            },
            torn: *content == TORN,
        };
        let slots = self.slots.iter().zip(known.iter()).map(sector).collect();
        let mut model = Model::new(slots, self.halves.clone(), known.clone());
        model.mark = self.mark;
        model
    }
}

/// Everything that one boot from a state can lead to.
#[derive(Default)]
struct Successors {
    /// By key; with the flash it was found as.
    nodes: HashMap<u128, (Node, Model)>,
    /// Those that boots without a cut lead to; `None`: the update has ended.
    whole: BTreeSet<Option<u128>>,
    boots: u64,
    limited: u64,
    phases: BTreeSet<(u8, u8)>,
}

struct Search {
    device: Device,
    unstable: usize,
}

impl Search {
    fn add(&self, to: &mut Successors, model: Model) -> Result<u128, String> {
        let node = Node::of(&model)?;
        let key = node.key();
        to.nodes.entry(key).or_insert((node, model));
        Ok(key)
    }

    /// Runs every boot that is possible from `start`, and cuts it everywhere.
    fn successors(&self, start: &Model) -> Result<Successors, String> {
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
            let end = self.device.boot(&mut model);
            let end = end.map_err(|e| format!("{e}, reads {:?}", model.choices))?;
            self.cuts(start, &model.ops, &mut prefixes, &mut found)?;
            phases(&model.ops, &mut found.phases)?;
            choices = Model::next_choices(std::mem::take(&mut model.choices));
            model.ops.clear();
            model.erases.fill(0);
            let key = self.add(&mut found, model)?;
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
                self.add(found, at.clone())?;
                for (i, left) in at.cut(op).into_iter().enumerate() {
                    let node = Node::of(&left).map_err(|e| format!("{e}, cut in {op:?}"))?;
                    // The second one is the unstable one.
                    if i == 1 && node.unstable() > self.unstable {
                        found.limited += 1;
                    } else {
                        self.add(found, left)?;
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

/// Explores until nothing new turns up.
pub fn explore(goal: Goal) -> Explored {
    let mut out = Explored::default();
    if let Err(wrong) = search(goal, &mut out) {
        out.wrong = Some(wrong);
    }
    out
}

fn search(goal: Goal, out: &mut Explored) -> Result<(), String> {
    let search = Search {
        device: Device::new(goal.strategy, goal.app, goal.bad),
        unstable: goal.unstable,
    };
    let first = Node::of(&search.device.start)?;
    let mut known: HashMap<u128, usize> = HashMap::new();
    let mut whole: Vec<Vec<usize>> = vec![Vec::new()];
    known.insert(first.key(), 0);
    let mut todo = vec![first];
    let mut looked_at = 0u64;
    while let Some(node) = todo.pop() {
        let id = known[&node.key()];
        let flash = node.flash(&search.device);
        let found = search
            .successors(&flash)
            .map_err(|e| format!("{e}{}", describe(&node)))?;
        out.boots += found.boots;
        out.limited += found.limited;
        out.phases.extend(found.phases);
        out.transitions += found.nodes.len() as u64;
        let mut ids = HashMap::new();
        for (key, (next, model)) in found.nodes {
            let fresh = known.len();
            let next_id = *known.entry(key).or_insert(fresh);
            ids.insert(key, next_id);
            if next_id == fresh {
                whole.push(Vec::new());
                looked_at += 1;
                if looked_at.is_multiple_of(SAMPLE) {
                    out.samples += u64::from(compare(&search, &next, &model)?);
                }
                todo.push(next);
            }
        }
        whole[id] = found
            .whole
            .iter()
            .flatten()
            .map(|key| ids[key])
            // Reads that see each time what stops nothing and starts nothing.
            .filter(|next| *next != id)
            .collect();
        out.states = known.len();
        if known.len() > STATES {
            return Err("no fixed point".into());
        }
    }
    out.longest = longest(&whole)?;
    Ok(())
}

/// A state as it came up, and the one that stands for it, must lead to the same.
fn compare(search: &Search, node: &Node, model: &Model) -> Result<bool, String> {
    if model
        .halves
        .iter()
        .map(|h| canon::unstable(h))
        .sum::<usize>()
        > 5
    {
        return Ok(false); // As many ways to read it as no one can try.
    }
    let mut model = model.clone();
    model.ops.clear();
    model.choices.clear();
    model.erases.fill(0);
    let of = |model| {
        let here = |e| format!("{e}, from a sample{}", describe(node));
        search.successors(model).map_err(here)
    };
    let real = of(&model).map_err(|e| format!("{e}\n  came up as: {}", rows(&model.halves)))?;
    let ours = of(&node.flash(&search.device))?;
    let keys = |s: &Successors| s.nodes.keys().copied().collect::<BTreeSet<_>>();
    if keys(&real) == keys(&ours) && real.whole == ours.whole {
        return Ok(true);
    }
    let differing = keys(&real)
        .symmetric_difference(&keys(&ours))
        .copied()
        .collect::<Vec<_>>();
    let mut text = format!("the abstraction is not exact:{}", describe(node));
    text += &format!("\n  came up as: {}", rows(&model.halves));
    for key in differing.iter().take(4) {
        let side = if real.nodes.contains_key(key) {
            "real"
        } else {
            "ours"
        };
        let node = real.nodes.get(key).or(ours.nodes.get(key));
        if let Some((node, _)) = node {
            text += &format!("\n  only {side}:{}", describe(node));
        }
    }
    Err(text)
}

/// The longest way along `edges`, which must not go in circles.
fn longest(edges: &[Vec<usize>]) -> Result<usize, String> {
    let mut into = vec![0usize; edges.len()];
    for next in edges.iter().flatten() {
        into[*next] += 1;
    }
    let mut depth = vec![0usize; edges.len()];
    let mut ready: Vec<_> = (0..edges.len()).filter(|i| into[*i] == 0).collect();
    let mut done = 0;
    while let Some(at) = ready.pop() {
        done += 1;
        for next in &edges[at] {
            depth[*next] = depth[*next].max(depth[at] + 1);
            into[*next] -= 1;
            if into[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    if done == edges.len() {
        Ok(depth.into_iter().max().unwrap_or(0))
    } else {
        Err(format!(
            "{} states lead around in circles",
            edges.len() - done
        ))
    }
}

fn rows(halves: &[Vec<Row>; 2]) -> String {
    let mut text = String::new();
    for (h, half) in halves.iter().enumerate() {
        for (i, row) in half.iter().enumerate() {
            let one = |r: &model::Reading| match r {
                model::Reading::Blank => "blank".into(),
                model::Reading::Bad => "bad".into(),
                model::Reading::Torn => "torn".into(),
                model::Reading::Record(b) => {
                    format!(
                        "{:02x} cell {} link {} seq {} {:02x?}",
                        b[0],
                        b[1],
                        b[2],
                        b[4],
                        &b[8..16]
                    )
                }
            };
            let all: Vec<String> = row.readings().iter().map(one).collect();
            if all != ["blank"] && all != ["bad"] {
                text += &format!("\n    half {h} row {i}: {}", all.join(" | "));
            }
        }
    }
    text
}

/// A state, for the one who looks for a mistake.
fn describe(node: &Node) -> String {
    format!(
        "\n  slots {:?}, told {}{}",
        node.slots,
        node.mark,
        rows(&node.halves)
    )
}
