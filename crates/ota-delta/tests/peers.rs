//! Other people's tools and independent decoders: `xz`, Python's `lzma` and `bsdiff4`,
//! `tests/python/ptr.py`.
#![cfg(all(feature = "peers", feature = "encode"))]

use ota_delta::io::Spliced;
use ota_delta::xz::{XzDecoder, XzError};
use ota_delta::{nbdiff, ptr};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes with repeats, words that look like pointers and calls, and noise.
fn sample(seed: u32, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2654435761) | 1;
    let mut out: Vec<u8> = Vec::new();
    while out.len() < len {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        match x >> 29 {
            0 => out.extend_from_slice(&(0x1_0000 + (x >> 8) % len as u32).to_le_bytes()),
            1 => out.extend_from_slice(&[x as u8, 0xF0, (x >> 8) as u8, 0xF8]),
            2..=5 if out.len() > 64 => {
                let from = (x >> 8) as usize % (out.len() - 32);
                out.extend_from_within(from..from + 4 + (x >> 3) as usize % 28);
            }
            _ => out.extend_from_slice(&x.to_be_bytes()),
        }
    }
    out.truncate(len);
    out
}

fn edited(old: &[u8], seed: u32) -> Vec<u8> {
    let mut new = old.to_vec();
    let at = seed as usize * 7919 % (old.len() - 2000);
    new.splice(
        at..at + 100,
        sample(seed + 100, 1 + seed as usize * 37 % 700),
    );
    for i in (at + 900..new.len()).step_by(997) {
        new[i] = new[i].wrapping_add(4);
    }
    new
}

fn xz(data: &[u8], args: &[&str]) -> Vec<u8> {
    let mut child = Command::new("xz")
        .args(["-c", "-z"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the xz tool (apt install xz-utils)");
    let mut stdin = child.stdin.take().unwrap();
    let data = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success());
    out.stdout
}

fn unxz(packed: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, XzError> {
    let mut d = Box::new(XzDecoder::<32768>::new());
    let (mut out, mut buf) = (Vec::new(), vec![0; room]);
    for mut p in packed.chunks(piece) {
        loop {
            let n = d.decode(&mut p, &mut buf)?;
            out.extend_from_slice(&buf[..n]);
            if p.is_empty() && n < room {
                break;
            }
        }
    }
    d.finish().map(|()| out)
}

#[test]
fn what_xz_makes() {
    for (seed, len) in [(1, 0), (2, 1), (3, 70_000), (4, 300_000)] {
        let data = sample(seed, len);
        for args in [
            &["--lzma2=dict=32KiB", "--check=crc32"][..],
            &["--lzma2=dict=4KiB,lc=0,lp=3,pb=4", "--check=none"],
            &[
                "--lzma2=dict=16KiB,lc=1,lp=2,pb=0,mode=fast",
                "--check=crc32",
            ],
            &[
                "--lzma2=dict=32KiB",
                "--check=crc32",
                "-T2",
                "--block-size=65536",
            ],
        ] {
            let packed = xz(&data, args);
            for (piece, room) in [(1, 1), (7, 1000), (1000, 13), (packed.len(), 4096)] {
                assert!(
                    unxz(&packed, piece, room) == Ok(data.clone()),
                    "{args:?} {len} {piece} {room}"
                );
            }
        }
    }
    let data = sample(5, 1000);
    assert_eq!(
        unxz(&xz(&data, &["--check=crc64"]), 100, 100),
        Err(XzError::Options)
    );
    let big = xz(&data, &["--lzma2=dict=64KiB", "--check=crc32"]);
    assert_eq!(unxz(&big, 100, 100), Err(XzError::Dictionary));
    let high = xz(&data, &["--lzma2=dict=4KiB,lc=4,lp=0", "--check=crc32"]);
    assert_eq!(unxz(&high, 100, 100), Err(XzError::Options));
}

#[test]
fn broken_xz_streams() {
    let data = sample(6, 3000);
    let packed = xz(&data, &["--lzma2=dict=32KiB", "--check=crc32"]);
    for cut in 0..packed.len() {
        assert_eq!(
            unxz(&packed[..cut], 100, 500),
            Err(XzError::Truncated),
            "cut at {cut}"
        );
    }
    for at in 0..packed.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut bad = packed.clone();
            bad[at] ^= flip;
            assert!(unxz(&bad, 100, 500).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
    let more = [&packed[..], b"x"].concat();
    assert_eq!(unxz(&more, more.len(), 5000), Err(XzError::Trailing));
}

fn python() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let venv = target.join("venv/bin/python");
    assert!(
        venv.exists(),
        "no {}: run cargo xtask setup --yes",
        venv.display()
    );
    venv
}

/// Runs a script of `tests/python` on two inputs; returns its output file.
fn script(name: &str, verb: &[&str], a: &[u8], b: &[u8]) -> Vec<u8> {
    let dir = std::env::temp_dir().join(format!(
        "ota-delta-{}-{name}-{}",
        std::process::id(),
        a.len() ^ b.len()
    ));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("a"), a).unwrap();
    std::fs::write(dir.join("b"), b).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/python")
        .join(name);
    let done = Command::new(python())
        .arg(script)
        .args(verb)
        .args(["a", "b", "c"])
        .current_dir(&dir)
        .status();
    assert!(done.unwrap().success(), "{name} {verb:?}");
    let out = std::fs::read(dir.join("c")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    out
}

fn apply_nbdiff(old: &[u8], patch: &[u8]) -> Vec<u8> {
    let mut slices = Vec::new();
    nbdiff::scan(
        &mut &patch[..],
        patch.len() as u32,
        nbdiff::SLICE,
        &mut |s| {
            slices.push(*s);
            Ok(())
        },
    )
    .unwrap();
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
        let mut d = nbdiff::SliceDecoder::begin(
            &mut room,
            &mut from,
            s.section_offset,
            patch.len() as u32,
            nbdiff::SLICE,
            size,
        )
        .unwrap();
        let mut buf = vec![0; s.header.new_len as usize];
        d.read(&mut from, &mut view, &mut buf).unwrap();
        new.extend(buf);
    }
    new
}

#[test]
fn nbdiff_of_python_and_ours_in_python() {
    for seed in 0..4 {
        let old = sample(seed, 100_000 + seed as usize * 33_333);
        let new = edited(&old, seed);
        let theirs = script("nbdiff.py", &["make"], &old, &new);
        assert!(apply_nbdiff(&old, &theirs) == new);
        let ours = nbdiff::encode(&old, &new, &nbdiff::Options::default(), &|_| {}).unwrap();
        assert!(script("nbdiff.py", &["apply"], &old, &ours) == new);
        assert!(
            ours.len() <= theirs.len() + theirs.len() / 20,
            "{} {}",
            ours.len(),
            theirs.len()
        );
    }
}

#[test]
fn ptr_in_python() {
    let mut literals = BTreeSet::new();
    for (seed, arch) in [
        (1, Some(ptr::Arch::Thumb)),
        (2, Some(ptr::Arch::Arm)),
        (3, Some(ptr::Arch::A64)),
        (5, Some(ptr::Arch::Xtensa)),
        (4, None),
    ] {
        let old = sample(seed, 80_000);
        // The last pair is unrelated: fast literals and matches.
        let new = if arch.is_some() {
            edited(&old, seed)
        } else {
            sample(99, 70_000)
        };
        // The smallest, and what decodes fastest.
        for instructions in [None, Some(0)] {
            let options = ptr::Options {
                arch,
                base: Some(0x1_0000),
                instructions,
                ..ptr::Options::default()
            };
            let patch = ptr::encode(&old, &new, &options, &|_| {}).unwrap();
            let mut memory = ptr::Memory::new(&old);
            memory.apply(&patch, 1000).unwrap();
            assert!(memory.new == new);
            assert!(script("ptr.py", &[], &old, &patch) == new);
            literals.extend(literals_of(&patch));
        }
    }
    assert_eq!(literals, BTreeSet::from([0, 1, 2]), "full, plain, fast");
}

/// How the slices of a patch code their literals.
fn literals_of(patch: &[u8]) -> Vec<u8> {
    let number = |at: usize, n| (0..n).fold(0, |v, i| v | usize::from(patch[at + i]) << (8 * i));
    let mut at = ptr::HEADER_LEN + 2 + number(ptr::HEADER_LEN, 2);
    let mut out = Vec::new();
    while at < patch.len() {
        out.push(patch[at + 2] >> 6);
        at += 7 + (number(at, 3) & 0x3F_FFFF);
    }
    out
}
