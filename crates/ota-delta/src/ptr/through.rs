//! The images as the decoder sees them: small caches, output in blocks, line CRCs.

use super::engine::Env;
use super::lines::{Lines, line_crc};
use super::{BLOCK, Error, Target};
use ota_verify::Crc32;

const OLD_CACHE: u32 = 64;
const NEW_CACHE: u32 = 32;

/// What goes through the decoder's hands besides the patch.
pub(super) struct Io {
    pub old_lines: Lines,
    pub new_lines: Lines,
    /// Decoded old bytes from `old_at` on.
    pub old: [u8; OLD_CACHE as usize],
    pub old_at: u32,
    pub old_have: u32,
    pub old_len: u32,
    /// New bytes read back, in decoded positions.
    pub new: [u8; NEW_CACHE as usize],
    pub new_at: u32,
    pub new_have: u32,
    /// Output not yet handed on: stored bytes `[flushed, flushed + fill)`.
    pub block: [u8; BLOCK],
    pub fill: usize,
    pub flushed: u32,
    /// Decoded bytes put so far, counted where there are lines.
    pub put: u32,
    pub line: u16,
    pub crc: Crc32,
    pub old_failed: bool,
    pub new_failed: bool,
}

impl Io {
    pub const fn new() -> Self {
        Io {
            old_lines: Lines { start: 0, count: 0 },
            new_lines: Lines { start: 0, count: 0 },
            old: [0; OLD_CACHE as usize],
            old_at: 0,
            old_have: 0,
            old_len: 0,
            new: [0; NEW_CACHE as usize],
            new_at: 0,
            new_have: 0,
            block: [0; BLOCK],
            fill: 0,
            flushed: 0,
            put: 0,
            line: 0,
            crc: Crc32::new(),
            old_failed: false,
            new_failed: false,
        }
    }

    /// What went wrong since the last time.
    pub fn check(&mut self) -> Result<(), Error> {
        if core::mem::take(&mut self.old_failed) {
            Err(Error::OldIo)
        } else if core::mem::take(&mut self.new_failed) {
            Err(Error::NewIo)
        } else {
            Ok(())
        }
    }
}

pub(super) struct Through<'a> {
    pub io: &'a mut Io,
    pub target: &'a mut dyn Target,
}

impl Through<'_> {
    #[inline(never)]
    fn load_old(&mut self, at: u32) -> u8 {
        let io = &mut *self.io;
        let start = at & !(OLD_CACHE - 1);
        let want = OLD_CACHE.min(io.old_len.saturating_sub(start));
        let mut have = 0;
        while have < want {
            let n = io.old_lines.run(start + have, want - have);
            let room = io
                .old
                .get_mut(have as usize..(have + n) as usize)
                .unwrap_or(&mut []);
            if self
                .target
                .read_old(io.old_lines.stored(start + have), room)
                .is_err()
            {
                io.old_failed = true;
                io.old_have = 0;
                return 0;
            }
            have += n;
        }
        io.old_at = start;
        io.old_have = have;
        io.old.get((at - start) as usize).copied().unwrap_or(0)
    }

    /// New byte `at`, which has been put.
    #[inline(never)]
    fn load_new(&mut self, at: u32) -> u8 {
        let io = &mut *self.io;
        let stored = io.new_lines.stored(at);
        if stored >= io.flushed {
            return io
                .block
                .get((stored - io.flushed) as usize)
                .copied()
                .unwrap_or(0);
        }
        // From where a unit of flash begins, or a run of bytes without line CRCs.
        let back = (stored % NEW_CACHE).min(io.new_lines.back(at));
        let start = stored - back;
        let run = io.new_lines.run(at, NEW_CACHE);
        let want = (NEW_CACHE - stored % NEW_CACHE).min(run) + back;
        let want = want.min(io.flushed - start);
        let room = io.new.get_mut(..want as usize).unwrap_or(&mut []);
        if self.target.read_new(start, room).is_err() {
            io.new_failed = true;
            io.new_have = 0;
            return 0;
        }
        io.new_at = at - back;
        io.new_have = want;
        io.new.get(back as usize).copied().unwrap_or(0)
    }

    #[inline]
    fn emit(&mut self, b: u8) {
        let io = &mut *self.io;
        if let Some(slot) = io.block.get_mut(io.fill) {
            *slot = b;
        }
        io.fill += 1;
        if io.fill == BLOCK {
            self.flush();
        }
    }

    #[inline(never)]
    pub fn flush(&mut self) {
        let io = &mut *self.io;
        let data = io.block.get(..io.fill).unwrap_or(&[]);
        io.crc.update(data);
        if !data.is_empty() && self.target.write_new(io.flushed, data).is_err() {
            io.new_failed = true;
        }
        io.flushed += io.fill as u32;
        io.fill = 0;
    }

    /// Writes the CRC bytes that come before stored position `upto`.
    pub fn line_ends(&mut self, upto: u32) {
        loop {
            let at = self.io.flushed + self.io.fill as u32;
            if at >= upto {
                return;
            }
            let [hi, lo] = self.io.line.to_be_bytes();
            let b = if self.io.new_lines.in_line(at) == Some(32) {
                hi
            } else {
                lo
            };
            self.emit(b);
        }
    }
}

impl Through<'_> {
    /// The CRC of lines before and with the next byte.
    #[inline(never)]
    fn line(&mut self, b: u8) {
        let io = &mut *self.io;
        let stored = io.new_lines.stored(io.put);
        if io.flushed + (io.fill as u32) < stored {
            self.line_ends(stored);
        }
        let io = &mut *self.io;
        match io.new_lines.column(io.put) {
            Some(0) => io.line = line_crc(0xFFFF, b),
            Some(_) => io.line = line_crc(io.line, b),
            None => {}
        }
        io.put += 1;
    }
}

impl Env for Through<'_> {
    #[inline]
    fn old(&mut self, at: u32) -> u8 {
        let i = at.wrapping_sub(self.io.old_at);
        if i < self.io.old_have
            && let Some(b) = self.io.old.get(i as usize)
        {
            return *b;
        }
        self.load_old(at)
    }
    #[inline]
    fn made(&mut self, at: u32) -> u8 {
        let i = at.wrapping_sub(self.io.new_at);
        if i < self.io.new_have
            && let Some(b) = self.io.new.get(i as usize)
        {
            return *b;
        }
        self.load_new(at)
    }
    #[inline]
    fn put(&mut self, b: u8) {
        if self.io.new_lines.count != 0 {
            self.line(b);
        }
        self.emit(b);
    }
}
