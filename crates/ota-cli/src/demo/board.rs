//! The demo's device as an emulated MK3060 that runs the images one would flash.

use std::fs;
use std::path::Path;
use std::time::Instant;

use boot2::{LoaderInfo, capability};
use hal_mk3060::PARTITIONS;
use hal_mk3060::memory::{LOADER_INFO, LOADER_START};
use mk3060_sim::host::{Net, Session};
use mk3060_sim::{Event, Machine, ResetCause, Stop, load_code};
use ota_cloud::{Config, Format, Job, Mode, Server};
use ota_flash::PartitionId;
use ota_flash::sim::CutVariant;
use ota_verify::build::PrivateKey;

use super::timeline::Timeline;
use super::{DN, Demo, Kind, LIMIT, NEW, OLD, PK, line, pack, say, start_cloud};
use crate::board::Board;
use crate::{Failure, Outcome, read};

/// What the board looks its peers up by; the emulated network knows where they are.
const FILES: &str = "files.example";
/// `cargo xtask board build --demo` writes these.
const LOADER: &str = "boot2.bin";
const PROGRAMS: [&str; 2] = ["otaapp.bin", "otaapp-2.bin"];
/// The program of version 2 restarts at once when its version ends like this.
const BROKEN: &str = "app-2.0.0-reset";
const BUILD: &str = "`cargo xtask demo --board mk3060` builds the board's images and runs this; \
     to run it again without building: --images target/demo-mk3060/plain (or secure)";

/// What goes into the board's flash, and what it is updated to.
struct Images {
    loader: Vec<u8>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Images {
    fn load(demo: &Demo, key: Option<&PrivateKey>) -> Outcome<Self> {
        let Some(dir) = &demo.images else {
            return Err(Failure::new("--board mk3060 wants --images DIR").help(BUILD));
        };
        let program = |name: &str| read(&dir.join(name)).map_err(|e| e.help(BUILD));
        let loader = program(LOADER)?;
        let signed_only = LoaderInfo::parse(
            loader
                .get((LOADER_INFO - LOADER_START) as usize..)
                .and_then(|rest| rest.first_chunk())
                .ok_or_else(|| Failure::new("no loader").at(dir.join(LOADER).display()))?,
        )
        .is_some_and(|info| info.capabilities & capability::SIGNED_ONLY != 0);
        if signed_only != key.is_some() {
            return Err(Failure::new(if signed_only {
                "this loader was built with a key: it starts signed images only"
            } else {
                "this loader was built without a key: it takes anything"
            })
            .at(dir.join(LOADER).display())
            .help(BUILD));
        }
        let [first, second] = PROGRAMS;
        let board = Some(Board::Mk3060);
        let old = pack(&program(first)?, OLD, key, board)?;
        let new = match &demo.image {
            None if demo.revert => pack(&program(second)?, BROKEN, key, board)?,
            None => pack(&program(second)?, NEW, key, board)?,
            Some(path) => demo.given_image(path, key, board)?,
        };
        Ok(Self { loader, old, new })
    }
}

/// What is sent.
type Package = (Mode, Option<Format>);

/// The whole demo.
pub(super) fn run(demo: &Demo, dir: &Path) -> Outcome {
    if demo.mode != Kind::Diff {
        return update(demo, dir, (Mode::Full, None)).map(|_| ());
    }
    let mut rows = Vec::new();
    for (name, package) in [
        ("full", (Mode::Full, None)),
        ("nbdiff", (Mode::Diff, Some(Format::Nbdiff))),
        ("ptr", (Mode::Diff, Some(Format::Ptr))),
    ] {
        say(&format!("update by {name}"));
        rows.push((name, update(demo, &dir.join(name), package)?));
    }
    let full = rows.first().map_or(1, |(_, timeline)| timeline.figures().0);
    line("== virtual seconds");
    line("package    bytes  of full  push to success  download  loader");
    for (name, timeline) in &rows {
        let (bytes, [all, download, loader]) = timeline.figures();
        let percent = f64::from(bytes) * 100.0 / f64::from(full);
        line(&format!(
            "{name:<7} {bytes:>8}  {percent:>6.1}%  {all:>15.3}  {download:>8.3}  {loader:>6.3}"
        ));
    }
    Ok(())
}

/// One update, from a board fresh from the factory.
fn update(demo: &Demo, dir: &Path, package: Package) -> Outcome<Timeline> {
    let config = Config {
        public_url: Some(format!("http://{FILES}")),
        ..Config::new(dir.join("cloud"))
    };
    let (cloud, key) = start_cloud(demo, config)?;
    let images = Images::load(demo, key.as_ref())?;
    let mut desk = Desk::new(demo, &cloud, &images)?;
    say(&format!(
        "board: MK3060 (emulated), boot2 and {OLD}, {} bytes; console on UART1, network on UART2",
        images.old.len()
    ));
    let result = desk.update(demo, &cloud, package, &images);
    if demo.keep.is_some() {
        let path = dir.join("board.flash");
        let bytes = desk.chip().dump(0, hal_mk3060::memory::FLASH_LEN as usize);
        fs::write(&path, bytes).map_err(|e| Failure::new(e).at(path.display()))?;
        say(&format!("flash kept in {}", path.display()));
    }
    let slot = |len| desk.chip().dump(start(PartitionId::Application), len);
    let job = match result {
        Ok(job) => job,
        Err(failure) => {
            super::slot_state(
                &slot(images.old.len()),
                &slot(images.new.len()),
                [&images.old, &images.new],
            );
            return Err(failure);
        }
    };
    drop(cloud);
    let image = if demo.revert {
        &images.old
    } else {
        &images.new
    };
    let slot = slot(image.len());
    super::check(demo, dir, &slot, "flash of the board", &job, image)?;
    Ok(desk.timeline)
}

fn start(id: PartitionId) -> u32 {
    PARTITIONS.get(id).map_or(0, |part| part.start())
}

/// The board, and what has been seen of it.
struct Desk {
    session: Session,
    /// What the console has shown since its last whole line.
    shown: String,
    /// Whole lines since somebody last looked.
    lines: Vec<String>,
    timeline: Timeline,
    /// Flash operations when the push went out, and when power failed.
    pushed_at: Option<u64>,
    cut: Option<u64>,
}

impl Desk {
    fn new(demo: &Demo, cloud: &Server, images: &Images) -> Outcome<Self> {
        let mut machine = Machine::new();
        load_code(&mut machine, LOADER_START, &images.loader);
        let app = start(PartitionId::Application);
        machine.board.flash.load(app, &images.old);
        machine.stop_at_reset = true;
        machine.board.trace.start();
        let map = format!(
            "{PK}.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883={},{FILES}:80={}",
            cloud.mqtt_addr(),
            cloud.http_addr()
        );
        let net = Net::new(map.parse().map_err(|e| Failure::new(format!("{e}")))?);
        let mut session = Session::new(machine, Some(net), None);
        session
            .power_on()
            .map_err(|e| Failure::new(format!("{e}")))?;
        Ok(Self {
            session,
            shown: String::new(),
            lines: Vec::new(),
            timeline: Timeline::new(images.new.len()),
            pushed_at: None,
            cut: demo.cut,
        })
    }

    fn chip(&self) -> &ota_flash::sim::SimFlash {
        &self.session.machine.board.flash.chip
    }

    /// Lets the board run for a moment, and takes down what it does.
    fn step(&mut self) -> Outcome {
        let stop = self.session.step().map_err(Failure::new)?;
        let board = &mut self.session.machine.board;
        let (now, counts) = (board.now(), board.flash.counts);
        for (time, event) in board.trace.take() {
            if let Event::Erase(at) | Event::Program(at) = event {
                let erase = matches!(event, Event::Erase(_));
                if let Some(sector) = self.timeline.flash(time, at, erase, counts) {
                    line(&format!("boot2: {sector}"));
                }
            }
        }
        let console = self.session.console();
        self.shown.push_str(&String::from_utf8_lossy(&console));
        while let Some((whole, rest)) = self.shown.split_once('\n') {
            let text = clean(whole).to_string();
            self.shown = rest.to_string();
            if !text.is_empty() {
                line(&format!("{:>9.3}  {text}", now.as_secs_f64()));
                self.timeline.line(now, &text, counts);
                self.lines.push(text);
            }
        }
        match stop {
            None => Ok(()),
            Some(Stop::Reset(ResetCause::Watchdog)) => {
                self.timeline.reset(now, counts);
                Ok(())
            }
            Some(Stop::PowerCut) => {
                let op = self.cut.take().unwrap_or_default();
                line(&format!("*** power cut fired at flash operation {op} ***"));
                self.session
                    .power_on()
                    .map_err(|e| Failure::new(format!("{e}")))
            }
            Some(Stop::Fault(report)) => Err(Failure::new(format!("the board stopped: {report}"))),
            Some(other) => Err(Failure::new(format!("the board stopped: {other:?}"))),
        }
    }

    /// Runs until `there` says so.
    fn until(&mut self, what: &str, mut there: impl FnMut(&mut Self) -> Outcome<bool>) -> Outcome {
        let wall = Instant::now();
        while !there(self)? {
            if wall.elapsed() > LIMIT {
                return Err(
                    Failure::new(format!("the board did not get there in time: {what}"))
                        .help("see docs/troubleshooting.md"),
                );
            }
            // The cloud is asked only now and then.
            for _ in 0..40 {
                self.step()?;
            }
        }
        Ok(())
    }

    fn until_shown(&mut self, text: &str) -> Outcome {
        self.until(text, |desk| {
            let at = desk.lines.iter().position(|line| line.contains(text));
            if let Some(at) = at {
                desk.lines.drain(..=at);
            }
            Ok(at.is_some())
        })
    }

    fn type_in(&mut self, text: &str) {
        self.session.type_in(text.as_bytes());
        self.session.type_in(b"\r");
    }

    /// From power-on to the cloud's verdict.
    fn update(
        &mut self,
        demo: &Demo,
        cloud: &Server,
        package: Package,
        images: &Images,
    ) -> Outcome<Job> {
        self.until_shown("running image: confirmed")?;
        self.type_in("netmgr connect ssid passwd");
        self.until_shown("Got ip")?;
        let device = cloud.device(PK, DN)?;
        self.type_in(&format!("ota_app {PK} {DN} {} {}", device.ds, device.ps));
        self.until_shown("init mqtt success")?;
        self.until("version reported", |_| {
            Ok(cloud.device(PK, DN)?.version() == Some(OLD))
        })?;
        let job = demo.push(cloud, package, &images.old, &images.new)?;
        let board = &self.session.machine.board;
        self.timeline.push(board.now(), board.flash.counts);
        let begin = self.chip().ops();
        self.pushed_at = Some(begin);
        if let Some(n) = self.cut {
            let chip = &mut self.session.machine.board.flash.chip;
            chip.cut_at(begin + n, CutVariant::Random { seed: n });
        }
        let id = job.id;
        self.until("the update is over", |_| Ok(cloud.job(id)?.is_over()))?;
        let job = cloud.job(id)?;
        let served = super::requests(cloud, id)?;
        say(&format!("cloud: {served} download requests answered"));
        if demo.revert {
            return Ok(job);
        }
        if !job.succeeded() {
            let why: Vec<_> = job.tasks.iter().map(|t| t.desc.to_string()).collect();
            return Err(Failure::new(format!(
                "the update failed: {}",
                why.join(", ")
            )));
        }
        let board = &self.session.machine.board;
        self.timeline.end(board.now(), board.flash.counts);
        self.until_shown("running image confirmed")?;
        if let Some(n) = self.cut {
            return Err(Failure::new(format!(
                "the power cut did not fire: {} flash operations from push to success, not {n}",
                self.chip().ops() - begin
            )));
        }
        self.report(begin);
        Ok(job)
    }

    fn report(&self, begin: u64) {
        for text in self.timeline.report() {
            line(&text);
        }
        say(&format!(
            "{} flash operations from push to success; {} bytes of the network lost to full FIFOs",
            self.chip().ops() - begin,
            self.session.machine.board.uarts[1].lost
        ));
    }
}

/// A line as it stands on a terminal in the end.
fn clean(line: &str) -> &str {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    line.trim_start_matches("\x1b[K")
}
