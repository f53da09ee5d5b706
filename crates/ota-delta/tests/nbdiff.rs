//! nbdiff: the original's vector and rules, round trips, corrupted patches.
#![cfg(feature = "encode")]

use ota_delta::io::Spliced;
use ota_delta::nbdiff::{self, Error, Options, SliceDecoder, Stream, Workspace};

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

fn xz(data: &[u8]) -> Vec<u8> {
    use lzma_rust2::{CheckType, LzmaOptions, XzOptions, XzWriter};
    use std::io::Write;
    let mut options = XzOptions::with_preset(6);
    options.lzma_options = LzmaOptions {
        dict_size: 4096,
        ..LzmaOptions::with_preset(6)
    };
    options.set_check_sum_type(CheckType::Crc32);
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// Sign and magnitude.
fn number(v: i64) -> [u8; 8] {
    let sign = if v < 0 { 1 << 63 } else { 0 };
    (v.unsigned_abs() | sign).to_le_bytes()
}

/// A section of one slice, put together by hand.
fn section(triples: &[[i64; 3]], diff: &[u8], extra: &[u8], new: &[u8]) -> Vec<u8> {
    let control: Vec<u8> = triples.iter().flatten().flat_map(|v| number(*v)).collect();
    let streams = [xz(&control), xz(diff), xz(extra)];
    let mut out = nbdiff::MAGIC.to_vec();
    for stream in &streams {
        out.extend(number(stream.len() as i64));
    }
    out.extend(number(new.len() as i64));
    out.extend(number(i64::from(ota_verify::crc16_xmodem(0, new))));
    out.extend(streams.concat());
    out
}

/// What comes of control triples that make `abcdEF` of `abcdefgh`.
fn by_hand(triples: &[[i64; 3]], diff: &[u8], extra: &[u8]) -> Result<Vec<u8>, Error> {
    let patch = section(triples, diff, extra, b"abcdEF");
    apply(b"abcdefgh", &patch, nbdiff::SLICE, 4)
}

#[test]
fn triples_that_make_sense() {
    let good = Ok(b"abcdEF".to_vec());
    let (d, e) = (&[0; 4][..], &b"EF"[..]);
    assert_eq!(by_hand(&[[4, 2, 0]], d, e), good);
    // The move of the last triple leads nowhere: nothing is read after it.
    assert_eq!(by_hand(&[[4, 2, -99]], d, e), good);
    // bsdiff may move several times before it adds: each one is a step in the slice.
    let moves = [[0, 0, 7], [0, 0, -3], [0, 0, -4], [4, 2, 0]];
    assert_eq!(by_hand(&moves, d, e), good);
    // Streams in pieces, in another order.
    assert_eq!(by_hand(&[[2, 0, 0], [2, 1, 1], [0, 1, 0]], d, e), good);
    assert_eq!(by_hand(&[[0, 6, 0]], &[], b"abcdEF"), good);
    assert_eq!(by_hand(&[[6, 0, 0]], &[0, 0, 0, 0, 224, 224], &[]), good);
}

#[test]
fn triples_that_do_not() {
    let (d, e) = (&[0; 4][..], &b"EF"[..]);
    let control = Err(Error::Control);
    // Negative, past the slice, past what is left of it.
    assert_eq!(by_hand(&[[-4, 2, 0]], d, e), control);
    assert_eq!(by_hand(&[[4, -2, 0]], d, e), control);
    assert_eq!(by_hand(&[[7, 0, 0]], &[0; 7], e), control);
    assert_eq!(by_hand(&[[4, 3, 0]], d, b"EFG"), control);
    assert_eq!(by_hand(&[[4, 0, 0], [3, 0, 0]], &[0; 7], e), control);
    // In front of the old image, behind it, outside of 31 bits.
    assert_eq!(by_hand(&[[0, 0, -1], [4, 2, 0]], d, e), control);
    assert_eq!(by_hand(&[[0, 0, 5], [4, 2, 0]], d, e), control);
    assert_eq!(by_hand(&[[1 << 32, 6, 0]], d, e), control);
    assert_eq!(by_hand(&[[0, 0, 1 << 31], [4, 2, 0]], d, e), control);
    let far = i64::from(i32::MAX);
    assert_eq!(
        by_hand(&[[0, 0, far], [0, 0, far], [4, 2, 0]], d, e),
        control
    );
    // More moves than bytes.
    let mut moves = vec![[0, 0, 0]; 6];
    moves.push([4, 2, 0]);
    assert_eq!(by_hand(&moves, d, e), Ok(b"abcdEF".to_vec()));
    moves.insert(0, [0, 0, 0]);
    assert_eq!(by_hand(&moves, d, e), control);
    // Streams that end early, or go on.
    assert_eq!(by_hand(&[[4, 1, 0]], d, b"E"), control);
    assert_eq!(by_hand(&[[4, 2, 0]], &d[1..], e), control);
    let surplus = |which| Err(Error::Surplus(which));
    let more = [[4, 2, 0], [0, 0, 0]];
    assert_eq!(by_hand(&more, d, e), surplus(Stream::Control));
    assert_eq!(by_hand(&more[..1], &[0; 5], e), surplus(Stream::Diff));
    assert_eq!(by_hand(&more[..1], d, b"EFG"), surplus(Stream::Extra));
}

#[test]
fn numbers_of_a_header() {
    let good = section(&[[0, 6, 0]], &[], b"abcdEF", b"abcdEF");
    let with = |at: usize, bytes: [u8; 8]| {
        let mut bad = good.clone();
        bad[at..at + 8].copy_from_slice(&bytes);
        apply(b"abcdefgh", &bad, nbdiff::SLICE, 4)
    };
    for at in [8, 16, 24, 32] {
        assert_eq!(with(at, number(-1)), Err(Error::Length), "at {at}");
        assert_eq!(with(at, number(1 << 32)), Err(Error::Length), "at {at}");
    }
    for at in [8, 16, 24] {
        assert_eq!(with(at, number(4000)), Err(Error::Truncated), "at {at}");
    }
    assert_eq!(with(32, number(0)), Err(Error::SliceLength));
    assert_eq!(with(32, number(0x1_0001)), Err(Error::SliceLength));
    assert_eq!(with(40, number(-1)), Err(Error::CrcField));
    assert_eq!(with(0, *b"BSDIFF41"), Err(Error::Magic));
}

/// Every byte changed and every length of a patch of several sections: an error, or an
/// image; and where that is not the right one, its digest tells, as a bare CRC-16 may not.
#[test]
fn damage_is_found_at_the_latest_by_the_digest() {
    let old = sample(21, 9_000);
    let mut new = old.clone();
    new.splice(1000..1200, sample(22, 150));
    for byte in new[5000..].iter_mut().step_by(61) {
        *byte ^= 0x24;
    }
    let options = Options {
        slice: 4096,
        dict: 4096,
    };
    let patch = nbdiff::encode(&old, &new, &options, &|_| {}).unwrap();
    let (mut refused, mut right, mut fooled) = (0, 0, 0);
    let mut judge = |bad: &[u8]| match apply(&old, bad, 4096, 1000) {
        Err(_) => refused += 1,
        Ok(got) if got == new => right += 1,
        Ok(_) => fooled += 1,
    };
    for at in 0..patch.len() {
        for flip in [1, 0x10, 0x80, 0xFF] {
            let mut bad = patch.clone();
            bad[at] ^= flip;
            judge(&bad);
        }
        judge(&patch[..at]);
    }
    println!(
        "{} bytes: {refused} refused, {right} still right, {fooled} past the CRC-16",
        patch.len()
    );
    // A patch cut between sections is a shorter patch: only the image's length tells.
    assert_eq!(fooled, 2);
    // The unused bits of the CRC fields, three sections of them.
    assert!(right >= 3 * 5 * 3, "{right}");
    assert!(refused > 40 * right);
}

#[test]
fn wrong_old_image_is_found_by_the_crc() {
    let (mut old, _, patch) = vector();
    old[77] ^= 1;
    assert_eq!(apply(&old, &patch, nbdiff::SLICE, 64), Err(Error::Crc));
}
