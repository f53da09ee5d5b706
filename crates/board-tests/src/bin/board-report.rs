//! What takes long on the emulated board; `cargo xtask powercut --board` runs it.

use board_tests::powercut::{Plan, Points, Sweep, most_sectors};
use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;

/// Power cuts of the shipped images on the emulated board.
#[derive(Parser)]
struct Args {
    /// 2 and 10 changed sectors at every flash operation, and a swap of all sectors at
    /// seeded ones
    #[arg(long)]
    full: bool,
    /// Instead: a swap of so many changed sectors at so many seeded operations
    #[arg(long, num_args = 2, value_names = ["SECTORS", "POINTS"], conflicts_with = "full")]
    seeded: Option<Vec<usize>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut plans = vec![Plan {
        changed: 2,
        install: Points::All,
        others: Points::All,
        second: if args.full { 4000 } else { 300 },
        revert: true,
    }];
    if args.full {
        plans.push(Plan {
            changed: 10,
            install: Points::All,
            others: Points::All,
            second: 1000,
            revert: true,
        });
        plans.push(Plan {
            changed: most_sectors(),
            install: Points::Seeded(2000),
            others: Points::Seeded(0),
            second: 0,
            revert: false,
        });
    }
    if let Some([changed, points]) = args.seeded.as_deref() {
        plans = vec![Plan {
            changed: *changed,
            install: Points::Seeded(*points),
            others: Points::Seeded(0),
            second: 0,
            revert: false,
        }];
    }
    for plan in plans {
        let begin = Instant::now();
        match Sweep::new(plan).run() {
            Ok(counts) => println!(
                "{} changed sectors: {counts}; {:.0} s",
                plan.changed,
                begin.elapsed().as_secs_f64()
            ),
            Err(why) => {
                eprintln!("error: {} changed sectors: {why}", plan.changed);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
