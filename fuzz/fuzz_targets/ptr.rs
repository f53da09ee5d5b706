//! ptr patches.
//!
//! * Two images made from one another: the patch gives the new one, in any pieces.
//! * A damaged patch, or noise behind a good header: an error, or an image of the
//!   length the header says; nothing outside the images is touched, and writes
//!   come in order, in whole blocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_delta::IoError;
use ota_delta::ptr::{BLOCK, Decoder, Error, HEADER_LEN, Header, Options, Target, encode};
use std::cell::RefCell;
use std::sync::LazyLock;
use uota_fuzz::{Input, damage, noise, packages};

struct Memory<'a> {
    old: &'a [u8],
    new: Vec<u8>,
    len: Option<usize>,
}

impl Target for Memory<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        assert!(self.len.is_none() && self.new.is_empty());
        if header.old_len as usize != self.old.len() || header.new_len > 100_000 {
            return Err(IoError);
        }
        self.len = Some(header.new_len as usize);
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
        let from = offset as usize;
        buf.copy_from_slice(
            self.new
                .get(from..from + buf.len())
                .expect("what was written"),
        );
        Ok(())
    }

    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let len = self.len.expect("begun");
        assert_eq!(offset as usize, self.new.len());
        self.new.extend(data);
        assert!(data.len().is_multiple_of(BLOCK) || self.new.len() == len);
        assert!(self.new.len() <= len);
        Ok(())
    }
}

thread_local! {
    static DECODER: RefCell<Box<Decoder>> = RefCell::new(Box::new(Decoder::new()));
}

fn apply(old: &[u8], patch: &[u8], piece: usize) -> Result<Vec<u8>, Error> {
    let mut target = Memory {
        old,
        new: vec![],
        len: None,
    };
    DECODER.with_borrow_mut(|d| {
        d.restart();
        for part in patch.chunks(piece) {
            d.push(&mut target, part)?;
        }
        d.finish()
    })?;
    assert_eq!(Some(target.new.len()), target.len);
    Ok(target.new)
}

/// Words that look like code and pointers, then text.
fn firmware(seed: u64, shift: u32) -> Vec<u8> {
    let words = noise(seed, 800);
    let mut out = vec![];
    for (i, w) in words.chunks_exact(4).enumerate() {
        let w = u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        let at = 0x1_A5C0 + (w & 0x3FFC) + if w & 0x2000 != 0 { shift } else { 0 };
        out.extend(
            match i % 4 {
                0 => at,
                1 => 0xF000_F800 | w & 0x07FF_07FF,
                2 => 0xEB00_0000 | w & 0xFF,
                _ => w,
            }
            .to_le_bytes(),
        );
        if i == 90 {
            out.extend(vec![0x46; shift as usize]);
        }
    }
    out
}

struct Pair {
    old: Vec<u8>,
    new: Vec<u8>,
    patch: Vec<u8>,
}

/// Making a patch takes long: these are made once.
static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let coded = |bytes: &[u8]| {
        hal_mk3060::line_code::encode(bytes)
            .flatten()
            .collect::<Vec<u8>>()
    };
    let (a, b) = (firmware(1, 0), firmware(1, 8));
    let big: Vec<u8> = (0..90).flat_map(|i| firmware(i, 0)).collect();
    let mut bigger = firmware(99, 4);
    bigger.extend(&big);
    [
        (coded(&a), coded(&b)),
        (b.clone(), a.clone()),
        (a, b),
        (vec![], noise(3, 500)),
        (big, bigger),
    ]
    .map(|(old, new)| {
        let patch = encode(&old, &new, &Options::default(), &|_| {}).expect("good images");
        Pair { old, new, patch }
    })
    .into()
});

// Making the pairs takes longer than an input may.
fuzz_target!(init: { LazyLock::force(&PAIRS); }, |data: &[u8]| {
    let mut input = Input::new(data);
    let piece = usize::from(input.u16()).max(1);
    match input.u8() % 64 {
        // Making patches takes long.
        0 if input.u8() % 32 == 0 => {
            let old = input.bytes(200).repeat(1 + usize::from(input.u8() % 8));
            let mut new = old.clone();
            damage(&mut input, &mut new);
            if !new.is_empty() {
                let patch = encode(&old, &new, &Options::default(), &|_| {}).expect("good images");
                assert_eq!(apply(&old, &patch, piece), Ok(new));
            }
        }
        0..24 => {
            let old = noise(1, usize::from(input.u8()) * 8);
            let first = input.u8();
            // One more than there are.
            let arch = input.u8() % 6;
            let header = Header {
                arch: ota_delta::ptr::Arch::Thumb,
                lag: input.u8(),
                old_len: old.len() as u32,
                // Seldom more than a slice: that takes long.
                new_len: input.u32() % if first % 32 == 0 { 100_000 } else { 400 },
                old_digest: [0; 16],
                new_digest: [0; 16],
                base: input.u32(),
                lines: (first & 0x80 != 0).then(|| ota_delta::ptr::LineCoding {
                    old: (input.u8().into(), input.u8().into()),
                    new: (input.u8().into(), input.u8().into()),
                }),
            };
            let mut bytes = [0; HEADER_LEN + 16];
            let len = header.write(&mut bytes);
            bytes[5] = bytes[5] & !7 | arch;
            let crc = packages::crc32(&bytes[..len - 4]);
            bytes[len - 4..len].copy_from_slice(&crc.to_le_bytes());
            let mut patch = bytes[..len].to_vec();
            patch.extend(input.rest());
            let whole = apply(&old, &patch, patch.len());
            if first % 8 == 0 {
                assert_eq!(whole, apply(&old, &patch, piece));
            }
        }
        _ => {
            let pairs = &*PAIRS;
            // The last one is large.
            let pair = &pairs[if input.u8() == 0xFF {
                4
            } else {
                input.below(4)
            }];
            let mut patch = pair.patch.clone();
            damage(&mut input, &mut patch);
            let result = apply(&pair.old, &patch, piece);
            if patch == pair.patch {
                assert_eq!(result.as_ref(), Ok(&pair.new));
            }
            if patch.get(..HEADER_LEN) == pair.patch.get(..HEADER_LEN)
                && let Ok(new) = result
            {
                // CRC-32 stands over each slice: damage is found or did nothing.
                assert!(new == pair.new, "another image");
            }
        }
    }
});
