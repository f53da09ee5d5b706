//! A cloud, and a device that is registered there.

use std::net::SocketAddr;
use std::path::PathBuf;

use ota_cloud::{Cloud, Config, Device, Job, Mode, Server, TaskState, Upload};
use ota_verify::build::PrivateKey;
use ota_verify::{Policy, Requirement, RsaPublicKey};
use otaapp::host::{self, Identity, Options};

use crate::{LIMIT, Made, image, program};

/// Product key.
pub const PK: &str = "a1Tests0001";
/// Device name.
pub const DN: &str = "dev1";
/// The version a device begins with.
pub const OLD: &str = "app-1.0.0";

/// A cloud with one product and one device, which has not been switched on yet.
pub struct World {
    /// The cloud; `None` while it is gone.
    pub cloud: Option<Server>,
    /// Where everything lies.
    pub dir: tempfile::TempDir,
    /// As the cloud knows it.
    pub device: Device,
    /// The image in its active slot at the beginning.
    pub old: Made,
    config: Config,
}

impl World {
    /// With an image of `len` bytes of program in the active slot.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::with(len, |_| {})
    }

    /// The same; `change` sets up the cloud.
    #[must_use]
    pub fn with(len: usize, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = Config::new(dir.path().join("cloud"));
        change(&mut config);
        let cloud = Cloud::start(config.clone()).expect("a cloud");
        // For the next start: the same addresses.
        config.mqtt = cloud.mqtt_addr();
        config.http = cloud.http_addr();
        cloud.create_product(PK).expect("a product");
        let device = cloud.add_device(PK, DN).expect("a device");
        let old = image(OLD, &program(1, len), None);
        let world = Self {
            cloud: Some(cloud),
            dir,
            device,
            old,
            config,
        };
        world.factory();
        world
    }

    /// A fresh flash file with the old image.
    pub fn factory(&self) {
        let _ = std::fs::remove_file(self.flash()); // there is none at first
        host::init(&self.flash(), &self.old.bytes).expect("a flash file");
    }

    /// Switches secure upgrade on; the old image is signed, too. The key.
    pub fn secure(&mut self) -> PrivateKey {
        self.cloud().set_secure_upgrade(PK, true).expect("secure");
        let pem = self.cloud().private_key_pem(PK).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("a key");
        self.old = image(OLD, &program(1, 20_000), Some(&key));
        self.factory();
        key
    }

    /// The cloud.
    #[must_use]
    pub fn cloud(&self) -> &Server {
        self.cloud.as_ref().expect("the cloud is there")
    }

    /// The cloud goes away.
    pub fn stop_cloud(&mut self) {
        self.cloud = None;
    }

    /// The cloud comes back, with the same data at the same addresses.
    pub fn start_cloud(&mut self) {
        self.cloud = Some(Cloud::start(self.config.clone()).expect("a cloud"));
    }

    /// The device's flash file.
    #[must_use]
    pub fn flash(&self) -> PathBuf {
        self.dir.path().join("device.flash")
    }

    /// Who the device is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            pk: self.device.pk.clone(),
            dn: self.device.dn.clone(),
            ds: self.device.ds.clone(),
            ps: self.device.ps.clone(),
        }
    }

    /// A device that ends after one update.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options_at(self.config.mqtt)
    }

    /// The same, with the broker at another address.
    #[must_use]
    pub fn options_at(&self, broker: SocketAddr) -> Options {
        let host = broker.ip().to_string();
        let mut options = Options::new(self.flash(), self.identity(), &host, broker.port());
        options.once = true;
        options
    }

    /// A device that takes nothing unsigned.
    #[must_use]
    pub fn secure_options(&self, key: &RsaPublicKey) -> Options {
        Options {
            policy: Policy {
                package_signature: Requirement::Required,
                image_signature: Requirement::Required,
                ..Policy::DEFAULT
            },
            keys: vec![key.clone()],
            ..self.options()
        }
    }

    /// Uploads a firmware and pushes it to the device.
    #[must_use]
    pub fn offer(&self, made: &Made) -> Job {
        self.offer_as(made, &made.version)
    }

    /// The same, under another version.
    #[must_use]
    pub fn offer_as(&self, made: &Made, version: &str) -> Job {
        let upload = Upload::bytes("app.bin", made.bytes.clone(), version);
        let firmware = self.cloud().upload(PK, &upload).expect("uploaded");
        self.cloud()
            .validate(firmware.id, Mode::Full, DN)
            .expect("a job")
    }

    /// Uploads a firmware and what it is the difference to, and pushes the
    /// difference to the device, which must have reported its version.
    #[must_use]
    pub fn offer_diff(&self, base: &Made, made: &Made) -> Job {
        let upload = Upload::bytes("app.bin", base.bytes.clone(), &base.version);
        self.cloud().upload(PK, &upload).expect("uploaded");
        self.offer_next(made)
    }

    /// The same, when the cloud has what it is the difference to already.
    #[must_use]
    pub fn offer_next(&self, made: &Made) -> Job {
        let upload = Upload::bytes("app.bin", made.bytes.clone(), &made.version);
        let firmware = self.cloud().upload(PK, &upload).expect("uploaded");
        self.cloud()
            .validate(firmware.id, Mode::Diff, DN)
            .expect("a job")
    }

    /// Where the device's update stands: state, step, words. What a device said just
    /// before it went is waited for a little.
    #[must_use]
    pub fn task(&self, job: &Job) -> (TaskState, Option<i32>, String) {
        let start = std::time::Instant::now();
        loop {
            // Asked first: what comes before the end of a connection is heard before it.
            let online = self.cloud().device(PK, DN).expect("the device").online;
            let job = self.cloud().job(job.id).expect("the job");
            let task = job.tasks.first().expect("its task");
            let open = task.state == TaskState::InProgress && online;
            if !open || start.elapsed() > std::time::Duration::from_secs(5) {
                return (task.state, task.step, task.desc.clone());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for a report of the device.
    pub fn wait_report(&self, step: i32, desc: &str) {
        self.cloud()
            .wait_event(0, LIMIT, desc, |e| {
                e.step == Some(step) && e.text.contains(desc)
            })
            .expect("the report");
    }

    /// Waits until the cloud has noticed that the device is gone: a late report
    /// would count for its next update.
    pub fn wait_offline(&self) {
        let start = std::time::Instant::now();
        while self.cloud().device(PK, DN).expect("the device").online {
            assert!(start.elapsed() < LIMIT, "the device does not go");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Checks that the active slot holds exactly this image.
    pub fn assert_active(&self, made: &Made) {
        let slot = host::read_slot(&self.flash(), &host::ACTIVE, made.bytes.len());
        let same = slot.expect("the slot") == made.bytes;
        assert!(same, "the active slot is not {}", made.version);
    }

    /// Damages each firmware file of the cloud.
    pub fn corrupt_files(&self) {
        let files = self.cloud().dir().join("files");
        for entry in std::fs::read_dir(files).expect("files") {
            let path = entry.expect("a file").path();
            let mut bytes = std::fs::read(&path).expect("its bytes");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).expect("written");
        }
    }
}
