//! What is explored, and the table of it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use ota_bootlib::Strategy;

use super::{Explored, Goal, explore};
use crate::App;

/// Every strategy, and every end it can come to; as the table shows them.
const GOALS: [(Strategy, App, bool); 10] = [
    (Strategy::Swap, App::Confirms, false),
    (Strategy::Swap, App::NeverConfirms, false),
    (Strategy::Swap, App::AsksBack, false),
    (Strategy::Swap, App::Confirms, true),
    (Strategy::PatchSwap, App::Confirms, false),
    (Strategy::PatchSwap, App::NeverConfirms, false),
    (Strategy::Overwrite, App::Confirms, false),
    (Strategy::InPlace, App::Confirms, false),
    (Strategy::Switch, App::Confirms, false),
    (Strategy::Switch, App::NeverConfirms, false),
];

/// Which of them take longest, so that none of these is begun last.
const LONGEST_FIRST: [usize; 10] = [4, 5, 2, 7, 0, 1, 6, 8, 9, 3];

/// What to explore, and how.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With one unstable journal row at a time, else with torn rows only.
    pub full: bool,
    /// Only goals whose name has this in it.
    pub only: Option<String>,
    /// Explorations at the same time.
    pub threads: usize,
}

impl Goal {
    /// Strategy and end, as the table names them.
    pub fn name(&self) -> String {
        let what = match (self.bad, self.app) {
            (true, _) => "damaged image",
            (_, App::Confirms) => "confirmed",
            (_, App::NeverConfirms) => "never confirmed",
            _ => "taken back",
        };
        format!("{} {what}", self.strategy.name())
    }
}

fn line(goal: &Goal, e: &Explored, seconds: f32) -> String {
    let end = if e.wrong.is_none() {
        "fixed point"
    } else {
        "WRONG"
    };
    format!(
        "{:<28} {:>8} {:>7} {:>11} {:>9} {:>7} {:>7}  {end}, {seconds:.0} s",
        goal.name(),
        goal.unstable,
        e.states,
        e.transitions,
        e.boots,
        e.samples,
        e.longest,
    )
}

/// Explores everything that is asked for; prints the table, each row as soon as it
/// and those above it are there, and returns whether all of it is right.
pub fn report(asked: &Asked) -> bool {
    println!(
        "{:<28} {:>8} {:>7} {:>11} {:>9} {:>7} {:>7}",
        "exploration", "unstable", "states", "transitions", "boots", "samples", "longest"
    );
    let goal = |(strategy, app, bad)| Goal {
        strategy,
        app,
        bad,
        unstable: usize::from(asked.full),
    };
    let goals = GOALS.map(goal);
    let wanted = |goal: &Goal| {
        let only = asked.only.as_ref();
        only.is_none_or(|part| goal.name().contains(part.as_str()))
    };
    let todo: VecDeque<usize> = LONGEST_FIRST
        .into_iter()
        .filter(|i| wanted(&goals[*i]))
        .collect();
    if todo.is_empty() {
        println!("no exploration has that name");
        return false;
    }
    let missing = todo.iter().copied().collect();
    let todo = Mutex::new(todo);
    let table = Mutex::new(Table {
        rows: Default::default(),
        missing,
        wrong: 0,
    });
    std::thread::scope(|scope| {
        for _ in 0..asked.threads.max(1) {
            scope.spawn(|| {
                while let Some(i) = take(&todo) {
                    let started = Instant::now();
                    let found = explore(goals[i]);
                    let seconds = started.elapsed().as_secs_f32();
                    let (name, states) = (goals[i].name(), found.states);
                    eprintln!("    {name}: ended with {states} states, {seconds:.0} s");
                    let row = line(&goals[i], &found, seconds);
                    table.lock().expect("table").add(i, row, found.wrong);
                }
            });
        }
    });
    println!(
        "unstable: journal rows at a time, at most; longest: boots without a cut to the end; \
         samples: states compared with the one that stands for them"
    );
    let table = table.into_inner().expect("table");
    table.wrong == 0 && table.missing.is_empty()
}

fn take(todo: &Mutex<VecDeque<usize>>) -> Option<usize> {
    todo.lock().expect("goals").pop_front()
}

/// Rows that wait for one above them.
struct Table {
    rows: [Option<String>; GOALS.len()],
    missing: std::collections::BTreeSet<usize>,
    wrong: usize,
}

impl Table {
    fn add(&mut self, at: usize, mut row: String, wrong: Option<String>) {
        if let Some(why) = wrong {
            row += &format!("\n    {why}");
            self.wrong += 1;
        }
        self.rows[at] = Some(row);
        while let Some(first) = self.missing.first().copied()
            && let Some(row) = self.rows[first].take()
        {
            println!("{row}");
            self.missing.pop_first();
        }
    }
}
