//! nbdiff: the original's vector and rules, round trips, corrupted patches.
#![cfg(feature = "encode")]

use ota_delta::io::Spliced;
use ota_delta::nbdiff::{self, Error, Options, SliceDecoder, Workspace};

/// Accepted by the original decoder: control (100,5,0),(156,0,-156).
const VECTOR: &str = "4253444946463430480000000000000044000000000000003c000000000000000501000000000000d911000000000000fd377a585a0000016922de3602002101\
0400000060b0f559e0002f000f5d0032003100a00da215350a552780f0000000985abfd000012730e2379adc9042990d010000000001595afd377a585a000001\
6922de36020021010400000060b0f559e000ff00065d00006fd84098000000005885960d00011e80020000002fcf66e13e300d8b020000000001595afd377a58\
5a0000016922de36020021010400000060b0f559010004414c494f5300000000aa84bb8800011905bce8eccb9042990d010000000001595a";

fn unhex(s: &str) -> Vec<u8> {
    (0..s.len() / 2)
        .map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// Applies in place, in pieces of `piece` bytes.
fn apply(old: &[u8], patch: &[u8], slice: u32, piece: usize) -> Result<Vec<u8>, Error> {
    let mut infos = Vec::new();
    let new_len = nbdiff::scan(&mut &patch[..], patch.len() as u32, slice, &mut |s| {
        infos.push(*s);
        Ok(())
    })?;
    let mut ws = Box::new(Workspace::new());
    let mut new = Vec::new();
    for s in infos {
        let done = new.clone();
        let mut view = Spliced {
            new: &mut &done[..],
            old: &mut &old[..],
            split: s.new_offset,
        };
        let old_len = old.len().max(done.len()) as u32;
        let mut patch_at = patch;
        let mut d = SliceDecoder::begin(
            &mut ws,
            &mut patch_at,
            s.section_offset,
            patch.len() as u32,
            slice,
            old_len,
        )?;
        let mut out = vec![0; piece];
        loop {
            let n = d.read(&mut patch_at, &mut view, &mut out)?;
            new.extend_from_slice(&out[..n]);
            if n < piece {
                break;
            }
        }
    }
    assert_eq!(new.len(), new_len as usize);
    Ok(new)
}

fn vector() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let old: Vec<u8> = (0..=255).collect();
    let new = [&old[..100], b"ALIOS", &old[100..]].concat();
    (old, new, unhex(VECTOR))
}

#[test]
fn vector_of_the_original() {
    let (old, new, patch) = vector();
    for piece in [1, 7, 64, 1024] {
        assert_eq!(apply(&old, &patch, nbdiff::SLICE, piece).unwrap(), new);
    }
}

#[test]
fn trailing_bytes_short_slices_and_truncation_are_refused() {
    let (old, _, patch) = vector();
    let mut more = patch.clone();
    more.push(0);
    assert_eq!(
        apply(&old, &more, nbdiff::SLICE, 64),
        Err(Error::SliceLength)
    );
    let twice = [&patch[..], &patch[..]].concat();
    assert_eq!(
        apply(&old, &twice, nbdiff::SLICE, 64),
        Err(Error::SliceLength)
    );
    for cut in 0..patch.len() {
        assert!(
            apply(&old, &patch[..cut], nbdiff::SLICE, 64).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_harmless() {
    let (old, new, patch) = vector();
    let mut harmless = 0;
    for at in 0..patch.len() {
        for bit in 0..8 {
            let mut bad = patch.clone();
            bad[at] ^= 1 << bit;
            if let Ok(got) = apply(&old, &bad, nbdiff::SLICE, 50) {
                assert_eq!(got, new, "byte {at} bit {bit}");
                harmless += 1;
            }
        }
    }
    // Bits 16.. of the CRC field, its sign excepted, which the original ignores too, and
    // three that change a stream but not what comes out of it.
    assert_eq!(harmless, 50);
}

/// Deterministic bytes that resemble code: repeats with small changes.
fn sample(seed: u32, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut out: Vec<u8> = Vec::new();
    while out.len() < len {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        if x >> 30 != 0 && out.len() > 64 {
            let from = (x >> 8) as usize % (out.len() - 32);
            let run = 4 + (x >> 3) as usize % 28;
            out.extend_from_within(from..from + run);
        } else {
            out.extend_from_slice(&x.to_be_bytes());
        }
    }
    out.truncate(len);
    out
}

#[test]
fn edits_over_several_slices() {
    let old = sample(1, 150_000);
    let mut new = old.clone();
    new.splice(3000..3100, sample(9, 444));
    new.drain(70_000..71_234);
    new[100_000..100_050].fill(7);
    for slice in [0x4000u32, 0x1_0000] {
        let options = Options { slice, dict: 4096 };
        let patch = nbdiff::encode(&old, &new, &options, &|_| {}).unwrap();
        assert!(patch.len() < 6000, "{}", patch.len());
        assert_eq!(apply(&old, &patch, slice, 4096).unwrap(), new);
        assert_eq!(apply(&old, &patch, slice, 1000).unwrap(), new);
    }
}

#[test]
fn growing_shrinking_and_unrelated() {
    let a = sample(5, 90_000);
    let b = sample(77, 40_000);
    for (old, new) in [(&a, &b), (&b, &a), (&Vec::new(), &b), (&a, &a)] {
        let patch = nbdiff::encode(old, new, &Options::default(), &|_| {}).unwrap();
        assert_eq!(&apply(old, &patch, nbdiff::SLICE, 4096).unwrap(), new);
    }
    assert!(nbdiff::encode(&a, &[], &Options::default(), &|_| {}).is_err());
}

#[test]
fn wrong_old_image_is_found_by_the_crc() {
    let (mut old, _, patch) = vector();
    old[77] ^= 1;
    assert_eq!(apply(&old, &patch, nbdiff::SLICE, 64), Err(Error::Crc));
}
