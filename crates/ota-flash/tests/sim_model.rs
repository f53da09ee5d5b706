//! The simulator against a model as simple as can be, and its bookkeeping.

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use ota_flash::sim::{CutVariant, Fault, Op, OpKind, SimError, SimFlash};
use proptest::prelude::*;

/// Bytes, programs per unit, erases per sector: all copied, nothing shared.
#[derive(Clone, PartialEq, Debug)]
struct Naive {
    bytes: Vec<u8>,
    programs: Vec<u32>,
    erases: Vec<u32>,
    ops: u64,
    reprograms: u64,
}

impl Naive {
    fn new(size: usize, sector: usize, unit: usize) -> Self {
        Self {
            bytes: vec![0xFF; size],
            programs: vec![0; size / unit],
            erases: vec![0; size / sector],
            ops: 0,
            reprograms: 0,
        }
    }

    fn erase(&mut self, from: usize, to: usize, sector: usize, unit: usize) -> bool {
        if from > to
            || to > self.bytes.len()
            || !from.is_multiple_of(sector)
            || !to.is_multiple_of(sector)
        {
            return false;
        }
        for at in from..to {
            self.bytes[at] = 0xFF;
            self.programs[at / unit] = 0;
        }
        for s in from / sector..to / sector {
            self.erases[s] += 1;
            self.ops += 1;
        }
        true
    }

    fn write(&mut self, at: usize, data: &[u8], unit: usize) -> bool {
        let end = at + data.len();
        if end > self.bytes.len() || !at.is_multiple_of(unit) || !data.len().is_multiple_of(unit) {
            return false;
        }
        for (i, byte) in data.iter().enumerate() {
            self.bytes[at + i] &= byte;
        }
        for u in at / unit..end / unit {
            self.reprograms += u64::from(self.programs[u] > 0);
            self.programs[u] += 1;
            self.ops += 1;
        }
        true
    }
}

#[derive(Debug, Clone)]
enum Action {
    Erase(u32, u32),
    Write(u32, usize, u64),
    Read(u32, usize),
    Fork,
    Swap(usize),
}

fn action(size: u32, sector: u32, unit: u32) -> impl Strategy<Value = Action> {
    // Mostly aligned, sometimes a little off, sometimes past the end.
    let off = move |align: u32| {
        (
            0..size / align + 2,
            prop_oneof![9 => Just(0), 1 => 1..align.max(2)],
        )
            .prop_map(move |(n, stray)| n * align + stray)
    };
    prop_oneof![
        2 => (off(sector), off(sector)).prop_map(|(a, b)| Action::Erase(a, b)),
        6 => (off(unit), 0usize..5, any::<u64>(), prop_oneof![9 => Just(0usize), 1 => 1..3usize])
            .prop_map(move |(at, n, seed, stray)| {
                Action::Write(at, n * unit as usize + stray, seed)
            }),
        3 => (0..size + 9, 0usize..700).prop_map(|(at, len)| Action::Read(at, len)),
        1 => Just(Action::Fork),
        1 => any::<usize>().prop_map(Action::Swap),
    ]
}

fn agrees<const S: usize, const U: usize>(flash: &SimFlash<S, U>, naive: &Naive) -> bool {
    flash.dump(0, naive.bytes.len()) == naive.bytes
        && flash.ops() == naive.ops
        && flash.stats().reprograms == naive.reprograms
        && (0..naive.erases.len()).all(|s| flash.erase_count(s) == naive.erases[s])
        && (0..naive.programs.len()).all(|u| {
            u32::from(flash.programs_of_unit((u * U) as u32)) == naive.programs[u].min(255)
        })
}

fn run<const S: usize, const U: usize>(actions: &[Action]) -> Result<(), TestCaseError> {
    // 20 sectors where they are small, 4 else.
    let sectors = if S == 32 { 20 } else { 4 };
    let size = sectors * S;
    let mut forks = vec![(SimFlash::<S, U>::new(size), Naive::new(size, S, U))];
    for action in actions {
        let (flash, naive) = forks.last_mut().unwrap();
        // Computed now, so that a digest that is kept for too long shows below.
        flash.state_digest();
        match *action {
            Action::Erase(from, to) => {
                let expected = naive.erase(from as usize, to as usize, S, U);
                prop_assert_eq!(flash.erase(from, to).is_ok(), expected);
            }
            Action::Write(at, len, seed) => {
                let data: Vec<u8> = (0..len as u64)
                    .map(|i| (seed.wrapping_mul(i * i + 77) >> 40) as u8 | 0x11)
                    .collect();
                let expected = naive.write(at as usize, &data, U);
                prop_assert_eq!(flash.write(at, &data).is_ok(), expected);
            }
            Action::Read(at, len) => {
                let mut bytes = vec![0; len];
                let read = flash.read(at, &mut bytes);
                match naive.bytes.get(at as usize..at as usize + len) {
                    Some(expected) => prop_assert_eq!(&bytes, expected),
                    None => {
                        prop_assert_eq!(read.unwrap_err().kind(), NorFlashErrorKind::OutOfBounds)
                    }
                }
            }
            Action::Fork => {
                let fork = (flash.clone(), naive.clone());
                forks.push(fork);
            }
            Action::Swap(i) => {
                let i = i % forks.len();
                let last = forks.len() - 1;
                forks.swap(i, last);
            }
        }
    }
    // No fork has seen anything of another.
    for (flash, naive) in &forks {
        prop_assert!(agrees(flash, naive));
    }
    let (first, model) = &forks[0];
    for (flash, naive) in &forks {
        let equal = naive.bytes == model.bytes;
        prop_assert_eq!(flash.same_bytes(first, 0, size), equal);
        prop_assert_eq!(flash.digest(0..sectors) == first.digest(0..sectors), equal);
        for s in 0..sectors {
            let equal = naive.bytes[s * S..][..S] == model.bytes[s * S..][..S];
            prop_assert_eq!(flash.sector_digest(s) == first.sector_digest(s), equal);
        }
        let written = |n: &Naive| n.programs.iter().map(|p| *p > 0).collect::<Vec<_>>();
        let equal = equal && written(naive) == written(model);
        prop_assert_eq!(flash.state_digest() == first.state_digest(), equal);
    }
    Ok(())
}

proptest! {
    #[test]
    fn unit_1(actions in prop::collection::vec(action(1024, 256, 1), 0..60)) {
        run::<256, 1>(&actions)?;
    }
    #[test]
    fn unit_32(actions in prop::collection::vec(action(1024, 256, 32), 0..60)) {
        run::<256, 32>(&actions)?;
    }
    #[test]
    fn unit_24_is_no_power_of_two(actions in prop::collection::vec(action(384, 96, 24), 0..60)) {
        run::<96, 24>(&actions)?;
    }
    #[test]
    fn more_sectors_than_one_group(actions in prop::collection::vec(action(640, 32, 16), 0..60)) {
        run::<32, 16>(&actions)?;
    }
    #[test]
    fn unit_256_is_the_sector(actions in prop::collection::vec(action(1024, 256, 256), 0..60)) {
        run::<256, 256>(&actions)?;
    }
}

#[test]
fn reads_are_counted_in_calls_units_and_bytes() {
    let mut flash = SimFlash::<4096, 32>::new(8192);
    flash.read(31, &mut [0; 2]).unwrap();
    flash.read(64, &mut [0; 64]).unwrap();
    flash.read(4000, &mut [0; 200]).unwrap();
    flash.read(5, &mut []).unwrap();
    let stats = flash.stats();
    assert_eq!(
        (stats.reads, stats.read_units, stats.read_bytes),
        (4, 2 + 2 + 7, 266)
    );
    assert_eq!(flash.ops(), 0);
    flash.dump(0, 8192);
    assert_eq!(flash.stats(), stats);
}

#[test]
fn wear_is_counted_and_forgotten_on_demand() {
    let mut flash = SimFlash::<256, 32>::new(1024);
    assert_eq!(flash.hottest_sector(0..4), Some((0, 0)));
    flash.erase(0, 1024).unwrap();
    flash.erase(512, 768).unwrap();
    let snapshot = flash.clone();
    assert_eq!(flash.hottest_sector(0..4), Some((2, 2)));
    assert_eq!(flash.hottest_sector(0..2), Some((0, 1)));
    assert_eq!(flash.hottest_sector(1..1), None);
    assert_eq!(flash.stats().erases, 5);
    flash.reset_stats();
    assert_eq!(
        (flash.stats().erases, flash.erase_count(2), flash.ops()),
        (0, 0, 5)
    );
    assert_eq!(snapshot.erase_count(2), 2);
}

#[test]
fn a_second_program_is_counted_or_refused() {
    let mut flash = SimFlash::<256, 32>::new(256);
    flash.write(32, &[0xF0; 32]).unwrap();
    flash.write(32, &[0x3C; 32]).unwrap();
    assert_eq!(flash.dump(32, 32), [0x30; 32]);
    assert_eq!(
        (flash.stats().reprograms, flash.stats().last_reprogram),
        (1, Some(32))
    );
    flash.refuse_reprogram(true);
    assert_eq!(
        flash.write(0, &[0; 64]),
        Err(SimError::Reprogram { offset: 32 })
    );
    assert_eq!(flash.dump(0, 64), [[0; 32], [0x30; 32]].concat());
    flash.erase(0, 256).unwrap();
    flash.write(32, &[1; 32]).unwrap();
    // Loading counts as programming, and a torn erase is no erase.
    flash.load(65, b"x");
    assert_eq!(
        flash.write(64, &[0; 32]),
        Err(SimError::Reprogram { offset: 64 })
    );
    flash.write(96, &[1; 32]).unwrap();
    flash.cut_after(0, CutVariant::Head { of_256: 128 });
    flash.erase(0, 256).unwrap_err();
    flash.power_on();
    assert_eq!(
        flash.write(224, &[1; 32]),
        Err(SimError::Reprogram { offset: 224 })
    );
    flash.refuse_reprogram(false);
    flash.write(224, &[1; 32]).unwrap();
    assert_eq!(flash.stats().last_reprogram, Some(224));
}

#[test]
fn the_trace_names_operations_in_order() {
    let mut flash = SimFlash::<256, 32>::new(1024);
    flash.erase(0, 256).unwrap();
    flash.start_trace();
    flash.erase(256, 768).unwrap();
    flash.write(256, &[0; 64]).unwrap();
    flash.cut_after(0, CutVariant::Before);
    flash.write(320, &[0; 64]).unwrap_err();
    let op = |kind, offset| Op { kind, offset };
    let expected = [
        op(OpKind::Erase, 256),
        op(OpKind::Erase, 512),
        op(OpKind::Program, 256),
        op(OpKind::Program, 288),
        op(OpKind::Program, 320),
    ];
    assert_eq!(flash.trace(), expected);
    assert_eq!(flash.take_trace(), expected);
    assert_eq!(flash.trace(), []);
    assert_eq!(flash.ops(), 6);
}

#[test]
fn faults_do_what_they_say() {
    let mut flash = SimFlash::<256, 32>::new(1024);
    flash.load(0, &[0x0F; 1024]);
    for (sector, fault) in [
        (0, Fault::EraseIgnored),
        (1, Fault::ProgramIgnored),
        (2, Fault::EraseFails),
        (3, Fault::ProgramFails),
    ] {
        flash.add_fault(sector * 256 + 7, fault);
    }
    flash.erase(0, 256).unwrap();
    assert_eq!(flash.dump(0, 256), [0x0F; 256]);
    flash.erase(256, 512).unwrap();
    flash.write(256, &[0; 32]).unwrap();
    assert_eq!(flash.dump(256, 256), [0xFF; 256]);
    assert_eq!(flash.erase(512, 768), Err(SimError::Fault { offset: 512 }));
    assert_eq!(flash.dump(512, 256), [0x0F; 256]);
    flash.erase(768, 1024).unwrap();
    assert_eq!(
        flash.write(800, &[0; 32]),
        Err(SimError::Fault { offset: 800 })
    );
    assert_eq!(flash.dump(768, 256), [0xFF; 256]);
    flash.add_fault(768, Fault::ReadFails);
    assert_eq!(
        flash.read(700, &mut [0; 100]),
        Err(SimError::Fault { offset: 768 })
    );
    flash.clear_faults();
    flash.read(700, &mut [0; 100]).unwrap();
    flash.erase(0, 1024).unwrap();
    assert_eq!(flash.dump(0, 1024), [0xFF; 1024]);

    flash.ignore_op(flash.ops() + 1);
    flash.write(0, &[0; 96]).unwrap();
    assert_eq!(flash.dump(0, 96), [[0; 32], [0xFF; 32], [0; 32]].concat());
    flash.flip(3, 0x81);
    assert_eq!(flash.dump(2, 3), [0, 0x81, 0]);
}

#[test]
fn odd_geometries_are_refused() {
    assert!(std::panic::catch_unwind(|| SimFlash::<256, 32>::new(300)).is_err());
    let mut flash = SimFlash::<256, 32>::new(512);
    assert_eq!(
        flash.write(16, &[0; 32]),
        Err(SimError::NotAligned { offset: 16 })
    );
    assert_eq!(
        flash.write(32, &[0; 33]),
        Err(SimError::NotAligned { offset: 32 })
    );
    assert_eq!(
        flash.write(512, &[0; 32]),
        Err(SimError::OutOfBounds { offset: 512 })
    );
    assert_eq!(flash.erase(0, 100), Err(SimError::NotAligned { offset: 0 }));
    assert_eq!(
        flash.erase(256, 0),
        Err(SimError::OutOfBounds { offset: 256 })
    );
    assert_eq!(
        flash.read(510, &mut [0; 3]),
        Err(SimError::OutOfBounds { offset: 510 })
    );
    assert_eq!(flash.ops(), 0);
}

/// A sweep may move snapshots between threads.
#[test]
fn snapshots_can_cross_threads() {
    let mut flash = SimFlash::<4096, 32>::new(0x20_0000);
    flash.load(0x1C000, &[7; 5000]);
    let fork = flash.clone();
    let seen = std::thread::spawn(move || fork.dump(0x1C000, 5000))
        .join()
        .unwrap();
    assert_eq!(seen, [7; 5000]);
}
