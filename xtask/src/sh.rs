//! Running programs, with what was run in the error.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A file of this name on PATH, or under the administrator's folders (Debian
/// keeps servers such as nginx there, and a user's PATH often lacks them).
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A command that is printed before it runs.
pub struct Cmd(Command);

impl Cmd {
    /// A program by name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut cmd = Command::new(program);
        cmd.current_dir(root());
        Self(cmd)
    }

    /// The cargo that runs this task.
    pub fn cargo<const N: usize>(args: [&str; N]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self::new(cargo).args(args)
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Runs it there, not in the workspace's root.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Takes variables out of the environment.
    pub fn without(mut self, keys: &[&str]) -> Self {
        for key in keys {
            self.0.env_remove(key);
        }
        self
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words
            .map(|w| w.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs it and gives its exit code.
    pub fn status(mut self) -> Result<u8> {
        let status = self
            .0
            .status()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        Ok(status.code().map_or(1, |c| c as u8))
    }

    /// Prints and runs it; anything but success is an error.
    pub fn run(mut self) -> Result<()> {
        eprintln!("$ {}", self.line());
        let status = self
            .0
            .status()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.line());
        }
        Ok(())
    }

    /// Runs it silently; its standard output.
    pub fn output(self) -> Result<String> {
        self.texts().map(|(out, _)| out)
    }

    /// Runs it silently; its standard error output.
    pub fn stderr(self) -> Result<String> {
        self.texts().map(|(_, err)| err)
    }

    /// Runs it silently; it must fail. What it says on the error output.
    pub fn failure(mut self) -> Result<String> {
        let out = self
            .0
            .output()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        if out.status.success() {
            bail!("`{}` succeeded, but must fail", self.line());
        }
        Ok(String::from_utf8_lossy(&out.stderr).into_owned())
    }

    fn texts(mut self) -> Result<(String, String)> {
        let out = self
            .0
            .output()
            .with_context(|| format!("cannot start `{}`", self.line()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let err = text(&out.stderr);
        if !out.status.success() {
            bail!("`{}` failed: {}\n{err}", self.line(), out.status);
        }
        Ok((text(&out.stdout), err))
    }
}
