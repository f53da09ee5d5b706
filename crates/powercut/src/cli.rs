//! The command line.

use std::path::Path;

use crate::table::{Amount, run, show_stream};
use crate::{Row, bugs, definitions, explore, figures};

const HELP: &str = "\
Cuts power at and inside flash operations of every update strategy, and checks after
each that what starts is the old or the new image, whole. Fails when anything is wrong.

Usage: cargo xtask powercut [OPTION]...

Without options: a part of the cuts, the exploration of all states with torn journal
rows, the figures with their limits, and the planted bugs.

  --full     every cut, all pairs, over 100,000 random sequences, and the exploration
             with a journal row that reads differently each time
  --seed N   seed of the random sequences (default 1)
  --small    the journal as the smallest loaders have it, which read all of it: the same
             but for the figures; may stand beside the others
  --explore  the exploration alone (with --full: as --full has it)
  --only S   of the explorations only those whose name has S in it
  --threads N  explorations at the same time (default 2)
  --stream   the rows of ptr patches, in place and while they download, alone
  --bugs     the planted bugs alone
  --tables   write the tables of docs/power-safety.md anew from what the checks use
  --help     this text
";

/// The entry for `cargo xtask powercut`: does what is asked, prints it, and returns
/// whether all of it is right.
///
/// # Errors
/// An unknown argument, or a document that cannot be written.
pub fn main(args: &[String]) -> Result<bool, String> {
    let mut amount = Amount::QUICK;
    let (mut small, mut part) = (false, None);
    let mut asked = explore::Asked {
        full: false,
        only: None,
        threads: 2,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--full" => asked.full = true,
            "--small" => small = true,
            "--only" => asked.only = Some(rest.next().ok_or("--only takes a name")?.clone()),
            "--threads" => {
                let threads = rest.next().and_then(|n| n.parse().ok());
                asked.threads = threads.ok_or("--threads takes a number")?;
            }
            "--seed" => {
                let seed = rest.next().and_then(|s| s.parse().ok());
                amount.seed = seed.ok_or("--seed takes a number")?;
            }
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(true);
            }
            "--explore" | "--stream" | "--bugs" | "--tables" if part.is_none() => part = Some(arg),
            other => return Err(format!("unknown argument {other}, see --help")),
        }
    }
    if asked.full {
        amount = Amount {
            seed: amount.seed,
            ..Amount::FULL
        };
    }
    ota_bootlib::small_journal(small);
    match part.map(String::as_str) {
        Some("--explore") => Ok(explore::report(&asked)),
        Some("--stream") => Ok(show_stream(amount).iter().all(Row::is_right)),
        Some("--bugs") => Ok(bugs::run(true)),
        Some(_) => write_tables().map(|()| true),
        None => Ok(everything(amount, &asked, small)),
    }
}

fn everything(amount: Amount, asked: &explore::Asked, small: bool) -> bool {
    let rows = run(amount);
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    println!(
        "{} wrong, {} planned cuts did not fire, {} random sequences",
        sum(|r| r.wrong),
        sum(|r| r.unfired),
        sum(|r| r.sequences)
    );
    let figures = small || figures::print(&rows);
    println!();
    let explored = explore::report(asked);
    println!();
    let bugs = bugs::run(true);
    rows.iter().all(Row::is_right) && figures && explored && bugs
}

fn write_tables() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/power-safety.md");
    let failed = |e: std::io::Error| format!("{e} ({})", path.display());
    let document = std::fs::read_to_string(&path).map_err(failed)?;
    let renewed = definitions::renewed(&document).ok_or("the document has no place for tables")?;
    std::fs::write(&path, renewed).map_err(failed)
}
