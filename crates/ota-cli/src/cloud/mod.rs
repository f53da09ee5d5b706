//! `ota cloud ...`: the development cloud, served and operated.

mod serve;
mod show;
mod watch;

use crate::{Failure, Outcome, files};
use clap::{Args as ClapArgs, Subcommand};
use ota_cloud::{Cloud, Error, Format, JobSpec, Method, Mode, Upload};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `ota cloud`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Data directory of the cloud (database, firmware files, keys)
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "OTA_CLOUD_DATA",
        default_value = "ota-cloud-data"
    )]
    data: PathBuf,
    /// Print facts as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve devices until interrupted; the other commands work meanwhile
    Serve(Serve),
    /// Products: kinds of devices, and their keys
    #[command(subcommand)]
    Product(Product),
    /// Devices and the versions they report
    #[command(subcommand)]
    Device(Device),
    /// Firmware files
    #[command(subcommand)]
    Firmware(Firmware),
    /// Roll-outs
    #[command(subcommand)]
    Job(Job),
}

#[derive(Debug, ClapArgs)]
struct Serve {
    /// Address devices sign on at (port 0: any free port)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// Address firmware files are downloaded from (port 0: any free port)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Start of download addresses, when devices reach the files by another one
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Seconds a download address is good for
    #[arg(long, value_name = "SECONDS", default_value_t = 86400)]
    url_ttl: u64,
    /// Serve both with TLS: certificate chain (PEM)
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Serve both with TLS: private key (PEM)
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Product {
    /// Create a product
    Create {
        /// ProductKey: 1 to 20 letters and digits
        pk: String,
    },
    /// Switch secure upgrade (signed packages and images) on or off
    SecureUpgrade {
        /// ProductKey
        pk: String,
        /// on: the first time, the product's key pair is made
        #[arg(value_parser = ["on", "off"])]
        switch: String,
    },
    /// Print the product's public key, or write it for devices to be built with
    Pubkey {
        /// ProductKey
        pk: String,
        /// File: a C header when it ends in .h (ota_public_key_config.h), else PEM
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Overwrite the file
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Device {
    /// Add a device and print its secret
    Add {
        /// ProductKey
        pk: String,
        /// DeviceName: 1 to 32 letters, digits and - _ . : @
        dn: String,
    },
    /// List the devices of a product
    List {
        /// ProductKey
        pk: String,
    },
    /// Show a device: secret, versions, whether it is online
    Show {
        /// ProductKey
        pk: String,
        /// DeviceName
        dn: String,
    },
}

#[derive(Debug, Subcommand)]
enum Firmware {
    /// Upload a firmware file
    Upload {
        /// ProductKey
        pk: String,
        /// The file: an image that ends in its trailer (`ota image pack`)
        file: PathBuf,
        /// Version the device reports when it runs this firmware
        #[arg(long, value_name = "V")]
        fw_version: String,
        /// Digest by which devices check it: sha256 or md5
        #[arg(long, default_value = "sha256")]
        method: Method,
        /// For a module of the device instead of its own firmware
        #[arg(long)]
        module: Option<String>,
    },
    /// Try a firmware on one device; needed before a roll-out
    Validate {
        /// Number of the firmware
        id: i64,
        /// full: the whole file; diff: the difference to what the device runs
        #[arg(long)]
        mode: Mode,
        /// What the package is made like: plain or xz (full), nbdiff, ptr or auto (diff)
        ///
        /// Every device takes plain, original devices for differential upgrades take
        /// nbdiff: these are the defaults. xz and ptr are for devices that run uota with
        /// these features. auto takes the smaller patch if the running image has an image
        /// descriptor (xz, if a patch saves less than a tenth of it), nbdiff otherwise.
        #[arg(long)]
        format: Option<Format>,
        /// DeviceName
        #[arg(long, value_name = "DN")]
        device: String,
    },
}

#[derive(Debug, Subcommand)]
enum Job {
    /// Roll a firmware out
    Start {
        /// Number of the firmware
        id: i64,
        /// full or diff [default: as validated]
        #[arg(long)]
        mode: Option<Mode>,
        /// As for `firmware validate` [default: as validated]
        #[arg(long)]
        format: Option<Format>,
        /// Only these devices (all of the product otherwise)
        #[arg(long, value_name = "DN", num_args = 1..)]
        device: Vec<String>,
        /// Start without a validation
        #[arg(long)]
        unvalidated: bool,
        /// Take devices out of jobs that have not ended
        #[arg(long)]
        replace: bool,
    },
    /// Follow a job to its end; exit status 1 unless every device succeeds
    Watch {
        /// Number of the job
        id: i64,
        /// Give up after this many seconds
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Cancel what has not ended
    Cancel {
        /// Number of the job
        id: i64,
    },
}

impl Args {
    /// Runs the command.
    pub fn run(self) -> Outcome {
        let out = show::Out { json: self.json };
        let command = match self.command {
            Command::Serve(serve) => return Ok(serve::run(&self.data, &serve, out)?),
            other => other,
        };
        let makes = matches!(command, Command::Product(Product::Create { .. }));
        let cloud = if makes {
            Cloud::open(&self.data)?
        } else {
            // A wrong --data must not leave an empty cloud behind.
            Cloud::open_existing(&self.data)?
        };
        match command {
            Command::Serve(_) => Ok(()),
            Command::Product(c) => product(&cloud, c, out),
            Command::Device(c) => Ok(device(&cloud, c, out)?),
            Command::Firmware(c) => Ok(firmware(&cloud, c, out)?),
            Command::Job(c) => job(&cloud, c, out),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let help = e.help();
        Self::new(e).help(help)
    }
}

fn device(cloud: &Cloud, command: Device, out: show::Out) -> Result<(), Error> {
    match command {
        Device::Add { pk, dn } => out.device(&cloud.add_device(&pk, &dn)?),
        Device::List { pk } => out.devices(&cloud.devices(&pk)?),
        Device::Show { pk, dn } => out.device(&cloud.device(&pk, &dn)?),
    }
    Ok(())
}

fn job(cloud: &Cloud, command: Job, out: show::Out) -> Outcome {
    match command {
        Job::Watch { id, timeout } => {
            let limit = timeout.map_or(Duration::MAX, Duration::from_secs);
            return watch::run(cloud, id, limit, out);
        }
        Job::Start {
            id,
            mode,
            format,
            device,
            unvalidated,
            replace,
        } => {
            let spec = JobSpec {
                devices: device,
                mode,
                format,
                unvalidated,
                replace,
                ..JobSpec::new(id)
            };
            out.started(cloud, &cloud.start_job(&spec)?);
        }
        Job::Cancel { id } => out.job(&cloud.cancel_job(id)?),
    }
    Ok(())
}

fn product(cloud: &Cloud, command: Product, out: show::Out) -> Outcome {
    match command {
        Product::Create { pk } => out.product(&cloud.create_product(&pk)?),
        Product::SecureUpgrade { pk, switch } => {
            let product = cloud.set_secure_upgrade(&pk, switch == "on")?;
            out.product(&product);
            if product.secure_upgrade {
                out.hint(&format!(
                    "build devices with its public key: \
                     ota cloud product pubkey {pk} -o ota_public_key_config.h"
                ));
            }
        }
        Product::Pubkey { pk, output, force } => match output {
            None => crate::out!("{}", cloud.public_key_pem(&pk)?.trim_end()),
            Some(path) if path == Path::new("-") => {
                crate::out!("{}", cloud.public_key_pem(&pk)?.trim_end())
            }
            Some(path) => {
                let text = if path.extension().is_some_and(|e| e == "h") {
                    cloud.public_key_header(&pk)?
                } else {
                    cloud.public_key_pem(&pk)?
                };
                files::write(&path, text.as_bytes(), force, files::Access::Everyone)?;
                out.hint(&format!("public key of {pk} written to {}", path.display()));
            }
        },
    }
    Ok(())
}

fn firmware(cloud: &Cloud, command: Firmware, out: show::Out) -> Result<(), Error> {
    match command {
        Firmware::Upload {
            pk,
            file,
            fw_version,
            method,
            module,
        } => {
            let mut upload = Upload::file(&file, &fw_version).method(method);
            if let Some(module) = module {
                upload = upload.module(&module);
            }
            out.firmware(&cloud.upload(&pk, &upload)?);
        }
        Firmware::Validate {
            id,
            mode,
            format,
            device,
        } => {
            out.started(cloud, &cloud.validate_as(id, mode, format, &device)?);
        }
    }
    Ok(())
}
