//! A view that tells someone before its content changes.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Told before the content of a guarded partition changes.
///
/// A boot library that caches "this image is good" implements this to take the
/// verdict back **durably** first. It is asked before every operation, so it
/// should remember what it has already revoked. An error stops the operation:
/// nothing has been erased or programmed then.
pub trait BeforeErase {
    /// What can go wrong while getting ready.
    type Error: NorFlashError;

    /// Bytes `from..to` of the guarded view are about to be erased.
    ///
    /// # Errors
    /// Any error refuses the erase.
    fn before_erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error>;

    /// Bytes `from..to` are about to be programmed, which can only clear bits
    /// but changes the content as well. By default treated like an erase.
    ///
    /// # Errors
    /// Any error refuses the program.
    fn before_write(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.before_erase(from, to)
    }
}

impl<G: BeforeErase> BeforeErase for &mut G {
    type Error = G::Error;
    fn before_erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        G::before_erase(self, from, to)
    }
    fn before_write(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        G::before_write(self, from, to)
    }
}

/// Error of a guarded view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardError<E, G> {
    /// The partition or flash below failed.
    Flash(E),
    /// The guard refused; nothing was changed.
    Refused(G),
}

impl<E: NorFlashError, G: NorFlashError> NorFlashError for GuardError<E, G> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Flash(e) => e.kind(),
            Self::Refused(_) => NorFlashErrorKind::Other,
        }
    }
}

impl<E: core::fmt::Display, G: core::fmt::Debug> core::fmt::Display for GuardError<E, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Flash(e) => e.fmt(f),
            Self::Refused(g) => write!(f, "refused before the change: {g:?}"),
        }
    }
}

impl<E, G> core::error::Error for GuardError<E, G>
where
    E: core::fmt::Display + core::fmt::Debug,
    G: core::fmt::Debug,
{
}

/// A partition (or any NOR flash) whose guard is asked before each change.
#[derive(Debug, Clone)]
pub struct GuardedPartition<P, G> {
    partition: P,
    guard: G,
}

impl<P, G> GuardedPartition<P, G> {
    /// Puts `guard` in front of `partition`.
    pub fn new(partition: P, guard: G) -> Self {
        Self { partition, guard }
    }

    /// The guard.
    pub fn guard(&self) -> &G {
        &self.guard
    }

    /// The guard, mutable.
    pub fn guard_mut(&mut self) -> &mut G {
        &mut self.guard
    }

    /// Partition and guard again.
    pub fn into_parts(self) -> (P, G) {
        (self.partition, self.guard)
    }
}

impl<P: ErrorType, G: BeforeErase> ErrorType for GuardedPartition<P, G> {
    type Error = GuardError<P::Error, G::Error>;
}

impl<P: ReadNorFlash, G: BeforeErase> ReadNorFlash for GuardedPartition<P, G> {
    const READ_SIZE: usize = P::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.partition
            .read(offset, bytes)
            .map_err(GuardError::Flash)
    }

    fn capacity(&self) -> usize {
        self.partition.capacity()
    }
}

impl<P: NorFlash, G: BeforeErase> NorFlash for GuardedPartition<P, G> {
    const WRITE_SIZE: usize = P::WRITE_SIZE;
    const ERASE_SIZE: usize = P::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.guard
            .before_erase(from, to)
            .map_err(GuardError::Refused)?;
        self.partition.erase(from, to).map_err(GuardError::Flash)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let end = offset.saturating_add(bytes.len() as u32);
        self.guard
            .before_write(offset, end)
            .map_err(GuardError::Refused)?;
        self.partition
            .write(offset, bytes)
            .map_err(GuardError::Flash)
    }
}
