//! `ota demo`: the whole path on one machine, and a look at what is left in flash.

mod board;
mod timeline;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ota_bootlib::Strategy;
use ota_cloud::{Cloud, Config, Event, EventKind, Format, Job, Mode, Server, Upload};
use ota_flash::sim::CutVariant;
use ota_verify::build::{self, BuildError, PackOptions, PrivateKey};
use ota_verify::{
    Coding, Digest, ImageKind, Module, Policy, Requirement, RsaPublicKey, Version, read_descriptor,
    sha256,
};
use otaapp::host::{self, Console, End, Identity, Options};

use crate::board::{Board, layout};
use crate::{Failure, Outcome, read};

const PK: &str = "a1Demo";
const DN: &str = "dev1";
const OLD: &str = "app-1.0.0";
const NEW: &str = "app-2.0.0";
/// Bytes of the program that is made up when none is given.
const PROGRAM: usize = 200 << 10;
const POLL: Duration = Duration::from_millis(25);
/// The longest that anything may take on this machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Starts a development cloud and a device with version 1, pushes version 2,
/// and checks what is in the device's flash and the cloud's database afterwards.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// The device
    #[arg(long, value_enum, default_value_t = Device::Host)]
    board: Device,
    /// Kind of update
    #[arg(long, value_enum, default_value_t = Kind::Full)]
    mode: Kind,
    /// Program of version 2: any bytes (for a board: what its linker made), or an image made
    /// with `ota image pack`
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Cut the device's power in flash operation N (a run without it prints how many there are)
    #[arg(long, value_name = "N")]
    cut: Option<u64>,
    /// Damage the firmware in the cloud: the device must refuse it
    #[arg(long)]
    corrupt: bool,
    /// Let version 2 fail its self-test: the device must go back to version 1
    #[arg(long, conflicts_with = "corrupt")]
    revert: bool,
    /// Keep flash file and cloud data in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Board: where `cargo xtask board build --demo` has put boot2.bin, otaapp.bin and otaapp-2.bin
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Begin with a copy of the data of this cloud, whose product a1Demo has the key that the
    /// board's images were built with
    #[arg(long, value_name = "DIR")]
    cloud: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// A process over a flash file
    Host,
    /// An emulated MK3060 that runs the board's images
    Mk3060,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The whole image
    Full,
    /// The difference to version 1; on a board the whole image first, then both formats of
    /// patches, to compare
    Diff,
    /// The whole image, signed; the device refuses anything unsigned
    Secure,
}

impl Demo {
    pub fn run(&self) -> Outcome {
        let temporary;
        let dir = match &self.keep {
            Some(dir) => {
                fs::create_dir_all(dir).map_err(|e| {
                    Failure::new(e)
                        .at(dir.display())
                        .help("name another directory")
                })?;
                dir.as_path()
            }
            None => {
                temporary = tempfile::tempdir()
                    .map_err(|e| Failure::new(format!("no temporary directory: {e}")))?;
                temporary.path()
            }
        };
        match self.board {
            Device::Host => self.host(dir),
            Device::Mk3060 => board::run(self, dir),
        }
    }

    fn host(&self, dir: &Path) -> Outcome {
        let (cloud, key) = start_cloud(self, Config::new(dir.join("cloud")))?;
        let device = cloud.device(PK, DN)?;
        let old = pack(&program(1), OLD, key.as_ref(), None)?;
        let new = self.new_image(key.as_ref())?;
        let flash = dir.join("device.flash");
        host::init(&flash, &old).map_err(device_error)?;
        say(&format!(
            "device: {DN} with {OLD}, flash file {}",
            flash.display()
        ));

        let identity = Identity {
            pk: device.pk,
            dn: device.dn,
            ds: device.ds,
            ps: device.ps,
        };
        let broker = cloud.mqtt_addr();
        let mut options = Options::new(&flash, identity, &broker.ip().to_string(), broker.port());
        options.once = true;
        options.cut = self.cut.map(|n| (n, CutVariant::Random { seed: n }));
        if self.mode == Kind::Diff {
            options.strategy = Strategy::PatchSwap;
        }
        if self.mode == Kind::Secure {
            options.policy = Policy {
                package_signature: Requirement::Required,
                image_signature: Requirement::Required,
                ..Policy::DEFAULT
            };
            let pem = cloud.public_key_pem(PK)?;
            options.keys = vec![RsaPublicKey::from_pem(&pem).map_err(Failure::new)?];
        }
        if self.revert {
            options.failing = Some(Version::new(&version_of(&new)?).map_err(Failure::new)?);
        }
        let running = switch_on(options);
        let result = self.update(&cloud, &running, &old, &new);
        let job = match result {
            Ok(job) => job,
            Err(failure) => {
                // Whatever went wrong: an image must be there, and whole.
                let slot = |len| host::read_slot(&flash, &host::ACTIVE, len).map_err(device_error);
                slot_state(&slot(old.len())?, &slot(new.len())?, [&old, &new]);
                return Err(failure);
            }
        };
        drop(cloud);
        let image = if self.revert { &old } else { &new };
        let slot = host::read_slot(&flash, &host::ACTIVE, image.len()).map_err(device_error)?;
        check(self, dir, &slot, &flash.display().to_string(), &job, image)
    }

    /// Version 2 as the device will have it in its slot.
    fn new_image(&self, key: Option<&PrivateKey>) -> Outcome<Vec<u8>> {
        match &self.image {
            None => pack(&program(2), NEW, key, None),
            Some(path) => self.given_image(path, key, None),
        }
    }

    /// Version 2 from a file.
    fn given_image(
        &self,
        path: &Path,
        key: Option<&PrivateKey>,
        board: Option<Board>,
    ) -> Outcome<Vec<u8>> {
        let bytes = read(path)?;
        let packed = match pack_options(&bytes, NEW, key, board) {
            // An image as it is uploaded: taken as it is, in secure mode with our signature.
            Err(BuildError::AlreadyPacked) => match key {
                None => Ok(bytes),
                Some(key) => build::sign_image(&bytes, key),
            },
            other => other,
        };
        let packed = packed.map_err(|e| Failure::new(e).at(path.display()))?;
        let room = board.map_or(host::MAX_IMAGE, Board::max_file);
        if packed.len() > room as usize {
            return Err(Failure::new(format!(
                "packed, the file has {} bytes; the slot takes {room}",
                packed.len(),
            ))
            .at(path.display())
            .help("give a smaller file"));
        }
        Ok(packed)
    }

    /// Uploads version 2 and pushes it to the device.
    fn push(
        &self,
        cloud: &Server,
        (mode, format): (Mode, Option<Format>),
        old: &[u8],
        new: &[u8],
    ) -> Outcome<Job> {
        let version = version_of(new)?;
        if version == OLD {
            return Err(Failure::new(format!("the device runs {OLD} already"))
                .help("pack the image with a higher --image-version"));
        }
        if mode == Mode::Diff {
            // The cloud makes the difference, so it must have both.
            cloud.upload(PK, &Upload::bytes("app-1.bin", old, OLD))?;
        }
        let firmware = cloud.upload(PK, &Upload::bytes("app-2.bin", new, &version))?;
        if self.corrupt {
            corrupt(cloud.dir())?;
        }
        let job = cloud.validate_as(firmware.id, mode, format, DN)?;
        say(&format!(
            "cloud: {version} uploaded, {} bytes, pushed to {DN}",
            firmware.size
        ));
        Ok(job)
    }

    /// From the device's first report to its last.
    fn update(&self, cloud: &Server, device: &Process, old: &[u8], new: &[u8]) -> Outcome<Job> {
        device.wait_for(|| Ok(cloud.device(PK, DN)?.version() == Some(OLD)))?;
        let version = version_of(new)?;
        let mode = match self.mode {
            Kind::Diff => Mode::Diff,
            Kind::Full | Kind::Secure => Mode::Full,
        };
        let job = self.push(cloud, (mode, None), old, new)?;
        let end = if self.revert {
            device.wait_failed().map(|()| None)
        } else {
            device.wait_end().map(Some)
        };
        say(&format!(
            "cloud: {} download requests answered",
            requests(cloud, job.id)?
        ));
        let Some(end) = end? else {
            // The cloud has heard why; what it noted is checked next.
            return Ok(cloud.job(job.id)?);
        };
        match end {
            End::Updated(confirmed) if confirmed.as_str() == version => {}
            End::Updated(other) => {
                return Err(Failure::new(format!(
                    "{other} was confirmed, not {version}"
                )));
            }
        }
        // The cloud has heard of it before the device confirmed.
        Ok(cloud.job(job.id)?)
    }
}

/// A cloud with a product and a device, and the key that signs images, if any.
fn start_cloud(demo: &Demo, config: Config) -> Outcome<(Server, Option<PrivateKey>)> {
    if let Some(from) = &demo.cloud {
        copy(from, &config.data)?;
    }
    let cloud = Cloud::start(config)?;
    if demo.cloud.is_none() {
        cloud.create_product(PK)?;
    }
    cloud.add_device(PK, DN)?;
    let key = match demo.mode {
        Kind::Secure => {
            cloud.set_secure_upgrade(PK, true)?;
            let pem = cloud.private_key_pem(PK)?;
            Some(PrivateKey::from_pem(&pem).map_err(Failure::new)?)
        }
        _ => None,
    };
    say(&format!(
        "cloud: devices sign on at {}, files at {}",
        cloud.mqtt_addr(),
        cloud.http_addr()
    ));
    Ok((cloud, key))
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Outcome {
    let failed = |e: std::io::Error| Failure::new(e).at(from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(failed)?;
        }
    }
    Ok(())
}

/// Download requests of a job that the cloud has answered.
fn requests(cloud: &Server, job: i64) -> Outcome<usize> {
    let events = cloud.job_events(job)?;
    let served = |e: &&Event| e.kind == EventKind::Download;
    Ok(events.iter().filter(served).count())
}

/// Whatever went wrong: an image must be there, and whole. The slot is given
/// twice, as long as either version.
fn slot_state(as_old: &[u8], as_new: &[u8], [old, new]: [&[u8]; 2]) {
    let state = if as_old == old {
        format!("unchanged, SHA-256 {}", hex(old))
    } else if as_new == new {
        format!("version 2, SHA-256 {}", hex(new))
    } else {
        "NEITHER VERSION".into()
    };
    say(&format!("active slot: {state}"));
}

/// What is left: the active slot, which is to hold `image`, and the row in the
/// database.
fn check(demo: &Demo, dir: &Path, slot: &[u8], place: &str, job: &Job, image: &[u8]) -> Outcome {
    let (found, wanted) = (hex(slot), hex(image));
    say(&format!("active slot SHA-256 {found}"));
    let file = if demo.revert { "old" } else { "packed" };
    say(&format!("{file} file SHA-256 {wanted}"));
    if found != wanted {
        return Err(Failure::new("the active slot differs from the file").at(place));
    }
    let stored = Cloud::open(dir.join("cloud"))?.job(job.id)?;
    if demo.revert {
        let told = stored.tasks.first().map_or("nothing", |t| t.desc.as_str());
        if stored.succeeded() || !told.starts_with("reverted") {
            return Err(Failure::new(format!("the cloud was told: {told}")));
        }
        line(&format!("{OLD} is back, cloud: {told}"));
        return Ok(());
    }
    if !stored.succeeded() {
        let states: Vec<_> = stored.tasks.iter().map(|t| t.state.to_string()).collect();
        return Err(Failure::new(format!(
            "the cloud's database says {}, not success",
            states.join(", ")
        )));
    }
    line(&format!("{} confirmed, cloud: success", stored.version));
    Ok(())
}

/// A device on a thread of its own.
struct Process {
    ended: Receiver<Result<End, host::Error>>,
    since: Instant,
}

fn switch_on(options: Options) -> Process {
    let (tx, ended) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            let end = runtime.block_on(host::run(&options, &mut Console::new()));
            // Nobody waits any more: the demo has failed already.
            let _ = tx.send(end);
        }
    });
    Process {
        ended,
        since: Instant::now(),
    }
}

impl Process {
    /// Its end, if it comes within `time`.
    fn end_within(&self, time: Duration) -> Outcome<Option<End>> {
        match self.ended.recv_timeout(time) {
            Ok(Ok(end)) => Ok(Some(end)),
            Ok(Err(e)) => Err(device_error(e)),
            Err(RecvTimeoutError::Timeout) if self.since.elapsed() < LIMIT => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(Failure::new("the device did not get there in time")
                    .help(format!("see {}", host::Topic::Tools)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Failure::new("the device's thread is gone")),
        }
    }

    /// Waits until the cloud says so.
    fn wait_for(&self, mut there: impl FnMut() -> Outcome<bool>) -> Outcome {
        while !there()? {
            if self.end_within(POLL)?.is_some() {
                return Err(Failure::new(
                    "the device ended before it was offered anything",
                ));
            }
        }
        Ok(())
    }

    /// Waits until the device has reported that the update failed.
    fn wait_failed(&self) -> Outcome {
        match self.ended.recv_timeout(LIMIT) {
            Ok(Err(host::Error::Update { .. })) => Ok(()),
            Ok(Err(e)) => Err(device_error(e)),
            Ok(Ok(End::Updated(v))) => Err(Failure::new(format!("{v} was confirmed"))),
            Err(_) => Err(Failure::new("the device did not get there in time")),
        }
    }

    fn wait_end(&self) -> Outcome<End> {
        loop {
            if let Some(end) = self.end_within(POLL)? {
                return Ok(end);
            }
        }
    }
}

fn device_error(e: host::Error) -> Failure {
    Failure::new(&e).help(e.help())
}

/// The demo goes on when nobody reads along: its exit status tells how it went.
fn say(text: &str) {
    line(&format!("== {text}"));
}

fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn hex(bytes: &[u8]) -> String {
    Digest::Sha256(sha256(bytes)).to_string()
}

/// A program that differs in a few places from one version to the next.
fn program(version: u32) -> Vec<u8> {
    let mut state = 0x1234_5678u32;
    let mut bytes = Vec::with_capacity(PROGRAM);
    while bytes.len() < PROGRAM {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Every 16 KiB a word that moves with the version.
        let moved = if bytes.len() % (16 << 10) < 4 {
            version
        } else {
            0
        };
        bytes.extend_from_slice(&(state ^ moved).to_le_bytes());
    }
    bytes
}

fn pack_options(
    program: &[u8],
    version: &str,
    key: Option<&PrivateKey>,
    board: Option<Board>,
) -> Result<Vec<u8>, BuildError> {
    let version = Version::new(version).map_err(BuildError::Version)?;
    let options = PackOptions {
        kind: ImageKind::App,
        layout: layout(board),
        version: Some(&version),
        module: Module::DEFAULT,
        key,
    };
    Ok(build::pack(program, &options)?.bytes)
}

fn pack(
    program: &[u8],
    version: &str,
    key: Option<&PrivateKey>,
    board: Option<Board>,
) -> Outcome<Vec<u8>> {
    pack_options(program, version, key, board).map_err(Failure::new)
}

/// The version a device will report when it runs this image.
fn version_of(image: &[u8]) -> Outcome<String> {
    let coding = if crate::inspect::is_coded(image) {
        Coding::MK3060
    } else {
        Coding::Plain
    };
    let descriptor = read_descriptor(&mut &image[..], coding).map_err(Failure::new)?;
    let descriptor = descriptor.ok_or_else(|| {
        Failure::new("the image has no descriptor, so its version is unknown")
            .help("pack it with --image-version")
    })?;
    Ok(descriptor.version.to_string())
}

/// Flips a bit in the middle of each firmware file of the cloud.
fn corrupt(cloud: &Path) -> Outcome {
    let failed = |e: std::io::Error| Failure::new(e).at(cloud.display());
    for entry in fs::read_dir(cloud.join("files")).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let mut bytes = fs::read(&path).map_err(failed)?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        fs::write(&path, bytes).map_err(failed)?;
        say(&format!("cloud: byte {middle} of the firmware damaged"));
    }
    Ok(())
}
