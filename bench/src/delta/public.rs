//! Public tools on the same images. What is not installed is named, with its remedy.

use super::{Figures, Mode, Outcome};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A public tool with its settings.
pub struct Tool {
    /// As in the table.
    pub name: &'static str,
    /// What a decoder keeps in RAM besides a few hundred bytes.
    pub ram: &'static str,
    pub mode: Mode,
    run: Run,
}

enum Run {
    /// A name in `public.py`.
    Python(&'static str),
    /// A program, arguments to make and to apply. `{old}`, `{new}`, `{patch}`
    /// and `{out}` are files.
    Program(
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    ),
}

const fn python(name: &'static str, key: &'static str, mode: Mode, ram: &'static str) -> Tool {
    Tool {
        name,
        ram,
        mode,
        run: Run::Python(key),
    }
}

const fn xz(name: &'static str, make: &'static [&'static str]) -> Tool {
    Tool {
        name,
        ram: "65 MiB",
        mode: Mode::Full,
        run: Run::Program("xz", make, &["-dc", "{patch}"]),
    }
}

const HOST: &str = "megabytes";

/// All of them, the columns' order.
pub const TOOLS: &[Tool] = &[
    xz("xz -9e", &["-9e", "-c", "{new}"]),
    xz(
        "xz -9e, ARM filter",
        &["-c", "--arm", "--lzma2=preset=9e", "{new}"],
    ),
    xz(
        "xz -9e, Thumb filter",
        &["-c", "--armthumb", "--lzma2=preset=9e", "{new}"],
    ),
    python("bsdiff4", "bsdiff4", Mode::Apart, "3 x 3.6 MiB"),
    Tool {
        name: "xdelta3 -9 -S lzma",
        ram: HOST,
        mode: Mode::Apart,
        run: Run::Program(
            "xdelta3",
            &["-e", "-9", "-S", "lzma", "-c", "-s", "{old}", "{new}"],
            &["-d", "-c", "-s", "{old}", "{patch}"],
        ),
    },
    Tool {
        name: "zstd -22 --patch-from",
        ram: HOST,
        mode: Mode::Apart,
        run: Run::Program(
            "zstd",
            &["-q", "--ultra", "-22", "--patch-from={old}", "-c", "{new}"],
            &["-q", "-d", "--patch-from={old}", "-c", "{patch}"],
        ),
    },
    python("detools", "detools", Mode::Apart, "8 MiB"),
    python(
        "detools, arm-cortex-m4",
        "detools-arm-cortex-m4",
        Mode::Apart,
        "8 MiB + lists",
    ),
    python(
        "detools, aarch64",
        "detools-aarch64",
        Mode::Apart,
        "8 MiB + lists",
    ),
    python(
        "detools, xtensa-lx106",
        "detools-xtensa-lx106",
        Mode::Apart,
        "8 MiB + lists",
    ),
    python(
        "detools, hdiffpatch",
        "detools-hdiffpatch",
        Mode::Apart,
        "8 MiB",
    ),
    python(
        "detools, heatshrink 11/7",
        "detools-heatshrink",
        Mode::Apart,
        "2 KiB window",
    ),
    python(
        "HDiffPatch, LZMA2 1 MiB",
        "hdiffpatch",
        Mode::Apart,
        "4 x 1 MiB dict",
    ),
    python(
        "HPatchLite, LZMA 32 KiB",
        "hpatchlite-lzma-32k",
        Mode::Apart,
        "32 KiB dict + 16",
    ),
    python(
        "HPatchLite, LZMA 16 KiB",
        "hpatchlite-lzma-16k",
        Mode::Apart,
        "16 KiB dict + 16",
    ),
    python(
        "HPatchLite, tuz 32 KiB",
        "hpatchlite-tuz-32k",
        Mode::Apart,
        "32 KiB dict",
    ),
    python(
        "HPatchLite, tuz 8 KiB",
        "hpatchlite-tuz-8k",
        Mode::Apart,
        "8 KiB dict",
    ),
    python(
        "detools in-place, 64 KiB",
        "detools-in-place",
        Mode::InPlace,
        "8 MiB",
    ),
];

const SCRIPT: &str = include_str!("public.py");

/// Where the tools write, and how long they may take.
pub struct Bench {
    dir: tempfile::TempDir,
    python: PathBuf,
    me: PathBuf,
    limit: Duration,
}

impl Bench {
    /// Python is that of `cargo xtask setup`, unless `UOTA_PYTHON` names another.
    pub fn new(limit: Duration) -> Result<Self> {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let python = match std::env::var_os("UOTA_PYTHON") {
            Some(path) => path.into(),
            None => std::path::absolute(target)?.join("venv/bin/python"),
        };
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("public.py"), SCRIPT)?;
        // A copy: a build in the meantime replaces the original.
        let me = dir.path().join("bench");
        std::fs::copy(std::env::current_exe()?, &me)?;
        Ok(Self {
            dir,
            python,
            me,
            limit,
        })
    }

    /// This program.
    pub fn me(&self) -> &Path {
        &self.me
    }

    /// What is not installed, and the remedy of each.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (program, package) in [("xz", "xz-utils"), ("xdelta3", "xdelta3"), ("zstd", "zstd")] {
            // Each of them knows -V; what matters is that it starts.
            if Command::new(program).arg("-V").output().is_err() {
                missing.push(format!("{program}: apt-get install {package}"));
            }
        }
        for module in ["bsdiff4", "detools", "hdiffpatch"] {
            let found = Command::new(&self.python)
                .args(["-c", &format!("import {module}")])
                .output();
            if !found.is_ok_and(|o| o.status.success()) {
                let venv = self.python.display();
                missing.push(format!(
                    "{module} for {venv}: cargo xtask setup --yes, or {venv} -m pip install {module}"
                ));
            }
        }
        missing
    }

    /// Makes and applies a patch with a public tool.
    pub fn run(&self, tool: &Tool, old: &Path, new: &Path) -> Result<Outcome> {
        match tool.run {
            Run::Python(key) => {
                let script = self.dir.path().join("public.py");
                let args = [script.into(), key.into(), old.into(), new.into()];
                self.figures(&self.python, &args)
            }
            Run::Program(program, make, apply) => self.program(program, make, apply, old, new),
        }
    }

    /// Runs something that prints figures as JSON.
    pub fn figures(&self, program: &Path, args: &[OsString]) -> Result<Outcome> {
        let Some(done) = self.within_limit(Command::new(program).args(args))? else {
            return Ok(Outcome::NotInstalled);
        };
        let Some(done) = done else {
            return Ok(Outcome::Stopped);
        };
        if done.status.code() == Some(3) {
            return Ok(Outcome::NotInstalled);
        }
        if !done.status.success() {
            return Ok(Outcome::Failed(last_line(&done.stderr)));
        }
        let figures = serde_json::from_slice(&done.stdout).context("figures")?;
        Ok(Outcome::Done(figures))
    }

    fn program(
        &self,
        program: &str,
        make: &[&str],
        apply: &[&str],
        old: &Path,
        new: &Path,
    ) -> Result<Outcome> {
        let patch = self.dir.path().join("patch");
        let run = |args: &[&str]| -> Result<_> {
            let mut command = Command::new(program);
            for arg in args {
                let mut text = OsString::new();
                match arg.split_once('{') {
                    Some((head, name)) => {
                        text.push(head);
                        text.push(match name {
                            "old}" => old,
                            "new}" => new,
                            "patch}" => &patch,
                            other => bail!("no file is called {other}"),
                        });
                    }
                    None => text.push(arg),
                }
                command.arg(text);
            }
            let start = Instant::now();
            Ok((self.within_limit(&mut command)?, start.elapsed()))
        };
        let (made, make) = match run(make)? {
            (None, _) => return Ok(Outcome::NotInstalled),
            (Some(None), _) => return Ok(Outcome::Stopped),
            (Some(Some(done)), time) => (done, time),
        };
        if !made.status.success() {
            return Ok(Outcome::Failed(last_line(&made.stderr)));
        }
        std::fs::write(&patch, &made.stdout)?;
        let (back, apply) = run(apply)?;
        let wanted = std::fs::read(new)?;
        if back.flatten().is_none_or(|o| o.stdout != wanted) {
            return Ok(Outcome::Failed("its own patch gives another image".into()));
        }
        Ok(Outcome::Done(Figures {
            bytes: made.stdout.len(),
            make: make.as_secs_f64(),
            apply: Some(apply.as_secs_f64()),
            encoder_kib: None,
            ram: None,
        }))
    }

    /// `None` if it cannot be started, `Some(None)` if it took too long.
    fn within_limit(&self, command: &mut Command) -> Result<Option<Option<Output>>> {
        // Into files: a full pipe would hold the tool up while it is waited for.
        let (out, err) = (
            self.dir.path().join("stdout"),
            self.dir.path().join("stderr"),
        );
        let spawned = command
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out)?)
            .stderr(std::fs::File::create(&err)?)
            .spawn();
        let Ok(mut child) = spawned else {
            return Ok(None);
        };
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > self.limit {
                child.kill()?;
                child.wait()?;
                return Ok(Some(None));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        };
        Ok(Some(Some(Output {
            status,
            stdout: std::fs::read(out)?,
            stderr: std::fs::read(err)?,
        })))
    }
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rfind(|l| !l.trim().is_empty());
    line.unwrap_or("no message").trim().to_owned()
}
