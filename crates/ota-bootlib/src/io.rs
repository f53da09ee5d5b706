//! Reading, copying and comparing sectors.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, FaultKind, Part};

/// A partition together with what it is called in a [`Fault`].
pub(crate) struct Place<P> {
    part: Part,
    /// Where the operation in hand is. Kept here because what is written through a
    /// reference is not taken apart by the compiler, which else hands over each
    /// field by itself: more arguments than there are registers.
    at: u32,
    pub flash: P,
}

impl<P> Place<P> {
    pub const fn new(part: Part, flash: P) -> Self {
        Self { part, at: 0, flash }
    }
}

/// The work buffer as two equal pieces of whole program units, whose multiple a
/// sector is.
pub(crate) struct Pieces<'a> {
    pub a: &'a mut [u8],
    pub b: &'a mut [u8],
}

impl<'a> Pieces<'a> {
    /// Too short for two program units: all of it in `a`, for reading.
    pub fn new<P: NorFlash>(buf: &'a mut [u8]) -> Self {
        let unit = P::WRITE_SIZE.max(P::READ_SIZE);
        let mut len = P::ERASE_SIZE;
        while len > buf.len() / 2 {
            // A half of what there was, or where that would be none, one unit.
            let whole = len.is_multiple_of(2 * unit);
            len = if whole { len / 2 } else { unit };
            if len == unit {
                break;
            }
        }
        if len > buf.len() / 2 {
            return Self { a: buf, b: &mut [] };
        }
        let (a, rest) = buf.split_at_mut_checked(len).unwrap_or_default();
        let b = rest.get_mut(..len).unwrap_or_default();
        Self { a, b }
    }
}

impl<P: NorFlash> Place<P> {
    #[inline(always)]
    fn done(&self, result: Result<(), P::Error>) -> Result<(), Fault> {
        match result {
            Ok(()) => Ok(()),
            Err(e) => Err(Fault::from_driver(self.part, self.at, &e)),
        }
    }

    #[inline(never)]
    pub fn read(&mut self, at: u32, buf: &mut [u8]) -> Result<(), Fault> {
        self.at = at;
        let result = self.flash.read(at, buf);
        self.done(result)
    }

    #[inline(never)]
    pub fn erase<H: Hooks + ?Sized>(&mut self, at: u32, hooks: &mut H) -> Result<(), Fault> {
        hooks.tick();
        let end = at.wrapping_add(P::ERASE_SIZE as u32);
        self.at = at;
        let result = self.flash.erase(at, end);
        self.done(result)
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
        self.at = at;
        let result = self.flash.write(at, bytes);
        self.done(result)
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
            Err(Fault::new(self.part, self.at, FaultKind::ReadBack))
        }
    }
}

#[inline(never)]
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}

/// Erases the sector at `to_at` of `to` and copies the one at `from_at` of `from`
/// there; of `to` itself, where `from` is none. Tried a second time when it does not
/// read back.
#[inline(always)]
pub(crate) fn copy_sector<P: NorFlash, H: Hooks>(
    (mut from, from_at): (Option<&mut Place<P>>, u32),
    (to, to_at): (&mut Place<P>, u32),
    pieces: &mut Pieces<'_>,
    hooks: &mut H,
) -> Result<(), Fault> {
    let mut again = true;
    let mut at = 0;
    while at < P::ERASE_SIZE as u32 {
        if at == 0 && !taken_as_erased(to, to_at, pieces)? {
            to.erase(to_at, hooks)?;
        }
        let source = from.as_deref_mut().unwrap_or(to);
        source.read(from_at.wrapping_add(at), pieces.a)?;
        let done = to.program(to_at.wrapping_add(at), pieces.a, pieces.b, hooks);
        at += pieces.a.len() as u32;
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
        to.read(to_at.saturating_add(at), pieces.a)?;
        if !is_blank(pieces.a) {
            return Ok(false);
        }
        at += pieces.a.len() as u32;
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
    let end = at.wrapping_add(P::ERASE_SIZE as u32);
    while at < end {
        a.read(at, pieces.a)?;
        b.read(at, pieces.b)?;
        if pieces.a != pieces.b {
            return Ok(false);
        }
        at += pieces.a.len() as u32;
    }
    Ok(true)
}
