//! The shipped loader on the emulated board, with the example `tinyapp` as
//! the application.

use board_tests::board::{board, expect, reverts, slot, start, tell, updates};
use board_tests::images::tiny as image;
use mk3060_sim::{Limit, Time};
use ota_flash::PartitionId;

#[test]
fn a_confirmed_image_starts_with_few_flash_reads() {
    let v1 = image("tiny-1.0.0", 0, 0);
    let mut machine = board(&v1, &[]);
    // The first start finds no journal, checks the image and records that.
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"s", "idle");
    machine.board.send(1, b"r");
    expect(&mut machine, "boot2: press w");
    let (reads, instructions) = (machine.board.flash.counts.reads, machine.instructions());
    expect(&mut machine, "tiny-1.0.0 started");
    let reads = machine.board.flash.counts.reads - reads;
    println!(
        "start of a confirmed image: {reads} flash units read, {} instructions (100 ms of them waiting for the key)",
        machine.instructions() - instructions
    );
}

#[test]
fn update_trial_confirm() {
    let (v1, v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 20_000, 0x5A));
    updates(&mut board(&v1, &v2), &v2);
}

/// Hangs, resets, goes on for ever: what is never confirmed is reverted.
#[test]
fn an_image_that_fails_its_trial_is_reverted() {
    for key in [b"h", b"r"] {
        let (v1, v2) = (
            image("tiny-1.0.0", 9_000, 1),
            image("tiny-2.0.0", 20_000, 2),
        );
        reverts(&mut board(&v1, &v2), &v1, key);
    }
}

#[test]
fn a_damaged_image_is_not_installed() {
    let (v1, mut v2) = (image("tiny-1.0.0", 0, 0), image("tiny-2.0.0", 0, 0));
    let mut machine = board(&v1, &v2);
    expect(&mut machine, "tiny-1.0.0 started");
    tell(&mut machine, b"u", "requested");
    // Damaged between request and restart.
    v2[9_000] ^= 4;
    machine.board.flash.load(start(PartitionId::OtaTemp), &v2);
    machine.board.send(1, b"r");
    expect(&mut machine, "tiny-1.0.0 started");
    assert_eq!(slot(&machine, PartitionId::Application, v1.len()), v1);
}

#[test]
fn nothing_to_start_opens_the_console() {
    let mut machine = board(&[], &[]);
    expect(&mut machine, "boot2# ");
    tell(&mut machine, b"i", "loader boot2-");
}

#[test]
fn the_key_opens_the_console_and_reboots() {
    let v1 = image("tiny-1.0.0", 0, 0);
    let mut machine = board(&v1, &[]);
    expect(&mut machine, "press w");
    machine.board.send(1, b"w");
    expect(&mut machine, "boot2# ");
    machine.board.send(1, b"i");
    expect(&mut machine, "active tiny-1.0.0");
    machine.run(Limit::until(machine.board.now() + Time::millis(500)));
    machine.board.send(1, b"r");
    assert_eq!(expect(&mut machine, "tiny-1.0.0 started"), 1);
}
