//! `ota image`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use ota_verify::build::{self, BuildError, PackOptions};
use ota_verify::{Digest, ImageKind, ImageSignature, Module, Version};
use serde_json::Value;

use crate::board::{self, Board};
use crate::inspect::{Fault, Image};
use crate::merge::{Merge, merge};
use crate::{Failure, Outcome, Output, Report, key, read};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make what is uploaded: descriptor, line coding, signed block, trailer
    Pack(Pack),
    /// Print what a file says about itself
    Info {
        /// Image file (- for standard input)
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check all that can be checked: trailer, descriptor, signature, line CRCs
    Verify {
        /// Image file (- for standard input)
        file: PathBuf,
        /// Public key that must have signed the image
        #[arg(long, value_name = "PUB.pem")]
        key: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Join second-stage loader and app into one file to flash
    Merge(Merge),
}

#[derive(Debug, clap::Args)]
pub struct Pack {
    /// Program as linked, or data of a host device (- for standard input)
    #[arg(value_name = "IN.bin")]
    input: PathBuf,
    #[command(flatten)]
    output: Output,
    /// What the trailer calls the image
    #[arg(long, value_enum, default_value_t = Magic::App)]
    magic: Magic,
    /// Code the program for this board's flash
    #[arg(long, value_enum)]
    board: Option<Board>,
    /// Version to write into the image descriptor
    #[arg(long, value_name = "V", value_parser = version)]
    image_version: Option<Version>,
    /// Module to write into the image descriptor
    #[arg(long, value_name = "NAME", requires = "image_version", value_parser = module)]
    module: Option<Module>,
    /// Private key to sign the image with
    #[arg(long, value_name = "KEY.pem")]
    sign: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Magic {
    /// EF EF EF EF
    App,
    /// CD CD CD CD
    Kernel,
    /// AB AB AB AB
    Single,
}

impl Command {
    pub fn run(self) -> Outcome {
        match self {
            Self::Pack(pack) => pack.run(),
            Self::Info { file, json } => info(&file, json),
            Self::Verify { file, key, json } => verify(&file, key.as_deref(), json),
            Self::Merge(args) => merge(&args),
        }
    }
}

/// The version argument.
pub fn version(text: &str) -> Result<Version, String> {
    let version = Version::new(text).map_err(|e| e.to_string())?;
    if text.len() > 32 {
        return Err(format!(
            "{} characters; an image descriptor holds 32",
            text.len()
        ));
    }
    Ok(version)
}

fn module(text: &str) -> Result<Module, String> {
    Module::new(text)
        .ok_or_else(|| "at most 32 ASCII characters without blank and quote".to_owned())
}

impl Pack {
    fn run(self) -> Outcome {
        if self.json && self.output.is_stdout() {
            return Err(Failure::usage("--json and -o - both want standard output")
                .help("write the image to a file"));
        }
        let key = self.sign.as_deref().map(key::read_private).transpose()?;
        let program = read(&self.input)?;
        if program.is_empty() {
            return Err(Failure::new("the program is empty").at(self.input.display()));
        }
        let options = PackOptions {
            kind: match self.magic {
                Magic::App => ImageKind::App,
                Magic::Kernel => ImageKind::Kernel,
                Magic::Single => ImageKind::Single,
            },
            layout: board::layout(self.board),
            version: self.image_version.as_ref(),
            module: self.module.unwrap_or_default(),
            key: key.as_ref(),
        };
        let packed = build::pack(&program, &options).map_err(|e| {
            let failure = Failure::new(&e).at(self.input.display());
            match e {
                BuildError::AlreadyPacked => failure.help("give the program as it was linked"),
                BuildError::NoDescriptor => failure.help(
                    "link the program with an image descriptor (see docs/image-format.md), \
                     or leave --image-version out",
                ),
                _ => failure,
            }
        })?;
        if let Some(board) = self.board {
            self.check_board(board, packed.bytes.len())?;
        }
        let image = Image::find(&packed.bytes);
        let info = image.verify(key.as_ref().map(build::PrivateKey::public));
        let info =
            info.map_err(|e| Failure::new(format!("what was packed does not verify: {e}")))?;
        self.output.write(&packed.bytes)?;
        if packed.descriptor.is_none() {
            eprintln!(
                "note: no image descriptor: the length comes from the trailer, and the version \
                 cannot be read from the image"
            );
        }
        let mut report = Report::new();
        describe(&mut report, &image, Some(&info));
        report.print_beside(self.json, self.output.is_stdout());
        Ok(())
    }

    fn check_board(&self, board: Board, len: usize) -> Outcome {
        if len > board.max_file() as usize {
            return Err(Failure::new(format!(
                "the image has {len} bytes; {} takes at most {} (the slot without the sector a swap needs)",
                board.name(),
                board.max_file()
            ))
            .at(self.input.display()));
        }
        if let Some(warning) = board.warning(len) {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }
}

/// Facts of an image; `info` when it verifies.
fn describe(report: &mut Report, image: &Image<'_>, info: Option<&ota_verify::ImageInfo>) {
    let hex = |bytes: [u8; 32]| Value::from(Digest::Sha256(bytes).to_string());
    let trailer = image.trailer();
    let descriptor = image.descriptor().ok().flatten();
    report
        .add("kind", trailer.map(|t| t.kind.name()))
        .add("board", image.board.map(Board::name))
        .add("offset", (image.offset != 0).then_some(image.offset))
        .add("size", image.file.len())
        .add("image_size", info.map(|i| i.len))
        .add("version", descriptor.map(|d| d.version.to_string()))
        .add("module", descriptor.map(|d| d.module.as_str().to_owned()))
        .add(
            "load_address",
            descriptor.map(|d| format!("{:#x}", d.load_address)),
        )
        .add("sha256", info.map_or(Value::Null, |i| hex(i.sha256)))
        .add("md5", trailer.map(|t| Digest::Md5(t.md5).to_string()))
        .add("signature", info.map(|i| i.signature.to_string()))
        .add(
            "key",
            info.and_then(|i| match i.signature {
                ImageSignature::None => None,
                ImageSignature::Unknown(id) | ImageSignature::Verified(id) => Some(id.to_string()),
            }),
        );
}

fn info(file: &std::path::Path, json: bool) -> Outcome {
    let bytes = read(file)?;
    if let Some(loader) = board::loader_info(&bytes) {
        let mut report = Report::new();
        report
            .add("kind", "boot loader")
            .add("board", Board::Mk3060.name())
            .add("size", bytes.len())
            .add("version", loader.version())
            .add("journal_version", loader.journal_version)
            .add("capabilities", board::capabilities(&loader));
        report.print(json);
        return Ok(());
    }
    let image = Image::find(&bytes);
    if !image.is_recognised() {
        return Err(
            Failure::new("not an image: no trailer, no descriptor, no coded lines")
                .at(file.display())
                .help("ota image pack makes an image of a program"),
        );
    }
    let mut report = Report::new();
    let verdict = image.verify(None);
    describe(&mut report, &image, verdict.as_ref().ok());
    report.add(
        "check",
        verdict.err().map_or("good".to_owned(), |e| e.to_string()),
    );
    report.print(json);
    Ok(())
}

fn verify(file: &std::path::Path, key: Option<&std::path::Path>, json: bool) -> Outcome {
    let key = key.map(key::read_public).transpose()?;
    let bytes = read(file)?;
    let image = Image::find(&bytes);
    let info = image.verify(key.as_ref()).map_err(|fault| {
        let failure = Failure::new(&fault).at(file.display());
        match fault {
            Fault::Verify(ota_verify::VerifyError::Trailer { .. }) => {
                failure.help("give the packed file (NAME.ota.md5.bin), which ends in a trailer")
            }
            Fault::OtherKey(_) => {
                failure.help("give the public key that belongs to the signing key")
            }
            Fault::Verify(ota_verify::VerifyError::Refused(_)) => {
                failure.help("sign the image: ota image pack --sign KEY.pem")
            }
            _ => failure,
        }
    })?;
    let mut report = Report::new();
    describe(&mut report, &image, Some(&info));
    report.add("check", "good");
    report.print(json);
    Ok(())
}
