//! The programs tests and board builds need besides cargo, and their remedies.

use crate::sh::{Cmd, find, target_dir};
use crate::toolchain;
use anyhow::{Result, bail};
use std::path::PathBuf;

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const PEERS: &[Tool] = &[
    tool("mosquitto", "mosquitto", "MQTT broker we did not write"),
    tool(
        "mosquitto_pub",
        "mosquitto-clients",
        "publishes pushes by hand",
    ),
    tool("nginx", "nginx-light", "HTTP server we did not write"),
    tool("openssl", "openssl", "keys, signatures, certificates"),
    tool("python3", "python3", "Python peers"),
    tool("xz", "xz-utils", "LZMA2 streams we did not write"),
];

/// The emulated board is debugged with what one debugs a real one with.
const BOARD: &[Tool] = &[tool(
    "gdb-multiarch",
    "gdb-multiarch",
    "debugger that we did not write",
)];

/// Public delta tools that `bench delta` compares with; no test needs them.
const COMPARED: &[Tool] = &[
    tool("xdelta3", "xdelta3", "compared with in bench delta"),
    tool("zstd", "zstd", "compared with in bench delta"),
];

/// libFuzzer is C++.
const FUZZ: &[Tool] = &[tool("c++", "g++", "builds libFuzzer, for the fuzz targets")];

const fn tool(program: &'static str, package: &'static str, why: &'static str) -> Tool {
    Tool {
        program,
        package,
        why,
    }
}

/// Something that is not here, and how to get it.
pub struct Missing {
    what: String,
    packages: Vec<&'static str>,
    why: String,
}

/// Python of the virtual environment with the Python peers.
pub fn python() -> PathBuf {
    target_dir().join("venv/bin/python")
}

fn absent(tools: &[Tool]) -> Vec<Missing> {
    let absent = tools.iter().filter(|t| find(t.program).is_none());
    absent
        .map(|t| Missing {
            what: t.program.into(),
            packages: vec![t.package],
            why: t.why.into(),
        })
        .collect()
}

/// What fuzzing lacks.
pub fn missing_fuzz() -> Vec<Missing> {
    absent(FUZZ)
}

/// What the tests against real peers lack.
pub fn missing_peers() -> Vec<Missing> {
    let mut missing = absent(PEERS);
    missing.extend(missing_python());
    missing
}

fn missing_python() -> Option<Missing> {
    let why = python_peers_ready().err()?;
    Some(Missing {
        what: "Python peers".into(),
        packages: vec!["python3-venv"],
        why,
    })
}

/// What board builds and their tests lack: the emulated board speaks to real
/// servers, too.
pub fn missing_board() -> Vec<Missing> {
    let mut missing = absent(PEERS);
    missing.extend(absent(BOARD));
    if let Err(e) = toolchain::Board::find() {
        missing.push(Missing {
            what: "board toolchain".into(),
            packages: toolchain::PACKAGES.to_vec(),
            why: e.to_string(),
        });
    }
    // One test compares images with what a Python program makes.
    missing.extend(missing_python());
    missing
}

/// Fails with a list of what is missing, unless it may and can install it.
pub fn require(missing: impl Fn() -> Vec<Missing>) -> Result<()> {
    let list = missing();
    if list.is_empty() {
        return Ok(());
    }
    if may_install() {
        install(&list)?;
    }
    let left = missing();
    if left.is_empty() {
        return Ok(());
    }
    report(&left);
    bail!("tools are missing (see above); `cargo xtask setup --yes` installs them");
}

/// `cargo xtask setup`.
pub fn setup(yes: bool) -> Result<()> {
    let all = || {
        let mut list = missing_board();
        // Python stands in both lists.
        let peers = missing_peers();
        list.retain(|m| peers.iter().all(|p| p.what != m.what));
        list.extend(peers);
        list.extend(missing_fuzz());
        list.extend(absent(COMPARED));
        list
    };
    let list = all();
    if list.is_empty() {
        println!("everything is here: peers, board toolchain, C++ for fuzzing, delta tools");
        return Ok(());
    }
    report(&list);
    if !yes {
        println!("\n`cargo xtask setup --yes` installs them.");
        return Ok(());
    }
    if !may_install() {
        bail!("can install only as root on Debian or Ubuntu; install the above by hand");
    }
    install(&list)?;
    let left = all();
    if !left.is_empty() {
        report(&left);
        bail!("still missing after the installation");
    }
    println!("everything is here now");
    Ok(())
}

fn report(list: &[Missing]) {
    for m in list {
        eprintln!("missing: {} ({})", m.what, m.why);
        eprintln!("   help: apt-get install {}", m.packages.join(" "));
    }
}

/// Installing is for root on a Debian machine, or CI.
fn may_install() -> bool {
    let root = Cmd::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.trim() == "0");
    let ci = std::env::var("CI").is_ok_and(|v| v == "true");
    find("apt-get").is_some() && (root || ci)
}

fn install(list: &[Missing]) -> Result<()> {
    let packages: Vec<_> = list
        .iter()
        .flat_map(|m| m.packages.iter().copied())
        .collect();
    println!("installing: {}", packages.join(" "));
    Cmd::new("apt-get").args(["update", "-qq"]).run()?;
    Cmd::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()?;
    if python_peers_ready().is_err() {
        install_python_peers()?;
    }
    Ok(())
}

const REQUIREMENTS: &str = "tests/python/requirements.txt";

/// The environment is right when it was made from today's requirements.
fn python_peers_ready() -> Result<(), String> {
    let wanted =
        std::fs::read_to_string(REQUIREMENTS).map_err(|e| format!("{REQUIREMENTS}: {e}"))?;
    let made = std::fs::read_to_string(stamp()).unwrap_or_default();
    if python().is_file() && made == wanted {
        Ok(())
    } else {
        Err(format!("virtual environment with {REQUIREMENTS}"))
    }
}

fn stamp() -> PathBuf {
    target_dir().join("venv/requirements.stamp")
}

fn install_python_peers() -> Result<()> {
    let venv = target_dir().join("venv");
    Cmd::new("python3").args(["-m", "venv"]).arg(&venv).run()?;
    Cmd::new(python())
        .args(["-m", "pip", "install", "--quiet", "-r", REQUIREMENTS])
        .run()?;
    std::fs::copy(REQUIREMENTS, stamp())?;
    Ok(())
}
