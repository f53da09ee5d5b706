//! A board on a desk, and a development cloud behind its network.

use crate::counts::app_statics_end;
use crate::{DN, Desk, PK};
use ota_cloud::{Cloud, Config, Format, Job, Mode, Server, Upload};
use tempfile::TempDir;

/// A cloud, and a board whose network leads there.
pub struct World {
    /// The board.
    pub desk: Desk,
    /// The cloud.
    pub cloud: Server,
    _dir: TempDir,
}

impl World {
    /// A new cloud, and a board with this in its flash.
    ///
    /// # Panics
    /// When there is no room for either.
    #[must_use]
    pub fn new(loader: &[u8], app: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        {
            let cloud = Cloud::open(dir.path()).expect("a cloud");
            cloud.create_product(PK).expect("a product");
        }
        Self::at(dir, loader, app)
    }

    /// The same with a cloud that knows the product already.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn at(dir: TempDir, loader: &[u8], app: &[u8]) -> Self {
        let config = Config {
            public_url: Some("http://files.example".into()),
            ..Config::new(dir.path())
        };
        let cloud = Cloud::start(config).expect("a cloud");
        cloud.add_device(PK, DN).expect("a device");
        let map = format!(
            "{PK}.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883={},files.example:80={}",
            cloud.mqtt_addr(),
            cloud.http_addr()
        );
        let mut desk = Desk::new(loader, app, &map);
        desk.watch_stack(app_statics_end());
        Self {
            desk,
            cloud,
            _dir: dir,
        }
    }

    /// Types what the tutorial types, and waits for the report of version 1.
    ///
    /// # Panics
    /// When it does not come.
    pub fn sign_on(&mut self) {
        let device = self.cloud.device(PK, DN).expect("the device");
        self.desk.sign_on([PK, DN, &device.ds, &device.ps], "");
        let cloud = &self.cloud;
        self.desk
            .until(|| cloud.device(PK, DN).expect("the device").version() == Some("app-1.0.0"));
    }

    /// Uploads an image and pushes it whole.
    ///
    /// # Panics
    /// When the cloud refuses.
    pub fn push(&mut self, image: &[u8], version: &str) -> Job {
        self.push_as(image, version, Format::Plain)
    }

    /// Uploads an image and pushes a package of this format.
    ///
    /// # Panics
    /// When the cloud refuses.
    pub fn push_as(&mut self, image: &[u8], version: &str, format: Format) -> Job {
        let mode = if format.fits(Mode::Full) {
            Mode::Full
        } else {
            Mode::Diff
        };
        let firmware = self.upload(image, version);
        let job = self.cloud.validate_as(firmware, mode, Some(format), DN);
        job.expect("a job")
    }

    /// Uploads an image; its number.
    ///
    /// # Panics
    /// When the cloud refuses.
    pub fn upload(&mut self, image: &[u8], version: &str) -> i64 {
        let upload = Upload::bytes("app.bin", image, version);
        self.cloud.upload(PK, &upload).expect("an upload").id
    }

    /// Runs until the job is over.
    ///
    /// # Panics
    /// When it never is.
    pub fn over(&mut self, job: &Job) -> Job {
        let cloud = &self.cloud;
        self.desk
            .until(|| cloud.job(job.id).expect("the job").is_over());
        self.cloud.job(job.id).expect("the job")
    }
}
