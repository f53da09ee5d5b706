//! ptr patches.
//!
//! * Two images made from one another: the patch gives the new one, in any pieces.
//! * A damaged patch, parts of several, or noise behind a good header: an error, or an
//!   image of the length the header says; nothing outside the images is touched, and
//!   writes come in order, in whole blocks.
//! * With the right CRC-32 in its slice's header, whatever decodes is taken.
//!
//! Images have some hundred bytes. What comes behind a slice boundary is tried by
//! going on there: the slice in front is in place already.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_delta::IoError;
use ota_delta::ptr::{
    Arch, BLOCK, Decoder, Error, HEADER_LEN, Header, LineCoding, Options, SLICE, Target, encode,
};
use std::cell::RefCell;
use std::sync::LazyLock;
use uota_fuzz::{Input, damage, noise, packages};

/// Most bytes an input may have decoded: every one takes time.
const MOST: usize = 1200;

struct Memory<'a> {
    old: &'a [u8],
    /// Slices that are in place already.
    before: &'a [u8],
    new: &'a mut Vec<u8>,
    len: Option<usize>,
}

impl Target for Memory<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        assert!(self.len.is_none() && self.new.is_empty());
        let len = header.new_len as usize;
        let some = len > self.before.len() || self.before.is_empty();
        let fits = some && len <= self.before.len() + MOST;
        if header.old_len as usize != self.old.len() || !fits {
            return Err(IoError);
        }
        self.len = Some(len);
        Ok(())
    }

    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let from = offset as usize;
        buf.copy_from_slice(
            self.old
                .get(from..from + buf.len())
                .expect("inside the old image"),
        );
        Ok(())
    }

    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        for (at, slot) in (offset as usize..).zip(buf) {
            let b = match at.checked_sub(self.before.len()) {
                Some(at) => self.new.get(at),
                None => self.before.get(at),
            };
            *slot = *b.expect("what was written");
        }
        Ok(())
    }

    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let len = self.len.expect("begun");
        assert_eq!(offset as usize, self.before.len() + self.new.len());
        self.new.extend(data);
        let end = self.before.len() + self.new.len();
        assert!(data.len().is_multiple_of(BLOCK) || end == len);
        assert!(end <= len);
        Ok(())
    }
}

thread_local! {
    /// One decoder and one image for all inputs.
    static ROOM: RefCell<(Box<Decoder>, Vec<u8>)> =
        RefCell::new((Box::new(Decoder::new()), Vec::new()));
}

/// Applies a patch; `look` gets what came of it and what was written.
fn apply<T>(
    old: &[u8],
    before: &[u8],
    patch: &[u8],
    piece: usize,
    look: impl FnOnce(Result<(), Error>, &[u8]) -> T,
) -> T {
    ROOM.with_borrow_mut(|(decoder, new)| {
        new.clear();
        let mut target = Memory {
            old,
            before,
            new,
            len: None,
        };
        decoder.restart();
        decoder.resume(before.len() as u32 / SLICE);
        let mut done = patch
            .chunks(piece)
            .try_for_each(|part| decoder.push(&mut target, part));
        if done.is_ok() {
            done = decoder.finish();
        }
        if done.is_ok() {
            assert_eq!(Some(before.len() + target.new.len()), target.len);
        }
        look(done, target.new)
    })
}

const ARCHS: [Arch; 5] = [Arch::Thumb, Arch::Arm, Arch::A64, Arch::Xtensa, Arch::None];
const BASE: u32 = 0x1_A5C0;

/// Words that look like code and pointers, then text.
fn firmware(arch: Arch, seed: u64, words: usize, shift: u32) -> Vec<u8> {
    let mut out = vec![];
    for (i, w) in noise(seed, 4 * words).chunks_exact(4).enumerate() {
        let w = u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        let moved = |to: u32| to + if to > 120 { shift } else { 0 };
        let to = moved(w % 320 & !3);
        let off = to.wrapping_sub(out.len() as u32) >> 2;
        out.extend(
            match i % 4 {
                0 => BASE + to,
                1 if i % 8 == 1 => 0x2000_0000 + (w & 0x3FF) * 4 + shift,
                1 => w,
                2 => match arch {
                    Arch::Thumb => 0xF800_F000 | off >> 10 & 0x7FF | (off << 1 & 0x7FF) << 16,
                    Arch::A64 => 0x9400_0000 | off & 0x3FF_FFFF,
                    Arch::Xtensa => 5 | (off & 0x3_FFFF) << 6 | w << 24,
                    _ => 0xEB00_0000 | off & 0xFF_FFFF,
                },
                _ => u32::from_le_bytes(*b"text"),
            }
            .to_le_bytes(),
        );
        if i == 30 {
            out.extend(vec![0x46; shift as usize]);
        }
    }
    out
}

fn coded(bytes: &[u8]) -> Vec<u8> {
    hal_mk3060::line_code::encode(bytes).flatten().collect()
}

struct Pair {
    old: Vec<u8>,
    /// Slices in front of what is decoded.
    before: Vec<u8>,
    new: Vec<u8>,
    patch: Vec<u8>,
}

impl Pair {
    /// A patch without its slices, and where the map begins.
    fn head(&self) -> (usize, usize) {
        let start = HEADER_LEN + if self.patch[5] & 0x10 != 0 { 16 } else { 0 };
        let len = u16::from_le_bytes([self.patch[start], self.patch[start + 1]]);
        (start, start + 2 + usize::from(len))
    }
}

/// Making a patch takes long: these are made once.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let mut images = vec![];
    for arch in ARCHS {
        let (a, b) = (firmware(arch, 1, 80, 0), firmware(arch, 1, 80, 8));
        images.push((arch, a.clone(), b.clone()));
        images.push((arch, coded(&b), coded(&a)));
    }
    images.push((Arch::Thumb, vec![], noise(3, 200)));
    // A second slice, which goes back to the first, and to the old image's end.
    let long: Vec<u8> = (0..170)
        .flat_map(|i| firmware(Arch::Thumb, i / 4, 97, 0))
        .collect();
    let len = SLICE as usize + 300;
    let mut new = firmware(Arch::Thumb, 99, 10, 4);
    new.extend(&long[..len - 44]);
    images.push((Arch::Thumb, long[..len].to_vec(), new));
    let half = SLICE as usize * 32 / 34;
    images.push((
        Arch::Arm,
        coded(&long[..half + 160]),
        coded(&long[40..half + 200]),
    ));
    images
        .into_iter()
        .map(|(arch, old, new)| {
            let options = Options {
                arch: Some(arch),
                base: Some(BASE),
                ..Options::default()
            };
            let patch = encode(&old, &new, &options, &|_| {}).expect("good images");
            let slice = if new.len() > SLICE as usize { SLICE } else { 0 };
            Pair {
                old,
                before: new[..slice as usize].to_vec(),
                new,
                patch,
            }
        })
        .collect()
});

/// The header's CRC-32 put right.
fn sign(patch: &mut [u8]) {
    let len = match patch.get(5) {
        Some(flags) if flags & 0x10 != 0 => HEADER_LEN + 16,
        _ => HEADER_LEN,
    };
    if let Some(header) = patch.get_mut(..len) {
        let crc = packages::crc32(&header[..len - 4]);
        header[len - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Any header, any map, any slice.
fn built(mut input: Input<'_>, piece: usize) {
    let first = input.u8();
    let second = if first & 0x40 != 0 { SLICE } else { 0 };
    let pairs = &*PAIRS;
    let lent = &pairs[input.below(pairs.len())];
    let noisy = noise(1, usize::from(input.u8()) * 4);
    let old = if first & 0x20 != 0 { &lent.old } else { &noisy };
    // One more than there are.
    let arch = input.u8() % 6;
    let header = Header {
        arch: Arch::Thumb,
        lag: if first & 0x10 != 0 { input.u8() } else { 1 },
        old_len: old.len() as u32,
        new_len: second + 1 + input.u32() % 250,
        old_digest: [0; 16],
        new_digest: [0; 16],
        base: if first & 8 != 0 { input.u32() } else { BASE },
        lines: (first & 0x80 != 0).then(|| LineCoding {
            old: (input.u8().into(), input.u8().into()),
            new: (
                input.u8().into(),
                match second {
                    0 => u32::from(input.u8()) % 8,
                    // Up to the boundary and beyond.
                    _ => SLICE / 34 - 6 + u32::from(input.u8()) % 16,
                },
            ),
        }),
    };
    let mut bytes = [0; HEADER_LEN + 16];
    let len = header.write(&mut bytes);
    bytes[5] = bytes[5] & !7 | arch;
    sign(&mut bytes[..len]);
    let mut patch = bytes[..len].to_vec();
    // A map that another patch has, none, or noise.
    match first & 7 {
        0..4 => {
            let (map, end) = lent.head();
            patch.extend(&lent.patch[map..end]);
        }
        4..6 => patch.extend([0, 0]),
        _ => {
            let map = input.bytes(40);
            patch.extend((map.len() as u16).to_le_bytes());
            patch.extend(map);
        }
    }
    if second != 0 {
        patch.extend([3, 0, 0, 1, 2, 3, 4, 5, 6, 7]);
    }
    let kind = input.u8();
    let at = patch.len();
    let mut data = input.rest();
    // An encoder leaves trailing zeros out.
    while let [rest @ .., 0] = data {
        data = rest;
    }
    // One more than there are.
    let literals = u32::from(kind >> 6) << 22;
    patch.extend(&(data.len() as u32 | literals).to_le_bytes()[..3]);
    patch.extend([0; 4]);
    patch.extend(data);
    let before = &pairs[pairs.len() - 2].before[..second as usize];
    let (whole, crc) = apply(old, before, &patch, patch.len(), |done, new| {
        (done, packages::crc32(new))
    });
    if whole == Err(Error::Crc) {
        patch[at + 3..at + 7].copy_from_slice(&crc.to_le_bytes());
        let all = apply(old, before, &patch, piece, |done, _| done);
        assert_eq!(all, Ok(()), "the CRC-32 is right");
    } else if kind & 0xE == 0 {
        assert_eq!(apply(old, before, &patch, piece, |done, _| done), whole);
    }
}

/// A good patch, damaged, or with another's head.
fn damaged(input: &mut Input<'_>, piece: usize) {
    let pairs = &*PAIRS;
    let pair = &pairs[input.below(pairs.len())];
    let mut patch = pair.patch.clone();
    let how = input.u8();
    if how & 0x70 == 0 {
        let other = &pairs[input.below(pairs.len())];
        let (map, end) = pair.head();
        let (others_map, others_end) = other.head();
        patch = pair.patch[..map].to_vec();
        patch.extend(&other.patch[others_map..others_end]);
        patch.extend(&pair.patch[end..]);
    }
    damage(input, &mut patch);
    if how & 1 != 0 {
        sign(&mut patch);
    }
    apply(&pair.old, &pair.before, &patch, piece, |done, new| {
        let right = new == &pair.new[pair.before.len()..];
        if patch == pair.patch {
            assert!(done == Ok(()) && right);
        }
        if patch.get(..HEADER_LEN) == pair.patch.get(..HEADER_LEN) && done.is_ok() {
            // CRC-32 stands over each slice: damage is found or did nothing.
            assert!(right, "another image");
        }
    });
}

/// Any two images.
fn made(input: &mut Input<'_>, piece: usize) {
    let options = Options {
        arch: Some(ARCHS[input.below(5)]),
        base: Some(input.u32()),
        lag: input.u8() % 3,
        instructions: input.flag().then(|| u32::from(input.u16()) % 1000),
    };
    let old = input.bytes(100).repeat(1 + usize::from(input.u8() % 4));
    let mut new = old.clone();
    damage(input, &mut new);
    if !new.is_empty() {
        let patch = encode(&old, &new, &options, &|_| {}).expect("good images");
        apply(&old, &[], &patch, piece, |done, made| {
            assert!(done == Ok(()) && made == new);
        });
    }
}

// Making the pairs takes longer than an input may.
fuzz_target!(init: { LazyLock::force(&PAIRS); }, |data: &[u8]| {
    let mut input = Input::new(data);
    let piece = usize::from(input.u16()).max(1);
    // Making patches takes long: few inputs do, and the fuzzer cannot make more of them.
    if packages::crc32(data) % 4096 == 5 {
        return made(&mut input, piece);
    }
    match input.u8() % 64 {
        0..40 => built(input, piece),
        _ => damaged(&mut input, piece),
    }
});
