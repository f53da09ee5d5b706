//! Patches: ours, and the public tools that are installed.

use anyhow::{Context, Result, bail, ensure};
use ota_delta::io::{IoError, Spliced};
use ota_delta::{nbdiff, ptr};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What to compare.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of images; NAME-old.bin and NAME-new.bin are a pair, as are the files of pairs.txt
    /// (lines "old new"), else every two files that share a name up to the first '-'
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Only our own formats
    #[arg(long)]
    ours: bool,
}

struct Row {
    tool: String,
    bytes: usize,
    make: Duration,
    apply: Option<Duration>,
    note: String,
}

impl Args {
    /// Prints a table per pair.
    pub fn run(&self) -> Result<()> {
        let pairs = pairs(&self.corpus)?;
        ensure!(
            !pairs.is_empty(),
            "no pairs of images in {}",
            self.corpus.display()
        );
        let mut missing = Vec::new();
        for (old_path, new_path) in pairs {
            let (old, new) = (fs::read(&old_path)?, fs::read(&new_path)?);
            let name = |p: &Path| {
                p.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            };
            println!(
                "\n{} -> {} ({} bytes)",
                name(&old_path),
                name(&new_path),
                new.len()
            );
            println!(
                "{:<34} {:>9} {:>9} {:>9}  decoder RAM",
                "", "bytes", "make s", "apply s"
            );
            let mut rows = vec![full_xz(&new)?];
            if !self.ours {
                others(&old_path, &new_path, &mut rows, &mut missing)?;
            }
            rows.push(our_nbdiff(&old, &new)?);
            rows.push(our_ptr(&old, &new, 0, "ptr, old image kept (A/B)")?);
            rows.push(our_ptr(&old, &new, 1, "ptr, in place")?);
            for r in rows {
                let apply = r
                    .apply
                    .map_or("-".into(), |t| format!("{:.2}", t.as_secs_f64()));
                println!(
                    "{:<34} {:>9} {:>9.2} {apply:>9}  {}",
                    r.tool,
                    r.bytes,
                    r.make.as_secs_f64(),
                    r.note
                );
            }
        }
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            println!(
                "\nnot installed, so not compared: {} (cargo xtask setup --yes)",
                missing.join(", ")
            );
        }
        Ok(())
    }
}

fn pairs(dir: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if let Ok(list) = fs::read_to_string(dir.join("pairs.txt")) {
        let mut out = Vec::new();
        for line in list.lines().filter(|l| !l.trim().is_empty()) {
            let mut names = line.split_whitespace();
            match (names.next(), names.next()) {
                (Some(a), Some(b)) => out.push((dir.join(a), dir.join(b))),
                _ => bail!("pairs.txt: a line is \"old new\", not {line:?}"),
            }
        }
        return Ok(out);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "bin"))
        .collect();
    // "old" goes before "new", everything else by name.
    let key = |p: &Path| {
        p.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .replace("-old", "-0")
            .replace("-new", "-1")
    };
    files.sort_by_key(|p| key(p));
    let family = |p: &Path| key(p).split('-').next().unwrap_or_default().to_owned();
    let mut out = Vec::new();
    for (i, a) in files.iter().enumerate() {
        for b in &files[i + 1..] {
            if family(a) == family(b) {
                out.push((a.clone(), b.clone()));
                // Names do not tell which is newer: both ways, unless they do.
                if !key(b).contains("-1") || !key(a).contains("-0") {
                    out.push((b.clone(), a.clone()));
                }
            }
        }
    }
    Ok(out)
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let t = Instant::now();
    let v = f();
    (v, t.elapsed())
}

fn full_xz(new: &[u8]) -> Result<Row> {
    use std::io::Write;
    let (packed, make) = timed(|| -> std::io::Result<Vec<u8>> {
        let mut options = lzma_rust2::XzOptions::with_preset(9);
        options.lzma_options.dict_size = 32 << 10;
        options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
        let mut w = lzma_rust2::XzWriter::new(Vec::new(), options)?;
        w.write_all(new)?;
        w.finish()
    });
    let packed = packed?;
    let mut decoder = Box::new(ota_delta::xz::XzDecoder::<32768>::new());
    let mut out = vec![0; new.len()];
    let (done, apply) = timed(|| decoder.decode(&mut &packed[..], &mut out));
    ensure!(
        done == Ok(new.len()) && out == new,
        "the .xz decoder gave another image"
    );
    let ram = size_of_val(&*decoder);
    Ok(row(
        "full image, xz, dict 32 KiB",
        packed.len(),
        make,
        Some(apply),
        format!("{ram}"),
    ))
}

fn row(tool: &str, bytes: usize, make: Duration, apply: Option<Duration>, note: String) -> Row {
    Row {
        tool: tool.into(),
        bytes,
        make,
        apply,
        note,
    }
}

fn our_nbdiff(old: &[u8], new: &[u8]) -> Result<Row> {
    let (patch, make) = timed(|| nbdiff::encode(old, new, &nbdiff::Options::default(), &|_| {}));
    let patch = patch?;
    let len = patch.len() as u32;
    let mut room = Box::new(nbdiff::Workspace::new());
    let (done, apply) = timed(|| -> Result<Vec<u8>, nbdiff::Error> {
        let mut slices = Vec::new();
        nbdiff::scan(&mut &patch[..], len, nbdiff::SLICE, &mut |s| {
            slices.push(*s);
            Ok(())
        })?;
        let mut made: Vec<u8> = Vec::new();
        for s in slices {
            let done = made.clone();
            let mut view = Spliced {
                new: &mut &done[..],
                old: &mut &*old,
                split: s.new_offset,
            };
            let size = old.len().max(done.len()) as u32;
            let mut from = &patch[..];
            let mut d = nbdiff::SliceDecoder::begin(
                &mut room,
                &mut from,
                s.section_offset,
                len,
                nbdiff::SLICE,
                size,
            )?;
            let mut buf = vec![0; s.header.new_len as usize];
            d.read(&mut from, &mut view, &mut buf)?;
            made.extend(buf);
        }
        Ok(made)
    });
    ensure!(
        done.as_deref() == Ok(new),
        "the nbdiff decoder gave another image"
    );
    let ram = size_of::<nbdiff::Workspace>();
    Ok(row(
        "nbdiff",
        patch.len(),
        make,
        Some(apply),
        format!("{ram}"),
    ))
}

struct Memory<'a>(&'a [u8], Vec<u8>);

fn fetch(from: &[u8], offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
    let at = offset as usize;
    buf.copy_from_slice(from.get(at..at + buf.len()).ok_or(IoError)?);
    Ok(())
}

impl ptr::Target for Memory<'_> {
    fn begin(&mut self, _: &ptr::Header) -> Result<(), IoError> {
        Ok(())
    }
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(self.0, offset, buf)
    }
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(&self.1, offset, buf)
    }
    fn write_new(&mut self, _: u32, data: &[u8]) -> Result<(), IoError> {
        self.1.extend_from_slice(data);
        Ok(())
    }
}

fn our_ptr(old: &[u8], new: &[u8], lag: u8, name: &str) -> Result<Row> {
    let options = ptr::Options {
        lag,
        ..ptr::Options::default()
    };
    let (patch, make) = timed(|| ptr::encode(old, new, &options, &|_| {}));
    let patch = patch?;
    let mut memory = Memory(old, Vec::new());
    let mut decoder = Box::new(ptr::Decoder::new());
    let (done, apply) = timed(|| {
        decoder
            .push(&mut memory, &patch)
            .and_then(|()| decoder.finish())
    });
    ensure!(
        done.is_ok() && memory.1 == new,
        "the ptr decoder gave another image"
    );
    let ram = size_of::<ptr::Decoder>();
    Ok(row(name, patch.len(), make, Some(apply), format!("{ram}")))
}

fn others(old: &Path, new: &Path, rows: &mut Vec<Row>, missing: &mut Vec<String>) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("patch");
    let python = std::env::current_dir()?.join("target/venv/bin/python");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map(|d| PathBuf::from(d).join("venv/bin/python"));
    let python = target.filter(|p| p.exists()).unwrap_or(python);
    let mut tool = |name: &str, program: &Path, args: &[&std::ffi::OsStr]| -> Result<()> {
        let _ = fs::remove_file(&out);
        let (done, make) = timed(|| {
            Command::new(program)
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
        });
        match (done, fs::metadata(&out)) {
            (Ok(status), Ok(m)) if status.success() => {
                rows.push(row(name, m.len() as usize, make, None, String::new()));
            }
            _ => missing.push(name.into()),
        }
        Ok(())
    };
    let (o, n, p) = (old.as_os_str(), new.as_os_str(), out.as_os_str());
    let s = std::ffi::OsStr::new;
    tool(
        "xdelta3 -9 -S lzma",
        Path::new("xdelta3"),
        &[s("-e"), s("-9"), s("-S"), s("lzma"), s("-s"), o, n, p],
    )?;
    let code = "import sys, bsdiff4; bsdiff4.file_diff(*sys.argv[1:4])";
    tool("bsdiff4", &python, &[s("-c"), s(code), o, n, p])?;
    let detools = [s("-m"), s("detools"), s("create_patch")];
    tool(
        "detools sequential",
        &python,
        &[&detools[..], &[o, n, p]].concat(),
    )?;
    let cortex = [s("--data-format"), s("arm-cortex-m4")];
    tool(
        "detools --data-format cortex-m4",
        &python,
        &[&detools[..], &cortex, &[o, n, p]].concat(),
    )?;
    let place = [
        s("-m"),
        s("detools"),
        s("create_patch_in_place"),
        s("--memory-size"),
        s("1835008"),
        s("--segment-size"),
        s("65536"),
    ];
    tool(
        "detools in-place",
        &python,
        &[&place[..], &[o, n, p]].concat(),
    )?;
    tool(
        "hdiffz -m-1 -c-lzma2",
        Path::new("hdiffz"),
        &[s("-m-1"), s("-c-lzma2"), o, n, p],
    )?;
    Ok(())
}
