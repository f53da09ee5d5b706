//! The board's images: built, packed, measured, and run on the emulated board.

use crate::sh::{Cmd, root, target_dir};
use crate::toolchain::{Board, TARGET, THUMB};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Largest loader, plain bytes: what lies between its start and the journal.
pub const LOADER_MAX: u64 = 0x6700;

/// Arguments of `board build`.
#[derive(clap::Args)]
pub struct Build {
    /// Version of the application
    #[arg(long, default_value = "app-1.0.0")]
    version: String,
    /// Public key (PEM, DER or AliOS header) that loader and application demand of images, the
    /// application of packages too
    #[arg(long)]
    key: Vec<PathBuf>,
    /// Private key (PEM) that signs the image
    #[arg(long)]
    sign: Option<PathBuf>,
    /// Also build the program that `ota demo --board mk3060` updates to
    #[arg(long)]
    demo: bool,
    /// Where the files go [default: target/images of the workspace]
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// A program for the board.
#[derive(Clone, Copy)]
pub struct Program {
    package: &'static str,
    /// Name of a binary or example.
    name: &'static str,
    example: bool,
    /// Name of the plain image, without `.bin`.
    file: &'static str,
    /// Features instead of the default ones.
    features: Option<&'static str>,
    /// Linker script in `hal-mk3060/ld`.
    script: &'static str,
    thumb: bool,
}

/// The loader.
pub const BOOT2: Program = Program {
    package: "boot2",
    name: "boot2",
    example: false,
    file: "boot2",
    features: None,
    script: "loader.x",
    thumb: true,
};
/// A loader that applies no patches, for tests.
const BOOT2_SWAP: Program = Program {
    file: "boot2-swap",
    features: Some("full-journal,console,floor,mailbox,md5"),
    ..BOOT2
};
const SELFTEST: Program = Program {
    package: "hal-mk3060",
    name: "selftest",
    example: true,
    file: "selftest",
    features: None,
    script: "app.x",
    thumb: false,
};
/// The application.
pub const OTAAPP: Program = Program {
    package: "otaapp",
    name: "otaapp",
    example: false,
    file: "otaapp",
    features: None,
    script: "app.x",
    thumb: true,
};
/// What demos and tests update to.
const OTAAPP_2: Program = Program {
    file: "otaapp-2",
    features: Some("version-2"),
    ..OTAAPP
};
const TINYAPP: Program = Program {
    package: "boot2",
    name: "tinyapp",
    example: true,
    file: "tinyapp",
    features: None,
    script: "app.x",
    thumb: false,
};

/// Measures the ptr decoder.
const PTRAPPLY: Program = Program {
    name: "ptrapply",
    file: "ptrapply",
    ..TINYAPP
};
/// [`TINYAPP`] with all its code elsewhere.
const TINYAPP2: Program = Program {
    file: "tinyapp2",
    features: Some("shifted"),
    ..TINYAPP
};
/// The loader that demands signatures; it is built with [`TEST_KEY`].
const BOOT2_SIGNED: Program = Program {
    file: "boot2-signed",
    ..BOOT2
};
/// The smallest loaders: digests only, and with [`TEST_KEY`] signatures only.
const BOOT2_HASH: Program = Program {
    file: "boot2-hash",
    features: Some(""),
    ..BOOT2
};
const BOOT2_KEY: Program = Program {
    file: "boot2-key",
    ..BOOT2_HASH
};
/// The public half of a key pair that the tests of `ota-verify` sign with.
const TEST_KEY: &str = "crates/ota-verify/tests/vectors/rsa-2048.spki.pem";
/// A loader that can panic.
const PANICS: Program = Program {
    file: "panics",
    features: Some("full-journal,console,mailbox,planted-panic"),
    ..BOOT2
};

impl Program {
    /// The same with these features instead of the default ones.
    pub const fn with(mut self, features: &'static str) -> Self {
        self.features = Some(features);
        self
    }

    /// The command that builds it.
    fn command(&self, board: &Board, keys: &[PathBuf]) -> Result<Cmd> {
        let scripts = root().join("crates/hal-mk3060/ld");
        let cargo = if self.thumb {
            board.cargo_thumb("rustc", self.package == "boot2")?
        } else {
            board.cargo("rustc")
        };
        let kind = if self.example { "--example" } else { "--bin" };
        let cargo = match self.features {
            Some(features) => cargo.args(["--no-default-features", "--features", features]),
            None => cargo,
        };
        // Patches are applied by what downloads them, and that takes a while; in the
        // loader bytes count.
        let cargo = if self.name == BOOT2.name {
            cargo
        } else {
            cargo.args(["--config", "profile.board.package.ota-delta.opt-level=3"])
        };
        Ok(cargo
            .args(["--profile", "board", "-p", self.package, kind, self.name])
            .arg("--")
            .arg(format!("-Clink-arg=-T{}", self.script))
            .arg(format!("-Clink-arg=-L{}", scripts.display()))
            .env("UOTA_BOOT_KEYS", std::env::join_paths(keys)?))
    }

    /// Builds it; the linked file.
    pub fn build(&self, board: &Board, keys: &[PathBuf]) -> Result<PathBuf> {
        self.command(board, keys)?.run()?;
        let target = if self.thumb { THUMB } else { TARGET };
        let mut elf = board.dir().join(target).join("board");
        if self.example {
            elf.push("examples");
        }
        elf.push(self.name);
        check_instructions(&elf)?;
        Ok(elf)
    }

    /// Builds it and writes the plain bytes to `dir`.
    fn binary(&self, board: &Board, keys: &[PathBuf], dir: &Path) -> Result<PathBuf> {
        let elf = self.build(board, keys)?;
        let binary = dir.join(format!("{}.bin", self.file));
        Cmd::new("arm-none-eabi-objcopy")
            .args(["-O", "binary"])
            .arg(&elf)
            .arg(&binary)
            .run()?;
        // Where its functions are, for tests that count instructions.
        let symbols = Cmd::new("arm-none-eabi-nm")
            .args(["--demangle", "--print-size"])
            .arg(&elf)
            .output()?;
        std::fs::write(binary.with_extension("sym"), symbols)?;
        // With symbols, for a debugger.
        std::fs::copy(&elf, dir.join(format!("{}.elf", self.file)))?;
        Ok(binary)
    }
}

/// The core has no BLX: a linker that puts one in makes an image that fails.
fn check_instructions(elf: &Path) -> Result<()> {
    let code = Cmd::new("arm-none-eabi-objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(elf)
        .output()?;
    let blx = code
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some("blx"));
    match blx {
        Some(line) => bail!("{}: ARMv4T has no BLX: {}", elf.display(), line.trim()),
        None => Ok(()),
    }
}

impl Build {
    /// Builds and packs; arguments name files as seen from `here`.
    pub fn run(self, here: &Path) -> Result<()> {
        let board = Board::find()?;
        let out = match &self.out {
            Some(out) => here.join(out),
            None => root().join("target/images"),
        };
        std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        let keys = self
            .key
            .iter()
            .map(|key| {
                let path = here.join(key).canonicalize();
                path.with_context(|| key.display().to_string())
            })
            .collect::<Result<Vec<_>>>()?;
        let loader = BOOT2.binary(&board, &keys, &out)?;
        let len = std::fs::metadata(&loader)?.len();
        println!("boot2.bin: {len} bytes of {LOADER_MAX}");
        let app = APP.binary(&board, &keys, &out)?;
        if self.demo {
            OTAAPP_2.binary(&board, &keys, &out)?;
        }
        let name = |suffix: &str| out.join(format!("{}@mk3060{suffix}", APP.name));
        let (image, whole) = (name(".ota.md5.bin"), name(".bin"));
        let mut pack = ota()
            .args(["image", "pack", "--force", "--board", "mk3060"])
            .args(["--image-version", &self.version])
            .arg("-o")
            .arg(&image)
            .arg(&app);
        if let Some(key) = &self.sign {
            pack = pack.arg("--sign").arg(here.join(key));
        }
        pack.run()?;
        // The same without the trailer, as the original build leaves it too.
        let bytes = std::fs::read(&image)?;
        let bare = bytes.len().saturating_sub(28);
        std::fs::write(name(".ota.bin"), bytes.get(..bare).unwrap_or(&[]))?;
        ota()
            .args(["image", "merge", "--force", "--board", "mk3060"])
            .arg("--boot")
            .arg(&loader)
            .arg("--app")
            .arg(&image)
            .arg("-o")
            .arg(&whole)
            .run()?;
        println!("app_version: {}", self.version);
        Ok(())
    }
}

/// The application that `board build` packs.
const APP: Program = OTAAPP;

fn ota() -> Cmd {
    Cmd::cargo(["run", "--quiet", "-p", "ota-cli", "--"])
}

/// Builds the images of `ota demo --board mk3060`, if that is what `args` ask
/// for; the arguments that name them.
pub fn demo(args: &[String]) -> Result<Vec<PathBuf>> {
    let value = |name: &str| {
        let at = args.iter().position(|a| a.starts_with(name))?;
        let inline = args.get(at)?.strip_prefix(name)?.strip_prefix('=');
        inline.or(args.get(at + 1).map(String::as_str))
    };
    let asks = |flags: &[&str]| args.iter().any(|a| flags.contains(&a.as_str()));
    if value("--board") != Some("mk3060") || value("--images").is_some() || asks(&["-h", "--help"])
    {
        return Ok(Vec::new());
    }
    let secure = value("--mode") == Some("secure");
    let name = if secure { "secure" } else { "plain" };
    let dir = target_dir().join("demo-mk3060").join(name);
    let (board, mut keys) = (Board::find()?, Vec::new());
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let mut more = vec!["--images".into(), dir.clone()];
    if secure {
        keys.push(cloud_key(&dir)?);
        more.extend(["--cloud".into(), dir.join("cloud")]);
    }
    for program in [BOOT2, OTAAPP, OTAAPP_2] {
        program.binary(&board, &keys, &dir)?;
    }
    Ok(more)
}

/// A development cloud in `dir` that has made a key pair for the product of
/// demos and tests; its public key, as one copies it into a device's source.
fn cloud_key(dir: &Path) -> Result<PathBuf> {
    const PRODUCT: &str = "a1Demo";
    let header = dir.join("ota_public_key_config.h");
    if header.is_file() {
        return Ok(header);
    }
    let data = dir.join("cloud");
    // What an interrupted run has left.
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| data.display().to_string())?;
    }
    let cloud = |args: &[&str]| ota().args(["cloud", "--data"]).arg(&data).args(args);
    cloud(&["product", "create", PRODUCT]).run()?;
    cloud(&["product", "secure-upgrade", PRODUCT, "on"]).run()?;
    cloud(&["product", "pubkey", PRODUCT, "-o"])
        .arg(&header)
        .run()?;
    Ok(header)
}

/// Builds the images that the tests on the emulated board run; where they are.
pub fn for_tests() -> Result<PathBuf> {
    let board = Board::find()?;
    let dir = target_dir().join("test-images");
    let secure = dir.join("secure");
    std::fs::create_dir_all(&secure).with_context(|| secure.display().to_string())?;
    for signed in [BOOT2_SIGNED, BOOT2_KEY] {
        signed.binary(&board, &[root().join(TEST_KEY)], &dir)?;
    }
    for program in [
        BOOT2, BOOT2_SWAP, BOOT2_HASH, SELFTEST, TINYAPP2, TINYAPP, PTRAPPLY, OTAAPP, OTAAPP_2,
    ] {
        program.binary(&board, &[], &dir)?;
    }
    let keys = [cloud_key(&secure)?];
    for program in [BOOT2, OTAAPP] {
        program.binary(&board, &keys, &secure)?;
    }
    Ok(dir)
}

/// Builds the images and runs the tests that need them.
pub fn test() -> Result<()> {
    planted_panic()?;
    let dir = for_tests()?;
    Cmd::cargo(["test", "-p", "mk3060-sim", "-p", "board-tests"])
        .args(["--features", "mk3060-sim/images,board-tests/images"])
        .env("UOTA_BOARD_IMAGES", &dir)
        .env("UOTA_PYTHON", tools::python())
        .run()
}

/// A loader with a panic that can be reached must not link, and the reason must
/// be the symbol that nothing defines.
pub fn planted_panic() -> Result<()> {
    let board = Board::find()?;
    let text = PANICS.command(&board, &[])?.failure()?;
    if !text.contains("boot2_can_panic") {
        bail!("a planted panic fails the build for another reason:\n{text}");
    }
    println!("boot2 with a planted panic: the link fails (undefined symbol boot2_can_panic)");
    Ok(())
}

/// Power cuts or counts of the shipped images on the emulated board.
pub fn report(args: &[String]) -> Result<()> {
    let dir = for_tests()?;
    // Built apart, so that the run shows only its own words.
    let report = ["--release", "-p", "board-tests", "--bin", "board-report"];
    Cmd::cargo(["build"]).args(report).run()?;
    Cmd::cargo(["run", "--quiet"])
        .args(report)
        .arg("--")
        .args(args)
        .env("UOTA_BOARD_IMAGES", &dir)
        .run()
}
