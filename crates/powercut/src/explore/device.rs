//! The device that is explored: two images, boot loader, application.

use std::cell::RefCell;
use std::rc::Rc;

use ota_bootlib::{
    BootState, Config, Decision, FailCode, Hooks, Image, Journal, Partitions, Refused, Request,
    Slot, Strategy, Verify, VersionText, start_up_with_patch,
};

use super::model::{Known, Model, SECTOR, Sector, View};
use super::row::{Reading, Row, blank_half};
use crate::App;
use crate::definitions::costs;
use crate::format::{TestPatch, make};

/// The application's request returned `Ok`.
pub const REQUESTED: u8 = 1;
/// Its confirmation did.
pub const CONFIRMED: u8 = 2;

/// Starts of an image before it counts as failed.
const TRIES: u8 = 2;
/// Bytes of a sector that images fill; the rest is blank, and costs no operations.
const FILLED: usize = 64;

/// An image: its sectors and its length.
struct Known1 {
    sectors: Vec<Rc<Vec<u8>>>,
    total: u32,
    sha256: [u8; 32],
}

impl Known1 {
    fn new(mut bytes: Vec<u8>, total: u32, name: u8) -> Self {
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0xFF);
        Self {
            sectors: bytes.chunks(SECTOR).map(|c| Rc::new(c.to_vec())).collect(),
            total,
            sha256: [name; 32],
        }
    }

    fn lies_at(&self, slots: &[Sector], first: usize) -> bool {
        let here = slots.get(first..).unwrap_or_default();
        let same = |(want, is): (&Rc<Vec<u8>>, &Sector)| !is.torn && *is.bytes == **want;
        here.len() >= self.sectors.len() && self.sectors.iter().zip(here).all(same)
    }
}

/// A device and what it goes through.
pub struct Device {
    /// How the update is installed.
    pub strategy: Strategy,
    /// What the new image does.
    pub app: App,
    /// The new image is damaged.
    pub bad: bool,
    active: usize,
    update: usize,
    old: Known1,
    new: Known1,
    request: Request,
    /// Flash as it leaves the factory, with the update already in its slot.
    pub start: Model,
}

/// What a boot came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The update goes on at the next one.
    GoesOn,
    /// Nothing is in hand any more.
    Finished,
}

impl Device {
    /// Active slot of two sectors, update slot of three, or four with a patch.
    pub fn new(strategy: Strategy, app: App, bad: bool) -> Self {
        let image = |name: u8| {
            let mut bytes = vec![0xFF; 2 * SECTOR];
            for sector in 0..2 {
                for i in 0..FILLED {
                    bytes[sector * SECTOR + i] = name * 64 + sector as u8 * 16 + i as u8 % 16;
                }
            }
            bytes
        };
        let total = (SECTOR + FILLED) as u32;
        let slice = SECTOR as u32;
        let patched = matches!(strategy, Strategy::PatchSwap | Strategy::InPlace);
        let old = image(1);
        let (new, content) = if patched {
            make(&old, total, slice, 0)
        } else {
            (image(2), image(2))
        };
        let new = Known1::new(new, total, 2);
        let old = Known1::new(old, total, 1);
        let mut request = Request::image(strategy, total, new.sha256);
        request.tries = TRIES;
        if patched {
            request.package_len = content.len() as u32;
            request.slice_len = slice;
        }
        let (active, update) = (2, if patched { 4 } else { 3 });
        let mut slots: Vec<Sector> = (0..active + update)
            .map(|i| Sector {
                bytes: Rc::new(vec![0x30 + i as u8; SECTOR]),
                torn: false,
            })
            .collect();
        for (to, from) in slots.iter_mut().zip(&old.sectors) {
            to.bytes = from.clone();
        }
        for (to, from) in slots[active..].iter_mut().zip(content.chunks(SECTOR)) {
            let sector = Rc::make_mut(&mut to.bytes);
            sector[..from.len()].copy_from_slice(from);
            if bad {
                sector[1] ^= 0x10;
            }
        }
        let known = Rc::new(vec![Known::default(); slots.len()]);
        let start = Model::new(slots, [blank_half(); 2], known);
        let mut device = Self {
            strategy,
            app,
            bad,
            active,
            update,
            old,
            new,
            request,
            start,
        };
        device.start.known = Rc::new(device.contents());
        device
    }

    /// What slot sectors hold between the steps of a run without cuts.
    fn contents(&self) -> Vec<Known> {
        let mut all: Vec<Vec<Rc<Vec<u8>>>> = vec![Vec::new(); self.start.slots.len()];
        let mut model = self.start.clone();
        for _ in 0..12 {
            let mut at = model.clone();
            model.ops.clear();
            let cell = RefCell::new(model);
            let _ = self.boot(&cell);
            model = cell.into_inner();
            let sector = |i: usize| match model.ops.get(i)?.0 {
                super::model::Op::Erase(s) => Some(s),
                super::model::Op::Program(a, _) => Some(a / SECTOR),
            };
            let mut note = |at: &Model| {
                for (list, s) in all.iter_mut().zip(&at.slots) {
                    if !list.contains(&s.bytes) {
                        list.push(s.bytes.clone());
                    }
                }
            };
            note(&at);
            for i in 0..model.ops.len() {
                at.apply(&model.ops[i].0);
                if sector(i + 1) != sector(i) {
                    note(&at);
                }
            }
        }
        all.into_iter().map(Rc::new).collect()
    }

    /// Runs boot loader and application once.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn boot(&self, model: &RefCell<Model>) -> Result<End, String> {
        let end = self.boot_on(model);
        self.check_erases(&model.borrow())?;
        end
    }

    /// I5, for one boot.
    fn check_erases(&self, model: &Model) -> Result<(), String> {
        let costs = costs(self.strategy);
        for (sector, erases) in model.erases.iter().enumerate() {
            let most = match sector {
                s if s < self.active => costs.active,
                s if s < self.active + self.update => costs.update,
                _ => 2,
            };
            if *erases > most {
                return Err(format!("sector {sector} erased {erases} times in one boot"));
            }
        }
        Ok(())
    }

    fn boot_on(&self, cell: &RefCell<Model>) -> Result<End, String> {
        let view = |first, sectors| View {
            flash: cell,
            first,
            sectors,
        };
        let slots = self.active + self.update;
        let mut parts = Partitions {
            active: view(0, self.active),
            update: view(self.active, self.update),
            journal: view(slots, 2),
            mailbox: None,
        };
        let mut judge = Judge {
            images: [&self.old, &self.new],
        };
        let decision = start_up_with_patch(
            &mut parts,
            &mut judge,
            &mut TestPatch::default(),
            &mut (),
            &Config::default(),
            &mut [0; 2 * FILLED],
        );
        let Decision::Start { slot, trial } = decision else {
            return Err(format!("decided {decision:?}"));
        };
        let (old, new, mark, weak) = {
            let model = cell.borrow();
            let first = if slot == Slot::First { 0 } else { self.active };
            let record = |r: &Reading| matches!(r, Reading::Record(_));
            let weak = |r: &Row| !r.is_solid() && r.readings().iter().any(record);
            (
                self.old.lies_at(&model.slots, first),
                self.new.lies_at(&model.slots, first),
                model.mark,
                model.halves.iter().flatten().any(weak),
            )
        };
        if !old && !new {
            return Err(format!("started a mixture (trial {trial})"));
        }
        if mark & CONFIRMED != 0 && !new {
            return Err("the confirmed image is gone".into());
        }
        if new && self.bad {
            return Err("started a bad image".into());
        }
        if trial && !new {
            return Err("the old image is on trial".into());
        }
        let mut journal = Journal::open(parts.journal).map_err(|f| f.to_string())?;
        let state = journal.boot_state();
        if trial != matches!(state, BootState::Trial { .. }) && (trial || !weak) {
            return Err(format!("trial is {trial} in state {state:?}"));
        }
        let told = |done: Result<(), ota_bootlib::AppError>, what: u8| {
            done.map_err(|e| e.to_string())?;
            cell.borrow_mut().mark |= what;
            Ok(End::GoesOn)
        };
        match (state, self.app) {
            (BootState::Trial { .. }, App::Confirms) => {
                told(journal.confirm(true, &mut ()), CONFIRMED)
            }
            (BootState::Trial { .. }, App::AsksBack) => told(journal.revert(&mut ()), 0),
            (BootState::Trial { .. }, _) => Ok(End::GoesOn),
            (BootState::Idle, _) => match journal.state().failure() {
                None if old && mark & REQUESTED == 0 => {
                    told(journal.request(&self.request, &mut ()), REQUESTED)
                }
                None if old => Err("the request is lost".into()),
                failure => self.finished(new, failure.map(|f| f.code)),
            },
            // The newest record is unstable, and the loader saw it otherwise.
            _ if weak => Ok(End::GoesOn),
            (state, _) => Err(format!("started in state {state:?}")),
        }
    }

    /// Whether this is how it may end.
    fn finished(&self, new: bool, why: Option<FailCode>) -> Result<End, String> {
        let back = !matches!(self.strategy, Strategy::Overwrite | Strategy::InPlace);
        let right = match (new, why) {
            (true, why) => self.app == App::Confirms && why.is_none(),
            (false, Some(FailCode::NotConfirmed)) => back && !self.bad,
            (false, Some(FailCode::AppRevert)) => self.app == App::AsksBack,
            (false, Some(FailCode::Digest)) => self.bad,
            _ => false,
        };
        if right {
            Ok(End::Finished)
        } else {
            Err(format!("ends with new image {new}, failure {why:?}"))
        }
    }
}

/// Knows the images by heart.
struct Judge<'a> {
    images: [&'a Known1; 2],
}

impl Verify<View<'_>> for Judge<'_> {
    fn verify(
        &mut self,
        slot: &mut View<'_>,
        total: Option<u32>,
        _: &VersionText,
        _: &mut [u8],
        _: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        use embedded_storage::nor_flash::ReadNorFlash as _;
        let found = self.images.iter().find(|image| {
            let mut bytes = [0; SECTOR];
            let same = |(i, want): (usize, &Rc<Vec<u8>>)| {
                slot.read((i * SECTOR) as u32, &mut bytes).is_ok() && bytes[..] == want[..]
            };
            total.is_none_or(|t| t == image.total) && image.sectors.iter().enumerate().all(same)
        });
        found
            .map(|image| Image {
                total: image.total,
                sha256: image.sha256,
                version: VersionText::NONE,
            })
            .ok_or(Refused {
                code: FailCode::Digest,
                offset: 0,
            })
    }
}
