//! The stream writer: any chunks, any program unit, interruptions, bad flash.

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use ota_flash::sim::{CutVariant, Fault, OpKind, SimError, SimFlash};
use ota_flash::{StreamWriter, WriteError, WriteErrorKind};
use proptest::prelude::*;

fn image(len: usize, seed: u32) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A flash full of old data.
fn used<const S: usize, const U: usize>(sectors: usize) -> SimFlash<S, U> {
    let mut flash = SimFlash::new(sectors * S);
    flash.load(0, &vec![0x5A; sectors * S]);
    flash.refuse_reprogram(true);
    flash
}

fn round_trip<const S: usize, const U: usize, const N: usize>(
    bytes: &[u8],
    chunks: &[usize],
    ahead: u32,
) -> Result<(), TestCaseError> {
    let sectors = 8;
    let mut flash = used::<S, U>(sectors);
    let mut writer = StreamWriter::<_, N>::new(&mut flash);
    let mut rest = bytes;
    let mut chunks = chunks.iter().cycle();
    while !rest.is_empty() {
        let take = rest.len().min(*chunks.next().unwrap());
        let upto = (writer.position() + take as u32 + ahead).min(writer.capacity());
        writer.prepare(upto).unwrap();
        prop_assert!(writer.prepared() >= upto && writer.prepared() < upto + S as u32);
        writer.write(&rest[..take]).unwrap();
        rest = &rest[take..];
        prop_assert_eq!(writer.position() as usize, bytes.len() - rest.len());
        prop_assert!(writer.position() - writer.durable() < N as u32);
        if take.is_multiple_of(3) {
            writer.flush().unwrap();
            prop_assert!(writer.position() - writer.durable() < U as u32);
        }
        let durable = writer.durable() as usize;
        prop_assert_eq!(writer.flash_mut().dump(0, durable), &bytes[..durable]);
    }
    prop_assert_eq!(writer.finish().unwrap() as usize, bytes.len());
    prop_assert_eq!(writer.finish().unwrap() as usize, bytes.len());
    let late = writer.write(b"late").unwrap_err();
    prop_assert_eq!(late.kind, WriteErrorKind::Finished);

    let end = bytes.len().next_multiple_of(U);
    let mut expected = bytes.to_vec();
    expected.resize(end, 0xFF);
    prop_assert_eq!(flash.dump(0, end), expected);
    prop_assert_eq!(flash.stats().programs as usize, end / U);
    prop_assert_eq!(flash.stats().reprograms, 0);
    for s in 0..sectors {
        // Every sector that was needed exactly once; untouched ones never.
        let needed = s * S < end;
        let allowed = s * S < end + ahead as usize;
        prop_assert!(flash.erase_count(s) <= u32::from(allowed));
        prop_assert!(flash.erase_count(s) >= u32::from(needed));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_chunks_any_unit(
        len in 0usize..2048, seed in any::<u32>(), ahead in 0u32..700,
        chunks in prop::collection::vec(1usize..600, 1..6),
    ) {
        let bytes = image(len, seed);
        round_trip::<256, 1, 1>(&bytes, &chunks, ahead)?;
        round_trip::<256, 1, 64>(&bytes, &chunks, ahead)?;
        round_trip::<256, 4, 4>(&bytes, &chunks, ahead)?;
        round_trip::<256, 8, 32>(&bytes, &chunks, ahead)?;
        round_trip::<512, 32, 32>(&bytes, &chunks, ahead)?;
        round_trip::<512, 32, 128>(&bytes, &chunks, ahead)?;
        round_trip::<256, 256, 256>(&bytes, &chunks, ahead)?;
        round_trip::<1024, 256, 512>(&bytes, &chunks, ahead)?;
        round_trip::<384, 24, 48>(&bytes, &chunks, ahead)?;
    }
}

/// Cut at every operation, with every variant, then resumed from what the
/// caller had noted: the result is whole and no unit was programmed twice.
#[test]
fn an_interrupted_write_can_be_resumed() {
    type Flash = SimFlash<256, 32>;
    let bytes = image(900, 7);
    let mut runs = 0;
    let fresh = used::<256, 32>(5);
    let ops = {
        let mut flash = fresh.clone();
        let mut writer = StreamWriter::<_, 64>::new(&mut flash);
        writer.write(&bytes).unwrap();
        writer.finish().unwrap();
        flash.ops()
    };
    assert_eq!(ops, 4 + 29);
    for cut in 0..ops {
        let variants = CutVariant::for_erase(cut).into_iter();
        for variant in variants.chain(CutVariant::for_program(cut)) {
            let mut flash: Flash = fresh.clone();
            flash.cut_at(cut, variant);
            let mut noted = 0;
            let mut writer = StreamWriter::<_, 64>::new(&mut flash);
            for chunk in bytes.chunks(50) {
                if writer.write(chunk).is_err() {
                    break;
                }
                noted = writer.durable();
            }
            if noted > 850 {
                let _ = writer.finish();
            }
            assert_eq!(flash.fired().unwrap().number, cut);
            flash.power_on();

            let mut writer = StreamWriter::<_, 64>::resume(&mut flash, noted);
            let from = writer.position();
            assert_eq!(from, noted / 256 * 256);
            writer.write(&bytes[from as usize..]).unwrap();
            assert_eq!(writer.finish().unwrap(), 900);
            assert_eq!(flash.dump(0, 900), bytes, "{cut} {variant:?}");
            assert_eq!(flash.stats().reprograms, 0);
            // Nothing that was written is unstable (the spare fifth sector was
            // never reached).
            assert_eq!(flash.unstable_bits(), 0);
            runs += 1;
        }
    }
    assert_eq!(runs, ops * 25);
}

/// The case `trust_blank_from` warns of: the erase of sector 1 was cut, and the
/// sector reads blank, sometimes.
#[test]
fn blank_is_not_trusted_unless_the_caller_says_so() {
    let mut misled = 0;
    for seed in 0..16 {
        let mut flash = used::<64, 32>(4);
        flash.cut_at(0, CutVariant::Flicker { seed });
        flash.erase(64, 128).unwrap_err();
        flash.power_on();
        assert!(flash.unstable_bits_in(1) > 0);

        let mut trusting = flash.clone();
        let mut writer = StreamWriter::<_, 64>::new(&mut trusting);
        writer.trust_blank_from(64);
        writer.prepare(256).unwrap();
        misled += u32::from(trusting.unstable_bits() > 0);

        let mut writer = StreamWriter::<_, 64>::new(&mut flash);
        writer.prepare(256).unwrap();
        assert_eq!(flash.stats().erases, 1 + 4);
        assert_eq!(flash.unstable_bits(), 0);
    }
    assert!(misled > 3, "the danger is real: {misled} of 16");
}

#[test]
fn trusted_blank_sectors_cost_reads_only() {
    let mut flash = SimFlash::<256, 32>::new(2048);
    flash.load(0, &[1; 600]); // sectors 0..3 used, 3..8 blank
    let mut writer = StreamWriter::<_, 32>::new(&mut flash);
    writer.trust_blank_from(256);
    writer.prepare(2048).unwrap();
    assert_eq!(writer.prepared(), 2048);
    let stats = flash.stats();
    assert_eq!(stats.erases, 3);
    assert!(stats.read_bytes >= 5 * 256);

    // One stray bit anywhere makes a sector not blank.
    for at in [768, 800, 1023] {
        let mut flash = SimFlash::<256, 32>::new(1024);
        flash.flip(at, 0x10);
        let mut writer = StreamWriter::<_, 32>::new(&mut flash);
        writer.trust_blank_from(0);
        writer.prepare(1024).unwrap();
        assert_eq!((flash.stats().erases, flash.erase_count(3)), (1, 1));
    }
}

#[test]
fn erase_ahead_leaves_nothing_to_erase_for_write() {
    let mut flash = used::<256, 32>(8);
    flash.start_trace();
    let mut writer = StreamWriter::<_, 32>::new(&mut flash);
    writer.prepare(600).unwrap();
    writer.prepare(600).unwrap();
    writer.prepare(100).unwrap();
    assert_eq!(writer.prepared(), 768);
    writer.write(&image(768, 1)).unwrap();
    let kinds: Vec<_> = flash.trace().iter().map(|op| op.kind).collect();
    assert_eq!(kinds[..3], [OpKind::Erase; 3]);
    assert_eq!(kinds[3..], [OpKind::Program; 24]);
}

#[test]
fn a_full_slot_takes_no_byte_more() {
    let mut flash = used::<256, 32>(2);
    let mut writer = StreamWriter::<_, 64>::new(&mut flash);
    let full = |offset| WriteError::<SimError> {
        offset,
        kind: WriteErrorKind::Full,
    };
    assert_eq!(writer.prepare(513), Err(full(513)));
    assert_eq!(writer.prepare(u32::MAX), Err(full(u32::MAX)));
    writer.write(&image(500, 2)).unwrap();
    assert_eq!(writer.write(&[0; 13]), Err(full(500)));
    assert_eq!(full(500).kind(), NorFlashErrorKind::OutOfBounds);
    writer.write(&[0; 12]).unwrap(); // what fits is still welcome
    assert_eq!(writer.finish(), Ok(512));

    let mut writer = StreamWriter::<_, 64>::resume(&mut flash, 5000);
    assert_eq!(writer.write(&[0]).unwrap_err().kind, WriteErrorKind::Full);
}

#[test]
fn a_slot_is_used_in_whole_sectors() {
    /// A flash whose size is no whole number of sectors.
    struct Odd(SimFlash<256, 32>);
    impl embedded_storage::nor_flash::ErrorType for Odd {
        type Error = SimError;
    }
    impl ReadNorFlash for Odd {
        const READ_SIZE: usize = 1;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), SimError> {
            self.0.read(offset, bytes)
        }
        fn capacity(&self) -> usize {
            600
        }
    }
    impl NorFlash for Odd {
        const WRITE_SIZE: usize = 32;
        const ERASE_SIZE: usize = 256;
        fn erase(&mut self, from: u32, to: u32) -> Result<(), SimError> {
            self.0.erase(from, to)
        }
        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), SimError> {
            self.0.write(offset, bytes)
        }
    }
    let mut writer = StreamWriter::<_, 32>::new(Odd(SimFlash::new(768)));
    assert_eq!(writer.capacity(), 512);
    assert_eq!(
        writer.write(&[0; 513]).unwrap_err().kind,
        WriteErrorKind::Full
    );
    writer.write(&[0; 512]).unwrap();
}

#[test]
fn flash_that_does_not_take_is_noticed_where_it_happened() {
    let bytes = image(1000, 3);
    // A program that silently does nothing.
    let mut flash = used::<256, 32>(4);
    flash.ignore_op(1 + 3); // erase, then units 0.. : unit 3
    let mut writer = StreamWriter::<_, 128>::new(&mut flash);
    let e = writer.write(&bytes).unwrap_err();
    assert_eq!((e.offset, e.kind), (96, WriteErrorKind::Verify));
    assert_eq!(writer.durable(), 0);
    assert_eq!(
        writer.write(&bytes).unwrap_err().kind,
        WriteErrorKind::Failed
    );
    assert_eq!(writer.prepare(0).unwrap_err().kind, WriteErrorKind::Failed);
    assert_eq!(writer.finish().unwrap_err().kind, WriteErrorKind::Failed);

    // An erase that silently does nothing: old bits stay.
    let mut flash = SimFlash::<256, 32>::new(1024);
    flash.load(0, &[0x5A; 1024]);
    flash.add_fault(512, Fault::EraseIgnored);
    let mut writer = StreamWriter::<_, 32>::new(&mut flash);
    let e = writer.write(&bytes).unwrap_err();
    assert_eq!(e.kind, WriteErrorKind::Verify);
    assert!((512..544).contains(&e.offset));
    assert_eq!(
        e.to_string(),
        format!(
            "flash does not hold what was written (slot offset {:#x})",
            e.offset
        )
    );

    // Errors of the flash keep their place and kind.
    let at = 256;
    let cause = SimError::Fault { offset: at };
    for (fault, kind) in [
        (Fault::EraseFails, WriteErrorKind::Erase(cause)),
        (Fault::ProgramFails, WriteErrorKind::Program(cause)),
        (Fault::ReadFails, WriteErrorKind::Read(cause)),
    ] {
        let mut flash = used::<256, 32>(4);
        flash.add_fault(at, fault);
        let mut writer = StreamWriter::<_, 64>::new(&mut flash);
        let e = writer.write(&bytes).unwrap_err();
        assert_eq!(e.offset, at);
        assert_eq!(e.kind, kind);
        assert_eq!(writer.durable(), 256);
    }
}

#[test]
fn an_empty_stream_touches_nothing() {
    let mut flash = used::<256, 32>(2);
    let mut writer = StreamWriter::<_, 32>::new(&mut flash);
    writer.write(&[]).unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.finish(), Ok(0));
    assert_eq!(flash.ops(), 0);
}
