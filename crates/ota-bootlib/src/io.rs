//! Copying and comparing sectors.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::fault::{Fault, FaultKind, Part};

/// A partition together with what it is called in a [`Fault`].
pub(crate) struct Place<'a, P> {
    pub part: Part,
    pub flash: &'a mut P,
}

impl<P: NorFlash> Place<'_, P> {
    pub fn read(&mut self, at: u32, buf: &mut [u8]) -> Result<(), Fault> {
        self.flash
            .read(at, buf)
            .map_err(|e| Fault::from_driver(self.part, at, &e))
    }

    pub fn erase(&mut self, at: u32, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        hooks.tick();
        self.flash
            .erase(at, at.saturating_add(P::ERASE_SIZE as u32))
            .map_err(|e| Fault::from_driver(self.part, at, &e))
    }

    fn write(&mut self, at: u32, bytes: &[u8], hooks: &mut dyn Hooks) -> Result<(), Fault> {
        hooks.tick();
        self.flash
            .write(at, bytes)
            .map_err(|e| Fault::from_driver(self.part, at, &e))
    }

    /// Programs `bytes` (whole program units) into erased flash and reads them back.
    pub fn program(&mut self, at: u32, bytes: &[u8], hooks: &mut dyn Hooks) -> Result<(), Fault> {
        if !is_blank(bytes) {
            self.write(at, bytes, hooks)?;
        }
        let mut offset = at;
        for piece in bytes.chunks(PIECE) {
            let mut back = [0; PIECE];
            let back = back.get_mut(..piece.len()).unwrap_or_default();
            self.read(offset, back)?;
            if back != piece {
                return Err(Fault {
                    part: self.part,
                    offset,
                    kind: FaultKind::ReadBack,
                });
            }
            offset = offset.saturating_add(PIECE as u32);
        }
        Ok(())
    }
}

/// Bytes compared at a time: a stack buffer, and a multiple of any `READ_SIZE` up to it.
const PIECE: usize = 64;

pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0xFF)
}

/// The usable part of a work buffer: whole program units and whole `PIECE`s,
/// so that a sector is a whole number of them or ends earlier.
pub(crate) fn chunk_len<P: NorFlash>(buf: &[u8]) -> u32 {
    let step = if P::WRITE_SIZE > PIECE {
        P::WRITE_SIZE
    } else {
        PIECE
    };
    (buf.len() - buf.len() % step) as u32
}

/// Erases sector `to_at` of `to` and copies sector `from_at` of `from` there.
/// Tried a second time when it does not read back.
pub(crate) fn copy_sector<P: NorFlash>(
    from: &mut Place<'_, P>,
    from_at: u32,
    to: &mut Place<'_, P>,
    to_at: u32,
    buf: &mut [u8],
    hooks: &mut dyn Hooks,
) -> Result<(), Fault> {
    match copy_once(from, from_at, to, to_at, buf, hooks) {
        Err(f) if f.kind == FaultKind::ReadBack => copy_once(from, from_at, to, to_at, buf, hooks),
        other => other,
    }
}

#[inline(never)]
fn copy_once<P: NorFlash>(
    from: &mut Place<'_, P>,
    from_at: u32,
    to: &mut Place<'_, P>,
    to_at: u32,
    buf: &mut [u8],
    hooks: &mut dyn Hooks,
) -> Result<(), Fault> {
    to.erase(to_at, hooks)?;
    let chunk = chunk_len::<P>(buf);
    let sector = P::ERASE_SIZE as u32;
    let mut at = 0;
    while at < sector {
        let n = chunk.min(sector - at) as usize;
        let piece = buf.get_mut(..n).unwrap_or_default();
        if piece.is_empty() {
            return Err(Fault {
                part: to.part,
                offset: 0,
                kind: FaultKind::Geometry,
            });
        }
        from.read(from_at.saturating_add(at), piece)?;
        to.program(to_at.saturating_add(at), piece, hooks)?;
        at += n as u32;
    }
    Ok(())
}

/// Whether sector `a_at` of `a` and sector `b_at` of `b` hold the same.
pub(crate) fn same_sector<P: NorFlash>(
    a: &mut Place<'_, P>,
    a_at: u32,
    b: &mut Place<'_, P>,
    b_at: u32,
    hooks: &mut dyn Hooks,
) -> Result<bool, Fault> {
    hooks.tick();
    let sector = P::ERASE_SIZE as u32;
    let mut at = 0;
    while at < sector {
        let n = (PIECE as u32).min(sector - at) as usize;
        let (mut x, mut y) = ([0; PIECE], [0; PIECE]);
        let (x, y) = (
            x.get_mut(..n).unwrap_or_default(),
            y.get_mut(..n).unwrap_or_default(),
        );
        a.read(a_at.saturating_add(at), x)?;
        b.read(b_at.saturating_add(at), y)?;
        if x != y {
            return Ok(false);
        }
        at += n as u32;
    }
    Ok(true)
}
