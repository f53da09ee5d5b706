//! ptr: round trips, pieces, resume, in place, coded lines, corrupted patches.
#![cfg(feature = "encode")]

use ota_delta::IoError;
use ota_delta::ptr::{Arch, BLOCK, Decoder, Error, Header, Options, SLICE, Target, encode};

/// Both images apart.
struct Apart<'a> {
    old: &'a [u8],
    new: Vec<u8>,
    done: Vec<u32>,
    first_write: Option<u32>,
}

impl<'a> Apart<'a> {
    fn new(old: &'a [u8]) -> Self {
        Apart {
            old,
            new: Vec::new(),
            done: Vec::new(),
            first_write: None,
        }
    }
}

fn fetch(from: &[u8], offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
    let at = offset as usize;
    buf.copy_from_slice(from.get(at..at + buf.len()).ok_or(IoError)?);
    Ok(())
}

impl Target for Apart<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        if self.old.len() != header.old_len as usize {
            return Err(IoError);
        }
        Ok(())
    }
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(self.old, offset, buf)
    }
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(&self.new, offset, buf)
    }
    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        self.first_write.get_or_insert(offset);
        assert_eq!(offset as usize % BLOCK, 0, "blocks are aligned");
        assert_eq!(offset as usize, self.new.len(), "in order, without gaps");
        self.new.extend_from_slice(data);
        Ok(())
    }
    fn slice_done(&mut self, index: u32) -> Result<(), IoError> {
        self.done.push(index);
        Ok(())
    }
}

fn push_all(d: &mut Decoder, t: &mut dyn Target, patch: &[u8], piece: usize) -> Result<(), Error> {
    for p in patch.chunks(piece) {
        d.push(t, p)?;
    }
    d.finish()
}

fn apply(old: &[u8], patch: &[u8], piece: usize) -> Result<Vec<u8>, Error> {
    let mut t = Apart::new(old);
    push_all(&mut Box::new(Decoder::new()), &mut t, patch, piece)?;
    Ok(t.new)
}

/// Something like Thumb code: calls, literal pools with pointers, filler.
fn firmware(functions: &[u32], base: u32) -> Vec<u8> {
    let mut starts = Vec::new();
    let mut at = 64u32;
    for f in functions {
        starts.push(at);
        at += 40 + (f % 7) * 8;
    }
    let mut out = vec![0xFFu8; 64];
    for (i, f) in functions.iter().enumerate() {
        let mut x = f.wrapping_mul(2654435761) | 1;
        let end = starts.get(i + 1).map_or(at, |s| *s);
        let start = starts[i];
        let put = |out: &mut Vec<u8>, h: u32| out.extend_from_slice(&(h as u16).to_le_bytes());
        while (out.len() as u32) < end - 8 {
            x = x.wrapping_mul(1664525).wrapping_add(1013904223);
            if x >> 29 == 0 && (out.len() as u32) < end - 12 {
                let to = starts[(x >> 7) as usize % starts.len().min(i + 40)];
                let off = to.wrapping_sub(out.len() as u32 + 4);
                put(&mut out, 0xF000 | off >> 12 & 0x7FF);
                put(&mut out, 0xF800 | off >> 1 & 0x7FF);
            } else {
                put(&mut out, 0x2000 | x >> 20 & 0x1FFF);
            }
        }
        let p = base + start + 1; // a pointer to itself
        out.extend_from_slice(&p.to_le_bytes());
        out.extend_from_slice(
            &(0x2000_0000 + (f.wrapping_mul(0x9E37) & 0x3FF8) + start / 4096 * 8).to_le_bytes(),
        );
    }
    out
}

fn pair(n: u32) -> (Vec<u8>, Vec<u8>) {
    let old: Vec<u32> = (0..n).map(|i| i.wrapping_mul(40503)).collect();
    let mut new = old.clone();
    new.splice(20..20, [777, 778, 779]);
    new[n as usize / 2] ^= 0x5555;
    new.remove(n as usize - 9);
    (firmware(&old, 0x0801_0000), firmware(&new, 0x0801_0000))
}

fn make(old: &[u8], new: &[u8]) -> Vec<u8> {
    encode(old, new, &Options::default(), &|_| {}).unwrap()
}

#[test]
fn pieces_of_any_size_give_the_image() {
    let (old, new) = pair(2500);
    assert!(new.len() > 2 * SLICE as usize);
    let patch = make(&old, &new);
    let header = Header::parse(&patch).unwrap();
    assert_eq!((header.arch, header.base), (Arch::Thumb, 0x0801_0000));
    assert!(patch.len() < new.len() / 5, "{}", patch.len());
    for piece in [1, 3, 61, 1024, usize::MAX] {
        assert!(apply(&old, &patch, piece.min(patch.len())).unwrap() == new);
    }
}

#[test]
fn sizes_from_one_byte_on() {
    let (old, _) = pair(300);
    for len in [1usize, 2, 3, 4, 31, 1023, 1024, 1025] {
        let new = &old[100..100 + len];
        assert_eq!(apply(&old, &make(&old, new), 50).unwrap(), new);
        assert_eq!(apply(new, &make(new, &old), 50).unwrap(), old);
        assert_eq!(apply(&[], &make(&[], new), 50).unwrap(), new);
    }
    assert!(encode(&old, &[], &Options::default(), &|_| {}).is_err());
}

#[test]
fn one_struct_that_leaves_room_for_the_stack_in_32_kib() {
    assert!(
        size_of::<Decoder>() <= 31 * 1024,
        "{}",
        size_of::<Decoder>()
    );
}

#[test]
fn resumes_after_the_last_whole_slice() {
    let (old, new) = pair(4500);
    let patch = make(&old, &new);
    for cut in (0..patch.len()).step_by(patch.len() / 23) {
        let mut t = Apart::new(&old);
        let mut d = Box::new(Decoder::new());
        d.push(&mut t, &patch[..cut]).unwrap();
        let whole = t.done.last().map_or(0, |k| k + 1);
        t.new.truncate((whole * SLICE) as usize);
        t.first_write = None;
        d.restart();
        d.resume(whole);
        push_all(&mut d, &mut t, &patch, 100).unwrap();
        assert!(t.new == new);
        assert_eq!(t.first_write, Some(whole * SLICE));
    }
}

/// In place: slices older than the lag are put over the old image.
struct InPlace {
    flash: Vec<u8>,
    staged: Vec<(u32, Vec<u8>)>,
    lag: u32,
}

impl Target for InPlace {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        self.lag = header.lag.into();
        Ok(())
    }
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(&self.flash, offset, buf)
    }
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        for (i, b) in buf.iter_mut().enumerate() {
            let at = offset + i as u32;
            let staged = self.staged.iter().find(|(k, _)| *k == at / SLICE);
            *b = staged.map_or(self.flash[at as usize], |(_, d)| d[(at % SLICE) as usize]);
        }
        Ok(())
    }
    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let k = offset / SLICE;
        if self.staged.last().is_none_or(|(last, _)| *last != k) {
            if self.staged.len() as u32 > self.lag {
                self.commit();
            }
            self.staged.push((k, Vec::new()));
        }
        self.staged.last_mut().unwrap().1.extend_from_slice(data);
        Ok(())
    }
}

impl InPlace {
    fn commit(&mut self) {
        let (k, data) = self.staged.remove(0);
        let at = (k * SLICE) as usize;
        if self.flash.len() < at + data.len() {
            self.flash.resize(at + data.len(), 0xFF);
        }
        self.flash[at..at + data.len()].copy_from_slice(&data);
    }
}

#[test]
fn in_place_with_a_lag_of_one_or_more() {
    let (old, new) = pair(4500);
    for (old, new) in [(&old, &new), (&new, &old)] {
        for lag in [1u8, 3] {
            let patch = encode(
                old,
                new,
                &Options {
                    lag,
                    ..Options::default()
                },
                &|_| {},
            )
            .unwrap();
            let mut t = InPlace {
                flash: old.clone(),
                staged: Vec::new(),
                lag: 9,
            };
            push_all(&mut Box::new(Decoder::new()), &mut t, &patch, 77).unwrap();
            while !t.staged.is_empty() {
                t.commit();
            }
            assert!(t.flash[..new.len()] == new[..]);
        }
    }
}

/// 34/32 coding, written independently of the crate's.
fn coded(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xFF; 28];
    for line in data.chunks_exact(32) {
        let mut crc = 0xFFFFu32;
        for b in line {
            for i in (0..8).rev() {
                let x = (crc >> 15 ^ u32::from(*b) >> i) & 1;
                crc = (crc << 1 & 0xFFFF) ^ (x * 0x8005);
            }
        }
        out.extend_from_slice(line);
        out.extend_from_slice(&[(crc >> 8) as u8, crc as u8]);
    }
    out.extend_from_slice(b"a trailer that is not coded");
    out
}

#[test]
fn coded_lines_cost_nothing() {
    let (old, new) = pair(4500);
    let plain = make(&old, &new);
    let (old, new) = (coded(&old), coded(&new));
    let patch = make(&old, &new);
    let lines = Header::parse(&patch).unwrap().lines.unwrap();
    assert_eq!((lines.old.0, lines.new.0), (28, 28));
    assert!(
        patch.len() < plain.len() + 150,
        "{} {}",
        patch.len(),
        plain.len()
    );
    assert!(apply(&old, &patch, 500).unwrap() == new);
    // Resumed at every slice: lines straddle slices.
    for first in 1..=new.len() as u32 / SLICE {
        let mut t = Apart::new(&old);
        t.new = new[..(first * SLICE) as usize].to_vec();
        let mut d = Box::new(Decoder::new());
        d.resume(first);
        push_all(&mut d, &mut t, &patch, 100).unwrap();
        assert!(t.new == new);
    }
    // A line with a wrong CRC is carried as it is.
    let mut odd = new.clone();
    odd[28 + 34 * 1000 + 33] ^= 1;
    let odd_patch = make(&old, &odd);
    assert!(apply(&old, &odd_patch, 500).unwrap() == odd);
    // Broken at different places of both, lines as they are may do better.
    let mut broken = old.clone();
    broken[28 + 34 * 700 + 3] ^= 1;
    let patch = make(&broken, &odd);
    assert!(
        patch.len() < odd_patch.len() + 1000,
        "{} {}",
        patch.len(),
        odd_patch.len()
    );
    assert!(apply(&broken, &patch, 500).unwrap() == odd);
}

#[test]
fn lines_in_one_of_the_images_cost_little() {
    let (old, new) = pair(300);
    let plain = make(&old, &new);
    for (old, new) in [(coded(&old), new.clone()), (old, coded(&new))] {
        let patch = make(&old, &new);
        assert!(Header::parse(&patch).unwrap().lines.is_some());
        assert!(
            patch.len() < plain.len() + 150,
            "{} {}",
            patch.len(),
            plain.len()
        );
        assert!(apply(&old, &patch, 500).unwrap() == new);
    }
}

#[test]
fn wrong_base_image_is_refused_before_anything_is_written() {
    let (old, new) = pair(300);
    let patch = make(&old, &new);
    let mut t = Apart::new(&new);
    assert_eq!(
        push_all(&mut Box::new(Decoder::new()), &mut t, &patch, 64),
        Err(Error::Refused)
    );
    assert_eq!(t.first_write, None);
}

#[test]
fn every_truncation_and_trailing_bytes_are_errors() {
    let (old, new) = pair(300);
    let patch = make(&old, &new);
    for cut in 0..patch.len() {
        assert_eq!(
            apply(&old, &patch[..cut], 64),
            Err(Error::Truncated),
            "cut at {cut}"
        );
    }
    let more = [&patch[..], &[0]].concat();
    assert_eq!(apply(&old, &more, 64), Err(Error::Trailing));
}

#[test]
fn every_flipped_byte_is_an_error_or_harmless() {
    let (old, new) = pair(90);
    let patch = make(&old, &new);
    for at in 0..patch.len() {
        let mut bad = patch.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(got) = apply(&old, &bad, bad.len()) {
            assert!(got == new, "byte {at}");
        }
    }
}

#[test]
fn addresses_at_the_very_end_of_the_address_space() {
    // Words there that move look like a RAM window, whose end is 2^32.
    let image = |by: u32| {
        (0..200u32)
            .map(|i| match i % 8 {
                0 => 0xFFFF_FF00 + i + by,
                _ => i.wrapping_mul(0x9E37_79B1) >> 3,
            })
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let (old, new) = (image(0), image(8));
    let options = Options {
        base: Some(0x1000),
        ..Options::default()
    };
    let patch = encode(&old, &new, &options, &|_| {}).unwrap();
    assert_eq!(apply(&old, &patch, 100), Ok(new));
}
