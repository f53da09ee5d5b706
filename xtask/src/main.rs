//! Project tasks: `cargo xtask setup | demo | test | board | bench | fuzz`.
//!
//! Thin by intent: it finds tools, says what is missing and runs cargo. What a
//! task does lives in the crate the task is about.

mod board;
mod fuzz;
mod images;
mod sh;
mod size;
mod test;
mod toolchain;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};
use sh::Cmd;
use std::path::Path;

/// Project tasks of uota.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show which tools the tests and board builds need; install them with --yes
    Setup {
        /// Install what is missing (Debian/Ubuntu as root, or with CI=true)
        #[arg(long)]
        yes: bool,
    },
    /// Update a device from version 1 to version 2 on this machine (arguments go to `ota demo`)
    #[command(disable_help_flag = true)]
    Demo {
        /// Arguments of `ota demo`; try --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run all tests: host, real peers, board, fuzz
    Test {
        /// Run only this part
        #[arg(long, value_enum)]
        only: Option<test::Part>,
    },
    /// Build for the board
    Board {
        #[command(subcommand)]
        task: board::Task,
    },
    /// Print how large the board's images are, crate by crate
    Size,
    /// Print figures: speed, RAM, patch sizes, random pairs, damaged patches (see bench --help)
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the benchmark; try --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Feed hostile bytes to every parser and on-flash record
    Fuzz(fuzz::What),
    /// Cut power at flash operations of every update strategy, and print a table;
    /// with --board those of the shipped images on the emulated board
    #[command(disable_help_flag = true)]
    Powercut {
        /// Arguments of the sweep; try --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> std::process::ExitCode {
    match run(Args::parse()) {
        Ok(code) => std::process::ExitCode::from(code),
        Err(e) => {
            eprintln!("error: {e:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<u8> {
    let here = std::env::current_dir()?;
    std::env::set_current_dir(sh::root())?;
    match args.task {
        Task::Setup { yes } => tools::setup(yes)?,
        Task::Demo { mut args } => {
            let images = images::demo(&args)?;
            args.extend(images.iter().map(|path| path.display().to_string()));
            return program("ota-cli", "dev", Some("demo"), args, &here);
        }
        Task::Test { only } => test::run(only)?,
        Task::Board { task } => board::run(task, &here)?,
        Task::Size => size::all()?,
        Task::Bench { args } => return program("uota-bench", "release", None, args, &here),
        Task::Fuzz(what) => fuzz::run(&what, &here)?,
        Task::Powercut { args } if args.iter().any(|arg| arg == "--board") => {
            let args: Vec<_> = args.into_iter().filter(|arg| arg != "--board").collect();
            images::report(&args)?;
        }
        Task::Powercut { args } => return program("powercut", "release", None, args, &here),
    }
    Ok(0)
}

/// Runs a program of the workspace in `here`, where its arguments name files; its
/// exit code is ours.
fn program(
    package: &str,
    profile: &str,
    verb: Option<&str>,
    args: Vec<String>,
    here: &Path,
) -> Result<u8> {
    // Built apart, so that the build shows its progress and the run only its own words.
    let wanted = ["--profile", profile, "--package", package];
    Cmd::cargo(["build"]).args(wanted).run()?;
    Cmd::cargo(["run", "--quiet"])
        .args(wanted)
        .arg("--")
        .args(verb)
        .args(args)
        .env("CARGO_TARGET_DIR", sh::target_dir())
        .dir(here)
        .status()
}
