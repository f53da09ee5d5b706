//! Flash that outlives the program.

use crate::flash::FlashUnit;
use hal_mk3060::memory::{FLASH_LEN, SECTOR_LEN};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file that holds the flash: 2 MiB, byte for byte.
pub struct FlashFile(File);

impl FlashFile {
    /// Opens `path` and loads it into `flash`. A file that is not there is made,
    /// a short one is filled up with 0xFF.
    ///
    /// # Errors
    /// What the file system says; a file longer than the flash.
    pub fn open(path: &Path, flash: &mut FlashUnit) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() > FLASH_LEN as usize {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} bytes; the flash has {FLASH_LEN}", bytes.len()),
            ));
        }
        if bytes.len() < FLASH_LEN as usize {
            let blank = vec![0xFF; FLASH_LEN as usize - bytes.len()];
            file.seek(SeekFrom::End(0))?;
            file.write_all(&blank)?;
        }
        flash.load(0, &bytes);
        Ok(Self(file))
    }

    /// Writes what has changed since the last call.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&mut self, flash: &mut FlashUnit) -> io::Result<()> {
        for sector in std::mem::take(&mut flash.dirty) {
            let bytes = flash.chip.dump(sector, SECTOR_LEN as usize);
            self.0.seek(SeekFrom::Start(sector.into()))?;
            self.0.write_all(&bytes)?;
        }
        Ok(())
    }
}
