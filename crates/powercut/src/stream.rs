//! Packages that are decoded while they are downloaded: the whole device, from the
//! broker's push to the confirmed image, with its power cut at every flash operation
//! of the download, the boot loader and the confirmation.
//!
//! The agent, its decoders and the boot loader are the shipped ones; network and time
//! are those of the agent's own tests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ota_agent::Decoders;
use ota_delta::{compress, ptr};

use crate::Row;
use crate::replay::{self, Ran, Shape};
use crate::table::Amount;
use crate::world::Cut;

#[path = "../../ota-agent/tests/common/mod.rs"]
mod common;
use common::{MINUTE, SECTOR, Stop, World, offer, packed};

/// Program unit of the device, in bytes.
const UNIT: usize = 64;
/// Slots: a slice of 64 KiB and a bit, and the spare.
const SECTORS: u32 = 18;
/// Bytes of program in an image.
const PROGRAM: usize = 70_000;
/// Starts of a device before it counts as going round in circles.
const MAX_BOOTS: u32 = 40;
/// Starts of an image that is not confirmed.
const TRIES: usize = 3;

/// What a device is offered and what becomes of it.
struct Case {
    name: &'static str,
    old: Vec<u8>,
    new: Vec<u8>,
    package: Vec<u8>,
    /// The new image starts and does nothing.
    hangs: bool,
    /// The image that runs at the end is the new one.
    ends_new: bool,
}

impl Case {
    fn world(&self) -> World {
        let world = World::new(&self.old, SECTORS);
        world.decoders.replace(Some(Box::new(Decoders::new())));
        world.app_hangs.set(self.hangs);
        let url = "http://files.example/2.0.0.bin";
        world.publish_as("2.0.0", &self.package, offer("2.0.0", &self.package, url));
        world
    }

    fn check_end(&self, fired: usize, world: &World) -> Result<(), String> {
        let failures = world.net.broker.borrow().failures();
        let tired = failures.iter().any(|f| f.1.starts_with("reverted"));
        if !world.is_settled() {
            return Err("the boot state is not settled".into());
        }
        if self.ends_new {
            // Cuts may use up the tries of an image that would have confirmed.
            if tired && fired >= TRIES && world.runs(&self.old) {
                return Ok(());
            }
            if !world.runs(&self.new) {
                return Err(format!("ends with the old image: {failures:?}"));
            }
            if !failures.is_empty() {
                return Err(format!("a failure was reported: {failures:?}"));
            }
        } else if !world.runs(&self.old) {
            return Err("ends with the new image".into());
        } else if failures.is_empty() {
            return Err("no failure was reported".into());
        }
        Ok(())
    }
}

impl replay::Device for Case {
    /// Runs a device to its end and checks each start on the way.
    fn run(&self, cuts: &[Cut]) -> Result<Ran, String> {
        let world = self.world();
        let wrong = Rc::new(RefCell::new(None));
        let confirmed = Cell::new(false);
        let (old, new, first) = (self.old.clone(), self.new.clone(), wrong.clone());
        let good = self.ends_new || self.hangs;
        world.on_start.replace(Some(Box::new(move |w, trial| {
            let why = if w.flash.borrow().is_unstable(0, SECTORS as usize * SECTOR) {
                "started with unstable bits"
            } else if w.runs(&new) {
                confirmed.set(confirmed.get() || !trial);
                if good {
                    return;
                }
                "started an image that is not the one of the patch"
            } else if !w.runs(&old) {
                "started a mixture"
            } else if confirmed.get() {
                "the confirmed image is gone"
            } else {
                return;
            };
            first.borrow_mut().get_or_insert(why);
        })));
        if let Some((at, variant)) = cuts.first() {
            world.flash.borrow_mut().cut_at(*at, *variant);
        } else {
            world.flash.borrow_mut().start_trace();
        }
        let mut fired = 0;
        for _ in 0..MAX_BOOTS {
            let stop = world.power(2 * MINUTE);
            if let Some(why) = *wrong.borrow() {
                return Err(why.into());
            }
            match stop {
                Stop::Reboot => {}
                Stop::Cut => {
                    fired += 1;
                    if let Some((after, variant)) = cuts.get(fired) {
                        world.flash.borrow_mut().cut_after(*after, *variant);
                    }
                }
                Stop::Idle => {
                    world.flash.borrow_mut().cancel_cut();
                    self.check_end(fired, &world)?;
                    let journal = (2 * SECTORS + 1) as usize;
                    let flash = &mut world.flash.borrow_mut();
                    return Ok(Ran::new(fired, flash, journal..journal + 2));
                }
                other => return Err(format!("{other:?}")),
            }
        }
        Err(format!("no end after {MAX_BOOTS} starts"))
    }

    fn shape(&self) -> Shape {
        Shape {
            name: format!("swap {}", self.name),
            geometry: format!("{SECTORS}+{} x {SECTOR}, {UNIT}", SECTORS + 1),
            sparse: 1,
            reach: 700,
        }
    }
}

/// Two images that differ in a few places.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let mut x = 1u32;
    let old: Vec<u8> = (0..PROGRAM)
        .map(|i| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 2 == 0 { (x >> 24) as u8 } else { 7 }
        })
        .collect();
    let mut new = old.clone();
    for (at, with) in [(20_000, 0x11), (66_000, 0x22)] {
        new[at..at + 100].fill(with);
    }
    (packed("1.0.0", &old, None), packed("2.0.0", &new, None))
}

fn cases() -> Vec<Case> {
    let (old, new) = pair();
    let patch = ptr::encode(&old, &new, &ptr::Options::default(), &|_| ()).expect("a patch");
    // A good patch that names another image than the one it makes.
    let mut other = patch.clone();
    other[40] ^= 1;
    let crc = ota_verify::crc32(&other[..52]).to_le_bytes();
    other[52..56].copy_from_slice(&crc);
    let case = |name, package, hangs, ends_new| Case {
        name,
        old: old.clone(),
        new: new.clone(),
        package,
        hangs,
        ends_new,
    };
    let xz = compress::xz(&new).expect("packed");
    vec![
        case("ptr while it comes", patch.clone(), false, true),
        case("ptr, never confirmed", patch, true, false),
        case("ptr of another image", other, false, false),
        case("xz while it comes", xz, false, true),
    ]
}

/// The rows of the table, each handed to `done` with the seconds it took.
pub fn rows(amount: Amount, done: &mut dyn FnMut(Row, f32)) {
    for case in cases() {
        let (row, seconds) = replay::row(&case, amount);
        done(row, seconds);
    }
}
