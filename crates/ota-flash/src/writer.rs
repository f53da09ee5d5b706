//! Sequential writer: chunks of any length in, verified program units out.

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

/// What the writer was doing when it failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteErrorKind<E> {
    /// More bytes than the slot holds.
    Full,
    /// Flash reads back other bytes than were programmed.
    Verify,
    /// The flash failed while erasing.
    Erase(E),
    /// The flash failed while programming.
    Program(E),
    /// The flash failed while reading.
    Read(E),
    /// An earlier operation failed; go on with [`StreamWriter::resume`].
    Failed,
    /// `finish` was called before.
    Finished,
}

/// A failed write: where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteError<E> {
    /// Byte offset in the slot: the first byte that differs for
    /// [`Verify`](WriteErrorKind::Verify), else the first byte of the operation.
    pub offset: u32,
    /// Why.
    pub kind: WriteErrorKind<E>,
}

impl<E: NorFlashError> NorFlashError for WriteError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match &self.kind {
            WriteErrorKind::Full => NorFlashErrorKind::OutOfBounds,
            WriteErrorKind::Erase(e) | WriteErrorKind::Program(e) | WriteErrorKind::Read(e) => {
                e.kind()
            }
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<E: core::fmt::Debug> core::fmt::Display for WriteError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.kind {
            WriteErrorKind::Full => f.write_str("image does not fit the slot"),
            WriteErrorKind::Verify => f.write_str("flash does not hold what was written"),
            WriteErrorKind::Erase(e) => write!(f, "erase failed: {e:?}"),
            WriteErrorKind::Program(e) => write!(f, "program failed: {e:?}"),
            WriteErrorKind::Read(e) => write!(f, "read failed: {e:?}"),
            WriteErrorKind::Failed => f.write_str("an earlier write failed"),
            WriteErrorKind::Finished => f.write_str("writer is finished"),
        }?;
        write!(f, " (slot offset {:#x})", self.offset)
    }
}

impl<E: core::fmt::Debug> core::error::Error for WriteError<E> {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Failed,
    Finished,
}

/// Writes a stream of bytes from the start of a slot (or from where an
/// interrupted writer stopped) into any [`NorFlash`].
///
/// * Chunks of any length are gathered into program units; `N` is the size of
///   the buffer in bytes, a multiple of the program unit that divides the
///   sector (checked when compiled). The last unit is padded with `0xFF`.
/// * Sectors are erased before they are written: ahead of time by
///   [`prepare`](Self::prepare), or when the stream reaches them.
/// * Every unit is read back and compared.
/// * After an error the writer refuses to go on: a unit must not be programmed
///   twice. [`resume`](Self::resume) starts again at a sector.
///
/// RAM: `N` + about 24 bytes, and `N` bytes of stack.
///
/// ```
/// use ota_flash::{StreamWriter, sim::SimFlash};
///
/// let mut flash = SimFlash::<4096, 32>::new(16 * 4096);
/// let mut writer = StreamWriter::<_, 64>::new(&mut flash);
/// writer.prepare(5_000).unwrap(); // two sectors, before the bytes are asked for
/// writer.write(&[1; 4_999]).unwrap();
/// writer.write(&[2]).unwrap();
/// assert_eq!(writer.finish().unwrap(), 5_000);
/// ```
///
/// A buffer that does not fit the flash does not compile (48 bytes, units of 32):
///
/// ```compile_fail,E0080
/// use ota_flash::{StreamWriter, sim::SimFlash};
///
/// let mut writer = StreamWriter::<_, 48>::new(SimFlash::<4096, 32>::new(4096));
/// writer.write(b"x").unwrap();
/// ```
#[derive(Debug)]
pub struct StreamWriter<P, const N: usize> {
    flash: P,
    /// Bytes in flash, programmed and read back.
    durable: u32,
    /// Everything below is ready to be programmed. On a sector boundary.
    prepared: u32,
    /// Sectors from here on that read blank are taken as erased.
    blank_from: u32,
    fill: usize,
    state: State,
    buffer: [u8; N],
}

impl<P: NorFlash, const N: usize> StreamWriter<P, N> {
    const SECTOR: u32 = {
        assert!(N > 0, "StreamWriter: the buffer is empty");
        assert!(
            N.is_multiple_of(P::WRITE_SIZE),
            "StreamWriter: the buffer is no multiple of the program unit"
        );
        assert!(
            N.is_multiple_of(P::READ_SIZE),
            "StreamWriter: the buffer is no multiple of the read unit"
        );
        assert!(
            P::ERASE_SIZE.is_multiple_of(N),
            "StreamWriter: the buffer does not divide the erase sector"
        );
        P::ERASE_SIZE as u32
    };

    /// A writer at the start of `flash`. Nothing counts as erased yet.
    pub fn new(flash: P) -> Self {
        Self::at_sector(flash, 0)
    }

    /// A writer that goes on where an interrupted one stopped. `durable` is a
    /// count of bytes known to be in flash, from [`durable`](Self::durable) and
    /// kept by the caller.
    ///
    /// The sector in hand is erased again, so the writer starts at its
    /// beginning: feed the stream from [`position`](Self::position), which is
    /// `durable` rounded down to a sector.
    pub fn resume(flash: P, durable: u32) -> Self {
        Self::at_sector(flash, durable / Self::SECTOR * Self::SECTOR)
    }

    /// Starts over on the same flash, as [`resume`](Self::resume) does.
    pub fn restart(&mut self, durable: u32) {
        let start = durable / Self::SECTOR * Self::SECTOR;
        self.durable = start;
        self.prepared = start;
        self.blank_from = u32::MAX;
        self.fill = 0;
        self.state = State::Open;
    }

    fn at_sector(flash: P, start: u32) -> Self {
        Self {
            flash,
            durable: start,
            prepared: start,
            blank_from: u32::MAX,
            fill: 0,
            state: State::Open,
            buffer: [0xFF; N],
        }
    }

    /// From `offset` on, sectors that read blank are not erased again (this
    /// costs reads only). Without this call every sector is erased, because a
    /// blank read proves nothing: an interrupted erase can read blank now and
    /// differently later. Call it only for an area where no erase and no
    /// program can have been interrupted since it was last erased whole.
    pub fn trust_blank_from(&mut self, offset: u32) {
        self.blank_from = offset;
    }

    /// Bytes accepted so far: where the stream goes on.
    pub fn position(&self) -> u32 {
        self.durable.saturating_add(self.fill as u32)
    }

    /// Bytes that are in flash, programmed and read back.
    pub fn durable(&self) -> u32 {
        self.durable
    }

    /// End of the area that is erased and waits for bytes.
    pub fn prepared(&self) -> u32 {
        self.prepared
    }

    /// Most bytes the slot takes: whole sectors only.
    pub fn capacity(&self) -> u32 {
        let sectors = self.flash.capacity() / P::ERASE_SIZE;
        u32::try_from(sectors * P::ERASE_SIZE).unwrap_or(u32::MAX)
    }

    /// Makes everything below `upto` ready to be programmed: erases the sectors
    /// up to there, one at a time. Does nothing where that was done before.
    ///
    /// # Errors
    /// [`WriteErrorKind::Full`] past the end (nothing is erased then), or the
    /// flash's error.
    pub fn prepare(&mut self, upto: u32) -> Result<(), WriteError<P::Error>> {
        self.check_open()?;
        if upto > self.capacity() {
            return Err(self.error_at(upto, WriteErrorKind::Full));
        }
        while self.prepared < upto {
            let from = self.prepared;
            let blank = from >= self.blank_from && self.is_blank(from)?;
            if !blank {
                let erased = self.flash.erase(from, from + Self::SECTOR);
                self.done(from, erased.map_err(WriteErrorKind::Erase))?;
            }
            self.prepared = from + Self::SECTOR;
        }
        Ok(())
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`WriteErrorKind::Full`] when they do not all fit (none is taken then),
    /// [`WriteErrorKind::Verify`], or the flash's error.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError<P::Error>> {
        self.check_open()?;
        let room = self.capacity().saturating_sub(self.position());
        if bytes.len() > room as usize {
            return Err(self.error_at(self.position(), WriteErrorKind::Full));
        }
        while !bytes.is_empty() {
            let free = self.buffer.get_mut(self.fill..).unwrap_or_default();
            let take = bytes.len().min(free.len());
            let (now, later) = bytes.split_at(take);
            for (to, from) in free.iter_mut().zip(now) {
                *to = *from;
            }
            self.fill += take;
            bytes = later;
            if self.fill == N {
                self.program(N)?;
            }
        }
        Ok(())
    }

    /// Programs all whole units in the buffer. Less than one unit stays behind:
    /// [`durable`](Self::durable) says how much is in flash.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn flush(&mut self) -> Result<(), WriteError<P::Error>> {
        self.check_open()?;
        let whole = self.fill / P::WRITE_SIZE * P::WRITE_SIZE;
        self.program(whole)
    }

    /// Programs what is left, padded with `0xFF` to a whole unit, and closes
    /// the writer. Returns the bytes written, padding not counted. May be
    /// called again.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn finish(&mut self) -> Result<u32, WriteError<P::Error>> {
        if self.state == State::Finished {
            return Ok(self.durable);
        }
        self.flush()?;
        let len = self.position();
        if let Some(pad) = self.buffer.get_mut(self.fill..P::WRITE_SIZE)
            && self.fill > 0
        {
            pad.fill(0xFF);
            self.fill = P::WRITE_SIZE;
            self.program(P::WRITE_SIZE)?;
        }
        self.durable = len;
        self.state = State::Finished;
        Ok(len)
    }

    /// The flash, to read what was written.
    pub fn flash_mut(&mut self) -> &mut P {
        &mut self.flash
    }

    /// The flash again. What is still in the buffer is dropped.
    pub fn into_inner(self) -> P {
        self.flash
    }

    /// Programs and reads back the first `len` bytes of the buffer.
    fn program(&mut self, len: usize) -> Result<(), WriteError<P::Error>> {
        let at = self.durable;
        if len == 0 {
            return Ok(());
        }
        self.prepare(at + len as u32)?;
        let data = self.buffer.get(..len).unwrap_or_default();
        let written = self.flash.write(at, data);
        self.done(at, written.map_err(WriteErrorKind::Program))?;

        let mut seen = [0; N];
        let seen = seen.get_mut(..len).unwrap_or_default();
        let read = self.flash.read(at, seen);
        self.done(at, read.map_err(WriteErrorKind::Read))?;
        let mut pairs = seen.iter().zip(&self.buffer);
        if let Some(wrong) = pairs.position(|(a, b)| a != b) {
            return self.done(at + wrong as u32, Err(WriteErrorKind::Verify));
        }
        // What is behind the programmed units moves to the front.
        let rest = self.fill.saturating_sub(len);
        for i in 0..rest {
            let byte = self.buffer.get(len + i).copied().unwrap_or(0xFF);
            if let Some(to) = self.buffer.get_mut(i) {
                *to = byte;
            }
        }
        self.fill = rest;
        self.durable = at + len as u32;
        Ok(())
    }

    fn is_blank(&mut self, sector: u32) -> Result<bool, WriteError<P::Error>> {
        let mut seen = [0; N];
        let mut at = sector;
        while at < sector + Self::SECTOR {
            let read = self.flash.read(at, &mut seen);
            self.done(at, read.map_err(WriteErrorKind::Read))?;
            if seen.iter().any(|b| *b != 0xFF) {
                return Ok(false);
            }
            at += N as u32;
        }
        Ok(true)
    }

    fn check_open(&self) -> Result<(), WriteError<P::Error>> {
        match self.state {
            State::Open => Ok(()),
            State::Failed => Err(self.error_at(self.durable, WriteErrorKind::Failed)),
            State::Finished => Err(self.error_at(self.durable, WriteErrorKind::Finished)),
        }
    }

    /// Closes the writer when `result` is an error.
    fn done(
        &mut self,
        offset: u32,
        result: Result<(), WriteErrorKind<P::Error>>,
    ) -> Result<(), WriteError<P::Error>> {
        result.map_err(|kind| {
            self.state = State::Failed;
            self.error_at(offset, kind)
        })
    }

    fn error_at(&self, offset: u32, kind: WriteErrorKind<P::Error>) -> WriteError<P::Error> {
        WriteError { offset, kind }
    }
}
