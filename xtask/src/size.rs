//! How large the board's images are, and which crate takes what of them.

use crate::images::{BOOT2, LOADER_MAX, OTAAPP, Program};
use crate::sh::{Cmd, root};
use crate::toolchain::Board;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;

/// An image that is measured.
struct Image {
    name: &'static str,
    what: &'static str,
    program: Program,
    /// With an RSA-2048 key built in (532 bytes); without a key no RSA is linked.
    key: bool,
    /// Bytes it should not exceed: more is an error, for all goals were reached.
    goal: u64,
    /// Bytes there are for it.
    limit: u64,
}

/// The loader's variants, the one that ships first.
const LOADERS: [Image; 4] = [
    Image {
        name: "boot2",
        what: "swap, nbdiff patches, SHA-256, MD5, RSA-2048, version floor, mailbox, console",
        program: BOOT2,
        key: true,
        goal: 23 << 10,
        limit: LOADER_MAX,
    },
    Image {
        name: "swap",
        what: "all of boot2 but patches",
        program: BOOT2.with("full-journal,console,floor,mailbox,md5"),
        key: true,
        goal: 14_848,
        limit: LOADER_MAX,
    },
    Image {
        name: "signed",
        what: "swap, SHA-256, RSA-2048",
        program: BOOT2.with(""),
        key: true,
        goal: 12_288,
        limit: LOADER_MAX,
    },
    Image {
        name: "hash",
        what: "swap, SHA-256",
        program: BOOT2.with(""),
        key: false,
        goal: 6_144,
        limit: LOADER_MAX,
    },
];

const APP: Image = Image {
    name: "otaapp",
    what: "the application",
    program: OTAAPP,
    key: false,
    goal: 200 << 10,
    limit: 0xD_6400,
};

/// Builds and measures all images; an image above its goal is an error.
pub fn all() -> Result<()> {
    let board = Board::find()?;
    let mut images: Vec<&Image> = LOADERS.iter().collect();
    images.push(&APP);
    table(&board, &images)
}

/// The same for the loader's variants.
pub fn loaders(board: &Board) -> Result<()> {
    table(board, &LOADERS.iter().collect::<Vec<_>>())
}

fn table(board: &Board, images: &[&Image]) -> Result<()> {
    let key = root().join("crates/ota-verify/tests/vectors/rsa-2048.spki.pem");
    let mut columns = Vec::new();
    for image in images {
        let keys = if image.key { vec![key.clone()] } else { vec![] };
        let elf = image.program.build(board, &keys)?;
        columns.push((total(&elf)?, by_crate(&elf)?));
    }
    let mut rows = BTreeMap::<&str, u64>::new();
    for (name, bytes) in columns.iter().flat_map(|(_, crates)| crates) {
        let largest = rows.entry(name).or_default();
        *largest = (*largest).max(*bytes);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), *name));
    println!();
    for image in images {
        println!("{:<8} {}", image.name, image.what);
    }
    let line = |name: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|c| format!("{c:>9}")).collect();
        println!("{name:<20}{cells}");
    };
    println!();
    line("bytes", images.iter().map(|i| i.name.into()).collect());
    for (name, _) in rows {
        let cell = |crates: &BTreeMap<String, u64>| {
            crates.get(name).map_or(String::from("-"), u64::to_string)
        };
        line(name, columns.iter().map(|(_, c)| cell(c)).collect());
    }
    let rest = |(total, crates): &(u64, BTreeMap<String, u64>)| {
        total.saturating_sub(crates.values().sum()).to_string()
    };
    line("texts, tables, gaps", columns.iter().map(rest).collect());
    line("all", columns.iter().map(|(t, _)| t.to_string()).collect());
    line("goal", images.iter().map(|i| i.goal.to_string()).collect());
    let reached = |(image, (total, _)): (&&Image, &(u64, _))| {
        let reached = *total <= image.goal;
        String::from(if reached { "yes" } else { "no" })
    };
    line(
        "reached",
        images.iter().zip(&columns).map(reached).collect(),
    );
    line(
        "limit",
        images.iter().map(|i| i.limit.to_string()).collect(),
    );
    for (image, (total, _)) in images.iter().zip(&columns) {
        if *total > image.goal.min(image.limit) {
            bail!("{}: {total} bytes, goal {}", image.name, image.goal);
        }
    }
    Ok(())
}

/// Bytes of flash: what is written there, gaps included.
fn total(elf: &Path) -> Result<u64> {
    let binary = elf.with_extension("flash");
    Cmd::new("arm-none-eabi-objcopy")
        .args(["-O", "binary"])
        .args([elf, &binary])
        .output()?;
    Ok(std::fs::metadata(&binary)?.len())
}

/// Bytes of code by the crate whose source they come from, also where they were
/// inlined into another one; of named constants by the name.
fn by_crate(elf: &Path) -> Result<BTreeMap<String, u64>> {
    let symbols = Cmd::new("arm-none-eabi-nm")
        .args(["--demangle", "--print-size"])
        .arg(elf)
        .output()?;
    let mut sizes = BTreeMap::<String, u64>::new();
    // Halfwords of code, and who takes one that has no line.
    let mut code = BTreeMap::new();
    for line in symbols.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        let [start, size, kind, name] = words[..] else {
            continue;
        };
        let hex = |text: &str| u64::from_str_radix(text, 16);
        let (Ok(start), Ok(size)) = (hex(start), hex(size)) else {
            continue;
        };
        // `<krate::Type as other::Trait>::method` belongs to `krate`.
        let krate = name
            .trim_start_matches(['<', '&'])
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .filter(|_| name.contains("::"))
            .unwrap_or("runtime");
        match kind {
            "t" | "T" => {
                let start = start & !1;
                for at in (start..start + size).step_by(2) {
                    code.insert(at, krate.to_string());
                }
            }
            "b" | "B" => {}
            _ => *sizes.entry(krate.replace('_', "-")).or_default() += size,
        }
    }
    let addresses: Vec<String> = code.keys().map(|at| format!("{at:#x}")).collect();
    for part in addresses.chunks(8192) {
        let lines = Cmd::new("arm-none-eabi-addr2line")
            .args(["--addresses", "--inlines", "--exe"])
            .arg(elf)
            .args(part)
            .output()?;
        // An address, then its places from the innermost out.
        for places in lines.split("0x").skip(1) {
            let mut places = places.lines();
            let at = places.next().unwrap_or("");
            let at = u64::from_str_radix(at, 16).context("addr2line")?;
            let of_place = places.find_map(crate_of);
            let krate = of_place.or(code.get(&at).map(String::as_str));
            let krate = krate.unwrap_or("runtime").replace('_', "-");
            *sizes.entry(krate).or_default() += 2;
        }
    }
    Ok(sizes)
}

/// The crate of a source file; `None` for `core`, whose code belongs to its caller.
fn crate_of(place: &str) -> Option<&str> {
    if let Some((_, path)) = place.split_once("crates/") {
        return path.split('/').next();
    }
    // `deps/INDEX/NAME-1.2.3/src/...`
    let (_, path) = place.split_once("deps/")?;
    let folder = path.split('/').nth(1)?;
    let version = folder.match_indices('-').find(|(at, _)| {
        let next = folder.as_bytes().get(at + 1);
        next.is_some_and(u8::is_ascii_digit)
    });
    Some(version.map_or(folder, |(at, _)| &folder[..at]))
}
