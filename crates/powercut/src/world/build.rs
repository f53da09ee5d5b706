//! How devices are made.

use core::cell::RefCell;

use ota_bootlib::{Decision, Journal, Request, Slot, Strategy};
use ota_delta::nbdiff::{Options, encode};
use ota_flash::sim::SimFlash;

use super::{App, Known, Layout, World};

/// A structure of `size` bytes as C firmware writes it, padded to program units.
pub(super) fn mail<const U: usize>(size: usize, flag: [u8; 4], count: u8) -> Vec<u8> {
    let mut b = vec![0; size - 2];
    b[14..18].copy_from_slice(&flag);
    b[18] = count;
    b.extend(ota_verify::crc16_xmodem(0, &b).to_le_bytes());
    b.resize(size.next_multiple_of(U), 0xFF);
    b
}

impl<const S: usize, const U: usize> World<S, U> {
    /// A device with `old` in the active slot, `new` in the update slot and the
    /// request durable.
    pub fn new(layout: Layout, strategy: Strategy, old: Known, new: Known, app: App) -> Self {
        let request = Request::image(strategy, new.total, new.sha256);
        let content = new.bytes.to_vec();
        Self::with_request(layout, request, old, new, app, 0, &content)
    }

    /// A device with a patch in the update slot, `gap` bytes from its start.
    pub fn with_patch(
        layout: Layout,
        strategy: Strategy,
        slice: u32,
        gap: u32,
        (old, new_len, fill): (Known, u32, u32),
        app: App,
    ) -> Self {
        let (mut new, patch) = crate::format::make(&old.bytes, new_len, slice, fill);
        new.resize(new.len().next_multiple_of(S), 0xFF);
        let new = Known::new::<S, U>(new, new_len, 2);
        let request = Request {
            image_len: new_len,
            package_len: patch.len() as u32,
            package_at: gap,
            slice_len: slice,
            ..Request::image(strategy, 0, new.sha256)
        };
        Self::with_request(layout, request, old, new, app, gap, &patch)
    }

    /// As [`with_patch`](Self::with_patch) with a real nbdiff patch from `old` to `new`.
    pub fn with_nbdiff(
        layout: Layout,
        strategy: Strategy,
        gap: u32,
        (old, new): (Known, Known),
        app: App,
    ) -> Self {
        // The least that the format allows.
        let slice = 4096;
        let options = Options {
            slice,
            ..Options::default()
        };
        let new_bytes = &new.bytes[..new.total as usize];
        let patch = encode(&old.bytes, new_bytes, &options, &|_| {}).expect("options");
        let request = Request {
            image_len: new.total,
            package_len: patch.len() as u32,
            package_at: gap,
            slice_len: slice,
            ..Request::image(strategy, 0, new.sha256)
        };
        let mut world = Self::with_request(layout, request, old, new, app, gap, &patch);
        world.nbdiff = true;
        world
    }

    fn with_request(
        layout: Layout,
        request: Request,
        old: Known,
        new: Known,
        app: App,
        gap: u32,
        content: &[u8],
    ) -> Self {
        let mut flash = SimFlash::new(layout.sectors() as usize * S);
        flash.load(0, &old.bytes);
        let update = layout.active * S as u32;
        let noise: Vec<u8> = (0..layout.update as usize * S)
            .map(|i| (i * 7 + i / 251) as u8)
            .collect();
        flash.load(update, &noise);
        flash.load(update + gap, content);
        let strategy = request.strategy;
        let mut world = Self {
            layout,
            strategy,
            flash,
            old,
            new,
            app,
            bad: false,
            mailbox: true,
            nbdiff: false,
        };
        world.request(&request);
        world
    }

    /// A device of C firmware, which has left its request in `PARAMETER_1`.
    /// `patch`: slice length and filling of a patch; else a whole image.
    pub fn c_request(
        layout: Layout,
        old: Known,
        new: Known,
        patch: Option<(u32, u32)>,
        app: App,
    ) -> Self {
        let mut world = match patch {
            None => Self::new(layout, Strategy::Swap, old, new, app),
            Some((slice, fill)) => {
                let of = (old, new.total, fill);
                Self::with_patch(layout, Strategy::PatchSwap, slice, 0, of, app)
            }
        };
        let at = (layout.journal_sectors().end * S) as u32;
        let mail = match patch {
            None => mail::<U>(34, *b"FUSR", 0),
            Some((slice, _)) => {
                let cell = RefCell::new(world.flash.clone());
                let journal = Journal::open(world.layout.open(&cell).journal).expect("journal");
                let len = journal.state().patch_len();
                let mut m = mail::<U>(87, *b"YVER", 0);
                m[19..23].copy_from_slice(&len.to_le_bytes());
                m[23..27].copy_from_slice(&slice.to_le_bytes());
                let crc = ota_verify::crc16_xmodem(0, &m[..85]);
                m[85..87].copy_from_slice(&crc.to_le_bytes());
                m
            }
        };
        world.flash = world.confirmed();
        world.flash.load(at, &mail);
        world.flash.reset_stats();
        world
    }

    /// Boots once so that the journal is not blank, and writes a request.
    fn request(&mut self, request: &Request) {
        let cell = RefCell::new(self.flash.clone());
        let d = self.start_only(&cell);
        assert_eq!(
            d,
            Decision::Start {
                slot: Slot::First,
                trial: false
            }
        );
        let mut journal = Journal::open(self.layout.open(&cell).journal).expect("journal");
        journal.request(request, &mut ()).expect("request");
        self.flash = cell.into_inner();
        self.flash.reset_stats();
    }

    /// The flash of this device when nothing was ever requested.
    pub fn confirmed(&self) -> SimFlash<S, U> {
        let mut flash = self.flash.clone();
        let from = (self.layout.journal_sectors().start * S) as u32;
        flash.load(from, &vec![0xFF; self.layout.journal as usize * S]);
        let cell = RefCell::new(flash);
        self.start_only(&cell);
        cell.into_inner()
    }

    /// Makes the image in the update slot bad.
    pub fn spoil(mut self) -> Self {
        self.flash.flip(self.layout.active * S as u32 + 5, 0x10);
        self.bad = true;
        self
    }
}
