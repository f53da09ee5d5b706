//! `ota key`, and reading keys for the other commands.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ota_verify::build::{self, PrivateKey};
use ota_verify::{KeyError, RsaPublicKey};

use crate::files::{Access, write};
use crate::{Failure, Outcome, Output, Report, read_text};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key pair: DIR/private.pem and DIR/public.pem
    Gen {
        /// Directory to write to; it is made when missing
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// Length of the modulus (original AliOS devices take 2048)
        #[arg(long, default_value = "2048", value_parser = ["2048", "3072", "4096"])]
        bits: String,
        /// Overwrite existing keys
        #[arg(long)]
        force: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Turn a public key into ota_public_key_config.h, or that file back into PEM
    Header(Header),
}

#[derive(Debug, Args)]
pub struct Header {
    /// Public key (PEM)
    #[arg(value_name = "PUB.pem", required_unless_present = "import")]
    public: Option<PathBuf>,
    /// C header to read instead; PEM is written
    #[arg(long, value_name = "FILE", conflicts_with = "public")]
    import: Option<PathBuf>,
    /// File to write (- for standard output)
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    output: PathBuf,
    /// Overwrite the output file
    #[arg(long)]
    force: bool,
}

impl Command {
    pub fn run(self) -> Outcome {
        match self {
            Self::Gen {
                output,
                bits,
                force,
                json,
            } => generate(&output, &bits, force, json),
            Self::Header(header) => header.run(),
        }
    }
}

fn generate(dir: &Path, bits: &str, force: bool, json: bool) -> Outcome {
    let (private_path, public_path) = (dir.join("private.pem"), dir.join("public.pem"));
    // Before the long computation, and before one of the two is written.
    for path in [&private_path, &public_path] {
        if !force && path.exists() {
            return Err(Failure::new("the key file exists")
                .at(path.display())
                .help("devices that know this key will not take what another one signs; --force overwrites it"));
        }
    }
    std::fs::create_dir_all(dir)
        .map_err(|e| Failure::new(format!("cannot make the directory: {e}")).at(dir.display()))?;
    let key = PrivateKey::generate(bits.parse().unwrap_or(0)).map_err(Failure::new)?;
    let private = key.to_pem().map_err(Failure::new)?;
    let public = build::public_key_pem(key.public()).map_err(Failure::new)?;
    write(&private_path, private.as_bytes(), force, Access::Owner)?;
    write(&public_path, public.as_bytes(), force, Access::Everyone)?;
    let mut report = Report::new();
    report
        .add("private_key", private_path.display().to_string())
        .add("public_key", public_path.display().to_string())
        .add("bits", key.public().bits())
        .add("key", key.public().id().to_string());
    report.print(json);
    Ok(())
}

impl Header {
    fn run(self) -> Outcome {
        let text = match (&self.public, &self.import) {
            (_, Some(header)) => {
                let text = read_text(header)?;
                let key = RsaPublicKey::from_c_header(&text).map_err(|e| {
                    Failure::new(e)
                        .at(header.display())
                        .help("give the header with ota_pubn_buf and ota_pube_buf")
                })?;
                build::public_key_pem(&key).map_err(Failure::new)?
            }
            (Some(public), None) => build::c_header(&read_public(public)?),
            (None, None) => {
                return Err(Failure::usage("no key given").help("give PUB.pem or --import FILE"));
            }
        };
        Output {
            output: self.output,
            force: self.force,
        }
        .write(text.as_bytes())
    }
}

const OTHER_SIZE: &str = "make a key of 2048 bits, which every device takes: ota key gen -o DIR";

/// Reads a public key: PEM, or AliOS' C header.
pub fn read_public(path: &Path) -> Outcome<RsaPublicKey> {
    let text = read_text(path)?;
    let key = if text.contains("-----BEGIN") {
        RsaPublicKey::from_pem(&text)
    } else {
        RsaPublicKey::from_c_header(&text)
    };
    key.map_err(|e| {
        let failure = Failure::new(e).at(path.display());
        if text.contains("PRIVATE KEY") {
            failure.help("this is a private key; give its public half (openssl rsa -pubout)")
        } else if let KeyError::Size(_) = e {
            failure.help(OTHER_SIZE)
        } else {
            failure.help("give a public RSA key as PEM or as ota_public_key_config.h")
        }
    })
}

/// Reads a private key in PEM.
pub fn read_private(path: &Path) -> Outcome<PrivateKey> {
    let text = read_text(path)?;
    PrivateKey::from_pem(&text).map_err(|e| {
        let failure = Failure::new(&e).at(path.display());
        if text.contains("PUBLIC KEY") {
            failure.help("this is a public key; signing needs the private one")
        } else if let build::BuildError::Key(KeyError::Size(_)) = e {
            failure.help(OTHER_SIZE)
        } else {
            failure.help("give an RSA private key as PEM, not encrypted; ota key gen makes one")
        }
    })
}
