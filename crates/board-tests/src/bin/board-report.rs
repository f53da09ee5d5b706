//! What is printed about the shipped images: power cuts (`cargo xtask powercut
//! --board`), instructions and RAM (`cargo xtask board counts`).

use board_tests::counts::measure;
use board_tests::powercut::{Plan, Points, Sweep, most_sectors};
use clap::Parser;
use std::process::ExitCode;
use std::time::Instant;

/// Power cuts of the shipped images on the emulated board.
#[derive(Parser)]
struct Args {
    /// Counts instructions and RAM instead
    #[arg(long, conflicts_with_all = ["full", "seeded"])]
    counts: bool,
    /// 2 and 10 changed sectors at every flash operation, and a swap of all sectors at
    /// seeded ones
    #[arg(long)]
    full: bool,
    /// Instead: a swap of so many changed sectors at so many seeded operations
    #[arg(long, num_args = 2, value_names = ["SECTORS", "POINTS"], conflicts_with = "full")]
    seeded: Option<Vec<usize>>,
    /// Threads that make cuts
    #[arg(long, value_name = "N", default_value_t = threads(), value_parser = clap::value_parser!(u8).range(1..))]
    threads: u8,
}

/// One a processor.
fn threads() -> u8 {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(16) as u8)
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.counts {
        let figures = measure();
        for figure in &figures {
            println!("{figure}");
        }
        return match figures.iter().find(|figure| !figure.holds()) {
            Some(figure) => {
                eprintln!("error: over the limit: {figure}");
                ExitCode::FAILURE
            }
            None => ExitCode::SUCCESS,
        };
    }
    let every = |changed, second| Plan {
        changed,
        app: Points::All,
        install: Points::All,
        revert: Points::All,
        second,
        way_back: true,
        threads: args.threads.into(),
    };
    let seeded = |changed, points| Plan {
        changed,
        app: Points::Seeded(0),
        install: Points::Seeded(points),
        revert: Points::Seeded(0),
        second: 0,
        way_back: false,
        threads: args.threads.into(),
    };
    let plans = match args.seeded.as_deref() {
        Some([changed, points]) => vec![seeded(*changed, *points)],
        _ if args.full => vec![
            every(2, 4000),
            every(10, 1000),
            seeded(most_sectors(), 2000),
        ],
        _ => vec![every(2, 300)],
    };
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
