//! A NOR flash in a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

use super::cut::{CutVariant, Hand, SplitMix, tear};

/// Why a flash file could not be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileFlashError {
    /// The file system failed: no such directory, disk full, ...
    Io {
        /// The flash file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file exists but has another size than asked for.
    WrongSize {
        /// The flash file.
        path: PathBuf,
        /// Bytes asked for.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// Another process uses this flash file.
    InUse {
        /// The flash file.
        path: PathBuf,
    },
    /// Offset or length is not aligned.
    NotAligned {
        /// Where.
        offset: u32,
    },
    /// Past the end.
    OutOfBounds {
        /// Where.
        offset: u32,
    },
    /// A planned power cut happened.
    PoweredOff,
}

impl NorFlashError for FileFlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl core::fmt::Display for FileFlashError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Io { path, error } => write!(f, "{error} (flash file {})", path.display()),
            Self::WrongSize {
                path,
                expected,
                found,
            } => write!(
                f,
                "flash file has {found} bytes, not {expected} ({})",
                path.display()
            ),
            Self::InUse { path } => {
                write!(
                    f,
                    "flash file is used by another process ({})",
                    path.display()
                )
            }
            Self::NotAligned { offset } => write!(f, "not aligned (flash {offset:#x})"),
            Self::OutOfBounds { offset } => write!(f, "past the end (flash {offset:#x})"),
            Self::PoweredOff => f.write_str("power is off"),
        }
    }
}

impl core::error::Error for FileFlashError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A NOR flash in a file, under the rules of [`SimFlash`](super::SimFlash):
/// programs only clear bits, sectors erase to `0xFF`, alignment and bounds are
/// enforced.
///
/// Every operation is in the file when it returns (handed to the operating
/// system, not forced to the disk), so killing the process at any moment is a
/// power cut of the device. The file is locked while it is open.
#[derive(Debug)]
pub struct FileFlash<const SECTOR: usize = 4096, const UNIT: usize = 32> {
    file: File,
    path: PathBuf,
    size: u32,
    ops: u64,
    powered: bool,
    plan: Option<(u64, CutVariant)>,
}

/// Closing is not enough: a process that is just being started holds a copy of the
/// handle, and with it the lock.
impl<const SECTOR: usize, const UNIT: usize> Drop for FileFlash<SECTOR, UNIT> {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl<const SECTOR: usize, const UNIT: usize> FileFlash<SECTOR, UNIT> {
    const CHECKED: () = {
        assert!(
            UNIT >= 1 && UNIT <= 256,
            "FileFlash: program unit is not 1..=256 bytes"
        );
        assert!(
            SECTOR > 0 && SECTOR.is_multiple_of(UNIT),
            "FileFlash: the program unit does not divide the sector"
        );
    };

    /// Opens a flash file of `size` bytes; makes a blank one (all `0xFF`) when
    /// there is none. Making one is all or nothing: a kill in between leaves
    /// no half-made flash.
    ///
    /// # Errors
    /// [`FileFlashError::Io`], [`WrongSize`](FileFlashError::WrongSize),
    /// [`InUse`](FileFlashError::InUse),
    /// [`NotAligned`](FileFlashError::NotAligned) when `size` is no whole
    /// number of sectors.
    pub fn open(path: impl AsRef<Path>, size: u32) -> Result<Self, FileFlashError> {
        let () = Self::CHECKED;
        let path = path.as_ref().to_path_buf();
        if !(size as usize).is_multiple_of(SECTOR) {
            return Err(FileFlashError::NotAligned { offset: size });
        }
        let io = |error| FileFlashError::Io {
            path: path.clone(),
            error,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_blank(&path, size).map_err(io)?;
                options.open(&path)
            }
            other => other,
        }
        .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FileFlashError::InUse { path }),
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let found = file.metadata().map_err(io)?.len();
        if found != u64::from(size) {
            return Err(FileFlashError::WrongSize {
                path,
                expected: size.into(),
                found,
            });
        }
        Ok(Self {
            file,
            path,
            size,
            ops: 0,
            powered: true,
            plan: None,
        })
    }

    /// The flash file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Operations since this process opened the file; the number of the next.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Plans a power cut in operation number `op`: from then on everything
    /// fails with [`FileFlashError::PoweredOff`], until the file is opened
    /// again. A file has no unstable bits: each is settled at random.
    pub fn cut_at(&mut self, op: u64, variant: CutVariant) {
        self.plan = Some((op, variant));
    }

    /// Whether power is on, that is, no planned cut has happened.
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// Puts bytes there as a programmer would: no alignment, no operation.
    ///
    /// # Errors
    /// [`FileFlashError::OutOfBounds`] or [`FileFlashError::Io`].
    pub fn load(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileFlashError> {
        let room = self.size.checked_sub(offset);
        if room.is_none_or(|room| bytes.len() > room as usize) {
            return Err(FileFlashError::OutOfBounds { offset });
        }
        self.put(offset, bytes)
    }

    fn io(&self, result: io::Result<()>) -> Result<(), FileFlashError> {
        result.map_err(|error| FileFlashError::Io {
            path: self.path.clone(),
            error,
        })
    }

    fn put(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileFlashError> {
        let seek = self.file.seek(SeekFrom::Start(offset.into()));
        let done = seek.and_then(|_| self.file.write_all(bytes));
        self.io(done)
    }

    fn get(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileFlashError> {
        let seek = self.file.seek(SeekFrom::Start(offset.into()));
        let done = seek.and_then(|_| self.file.read_exact(bytes));
        self.io(done)
    }

    fn check(
        &self,
        offset: u32,
        checked: Result<(), NorFlashErrorKind>,
    ) -> Result<(), FileFlashError> {
        if !self.powered {
            return Err(FileFlashError::PoweredOff);
        }
        checked.map_err(|kind| match kind {
            NorFlashErrorKind::NotAligned => FileFlashError::NotAligned { offset },
            _ => FileFlashError::OutOfBounds { offset },
        })
    }

    /// One operation on the `len` bytes at `offset`: erase, or program `new`.
    fn operate(
        &mut self,
        offset: u32,
        len: usize,
        new: Option<&[u8]>,
    ) -> Result<(), FileFlashError> {
        let number = self.ops;
        self.ops += 1;
        let cut = self.plan.filter(|(at, _)| *at == number);
        let mut data = vec![0xFF; len];
        if new.is_some() || cut.is_some() {
            self.get(offset, &mut data)?;
        }
        let Some((_, variant)) = cut else {
            for (byte, new) in data.iter_mut().zip(new.unwrap_or_default()) {
                *byte &= new;
            }
            return self.put(offset, &data);
        };
        self.powered = false;
        let mut unstable = vec![0; len];
        let hand = Hand {
            data: &mut data,
            unstable: &mut unstable,
        };
        tear(hand, new, variant);
        let mut noise = SplitMix(number);
        for (byte, mask) in data.iter_mut().zip(&unstable) {
            *byte ^= mask & noise.byte();
        }
        self.put(offset, &data)?;
        Err(FileFlashError::PoweredOff)
    }
}

/// A file of `size` bytes of `0xFF`, under its name only when it is whole.
fn make_blank(path: &Path, size: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(std::format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let made = (|| {
        let mut file = File::create(&temporary)?;
        let mut left = size as usize;
        let blank = [0xFF; 4096];
        while left > 0 {
            let now = left.min(blank.len());
            file.write_all(&blank[..now])?;
            left -= now;
        }
        fs::rename(&temporary, path)
    })();
    if made.is_err() {
        let _ = fs::remove_file(&temporary); // the first error is the one to tell
    }
    made
}

impl<const SECTOR: usize, const UNIT: usize> ErrorType for FileFlash<SECTOR, UNIT> {
    type Error = FileFlashError;
}

impl<const SECTOR: usize, const UNIT: usize> ReadNorFlash for FileFlash<SECTOR, UNIT> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileFlashError> {
        self.check(offset, check_read(self, offset, bytes.len()))?;
        self.get(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.size as usize
    }
}

impl<const SECTOR: usize, const UNIT: usize> NorFlash for FileFlash<SECTOR, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FileFlashError> {
        self.check(from, check_erase(self, from, to))?;
        for at in (from..to).step_by(SECTOR) {
            self.operate(at, SECTOR, None)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileFlashError> {
        self.check(offset, check_write(self, offset, bytes.len()))?;
        for (i, new) in bytes.chunks_exact(UNIT).enumerate() {
            let at = offset + (i * UNIT) as u32;
            self.operate(at, UNIT, Some(new))?;
        }
        Ok(())
    }
}
