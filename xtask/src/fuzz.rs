//! `cargo xtask fuzz`: builds the targets of `/fuzz` with coverage feedback on a
//! stable toolchain, and runs them.

use crate::sh::{Cmd, root, target_dir};
use crate::tools;
use anyhow::{Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// Each target for this long, if nothing else is said.
const SECONDS: u64 = 60;

/// What to run.
#[derive(Args)]
pub struct What {
    /// Targets (see fuzz/README.md); all of them if none is given
    targets: Vec<String>,
    /// Time for each target
    #[arg(long, conflicts_with = "runs")]
    seconds: Option<u64>,
    /// Inputs for each target
    #[arg(long)]
    runs: Option<u64>,
    /// Run this saved input once instead, with one target
    #[arg(long, requires = "targets")]
    input: Option<PathBuf>,
}

impl What {
    /// All targets, `runs` inputs each.
    pub fn smoke(runs: u64) -> Self {
        Self {
            targets: Vec::new(),
            seconds: None,
            runs: Some(runs),
            input: None,
        }
    }
}

/// What cargo-fuzz passes, as far as a stable compiler takes it: coverage and
/// comparisons, no sanitizer (there is no `unsafe` to watch).
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds and runs; a saved input is named as seen from `here`.
pub fn run(what: &What, here: &Path) -> Result<()> {
    let known = targets()?;
    if let Some(other) = what.targets.iter().find(|t| !known.contains(t)) {
        bail!("no fuzz target {other}; there are: {}", known.join(", "));
    }
    let input = what.input.as_ref().map(|path| here.join(path));
    if let Some(path) = &input {
        if what.targets.len() != 1 {
            bail!("a saved input belongs to one target");
        }
        if !path.is_file() {
            bail!("no file {}", path.display());
        }
    }
    let wanted = match what.targets.is_empty() {
        true => known,
        false => what.targets.clone(),
    };
    tools::require(tools::missing_fuzz)?;
    let folder = target_dir().join("fuzz");
    // A named target keeps the flags away from build scripts.
    let host = host()?;
    let mut build = Cmd::cargo(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", &host])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS);
    build = build.args(["--bin", "seeds"]);
    for target in &wanted {
        build = build.args(["--bin", target]);
    }
    build.run()?;
    let programs = folder.join(host).join("release");
    for target in &wanted {
        let program = Cmd::new(programs.join(target));
        match &input {
            Some(input) => program.arg(input).run()?,
            None => one(what, target, program, &programs, &folder)?,
        }
    }
    println!("fuzz: nothing found in {}", wanted.join(", "));
    Ok(())
}

fn one(what: &What, target: &str, program: Cmd, programs: &Path, folder: &Path) -> Result<()> {
    // What a run learns is kept with the build and used by the next one.
    let corpus = folder.join("corpus").join(target);
    let found = folder.join("found").join(target);
    std::fs::create_dir_all(&found)?;
    Cmd::new(programs.join("seeds"))
        .arg(target)
        .arg(&corpus)
        .output()?;
    let limit = match what.runs {
        Some(runs) => format!("-runs={runs}"),
        None => format!("-max_total_time={}", what.seconds.unwrap_or(SECONDS)),
    };
    println!("{target} ...");
    // It prints every entry of its dictionary: only the sum matters, or a failure.
    let text = program
        .args([&limit, "-max_len=1500", "-timeout=20", "-rss_limit_mb=1024"])
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(&corpus)
        .stderr()?;
    let ran = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let Some(ran) = ran else {
        bail!("{target} does not say how many inputs it ran:\n{text}");
    };
    println!("{target}: {} inputs", ran.trim());
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let mut names = vec![];
    for entry in std::fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = Cmd::new(rustc).arg("-vV").output()?;
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_string()),
        None => bail!("`rustc -vV` does not say for which host it is"),
    }
}
