//! Decoding, one slice at a time.

use super::{DICT, Error, HEADER_LEN, SectionHeader, Stream, number};
use crate::xz::{XzCore, XzError};
use ota_verify::ReadAt;
use ota_verify::crc16_xmodem;

/// Input window of a stream: at least one LZMA symbol and the container's longest part.
const WINDOW: usize = 128;

struct StreamState {
    core: XzCore,
    dict: [u8; DICT],
    window: [u8; WINDOW],
    have: u8,
    /// Where the next patch byte for the window is, and how many there are.
    next: u32,
    left: u32,
}

impl StreamState {
    const fn new() -> Self {
        StreamState {
            core: XzCore::new(),
            dict: [0; DICT],
            window: [0; WINDOW],
            have: 0,
            next: 0,
            left: 0,
        }
    }

    fn begin(&mut self, offset: u32, len: u32) {
        self.core.restart();
        self.have = 0;
        self.next = offset;
        self.left = len;
    }

    /// Fills `out` as far as the stream goes; returns how far.
    #[inline(never)]
    fn fill(
        &mut self,
        patch: &mut dyn ReadAt,
        out: &mut [u8],
        which: Stream,
    ) -> Result<usize, Error> {
        let mut made = 0;
        loop {
            let have = self.have as usize;
            let gap = self.window.get_mut(have..).unwrap_or(&mut []);
            let add = gap.len().min(self.left as usize);
            if add != 0 {
                patch.read_at(self.next, gap.get_mut(..add).unwrap_or(&mut []))?;
                self.next += add as u32;
                self.left -= add as u32;
            }
            let shown = self.window.get(..have + add).unwrap_or(&[]);
            let room = out.get_mut(made..).unwrap_or(&mut []);
            let (used, got) = self
                .core
                .decode(&mut self.dict, shown, room)
                .map_err(|e| Error::Xz(which, e))?;
            made += got;
            self.window.copy_within(used..have + add, 0);
            self.have = (have + add - used) as u8;
            if used | got | add == 0 || made == out.len() && !out.is_empty() {
                return Ok(made);
            }
        }
    }

    fn fill_all(
        &mut self,
        patch: &mut dyn ReadAt,
        out: &mut [u8],
        which: Stream,
    ) -> Result<(), Error> {
        if self.fill(patch, out, which)? == out.len() {
            Ok(())
        } else if self.core.done() {
            // The control data asks for more than the stream has.
            Err(Error::Control)
        } else {
            Err(Error::Xz(which, XzError::Truncated))
        }
    }

    /// The stream must now be at its end, footer and all, with nothing behind it.
    fn finish(
        &mut self,
        patch: &mut dyn ReadAt,
        which: Stream,
        may_be_absent: bool,
    ) -> Result<(), Error> {
        if may_be_absent && self.have == 0 && self.left == 0 && !self.core.done() {
            return Ok(());
        }
        let mut more = [0];
        if self.fill(patch, &mut more, which)? != 0 {
            return Err(Error::Surplus(which));
        }
        if !self.core.done() {
            return Err(Error::Xz(which, XzError::Truncated));
        }
        if self.have != 0 || self.left != 0 {
            return Err(Error::Xz(which, XzError::Trailing));
        }
        Ok(())
    }
}

/// Everything a [`SliceDecoder`] needs besides its caller's output buffer: three LZMA2
/// decoders with 16 KiB dictionaries, about 98 KiB. Build it once, in a `static` or in
/// memory not otherwise used while patching.
pub struct Workspace {
    control: StreamState,
    diff: StreamState,
    extra: StreamState,
}

impl Workspace {
    /// Usable at once.
    pub const fn new() -> Self {
        Workspace {
            control: StreamState::new(),
            diff: StreamState::new(),
            extra: StreamState::new(),
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
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
        at += header.section_len().unwrap_or(0);
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
    if header.section_len().is_none_or(|len| len > room) {
        return Err(Error::Truncated);
    }
    Ok(header)
}

/// Rebuilds one slice, in pieces of any size.
pub struct SliceDecoder<'w> {
    ws: &'w mut Workspace,
    header: SectionHeader,
    old_len: u32,
    old_pos: i32,
    /// Left of the present triple.
    add: u32,
    copy: u32,
    seek: i32,
    made: u32,
    crc: u16,
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
        ws.control.begin(at, header.control_len);
        at += header.control_len;
        ws.diff.begin(at, header.diff_len);
        at += header.diff_len;
        ws.extra.begin(at, header.extra_len);
        let old_len = old_len.min(i32::MAX as u32);
        Ok(SliceDecoder {
            ws,
            header,
            old_len,
            old_pos: 0,
            add: 0,
            copy: 0,
            seek: 0,
            made: 0,
            crc: 0,
        })
    }

    /// The section's header.
    pub fn header(&self) -> &SectionHeader {
        &self.header
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
        let mut done = 0;
        while done < out.len() && self.made < self.header.new_len {
            let room = out.get_mut(done..).unwrap_or(&mut []);
            let n;
            if self.add != 0 {
                n = room.len().min(self.add as usize).min(256);
                let piece = room.get_mut(..n).unwrap_or(&mut []);
                let mut before = [0; 256];
                let before = before.get_mut(..n).unwrap_or(&mut []);
                self.ws.diff.fill_all(patch, piece, Stream::Diff)?;
                old.read_at(self.old_pos as u32, before)
                    .map_err(|_| Error::OldIo)?;
                for (p, b) in piece.iter_mut().zip(before) {
                    *p = p.wrapping_add(*b);
                }
                self.old_pos += n as i32;
                self.add -= n as u32;
            } else if self.copy != 0 {
                n = room.len().min(self.copy as usize);
                let piece = room.get_mut(..n).unwrap_or(&mut []);
                self.ws.extra.fill_all(patch, piece, Stream::Extra)?;
                self.copy -= n as u32;
            } else {
                self.triple(patch)?;
                continue;
            }
            self.crc = crc16_xmodem(self.crc, room.get(..n).unwrap_or(&[]));
            done += n;
            self.made += n as u32;
            if self.made == self.header.new_len {
                self.finish(patch)?;
            }
        }
        Ok(done)
    }

    fn triple(&mut self, patch: &mut dyn ReadAt) -> Result<(), Error> {
        // The move of the last triple happens now: at the end of a slice it may point
        // anywhere, as nothing is read after it.
        self.old_pos = self.old_pos.checked_add(self.seek).ok_or(Error::Control)?;
        let mut bytes = [0; 24];
        self.ws
            .control
            .fill_all(patch, &mut bytes, Stream::Control)?;
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
        // (0, 0, z) twice in a row could go on for ever.
        if add == 0 && copy == 0 && seek == 0 {
            return Err(Error::Control);
        }
        self.add = add as u32;
        self.copy = copy as u32;
        self.seek = seek;
        Ok(())
    }

    fn finish(&mut self, patch: &mut dyn ReadAt) -> Result<(), Error> {
        self.ws.control.finish(patch, Stream::Control, false)?;
        self.ws.diff.finish(patch, Stream::Diff, true)?;
        self.ws.extra.finish(patch, Stream::Extra, true)?;
        if self.crc == self.header.crc {
            Ok(())
        } else {
            Err(Error::Crc)
        }
    }
}
