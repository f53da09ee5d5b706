//! ptr: a patch of format version 3 that every later decoder must take, and any pair of
//! images there and back.
#![cfg(feature = "encode")]

use ota_delta::ptr::{Memory, Options, encode};
use proptest::prelude::*;

/// Pointers, Thumb calls, RAM addresses; the new one has eight bytes more in the middle.
fn image(moved: bool) -> Vec<u8> {
    let by = u32::from(moved);
    let mut out = Vec::new();
    for i in 0..150u32 {
        if moved && i == 80 {
            out.extend(*b"inserted");
        }
        let mut to = i * 29 % 150 * 4;
        if to >= 320 {
            to += 8 * by;
        }
        let off = to.wrapping_sub(out.len() as u32 + 4);
        let word = match i % 5 {
            0 => 0x1_0000 + to,
            1 => 0xF000 | off >> 12 & 0x7FF | (0xF800 | off >> 1 & 0x7FF) << 16,
            2 => 0x2000_0000 + 12 * i + 16 * by,
            _ => i.wrapping_mul(0x9E37_79B1),
        };
        out.extend(word.to_le_bytes());
    }
    out
}

/// Made by our encoder, taken by `tests/python/ptr.py`.
const PATCH: &str = "\
d77074720301010058020000600200009b818a613a9ddbf9c6befb46921bea4dac0bbd678486 \
    9e4a9cf47048bcd746470000010012f740410d00000007ffffbbda088926394dbd110000cc81 \
    8b9e867db94ace3dda8c339a02173812c7a045";

#[test]
fn a_patch_of_this_version_stays_good() {
    let digits: Vec<u32> = PATCH.chars().filter_map(|c| c.to_digit(16)).collect();
    let patch: Vec<u8> = digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect();
    let old = image(false);
    for piece in [1, patch.len()] {
        let mut memory = Memory::new(&old);
        memory.apply(&patch, piece).unwrap();
        assert!(memory.new == image(true));
    }
}

/// Parts of the old image, and others.
fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    let parts = prop::collection::vec((any::<u16>(), any::<u16>(), any::<u32>()), 1..6);
    (bytes, parts).prop_map(|(old, parts)| {
        let mut new = Vec::new();
        for (from, len, fresh) in parts {
            let from = usize::from(from) % (old.len() + 1);
            let end = (from + usize::from(len) % 400).min(old.len());
            new.extend(&old[from..end]);
            new.extend(fresh.to_le_bytes());
        }
        (old, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_pair_comes_back((old, new) in edited(), lag in 0u8..3, piece in 1usize..300) {
        let options = Options { lag, base: Some(0x1_0000), ..Options::default() };
        let patch = encode(&old, &new, &options, &|_| {}).unwrap();
        let mut memory = Memory::new(&old);
        memory.apply(&patch, piece).unwrap();
        prop_assert!(memory.new == new);
    }

    #[test]
    fn any_damage_is_an_error_or_none(at in any::<u16>(), with in 1u8..) {
        let (old, new) = (image(false), image(true));
        let mut patch = encode(&old, &new, &Options::default(), &|_| {}).unwrap();
        let at = usize::from(at) % patch.len();
        patch[at] ^= with;
        let mut memory = Memory::new(&old);
        if memory.apply(&patch, 50).is_ok() {
            prop_assert!(memory.new == new);
        }
    }
}
