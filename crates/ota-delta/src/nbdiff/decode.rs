//! Decoding, one slice at a time.

use super::{DICT, Error, HEADER_LEN, SectionHeader, Stream, number};
use crate::xz::{Xz, XzError};
use ota_verify::{ReadAt, crc16_xmodem};

/// One of a section's streams.
struct Source {
    xz: Xz<DICT>,
    /// Its bytes in the patch; where the next one is, and how many there are.
    len: u32,
    next: u32,
    left: u32,
}

impl Source {
    const fn new() -> Self {
        Source {
            xz: Xz::new(),
            len: 0,
            next: 0,
            left: 0,
        }
    }

    /// Fills `out` as far as the stream goes; whether it went far enough.
    #[inline(never)]
    fn fill(
        &mut self,
        patch: &mut dyn ReadAt,
        out: &mut [u8],
        which: Stream,
    ) -> Result<bool, Error> {
        let mut made = 0;
        loop {
            if self.left != 0 && self.xz.in_sight() < Xz::<DICT>::ENOUGH {
                let space = self.xz.space();
                let n = space.len().min(self.left as usize);
                patch.read_at(self.next, space.get_mut(..n).unwrap_or(&mut []))?;
                self.xz.added(n as u32);
                self.next += n as u32;
                self.left -= n as u32;
            }
            let room = out.get_mut(made..).unwrap_or(&mut []);
            let got = self.xz.decode(room).map_err(|e| Error::Xz(which, e))?;
            made += got;
            if made == out.len() {
                return Ok(true);
            }
            if got == 0 && (self.left == 0 || self.xz.in_sight() >= Xz::<DICT>::ENOUGH) {
                return if self.xz.done() {
                    Ok(false)
                } else {
                    Err(Error::Xz(which, XzError::Truncated))
                };
            }
        }
    }
}

/// Everything a [`SliceDecoder`] needs besides its caller's output buffer: three LZMA2
/// decoders with 16 KiB dictionaries, about 96 KiB. Build it once, in a `static` (all
/// zeros: it takes no flash) or in memory not otherwise used while patching.
pub struct Workspace {
    streams: Streams,
    slice: Slice,
}

/// How far a slice is.
struct Slice {
    header: SectionHeader,
    old_len: u32,
    old_pos: i32,
    /// Left of the present triple.
    add: u32,
    copy: u32,
    seek: i32,
    /// Triples that made nothing.
    idle: u32,
    made: u32,
    crc: u16,
}

impl Slice {
    const fn new(header: SectionHeader, old_len: u32) -> Self {
        Slice {
            header,
            old_len,
            old_pos: 0,
            add: 0,
            copy: 0,
            seek: 0,
            idle: 0,
            made: 0,
            crc: 0,
        }
    }

    /// Takes the next triple.
    fn triple(&mut self, streams: &mut Streams, patch: &mut dyn ReadAt) -> Result<(), Error> {
        // The move of the last triple happens now: at the end of a slice it may point
        // anywhere, as nothing is read after it.
        self.old_pos = self.old_pos.checked_add(self.seek).ok_or(Error::Control)?;
        let mut bytes = [0; 24];
        streams.fill(patch, &mut bytes, Stream::Control)?;
        let mut v = [0i32; 3];
        let (words, _) = bytes.as_chunks::<8>();
        for (slot, w) in v.iter_mut().zip(words) {
            *slot = number(w).ok_or(Error::Control)?;
        }
        let [add, copy, seek] = v;
        let left = (self.header.new_len - self.made) as i32;
        if add < 0 || copy < 0 || add > left || copy > left - add {
            return Err(Error::Control);
        }
        // Reads lie inside the old image, as does the position they start from.
        let end = self.old_pos.checked_add(add).ok_or(Error::Control)?;
        if add != 0 && (self.old_pos < 0 || end > self.old_len as i32) {
            return Err(Error::Control);
        }
        // An encoder looks at another byte of the slice for each triple, so there are no
        // more of them that only move than bytes; else they could go on for hours.
        if add | copy == 0 {
            self.idle += 1;
            if self.idle > self.header.new_len {
                return Err(Error::Control);
            }
        }
        self.add = add as u32;
        self.copy = copy as u32;
        self.seek = seek;
        Ok(())
    }
}

impl Workspace {
    /// Usable at once.
    pub const fn new() -> Self {
        Workspace {
            streams: Streams([Source::new(), Source::new(), Source::new()]),
            slice: Slice::new(SectionHeader::NONE, 0),
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// Control data, differences and new bytes.
struct Streams([Source; 3]);

impl Streams {
    /// Fills `out` from a stream.
    fn fill(&mut self, patch: &mut dyn ReadAt, out: &mut [u8], which: Stream) -> Result<(), Error> {
        let Some(source) = self.0.get_mut(which as usize) else {
            return Ok(());
        };
        if source.fill(patch, out, which)? {
            Ok(())
        } else {
            // The control data asks for more than the stream has.
            Err(Error::Control)
        }
    }

    /// The streams must now be at their ends, footer and all, with nothing behind.
    fn finish(&mut self, patch: &mut dyn ReadAt) -> Result<(), Error> {
        let mut which = Stream::Control;
        for s in &mut self.0 {
            // Nothing at all does as well as an empty stream.
            if s.len != 0 || which == Stream::Control {
                if s.fill(patch, &mut [0], which)? {
                    return Err(Error::Surplus(which));
                }
                if s.left as usize + s.xz.in_sight() != 0 {
                    return Err(Error::Xz(which, XzError::Trailing));
                }
            }
            which = if which == Stream::Control {
                Stream::Diff
            } else {
                Stream::Extra
            };
        }
        Ok(())
    }
}

/// Where a slice and its section lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceInfo {
    /// Number of the slice, from 0.
    pub index: u32,
    /// First byte of its section in the patch.
    pub section_offset: u32,
    /// First byte of the slice in the new image.
    pub new_offset: u32,
    /// Its header.
    pub header: SectionHeader,
}

/// Walks all section headers without decoding and hands each to `visit`; returns the
/// length of the new image. Checks that the patch ends where its last section ends and
/// that every section but the last fills a slice.
///
/// # Errors
/// The first [`Error`] found, in a header or from `visit`.
pub fn scan(
    patch: &mut dyn ReadAt,
    patch_len: u32,
    slice: u32,
    visit: &mut dyn FnMut(&SliceInfo) -> Result<(), Error>,
) -> Result<u32, Error> {
    let (mut at, mut index, mut new_offset) = (0u32, 0u32, 0u32);
    while at < patch_len {
        let header = read_header(patch, at, patch_len, slice)?;
        let info = SliceInfo {
            index,
            section_offset: at,
            new_offset,
            header,
        };
        visit(&info)?;
        at += header.section_len();
        if header.new_len < slice && at < patch_len {
            return Err(Error::SliceLength);
        }
        new_offset = new_offset
            .checked_add(header.new_len)
            .ok_or(Error::SliceLength)?;
        index += 1;
    }
    if at == 0 {
        Err(Error::Truncated)
    } else {
        Ok(new_offset)
    }
}

fn read_header(
    patch: &mut dyn ReadAt,
    at: u32,
    patch_len: u32,
    slice: u32,
) -> Result<SectionHeader, Error> {
    let room = patch_len.checked_sub(at).ok_or(Error::Truncated)?;
    if room < HEADER_LEN as u32 {
        return Err(Error::Truncated);
    }
    let mut bytes = [0; HEADER_LEN];
    patch.read_at(at, &mut bytes)?;
    let header = SectionHeader::parse(&bytes, slice)?;
    if header.section_len() > room {
        return Err(Error::Truncated);
    }
    Ok(header)
}

/// Rebuilds one slice, in pieces of any size. All its state is in its workspace.
pub struct SliceDecoder<'w> {
    ws: &'w mut Workspace,
}

impl<'w> SliceDecoder<'w> {
    /// Reads the section header at `section_offset`. `old_len` is the number of bytes
    /// that may be read from the old view (usually the partition's length).
    ///
    /// # Errors
    /// What is wrong with the header, or [`Error::PatchIo`].
    pub fn begin(
        ws: &'w mut Workspace,
        patch: &mut dyn ReadAt,
        section_offset: u32,
        patch_len: u32,
        slice: u32,
        old_len: u32,
    ) -> Result<Self, Error> {
        let header = read_header(patch, section_offset, patch_len, slice)?;
        let mut at = section_offset + HEADER_LEN as u32;
        let lens = [header.control_len, header.diff_len, header.extra_len];
        for (source, len) in ws.streams.0.iter_mut().zip(lens) {
            source.xz.restart();
            source.next = at;
            source.left = len;
            source.len = len;
            at += len;
        }
        ws.slice = Slice::new(header, old_len.min(i32::MAX as u32));
        Ok(SliceDecoder { ws })
    }

    /// Goes on with the slice that was begun last in `ws`; in one that is new there
    /// is nothing to do.
    pub fn resume(ws: &'w mut Workspace) -> Self {
        SliceDecoder { ws }
    }

    /// The section's header.
    pub fn header(&self) -> &SectionHeader {
        &self.ws.slice.header
    }

    /// Fills `out` with the next bytes of the slice; less only at its end, when all
    /// checks have been made. `old` is the view `new[..k*S] ++ old[k*S..]` (see
    /// [`Spliced`](crate::io::Spliced)).
    ///
    /// # Errors
    /// Any [`Error`]; the slice must then be given up.
    pub fn read(
        &mut self,
        patch: &mut dyn ReadAt,
        old: &mut dyn ReadAt,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let Workspace { streams, slice } = &mut *self.ws;
        let mut done = 0;
        while done < out.len() && slice.made < slice.header.new_len {
            let room = out.get_mut(done..).unwrap_or(&mut []);
            let n;
            if slice.add != 0 {
                n = room.len().min(slice.add as usize).min(256);
                let piece = room.get_mut(..n).unwrap_or(&mut []);
                let mut before = [0; 256];
                let before = before.get_mut(..n).unwrap_or(&mut []);
                streams.fill(patch, piece, Stream::Diff)?;
                old.read_at(slice.old_pos as u32, before)
                    .map_err(|_| Error::OldIo)?;
                for (p, b) in piece.iter_mut().zip(before) {
                    *p = p.wrapping_add(*b);
                }
                slice.old_pos += n as i32;
                slice.add -= n as u32;
            } else if slice.copy != 0 {
                n = room.len().min(slice.copy as usize);
                let piece = room.get_mut(..n).unwrap_or(&mut []);
                streams.fill(patch, piece, Stream::Extra)?;
                slice.copy -= n as u32;
            } else {
                slice.triple(streams, patch)?;
                continue;
            }
            slice.crc = crc16_xmodem(slice.crc, room.get(..n).unwrap_or(&[]));
            done += n;
            slice.made += n as u32;
            if slice.made == slice.header.new_len {
                streams.finish(patch)?;
                if slice.crc != slice.header.crc {
                    return Err(Error::Crc);
                }
            }
        }
        Ok(done)
    }
}
