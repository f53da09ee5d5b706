//! Patches applied in memory, as a device applies them.

use ota_delta::{IoError, nbdiff, ptr};

/// Rebuilds the image slice by slice over the old one.
pub fn nbdiff(old: &[u8], patch: &[u8], slice: u32) -> Result<Vec<u8>, nbdiff::Error> {
    let len = patch.len() as u32;
    let mut slices = Vec::new();
    let new_len = nbdiff::scan(&mut &*patch, len, slice, &mut |s| {
        slices.push(*s);
        Ok(())
    })?;
    let mut room = Box::new(nbdiff::Workspace::new());
    let mut flash = old.to_vec();
    let mut made = vec![0; slice as usize];
    for s in slices {
        let mut from = patch;
        let mut decoder = nbdiff::SliceDecoder::begin(
            &mut room,
            &mut from,
            s.section_offset,
            len,
            slice,
            flash.len() as u32,
        )?;
        let n = decoder.read(&mut from, &mut &flash[..], &mut made)?;
        put(&mut flash, s.new_offset, &made[..n]);
    }
    flash.truncate(new_len as usize);
    Ok(flash)
}

/// Writes into flash that is as large as need be.
fn put(flash: &mut Vec<u8>, at: u32, data: &[u8]) {
    let at = at as usize;
    if flash.len() < at + data.len() {
        flash.resize(at + data.len(), 0xFF);
    }
    flash[at..at + data.len()].copy_from_slice(data);
}

fn fetch(from: &[u8], offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
    let at = offset as usize;
    buf.copy_from_slice(from.get(at..at + buf.len()).ok_or(IoError)?);
    Ok(())
}

/// Applies to another slot; the patch comes in pieces of `piece` bytes. The old image is
/// not checked against the header: that is the device's duty, and would hide what the
/// decoder does.
pub fn ptr(old: &[u8], patch: &[u8], piece: usize) -> Result<Vec<u8>, ptr::Error> {
    let mut memory = ptr::Memory::unchecked(old);
    memory.apply(patch, piece)?;
    Ok(memory.new)
}

/// Over the old image: a slice replaces it once `lag` newer ones are complete.
struct InPlace {
    flash: Vec<u8>,
    staged: Vec<(u32, Vec<u8>)>,
    lag: usize,
    new_len: usize,
}

impl InPlace {
    fn commit(&mut self) {
        let (slice, data) = self.staged.remove(0);
        put(&mut self.flash, slice * ptr::SLICE, &data);
    }
}

impl ptr::Target for InPlace {
    fn begin(&mut self, header: &ptr::Header) -> Result<(), IoError> {
        self.lag = header.lag.into();
        self.new_len = header.new_len as usize;
        // 0 stands for a patch that needs the old image to the end.
        if self.lag == 0 { Err(IoError) } else { Ok(()) }
    }
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(&self.flash, offset, buf)
    }
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        for (at, byte) in (offset..).zip(buf) {
            let staged = self.staged.iter().find(|(s, _)| *s == at / ptr::SLICE);
            let (from, at) = match staged {
                Some((_, data)) => (data, at % ptr::SLICE),
                None => (&self.flash, at),
            };
            *byte = *from.get(at as usize).ok_or(IoError)?;
        }
        Ok(())
    }
    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let slice = offset / ptr::SLICE;
        if self.staged.last().is_none_or(|(last, _)| *last != slice) {
            if self.staged.len() > self.lag {
                self.commit();
            }
            self.staged.push((slice, Vec::new()));
        }
        let (_, staged) = self.staged.last_mut().ok_or(IoError)?;
        staged.extend_from_slice(data);
        Ok(())
    }
}

/// Applies over the old image, holding back as many slices as the patch says.
pub fn ptr_in_place(old: &[u8], patch: &[u8], piece: usize) -> Result<Vec<u8>, ptr::Error> {
    let mut target = InPlace {
        flash: old.to_vec(),
        staged: Vec::new(),
        lag: 0,
        new_len: 0,
    };
    let mut decoder = Box::new(ptr::Decoder::new());
    for part in patch.chunks(piece.max(1)) {
        decoder.push(&mut target, part)?;
    }
    decoder.finish()?;
    while !target.staged.is_empty() {
        target.commit();
    }
    target.flash.truncate(target.new_len);
    Ok(target.flash)
}
