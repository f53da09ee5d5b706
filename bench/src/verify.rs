//! The way of the bytes: digest, slot writer with read-back, image check.

use ota_agent::{ImageSlot, PackageId, UpdateSink, VerifyImage};
use ota_flash::sim::SimFlash;
use ota_flash::{PartitionEntry, PartitionId, PartitionTable, Permissions};
use ota_verify::{Coding, Digest, HashMethod, Hasher, Policy, Trailer, md5};
use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

const SECTOR: usize = 4096;
const UNIT: usize = 32;
const SIZE: usize = 900 * 1024;
const RUNS: usize = 5;
const FLASH: u32 = 1 << 20;

const TABLE: PartitionTable<1> = PartitionTable::new(
    FLASH,
    SECTOR as u32,
    [PartitionEntry::new(
        PartitionId::OtaTemp,
        0,
        FLASH,
        Permissions::READ_WRITE,
    )],
);

/// Prints one line a step.
pub fn run() {
    let image = image();
    println!("verify path, {} KiB, best of {RUNS} runs", SIZE / 1024);
    for method in [HashMethod::Md5, HashMethod::Sha256] {
        line(&format!("package digest {}", method.name()), || {
            let mut hasher = Hasher::new(method);
            image.chunks(1024).for_each(|c| hasher.update(c));
            black_box(hasher.finish());
        });
    }
    let policy = Policy::DEFAULT;
    let flash = RefCell::new(SimFlash::<SECTOR, UNIT>::new(FLASH as usize));
    let update = TABLE.open(&flash, PartitionId::OtaTemp).expect("table");
    let mut slot = ImageSlot::<_, 256>::new(update, FLASH, &policy, &[], Coding::Plain);
    let package = PackageId {
        size: image.len() as u32,
        digest: Digest::Md5(md5(&image)),
        version: "",
        diff: None,
    };
    line("slot writer with read-back (simulated flash)", || {
        slot.begin(&package, 0).expect("slot");
        image
            .chunks(1024)
            .for_each(|c| slot.write(c).expect("slot"));
        slot.finish().expect("slot");
    });
    line("image check in the slot (SHA-256 and MD5)", || {
        black_box(slot.verify_image(&package).expect("image"));
    });
}

fn line(name: &str, mut step: impl FnMut()) {
    let best = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    let rate = SIZE as f64 / best.as_secs_f64() / 1e6;
    println!("  {name:<46} {rate:>8.1} MB/s");
}

/// Bytes that no shortcut could know, with their trailer.
fn image() -> Vec<u8> {
    let mut x = 0x1234_5678_u32;
    let mut bytes: Vec<u8> = (0..SIZE)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as u8
        })
        .collect();
    let trailer = Trailer {
        kind: ota_verify::ImageKind::App,
        size: bytes.len() as u32,
        md5: md5(&bytes),
    };
    bytes.extend(trailer.to_bytes());
    bytes
}
