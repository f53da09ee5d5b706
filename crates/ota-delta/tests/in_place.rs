//! ptr patches in place: operations interrupted, and what may not be touched.
#![cfg(feature = "encode")]

use ota_delta::IoError;
use ota_delta::ptr::in_place::{Area, Place, apply};
use ota_delta::ptr::{Arch, BLOCK, Decoder, Error, Header, Options, SLICE, encode};

const SECTOR: u32 = 4096;

struct Flash {
    image: Vec<u8>,
    aside: Vec<u8>,
    old: Vec<u8>,
    recorded: u32,
    /// Operations left before power goes.
    left: u32,
    ops: u32,
}

impl Flash {
    fn new(old: &[u8], new: &[u8], lag: u8) -> Self {
        let len = old.len().max(new.len()).next_multiple_of(SECTOR as usize);
        let mut image = vec![0xFF; len];
        image[..old.len()].copy_from_slice(old);
        Self {
            image,
            aside: vec![0x3C; (usize::from(lag) + 1) * SLICE as usize],
            old: old.to_vec(),
            recorded: 0,
            left: u32::MAX,
            ops: 0,
        }
    }

    fn area(&mut self, area: Area) -> &mut Vec<u8> {
        match area {
            Area::Image => &mut self.image,
            Area::Aside => &mut self.aside,
        }
    }

    /// Whether power lasts for one operation more.
    fn operation(&mut self) -> Result<(), IoError> {
        self.ops += 1;
        self.left = self.left.checked_sub(1).ok_or(IoError)?;
        Ok(())
    }
}

impl Place for Flash {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        let len = header.old_len as usize;
        let same = len == self.old.len() && self.image[..len] == self.old;
        if same { Ok(()) } else { Err(IoError) }
    }
    fn read(&mut self, area: Area, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let at = offset as usize;
        let from = self.area(area).get(at..at + buf.len()).ok_or(IoError)?;
        buf.copy_from_slice(from);
        Ok(())
    }
    fn erase(&mut self, area: Area, from: u32, to: u32) -> Result<(), IoError> {
        assert!(from.is_multiple_of(SLICE));
        let to = to.next_multiple_of(SECTOR) as usize;
        let done = self.operation();
        let what = &mut self.area(area)[from as usize..to];
        // Half-way, the second half is neither erased nor what it was.
        let half = what.len() / 2;
        what[..half].fill(0xFF);
        what[half..].fill(if done.is_ok() { 0xFF } else { 0x81 });
        done
    }
    fn write(&mut self, area: Area, offset: u32, data: &[u8]) -> Result<(), IoError> {
        assert!((offset as usize).is_multiple_of(BLOCK));
        let done = self.operation();
        let at = offset as usize;
        let what = &mut self.area(area)[at..at + data.len()];
        assert!(what.iter().all(|b| *b == 0xFF), "written twice");
        what.copy_from_slice(data);
        if done.is_err() {
            what[data.len() / 2..].fill(0x7E);
        }
        done
    }
    fn record(&mut self, step: u32) -> Result<(), IoError> {
        self.operation()?;
        self.recorded = step;
        Ok(())
    }
}

/// Two images of two slices and a bit, in which much has moved.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let mut x = 7u32;
    let old: Vec<u8> = (0..136_000)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect();
    let mut new = old.clone();
    new.splice(70_000..70_010, old[1000..1900].iter().copied());
    new.splice(200..300, [1, 2, 3]);
    new.rotate_left(30_000);
    (old, new)
}

fn patch(old: &[u8], new: &[u8], lag: u8) -> Vec<u8> {
    // Noise: there is nothing to be found out by trying.
    let options = Options {
        arch: Some(Arch::None),
        base: Some(0),
        lag,
        ..Options::default()
    };
    encode(old, new, &options, &|_| ()).unwrap()
}

/// The patch of [`pair`], made once.
fn good() -> Vec<u8> {
    static PATCH: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let (old, new) = pair();
        patch(&old, &new, 1)
    };
    PATCH.get_or_init(make).clone()
}

fn run(flash: &mut Flash, patch: &[u8]) -> Result<Header, Error> {
    let step = flash.recorded;
    let len = patch.len() as u32;
    apply(
        &mut Box::new(Decoder::new()),
        &mut &patch[..],
        len,
        flash,
        step,
    )
}

#[test]
fn longer_and_shorter_images_with_any_lag() {
    let (old, new) = pair();
    let long = [&new[..], &old[..90_000]].concat();
    for (old, new, lag) in [(&old, &long, 1), (&long, &new, 5)] {
        let patch = patch(old, new, lag);
        let mut flash = Flash::new(old, new, lag);
        let header = run(&mut flash, &patch).unwrap();
        assert_eq!(header.new_len as usize, new.len());
        assert!(flash.image[..new.len()] == new[..], "lag {lag}");
    }
}

#[test]
fn power_may_go_at_any_operation() {
    let (old, new) = pair();
    let patch = good();
    let mut whole = Flash::new(&old, &new, 1);
    run(&mut whole, &patch).unwrap();
    // Each one is cut in `cargo xtask powercut`.
    for at in (0..whole.ops).step_by(29) {
        let mut flash = Flash::new(&old, &new, 1);
        // And once more a while later.
        for left in [at, 40 + at % 90] {
            flash.left = left;
            let _ = run(&mut flash, &patch);
        }
        flash.left = u32::MAX;
        run(&mut flash, &patch).unwrap();
        assert!(flash.image[..new.len()] == new[..], "cut at {at}");
    }
}

#[test]
fn what_cannot_be_right_changes_nothing() {
    let (old, new) = pair();
    let good = good();
    // The same, not made for this: lag 0, and the header's CRC-32 again.
    let mut flat = good.clone();
    flat[6] = 0;
    let crc = ota_verify::crc32(&flat[..52]).to_le_bytes();
    flat[52..56].copy_from_slice(&crc);
    for (what, patch, image) in [("lag 0", &flat, &old), ("another base", &good, &new)] {
        let mut flash = Flash::new(&old, &new, 1);
        flash.image[..image.len()].copy_from_slice(image);
        let before = flash.image.clone();
        assert_eq!(run(&mut flash, patch), Err(Error::Refused), "{what}");
        assert!(flash.ops == 0 && flash.image == before, "{what}");
    }
    // A record of another patch.
    let mut flash = Flash::new(&old, &new, 1);
    flash.recorded = 99 << 12;
    assert_eq!(run(&mut flash, &good), Err(Error::Refused));
    assert_eq!(flash.ops, 0);
}
