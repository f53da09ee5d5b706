//! What the shipped images cost, within their limits; the loader that demands
//! signatures.

use board_tests::board::{board_with, expect, run_to_reset, slot, start, tell};
use board_tests::counts::{measure, test_key};
use board_tests::images::{file, packed};
use ota_flash::PartitionId;
use ota_verify::build::{PrivateKey, parts};

#[test]
fn figures_are_within_their_limits() {
    let figures = measure();
    for figure in &figures {
        println!("{figure}");
    }
    let over: Vec<_> = figures.iter().filter(|figure| !figure.holds()).collect();
    assert!(over.is_empty(), "{over:?}");
}

const LOADER: &str = "boot2-signed.bin";

fn image(version: &str, key: Option<&PrivateKey>) -> Vec<u8> {
    packed(version, &file("tinyapp.bin"), key)
}

#[test]
fn a_signed_image_is_installed() {
    let key = test_key();
    let (v1, v2) = (
        image("tiny-1.0.0", Some(&key)),
        image("tiny-2.0.0", Some(&key)),
    );
    let mut machine = board_with(LOADER, &v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-2.0.0 started");
    assert_eq!(slot(&machine, PartitionId::Application, v2.len()), v2);
}

/// The request names an image that is signed; what lies there then is not.
#[test]
fn other_signatures_are_refused_and_the_reason_is_told() {
    let key = test_key();
    let other = PrivateKey::generate(2048).unwrap();
    let (v1, v2) = (
        image("tiny-1.0.0", Some(&key)),
        image("tiny-2.0.0", Some(&key)),
    );
    let mut tampered = v2.clone();
    let block = parts(&v2).unwrap();
    let at = block.image.len() + block.signed_block.len() - 20;
    tampered[at] ^= 1;
    let md5 = ota_verify::md5(&tampered[..v2.len() - 28]);
    tampered[v2.len() - 20..v2.len() - 4].copy_from_slice(&md5);
    for (what, bad) in [
        ("tampered", tampered),
        ("another key's", image("tiny-2.0.0", Some(&other))),
    ] {
        let mut machine = board_with(LOADER, &v1, &v2);
        expect(&mut machine, "tiny-1.0.0 started");
        tell(&mut machine, b"u", "requested");
        let flash = &mut machine.board.flash;
        flash.load(
            start(PartitionId::OtaTemp),
            &vec![0xFF; v2.len().max(bad.len())],
        );
        flash.load(start(PartitionId::OtaTemp), &bad);
        machine.board.send(1, b"r");
        expect(&mut machine, "tiny-1.0.0 started");
        assert_eq!(
            slot(&machine, PartitionId::Application, v1.len()),
            v1,
            "{what}"
        );
        machine.board.send(1, b"r");
        run_to_reset(&mut machine);
        expect(&mut machine, "press w");
        tell(&mut machine, b"w", "boot2# ");
        tell(&mut machine, b"i", "failed ");
        let reason = board_tests::board::line(&mut machine);
        println!("{what}: {reason}");
        assert_eq!(reason, "signature", "{what}");
    }
}

#[test]
fn an_unsigned_image_is_not_started() {
    let mut machine = board_with(LOADER, &image("tiny-1.0.0", None), &[]);
    expect(&mut machine, "nothing to start: signature");
}
