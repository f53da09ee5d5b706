//! Every variant of a power cut leaves what it says.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use ota_flash::sim::{CutVariant, OpKind, SimError, SimFlash};
use proptest::prelude::*;

const SECTOR: usize = 256;
const UNIT: usize = 32;
type Flash = SimFlash<SECTOR, UNIT>;

/// What is in the flash before, around and in the operation in hand.
fn start(old: &[u8]) -> Flash {
    let mut flash = Flash::new(3 * SECTOR);
    flash.load(0, &[0x3C; 3 * SECTOR]);
    flash.load(SECTOR as u32, old);
    flash
}

/// Cuts an erase of sector 1 and returns the flash, powered again.
fn cut_erase(old: &[u8], variant: CutVariant) -> Flash {
    let mut flash = start(old);
    flash.cut_at(0, variant);
    assert_eq!(flash.erase(256, 512), Err(SimError::PoweredOff));
    let fired = flash.fired().expect("the cut fires");
    assert_eq!((fired.op.kind, fired.op.offset), (OpKind::Erase, 256));
    assert_eq!(fired.variant, variant);
    flash.power_on();
    flash
}

/// Cuts the program of the third unit of sector 1.
fn cut_program(old: &[u8], new: &[u8], variant: CutVariant) -> Flash {
    let mut flash = start(old);
    flash.cut_at(0, variant);
    assert_eq!(flash.write(256 + 64, new), Err(SimError::PoweredOff));
    let fired = flash.fired().expect("the cut fires");
    assert_eq!((fired.op.kind, fired.op.offset), (OpKind::Program, 320));
    flash.power_on();
    flash
}

fn ones(bytes: &[u8]) -> u32 {
    bytes.iter().map(|b| b.count_ones()).sum()
}

#[test]
fn after_a_cut_nothing_works_until_power_is_back() {
    let mut flash = start(&[0; SECTOR]);
    flash.cut_after(1, CutVariant::After);
    assert_eq!(flash.fired(), None);
    flash.erase(0, 256).unwrap();
    assert!(flash.erase(256, 768).is_err());
    assert!(!flash.is_powered());
    let off = Err(SimError::PoweredOff);
    assert_eq!(flash.read(0, &mut [0; 1]), off);
    assert_eq!(flash.write(0, &[0; 32]), off);
    assert_eq!(flash.erase(0, 256), off);
    assert_eq!(flash.ops(), 2, "what is refused is no operation");
    // Only the operation in hand was done, not the rest of the call.
    assert_eq!(flash.dump(256, 512), [[0xFF; 256], [0x3C; 256]].concat());
    flash.power_on();
    flash.write(0, &[0; 32]).unwrap();
    assert_eq!(flash.fired().unwrap().number, 1);
    // A new plan forgets the old cut; a plan that is never reached says so.
    flash.cut_after(5, CutVariant::Before);
    flash.write(32, &[0; 32]).unwrap();
    assert_eq!(flash.fired(), None);
    flash.cancel_cut();
    flash.erase(0, 768).unwrap();
    flash.erase(0, 768).unwrap();
    assert_eq!(flash.fired(), None);
}

#[test]
fn erase_variants() {
    let old = [0x0F; SECTOR];
    let left = |variant| cut_erase(&old, variant).dump(256, SECTOR);
    let head = |n: usize| [vec![0xFF; n], vec![0x0F; SECTOR - n]].concat();
    let tail = |n: usize| [vec![0x0F; SECTOR - n], vec![0xFF; n]].concat();
    assert_eq!(left(CutVariant::Before), old);
    assert_eq!(left(CutVariant::After), [0xFF; SECTOR]);
    assert_eq!(left(CutVariant::Head { of_256: 0 }), old);
    assert_eq!(left(CutVariant::Head { of_256: 64 }), head(64));
    assert_eq!(left(CutVariant::Head { of_256: 255 }), head(255));
    assert_eq!(left(CutVariant::Tail { of_256: 128 }), tail(128));
    assert_eq!(left(CutVariant::Zeroed), [0; SECTOR]);
    let all = ones(&[0xFF; SECTOR]);
    assert_eq!(ones(&left(CutVariant::AllButOne { seed: 5 })), all - 1);
    assert_eq!(ones(&left(CutVariant::OnlyOne { seed: 5 })), ones(&old) + 1);
    let random = left(CutVariant::Random { seed: 5 });
    assert!(random.iter().all(|b| b & 0x0F == 0x0F), "1-bits stay");
    assert!((ones(&old) + 300..all - 300).contains(&ones(&random)));
    let scrambled = left(CutVariant::Scrambled { seed: 5 });
    assert!(
        scrambled.iter().any(|b| b & 0x0F != 0x0F),
        "also 1-bits are lost"
    );
    // Different seeds, different bits; the same seed, the same bits.
    for seed in 0..20 {
        assert_eq!(
            left(CutVariant::Random { seed }),
            left(CutVariant::Random { seed })
        );
        assert_ne!(
            left(CutVariant::Random { seed }),
            left(CutVariant::Random { seed: seed + 1 })
        );
    }
}

#[test]
fn program_variants() {
    let old = [0xFF; SECTOR];
    let new: Vec<u8> = (0..UNIT).map(|i| 0x55 ^ i as u8).collect();
    let left = |variant| cut_program(&old, &new, variant).dump(320, UNIT);
    assert_eq!(left(CutVariant::Before), [0xFF; UNIT]);
    assert_eq!(left(CutVariant::After), new);
    assert_eq!(left(CutVariant::Zeroed), new);
    for (n, variant) in (1..UNIT).zip(CutVariant::prefixes(UNIT)) {
        assert_eq!(left(variant)[..n], new[..n]);
        assert_eq!(left(variant)[n..], vec![0xFF; UNIT - n]);
    }
    assert_eq!(CutVariant::prefixes(UNIT).count(), UNIT - 1);
    assert_eq!(CutVariant::prefixes(1).count(), 0);
    let tail = left(CutVariant::Tail { of_256: 64 });
    assert_eq!(tail, [&[0xFF; 24], &new[24..]].concat());
    assert_eq!(
        ones(&left(CutVariant::AllButOne { seed: 1 })),
        ones(&new) + 1
    );
    assert_eq!(ones(&left(CutVariant::OnlyOne { seed: 1 })), 256 - 1);
}

/// With program units of one byte a head is counted in bits.
#[test]
fn a_byte_tears_too() {
    let mut flash = SimFlash::<16, 1>::new(16);
    flash.cut_at(0, CutVariant::Head { of_256: 96 });
    flash.write(3, &[0]).unwrap_err();
    assert_eq!(flash.dump(3, 1), [0b1111_1000]);
}

#[test]
fn unstable_bits_read_anew_each_time_until_they_are_written_again() {
    let old = [0x00; SECTOR];
    let mut flash = cut_erase(&old, CutVariant::Unstable { seed: 9 });
    let weak = flash.unstable_bits_in(1);
    assert!((700..1300).contains(&weak), "about half of 2048: {weak}");
    assert_eq!(flash.unstable_bits(), weak);
    let mut reads = [[0; SECTOR]; 8];
    for read in &mut reads {
        flash.read(256, read).unwrap();
    }
    let differing =
        |a: &[u8], b: &[u8]| -> u32 { a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum() };
    let mut ever = vec![0u8; SECTOR];
    for pair in reads.windows(2) {
        assert!(differing(&pair[0], &pair[1]) > 0);
        for i in 0..SECTOR {
            ever[i] |= pair[0][i] ^ pair[1][i];
        }
    }
    assert!(ones(&ever) as usize <= weak, "only unstable bits change");
    // Programming a unit settles what it clears, an erase settles all.
    flash.write(320, &[0; UNIT]).unwrap();
    for _ in 0..8 {
        let mut unit = [1; UNIT];
        flash.read(320, &mut unit).unwrap();
        assert_eq!(unit, [0; UNIT]);
    }
    assert!(flash.unstable_bits() < weak);
    flash.erase(256, 512).unwrap();
    assert_eq!(flash.unstable_bits(), 0);
    flash.read(256, &mut reads[0]).unwrap();
    assert_eq!(reads[0], [0xFF; SECTOR]);
}

/// A program of 1-bits does not settle the cells it does not touch.
#[test]
fn writing_ones_settles_nothing() {
    let mut flash = cut_program(&[0xFF; SECTOR], &[0; UNIT], CutVariant::Flicker { seed: 1 });
    assert_eq!(flash.unstable_bits(), UNIT * 8);
    flash.write(320, &[0xFF; UNIT]).unwrap();
    assert_eq!(flash.unstable_bits(), UNIT * 8);
    flash.write(320, &[0xF0; UNIT]).unwrap();
    assert_eq!(flash.unstable_bits(), UNIT * 4);
}

#[test]
fn flicker_reads_wholly_done_or_wholly_not() {
    let old = [0xA5; SECTOR];
    let mut flash = cut_erase(&old, CutVariant::Flicker { seed: 2 });
    let (mut done, mut not) = (0, 0);
    for _ in 0..64 {
        let mut read = [0; SECTOR];
        flash.read(256, &mut read).unwrap();
        match read {
            [0xFF, ..] => {
                assert_eq!(read, [0xFF; SECTOR]);
                done += 1;
            }
            _ => {
                assert_eq!(read, old);
                not += 1;
            }
        }
    }
    assert!(done > 10 && not > 10, "{done} {not}");
    // Both answers come first with some seed.
    let first = |seed| {
        let mut read = [0; 1];
        let mut flash = cut_erase(&old, CutVariant::Flicker { seed });
        flash.read(256, &mut read).unwrap();
        read[0] == 0xFF
    };
    assert!((0..20).any(first) && !(0..20).all(first));
}

#[test]
fn what_is_seen_after_a_cut_is_repeatable() {
    for variant in CutVariant::for_erase(77) {
        let see = || {
            let mut flash = cut_erase(&[0x12; SECTOR], variant);
            let mut bytes = vec![0; 3 * SECTOR];
            flash.read(0, &mut bytes).unwrap();
            let mut again = vec![0; SECTOR];
            flash.read(256, &mut again).unwrap();
            (bytes, again, flash.state_digest())
        };
        assert_eq!(see(), see());
    }
}

/// What a torn operation did finish is stable, even if it was not before.
#[test]
fn the_finished_part_of_a_torn_erase_settles_unstable_bits() {
    let mut flash = cut_erase(&[0; SECTOR], CutVariant::Flicker { seed: 4 });
    assert_eq!(flash.unstable_bits(), SECTOR * 8);
    flash.cut_after(0, CutVariant::Head { of_256: 128 });
    flash.erase(256, 512).unwrap_err();
    flash.power_on();
    assert_eq!(flash.unstable_bits(), SECTOR * 4);
    for _ in 0..16 {
        let mut head = [0; SECTOR / 2];
        flash.read(256, &mut head).unwrap();
        assert_eq!(head, [0xFF; SECTOR / 2]);
    }
    // A program that is cut settles the same way.
    flash.cut_after(0, CutVariant::Tail { of_256: 128 });
    flash.write(480, &[0; UNIT]).unwrap_err();
    flash.power_on();
    assert_eq!(flash.unstable_bits(), SECTOR * 4 - UNIT * 4);
}

/// A programmer's tool writes whole, stable cells.
#[test]
fn loading_settles_unstable_bits() {
    let mut flash = cut_erase(&[0; SECTOR], CutVariant::Flicker { seed: 4 });
    flash.load(256, &[0x42; 100]);
    assert_eq!(flash.unstable_bits(), (SECTOR - 100) * 8);
    let mut read = [0; 100];
    for _ in 0..16 {
        flash.read(256, &mut read).unwrap();
        assert_eq!(read, [0x42; 100]);
    }
}

/// Digests that are kept are forgotten when anything changes.
#[test]
fn a_change_of_any_kind_changes_the_digests() {
    let mut flash = start(&[0xFF; SECTOR]);
    let mut seen = vec![(flash.sector_digest(1), flash.state_digest())];
    let mut note = |flash: &Flash| {
        let now = (flash.sector_digest(1), flash.state_digest());
        assert!(seen.iter().all(|s| s.0 != now.0 && s.1 != now.1));
        seen.push(now);
    };
    flash.write(256, &[0x7F; UNIT]).unwrap();
    note(&flash);
    flash.flip(300, 1);
    note(&flash);
    flash.load(400, b"x");
    note(&flash);
    flash.cut_after(0, CutVariant::Head { of_256: 99 });
    flash.write(288, &[0; UNIT]).unwrap_err();
    flash.power_on();
    note(&flash);
    flash.cut_after(0, CutVariant::Head { of_256: 10 });
    flash.erase(256, 512).unwrap_err();
    flash.power_on();
    note(&flash);
    flash.load(256, &[0x42; SECTOR]);
    note(&flash);
}

/// States that software can tell apart have different digests.
#[test]
fn every_variant_is_a_state_of_its_own() {
    let mut old = [0x36; SECTOR];
    old[9] = 0;
    let mut seen: Vec<u128> = Vec::new();
    for variant in CutVariant::for_erase(3) {
        seen.push(cut_erase(&old, variant).state_digest());
    }
    seen.push(start(&old).state_digest());
    assert_eq!(seen[0], seen[14], "Before is as if nothing happened");
    seen.pop();
    let total = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), total);
}

#[test]
fn a_cut_can_follow_a_cut() {
    let mut flash = cut_erase(&[0; SECTOR], CutVariant::Unstable { seed: 4 });
    flash.cut_after(0, CutVariant::Unstable { seed: 5 });
    flash.erase(256, 512).unwrap_err();
    assert_eq!(flash.fired().unwrap().number, 1);
    flash.power_on();
    assert!(flash.unstable_bits() > 0);
    flash.cut_after(0, CutVariant::After);
    flash.erase(256, 512).unwrap_err();
    flash.power_on();
    assert_eq!(flash.unstable_bits(), 0);
    assert_eq!(flash.dump(256, SECTOR), [0xFF; SECTOR]);
    assert_eq!(flash.erase_count(1), 3);
}

proptest! {
    /// Whatever the variant: outside the bits in hand nothing changes, and a
    /// bit in hand is old, new or unstable, at every read.
    #[test]
    fn a_torn_program_stays_in_its_bits(
        old in prop::collection::vec(any::<u8>(), SECTOR),
        new in prop::collection::vec(any::<u8>(), UNIT),
        seed in any::<u64>(), part in any::<u8>(),
    ) {
        let extra = [CutVariant::Head { of_256: part }, CutVariant::Tail { of_256: part }];
        for variant in CutVariant::for_program(seed).into_iter().chain(extra) {
            let mut flash = cut_program(&old, &new, variant);
            for _ in 0..3 {
                let mut all = vec![0; 3 * SECTOR];
                flash.read(0, &mut all).unwrap();
                prop_assert!(all[..256].iter().chain(&all[512..]).all(|b| *b == 0x3C));
                prop_assert_eq!(&all[256..320], &old[..64]);
                prop_assert_eq!(&all[352..512], &old[96..]);
                for i in 0..UNIT {
                    let (was, now) = (old[64 + i], all[320 + i]);
                    prop_assert_eq!(now & !was, 0, "no bit is set");
                    prop_assert_eq!(was & !now & new[i], 0, "no 1 of the data is cleared");
                }
            }
        }
    }

    #[test]
    fn a_torn_erase_stays_in_its_sector(
        old in prop::collection::vec(any::<u8>(), SECTOR), seed in any::<u64>(),
    ) {
        for variant in CutVariant::for_erase(seed) {
            let mut flash = cut_erase(&old, variant);
            let mut all = vec![0; 3 * SECTOR];
            flash.read(0, &mut all).unwrap();
            prop_assert!(all[..256].iter().chain(&all[512..]).all(|b| *b == 0x3C));
            let loses_ones = matches!(variant, CutVariant::Zeroed | CutVariant::Scrambled { .. });
            for i in 0..SECTOR {
                prop_assert!(loses_ones || old[i] & !all[256 + i] == 0);
            }
            // A whole erase afterwards mends everything.
            flash.erase(256, 512).unwrap();
            prop_assert_eq!(flash.dump(256, SECTOR), [0xFF; SECTOR]);
            prop_assert_eq!(flash.unstable_bits(), 0);
        }
    }
}
