//! What is explored, and the table of it.

use std::sync::Mutex;
use std::time::Instant;

use ota_bootlib::Strategy;

use super::{Explored, Goal, explore};
use crate::App;

/// Every strategy, and every end it can come to.
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

/// Explorations at the same time.
const THREADS: usize = 2;

fn name(goal: &Goal) -> String {
    let what = match (goal.bad, goal.app) {
        (true, _) => "damaged image",
        (_, App::Confirms) => "confirmed",
        (_, App::NeverConfirms) => "never confirmed",
        _ => "taken back",
    };
    format!("{} {what}", goal.strategy.name())
}

fn line(goal: &Goal, e: &Explored, seconds: f32) -> String {
    let end = if e.wrong.is_none() {
        "fixed point"
    } else {
        "WRONG"
    };
    format!(
        "{:<28} {:>8} {:>7} {:>11} {:>9} {:>7} {:>7}  {end}, {seconds:.0} s",
        name(goal),
        goal.unstable,
        e.states,
        e.transitions,
        e.boots,
        e.samples,
        e.longest,
    )
}

/// Explores everything, with one unstable journal row at a time when `full`, else
/// with torn rows only; prints the table and returns whether all of it is right.
pub fn report(full: bool) -> bool {
    println!(
        "{:<28} {:>8} {:>7} {:>11} {:>9} {:>7} {:>7}",
        "exploration", "unstable", "states", "transitions", "boots", "samples", "longest"
    );
    let next = Mutex::new(GOALS.iter());
    let wrong = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some((strategy, app, bad)) = next.lock().expect("goals").next() else {
                        return;
                    };
                    let goal = Goal {
                        strategy: *strategy,
                        app: *app,
                        bad: *bad,
                        unstable: usize::from(full),
                    };
                    let started = Instant::now();
                    let found = explore(goal);
                    println!("{}", line(&goal, &found, started.elapsed().as_secs_f32()));
                    if let Some(why) = &found.wrong {
                        println!("    {why}");
                        *wrong.lock().expect("count") += 1;
                    }
                }
            });
        }
    });
    println!(
        "unstable: journal rows at a time, at most; longest: boots without a cut to the end; \
         samples: states compared with the one that stands for them"
    );
    *wrong.lock().expect("count") == 0
}
