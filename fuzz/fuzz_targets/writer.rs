//! `StreamWriter` against a vector of bytes.
//!
//! * Whatever the pieces, flushes, erasing ahead, power cuts and restarts: what
//!   counts as durable is in flash, and the finished slot holds the stream.
//! * No program unit is programmed twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_flash::sim::SimFlash;
use ota_flash::{StreamWriter, WriteErrorKind};
use uota_fuzz::{Input, noise};

type Flash = SimFlash<256, 16>;
const SIZE: usize = 8 * 256;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut flash = Flash::new(SIZE);
    flash.load(0, &noise(7, SIZE));
    flash.refuse_reprogram(true);
    let stream = noise(8, SIZE + 64);
    let mut writer = StreamWriter::<_, 64>::new(flash);
    while !input.is_empty() {
        let at = writer.position() as usize;
        let before = writer.durable();
        let done = match input.u8() % 8 {
            0 => writer.flush(),
            1 => writer.prepare(u32::from(input.u16()) % (SIZE as u32 + 100)),
            2 => {
                let (op, how) = (u64::from(input.u8() % 32), input.cut());
                writer.flash_mut().cut_after(op, how);
                Ok(())
            }
            3 => {
                writer.restart(before.min(input.u16().into()));
                Ok(())
            }
            _ => {
                let n = usize::from(input.u8());
                let n = if n == 255 {
                    usize::from(input.u16()) % SIZE
                } else {
                    n
                };
                writer.write(&stream[at..(at + n).min(stream.len())])
            }
        };
        let durable = writer.durable();
        match done {
            Ok(()) => assert!(durable <= writer.position()),
            Err(e) if e.kind == WriteErrorKind::Full => {
                assert_eq!(writer.position() as usize, at, "none is taken");
            }
            Err(_) => {
                assert!(writer.flash_mut().fired().is_some(), "{done:?}");
                assert!(writer.write(b"x").is_err(), "closed after an error");
                writer.flash_mut().power_on();
                writer.restart(durable);
                assert_eq!(writer.position() % 256, 0);
                assert!(writer.position() <= durable);
            }
        }
        let durable = writer.durable() as usize;
        assert!(
            writer.flash_mut().dump(0, durable) == stream[..durable],
            "durable bytes"
        );
    }
    writer.flash_mut().cancel_cut();
    let len = writer.position() as usize;
    assert_eq!(writer.finish(), Ok(len as u32));
    assert_eq!(writer.finish(), Ok(len as u32));
    assert!(writer.flush().is_err());
    let flash = writer.into_inner();
    assert!(flash.dump(0, len) == stream[..len]);
    assert!(
        flash
            .dump(len as u32, len.next_multiple_of(16) - len)
            .iter()
            .all(|b| *b == 0xFF)
    );
    assert_eq!(flash.stats().reprograms, 0);
});
