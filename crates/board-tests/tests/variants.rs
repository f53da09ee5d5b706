//! The smallest loaders that `cargo xtask size` measures, on the emulated board:
//! digests only, and signatures only. Both want images with a signed block, which has
//! the SHA-256; the first has no key, and takes any.

use board_tests::board::{board_with, expect, reverts, slot, start, tell, updates};
use board_tests::counts::test_key;
use board_tests::images::{file, packed};
use ota_flash::PartitionId;
use ota_verify::build::PrivateKey;

const HASH: &str = "boot2-hash.bin";
const KEY: &str = "boot2-key.bin";

fn image(version: &str, tail: usize, key: Option<&PrivateKey>) -> Vec<u8> {
    let mut program = file("tinyapp.bin");
    program.resize(program.len() + tail, 0x5A);
    packed(version, &program, key)
}

#[test]
fn update_trial_confirm() {
    let key = test_key();
    for loader in [HASH, KEY] {
        let v1 = image("tiny-1.0.0", 0, Some(&key));
        let v2 = image("tiny-2.0.0", 20_000, Some(&key));
        updates(&mut board_with(loader, &v1, &v2), &v2);
    }
}

#[test]
fn what_hangs_is_reverted() {
    let key = test_key();
    for loader in [HASH, KEY] {
        let v1 = image("tiny-1.0.0", 9_000, Some(&key));
        let v2 = image("tiny-2.0.0", 20_000, Some(&key));
        reverts(&mut board_with(loader, &v1, &v2), &v1, b"h");
    }
}

#[test]
fn what_does_not_verify_is_not_installed() {
    let (key, other) = (test_key(), PrivateKey::generate(2048).unwrap());
    for loader in [HASH, KEY] {
        let v1 = image("tiny-1.0.0", 0, Some(&key));
        let good = image("tiny-2.0.0", 9_000, Some(&key));
        let mut damaged = good.clone();
        damaged[9_000] ^= 4;
        let unsigned = image("tiny-2.0.0", 9_000, None);
        let mut bad = vec![damaged, unsigned];
        if loader == KEY {
            bad.push(image("tiny-2.0.0", 9_000, Some(&other)));
        }
        for bad in bad {
            let mut machine = board_with(loader, &v1, &good);
            expect(&mut machine, "tiny-1.0.0 started");
            tell(&mut machine, b"u", "requested");
            machine.board.flash.load(start(PartitionId::OtaTemp), &bad);
            machine.board.send(1, b"r");
            expect(&mut machine, "tiny-1.0.0 started");
            assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
        }
    }
}
