//! Sizes of patches: ours, and public tools, on the same images in one run.

mod ours;
mod pairs;
mod public;

pub use ours::One;

use anyhow::{Result, bail};
use clap::ValueEnum;
use ours::Format;
use pairs::Pair;
use public::Bench;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What to compare.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of images: the files of pairs.txt (lines "OLD NEW"), else NAME-old.bin and
    /// NAME-new.bin, else every two *.bin whose names agree up to the first '-', both ways
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// Only pairs with this text in "OLD -> NEW" (names without .bin)
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only our own formats
    #[arg(long)]
    ours: bool,
    /// A tool that takes longer on a pair is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
}

/// What has to be kept for a patch to be applied.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing: the whole image.
    Full,
    /// The old image, in another place.
    Apart,
    /// Only what has not been replaced yet.
    InPlace,
}

impl Mode {
    fn title(self) -> &'static str {
        match self {
            Self::Full => "whole image",
            Self::Apart => "old image kept (A/B)",
            Self::InPlace => "in place",
        }
    }
}

/// What was measured. Every patch was applied, and gave the new image.
#[derive(Clone, Serialize, Deserialize)]
pub struct Figures {
    pub bytes: usize,
    /// Seconds.
    pub make: f64,
    pub apply: Option<f64>,
    /// Peak of the encoder's process in KiB.
    pub encoder_kib: Option<u64>,
    /// Bytes of the decoder's struct.
    pub ram: Option<usize>,
}

/// What became of a tool on a pair.
#[derive(Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done(Figures),
    NotInstalled,
    /// It took longer than the limit.
    Stopped,
    Failed(String),
}

#[derive(Serialize)]
struct Row {
    tool: &'static str,
    mode: Mode,
    ours: bool,
    /// What a public decoder keeps in RAM, by its format.
    #[serde(skip_serializing_if = "str::is_empty")]
    decoder_ram: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
}

impl Row {
    fn bytes(&self) -> Option<usize> {
        match &self.outcome {
            Outcome::Done(f) => Some(f.bytes),
            _ => None,
        }
    }
}

const OURS: [(&str, Format, Mode); 4] = [
    ("xz, dictionary 32 KiB", Format::Xz, Mode::Full),
    ("nbdiff", Format::Nbdiff, Mode::InPlace),
    ("ptr, A/B", Format::PtrApart, Mode::Apart),
    ("ptr, in place", Format::PtrInPlace, Mode::InPlace),
];

/// A pair and everything that was measured on it.
#[derive(Serialize)]
struct Compared {
    pair: String,
    old_bytes: u64,
    new_bytes: u64,
    /// The smallest of the public tools, of any mode.
    best_public: Option<(&'static str, usize)>,
    ptr_in_place: Option<usize>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Report {
    not_installed: Vec<String>,
    pairs: Vec<Compared>,
}

impl Args {
    /// Prints a table for each pair and one of all.
    ///
    /// # Errors
    /// No images; one of our decoders makes another image than was encoded; a
    /// ptr patch for in-place use is larger than that of the best public tool.
    pub fn run(&self) -> Result<()> {
        let pairs = pairs::find(&self.corpus, self.only.as_deref())?;
        let bench = Bench::new(Duration::from_secs(self.limit))?;
        let not_installed = if self.ours {
            Vec::new()
        } else {
            bench.missing()
        };
        for what in &not_installed {
            eprintln!("NOT COMPARED, not installed: {what}");
        }
        let mut report = Report {
            not_installed,
            pairs: Vec::new(),
        };
        for pair in &pairs {
            if self.json {
                eprintln!("{}", pair.name);
            }
            let compared = self.compare(&bench, pair)?;
            if !self.json {
                compared.print();
            }
            report.pairs.push(compared);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            report.print();
        }
        report.judge()
    }

    fn compare(&self, bench: &Bench, pair: &Pair) -> Result<Compared> {
        let mut rows = Vec::new();
        if !self.ours {
            for tool in public::TOOLS {
                rows.push(Row {
                    tool: tool.name,
                    mode: tool.mode,
                    ours: false,
                    decoder_ram: tool.ram,
                    outcome: bench.run(tool, &pair.old, &pair.new)?,
                });
            }
        }
        for (tool, format, mode) in OURS {
            let value = format.to_possible_value();
            let value = value.as_ref().map_or("", |v| v.get_name());
            let args = ["one", value].map(Into::into);
            let files = [pair.old.clone().into(), pair.new.clone().into()];
            let outcome = bench.figures(bench.me(), &[args, files].concat())?;
            match &outcome {
                Outcome::Failed(why) => bail!("{}: {tool}: {why}", pair.name),
                Outcome::NotInstalled => bail!("cannot start {}", bench.me().display()),
                Outcome::Done(_) | Outcome::Stopped => {}
            }
            rows.push(Row {
                tool,
                mode,
                ours: true,
                decoder_ram: "",
                outcome,
            });
        }
        let public = rows.iter().filter(|r| !r.ours);
        let best_public = public
            .filter_map(|r| Some((r.tool, r.bytes()?)))
            .min_by_key(|(_, bytes)| *bytes);
        let ptr_in_place = rows
            .iter()
            .find(|r| r.ours && r.tool.starts_with("ptr") && r.mode == Mode::InPlace)
            .and_then(Row::bytes);
        Ok(Compared {
            pair: pair.name.clone(),
            old_bytes: std::fs::metadata(&pair.old)?.len(),
            new_bytes: std::fs::metadata(&pair.new)?.len(),
            best_public,
            ptr_in_place,
            rows,
        })
    }
}

/// How much smaller `bytes` is than `other`.
fn less(bytes: usize, other: usize) -> String {
    let share = (1.0 - bytes as f64 / other as f64) * 100.0;
    if bytes <= other {
        format!("{share:.1} % less")
    } else {
        format!("{:.1} % MORE", -share)
    }
}

impl Compared {
    fn print(&self) {
        println!(
            "\n{}: {} -> {} bytes",
            self.pair, self.old_bytes, self.new_bytes
        );
        println!(
            "{:<26} {:>8} {:>7} {:>8} {:>8}  {:<18} encoder",
            "", "bytes", "%", "make s", "apply s", "decoder RAM"
        );
        for mode in [Mode::Full, Mode::Apart, Mode::InPlace] {
            println!("{}", mode.title());
            for row in self.rows.iter().filter(|r| r.mode == mode) {
                self.print_row(row);
            }
        }
        if let (Some((tool, best)), Some(ptr)) = (self.best_public, self.ptr_in_place) {
            let less = less(ptr, best);
            println!("best public: {best} ({tool}); ptr in place: {ptr}, {less}");
        }
    }

    fn print_row(&self, row: &Row) {
        let mark = if row.ours { '*' } else { ' ' };
        let f = match &row.outcome {
            Outcome::Done(figures) => figures,
            Outcome::NotInstalled => return println!("{mark} {:<24} not installed", row.tool),
            Outcome::Stopped => return println!("{mark} {:<24} stopped: too slow", row.tool),
            Outcome::Failed(why) => return println!("{mark} {:<24} failed: {why}", row.tool),
        };
        let percent = f.bytes as f64 * 100.0 / self.new_bytes as f64;
        let apply = f.apply.map_or("-".into(), |t| format!("{t:.2}"));
        let ram = f
            .ram
            .map_or(row.decoder_ram.to_owned(), |b| format!("{b} bytes"));
        let encoder = f
            .encoder_kib
            .map_or(String::new(), |k| format!("{} MiB", k / 1024));
        println!(
            "{mark} {:<24} {:>8} {percent:>6.2} {:>9.2} {apply:>8}  {ram:<18} {encoder}",
            row.tool, f.bytes, f.make
        );
    }

    fn smallest(&self, ours: bool, modes: &[Mode]) -> String {
        let rows = self.rows.iter().filter(|r| r.ours == ours);
        let bytes = rows
            .filter(|r| modes.contains(&r.mode))
            .filter_map(Row::bytes);
        bytes.min().map_or("-".into(), |b| b.to_string())
    }

    fn named(&self, tool: &str) -> String {
        let row = self.rows.iter().find(|r| r.tool == tool);
        row.and_then(Row::bytes)
            .map_or("-".into(), |b| b.to_string())
    }
}

impl Report {
    fn print(&self) {
        println!(
            "\n{:<46} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9}",
            "bytes, * ours", "full", "full", "A/B", "in place", "nbdiff*", "ptr A/B*", "in place*"
        );
        println!(
            "{:<46} {:>8} {:>9} {:>9} {:>9}",
            "", "image", "public", "public", "public"
        );
        for p in &self.pairs {
            println!(
                "{:<46} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9}  {}",
                p.pair,
                p.new_bytes,
                p.smallest(false, &[Mode::Full]),
                p.smallest(false, &[Mode::Apart]),
                p.smallest(false, &[Mode::InPlace]),
                p.named("nbdiff"),
                p.named("ptr, A/B"),
                p.named("ptr, in place"),
                match (p.best_public, p.ptr_in_place) {
                    (Some((_, best)), Some(ptr)) => less(ptr, best),
                    _ => String::new(),
                }
            );
        }
        println!(
            "public: the smallest of the tools above. Last column: ptr in place against the best \
             public tool\nof any mode. Times of Python tools are without the interpreter's start; \
             encoder: peak of the process."
        );
        for what in &self.not_installed {
            println!("NOT COMPARED, not installed: {what}");
        }
    }

    fn judge(&self) -> Result<()> {
        let mut above = Vec::new();
        for p in &self.pairs {
            if let (Some((tool, best)), Some(ptr)) = (p.best_public, p.ptr_in_place) {
                if ptr > best {
                    above.push(format!("{}: {ptr} bytes, {tool} {best}", p.pair));
                }
            } else if p.ptr_in_place.is_none() {
                above.push(format!("{}: no figure, stopped at the limit", p.pair));
            }
        }
        if !above.is_empty() {
            bail!(
                "ptr in place is not the smallest:\n  {}",
                above.join("\n  ")
            );
        }
        Ok(())
    }
}
