//! Reading, copying and comparing sectors.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, FaultKind, Part};

/// A partition together with what it is called in a [`Fault`].
pub(crate) struct Place<P> {
    pub part: Part,
    pub flash: P,
}

/// The work buffer as two equal pieces of whole program units.
pub(crate) struct Pieces<'a> {
    pub a: &'a mut [u8],
    pub b: &'a mut [u8],
}

impl<'a> Pieces<'a> {
    /// Too short for two program units: all of it in `a`, for reading.
    pub fn new<P: NorFlash>(buf: &'a mut [u8]) -> Self {
        let half = buf.len().min(2 * P::ERASE_SIZE) / 2;
        let len = half - half % P::WRITE_SIZE.max(P::READ_SIZE);
        if len == 0 {
            return Self { a: buf, b: &mut [] };
        }
        let (a, rest) = buf.split_at_mut_checked(len).unwrap_or_default();
        let b = rest.get_mut(..len).unwrap_or_default();
        Self { a, b }
    }

    /// Shortens the pieces to what is left of a sector at `at`.
    #[inline(always)]
    fn cut(&mut self, left: u32) -> (&mut [u8], &mut [u8]) {
        let n = self.a.len().min(left as usize);
        (
            self.a.get_mut(..n).unwrap_or_default(),
            self.b.get_mut(..n).unwrap_or_default(),
        )
    }
}

impl<P: NorFlash> Place<P> {
    fn done(&self, at: u32, result: Result<(), P::Error>) -> Result<(), Fault> {
        match result {
            Ok(()) => Ok(()),
            Err(e) => Err(Fault::from_driver(self.part, at, &e)),
        }
    }

    #[inline(never)]
    pub fn read(&mut self, at: u32, buf: &mut [u8]) -> Result<(), Fault> {
        let result = self.flash.read(at, buf);
        self.done(at, result)
    }

    #[inline(never)]
    pub fn erase<H: Hooks + ?Sized>(&mut self, at: u32, hooks: &mut H) -> Result<(), Fault> {
        hooks.tick();
        let end = at.saturating_add(P::ERASE_SIZE as u32);
        let result = self.flash.erase(at, end);
        self.done(at, result)
    }

    /// Programs `bytes`, whole program units.
    #[inline(never)]
    pub fn write<H: Hooks + ?Sized>(
        &mut self,
        at: u32,
        bytes: &[u8],
        hooks: &mut H,
    ) -> Result<(), Fault> {
        hooks.tick();
        let result = self.flash.write(at, bytes);
        self.done(at, result)
    }

    pub const fn read_back(&self, at: u32) -> Fault {
        Fault::new(self.part, at, FaultKind::ReadBack)
    }

    /// Programs `bytes` (whole program units) into erased flash and reads them
    /// back into `back`, which is as long.
    #[inline(never)]
    pub fn program<H: Hooks + ?Sized>(
        &mut self,
        at: u32,
        bytes: &[u8],
        back: &mut [u8],
        hooks: &mut H,
    ) -> Result<(), Fault> {
        if !is_blank(bytes) {
            self.write(at, bytes, hooks)?;
        }
        self.read(at, back)?;
        if bytes == back {
            Ok(())
        } else {
            Err(self.read_back(at))
        }
    }
}

#[inline(never)]
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}

/// Active or update slot by name.
#[inline(always)]
fn pick<'s, P>(slots: &'s mut (&mut Place<P>, &mut Place<P>), part: Part) -> &'s mut Place<P> {
    match part {
        Part::Active => slots.0,
        _ => slots.1,
    }
}

/// Erases the sector at `to_at` of one slot and copies the one at `from_at` of
/// one slot there. Tried a second time when it does not read back.
#[inline(always)]
pub(crate) fn copy_sector<P: NorFlash, H: Hooks>(
    mut slots: (&mut Place<P>, &mut Place<P>),
    (from, from_at): (Part, u32),
    (to, to_at): (Part, u32),
    pieces: &mut Pieces<'_>,
    hooks: &mut H,
) -> Result<(), Fault> {
    let mut again = true;
    let mut at = 0;
    while at < P::ERASE_SIZE as u32 {
        if at == 0 && !taken_as_erased(pick(&mut slots, to), to_at, pieces)? {
            pick(&mut slots, to).erase(to_at, hooks)?;
        }
        let (a, b) = pieces.cut(P::ERASE_SIZE as u32 - at);
        pick(&mut slots, from).read(from_at.saturating_add(at), a)?;
        let done = pick(&mut slots, to).program(to_at.saturating_add(at), a, b, hooks);
        at += a.len() as u32;
        if let Err(f) = done {
            if f.kind() != FaultKind::ReadBack || !again {
                return done;
            }
            again = false;
            at = 0;
        }
    }
    Ok(())
}

/// The planted bug of that name: blank is taken for erased.
fn taken_as_erased<P: NorFlash>(
    to: &mut Place<P>,
    to_at: u32,
    pieces: &mut Pieces<'_>,
) -> Result<bool, Fault> {
    if !bugs::has(Bug::BlankIsEvidence) {
        return Ok(false);
    }
    let mut at = 0;
    while at < P::ERASE_SIZE as u32 {
        let (a, _) = pieces.cut(P::ERASE_SIZE as u32 - at);
        to.read(to_at.saturating_add(at), a)?;
        if !is_blank(a) {
            return Ok(false);
        }
        at += a.len() as u32;
    }
    Ok(true)
}

/// Whether the sectors at `at` of `a` and of `b` hold the same.
#[inline(always)]
pub(crate) fn same_sector<P: NorFlash>(
    a: &mut Place<P>,
    b: &mut Place<P>,
    mut at: u32,
    pieces: &mut Pieces<'_>,
) -> Result<bool, Fault> {
    let end = at.saturating_add(P::ERASE_SIZE as u32);
    while at < end {
        let (x, y) = pieces.cut(end - at);
        a.read(at, x)?;
        b.read(at, y)?;
        if x != y {
            return Ok(false);
        }
        at += x.len() as u32;
    }
    Ok(true)
}
