//! Programs we did not write.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::LIMIT;

/// A program: from `UOTA_NAME`, else on PATH or where Debian keeps servers.
///
/// # Panics
/// With the remedy when it is not there: these tests never skip.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(format!("UOTA_{}", name.to_uppercase())) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed; help: cargo xtask setup --yes"))
}

/// A port that is free now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A child process that does not outlive its test.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

/// Starts a server and waits until its port answers.
#[must_use]
pub fn serve(command: &mut Command, port: u16) -> Guard {
    let child = command.stdout(Stdio::null()).spawn().expect("started");
    let mut guard = Guard(child);
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = guard.0.try_wait().expect("its state");
        assert!(ended.is_none(), "the server ended: {ended:?}");
        assert!(start.elapsed() < LIMIT, "the server does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    guard
}

/// Runs a command that must succeed; its standard output.
pub fn run(command: &mut Command) -> Vec<u8> {
    let out = command.output().expect("started");
    assert!(out.status.success(), "{command:?}: {out:?}");
    out.stdout
}

/// Waits until `path` holds `text`.
pub fn wait_text(path: &Path, text: &str) -> String {
    let start = Instant::now();
    loop {
        let found = std::fs::read(path).unwrap_or_default();
        let found = String::from_utf8_lossy(&found).into_owned();
        if found.contains(text) {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "no `{text}` in:\n{found}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
