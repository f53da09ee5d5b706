//! Samples: whether a state that stands for others behaves as they do.

use std::collections::BTreeSet;

use super::model::Model;
use super::node::Node;
use super::row::{Half, Reading, kind, link, seq, unstable};
use super::successors::{Search, Successors};

impl Search {
    /// A state as it came up, and the one that stands for it, must lead to the same.
    /// Returns whether there was something to compare.
    ///
    /// # Errors
    /// Both, and what differs.
    pub fn compare(&self, node: &Node, mut model: Model) -> Result<bool, String> {
        if model.halves.iter().map(unstable).sum::<usize>() > 5 {
            return Ok(false); // As many ways to read it as no one can try.
        }
        model.power_off();
        let of = |model| {
            let here = |e| format!("{e}, from a sample{}", self.describe(node));
            self.successors(model).map_err(here)
        };
        let came_up = || format!("\n  came up as: {}", rows(&model.halves));
        let real = of(&model).map_err(|e| e + &came_up())?;
        let ours = of(&self.flash(node))?;
        let keys = |s: &Successors| s.nodes.keys().copied().collect::<BTreeSet<_>>();
        let (real_keys, our_keys) = (keys(&real), keys(&ours));
        if real_keys == our_keys && real.whole == ours.whole {
            return Ok(true);
        }
        let mut text = format!("the abstraction is not exact:{}", self.describe(node));
        text += &came_up();
        for key in real_keys.symmetric_difference(&our_keys).take(4) {
            let (side, all) = if real_keys.contains(key) {
                ("real", &real)
            } else {
                ("ours", &ours)
            };
            text += &format!("\n  only {side}:{}", self.describe(&all.nodes[key].0));
        }
        Err(text)
    }

    /// A state, for the one who looks for a mistake.
    pub fn describe(&self, node: &Node) -> String {
        format!(
            "\n  slots {:?}, told {}{}",
            node.slots,
            node.mark,
            rows(&self.journals.borrow().of(node).halves)
        )
    }
}

fn rows(halves: &[Half; 2]) -> String {
    let mut text = String::new();
    for (h, half) in halves.iter().enumerate() {
        for (i, row) in half.iter().enumerate() {
            let all: Vec<String> = row.readings().iter().map(one).collect();
            if !row.is(Reading::Blank) && !row.is(Reading::Bad) {
                text += &format!("\n    half {h} row {i}: {}", all.join(" | "));
            }
        }
    }
    text
}

fn one(reading: &Reading) -> String {
    match reading {
        Reading::Blank => "blank".into(),
        Reading::Bad => "bad".into(),
        Reading::Torn => "torn".into(),
        Reading::Record(b) => format!(
            "{:02x} cell {} link {} seq {} {:02x?}",
            kind(b),
            b[1],
            link(b),
            seq(b),
            &b[8..16]
        ),
    }
}
