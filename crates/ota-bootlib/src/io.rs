//! Reading, copying and comparing sectors.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, FaultKind, Part};

/// A partition together with what it is called in a [`Fault`].
pub(crate) struct Place<'a, P> {
    pub part: Part,
    pub flash: &'a mut P,
}

/// The work buffer as two equal pieces of whole program units.
pub(crate) struct Pieces<'a> {
    pub a: &'a mut [u8],
    pub b: &'a mut [u8],
}

impl<'a> Pieces<'a> {
    /// `None`: too short for two program units.
    pub fn new<P: NorFlash>(buf: &'a mut [u8]) -> Option<Self> {
        let half = buf.len().min(2 * P::ERASE_SIZE) / 2;
        let len = half - half % P::WRITE_SIZE.max(P::READ_SIZE);
        let (a, rest) = buf.split_at_mut_checked(len)?;
        let b = rest.get_mut(..len)?;
        (len != 0).then_some(Self { a, b })
    }

    /// Shortens the pieces to what is left of a sector at `at`.
    fn cut(&mut self, left: u32) -> (&mut [u8], &mut [u8]) {
        let n = self.a.len().min(left as usize);
        (
            self.a.get_mut(..n).unwrap_or_default(),
            self.b.get_mut(..n).unwrap_or_default(),
        )
    }
}

impl<P: NorFlash> Place<'_, P> {
    #[inline(never)]
    pub fn read(&mut self, at: u32, buf: &mut [u8]) -> Result<(), Fault> {
        match self.flash.read(at, buf) {
            Ok(()) => Ok(()),
            Err(e) => Err(Fault::from_driver(self.part, at, &e)),
        }
    }

    #[inline(never)]
    pub fn erase<H: Hooks>(&mut self, at: u32, hooks: &mut H) -> Result<(), Fault> {
        hooks.tick();
        match self
            .flash
            .erase(at, at.saturating_add(P::ERASE_SIZE as u32))
        {
            Ok(()) => Ok(()),
            Err(e) => Err(Fault::from_driver(self.part, at, &e)),
        }
    }

    /// Programs `bytes` (whole program units) into erased flash and reads them
    /// back into `back`, which is as long.
    #[inline(never)]
    pub fn program<H: Hooks>(
        &mut self,
        at: u32,
        bytes: &[u8],
        back: &mut [u8],
        hooks: &mut H,
    ) -> Result<(), Fault> {
        if !is_blank(bytes) {
            hooks.tick();
            if let Err(e) = self.flash.write(at, bytes) {
                return Err(Fault::from_driver(self.part, at, &e));
            }
        }
        self.read(at, back)?;
        if bytes == back {
            Ok(())
        } else {
            Err(Fault::new(self.part, at, FaultKind::ReadBack))
        }
    }
}

pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}

/// Erases the sector at `to_at` of `to` (`None`: of `from` too) and copies the
/// one at `from_at` of `from` there. Tried a second time when it does not read back.
#[inline(never)]
pub(crate) fn copy_sector<P: NorFlash, H: Hooks>(
    from: &mut Place<'_, P>,
    from_at: u32,
    mut to: Option<&mut Place<'_, P>>,
    to_at: u32,
    pieces: &mut Pieces<'_>,
    hooks: &mut H,
) -> Result<(), Fault> {
    let mut again = true;
    let mut at = 0;
    while at < P::ERASE_SIZE as u32 {
        if at == 0 && !taken_as_erased(to.as_deref_mut(), to_at, pieces)? {
            match &mut to {
                Some(to) => to.erase(to_at, hooks)?,
                None => from.erase(to_at, hooks)?,
            }
        }
        let (a, b) = pieces.cut(P::ERASE_SIZE as u32 - at);
        from.read(from_at.saturating_add(at), a)?;
        let at_to = to_at.saturating_add(at);
        let done = match &mut to {
            Some(to) => to.program(at_to, a, b, hooks),
            None => from.program(at_to, a, b, hooks),
        };
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
    to: Option<&mut Place<'_, P>>,
    to_at: u32,
    pieces: &mut Pieces<'_>,
) -> Result<bool, Fault> {
    if !bugs::has(Bug::BlankIsEvidence) {
        return Ok(false);
    }
    let Some(to) = to else { return Ok(false) };
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
#[inline(never)]
pub(crate) fn same_sector<P: NorFlash>(
    a: &mut Place<'_, P>,
    b: &mut Place<'_, P>,
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
