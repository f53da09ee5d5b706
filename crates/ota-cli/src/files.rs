//! Files as arguments: `-` is stdin or stdout, and nothing is overwritten unasked.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::{Failure, Outcome};

/// Where a command writes to.
#[derive(Debug, Args)]
pub struct Output {
    /// File to write (- for standard output)
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Overwrite the output file
    #[arg(long)]
    pub force: bool,
}

impl Output {
    /// Whether the output is standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        is_dash(&self.output)
    }

    /// Writes all of `bytes`, or nothing: the file appears under its name only
    /// when it is complete.
    ///
    /// # Errors
    /// When the file exists and `--force` was not given, or writing fails.
    pub fn write(&self, bytes: &[u8]) -> Outcome {
        if self.is_stdout() {
            let mut out = std::io::stdout().lock();
            return out
                .write_all(bytes)
                .and_then(|()| out.flush())
                .map_err(|e| Failure::new(format!("cannot write: {e}")).at("standard output"));
        }
        write(&self.output, bytes, self.force, Access::Everyone)
    }
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// As the user's file mask says.
    Everyone,
    /// The user only.
    Owner,
}

/// As [`Output::write`], for a file that is not named by `-o`.
pub fn write(path: &Path, bytes: &[u8], force: bool, access: Access) -> Outcome {
    let failed =
        |e: &dyn std::fmt::Display| Failure::new(format!("cannot write: {e}")).at(path.display());
    // A device or a pipe is written to; it is not replaced by a file.
    if fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return fs::write(path, bytes).map_err(|e| failed(&e));
    }
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ota-");
    #[cfg(unix)]
    if access == Access::Everyone {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = access;
    let mut file = builder.tempfile_in(dir).map_err(|e| failed(&e))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|e| failed(&e))?;
    let done = if force {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    match done {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Failure::new("the output file exists")
                .at(path.display())
                .help("overwrite it with --force"))
        }
        Err(e) => Err(failed(&e.error)),
    }
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When reading fails.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    if is_dash(path) {
        let mut bytes = Vec::new();
        return match std::io::stdin().lock().read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(Failure::new(format!("cannot read: {e}")).at("standard input")),
        };
    }
    fs::read(path).map_err(|e| Failure::new(format!("cannot read: {e}")).at(path.display()))
}

/// Reads a text file, or standard input for `-`.
///
/// # Errors
/// When reading fails or the content is not UTF-8.
pub fn read_text(path: &Path) -> Outcome<String> {
    String::from_utf8(read(path)?).map_err(|_| Failure::new("not a text file").at(path.display()))
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}
