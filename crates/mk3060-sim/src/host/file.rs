//! Flash that outlives the program.

use crate::flash::FlashUnit;
use hal_mk3060::memory::{FLASH_LEN, SECTOR_LEN};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file that holds the flash: 2 MiB, byte for byte.
pub struct FlashFile(File);

impl FlashFile {
    /// Opens `path` and loads it into `flash`. A file that is not there, or empty, is
    /// made: all 0xFF.
    ///
    /// # Errors
    /// What the file system says; a file of another length, which is left alone: it is
    /// no flash, but an image given by mistake.
    pub fn open(path: &Path, flash: &mut FlashUnit) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            bytes = vec![0xFF; FLASH_LEN as usize];
            file.write_all(&bytes)?;
        }
        if bytes.len() != FLASH_LEN as usize {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "not a flash: {} bytes, not {FLASH_LEN} (to put a file into a flash: --write OFFSET=FILE)",
                    bytes.len()
                ),
            ));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_flash_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("mk3060-sim-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("image.bin");
        let mut flash = FlashUnit::new();
        for len in [1, FLASH_LEN as usize - 1, FLASH_LEN as usize + 1] {
            let image = vec![7; len];
            std::fs::write(&path, &image).unwrap();
            assert!(FlashFile::open(&path, &mut flash).is_err());
            assert!(std::fs::read(&path).unwrap() == image);
        }
        std::fs::remove_file(&path).unwrap();
        FlashFile::open(&path, &mut flash).unwrap();
        assert!(std::fs::read(&path).unwrap() == vec![0xFF; FLASH_LEN as usize]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
