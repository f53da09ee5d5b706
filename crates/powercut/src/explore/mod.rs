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
mod node;
mod report;
mod row;
mod sample;
mod successors;

pub use report::{Asked, report};

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ota_bootlib::Strategy;

use crate::App;
use device::Device;
use node::Journals;
use row::PrintMap;
use successors::Search;

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
    /// Transitions to a state that was compared with the one that stands for it.
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

/// Of so many transitions one is looked at: the state that it leads to is compared
/// with the one that stands for it.
const SAMPLE: u64 = 101;
/// States, before an exploration counts as without end.
const STATES: usize = 4_000_000;

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
        journals: RefCell::new(Journals::default()),
    };
    let first = search.node(&search.device.start)?;
    let mut known: PrintMap<usize> = PrintMap::default();
    let mut whole: Vec<Vec<usize>> = vec![Vec::new()];
    known.insert(search.key(&first), 0);
    let mut todo = vec![(0, first)];
    let mut progress = Progress::new(goal);
    while let Some((id, node)) = todo.pop() {
        let found = search
            .successors(&search.flash(&node))
            .map_err(|e| format!("{e}{}", search.describe(&node)))?;
        out.boots += found.boots;
        out.limited += found.limited;
        out.phases.extend(found.phases);
        for (key, (next, model)) in found.nodes {
            out.transitions += 1;
            if out.transitions.is_multiple_of(SAMPLE) {
                out.samples += u64::from(search.compare(&next, model)?);
            }
            let fresh = known.len();
            if *known.entry(key).or_insert(fresh) == fresh {
                whole.push(Vec::new());
                todo.push((fresh, next));
            }
        }
        whole[id] = found
            .whole
            .iter()
            .flatten()
            .map(|key| known[key])
            // Reads that see each time what stops nothing and starts nothing.
            .filter(|next| *next != id)
            .collect();
        out.states = known.len();
        progress.show(out, todo.len());
        if known.len() > STATES {
            return Err("no fixed point".into());
        }
    }
    out.longest = longest(&whole)?;
    Ok(())
}

/// Tells on standard error that it goes on.
struct Progress {
    name: String,
    started: Instant,
    next: Duration,
}

impl Progress {
    fn new(goal: Goal) -> Self {
        Self {
            name: goal.name(),
            started: Instant::now(),
            next: Self::EVERY,
        }
    }

    const EVERY: Duration = Duration::from_secs(10);

    fn show(&mut self, so_far: &Explored, open: usize) {
        let passed = self.started.elapsed();
        if passed >= self.next {
            self.next = passed + Self::EVERY;
            eprintln!(
                "    {}: {} states, {open} of them to do, {} boots, {:.0} s",
                self.name,
                so_far.states,
                so_far.boots,
                passed.as_secs_f32()
            );
        }
    }
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
