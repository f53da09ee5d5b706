//! `ota delta`: patches between two images.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ota_delta::io::Spliced;
use ota_delta::{PackageKind, compress, nbdiff, ptr};

use crate::inspect::Image;
use crate::{Failure, Outcome, Output, Report, read};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a patch from one image to another
    Make {
        /// Image the device has (- for standard input)
        old: PathBuf,
        /// Image the device shall have
        new: PathBuf,
        #[command(flatten)]
        output: Output,
        /// Kind of patch
        #[arg(long, value_enum, default_value_t = Format::Ptr)]
        format: Format,
        /// nbdiff: bytes per slice, the device's SPLICT_SIZE [default: 65536]
        #[arg(long, value_name = "BYTES")]
        slice: Option<u32>,
        /// ptr: instruction set [default: auto, which takes what gives the smallest patch]
        #[arg(long, value_enum)]
        arch: Option<Arch>,
        /// ptr: load address of the image, such as 0x10000 [default: found from its pointers]
        #[arg(long, value_name = "ADDR", value_parser = address)]
        base: Option<u32>,
        /// ptr: the smallest patch, also where much is new and a device would take twice as
        /// long for it
        #[arg(long)]
        smallest: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Apply a patch, of either kind
    Apply {
        /// Image the patch was made against
        old: PathBuf,
        /// Patch (- for standard input)
        patch: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Print what a patch is for
    Info {
        /// Patch (- for standard input)
        patch: PathBuf,
        /// nbdiff: bytes per slice
        #[arg(long, value_name = "BYTES", default_value_t = nbdiff::SLICE)]
        slice: u32,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// AliOS's own, applied by the boot loader
    Nbdiff,
    /// Pointer-aware, applied while it downloads; smallest
    Ptr,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Arch {
    /// Try all
    Auto,
    /// Thumb and Thumb-2
    Thumb,
    /// 32-bit ARM
    Arm,
    /// 64-bit ARM
    A64,
    /// Xtensa
    Xtensa,
    /// No code known
    None,
}

impl Arch {
    fn chosen(self) -> Option<ptr::Arch> {
        match self {
            Self::Auto => None,
            Self::Thumb => Some(ptr::Arch::Thumb),
            Self::Arm => Some(ptr::Arch::Arm),
            Self::A64 => Some(ptr::Arch::A64),
            Self::Xtensa => Some(ptr::Arch::Xtensa),
            Self::None => Some(ptr::Arch::None),
        }
    }
}

fn address(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    match digits {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|e| format!("{e}; give an address such as 0x10000"))
}

impl Command {
    pub fn run(self) -> Outcome {
        match self {
            Self::Make {
                old,
                new,
                output,
                format,
                slice,
                arch,
                base,
                smallest,
                json,
            } => {
                let how = match format {
                    Format::Nbdiff => {
                        only(arch.is_some(), "--arch", "ptr")?;
                        only(base.is_some(), "--base", "ptr")?;
                        only(smallest, "--smallest", "ptr")?;
                        How::Nbdiff(nbdiff::Options {
                            slice: slice.unwrap_or(nbdiff::SLICE),
                            ..nbdiff::Options::default()
                        })
                    }
                    Format::Ptr => {
                        only(slice.is_some(), "--slice", "nbdiff")?;
                        How::Ptr(ptr::Options {
                            arch: arch.and_then(Arch::chosen),
                            base,
                            instructions: (!smallest).then_some(ptr::INSTRUCTIONS),
                            ..ptr::Options::default()
                        })
                    }
                };
                make(&old, &new, &output, &how, json)
            }
            Self::Apply { old, patch, output } => {
                let image = apply(&read(&old)?, &read(&patch)?, &old, &patch)?;
                output.write(&image)
            }
            Self::Info { patch, slice, json } => info(&patch, slice, json),
        }
    }
}

/// A format with its options.
enum How {
    Nbdiff(nbdiff::Options),
    Ptr(ptr::Options),
}

/// An option that the format does not have is no option.
fn only(given: bool, option: &str, format: &str) -> Outcome {
    if given {
        let what = format!("{option} is for --format {format} only");
        return Err(Failure::usage(what));
    }
    Ok(())
}

fn make(old_path: &Path, new_path: &Path, output: &Output, how: &How, json: bool) -> Outcome {
    if json && output.is_stdout() {
        return Err(Failure::usage("--json and -o - both want standard output"));
    }
    let (old, new) = (read(old_path)?, read(new_path)?);
    for (path, image) in [(old_path, &old), (new_path, &new)] {
        if lacks_trailer(image) {
            eprintln!(
                "warning: no trailer at the end ({}): make patches from .ota.md5.bin files",
                path.display()
            );
        }
    }
    let bar = ProgressBar::new(100);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos:>3} % {elapsed}") {
        bar.set_style(style);
    }
    let progress = |share: f32| bar.set_position((share * 100.0) as u64);
    let patch = match how {
        How::Nbdiff(options) => {
            nbdiff::encode(&old, &new, options, &progress).map_err(Failure::new)
        }
        How::Ptr(options) => ptr::encode(&old, &new, options, &progress).map_err(Failure::new),
    };
    bar.finish_and_clear();
    let patch = patch.map_err(|f| f.at(new_path.display()))?;
    // What is handed out has been applied once.
    if apply(&old, &patch, old_path, new_path).is_ok_and(|image| image == new) {
        output.write(&patch)?;
    } else {
        return Err(Failure::new(
            "the patch does not give the new image; please report this",
        ));
    }
    note_whole(&new, &patch);
    let mut report = Report::new();
    report
        .add("old", old.len())
        .add("new", new.len())
        .add("patch", patch.len())
        .add(
            "share",
            format!("{:.2} %", patch.len() as f64 * 100.0 / new.len() as f64),
        );
    report.print_beside(json, output.is_stdout());
    Ok(())
}

/// Says so if the whole image is hardly larger when packed.
fn note_whole(new: &[u8], patch: &[u8]) {
    if compress::worth_packing(new.len() as u64, patch.len() as u64)
        && let Ok(whole) = compress::xz(new)
        && compress::beats_patch(whole.len() as u64, patch.len() as u64)
    {
        eprintln!(
            "note: the whole image takes {} bytes as .xz, this patch {}; .xz needs no old \
             image and is decoded faster",
            whole.len(),
            patch.len()
        );
    }
}

/// Coded board images carry AliOS's trailer; others need none.
fn lacks_trailer(image: &[u8]) -> bool {
    Image::find(image).board.is_some()
        && ota_verify::Trailer::parse(image.last_chunk::<28>().map_or(&[], |t| &t[..])).is_err()
}

fn apply(old: &[u8], patch: &[u8], old_path: &Path, patch_path: &Path) -> Outcome<Vec<u8>> {
    let damaged = |e: &dyn std::fmt::Display| {
        Failure::new(format!("the patch cannot be applied: {e}"))
            .at(patch_path.display())
            .help("the file is damaged, or it was made against another image")
    };
    match PackageKind::detect(patch) {
        PackageKind::Ptr => {
            let mut memory = ptr::Memory::new(old);
            let header = match memory.apply(patch, patch.len()) {
                Err(ptr::Error::Refused) => {
                    return Err(Failure::new("not the image this patch was made against")
                        .at(old_path.display())
                        .help("ota delta info PATCH shows its length and digest"));
                }
                done => done.map_err(|e| damaged(&e))?,
            };
            if ptr::digest(&memory.new) == header.new_digest {
                Ok(memory.new)
            } else {
                Err(damaged(
                    &"the new image has another digest than the patch says",
                ))
            }
        }
        PackageKind::Nbdiff => {
            let mut slices = Vec::new();
            // Every section says how long its slice is: the first one is the slice size.
            let len = patch.len() as u32;
            let slice = first_slice(patch).ok_or_else(|| damaged(&nbdiff::Error::Truncated))?;
            nbdiff::scan(&mut &patch[..], len, slice, &mut |s| {
                slices.push(*s);
                Ok(())
            })
            .map_err(|e| damaged(&e))?;
            let mut room = Box::new(nbdiff::Workspace::new());
            let mut new: Vec<u8> = Vec::new();
            for s in slices {
                let done = new.clone();
                let mut view = Spliced {
                    new: &mut &done[..],
                    old: &mut &*old,
                    split: s.new_offset,
                };
                let size = old.len().max(done.len()) as u32;
                let mut from = patch;
                let mut buf = vec![0; s.header.new_len as usize];
                nbdiff::SliceDecoder::begin(
                    &mut room,
                    &mut from,
                    s.section_offset,
                    len,
                    slice,
                    size,
                )
                .and_then(|mut d| d.read(&mut from, &mut view, &mut buf))
                .map_err(|e| damaged(&e))?;
                new.extend(buf);
            }
            Ok(new)
        }
        _ => Err(Failure::new("neither an nbdiff nor a ptr patch").at(patch_path.display())),
    }
}

fn first_slice(patch: &[u8]) -> Option<u32> {
    let head = patch.first_chunk::<{ nbdiff::HEADER_LEN }>()?;
    Some(nbdiff::SectionHeader::parse(head, u32::MAX).ok()?.new_len)
}

fn info(path: &Path, slice: u32, json: bool) -> Outcome {
    let patch = read(path)?;
    let failed =
        |e: &dyn std::fmt::Display| Failure::new(format!("damaged patch: {e}")).at(path.display());
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut report = Report::new();
    match PackageKind::detect(&patch) {
        PackageKind::Ptr => {
            let h = ptr::Header::parse(&patch).map_err(|e| failed(&e))?;
            report
                .add("format", "ptr")
                .add("patch", patch.len())
                .add("arch", format!("{:?}", h.arch).to_lowercase())
                // Without code and pointers there is no address to tell.
                .add(
                    "base",
                    (h.arch != ptr::Arch::None || h.base != 0).then(|| format!("{:#x}", h.base)),
                )
                .add("lag", h.lag)
                .add("old", h.old_len)
                .add("old_sha256", hex(&h.old_digest) + "...")
                .add("new", h.new_len)
                .add("new_sha256", hex(&h.new_digest) + "...")
                .add("slices", h.new_len.div_ceil(ptr::SLICE))
                .add("coded_lines", h.lines.map(|l| l.new.1));
        }
        PackageKind::Nbdiff => {
            let mut slices = 0u32;
            let new = nbdiff::scan(&mut &patch[..], patch.len() as u32, slice, &mut |_| {
                slices += 1;
                Ok(())
            })
            .map_err(|e| failed(&e).help("another slice size than --slice?"))?;
            report
                .add("format", "nbdiff")
                .add("patch", patch.len())
                .add("slice", slice)
                .add("slices", slices)
                .add("new", new);
        }
        PackageKind::Xz => {
            report
                .add("format", "xz (a full image)")
                .add("patch", patch.len());
        }
        PackageKind::Plain => return Err(Failure::new("not a patch").at(path.display())),
    }
    report.print(json);
    Ok(())
}
