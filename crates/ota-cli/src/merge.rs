//! `ota image merge`: loader and app in one file.

use std::path::PathBuf;

use crate::board::Board;
use crate::inspect::Image;
use crate::{Failure, Outcome, Output, Report, read};

#[derive(Debug, clap::Args)]
pub struct Merge {
    /// Second-stage loader as linked
    #[arg(long, value_name = "BOOT2.bin")]
    boot: PathBuf,
    /// Packed app, with trailer
    #[arg(long, value_name = "APP.ota.md5.bin")]
    app: PathBuf,
    /// Board the two are for
    #[arg(long, value_enum)]
    board: Board,
    #[command(flatten)]
    output: Output,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn merge(args: &Merge) -> Outcome {
    if args.json && args.output.is_stdout() {
        return Err(Failure::usage("--json and -o - both want standard output")
            .help("write the file to a name"));
    }
    let board = args.board;
    let boot = read(&args.boot)?;
    let app = read(&args.app)?;
    let at_boot = |failure: Failure| failure.at(args.boot.display());
    if boot.is_empty() {
        return Err(at_boot(Failure::new("the loader is empty")));
    }
    if boot.len() > board.max_loader() {
        return Err(at_boot(Failure::new(format!(
            "the loader has {} bytes; {} has room for {}",
            boot.len(),
            board.name(),
            board.max_loader()
        )))
        .help("give the loader as linked, not coded and not merged"));
    }
    let at_app = |failure: Failure| failure.at(args.app.display());
    let image = Image::find(&app);
    if image.offset != 0 {
        return Err(
            at_app(Failure::new("this file holds a loader already")).help("give APP.ota.md5.bin")
        );
    }
    let info = image.verify(None).map_err(|e| {
        at_app(Failure::new(e)).help(format!(
            "pack the app: ota image pack --board {}",
            board.name()
        ))
    })?;
    if image.board != Some(board) {
        return Err(at_app(Failure::new(format!(
            "the app is not coded for {}",
            board.name()
        )))
        .help(format!(
            "pack the app: ota image pack --board {}",
            board.name()
        )));
    }
    if app.len() > board.max_file() as usize {
        return Err(at_app(Failure::new(format!(
            "the app has {} bytes; {} takes at most {}",
            app.len(),
            board.name(),
            board.max_file()
        ))));
    }
    if let Some(warning) = board.warning(app.len()) {
        eprintln!("warning: {warning}");
    }
    let mut merged = board.encode(&boot);
    let loader_len = merged.len();
    merged.resize(board.app_offset(), 0xFF);
    merged.extend(&app);
    args.output.write(&merged)?;
    let mut report = Report::new();
    report
        .add("board", board.name())
        .add("size", merged.len())
        .add("loader_size", loader_len)
        .add("app_offset", format!("{:#x}", board.app_offset()))
        .add("app_size", app.len())
        .add("version", info.version().map(ToString::to_string))
        .add("flash_address", format!("{:#x}", board.merged_address()));
    report.print_beside(args.json, args.output.is_stdout());
    Ok(())
}
