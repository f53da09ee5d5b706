//! Board builds: each device crate alone, and a probe that shows each one linked.

use crate::sh::Cmd;
use crate::toolchain::Board;
use crate::{images, size};
use anyhow::{Result, bail};
use clap::Subcommand;
use std::path::Path;

/// Board tasks.
#[derive(Subcommand)]
pub enum Task {
    /// Build each device crate alone for the board, link a probe that calls every public entry, and each variant of the loader
    Check,
    /// Build the boot loader and the application, and pack the files one flashes and uploads
    Build(images::Build),
    /// Build the images and run the tests that need them
    Test,
    /// Print how large the images are, crate by crate
    Size,
    /// Count instructions and RAM of the images on the emulated board, plant a panic in the
    /// loader; fails over a limit, and when the loader with the panic links
    Counts,
}

/// Crates that run on a device.
const DEVICE: [&str; 7] = [
    "ota-flash",
    "ota-verify",
    "ota-proto",
    "ota-bootlib",
    "ota-delta",
    "ota-agent",
    "hal-mk3060",
];

/// Runs one board task; arguments name files as seen from `here`.
pub fn run(task: Task, here: &Path) -> Result<()> {
    match task {
        Task::Check => check(),
        Task::Build(build) => build.run(here),
        Task::Test => images::test(),
        Task::Size => size::all(),
        Task::Counts => {
            images::planted_panic()?;
            images::report(&["--counts".into()])
        }
    }
}

/// Everything about the board that `cargo xtask test` runs.
pub fn test() -> Result<()> {
    check()?;
    images::test()
}

fn check() -> Result<()> {
    let board = Board::find()?;
    println!("board compiler: {}", board.version()?);
    for name in DEVICE {
        board.cargo("build").args(["-p", name]).run()?;
    }
    probe(&board)?;
    size::loaders(&board)
}

/// Links every device crate into one image and asks the symbol table whether each is there.
fn probe(board: &Board) -> Result<()> {
    let script = crate::sh::root().join("crates/board-probe/probe.ld");
    board
        .cargo("rustc")
        .args(["--profile", "board", "-p", "board-probe", "--"])
        .arg(format!("-Clink-arg=-T{}", script.display()))
        .run()?;
    let elf = board
        .dir()
        .join(crate::toolchain::TARGET)
        .join("board/board-probe");
    let symbols = Cmd::new("arm-none-eabi-nm")
        .args(["--demangle", "--print-size", "--size-sort"])
        .arg(&elf)
        .output()?;
    let mut absent = Vec::new();
    println!("{:<14} {:>8} bytes of code in the probe", "crate", "");
    for name in DEVICE {
        let path = format!("{}::", name.replace('-', "_"));
        let sizes = symbols
            .lines()
            .filter(|l| l.contains(&path))
            .filter_map(|l| {
                let mut words = l.split_whitespace();
                let (_, size, kind) = (words.next()?, words.next()?, words.next()?);
                matches!(kind, "t" | "T").then(|| u32::from_str_radix(size, 16).ok())?
            });
        let (count, bytes) = sizes.fold((0, 0), |(n, b), s| (n + 1, b + s));
        println!("{name:<14} {bytes:>8}");
        if count == 0 {
            absent.push(name);
        }
    }
    ram(&elf)?;
    if !absent.is_empty() {
        bail!(
            "no symbol of {} in the probe: it must call every public entry",
            absent.join(", ")
        );
    }
    Ok(())
}

/// The probe's statics are as long as what they measure.
fn ram(elf: &std::path::Path) -> Result<()> {
    let symbols = Cmd::new("arm-none-eabi-nm")
        .arg("--print-size")
        .arg(elf)
        .output()?;
    for (symbol, what) in [
        (
            "RAM_FUTURE",
            "RAM of the future of Agent::run, without its buffers",
        ),
        ("RAM_AGENT", "RAM of an Agent with slot writer and journal"),
    ] {
        let size = symbols.lines().find_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                [_, size, _, name] if name == symbol => u32::from_str_radix(size, 16).ok(),
                _ => None,
            }
        });
        match size {
            Some(size) => println!("{what:<54} {size:>6} B"),
            None => bail!("the probe has no symbol {symbol}"),
        }
    }
    Ok(())
}
