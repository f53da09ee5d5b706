//! The smallest loaders that `cargo xtask size` measures, on the emulated board:
//! digests only, and signatures only. Both want images with a signed block, which has
//! the SHA-256; the first has no key, and takes any.

use board_tests::board::{board_with, expect, slot, start, tell};
use board_tests::counts::test_key;
use board_tests::images::{file, packed};
use mk3060_sim::{Machine, ResetCause};
use ota_flash::PartitionId;
use ota_verify::build::PrivateKey;

const HASH: &str = "boot2-hash.bin";
const KEY: &str = "boot2-key.bin";

fn image(version: &str, tail: usize, key: Option<&PrivateKey>) -> Vec<u8> {
    let mut program = file("tinyapp.bin");
    program.resize(program.len() + tail, 0x5A);
    packed(version, &program, key)
}

/// Version 1 runs, and has asked for what lies in the update slot.
fn requested(loader: &str, v1: &[u8], v2: &[u8]) -> Machine {
    let mut machine = board_with(loader, v1, v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    machine
}

#[test]
fn update_trial_confirm() {
    let key = test_key();
    for loader in [HASH, KEY] {
        let v1 = image("tiny-1.0.0", 0, Some(&key));
        let v2 = image("tiny-2.0.0", 20_000, Some(&key));
        let mut machine = requested(loader, &v1, &v2);
        machine.board.send(1, b"r");
        expect(&mut machine, "tiny-2.0.0 started");
        assert_eq!(slot(&machine, PartitionId::Application, v2.len()), v2);
        tell(&mut machine, b"s", "trial 1");
        tell(&mut machine, b"c", "confirmed");
        machine.board.send(1, b"r");
        expect(&mut machine, "tiny-2.0.0 started");
        tell(&mut machine, b"s", "idle");
    }
}

#[test]
fn what_hangs_is_reverted() {
    let key = test_key();
    for loader in [HASH, KEY] {
        let v1 = image("tiny-1.0.0", 9_000, Some(&key));
        let v2 = image("tiny-2.0.0", 20_000, Some(&key));
        let mut machine = requested(loader, &v1, &v2);
        machine.board.send(1, b"r");
        for _ in 0..3 {
            expect(&mut machine, "tiny-2.0.0 started");
            machine.board.send(1, b"h");
        }
        expect(&mut machine, "tiny-1.0.0 started");
        assert_eq!(machine.last_reset(), ResetCause::Watchdog);
        assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
        tell(&mut machine, b"s", "idle");
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
            let mut machine = requested(loader, &v1, &good);
            machine.board.flash.load(start(PartitionId::OtaTemp), &bad);
            machine.board.send(1, b"r");
            expect(&mut machine, "tiny-1.0.0 started");
            assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
        }
    }
}
