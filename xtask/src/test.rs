//! `cargo xtask test`: everything, in parts, and a last line that names what did not run.

use crate::sh::{Cmd, find};
use crate::{board, fuzz, tools};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::path::Path;
use std::time::Instant;

/// A part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Format, lints, documentation and tests that need cargo alone
    Host,
    /// Tests against programs we did not write
    Peers,
    /// Board builds and the emulated board
    Board,
    /// A few thousand inputs for each fuzz target; `cargo xtask fuzz` for more
    Fuzz,
}

/// Inputs for each fuzz target: seconds, once they are built.
const SMOKE: u64 = 3000;

const ALL: [(Part, &str); 4] = [
    (Part::Host, "host"),
    (Part::Peers, "peers"),
    (Part::Board, "board"),
    (Part::Fuzz, "fuzz"),
];

/// Runs the parts asked for; the first failure ends it.
pub fn run(only: Option<Part>) -> Result<()> {
    let wanted = |part: Part| only.is_none_or(|o| o == part);
    // Ask for what is missing before the first long build, not after it.
    if wanted(Part::Peers) {
        tools::require(tools::missing_peers)?;
    }
    if wanted(Part::Board) {
        tools::require(tools::missing_board)?;
    }
    if wanted(Part::Fuzz) {
        tools::require(tools::missing_fuzz)?;
    }
    for (part, name) in ALL {
        if wanted(part) {
            let start = Instant::now();
            println!("== {name}");
            match part {
                Part::Host => host()?,
                Part::Peers => peers()?,
                Part::Board => board::test()?,
                Part::Fuzz => fuzz::run(&fuzz::What::smoke(SMOKE), Path::new("."))?,
            }
            println!("== {name}: passed in {} s", start.elapsed().as_secs());
        }
    }
    let left: Vec<_> = ALL
        .iter()
        .filter(|(part, _)| !wanted(*part))
        .map(|(_, name)| *name)
        .collect();
    if left.is_empty() {
        println!("all parts passed: host, peers, board, fuzz");
    } else {
        println!("passed, but did not run: {}", left.join(", "));
    }
    Ok(())
}

fn host() -> Result<()> {
    Cmd::cargo(["fmt", "--all", "--check"]).run()?;
    Cmd::cargo(["clippy", "--workspace", "--all-targets", "--all-features"])
        .args(["--", "-D", "warnings"])
        .run()?;
    Cmd::cargo(["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Cmd::cargo(["test", "--workspace"]).run()
}

/// Tests against programs we did not write stand in `tests/` of every package
/// with a feature `peers`.
fn peers() -> Result<()> {
    let packages = peer_packages()?;
    let mut cmd = Cmd::cargo(["test", "--test", "*"]).env("UOTA_PYTHON", tools::python());
    for server in ["mosquitto", "nginx"] {
        if let Some(path) = find(server) {
            cmd = cmd.env(&format!("UOTA_{}", server.to_uppercase()), path);
        }
    }
    for name in &packages {
        cmd = cmd.args(["-p", name]);
    }
    let features: Vec<_> = packages.iter().map(|p| format!("{p}/peers")).collect();
    // Peers take fixed resources (ports, processes): one test at a time.
    cmd.args(["--features", &features.join(","), "--", "--test-threads=1"])
        .run()
}

/// Names of the packages whose manifest has a feature `peers`.
fn peer_packages() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("crates")? {
        names.extend(peer_package(&entry?.path())?);
    }
    names.extend(peer_package("tests".as_ref())?);
    names.sort();
    Ok(names)
}

fn peer_package(dir: &Path) -> Result<Option<String>> {
    let path = dir.join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let value = |key: &str| {
        let line = manifest.lines().find_map(|l| l.strip_prefix(key))?;
        Some(line.trim_matches(['=', ' ', '"']).to_string())
    };
    Ok(value("peers ").and_then(|_| value("name ")))
}
