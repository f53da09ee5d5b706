//! Prints figures, never judges speed: machines are noisy. Memory is counted,
//! so a limit that is passed ends with an error.

mod apply;
mod damage;
mod delta;
mod download;
mod images;
mod roundtrip;
mod verify;

use clap::{Parser, Subcommand};

/// Speed and memory figures of uota.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// MB/s of hashing, writing and verifying an image
    Verify,
    /// RAM of a whole download
    Ram,
    /// Patch sizes of ours and of public tools, for every pair of images in a folder
    Delta(delta::Args),
    /// Random pairs of images through nbdiff and ptr, counted by kind
    Roundtrip(roundtrip::Args),
    /// Every byte of a patch changed, and every truncation, with counts
    Damage(damage::Args),
    /// One of our formats on one pair, as `delta` runs it
    #[command(hide = true)]
    One(delta::One),
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let ok = match args.what {
        Some(What::Verify) => {
            verify::run();
            true
        }
        Some(What::Ram) => download::run(),
        Some(What::Delta(args)) => succeeded(args.run()),
        Some(What::Roundtrip(args)) => succeeded(args.run()),
        Some(What::Damage(args)) => succeeded(args.run()),
        Some(What::One(one)) => succeeded(one.run()),
        None => {
            verify::run();
            println!();
            download::run()
        }
    };
    if ok {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

fn succeeded(done: anyhow::Result<()>) -> bool {
    match done {
        Ok(()) => true,
        Err(e) => {
            eprintln!("error: {e:#}");
            false
        }
    }
}
