//! Packages that become an image while they arrive: ptr patches and .xz.

mod common;

use std::io::Write;

use common::server::Fault;
use common::*;
use ota_agent::Decoders;
use ota_delta::{compress, ptr};
use ota_flash::sim::CutVariant;
use ota_verify::build::PrivateKey;
use ota_verify::{Policy, Requirement, sha256};

/// Program unit of the flash.
const UNIT: usize = 32;

/// A figure that is shown also when the test passes.
fn say(figure: &str) {
    let _ = writeln!(std::io::stderr(), "{figure}");
}

/// Two images that have much in common, of `len` bytes and a bit.
fn pair(len: usize, key: Option<&PrivateKey>) -> (Vec<u8>, Vec<u8>) {
    // Every other byte is noise, so that it packs like code.
    let mut x = 1u32;
    let mut noise = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    let old: Vec<u8> = (0..len)
        .map(|i| if i % 2 == 0 { noise() } else { (i >> 5) as u8 })
        .collect();
    let mut new = old.clone();
    // Something new every 20,000 bytes, and the rest moves.
    for at in (500..len).step_by(20_000).rev() {
        let inserted: Vec<u8> = (0..600).map(|_| noise()).collect();
        new.splice(at..at + 3, inserted);
    }
    (packed("1.0.0", &old, key), packed("2.0.0", &new, key))
}

fn patch(old: &[u8], new: &[u8]) -> Vec<u8> {
    ptr::encode(old, new, &ptr::Options::default(), &|_| ()).unwrap()
}

fn world(old: &[u8], new: &[u8], package: &[u8]) -> World {
    let sectors = old.len().max(new.len()).div_ceil(SECTOR) as u32;
    let w = World::new(old, sectors);
    w.decoders.replace(Some(Box::new(Decoders::new())));
    w.publish("2.0.0", package);
    w
}

fn update(w: &World) -> Vec<u8> {
    let from = w.active * SECTOR as u32;
    w.flash.borrow().dump(from, w.update as usize * SECTOR)
}

fn failures(w: &World) -> Vec<(i64, String)> {
    w.net.broker.borrow().failures()
}

/// Both kinds of package for a pair.
fn packages(old: &[u8], new: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [("ptr", patch(old, new)), ("xz", compress::xz(new).unwrap())]
}

#[test]
fn an_image_comes_out() {
    let (old, new) = pair(150_000, None);
    for (name, package) in packages(&old, &new) {
        for piece in [0, 1, 7, 100] {
            let w = world(&old, &new, &package);
            w.net.piece.set(piece);
            w.live(5 * MINUTE);
            assert!(w.runs(&new) && w.is_settled(), "{name}: {}", w.tail());
            assert_eq!(failures(&w), [], "{name}");
            assert_eq!(w.net.server.borrow().sent, package.len(), "{name}");
        }
        say(&format!(
            "{name}: {} bytes for {}",
            package.len(),
            new.len()
        ));
    }
}

#[test]
fn a_window_smaller_than_a_slice() {
    let (old, new) = pair(150_000, None);
    for (name, package) in packages(&old, &new) {
        let mut w = world(&old, &new, &package);
        w.window = 777;
        w.live(5 * MINUTE);
        assert!(w.runs(&new) && w.is_settled(), "{name}: {}", w.tail());
        assert_eq!(w.net.server.borrow().sent, package.len(), "{name}");
    }
}

/// No erase may happen while bytes are on their way: they would get lost.
#[test]
fn nothing_is_erased_while_bytes_come() {
    let (old, new) = pair(150_000, None);
    for (name, package) in packages(&old, &new) {
        let mut w = world(&old, &new, &package);
        // What comes in meanwhile is refused after that time.
        w.erase_ms = 40;
        w.live(5 * MINUTE);
        assert!(w.runs(&new) && w.is_settled(), "{name}: {}", w.tail());
        assert_eq!(w.erases_in_flight.get(), 0, "{name}");
    }
}

#[test]
fn a_broken_connection_costs_no_byte() {
    let (old, new) = pair(150_000, None);
    for (name, package) in packages(&old, &new) {
        let step = package.len() / 40 + 1;
        for at in (0..package.len()).step_by(step) {
            for fault in [Fault::Reset(at), Fault::Short(at), Fault::Stall(at)] {
                let w = world(&old, &new, &package);
                w.net.server.borrow_mut().faults = [None, Some(fault.clone())].into();
                w.live(5 * MINUTE);
                assert!(
                    w.runs(&new) && w.is_settled(),
                    "{name} {fault:?}: {}",
                    w.tail()
                );
                assert_eq!(
                    w.net.server.borrow().sent,
                    package.len(),
                    "{name} {fault:?}"
                );
            }
        }
    }
}

#[test]
fn another_base_is_refused_before_the_first_write() {
    let (old, new) = pair(150_000, None);
    let package = patch(&old, &new);
    let (other, _) = pair(150_001, None);
    let w = world(&other, &new, &package);
    let before = update(&w);
    w.live(5 * MINUTE);
    assert!(w.runs(&other), "{}", w.tail());
    assert_eq!(failures(&w), [(-3, "patch for another base image".into())]);
    assert!(update(&w) == before, "something was written");
    assert!(w.net.server.borrow().sent <= 72);
    // It is not held against the package: the next update may make it right.
    w.flash.borrow_mut().load(0, &old);
    w.live(5 * MINUTE);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
}

#[test]
fn what_this_build_cannot_take_is_never_written() {
    let (old, new) = pair(30_000, None);
    let mut wide = compress::xz(&new).unwrap();
    // A dictionary of 64 KiB; the block header's CRC is made again.
    wide[12 + 4] = 24 - 4;
    let crc = ota_verify::crc32(&wide[12..20]).to_le_bytes();
    wide[20..24].copy_from_slice(&crc);
    let mut later = patch(&old, &new);
    later[4] = 9;
    let nbdiff = [&b"BSDIFF40"[..], &[0; 400]].concat();
    let all = [
        ("dictionary", wide, true),
        ("format version", later, true),
        ("nbdiff, not said to be one", nbdiff.clone(), true),
        ("nbdiff", nbdiff, false),
        ("ptr", patch(&old, &new), false),
        ("xz", compress::xz(&new).unwrap(), false),
    ];
    for (name, package, decoders) in all {
        let w = world(&old, &new, &package);
        if !decoders {
            w.decoders.replace(None);
        }
        w.live(5 * MINUTE);
        assert!(w.runs(&old), "{name}");
        let why = (-1, "kind of package not supported".into());
        assert_eq!(failures(&w), [why], "{name}: {}", w.tail());
        assert!(update(&w).iter().all(|b| *b == 0xFF), "{name} was written");
    }
}

#[test]
fn damage_on_the_way_is_found() {
    let (old, new) = pair(150_000, None);
    for (name, package) in packages(&old, &new) {
        for at in [80, 100, package.len() / 2, package.len() - 40] {
            // Once: it is fetched again and is right.
            let w = world(&old, &new, &package);
            let mut bad = package.clone();
            bad[at] ^= 4;
            w.publish_as(
                "2.0.0",
                &bad,
                offer("2.0.0", &package, "http://files.example/2.0.0.bin"),
            );
            w.live(5 * MINUTE);
            assert!(w.runs(&old), "{name} {at}");
            let failed = failures(&w);
            assert_eq!(failed.len(), 1, "{name} {at}: {failed:?}");
            assert_eq!(failed[0].0, -3, "{name} {at}: {failed:?}");
            // Twice is for good: it is not asked for any more.
            let asked = w.asked();
            w.live(5 * MINUTE);
            assert_eq!(w.asked(), asked, "{name} {at}");
        }
    }
}

/// A good patch whose image does not have the digest it names.
#[test]
fn the_image_must_have_the_digest_in_the_patch() {
    let (old, new) = pair(30_000, None);
    let mut package = patch(&old, &new);
    package[40] ^= 1;
    let crc = ota_verify::crc32(&package[..52]).to_le_bytes();
    package[52..56].copy_from_slice(&crc);
    let w = world(&old, &new, &package);
    w.live(5 * MINUTE);
    assert!(w.runs(&old));
    assert_eq!(failures(&w), [(-3, "package cannot be decoded".into())]);
}

#[test]
fn a_policy_for_signed_images_holds_for_decoded_ones() {
    let key = key();
    for signed in [true, false] {
        let (old, signed_new) = pair(60_000, Some(&key));
        let (_, unsigned_new) = pair(60_000, None);
        let new = if signed { signed_new } else { unsigned_new };
        for (name, package) in packages(&old, &new) {
            let mut w = world(&old, &new, &package);
            w.policy = Policy {
                image_signature: Requirement::Required,
                ..Policy::DEFAULT
            };
            w.keys = vec![key.public().clone()];
            w.live(5 * MINUTE);
            if signed {
                assert!(w.runs(&new) && w.is_settled(), "{name}: {}", w.tail());
            } else {
                assert!(w.runs(&old), "{name}");
                assert_eq!(failures(&w), [(-3, "image not signed".into())], "{name}");
            }
        }
    }
}

#[test]
fn an_image_larger_than_the_slot_is_refused() {
    let (old, _) = pair(30_000, None);
    let (_, new) = pair(50_000, None);
    for (name, package) in packages(&old, &new) {
        let w = World::new(&old, 9);
        w.decoders.replace(Some(Box::new(Decoders::new())));
        w.publish("2.0.0", &package);
        w.live(5 * MINUTE);
        assert!(w.runs(&old), "{name}");
        assert_eq!(
            failures(&w),
            [(-1, "image larger than slot".into())],
            "{name}"
        );
    }
}

/// Power fails in a flash operation of each slice and between them. The image of
/// the slices that are whole is kept; only the package is fetched anew.
#[test]
fn a_reset_in_each_slice_keeps_the_slices_before() {
    let (old, new) = pair(300_000, None);
    for (name, package) in packages(&old, &new) {
        let first = {
            // Erases and programs of one run, in order.
            let w = world(&old, &new, &package);
            w.live(5 * MINUTE);
            assert!(w.runs(&new) && w.is_settled());
            w.flash.borrow().ops()
        };
        let units = (new.len() / UNIT) as u64;
        let (mut worst, mut cuts, mut kept) = (0, 0, 0);
        for op in (0..first.min(units)).step_by(units as usize / 60) {
            let w = world(&old, &new, &package);
            w.flash
                .borrow_mut()
                .cut_at(op, CutVariant::Random { seed: op });
            w.live(5 * MINUTE);
            assert!(w.flash.borrow().fired().is_some(), "{name} {op}");
            assert!(w.runs(&new) && w.is_settled(), "{name} {op}: {}", w.tail());
            assert_eq!(failures(&w), [], "{name} {op}");
            let sent = w.net.server.borrow().sent;
            worst = worst.max(sent - package.len());
            cuts += 1;
            kept = kept.max(w.kept());
        }
        say(&format!(
            "{name}: {cuts} cuts: at most {worst} bytes fetched twice of {}, up to {kept} bytes of the image kept",
            package.len()
        ));
        // The package once more, never the image.
        assert!(worst <= package.len(), "{name}: {worst}");
        assert!(kept >= 3 * 65_536, "{name}: {kept}");
    }
}

#[test]
fn cuts_in_a_row_come_to_an_end() {
    let (old, new) = pair(300_000, None);
    for (name, package) in packages(&old, &new) {
        let w = world(&old, &new, &package);
        // A bit more than a slice.
        let cuts = w.cut_in_a_row(2_400);
        assert!(w.runs(&new) && w.is_settled(), "{name}: {}", w.tail());
        let twice = w.net.server.borrow().sent - package.len();
        say(&format!(
            "{name}: {cuts} cuts in a row: {twice} bytes fetched twice"
        ));
        assert!(cuts >= 4 && twice <= cuts * package.len(), "{name}");
    }
}

#[test]
fn a_request_that_waits_is_not_downloaded_again() {
    let (old, new) = pair(30_000, None);
    let package = patch(&old, &new);
    let w = world(&old, &new, &package);
    while !w.saw("Requested") {
        assert_eq!(w.power(5 * MINUTE), Stop::Reboot);
    }
    let asked = w.asked();
    // The loader is jumped over: the device runs as if it had not been there.
    w.no_loader.set(true);
    assert_eq!(w.power(5 * MINUTE), Stop::Reboot);
    w.no_loader.set(false);
    assert_eq!(w.asked(), asked);
    w.live(5 * MINUTE);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
    assert_eq!(sha256(&new), sha256(&w.flash.borrow().dump(0, new.len())));
}
