#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod board;
mod cloud;
mod delta;
mod demo;
mod failure;
mod files;
mod image;
mod inspect;
mod key;
mod merge;
mod package;
mod report;

pub use failure::{Failure, Outcome};
pub use files::{Output, read, read_text};
pub use report::{Report, print_line};

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Over-the-air updates for AliOS-style firmware: images, packages, patches, keys, a cloud.
#[derive(Debug, Parser)]
#[command(name = "ota", version, propagate_version = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pack, look into, verify and merge firmware images
    #[command(subcommand)]
    Image(image::Command),
    /// Sign and verify what the cloud serves
    #[command(subcommand)]
    Package(package::Command),
    /// Make, apply and look into patches between two images
    #[command(subcommand)]
    Delta(delta::Command),
    /// Make keys and the texts devices keep them in
    #[command(subcommand)]
    Key(key::Command),
    /// A development cloud that speaks the protocol of Alibaba Cloud IoT OTA
    Cloud(cloud::Args),
    /// Update a device from version 1 to version 2, all on this machine
    Demo(demo::Demo),
}

/// Runs the command line of this process.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Image(command) => command.run(),
        Command::Package(command) => command.run(),
        Command::Delta(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Cloud(args) => args.run(),
        Command::Demo(demo) => demo.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}
