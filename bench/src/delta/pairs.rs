//! Which images of a folder belong together.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Two images, and how they are called.
pub struct Pair {
    pub old: PathBuf,
    pub new: PathBuf,
    pub name: String,
}

impl Pair {
    fn new(old: PathBuf, new: PathBuf) -> Self {
        let text = |p: &Path| p.file_stem().unwrap_or_default().display().to_string();
        let name = format!("{} -> {}", text(&old), text(&new));
        Self { old, new, name }
    }
}

/// The pairs of `pairs.txt`, else those that file names suggest; of these the
/// ones with `only` in their names.
pub fn find(dir: &Path, only: Option<&str>) -> Result<Vec<Pair>> {
    let list = dir.join("pairs.txt");
    let mut pairs = if list.exists() {
        listed(dir, &list)?
    } else {
        by_name(dir)?
    };
    ensure!(
        !pairs.is_empty(),
        "no pairs of images (*.bin) in {}",
        dir.display()
    );
    if let Some(text) = only {
        pairs.retain(|p| p.name.contains(text));
        ensure!(!pairs.is_empty(), "no pair is called {text:?}");
    }
    Ok(pairs)
}

fn listed(dir: &Path, list: &Path) -> Result<Vec<Pair>> {
    let text = std::fs::read_to_string(list).with_context(|| list.display().to_string())?;
    let mut pairs = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let names: Vec<_> = line.split_whitespace().collect();
        let [old, new] = names[..] else {
            bail!("{}: a line is \"OLD NEW\", not {line:?}", list.display());
        };
        pairs.push(Pair::new(dir.join(old), dir.join(new)));
    }
    Ok(pairs)
}

fn by_name(dir: &Path) -> Result<Vec<Pair>> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "bin") {
            files.push(path);
        }
    }
    // "old" goes before "new", everything else by name.
    let key = |p: &Path| {
        let stem = p.file_stem().unwrap_or_default().to_string_lossy();
        stem.replace("-old", "-0").replace("-new", "-1")
    };
    files.sort_by_key(|p| key(p));
    let family = |p: &Path| key(p).split('-').next().unwrap_or_default().to_owned();
    let mut pairs = Vec::new();
    for (i, a) in files.iter().enumerate() {
        for b in &files[i + 1..] {
            if family(a) == family(b) {
                pairs.push(Pair::new(a.clone(), b.clone()));
                // Names do not tell which is newer, unless they do: both ways.
                if !(key(a).ends_with("-0") && key(b).ends_with("-1")) {
                    pairs.push(Pair::new(b.clone(), a.clone()));
                }
            }
        }
    }
    Ok(pairs)
}
