//! nbdiff through the patch seam.
#![cfg(feature = "nbdiff")]

use ota_bootlib::{
    Config, Decision, FailCode, Hooks, Image, Journal, Nbdiff, Partitions, Patch, Phase, Refused,
    Request, Slot, Strategy, Verify, VersionText, start_up_with_patch,
};
use ota_delta::nbdiff::{Options, Workspace, encode};
use ota_flash::sim::SimFlash;
use ota_verify::sha256;

#[test]
fn slices_in_order_give_the_image() {
    let old: Vec<u8> = (0..40_000u32).map(|i| ((i * i) >> 7) as u8).collect();
    let mut new = old.clone();
    new.splice(5000..5000, *b"something new");
    new.truncate(35_000);
    let options = Options {
        slice: 8192,
        ..Options::default()
    };
    let patch = encode(&old, &new, &options, &|_| {}).unwrap();
    let mut room = Box::new(Workspace::new());
    let mut nbdiff = Nbdiff::new(&mut room);
    let (mut at, mut made) = (0, Vec::<u8>::new());
    while (at as usize) < patch.len() {
        let mut view = made.clone();
        view.extend_from_slice(&old[made.len().min(old.len())..]);
        let old_len = view.len() as u32;
        let begun = nbdiff.begin(&mut &patch[..], at, 8192, old_len);
        let section = begun.expect("a section");
        let mut slice = vec![0; section.new_len as usize];
        for piece in slice.chunks_mut(1000) {
            let done = nbdiff.read(&mut &patch[..], &mut &view[..], piece);
            assert_eq!(done, Some(()));
        }
        // There is no more of it.
        assert_eq!(nbdiff.read(&mut &patch[..], &mut &view[..], &mut [0]), None);
        made.extend(slice);
        at += section.len;
    }
    assert_eq!(nbdiff.begin(&mut &patch[..], 1, 8192, 40_000), None);
    assert!(made == new);
}

type Flash = SimFlash<1024, 32>;
const SLICE: u32 = 4096;

/// Images begin with their length and a version of four bytes.
struct Plain;

impl Verify<Flash> for Plain {
    fn verify(
        &mut self,
        slot: &mut Flash,
        _: Option<u32>,
        _: &VersionText,
        _: &mut [u8],
        _: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        let head = slot.dump(0, 8);
        let total = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        Ok(Image {
            total,
            sha256: sha256(&slot.dump(0, total as usize)),
            version: VersionText::new(&head[4..]).expect("short"),
        })
    }
}

fn image(len: usize, version: &[u8; 4], seed: u32) -> Vec<u8> {
    let mut x = seed;
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect();
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(version);
    bytes
}

struct Device {
    parts: Partitions<Flash>,
    room: Box<Workspace>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Device {
    /// Images that share nothing: the patch is as long as they are.
    fn new(update_sectors: usize) -> Self {
        let mut parts = Partitions {
            active: Flash::new(20 * 1024),
            update: Flash::new(update_sectors * 1024),
            journal: Flash::new(4 * 1024),
            mailbox: None,
        };
        let (old, new) = (image(18_000, b"v1.0", 1), image(19_001, b"v2.0", 2));
        parts.active.load(0, &old);
        let room = Box::new(Workspace::new());
        Self {
            parts,
            room,
            old,
            new,
        }
    }

    /// Stores the patch at the slot's start, as C firmware does, and asks for it.
    fn request(&mut self, strategy: Strategy, version: &[u8]) {
        let options = Options {
            slice: SLICE,
            ..Options::default()
        };
        let patch = encode(&self.old, &self.new, &options, &|_| {}).expect("options");
        self.parts.update.load(0, &patch);
        let mut journal = Journal::open(&mut self.parts.journal).expect("a good geometry");
        let request = Request {
            version: VersionText::new(version).expect("short"),
            package_len: patch.len() as u32,
            slice_len: SLICE,
            ..Request::image(strategy, 0, [0; 32])
        };
        journal.request(&request, &mut ()).expect("idle");
    }

    fn start(&mut self) -> Decision {
        start_up_with_patch(
            &mut self.parts,
            &mut Plain,
            &mut Nbdiff::new(&mut self.room),
            &mut (),
            &Config::default(),
            &mut [0; 2048],
        )
    }

    fn check_refused(&mut self, phase: Phase, code: FailCode) {
        let trial = false;
        let slot = Slot::First;
        assert_eq!(self.start(), Decision::Start { slot, trial });
        assert!(self.parts.active.dump(0, 18_000) == self.old);
        let journal = Journal::open(&mut self.parts.journal).expect("a good geometry");
        let failure = journal.state().failure().expect("a reason");
        assert_eq!((failure.phase, failure.code), (phase, code));
    }
}

const BOTH: [Strategy; 2] = [Strategy::PatchSwap, Strategy::InPlace];

/// 20 + 19 sectors of image and patch in 24: late slices cover early sections.
#[test]
fn slices_may_cover_sections_that_are_used_up() {
    for strategy in BOTH {
        let mut d = Device::new(24);
        d.request(strategy, b"v2.0");
        let trial = true;
        let slot = Slot::First;
        assert_eq!(d.start(), Decision::Start { slot, trial });
        assert!(d.parts.active.dump(0, 19_001) == d.new);
    }
}

#[test]
fn patch_and_image_that_do_not_fit_together_are_refused() {
    for strategy in BOTH {
        let mut d = Device::new(21);
        d.request(strategy, b"v2.0");
        let before = d.parts.update.digest(0..21);
        d.check_refused(Phase::Requested, FailCode::Space);
        assert_eq!(d.parts.update.digest(0..21), before);
    }
}

/// Only the rebuilt image shows its version. It must be the one that was offered.
#[test]
fn a_patch_that_makes_another_version_is_refused() {
    for strategy in BOTH {
        let mut d = Device::new(42);
        d.request(strategy, b"v2.1");
        d.check_refused(Phase::Rebuilding, FailCode::Version);
    }
}
