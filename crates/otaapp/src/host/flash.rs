//! The device's flash: a file with the layout of the MK3060.

use std::path::Path;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use hal_mk3060::PARTITIONS;
use ota_flash::sim::{CutVariant, FileFlash, FileFlashError};
use ota_flash::{PartitionEntry, PartitionId};
use ota_verify::{ImageVerifier, Policy};

use super::Error;

/// Bytes of an erase sector.
pub const SECTOR: usize = 4096;
/// Bytes of a program unit: a coded line without its CRC.
pub const UNIT: usize = 32;
/// Bytes of flash.
pub const FLASH_LEN: u32 = PARTITIONS.flash_size();
/// The active slot.
pub const ACTIVE: PartitionEntry = entry(PartitionId::Application);
/// The update slot; its last sector is the boot loader's spare.
pub const UPDATE: PartitionEntry = entry(PartitionId::OtaTemp);
/// Longest image, trailer included.
pub const MAX_IMAGE: u32 = UPDATE.len() - SECTOR as u32;

const fn entry(id: PartitionId) -> PartitionEntry {
    match PARTITIONS.get(id) {
        Some(entry) => entry,
        None => panic!("the partition table lacks a slot"),
    }
}

/// The flash file, and the last fault of the file system in words.
#[derive(Debug)]
pub struct Flash {
    file: FileFlash<SECTOR, UNIT>,
    fault: Option<String>,
}

impl Flash {
    /// Opens the flash file; makes a blank one when there is none.
    ///
    /// # Errors
    /// [`Error::Flash`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = FileFlash::open(path, FLASH_LEN).map_err(Error::Flash)?;
        Ok(Self { file, fault: None })
    }

    /// Erases and programs since it was opened.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.file.ops()
    }

    /// Plans a power cut in operation number `op`, counted from opening.
    pub fn cut_at(&mut self, op: u64, variant: CutVariant) {
        self.file.cut_at(op, variant);
    }

    /// Whether no planned cut has happened.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.file.is_powered()
    }

    /// The last fault, once.
    pub fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    fn noted<T>(&mut self, result: Result<T, FileFlashError>) -> Result<T, FileFlashError> {
        if let Err(e) = &result
            && !matches!(e, FileFlashError::PoweredOff)
        {
            self.fault = Some(e.to_string());
        }
        result
    }
}

impl ErrorType for Flash {
    type Error = FileFlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileFlashError> {
        let result = self.file.read(offset, bytes);
        self.noted(result)
    }

    fn capacity(&self) -> usize {
        self.file.capacity()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FileFlashError> {
        let result = self.file.erase(from, to);
        self.noted(result)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileFlashError> {
        let result = self.file.write(offset, bytes);
        self.noted(result)
    }
}

/// Makes a flash file with `image` (packed: descriptor, trailer) in the active
/// slot, as a factory does. The file appears under its name when it is complete.
///
/// # Errors
/// [`Error::Exists`], [`Error::Image`], [`Error::Flash`], [`Error::File`].
pub fn init(path: &Path, image: &[u8]) -> Result<(), Error> {
    if path.exists() {
        return Err(Error::Exists(path.into()));
    }
    let len = image.len() as u32;
    if image.len() > MAX_IMAGE as usize {
        return Err(Error::ImageLen { len: image.len() });
    }
    let verifier = ImageVerifier {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: ota_verify::Coding::Plain,
    };
    let checked = verifier.verify(&mut &image[..], len, &mut [0; SECTOR]);
    let info = checked.map_err(Error::Image)?;
    if info.descriptor.is_none() {
        return Err(Error::NoVersion);
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.init", std::process::id()));
    let temporary = path.with_file_name(name);
    let made = FileFlash::<SECTOR, UNIT>::open(&temporary, FLASH_LEN)
        .and_then(|mut flash| flash.load(ACTIVE.start(), image))
        .map_err(Error::Flash)
        .and_then(|()| {
            std::fs::rename(&temporary, path).map_err(|error| Error::File {
                path: path.into(),
                error,
            })
        });
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary); // the first error is the one to tell
    }
    made
}

/// The first `len` bytes of a slot, read from the flash file by plain file
/// access: what a programmer would read out.
///
/// # Errors
/// [`Error::File`].
pub fn read_slot(path: &Path, slot: &PartitionEntry, len: usize) -> Result<Vec<u8>, Error> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = vec![0; len.min(slot.len() as usize)];
    std::fs::File::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(slot.start().into()))?;
            file.read_exact(&mut bytes)
        })
        .map_err(|error| Error::File {
            path: path.into(),
            error,
        })?;
    Ok(bytes)
}
