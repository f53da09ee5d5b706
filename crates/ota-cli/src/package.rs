//! `ota package`: what the cloud serves.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use ota_verify::{Digest, HashMethod, Hasher, verify_digestsign};

use crate::{Failure, Outcome, Report, key, read};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print size, sign and digestsign as the cloud's messages name them
    Sign {
        /// Package file (- for standard input)
        file: PathBuf,
        /// Private key
        #[arg(long, value_name = "PRIV.pem")]
        key: PathBuf,
        /// Digest of the package
        #[arg(long, value_enum, default_value_t = Method::Sha256)]
        method: Method,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check a package against its digestsign
    Verify {
        /// Package file (- for standard input)
        file: PathBuf,
        /// Public key
        #[arg(long, value_name = "PUB.pem")]
        key: PathBuf,
        /// The signature, as the cloud's message has it
        #[arg(long, value_name = "B64")]
        digestsign: String,
        /// Digest of the package
        #[arg(long, value_enum, default_value_t = Method::Sha256)]
        method: Method,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Method {
    /// 32 bytes
    Sha256,
    /// 16 bytes; for old devices
    Md5,
}

impl Command {
    pub fn run(self) -> Outcome {
        match self {
            Self::Sign {
                file,
                key,
                method,
                json,
            } => sign(&file, &key, method, json),
            Self::Verify {
                file,
                key,
                digestsign,
                method,
                json,
            } => verify(&file, &key, &digestsign, method, json),
        }
    }
}

/// Size and digest of a package.
fn measure(file: &Path, method: Method) -> Outcome<(usize, Digest)> {
    let bytes = read(file)?;
    let mut hasher = Hasher::new(match method {
        Method::Sha256 => HashMethod::Sha256,
        Method::Md5 => HashMethod::Md5,
    });
    hasher.update(&bytes);
    Ok((bytes.len(), hasher.finish()))
}

fn facts(size: usize, digest: &Digest) -> Report {
    let mut report = Report::new();
    report
        .add("size", size)
        .add("signMethod", digest.method().name())
        .add("sign", digest.to_string());
    if digest.method() == HashMethod::Md5 {
        // Devices of the first protocol read the digest from this field.
        report.add("md5", digest.to_string());
    }
    report
}

fn sign(file: &Path, key: &Path, method: Method, json: bool) -> Outcome {
    let key = key::read_private(key)?;
    let (size, digest) = measure(file, method)?;
    let digestsign = key
        .digestsign(&digest)
        .map_err(|e| Failure::new(e).at(file.display()))?;
    let mut report = facts(size, &digest);
    report.add("digestsign", digestsign);
    report.print(json);
    Ok(())
}

fn verify(file: &Path, key: &Path, digestsign: &str, method: Method, json: bool) -> Outcome {
    let key = key::read_public(key)?;
    let (size, digest) = measure(file, method)?;
    verify_digestsign(&key, &digest, digestsign.trim()).map_err(|e| {
        Failure::new(e)
            .at(file.display())
            .help("check that package, key, digestsign and --method belong together")
    })?;
    let mut report = facts(size, &digest);
    report.add("check", "good");
    report.print(json);
    Ok(())
}
