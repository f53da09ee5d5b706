//! The streaming decoder.

use super::engine::{Engine, Op, Params, Truth};
use super::fast::Literals;
use super::header::{Arch, HEADER_LEN_CODED, Header};
use super::lines::{Lines, line_crc};
use super::map::{Map, MapCoder};
use super::model::{Bits, RangeDecoder};
use super::through::{Io, Through};
use super::{Error, LITERALS, SLICE, Target};
use ota_verify::Crc32;

/// Input held back: a step begins only with `RESERVE` bytes, or the segment's end, in
/// sight, and takes fewer.
const INPUT: usize = 320;
const RESERVE: usize = 256;
/// Literals taken in one step: none takes more than 15 bytes of input, and what may
/// follow them no more than 80.
const BURST: u32 = 11;
/// Bytes of a slice's header: length of its data and CRC-32 of its output.
pub(crate) const SLICE_HEADER: usize = 7;
/// Bytes of the map's header: its length.
pub(crate) const MAP_HEADER: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    MapHeader,
    Map,
    SliceHeader,
    Slice,
    /// A slice that is in place already: its data is hopped over.
    Skip,
    Done,
}

/// Applies a patch as it arrives. One value of less than 31 KiB, all zeros until used, so
/// that it can be a `static` that takes no room in an image.
pub struct Decoder {
    engine: Engine,
    par: Params,
    map_coder: MapCoder,
    io: Io,
    rc: RangeDecoder,
    header: Header,
    input: [u8; INPUT],
    have: usize,
    /// Bytes of the present part that have not been taken into `input`.
    left: u32,
    stage: Stage,
    started: bool,
    slice: u32,
    first: u32,
    want_crc: u32,
}

const NO_HEADER: Header = Header {
    arch: Arch::None,
    lag: 0,
    old_len: 0,
    new_len: 0,
    old_digest: [0; 16],
    new_digest: [0; 16],
    base: 0,
    lines: None,
};

impl Decoder {
    /// Ready for a patch's first byte.
    pub const fn new() -> Self {
        Decoder {
            engine: Engine::new(),
            par: Params {
                arch: Arch::None,
                base: 0,
                old_len: 0,
                ram: (0, 0),
                map: Map::new(),
            },
            map_coder: MapCoder::new(),
            io: Io::new(),
            rc: RangeDecoder::new(),
            header: NO_HEADER,
            input: [0; INPUT],
            have: 0,
            left: 0,
            stage: Stage::Header,
            started: false,
            slice: 0,
            first: 0,
            want_crc: 0,
        }
    }

    /// Ready for another patch.
    pub fn restart(&mut self) {
        self.have = 0;
        self.left = 0;
        self.stage = Stage::Header;
        self.started = false;
        self.slice = 0;
        self.first = 0;
        self.io.old_failed = false;
        self.io.new_failed = false;
    }

    /// Before the first [`push`](Self::push): slices `0..first` are in place already
    /// ([`Target::slice_done`] has been called for them). The patch is still pushed from
    /// its first byte, but nothing is written before slice `first`.
    pub fn resume(&mut self, first: u32) {
        self.first = first;
    }

    /// The header, once it has been read.
    pub fn header(&self) -> Option<&Header> {
        (self.stage != Stage::Header).then_some(&self.header)
    }

    /// Bytes of the new image that have been written.
    pub fn written(&self) -> u32 {
        if self.stage == Stage::Header {
            0
        } else {
            self.io.flushed
        }
    }

    /// Takes the next bytes of the patch.
    ///
    /// # Errors
    /// Any [`Error`]; the patch must then be given up ([`restart`](Self::restart)).
    pub fn push(&mut self, target: &mut dyn Target, mut data: &[u8]) -> Result<(), Error> {
        loop {
            let need = self.part_len();
            if self.stage == Stage::Done {
                return if data.is_empty() {
                    Ok(())
                } else {
                    Err(Error::Trailing)
                };
            }
            if self.stage == Stage::Skip {
                let n = data.len().min(self.left as usize);
                data = data.get(n..).unwrap_or(&[]);
                self.left -= n as u32;
                if self.left != 0 {
                    return Ok(());
                }
                self.next_slice();
                continue;
            }
            // Fixed parts want so many bytes; coded ones as many as fit.
            let coded = matches!(self.stage, Stage::Map | Stage::Slice);
            let room = if coded {
                (INPUT - self.have).min(self.left as usize)
            } else {
                need.saturating_sub(self.have)
            };
            let n = room.min(data.len());
            let (now, rest) = data.split_at_checked(n).unwrap_or((data, &[]));
            for (to, from) in self.input.iter_mut().skip(self.have).zip(now) {
                *to = *from;
            }
            self.have += n;
            data = rest;
            if coded {
                self.left -= n as u32;
                self.coded(target)?;
                // Still in the same part: it wants more input than there is.
                if matches!(self.stage, Stage::Map | Stage::Slice)
                    && data.is_empty()
                    && self.left != 0
                {
                    return Ok(());
                }
            } else {
                if self.have < need {
                    return Ok(());
                }
                self.fixed(target)?;
            }
        }
    }

    /// Says that the patch is complete.
    ///
    /// # Errors
    /// [`Error::Truncated`] unless all of the new image has been written.
    pub fn finish(&self) -> Result<(), Error> {
        if self.stage == Stage::Done {
            Ok(())
        } else {
            Err(Error::Truncated)
        }
    }

    fn part_len(&self) -> usize {
        match self.stage {
            Stage::Header if self.have < 8 => 8,
            Stage::Header => {
                let first = self.input.first_chunk::<8>();
                first
                    .and_then(|f| Header::len_from(f).ok())
                    .unwrap_or(8)
                    .min(HEADER_LEN_CODED)
            }
            Stage::MapHeader => MAP_HEADER,
            _ => SLICE_HEADER,
        }
    }

    #[inline(never)]
    fn fixed(&mut self, target: &mut dyn Target) -> Result<(), Error> {
        let [a, b, c, d, e, f, g, ..] = self.input;
        match self.stage {
            Stage::Header => {
                let first = [a, b, c, d, e, f, g, self.input[7]];
                if Header::len_from(&first)? > self.have {
                    return Ok(());
                }
                let header = Header::parse(self.input.get(..self.have).unwrap_or(&[]))?;
                self.begin(&header);
                target.begin(&header).map_err(|_| Error::Refused)?;
                self.stage = Stage::MapHeader;
            }
            Stage::MapHeader => {
                self.left = u32::from(u16::from_le_bytes([a, b]));
                self.map_coder.reset(&mut self.engine.m.numbers);
                self.par.map.clear();
                self.started = false;
                self.stage = Stage::Map;
            }
            _ => {
                let len = u32::from_le_bytes([a, b, c, 0]);
                self.left = len & (LITERALS - 1);
                self.want_crc = u32::from_le_bytes([d, e, f, g]);
                let literals = Literals::from_bits(len / LITERALS).ok_or(Error::SliceHeader)?;
                if self.slice < self.first {
                    self.stage = Stage::Skip;
                } else {
                    self.begin_slice(target, literals)?;
                    self.stage = Stage::Slice;
                }
            }
        }
        self.have = 0;
        Ok(())
    }

    fn begin(&mut self, header: &Header) {
        let (old, new) = header.lines.map_or(((0, 0), (0, 0)), |l| (l.old, l.new));
        let io = &mut self.io;
        io.old_lines = Lines {
            start: old.0,
            count: old.1,
        };
        io.new_lines = Lines {
            start: new.0,
            count: new.1,
        };
        io.old_len = io.old_lines.decoded_len(header.old_len);
        io.old_have = 0;
        io.new_have = 0;
        io.fill = 0;
        io.flushed = 0;
        self.par.arch = header.arch;
        self.par.base = header.base;
        self.par.old_len = io.old_len;
        self.header = *header;
    }

    fn next_slice(&mut self) {
        self.slice += 1;
        self.have = 0;
        let end = self
            .slice
            .checked_mul(SLICE)
            .is_none_or(|at| at >= self.header.new_len);
        self.stage = if end { Stage::Done } else { Stage::SliceHeader };
    }

    #[inline(never)]
    fn begin_slice(&mut self, target: &mut dyn Target, literals: Literals) -> Result<(), Error> {
        let start = self.slice * SLICE;
        let end = (start + SLICE).min(self.header.new_len);
        let io = &mut self.io;
        io.flushed = start;
        io.fill = 0;
        io.crc = Crc32::new();
        io.put = io.new_lines.decoded(start);
        // A line may reach over the boundary: its CRC goes on from its stored bytes.
        if let Some(n @ 1..) = io.new_lines.in_line(start) {
            let mut head = [0; 32];
            let head = head.get_mut(..n.min(32) as usize).unwrap_or(&mut []);
            target.read_new(start - n, head).map_err(|_| Error::NewIo)?;
            io.line = head.iter().fold(0xFFFF, |crc, b| line_crc(crc, *b));
        }
        let gone = if self.header.lag == 0 {
            0
        } else {
            self.slice.saturating_sub(u32::from(self.header.lag)) * SLICE
        };
        let old_min = io.old_lines.decoded(gone.min(self.header.old_len));
        // In place, what is cached may have been overwritten since.
        io.old_have = 0;
        self.engine.begin(
            io.put,
            io.new_lines.decoded(end),
            old_min,
            io.old_len,
            literals,
        );
        self.started = false;
        Ok(())
    }

    /// Runs steps while input suffices.
    fn coded(&mut self, target: &mut dyn Target) -> Result<(), Error> {
        let mut pos = 0;
        loop {
            let all = self.left == 0;
            let ready = self.have.saturating_sub(pos);
            if !all && ready < RESERVE {
                break;
            }
            let data = self.input.get(..self.have).unwrap_or(&[]);
            let mut bits = Bits {
                rc: &mut self.rc,
                data,
                pos,
            };
            if !self.started {
                bits.start();
                self.started = true;
            }
            let mut ended = false;
            if self.stage == Stage::Map {
                match self
                    .map_coder
                    .next(&mut bits, &mut self.engine.m.numbers, &mut self.par)?
                {
                    true => {}
                    false => ended = true,
                }
            } else if self.engine.done() {
                ended = true;
            } else {
                let mut env = Through {
                    io: &mut self.io,
                    target,
                };
                let truth = Truth {
                    op: Op::Literal,
                    new: &[],
                    seen: &[],
                    burst: BURST,
                };
                self.engine
                    .step(&mut bits, &mut env, &self.par, &truth)
                    .map_err(|_| Error::Range)?;
                self.io.check()?;
            }
            pos = bits.pos;
            if ended {
                // All of the segment's bytes must have been of use.
                if pos < self.have || self.left != 0 {
                    return Err(if self.stage == Stage::Map {
                        Error::Map
                    } else {
                        Error::SliceHeader
                    });
                }
                return self.end_part(target);
            }
        }
        self.input.copy_within(pos.min(self.have)..self.have, 0);
        self.have = self.have.saturating_sub(pos);
        Ok(())
    }

    #[inline(never)]
    fn end_part(&mut self, target: &mut dyn Target) -> Result<(), Error> {
        self.have = 0;
        if self.stage == Stage::Map {
            self.par.map.index();
            let empty = self.header.new_len == 0;
            self.stage = if empty {
                Stage::Done
            } else {
                Stage::SliceHeader
            };
            return Ok(());
        }
        let end = ((self.slice + 1) * SLICE).min(self.header.new_len);
        let mut through = Through {
            io: &mut self.io,
            target,
        };
        through.line_ends(end);
        through.flush();
        self.io.check()?;
        if self.io.crc.value() != self.want_crc {
            return Err(Error::Crc);
        }
        target.slice_done(self.slice).map_err(|_| Error::NewIo)?;
        self.next_slice();
        Ok(())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
