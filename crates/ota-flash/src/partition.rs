//! Bounded, permission-checked views of a shared flash.

use core::cell::RefCell;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::id::PartitionId;
use crate::table::{PartitionEntry, Permissions};

/// Why an operation on a partition was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<E> {
    /// The table has no such partition.
    Missing,
    /// The flash does not fit the table (size, erase size).
    Geometry,
    /// The partition, or this view of it, must not be read.
    ReadDenied,
    /// The partition, or this view of it, must not be erased or programmed.
    WriteDenied,
    /// The range ends past the view.
    OutOfBounds,
    /// Offset or length is no multiple of the read, program or erase size.
    NotAligned,
    /// The shared flash is borrowed elsewhere at this moment.
    Busy,
    /// The flash itself failed.
    Flash(E),
}

/// A failed operation on a partition: where, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionError<E> {
    /// The partition.
    pub partition: PartitionId,
    /// Byte offset from the start of the partition (of the whole partition,
    /// also for a window into it).
    pub offset: u32,
    /// Why.
    pub cause: Cause<E>,
}

impl<E: NorFlashError> NorFlashError for PartitionError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match &self.cause {
            Cause::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Cause::NotAligned => NorFlashErrorKind::NotAligned,
            Cause::Flash(e) => e.kind(),
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<E: NorFlashError> From<PartitionError<E>> for NorFlashErrorKind {
    fn from(e: PartitionError<E>) -> Self {
        e.kind()
    }
}

impl<E: core::fmt::Debug> core::fmt::Display for PartitionError<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match &self.cause {
            Cause::Missing => f.write_str("not in the partition table"),
            Cause::Geometry => f.write_str("the flash does not fit the partition table"),
            Cause::ReadDenied => f.write_str("reading is not permitted"),
            Cause::WriteDenied => f.write_str("writing is not permitted"),
            Cause::OutOfBounds => f.write_str("out of bounds"),
            Cause::NotAligned => f.write_str("not aligned"),
            Cause::Busy => f.write_str("flash is in use"),
            Cause::Flash(e) => write!(f, "flash failed: {e:?}"),
        }?;
        write!(
            f,
            " (partition {}, offset {:#x})",
            self.partition, self.offset
        )
    }
}

impl<E: core::fmt::Debug> core::error::Error for PartitionError<E> {}

/// What a view covers. Not generic, so that its checks exist once in a program.
#[derive(Debug, Clone, Copy)]
struct View {
    id: PartitionId,
    permissions: Permissions,
    /// Flash address of the partition.
    start: u32,
    /// Offset of this view in the partition.
    base: u32,
    len: u32,
}

/// Why a view refuses, before the flash is asked.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Read,
    Write,
    Bounds,
    Alignment,
}

impl View {
    fn address(&self) -> u32 {
        self.start.saturating_add(self.base)
    }

    /// Checks a range and returns the flash address of its first byte.
    #[inline(never)]
    fn locate(
        &self,
        offset: u32,
        len: usize,
        aligned: bool,
        permission: Permissions,
    ) -> Result<u32, Refusal> {
        if !self.permissions.contains(permission) {
            return Err(if permission == Permissions::READ {
                Refusal::Read
            } else {
                Refusal::Write
            });
        }
        match self.len.checked_sub(offset) {
            Some(room) if len <= room as usize => {}
            _ => return Err(Refusal::Bounds),
        }
        if !aligned {
            return Err(Refusal::Alignment);
        }
        Ok(self.address().saturating_add(offset))
    }
}

/// Whether a range is whole units. `unit` is a constant at every call, so this
/// costs no division.
#[inline(always)]
fn aligned(offset: u32, len: usize, unit: usize) -> bool {
    (offset as usize).is_multiple_of(unit) && len.is_multiple_of(unit)
}

/// A bounded view of one partition, or of a window into it.
///
/// Offsets count from the start of the view. Views are small and `Copy`; all
/// views of one flash share it through the `RefCell`, which is borrowed only
/// for the length of one operation. Nothing here panics: a flash that is in use
/// is an error.
#[derive(Debug)]
pub struct Partition<'a, F> {
    flash: &'a RefCell<F>,
    view: View,
}

impl<F> Clone for Partition<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Partition<'_, F> {}

impl<'a, F> Partition<'a, F> {
    pub(crate) fn from_entry(flash: &'a RefCell<F>, entry: &PartitionEntry) -> Self {
        Self {
            flash,
            view: View {
                id: entry.id,
                permissions: entry.permissions,
                start: entry.start,
                base: 0,
                len: entry.len,
            },
        }
    }

    /// Which partition this is a view of.
    pub fn id(&self) -> PartitionId {
        self.view.id
    }

    /// Flash address of the first byte of this view.
    pub fn address(&self) -> u32 {
        self.view.address()
    }

    /// Offset of this view in its partition; 0 unless it is a window.
    pub fn base(&self) -> u32 {
        self.view.base
    }

    /// Length of this view in bytes.
    pub fn len(&self) -> u32 {
        self.view.len
    }

    /// Whether this view has no bytes (only a window can).
    pub fn is_empty(&self) -> bool {
        self.view.len == 0
    }

    /// What may be done through this view.
    pub fn permissions(&self) -> Permissions {
        self.view.permissions
    }

    /// The same view, without the right to erase or program.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.view.permissions = self.view.permissions.intersection(Permissions::READ);
        self
    }
}

impl<'a, F: ErrorType> Partition<'a, F> {
    #[cold]
    #[inline(never)]
    fn error(&self, offset: u32, cause: Cause<F::Error>) -> PartitionError<F::Error> {
        PartitionError {
            partition: self.view.id,
            offset: self.view.base.saturating_add(offset),
            cause,
        }
    }

    #[cold]
    #[inline(never)]
    fn refused(&self, offset: u32, refusal: Refusal) -> PartitionError<F::Error> {
        let cause = match refusal {
            Refusal::Read => Cause::ReadDenied,
            Refusal::Write => Cause::WriteDenied,
            Refusal::Bounds => Cause::OutOfBounds,
            Refusal::Alignment => Cause::NotAligned,
        };
        self.error(offset, cause)
    }

    /// Checks a range, then does `operation` at its flash address.
    fn access(
        &self,
        offset: u32,
        len: usize,
        aligned: bool,
        permission: Permissions,
        operation: impl FnOnce(&mut F, u32) -> Result<(), F::Error>,
    ) -> Result<(), PartitionError<F::Error>> {
        let at = match self.view.locate(offset, len, aligned, permission) {
            Ok(at) => at,
            Err(refusal) => return Err(self.refused(offset, refusal)),
        };
        let done = match self.flash.try_borrow_mut() {
            Ok(mut flash) => operation(&mut flash, at),
            Err(_) => return Err(self.error(offset, Cause::Busy)),
        };
        done.map_err(|e| self.error(offset, Cause::Flash(e)))
    }

    /// A window that can only be read; `offset` and `len` need no alignment
    /// beyond the flash's read size.
    ///
    /// # Errors
    /// [`Cause::OutOfBounds`], [`Cause::NotAligned`].
    pub fn read_window(&self, offset: u32, len: u32) -> Result<Self, PartitionError<F::Error>>
    where
        F: ReadNorFlash,
    {
        let aligned = aligned(offset, len as usize, F::READ_SIZE);
        Ok(self.narrowed(offset, len, aligned)?.read_only())
    }

    /// A window of `len` bytes from `offset`, whole erase sectors.
    ///
    /// # Errors
    /// [`Cause::OutOfBounds`], [`Cause::NotAligned`].
    pub fn window(&self, offset: u32, len: u32) -> Result<Self, PartitionError<F::Error>>
    where
        F: NorFlash,
    {
        self.narrowed(offset, len, aligned(offset, len as usize, F::ERASE_SIZE))
    }

    /// Two windows: everything before `mid`, and the rest. `mid` lies on a
    /// sector boundary. (Slot and spare sector are made this way.)
    ///
    /// # Errors
    /// [`Cause::OutOfBounds`], [`Cause::NotAligned`].
    pub fn split_at(&self, mid: u32) -> Result<(Self, Self), PartitionError<F::Error>>
    where
        F: NorFlash,
    {
        let head = self.window(0, mid)?;
        let tail = self.window(mid, self.view.len.saturating_sub(mid))?;
        Ok((head, tail))
    }

    fn narrowed(
        &self,
        offset: u32,
        len: u32,
        aligned: bool,
    ) -> Result<Self, PartitionError<F::Error>> {
        match self
            .view
            .locate(offset, len as usize, aligned, Permissions::NONE)
        {
            Ok(_) => Ok(Self {
                flash: self.flash,
                view: View {
                    base: self.view.base.saturating_add(offset),
                    len,
                    ..self.view
                },
            }),
            Err(refusal) => Err(self.refused(offset, refusal)),
        }
    }
}

impl<F: ErrorType> ErrorType for Partition<'_, F> {
    type Error = PartitionError<F::Error>;
}

impl<F: ReadNorFlash> ReadNorFlash for Partition<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let (len, aligned) = (bytes.len(), aligned(offset, bytes.len(), F::READ_SIZE));
        self.access(offset, len, aligned, Permissions::READ, |flash, at| {
            flash.read(at, bytes)
        })
    }

    fn capacity(&self) -> usize {
        self.view.len as usize
    }
}

impl<F: NorFlash> NorFlash for Partition<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let Some(len) = to.checked_sub(from) else {
            return Err(self.error(from, Cause::OutOfBounds));
        };
        let aligned = aligned(from, len as usize, F::ERASE_SIZE);
        self.access(
            from,
            len as usize,
            aligned,
            Permissions::WRITE,
            |flash, at| flash.erase(at, at.saturating_add(len)),
        )
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let (len, aligned) = (bytes.len(), aligned(offset, bytes.len(), F::WRITE_SIZE));
        self.access(offset, len, aligned, Permissions::WRITE, |flash, at| {
            flash.write(at, bytes)
        })
    }
}
