//! nbdiff patches.
//!
//! * Any control triples: the decoder makes what a plain implementation of
//!   bsdiff makes, and refuses what that refuses.
//! * A damaged patch ends in an error or in the image, whatever the pieces.
//! * Nothing outside of the old image is ever read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_delta::nbdiff::{Error, SliceDecoder, Workspace, encode, scan};
use ota_delta::{ReadAt, ReadError};
use std::cell::RefCell;
use std::sync::LazyLock;
use uota_fuzz::packages::{self, crc16, section};
use uota_fuzz::{Input, damage, noise};

thread_local! {
    static WORKSPACE: RefCell<Box<Workspace>> = RefCell::new(Box::default());
}

/// An old image that must not be read past its end.
struct Old<'a>(&'a [u8]);

impl ReadAt for Old<'_> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        let from = offset as usize;
        buf.copy_from_slice(
            self.0
                .get(from..from + buf.len())
                .expect("inside the old image"),
        );
        Ok(())
    }

    fn size(&self) -> u32 {
        self.0.len() as u32
    }
}

fn apply(old: &[u8], patch: &[u8], slice: u32, piece: usize) -> Result<Vec<u8>, Error> {
    let mut sections = vec![];
    let len = scan(&mut &patch[..], patch.len() as u32, slice, &mut |s| {
        sections.push(*s);
        Ok(())
    })?;
    let mut view = old.to_vec();
    let mut new = vec![];
    WORKSPACE.with_borrow_mut(|workspace| {
        for s in sections {
            let mut decoder = SliceDecoder::begin(
                workspace,
                &mut &patch[..],
                s.section_offset,
                patch.len() as u32,
                slice,
                view.len() as u32,
            )?;
            let mut made = vec![0; s.header.new_len as usize];
            for part in made.chunks_mut(piece) {
                assert_eq!(
                    decoder.read(&mut &patch[..], &mut Old(&view), part)?,
                    part.len()
                );
            }
            new.extend(made);
            // In place: what is new replaces what was old.
            let n = new.len().min(view.len());
            view[..n].copy_from_slice(&new[..n]);
        }
        Ok::<(), Error>(())
    })?;
    assert_eq!(new.len(), len as usize);
    Ok(new)
}

/// bsdiff's own rule, with the checks that the format asks for.
fn model(
    old: &[u8],
    triples: &[[i32; 3]],
    diff: &[u8],
    extra: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    let (mut new, mut at) = (vec![], 0i64);
    let (mut diff, mut extra) = (diff.iter(), extra.iter());
    for &[add, copy, seek] in triples {
        if new.len() == len {
            return None;
        }
        let (add, copy) = (usize::try_from(add).ok()?, usize::try_from(copy).ok()?);
        if add + copy > len - new.len() {
            return None;
        }
        if add > 0 {
            let from = usize::try_from(at).ok()?;
            for old in old.get(from..from + add)? {
                new.push(old.wrapping_add(*diff.next()?));
            }
        }
        for _ in 0..copy {
            new.push(*extra.next()?);
        }
        at += add as i64 + i64::from(seek);
    }
    (new.len() == len && diff.next().is_none() && extra.next().is_none()).then_some(new)
}

fn triples(input: &mut Input<'_>, compress: bool) {
    let old = noise(input.u8().into(), input.below(300));
    let list: Vec<[i32; 3]> = (0..input.u8() % 12)
        .map(|_| {
            let mut n = || match input.u8() {
                255 => i32::from_le_bytes(input.array()),
                b => i32::from(b as i8),
            };
            [n().saturating_abs(), n().saturating_abs(), n()]
        })
        .collect();
    let sum = |i: usize| {
        list.iter()
            .map(|t| t[i].clamp(0, 500) as usize)
            .sum::<usize>()
            .min(4000)
    };
    let mut length = |n: usize| match input.u8() {
        0 => n + 1,
        1 => n.saturating_sub(1),
        _ => n,
    };
    let (diff, extra) = (noise(1, length(sum(0))), noise(2, length(sum(1))));
    let len = length(sum(0) + sum(1));
    // A patch of nothing is no patch; moving in front of the old image is an
    // error only where bytes are read; a triple of zeros is one always.
    if len == 0
        || list.contains(&[0; 3])
        || list.iter().flatten().any(|n| n.unsigned_abs() > 1 << 28)
    {
        return;
    }
    let expected = model(&old, &list, &diff, &extra, len);
    let crc = crc16(expected.as_deref().unwrap_or(&[]));
    let patch = section(&list, &diff, &extra, len, crc, compress);
    assert_eq!(
        apply(&old, &patch, 0x1_0000, 1 + input.below(300)).ok(),
        expected
    );
}

/// Two images and the patch between them.
struct Pair {
    old: Vec<u8>,
    new: Vec<u8>,
    patch: Vec<u8>,
}

const SLICE: u32 = 4096;

fn pair(old: Vec<u8>, new: Vec<u8>) -> Pair {
    let options = ota_delta::nbdiff::Options {
        slice: SLICE,
        ..Default::default()
    };
    let patch = encode(&old, &new, &options, &|_| {}).expect("good options");
    Pair { old, new, patch }
}

/// Making a patch takes long: these are made once.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let text = b"some text, 0123456789, and some more. ".repeat(12);
    let (a, b) = (noise(1, 700), noise(2, 60));
    vec![
        pair(a.clone(), [&a[..300], &b, &a[320..]].concat()),
        pair(text.clone(), [&text[30..], &b, &text].concat()),
        pair(vec![0; 300], text),
        // Three slices, which go back and forth.
        pair(
            a.repeat(12),
            [&a.repeat(7)[90..], &b, &a.repeat(6)].concat(),
        ),
    ]
});

/// A good patch, damaged.
fn damaged(mut input: Input<'_>) {
    let Pair { old, new, patch } = &PAIRS[input.below(4)];
    let piece = 1 + input.below(5000);
    let mut bad = patch.clone();
    damage(&mut input, &mut bad);
    let result = apply(old, &bad, SLICE, piece);
    if bad == *patch {
        assert_eq!(result.as_ref(), Ok(new));
    }
    if input.flag() {
        assert_eq!(result.is_ok(), apply(old, &bad, SLICE, 4096).is_ok());
    }
}

/// Any two images.
fn made(mut input: Input<'_>) {
    let old = noise(input.u8().into(), input.below(5000));
    let mut new = old.clone();
    damage(&mut input, &mut new);
    if !new.is_empty() && !old.is_empty() {
        let made = pair(old, new);
        assert_eq!(apply(&made.old, &made.patch, SLICE, 1000), Ok(made.new));
    }
}

// Making the pairs takes longer than an input may.
fuzz_target!(init: { LazyLock::force(&PAIRS); }, |data: &[u8]| {
    let mut input = Input::new(data);
    // Compressing takes long: few inputs do, and the fuzzer cannot make more of them.
    let rare = packages::crc32(data) % 4096;
    if rare == 5 {
        return made(input);
    }
    match input.u8() % 32 {
        0..20 => triples(&mut input, rare < 8),
        20..30 => damaged(input),
        _ => {
            let old = noise(0, 1000);
            let patch = input.rest();
            let _ = apply(&old, patch, 0x1_0000, 512);
        }
    }
});
