//! A stored ptr patch that is applied in place (`ota_delta::ptr::in_place`): one slot,
//! room aside, and the steps in the journal. The patch itself lies where nothing is
//! written.

use std::cell::RefCell;

use embedded_storage::nor_flash::NorFlash;
use ota_bootlib::{Journal, ResumeIdentity, VersionText};
use ota_delta::IoError;
use ota_delta::ptr::{self, SLICE, in_place};
use ota_flash::sim::SimFlash;
use ota_flash::{Partition, PartitionEntry, PartitionId, PartitionTable, Permissions};
use ota_verify::{NorReader, ReadAt, sha256};

use crate::Row;
use crate::replay::{self, Ran, Shape};
use crate::table::Amount;
use crate::world::Cut;

const SECTOR: u32 = 4096;
const UNIT: usize = 256;
/// Sectors of the slot, of the room aside and of the journal.
const SLOT: u32 = 36;
const ASIDE: u32 = 32;
const JOURNAL: u32 = 16;
/// Starts of a device before it counts as going round in circles.
const MAX_BOOTS: u32 = 20;

type Flash = SimFlash<{ SECTOR as usize }, UNIT>;
type View<'a> = Partition<'a, Flash>;

fn table() -> PartitionTable<3> {
    let rw = Permissions::READ_WRITE;
    let entry = |id, from, n| PartitionEntry::new(id, from * SECTOR, n * SECTOR, rw);
    PartitionTable::new(
        (SLOT + ASIDE + JOURNAL) * SECTOR,
        SECTOR,
        [
            entry(PartitionId::Application, 0, SLOT),
            entry(PartitionId::OtaTemp, SLOT, ASIDE),
            entry(PartitionId::RecoveryBackPara, SLOT + ASIDE, JOURNAL),
        ],
    )
}

struct Place<'f> {
    image: View<'f>,
    aside: View<'f>,
    journal: Journal<View<'f>>,
}

impl<'f> Place<'f> {
    fn area(&mut self, area: in_place::Area) -> &mut View<'f> {
        match area {
            in_place::Area::Image => &mut self.image,
            in_place::Area::Aside => &mut self.aside,
        }
    }
}

impl in_place::Place for Place<'_> {
    fn begin(&mut self, header: &ptr::Header) -> Result<(), IoError> {
        let mut old = vec![0; header.old_len as usize];
        self.read(in_place::Area::Image, 0, &mut old)?;
        match sha256(&old).starts_with(&header.old_digest) {
            true => Ok(()),
            false => Err(IoError),
        }
    }
    fn read(&mut self, area: in_place::Area, at: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let mut flash = self.area(area);
        NorReader(&mut flash).read_at(at, buf).map_err(|_| IoError)
    }
    fn erase(&mut self, area: in_place::Area, from: u32, to: u32) -> Result<(), IoError> {
        let to = to.next_multiple_of(SECTOR);
        self.area(area).erase(from, to).map_err(|_| IoError)
    }
    fn write(&mut self, area: in_place::Area, at: u32, data: &[u8]) -> Result<(), IoError> {
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(UNIT), 0xFF);
        self.area(area).write(at, &padded).map_err(|_| IoError)
    }
    fn record(&mut self, step: u32) -> Result<(), IoError> {
        let done = self.journal.resume_advance(step, &mut ());
        done.map_err(|_| IoError)
    }
}

struct Stored {
    flash: Flash,
    old: Vec<u8>,
    new: Vec<u8>,
    patch: Vec<u8>,
}

impl Stored {
    fn new() -> Self {
        let mut x = 3u32;
        let old: Vec<u8> = (0..140_000)
            .map(|_| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            })
            .collect();
        let mut new = old.clone();
        // All of it moves, in both directions.
        new.rotate_left(20_000);
        new.splice(50_000..50_100, [1; 700]);
        let patch = ptr::encode(&old, &new, &ptr::Options::default(), &|_| ());
        let mut flash = Flash::new(((SLOT + ASIDE + JOURNAL) * SECTOR) as usize);
        flash.load(0, &old);
        flash.load(SLOT * SECTOR, &vec![0xA7; (ASIDE * SECTOR) as usize]);
        let patch = patch.expect("a patch");
        Self {
            flash,
            old,
            new,
            patch,
        }
    }

    /// One start: goes on with what the journal says. Whether it got to the end.
    fn start(&self, flash: &RefCell<Flash>) -> Result<bool, String> {
        let table = table();
        let open = |id| -> View<'_> { table.open(flash, id).expect("partition") };
        let off = || !flash.borrow().is_powered();
        let mut journal = match Journal::open(open(PartitionId::RecoveryBackPara)) {
            Ok(journal) => journal,
            Err(_) if off() => return Ok(false),
            Err(e) => return Err(e.to_string()),
        };
        let id = ResumeIdentity {
            method: 2,
            size: self.patch.len() as u32,
            digest: sha256(&self.patch),
        };
        let mut step = 0;
        if journal.state().resume() == Some(id) {
            step = journal.state().resume_offset();
        } else if let Err(e) = journal.resume_begin(&id, &VersionText::NONE, &mut ()) {
            return if off() { Ok(false) } else { Err(e.to_string()) };
        }
        let mut place = Place {
            image: open(PartitionId::Application),
            aside: open(PartitionId::OtaTemp),
            journal,
        };
        let mut decoder = Box::new(ptr::Decoder::new());
        let len = self.patch.len() as u32;
        let mut patch = &self.patch[..];
        match in_place::apply(&mut decoder, &mut patch, len, &mut place, step) {
            Ok(_) => Ok(true),
            Err(_) if off() => Ok(false),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl replay::Device for Stored {
    fn run(&self, cuts: &[Cut]) -> Result<Ran, String> {
        let mut flash = self.flash.clone();
        match cuts.first() {
            Some((at, variant)) => flash.cut_at(*at, *variant),
            None => flash.start_trace(),
        }
        let cell = RefCell::new(flash);
        let mut fired = 0;
        for _ in 0..MAX_BOOTS {
            cell.borrow_mut().power_on();
            if self.start(&cell)? {
                let mut flash = cell.into_inner();
                let right = flash.dump(0, self.new.len()) == self.new;
                let solid = !flash.is_unstable(0, self.new.len());
                let slots = (SLOT + ASIDE) as usize;
                let journal = slots..slots + JOURNAL as usize;
                return match (right, solid) {
                    (true, true) => Ok(Ran::new(fired, &mut flash, journal)),
                    (true, false) => Err("unstable bits in the image".into()),
                    _ => Err("a mixture".into()),
                };
            }
            fired += 1;
            if let Some((after, variant)) = cuts.get(fired) {
                cell.borrow_mut().cut_after(*after, *variant);
            }
        }
        Err(format!("no end after {MAX_BOOTS} starts"))
    }

    fn shape(&self) -> Shape {
        Shape {
            name: "in-place ptr, stored".into(),
            geometry: format!("{SLOT}+{ASIDE} x {SECTOR}, {UNIT}"),
            // Each run decodes the patch twice.
            sparse: 3,
            reach: 400,
        }
    }
}

/// The row of the table, handed to `done` with the seconds it took.
pub fn rows(amount: Amount, done: &mut dyn FnMut(Row, f32)) {
    let device = Stored::new();
    assert!(device.new.len() > 2 * SLICE as usize && device.old != device.new);
    let (row, seconds) = replay::row(&device, amount);
    done(row, seconds);
}
