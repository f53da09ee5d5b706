//! The compiler for `armv4t-none-eabi`: a tier-3 target, so `core` is built from
//! source, which needs a compiler whose sources are at hand.

use crate::sh::{Cmd, find, root, target_dir};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The board's target triple.
pub const TARGET: &str = "armv4t-none-eabi";

/// Feature of `core` with `memcpy` and its like.
const MEMORY: &str = "compiler-builtins-mem";

/// The same core in Thumb state, for programs where size comes first.
pub const THUMB: &str = "thumbv4t-none-eabi";

/// Debian's packages that make a board toolchain.
pub const PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "lld",
    "binutils-arm-none-eabi",
];

/// A compiler that can build for the board.
pub struct Board {
    cargo: PathBuf,
    rustc: PathBuf,
    /// A stable compiler takes `-Z` only when told that it may.
    bootstrap: bool,
    /// Linker program.
    lld: PathBuf,
}

impl Board {
    /// A nightly toolchain of rustup with `rust-src`, else Debian's.
    pub fn find() -> Result<Self> {
        let lld = find("ld.lld").or_else(|| find("rust-lld"));
        let Some(lld) = lld else {
            bail!("no ld.lld on PATH");
        };
        if let Some((cargo, rustc)) = nightly_with_source() {
            return Ok(Self {
                cargo,
                rustc,
                bootstrap: false,
                lld,
            });
        }
        let (cargo, rustc) = (Path::new("/usr/bin/cargo"), Path::new("/usr/bin/rustc"));
        if cargo.is_file() && rustc.is_file() && has_source(rustc) {
            return Ok(Self {
                cargo: cargo.into(),
                rustc: rustc.into(),
                bootstrap: true,
                lld,
            });
        }
        bail!(
            "no nightly toolchain with rust-src (`rustup component add rust-src --toolchain nightly`), and not Debian's rustc-web with rust-web-src"
        )
    }

    /// The compiler's own word on its version.
    pub fn version(&self) -> Result<String> {
        Ok(Cmd::new(&self.rustc)
            .arg("--version")
            .output()?
            .trim()
            .to_string())
    }

    /// Where board builds go.
    pub fn dir(&self) -> PathBuf {
        target_dir().join("board")
    }

    /// `cargo SUBCOMMAND ... --target armv4t-none-eabi`, with `core` from source.
    pub fn cargo(&self, subcommand: &str) -> Cmd {
        // Code size: small functions only are copied to their callers, and no
        // text of `{:?}` that nobody reads.
        let flags = ["-Cllvm-args=-inline-threshold=24", "-Zfmt-debug=none"];
        let flags = flags.map(str::to_string);
        self.cargo_for(TARGET, &self.lld, subcommand, &flags)
            .arg(format!("-Zbuild-std-features={MEMORY}"))
    }

    /// The same for [`THUMB`]. Calls between Thumb and ARM code need a linker
    /// that knows a core without BLX; Debian's lld 14 is none, rustup's is one.
    /// `own_memory`: the program brings `hal_mk3060::memory_functions`.
    pub fn cargo_thumb(&self, subcommand: &str, own_memory: bool) -> Result<Cmd> {
        let lld = rust_lld()?;
        // Measured on the loader, each by itself and together.
        let flags = [
            // Small functions only: a copy of a larger one costs more than its call.
            "-inline-threshold=32",
            "-inline-call-penalty=35",
            // Pointers stepped through a loop cost registers, of which there are few.
            "-disable-lsr",
            // The same instructions in both arms of a branch stand once.
            "-sink-common-insts",
            "-hoist-common-insts",
            "-two-entry-phi-node-folding-threshold=1",
        ];
        let mut flags = flags.map(|flag| format!("-Cllvm-args={flag}")).to_vec();
        // No text of `{:?}` that nobody reads.
        flags.push("-Zfmt-debug=none".into());
        let spec = self.thumb_spec()?;
        Ok(self
            .cargo_for(&spec, &lld, subcommand, &flags)
            .arg("-Zjson-target-spec")
            .arg(format!(
                "-Zbuild-std-features={}",
                if own_memory { "" } else { MEMORY }
            ))
            .args(["--config", "profile.board.opt-level=\"z\""]))
    }

    /// The compiler's own description of [`THUMB`], but for one line: it keeps a frame
    /// pointer in every function, which takes one of the eight registers that most
    /// Thumb instructions reach (3 % of the loader's bytes), and no flag takes that
    /// back. The file has the target's name, so that cargo and build scripts see
    /// that one.
    fn thumb_spec(&self) -> Result<String> {
        const ALWAYS: &str = "\"frame-pointer\": \"always\"";
        let spec = Cmd::new(&self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["-Zunstable-options", "--print", "target-spec-json"])
            .args(["--target", THUMB])
            .output()?;
        if !spec.contains(ALWAYS) {
            bail!("{THUMB}: the compiler's description has no {ALWAYS}");
        }
        let path = self.dir().join("spec").join(format!("{THUMB}.json"));
        let spec = spec.replace(ALWAYS, "\"frame-pointer\": \"may-omit\"");
        // Not touched when it is right: what was built with it stays built.
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&spec) {
            std::fs::create_dir_all(self.dir().join("spec"))?;
            std::fs::write(&path, &spec).with_context(|| path.display().to_string())?;
        }
        Ok(path.display().to_string())
    }

    /// Arguments of the linker are no flags of these: what differs from program to
    /// program would have all libraries built again (`cargo rustc ... -- -Clink-arg=`).
    fn cargo_for(&self, target: &str, lld: &Path, subcommand: &str, more: &[String]) -> Cmd {
        let mut flags = vec![
            "--cfg=portable_atomic_unsafe_assume_single_core".to_string(),
            // Sign-on's HMAC takes a few blocks; firmware goes through ota-verify.
            "--cfg=sha2_backend_soft=\"compact\"".into(),
            format!("-Clinker={}", lld.display()),
            "-Clinker-flavor=ld.lld".into(),
            // No path of this machine in an image.
            format!("--remap-path-prefix={}=.", root().display()),
        ];
        if let Some(home) = cargo_home() {
            let sources = home.join("registry/src");
            flags.push(format!("--remap-path-prefix={}=deps", sources.display()));
        }
        if let Ok(sysroot) = Cmd::new(&self.rustc).args(["--print", "sysroot"]).output() {
            let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
            flags.push(format!("--remap-path-prefix={}=rust", library.display()));
        }
        flags.extend_from_slice(more);
        let mut cmd = Cmd::new(&self.cargo)
            // A `cargo run` by rustup hands down its own toolchain.
            .without(&["RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS", "RUSTDOCFLAGS"])
            .arg(subcommand)
            .arg("-Zbuild-std=core")
            .args(["--target", target])
            .env("RUSTC", &self.rustc)
            .env("CARGO_TARGET_DIR", self.dir())
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        if self.bootstrap {
            cmd = cmd.env("RUSTC_BOOTSTRAP", "1");
        }
        cmd
    }
}

fn cargo_home() -> Option<PathBuf> {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// The linker that comes with the Rust toolchain this task was built with.
fn rust_lld() -> Result<PathBuf> {
    let output = |args: &[&str]| Cmd::new("rustc").args(args).output();
    let sysroot = output(&["--print", "sysroot"])?;
    let host = output(&["--print", "host-tuple"])?;
    let lld = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(host.trim())
        .join("bin/rust-lld");
    if !lld.is_file() {
        bail!("no rust-lld in the Rust toolchain on PATH (rustup's toolchains have one)");
    }
    Ok(lld)
}

/// rustup's nightly, if it really is one and has the sources.
fn nightly_with_source() -> Option<(PathBuf, PathBuf)> {
    let which = |program: &str| {
        let out = Cmd::new("rustup")
            .args(["which", "--toolchain", "nightly", program])
            .output()
            .ok()?;
        Some(PathBuf::from(out.trim()))
    };
    find("rustup")?;
    let (cargo, rustc) = (which("cargo")?, which("rustc")?);
    let version = Cmd::new(&rustc).arg("--version").output().ok()?;
    (version.contains("nightly") && has_source(&rustc)).then_some((cargo, rustc))
}

fn has_source(rustc: &Path) -> bool {
    Cmd::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .is_ok_and(|sysroot| {
            Path::new(sysroot.trim())
                .join("lib/rustlib/src/rust/library/core/src/lib.rs")
                .is_file()
        })
}
