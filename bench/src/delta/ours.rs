//! Our own formats: each runs in a process of its own, so that its peak of memory
//! is its own too.

use super::Figures;
use crate::apply;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use ota_delta::{nbdiff, ptr};
use ota_verify::sha256;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A format and its mode.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The whole image in one .xz stream
    Xz,
    /// AliOS nbdiff
    Nbdiff,
    /// ptr, old image in another slot
    PtrApart,
    /// ptr, over the old image
    PtrInPlace,
}

/// Makes and applies one patch; the figures go to standard output.
#[derive(clap::Args)]
pub struct One {
    #[arg(value_enum)]
    format: Format,
    old: PathBuf,
    new: PathBuf,
}

impl One {
    /// Prints the figures as JSON.
    pub fn run(&self) -> Result<()> {
        let read = |p: &Path| std::fs::read(p).with_context(|| p.display().to_string());
        let figures = self.format.measure(&read(&self.old)?, &read(&self.new)?)?;
        println!("{}", serde_json::to_string(&figures)?);
        Ok(())
    }
}

impl Format {
    fn measure(self, old: &[u8], new: &[u8]) -> Result<Figures> {
        let start = Instant::now();
        let patch = self.make(old, new)?;
        let make = start.elapsed().as_secs_f64();
        let encoder_kib = peak_kib();
        let start = Instant::now();
        let made = self.apply(old, &patch, new.len())?;
        let apply = start.elapsed().as_secs_f64();
        ensure!(
            sha256(&made) == sha256(new) && made.len() == new.len(),
            "the decoder made another image"
        );
        let ram = match self {
            Self::Xz => size_of::<ota_delta::xz::XzDecoder<32768>>(),
            Self::Nbdiff => size_of::<nbdiff::Workspace>(),
            Self::PtrApart | Self::PtrInPlace => size_of::<ptr::Decoder>(),
        };
        Ok(Figures {
            bytes: patch.len(),
            make,
            apply: Some(apply),
            encoder_kib,
            ram: Some(ram),
        })
    }

    fn make(self, old: &[u8], new: &[u8]) -> Result<Vec<u8>> {
        let lag = match self {
            Self::Xz => return Ok(xz(new)?),
            Self::Nbdiff => {
                return Ok(nbdiff::encode(
                    old,
                    new,
                    &nbdiff::Options::default(),
                    &|_| {},
                )?);
            }
            Self::PtrApart => 0,
            Self::PtrInPlace => 1,
        };
        let options = ptr::Options {
            lag,
            ..ptr::Options::default()
        };
        Ok(ptr::encode(old, new, &options, &|_| {})?)
    }

    fn apply(self, old: &[u8], patch: &[u8], new_len: usize) -> Result<Vec<u8>> {
        // As large as what a download brings at a time.
        let piece = 1024;
        match self {
            Self::Xz => {
                let mut decoder = Box::new(ota_delta::xz::XzDecoder::<32768>::new());
                let mut out = vec![0; new_len];
                let done = decoder.decode(&mut &*patch, &mut out);
                ensure!(done == Ok(new_len), "the .xz decoder: {done:?}");
                Ok(out)
            }
            Self::Nbdiff => apply::nbdiff(old, patch, nbdiff::SLICE)
                .map_err(|e| anyhow::anyhow!("the nbdiff decoder: {e:?}")),
            Self::PtrApart => {
                apply::ptr(old, patch, piece).map_err(|e| anyhow::anyhow!("the ptr decoder: {e:?}"))
            }
            Self::PtrInPlace => apply::ptr_in_place(old, patch, piece)
                .map_err(|e| anyhow::anyhow!("the ptr decoder in place: {e:?}")),
        }
    }
}

/// What the agent decodes while it writes: dictionary 32 KiB, CRC-32.
fn xz(new: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut options = lzma_rust2::XzOptions::with_preset(9);
    options.lzma_options.dict_size = 32 << 10;
    options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options)?;
    writer.write_all(new)?;
    writer.finish()
}

/// The largest this process has been, in KiB; only Linux says.
fn peak_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
