//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ota_agent::Security;
use ota_bootlib::Strategy;
use ota_flash::sim::CutVariant;
use ota_proto::signon::{Credentials, Endpoint, SecureMode, SignMethod};
use ota_verify::{Policy, Requirement, RsaPublicKey, VersionRule};

use super::{Console, End, Error, Identity, Options, Roots, init, run};

/// A device over a flash file: signs on, takes updates, restarts through its boot loader.
///
/// The flash file holds the partitions of the MK3060. What "runs" is the image in its active
/// slot: descriptor plus data, not executed. Killing the process is a power cut.
#[derive(Debug, Parser)]
#[command(name = "otaapp", version)]
struct Args {
    /// Flash file of the device
    #[arg(long, value_name = "FILE")]
    flash: PathBuf,
    /// Make the flash file, with this packed image in the active slot
    #[arg(long, value_name = "IMAGE")]
    init: Option<PathBuf>,
    /// Broker to sign on at (`ota cloud serve` prints it)
    #[arg(long, value_name = "HOST:PORT", value_parser = broker, conflicts_with = "region")]
    broker: Option<(String, u16)>,
    /// Sign on at the public cloud in this region, such as cn-shanghai
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Sign on over TLS
    #[arg(long)]
    tls: bool,
    /// Trust these certificates (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// HMAC of the sign-on
    #[arg(long, value_enum, default_value = "hmacsha256")]
    sign_method: Method,
    /// Refuse packages and images that are not signed (needs --key)
    #[arg(long, requires = "key")]
    require_signature: bool,
    /// Public key that may sign: PEM or ota_public_key_config.h (may be repeated)
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// What counts as a newer version
    #[arg(long, value_enum, default_value = "numeric")]
    version_rule: Rule,
    /// Download over plain HTTP what is offered as https, when signatures are required
    #[arg(long, requires = "require_signature")]
    allow_plain: bool,
    /// How updates are installed
    #[arg(long, value_enum, default_value = "swap")]
    strategy: How,
    /// End after one update, or when the cloud refuses the device for good
    #[arg(long)]
    once: bool,
    /// Lose power in flash operation N of this process, then start again
    #[arg(long, value_name = "N")]
    cut: Option<u64>,
    /// Try again when a download brings nothing for so long
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    stall: Duration,
    /// A new version that cannot report within this time restarts (0: never)
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    confirm_within: Duration,
    /// How often a new version is started before it is reverted
    #[arg(long, value_name = "N", default_value_t = 3)]
    tries: u8,
    /// Product key
    #[arg(env = "OTA_PK")]
    pk: Option<String>,
    /// Device name
    #[arg(env = "OTA_DN")]
    dn: Option<String>,
    /// Device secret
    #[arg(env = "OTA_DS", hide_env_values = true)]
    ds: Option<String>,
    /// Product secret (not needed to sign on)
    #[arg(env = "OTA_PS", hide_env_values = true, default_value = "")]
    ps: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    Hmacmd5,
    Hmacsha1,
    Hmacsha256,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Rule {
    /// Numbers in the text compare as numbers
    Numeric,
    /// Bytes compare as in AliOS
    Alios,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    /// New image into the active slot, old one kept
    Swap,
    /// Copy over the active slot; no way back
    Overwrite,
    /// Two executable slots, start the other one
    Switch,
    /// Takes patches; the image they make is installed as with swap, and so are whole images
    PatchSwap,
    /// Takes patches; the image they make is installed as with overwrite, and so are whole images
    InPlace,
}

fn broker(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT is wanted")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| "the port is no number")?;
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    Ok((host.into(), port))
}

/// Runs the command line of this process.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let result = match prepare(args) {
        Ok(Some(options)) => device(&options),
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => Err(e),
    };
    match result {
        Ok(End::Updated(version)) => {
            println!("{version} confirmed");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            eprintln!("help: {}", e.help());
            ExitCode::FAILURE
        }
    }
}

fn device(options: &Options) -> Result<End, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::File {
            path: "tokio".into(),
            error,
        })?;
    runtime.block_on(run(options, &mut Console::new()))
}

/// `None`: `--init` was all there was to do.
fn prepare(args: Args) -> Result<Option<Options>, Error> {
    let usage = |kind, text: &str| -> ! {
        use clap::CommandFactory;
        Args::command().error(kind, text).exit()
    };
    if let Some(path) = &args.init {
        let image = read(path)?;
        init(&args.flash, &image)?;
        println!("flash file made: {}", args.flash.display());
        if args.broker.is_none() && args.region.is_none() {
            return Ok(None);
        }
    }
    use clap::error::ErrorKind::MissingRequiredArgument;
    let (Some(pk), Some(dn), Some(ds)) = (args.pk, args.dn, args.ds) else {
        usage(
            MissingRequiredArgument,
            "product key, device name and device secret are wanted: PK DN DS, or OTA_PK, OTA_DN, OTA_DS",
        );
    };
    let identity = Identity {
        pk,
        dn,
        ds,
        ps: args.ps,
    };
    let (host, port) = match (args.broker, &args.region) {
        (Some(broker), _) => broker,
        (None, Some(region)) => {
            let credentials = Credentials::new(&identity.pk, &identity.dn, &identity.ds, "");
            let credentials = credentials.map_err(Error::Credentials)?;
            let mode = if args.tls {
                SecureMode::Tls
            } else {
                SecureMode::Tcp
            };
            match Endpoint::new(&credentials, region) {
                Ok(endpoint) => (endpoint.host().to_owned(), mode.port()),
                Err(e) => usage(clap::error::ErrorKind::InvalidValue, &e.to_string()),
            }
        }
        (None, None) => usage(
            MissingRequiredArgument,
            "where to sign on is wanted: --broker HOST:PORT or --region REGION",
        ),
    };
    if !args.flash.exists() {
        return Err(Error::NoFlash(args.flash));
    }
    let mut options = Options::new(args.flash, identity, &host, port);
    if args.tls {
        options.security = Security::Tls;
    }
    if let Some(ca) = args.ca {
        options.roots = Roots::File(ca);
    }
    options.method = match args.sign_method {
        Method::Hmacmd5 => SignMethod::HmacMd5,
        Method::Hmacsha1 => SignMethod::HmacSha1,
        Method::Hmacsha256 => SignMethod::HmacSha256,
    };
    let signature = match args.require_signature {
        true => Requirement::Required,
        false => Requirement::Optional,
    };
    options.policy = Policy {
        package_signature: signature,
        image_signature: signature,
        version_rule: match args.version_rule {
            Rule::Numeric => VersionRule::Numeric,
            Rule::Alios => VersionRule::Alios,
        },
        allow_plain_download: args.allow_plain,
        ..Policy::DEFAULT
    };
    options.keys = args.key.iter().map(|p| key(p)).collect::<Result<_, _>>()?;
    options.strategy = match args.strategy {
        How::Swap => Strategy::Swap,
        How::Overwrite => Strategy::Overwrite,
        How::Switch => Strategy::Switch,
        How::PatchSwap => Strategy::PatchSwap,
        How::InPlace => Strategy::InPlace,
    };
    options.once = args.once;
    let seed = u64::from(getrandom::u32().unwrap_or(1));
    options.cut = args.cut.map(|n| (n, CutVariant::Random { seed }));
    options.stall = args.stall;
    options.confirm_within = args.confirm_within;
    options.tries = args.tries;
    Ok(Some(options))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().map_err(|_| "a number of seconds is wanted")?;
    Duration::try_from_secs_f32(number).map_err(|e| e.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File {
        path: path.into(),
        error,
    })
}

fn key(path: &Path) -> Result<RsaPublicKey, Error> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let key = if text.contains("BEGIN ") {
        RsaPublicKey::from_pem(&text)
    } else {
        RsaPublicKey::from_c_header(&text)
    };
    key.map_err(|e| Error::Key {
        path: path.into(),
        why: e,
        private: text.contains("PRIVATE KEY"),
    })
}
