//! Random pairs of images through both formats: what was encoded comes back.

use crate::apply;
use crate::images::{Dice, KINDS, Kind, pair};
use anyhow::{Context, Result, bail, ensure};
use ota_delta::{nbdiff, ptr};
use ota_verify::sha256;
use std::time::Instant;

/// How many pairs, and which.
#[derive(clap::Args)]
pub struct Args {
    /// Pairs in all, shared among the kinds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Number of the first pair; pair N is the same in every run
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// What was done with the pairs of a kind.
#[derive(Default, Clone)]
struct Count {
    pairs: u64,
    image_bytes: u64,
    nbdiff_bytes: u64,
    ptr_bytes: u64,
    /// ptr patches that were larger than those of nbdiff.
    larger: u64,
    /// ptr patches that were applied over the old image too.
    in_place: u64,
    /// Empty images, which no encoder may take.
    refused: u64,
}

impl Args {
    /// Prints a line for each kind.
    ///
    /// # Errors
    /// The first pair that does not come back, by number.
    pub fn run(&self) -> Result<()> {
        let start = Instant::now();
        let mut counts = vec![Count::default(); KINDS.len()];
        for number in self.first..self.first + self.pairs {
            let index = (number % KINDS.len() as u64) as usize;
            if let (Some(kind), Some(count)) = (KINDS.get(index), counts.get_mut(index)) {
                one(number, *kind, count).with_context(|| {
                    format!("pair {number} ({kind:?}); again: roundtrip --first {number} --pairs 1")
                })?;
            }
        }
        println!(
            "{:<14} {:>6} {:>11} {:>10} {:>10} {:>7} {:>9} {:>8}",
            "kind of pair", "pairs", "new bytes", "nbdiff", "ptr", "larger", "in place", "refused"
        );
        let mut sum = Count::default();
        for (kind, c) in KINDS.iter().zip(&counts) {
            c.print(&format!("{kind:?}"));
            sum.pairs += c.pairs;
            sum.image_bytes += c.image_bytes;
            sum.nbdiff_bytes += c.nbdiff_bytes;
            sum.ptr_bytes += c.ptr_bytes;
            sum.larger += c.larger;
            sum.in_place += c.in_place;
            sum.refused += c.refused;
        }
        sum.print("all");
        println!(
            "{} pairs, each through nbdiff and ptr: every image came back, in {} s",
            sum.pairs,
            start.elapsed().as_secs()
        );
        Ok(())
    }
}

impl Count {
    fn print(&self, name: &str) {
        println!(
            "{name:<14} {:>6} {:>11} {:>10} {:>10} {:>7} {:>9} {:>8}",
            self.pairs,
            self.image_bytes,
            self.nbdiff_bytes,
            self.ptr_bytes,
            self.larger,
            self.in_place,
            self.refused
        );
    }
}

fn one(number: u64, kind: Kind, count: &mut Count) -> Result<()> {
    let mut dice = Dice::new(number);
    let (old, new) = pair(kind, &mut dice);
    let options = nbdiff::Options {
        slice: [0x1000, 0x4000, nbdiff::SLICE, nbdiff::SLICE][dice.below(4)],
        dict: [4096, 8192, 16384, 16384][dice.below(4)],
    };
    let ptr_options = ptr::Options {
        lag: [0, 1, 1, 3][dice.below(4)],
        ..ptr::Options::default()
    };
    let classic = nbdiff::encode(&old, &new, &options, &|_| {});
    let ours = ptr::encode(&old, &new, &ptr_options, &|_| {});
    count.pairs += 1;
    if new.is_empty() {
        ensure!(
            classic.is_err() && ours.is_err(),
            "an empty image was encoded"
        );
        count.refused += 1;
        return Ok(());
    }
    let (classic, ours) = (classic.context("nbdiff")?, ours.context("ptr")?);
    let same = |what: &str, made: Vec<u8>| {
        if sha256(&made) == sha256(&new) && made.len() == new.len() {
            Ok(())
        } else {
            bail!("{what} gives another image")
        }
    };
    let made = apply::nbdiff(&old, &classic, options.slice);
    same(
        "nbdiff",
        made.map_err(|e| anyhow::anyhow!("nbdiff: {e:?}"))?,
    )?;
    let piece = 1 + dice.below(3000);
    let made = apply::ptr(&old, &ours, piece);
    same("ptr", made.map_err(|e| anyhow::anyhow!("ptr: {e:?}"))?)?;
    if ptr_options.lag > 0 {
        let made = apply::ptr_in_place(&old, &ours, piece);
        let made = made.map_err(|e| anyhow::anyhow!("ptr in place: {e:?}"))?;
        same("ptr in place", made)?;
        count.in_place += 1;
    }
    count.image_bytes += new.len() as u64;
    count.nbdiff_bytes += classic.len() as u64;
    count.ptr_bytes += ours.len() as u64;
    if ours.len() > classic.len() {
        count.larger += 1;
        println!(
            "pair {number} ({kind:?}, {} bytes): ptr {}, nbdiff {}",
            new.len(),
            ours.len(),
            classic.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pairs_of_each_kind_come_back() {
        let args = Args {
            pairs: 2 * KINDS.len() as u64,
            // Others than a run of the command begins with.
            first: 100_000 * KINDS.len() as u64,
        };
        args.run().unwrap();
    }
}
