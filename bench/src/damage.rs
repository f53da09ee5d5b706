//! Damaged patches: every byte changed, every truncation, with counts of what came
//! of it. A device refuses what gives an error at once, and after it has compared
//! the image's digest everything but the right image.

use crate::apply;
use crate::images::{Dice, Kind, pair};
use anyhow::{Context, Result, bail, ensure};
use lzma_rust2::{CheckType, XzOptions, XzWriter};
use ota_delta::nbdiff::HEADER_LEN;
use ota_delta::xz::XzDecoder;
use ota_delta::{nbdiff, ptr};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How thoroughly.
#[derive(clap::Args)]
pub struct Args {
    /// Only every N-th byte
    #[arg(long, value_name = "N", default_value_t = 1)]
    step: usize,
}

/// Each byte is changed in these ways: the lowest, the highest and all bits.
const CHANGES: [u8; 3] = [0x01, 0x80, 0xFF];

/// What came of damaged patches.
#[derive(Default)]
struct Count {
    tried: u64,
    errors: u64,
    right: u64,
    /// The image up to a slice: nbdiff does not say how many there are, so a patch that
    /// is cut between two of them is a good one for a shorter image.
    shorter: u64,
    /// Another image although all checks of the patch held: the image's digest finds it.
    fooled: u64,
    panics: u64,
}

/// The image, if the patch was not refused.
type Apply = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

struct Subject {
    name: &'static str,
    patch: Vec<u8>,
    image: Vec<u8>,
    apply: Apply,
    /// Checks that may be fooled by chance: only those of 16 bits.
    may_be_fooled: bool,
}

impl Args {
    /// Prints a line for each format.
    ///
    /// # Errors
    /// A panic, or a wrong image that only a CRC-16 can excuse where there is none.
    pub fn run(&self) -> Result<()> {
        println!(
            "{:<32} {:>7} {:<8} {:>6} {:>6} {:>6} {:>8} {:>7} {:>6}",
            "patch", "bytes", "damage", "tried", "error", "right", "shorter", "fooled", "panic"
        );
        // Panics are counted, not printed one by one.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let done = subjects().and_then(|subjects| {
            let counted: Vec<_> = subjects.iter().map(|s| s.damage(self.step)).collect();
            for (subject, [changed, cut]) in subjects.iter().zip(&counted) {
                changed.print(subject, "changed");
                cut.print(subject, "cut");
            }
            let lines = subjects
                .iter()
                .zip(counted)
                .flat_map(|(s, c)| c.map(|c| (s, c)));
            for (subject, count) in lines {
                ensure!(count.panics == 0, "{}: panics", subject.name);
                let excused = subject.may_be_fooled || count.fooled == 0;
                ensure!(excused, "{}: wrong images unnoticed", subject.name);
            }
            Ok(())
        });
        std::panic::set_hook(hook);
        done?;
        println!(
            "shorter: cut between two sections; nbdiff does not say how many there are.\n\
             fooled: a section's CRC-16 held for other bytes, as one in 65,536 does.\n\
             Both are refused by the size and digest of the package, and those of the image."
        );
        Ok(())
    }
}

impl Count {
    fn print(&self, subject: &Subject, damage: &str) {
        println!(
            "{:<32} {:>7} {damage:<8} {:>6} {:>6} {:>6} {:>8} {:>7} {:>6}",
            subject.name,
            subject.patch.len(),
            self.tried,
            self.errors,
            self.right,
            self.shorter,
            self.fooled,
            self.panics
        );
    }

    fn note(&mut self, subject: &Subject, patch: &[u8]) {
        self.tried += 1;
        match catch_unwind(AssertUnwindSafe(|| (subject.apply)(patch))) {
            Err(_) => self.panics += 1,
            Ok(None) => self.errors += 1,
            Ok(Some(image)) if image == subject.image => self.right += 1,
            Ok(Some(image)) if subject.may_be_fooled && part(&image, &subject.image) => {
                self.shorter += 1;
            }
            Ok(Some(_)) => self.fooled += 1,
        }
    }
}

/// Whether `short` is whole slices of `image`, but not all of it.
fn part(short: &[u8], image: &[u8]) -> bool {
    let slices = short.len().is_multiple_of(nbdiff::SLICE as usize);
    slices && short.len() < image.len() && image.starts_with(short)
}

impl Subject {
    /// Every byte changed, every truncation.
    fn damage(&self, step: usize) -> [Count; 2] {
        let (mut changed, mut cut) = (Count::default(), Count::default());
        let mut patch = self.patch.clone();
        for at in (0..patch.len()).step_by(step.max(1)) {
            for change in CHANGES {
                patch[at] ^= change;
                changed.note(self, &patch);
                patch[at] ^= change;
            }
            cut.note(self, &self.patch[..at]);
        }
        [changed, cut]
    }
}

/// The first pair of more than a slice with a small ptr patch, and that patch.
fn subject_pair() -> Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    for number in 0..1000 {
        let (old, new) = pair(Kind::Relinked, &mut Dice::new(number));
        if (66_000..74_000).contains(&new.len()) {
            let patch = ptr::encode(&old, &new, &ptr::Options::default(), &|_| {})?;
            if (1000..4000).contains(&patch.len()) {
                return Ok((old, new, patch));
            }
        }
    }
    bail!("no pair for the damage")
}

/// Patches of each format for one pair.
fn subjects() -> Result<Vec<Subject>> {
    let (old, new, ours) = subject_pair()?;
    let classic = nbdiff::encode(&old, &new, &nbdiff::Options::default(), &|_| {})?;
    let unchecked = without_check(&classic)?;
    let whole = xz(&new, CheckType::Crc32, 32 << 10)?;
    let by_nbdiff = |old: &[u8]| {
        let old = old.to_vec();
        Box::new(move |patch: &[u8]| apply::nbdiff(&old, patch, nbdiff::SLICE).ok())
    };
    let of_old = old.clone();
    let subjects = vec![
        Subject {
            name: "ptr",
            patch: ours,
            image: new.clone(),
            apply: Box::new(move |patch| apply::ptr(&of_old, patch, 1024).ok()),
            may_be_fooled: false,
        },
        Subject {
            name: "nbdiff",
            patch: classic,
            image: new.clone(),
            apply: by_nbdiff(&old),
            may_be_fooled: true,
        },
        Subject {
            name: "nbdiff, streams without check",
            patch: unchecked,
            image: new.clone(),
            apply: by_nbdiff(&old),
            may_be_fooled: true,
        },
        Subject {
            name: "xz, first 4 KiB of the image",
            patch: xz(&new[..4096], CheckType::Crc32, 32 << 10)?,
            image: new[..4096].to_vec(),
            apply: Box::new(|patch| unxz(patch, 75_000)),
            may_be_fooled: false,
        },
    ];
    ensure!(unxz(&whole, 75_000).as_ref() == Some(&new), "xz");
    for s in &subjects {
        if (s.apply)(&s.patch).as_ref() != Some(&s.image) {
            bail!("{}: the whole patch gives another image", s.name);
        }
    }
    Ok(subjects)
}

fn unxz(packed: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut decoder = Box::new(XzDecoder::<32768>::new());
    let (mut out, mut rest) = (vec![0; room], packed);
    let n = decoder.decode(&mut rest, &mut out).ok()?;
    decoder.finish().ok()?;
    out.truncate(n);
    Some(out)
}

fn xz(data: &[u8], check: CheckType, dict: u32) -> Result<Vec<u8>> {
    let mut options = XzOptions::with_preset(6);
    options.lzma_options.dict_size = dict;
    options.set_check_sum_type(check);
    let mut writer = XzWriter::new(Vec::new(), options)?;
    writer.write_all(data)?;
    Ok(writer.finish()?)
}

/// The same patch with streams that have no check of their own, as `xz --check=none`
/// makes them: what is left is the section's CRC-16.
fn without_check(patch: &[u8]) -> Result<Vec<u8>> {
    let mut sections = Vec::new();
    nbdiff::scan(&mut &*patch, patch.len() as u32, nbdiff::SLICE, &mut |s| {
        sections.push(*s);
        Ok(())
    })
    .map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let mut out = Vec::new();
    for s in sections {
        let mut at = s.section_offset as usize + HEADER_LEN;
        let mut header = patch[s.section_offset as usize..at].to_vec();
        let mut streams = Vec::new();
        let lens = [s.header.control_len, s.header.diff_len, s.header.extra_len];
        for (field, len) in header[8..32].chunks_mut(8).zip(lens) {
            let packed = &patch[at..at + len as usize];
            at += packed.len();
            if !packed.is_empty() {
                let plain = unxz(packed, 1 << 20).context("a stream")?;
                let again = xz(&plain, CheckType::None, nbdiff::DICT as u32)?;
                field.copy_from_slice(&(again.len() as u64).to_le_bytes());
                streams.extend(again);
            }
        }
        out.extend(header);
        out.extend(streams);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_noticed() {
        Args { step: 61 }.run().unwrap();
    }
}
