//! Where image bytes are read from.

use embedded_storage::nor_flash::ReadNorFlash;

/// A source of bytes at given offsets: a flash slot, a file, a slice.
///
/// Object-safe, so that a boot loader carries one copy of what reads through it.
pub trait ReadAt {
    /// Fills `buf` from `offset`. Must fail when the range is not all inside.
    ///
    /// # Errors
    /// [`ReadError`] with the offset of the failed read.
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError>;

    /// Bytes that can be read.
    fn size(&self) -> u32;
}

/// A read failed or went past the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadError {
    /// Where the read began.
    pub offset: u32,
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        let from = offset as usize;
        let bytes = from
            .checked_add(buf.len())
            .and_then(|to| self.get(from..to));
        buf.copy_from_slice(bytes.ok_or(ReadError { offset })?);
        Ok(())
    }

    fn size(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }
}

/// Reads a NOR flash at any offset and length, whatever its `READ_SIZE`.
pub struct NorReader<'a, F>(pub &'a mut F);

/// Largest `READ_SIZE` [`NorReader`] serves.
const WINDOW: usize = 64;

impl<F: ReadNorFlash> ReadAt for NorReader<'_, F> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        let error = ReadError { offset };
        if F::READ_SIZE <= 1 {
            return self.0.read(offset, buf).map_err(|_| error);
        }
        let mut window = [0u8; WINDOW];
        let window = window.get_mut(..F::READ_SIZE).ok_or(error)?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let skip = at as usize % F::READ_SIZE;
            let whole = rest.len() - rest.len() % F::READ_SIZE;
            let (now, later) = if skip == 0 && whole > 0 {
                let (now, later) = rest.split_at_mut(whole);
                self.0.read(at, now).map_err(|_| error)?;
                (now, later)
            } else {
                self.0.read(at - skip as u32, window).map_err(|_| error)?;
                let bytes = window.get(skip..).unwrap_or(&[]);
                let n = bytes.len().min(rest.len());
                let (now, later) = rest.split_at_mut(n);
                now.copy_from_slice(bytes.get(..n).unwrap_or(&[]));
                (now, later)
            };
            at = at.checked_add(now.len() as u32).ok_or(error)?;
            rest = later;
        }
        Ok(())
    }

    fn size(&self) -> u32 {
        u32::try_from(self.0.capacity()).unwrap_or(u32::MAX)
    }
}
