//! Explicit-state exploration: from one request, every state that any number of
//! cuts can lead to, to a fixed point.
//!
//! A state is what flash holds at power-on, modulo this abstraction:
//!
//! - a slot sector is one of the contents it has in a run without cuts, or
//!   *torn*: anything else, or with unstable bits (such a sector is erased
//!   before it is used, whatever it holds);
//! - a journal row is blank, closed, torn, a record, or an unstable one of
//!   these; sequence numbers count only relative to each other, row numbers by
//!   how much room is left;
//! - a half is the state that its newest stable snapshot and the stable deltas
//!   behind it make, how the log ends, the unstable rows behind that snapshot,
//!   and the room left. Rows in front of it are left out: nothing can make them
//!   count again. So is the other half, but for whether its row 0 is a record.
//!   Of unstable rows more than three from the end of the log, only those count
//!   that can still be a core or a delta in force, and only their order.
//!
//! From each state the loader and the application run once. Every operation of
//! that run is cut: after it, in its middle, at random bits, and with all its
//! bits unstable under several patterns of reads. Each run is checked for all
//! promises that one boot can show.

use std::collections::{HashSet, VecDeque};

use embedded_storage::nor_flash::NorFlash;
use ota_bootlib::ROW;
use ota_flash::sim::{CutVariant, OpKind, SimFlash};

use crate::world::{Past, Step, World, Wrong};

/// What an exploration found.
#[derive(Debug, Clone, Default)]
pub struct Explored {
    /// States.
    pub states: usize,
    /// Boots run.
    pub boots: u64,
    /// The first broken promise.
    pub wrong: Option<String>,
    /// The fixed point was reached.
    pub ended: bool,
}

/// Patterns of reads tried for fresh unstable bits.
const PATTERNS: u64 = 4;

struct Node<const S: usize, const U: usize> {
    flashes: Vec<SimFlash<S, U>>,
    confirmed: bool,
}

/// Explores `world` until nothing new turns up, or `limit` states.
pub fn explore<const S: usize, const U: usize>(world: &World<S, U>, limit: usize) -> Explored {
    let mut known = HashSet::new();
    let mut found = Explored::default();
    let mut todo = VecDeque::new();
    let contents = match contents(world) {
        Ok(c) => c,
        Err(e) => {
            return Explored {
                wrong: Some(e.0),
                ..found
            };
        }
    };
    let first = Node {
        flashes: vec![world.flash.clone()],
        confirmed: false,
    };
    known.insert(key(world, &contents, &first));
    todo.push_back(first);
    while let Some(node) = todo.pop_front() {
        found.states = known.len();
        if found.boots % 5000 < 2 && std::env::var_os("POWERCUT_DUMP").is_some() {
            println!(
                "{} states, {} to do, {} boots",
                known.len(),
                todo.len(),
                found.boots
            );
        }
        if known.len() > limit {
            if std::env::var_os("POWERCUT_DUMP").is_some() {
                diagnose(&known);
            }
            return found;
        }
        for flash in &node.flashes {
            let past = Past {
                confirmed: node.confirmed,
                ..Past::default()
            };
            let mut steps = Vec::new();
            let mut after = flash.clone();
            found.boots += 1;
            let confirmed = match world.one_boot(&mut after, past, &mut steps) {
                Ok(past) => past.confirmed,
                Err(e) => {
                    found.wrong.get_or_insert(e.0);
                    return found;
                }
            };
            let mut add = |node: Node<S, U>| {
                if known.insert(key(world, &contents, &node)) {
                    todo.push_back(node);
                }
            };
            add(Node {
                flashes: vec![after],
                confirmed,
            });
            let mut at = flash.clone();
            at.power_on();
            for step in &steps {
                for node in cuts(&at, step) {
                    add(node);
                }
                apply(&mut at, step);
            }
        }
    }
    found.states = known.len();
    found.ended = true;
    found
}

/// What a cut in `step`, in front of which `flash` stands, can leave.
fn cuts<const S: usize, const U: usize>(
    flash: &SimFlash<S, U>,
    step: &Step,
) -> impl Iterator<Item = Node<S, U>> {
    let confirmed = step.past.confirmed;
    let torn = |variant| {
        let mut flash = flash.clone();
        flash.cut_after(0, variant);
        apply(&mut flash, step);
        flash.power_on();
        flash
    };
    let plain = [
        CutVariant::After,
        CutVariant::Head { of_256: 128 },
        CutVariant::Random { seed: 3 },
    ];
    let mut nodes: Vec<_> = plain
        .map(|v| Node {
            flashes: vec![torn(v)],
            confirmed,
        })
        .into_iter()
        .collect();
    let flashes = (0..PATTERNS)
        .map(|seed| torn(CutVariant::Flicker { seed: seed * 77 }))
        .collect();
    nodes.push(Node { flashes, confirmed });
    nodes.into_iter()
}

fn apply<const S: usize, const U: usize>(flash: &mut SimFlash<S, U>, step: &Step) {
    let _ = match step.op.kind {
        OpKind::Erase => flash.erase(step.op.offset, step.op.offset + S as u32),
        OpKind::Program => flash.write(step.op.offset, &step.data),
    };
}

/// Contents of slot sectors in a run without cuts, between its steps.
fn contents<const S: usize, const U: usize>(
    world: &World<S, U>,
) -> Result<HashSet<(usize, u128)>, Wrong> {
    let slots = world.layout.journal_sectors().start;
    let mut all = HashSet::new();
    let mut flash = world.flash.clone();
    let mut steps = Vec::new();
    world.run(
        &mut flash.clone(),
        Past::default(),
        &[],
        None,
        Some(&mut steps),
    )?;
    all.extend((0..slots).map(|s| (s, flash.sector_digest(s))));
    for (i, step) in steps.iter().enumerate() {
        apply(&mut flash, step);
        let sector = step.op.offset as usize / S;
        let last = steps
            .get(i + 1)
            .is_none_or(|n| n.op.offset as usize / S != sector);
        if sector < slots && last {
            all.insert((sector, flash.sector_digest(sector)));
        }
    }
    Ok(all)
}

#[derive(PartialEq, Eq, Hash, Clone, Debug)]
enum RowClass {
    Blank,
    Closed,
    Torn,
    Record {
        kind: u8,
        cell: u8,
        link: i32,
        data: Vec<u8>,
    },
    Unstable(Box<RowClass>),
}

/// What the loader makes of a half: the state, how the log ends, unstable rows
/// by their distance from the end, and the room behind it.
#[derive(PartialEq, Eq, Hash, Default)]
struct Meaning {
    cells: std::collections::BTreeMap<u8, Vec<u8>>,
    tail: i32,
    unstable: Vec<(usize, RowClass)>,
    room: usize,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    slots: Vec<Option<u128>>,
    /// One for each half that counts.
    halves: Vec<Meaning>,
    other_older: bool,
    confirmed: bool,
}

fn key<const S: usize, const U: usize>(
    world: &World<S, U>,
    contents: &HashSet<(usize, u128)>,
    node: &Node<S, U>,
) -> Key {
    let flash = &node.flashes[0];
    let sectors = world.layout.journal_sectors();
    let slots = (0..sectors.start)
        .map(|s| {
            let d = flash.sector_digest(s);
            (flash.unstable_bits_in(s) == 0 && contents.contains(&(s, d))).then_some(d)
        })
        .collect();
    let middle = sectors.start + sectors.len() / 2;
    let halves = [
        rows(flash, sectors.start..middle),
        rows(flash, middle..sectors.end),
    ];
    let seqs = [seq0(&halves[0]), seq0(&halves[1])];
    let newer = usize::from(seqs[1] > seqs[0]);
    let (own, stable) = counts(&halves[newer]);
    let mut out = vec![own];
    if !stable {
        out.push(counts(&halves[1 - newer]).0);
    }
    let other_older = seqs[1 - newer] != 0;
    Key {
        slots,
        halves: out,
        other_older,
        confirmed: node.confirmed,
    }
}

struct Half {
    classes: Vec<RowClass>,
    seqs: Vec<u32>,
}

fn seq0(half: &Half) -> u32 {
    match &half.classes[0] {
        RowClass::Record { .. } => half.seqs[0],
        RowClass::Unstable(inner) if matches!(**inner, RowClass::Record { .. }) => half.seqs[0],
        _ => 0,
    }
}

/// The rows of a half, link made relative.
fn rows<const S: usize, const U: usize>(
    flash: &SimFlash<S, U>,
    sectors: core::ops::Range<usize>,
) -> Half {
    let mut half = Half {
        classes: Vec::new(),
        seqs: Vec::new(),
    };
    let stride = U.max(ROW);
    let bytes = flash.dump((sectors.start * S) as u32, sectors.len() * S);
    for (row_in_half, chunk) in (0i32..).zip(bytes.chunks(stride)) {
        let row = &chunk[..ROW];
        let crc = u32::from_le_bytes([row[28], row[29], row[30], row[31]]);
        let class = if row.iter().all(|b| *b == 0xFF) {
            RowClass::Blank
        } else if row.iter().all(|b| *b == 0) {
            RowClass::Closed
        } else if ota_verify::crc32(&row[..28]) == crc {
            let link = i32::from(u16::from_le_bytes([row[2], row[3]]));
            let link = if row[0] == 0xA3 {
                link - row_in_half
            } else {
                link
            };
            RowClass::Record {
                kind: row[0],
                cell: row[1],
                link,
                data: row[8..28].to_vec(),
            }
        } else {
            RowClass::Torn
        };
        let at = (sectors.start * S) as u32 + row_in_half as u32 * stride as u32;
        let unstable = flash.is_unstable(at, ROW);
        half.classes.push(if unstable {
            RowClass::Unstable(Box::new(class))
        } else {
            class
        });
        half.seqs
            .push(u32::from_le_bytes([row[4], row[5], row[6], row[7]]));
    }
    half
}

/// What a half means, and whether that rests on a stable snapshot.
fn counts(half: &Half) -> (Meaning, bool) {
    let used = half
        .classes
        .iter()
        .rposition(|c| *c != RowClass::Blank)
        .map_or(0, |r| r + 1);
    let mut meaning = Meaning {
        room: half.classes.len() - used,
        ..Meaning::default()
    };
    let (mut from, mut newest) = (0, usize::MAX);
    let mut stable = false;
    for core in (0..used).rev() {
        if let RowClass::Record {
            kind: 0xA1, link, ..
        } = &half.classes[core]
        {
            let start = core.saturating_sub(*link as usize);
            let parts = &half.classes[start..core];
            if parts
                .iter()
                .all(|c| matches!(c, RowClass::Record { kind: 0xA2, .. }))
            {
                (from, newest, stable) = (start, core, true);
                break;
            }
        }
    }
    for (i, class) in half.classes[from..used].iter().enumerate() {
        match class {
            RowClass::Record {
                kind, cell, data, ..
            } if stable && *kind != 0xA2 => {
                meaning.cells.insert(*cell, data.clone());
            }
            RowClass::Record { cell, data, .. } if stable && i < 20 => {
                // Parts of the stable snapshot come first.
                meaning.cells.entry(*cell).or_insert_with(|| data.clone());
            }
            // A part says nothing without its core, nor a delta whose snapshot
            // is another: what may count is whether it is blank, and only at
            // the end of the log. For a core or a delta only the order counts.
            RowClass::Unstable(inner) => {
                let at = (used - from - i).min(4);
                let live = match **inner {
                    RowClass::Record { kind: 0xA1, .. } => true,
                    RowClass::Record {
                        kind: 0xA3, link, ..
                    } => link + (from + i) as i32 == newest as i32,
                    _ => false,
                };
                match &**inner {
                    RowClass::Record {
                        kind, cell, data, ..
                    } if live => {
                        let (kind, cell, data) = (*kind, *cell, data.clone());
                        let row = (
                            at,
                            RowClass::Record {
                                kind,
                                cell,
                                link: 0,
                                data,
                            },
                        );
                        // Two that say the same count as one.
                        if !meaning.unstable.contains(&row) || at < 4 {
                            meaning.unstable.push(row);
                        }
                    }
                    _ if at < 4 => meaning.unstable.push((at, RowClass::Torn)),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    meaning.tail = match half.classes.get(used.wrapping_sub(1)) {
        Some(RowClass::Record {
            kind: 0xA3, cell, ..
        }) => 0x100 + i32::from(*cell),
        Some(RowClass::Record { .. }) => 1,
        Some(RowClass::Closed | RowClass::Torn) => 2,
        _ => 3,
    };
    (meaning, stable)
}

/// Prints what the states differ in, for the one who tightens the abstraction.
fn diagnose(known: &HashSet<Key>) {
    let count = |f: &dyn Fn(&Key) -> String| known.iter().map(f).collect::<HashSet<_>>().len();
    println!("slots {}", count(&|k| format!("{:?}", k.slots)));
    println!("halves {}", count(&|k| format!("{}", k.halves.len())));
    println!("cells {}", count(&|k| format!("{:?}", k.halves[0].cells)));
    println!("tail {}", count(&|k| format!("{:?}", k.halves[0].tail)));
    println!("room {}", count(&|k| format!("{:?}", k.halves[0].room)));
    println!(
        "unstable {}",
        count(&|k| format!("{:?}", k.halves[0].unstable))
    );
    println!(
        "unstable rows {}",
        count(&|k| format!("{:?}", k.halves[0].unstable.len()))
    );
    println!(
        "unstable at {}",
        count(&|k| {
            format!(
                "{:?}",
                k.halves[0].unstable.iter().map(|u| u.0).collect::<Vec<_>>()
            )
        })
    );
    for k in known.iter().take(12) {
        println!(
            "{:?} room {} tail {} core {:?}",
            k.halves[0].unstable,
            k.halves[0].room,
            k.halves[0].tail,
            k.halves[0].cells.get(&0)
        );
    }
}
