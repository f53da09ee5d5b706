//! The shipped application behind the shipped loader on the emulated board:
//! commands typed into UART1, SLIP on UART2, real TCP to a development cloud.

use hal_mk3060::memory::LOADER_START;
use hal_mk3060::{PARTITIONS, line_code};
use mk3060_sim::host::{Net, Session};
use mk3060_sim::{Machine, ResetCause, Stop, Time, load_code};
use ota_cloud::{Cloud, Config, Job, Mode, Server, Upload};
use ota_flash::PartitionId;
use ota_verify::build::{Layout, PackOptions, pack};
use ota_verify::{Coding, ImageKind, Module, Version};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PK: &str = "a1Demo";
const DN: &str = "dev1";

fn file(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES"));
    std::fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The application as it is uploaded.
fn image(version: &str, tail: &[u8]) -> Vec<u8> {
    packed(version, &[&file("otaapp.bin"), tail].concat())
}

fn packed(version: &str, program: &[u8]) -> Vec<u8> {
    let version = Version::new(version).unwrap();
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Board {
            coding: Coding::MK3060,
            encode: |plain| line_code::encode(plain).flatten().collect(),
        },
        version: Some(&version),
        module: Module::DEFAULT,
        key: None,
    };
    pack(program, &options).unwrap().bytes
}

fn start(id: PartitionId) -> u32 {
    PARTITIONS.get(id).unwrap().start()
}

/// A board on a desk, with the cloud behind its network.
struct Desk {
    session: Session,
    cloud: Server,
    /// What the console has shown.
    shown: String,
    /// How much of it was looked at.
    seen: usize,
    resets: Vec<ResetCause>,
    _dir: tempfile::TempDir,
}

impl Desk {
    fn new(loader: &[u8], app: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            public_url: Some("http://files.example".into()),
            ..Config::new(dir.path())
        };
        let cloud = Cloud::start(config).unwrap();
        cloud.create_product(PK).unwrap();
        cloud.add_device(PK, DN).unwrap();
        let map = format!(
            "{PK}.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883={},files.example:80={}",
            cloud.mqtt_addr(),
            cloud.http_addr()
        );
        let mut machine = Machine::new();
        load_code(&mut machine, LOADER_START, loader);
        let flash = &mut machine.board.flash;
        flash.load(start(PartitionId::Application), app);
        machine.stop_at_reset = true;
        machine.power_on().unwrap();
        let net = Net::new(map.parse().unwrap());
        Self {
            session: Session::new(machine, Some(net), None),
            cloud,
            shown: String::new(),
            seen: 0,
            resets: Vec::new(),
            _dir: dir,
        }
    }

    fn step(&mut self) {
        match self.session.step().unwrap() {
            None => {}
            Some(Stop::Reset(cause)) => self.resets.push(cause),
            Some(Stop::Fault(report)) => panic!("{report}\n{}", self.shown),
            Some(other) => panic!("{other:?}\n{}", self.shown),
        }
        let console = self.session.console();
        self.shown.push_str(&String::from_utf8_lossy(&console));
    }

    fn now(&self) -> Time {
        self.session.machine.board.now()
    }

    /// Runs until the console shows `text`, behind what was waited for before.
    fn expect(&mut self, text: &str) {
        let (begin, wall) = (self.now(), Instant::now());
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let late = self.now().since(begin) > Time::millis(120_000)
                || wall.elapsed() > Duration::from_secs(120);
            assert!(!late, "no {text:?} on the console:\n{}", self.shown);
            self.step();
        }
    }

    /// Runs until the cloud says so.
    fn until(&mut self, mut there: impl FnMut(&Server) -> bool) {
        let wall = Instant::now();
        while !there(&self.cloud) {
            assert!(wall.elapsed() < Duration::from_secs(120), "{}", self.shown);
            for _ in 0..100 {
                self.step();
            }
        }
    }

    fn type_in(&mut self, line: &str) {
        self.session.type_in(line.as_bytes());
        self.session.type_in(b"\r");
    }

    /// What the tutorial types.
    fn sign_on(&mut self) {
        self.expect("# ");
        self.type_in("netmgr connect home secret");
        self.expect("Got ip : 10.0.2.15");
        let device = self.cloud.device(PK, DN).unwrap();
        self.type_in(&format!("ota_app {PK} {DN} {} {}", device.ds, device.ps));
        self.expect("init mqtt success");
    }

    fn push(&mut self, image: &[u8], version: &str) -> Job {
        let upload = Upload::bytes("app.bin", image, version);
        let firmware = self.cloud.upload(PK, &upload).unwrap();
        self.cloud.validate(firmware.id, Mode::Full, DN).unwrap()
    }

    fn slot(&self, id: PartitionId, len: usize) -> Vec<u8> {
        self.session.machine.board.flash.chip.dump(start(id), len)
    }

    /// Bytes that overflowed the receive FIFO of UART2.
    fn lost(&self) -> u64 {
        self.session.machine.board.uarts[1].lost
    }
}

#[test]
fn an_update_from_the_cloud_is_confirmed_by_the_new_version() {
    let (v1, v2) = (image("app-1.0.0", &[]), image("app-2.0.0", &[7; 9000]));
    let mut desk = Desk::new(&file("boot2.bin"), &v1);
    desk.sign_on();
    desk.until(|cloud| cloud.device(PK, DN).unwrap().version() == Some("app-1.0.0"));
    let begin = desk.now();
    let job = desk.push(&v2, "app-2.0.0");
    desk.expect("download file size:");
    let download = desk.now();
    desk.expect("download finish ret:0.");
    let finish = desk.now();
    desk.expect("OTA finish");
    let erased = desk.session.machine.board.flash.counts;
    assert_eq!(desk.lost(), 0, "bytes came in while flash was busy");
    desk.expect("app_version: app-2.0.0");
    let swapped = desk.now();
    // It goes on by itself, with what was typed into version 1.
    desk.expect("running image confirmed");
    desk.until(|cloud| cloud.job(job.id).unwrap().succeeded());
    let end = desk.now();
    println!(
        "{} bytes in {}: offer {}, download {} ({} of it erasing, {} programming), check, restart and swap {}, confirm {}",
        v2.len(),
        end.since(begin),
        download.since(begin),
        finish.since(download),
        erased.erase_time,
        erased.program_time,
        swapped.since(finish),
        end.since(swapped),
    );
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    assert_eq!(desk.resets, [ResetCause::Watchdog]);
    // Settings are kept for good now.
    desk.type_in("version");
    desk.expect("app_version: app-2.0.0");
    desk.expect("image: confirmed");
}

/// Version 2 hangs once and resets at once twice: version 1 comes back by itself, signs on
/// by itself, and the cloud is told why.
#[test]
fn a_version_that_fails_its_trial_is_reverted_and_reported() {
    let v1 = image("app-1.0.0", &[]);
    let v2 = packed("app-2.0.0", &file("tinyapp.bin"));
    let mut desk = Desk::new(&file("boot2.bin"), &v1);
    desk.sign_on();
    desk.until(|cloud| cloud.device(PK, DN).unwrap().version() == Some("app-1.0.0"));
    let job = desk.push(&v2, "app-2.0.0");
    for key in [b"h", b"r", b"r"] {
        desk.expect("app-2.0.0 started");
        desk.session.type_in(key);
    }
    desk.expect("app_version: app-1.0.0");
    desk.expect("running image: confirmed");
    desk.expect("last update: ");
    desk.expect("init mqtt success");
    desk.until(|cloud| {
        cloud.job(job.id).unwrap().tasks[0]
            .step
            .is_some_and(|s| s < 0)
    });
    let task = desk.cloud.job(job.id).unwrap().tasks.remove(0);
    println!("the cloud: step {:?}, {}", task.step, task.desc);
    assert_eq!(task.step, Some(-1));
    assert_eq!(desk.slot(PartitionId::Application, v1.len()), v1);
    // The same package is not tried again.
    assert_eq!(desk.resets.len(), 1 + 3);
}

#[test]
fn on_another_loader_it_takes_no_updates_and_says_why() {
    // `ldr pc, [pc, #-4]` and where to: starts the application, that is all.
    let jump = [0xE51F_F004_u32, hal_mk3060::memory::APP_START];
    let loader: Vec<u8> = jump.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut desk = Desk::new(&loader, &image("app-1.0.0", &[]));
    desk.expect("no updates: the boot loader is not boot2");
    let parameters = start(PartitionId::Parameter1);
    let before = desk
        .session
        .machine
        .board
        .flash
        .chip
        .dump(parameters, 0x3000);
    desk.type_in("netmgr connect home secret");
    desk.expect("Got ip");
    desk.type_in("ota_app a b c d");
    desk.expect("no updates: the boot loader is not boot2");
    desk.type_in("version");
    desk.expect("loader: not boot2");
    assert_eq!(
        desk.session
            .machine
            .board
            .flash
            .chip
            .dump(parameters, 0x3000),
        before
    );
    assert_eq!(desk.session.machine.board.flash.counts.erases, 0);
}
