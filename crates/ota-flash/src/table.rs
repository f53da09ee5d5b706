//! Partition tables that are checked while the program is compiled.

use core::cell::RefCell;

use embedded_storage::nor_flash::NorFlash;

use crate::id::PartitionId;
use crate::partition::{Cause, Partition, PartitionError};

/// What may be done to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(u8);

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// May be read.
    pub const READ: Self = Self(1);
    /// May be erased and programmed.
    pub const WRITE: Self = Self(2);
    /// Both.
    pub const READ_WRITE: Self = Self(3);

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether everything in `other` is allowed here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One row of a partition table. Addresses and lengths are bytes of flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEntry {
    pub(crate) id: PartitionId,
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) permissions: Permissions,
    pub(crate) parent: Option<PartitionId>,
}

impl PartitionEntry {
    /// A partition of `len` bytes from flash address `start`.
    pub const fn new(id: PartitionId, start: u32, len: u32, permissions: Permissions) -> Self {
        Self {
            id,
            start,
            len,
            permissions,
            parent: None,
        }
    }

    /// Says that this partition lies inside `parent` on purpose
    /// (`PARAMETER_4` lies inside the boot loader's area on the MK3060).
    #[must_use]
    pub const fn nested_in(mut self, parent: PartitionId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Which partition this is.
    pub const fn id(&self) -> PartitionId {
        self.id
    }

    /// First flash address.
    pub const fn start(&self) -> u32 {
        self.start
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // never empty: the table refuses that
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// First flash address after it.
    pub const fn end(&self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// What may be done to it.
    pub const fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// The partition it is nested in, if any.
    pub const fn parent(&self) -> Option<PartitionId> {
        self.parent
    }

    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    const fn nested_directly_in(&self, other: &Self) -> bool {
        match self.parent {
            Some(p) => p.is(other.id),
            None => false,
        }
    }
}

/// A partition table, checked when it is built.
///
/// Put it in a `const` or `static`: then every mistake is a compile-time error
/// that names the partitions. The table refuses: an id that occurs twice, an
/// empty partition, one that ends past the flash, a start or length that is no
/// multiple of the sector size, an overlap that is not marked with
/// [`PartitionEntry::nested_in`], a nested partition that is not wholly inside
/// its parent or whose parent is missing.
///
/// ```
/// use ota_flash::{PartitionEntry, PartitionId, PartitionTable, Permissions};
///
/// /// The MK3060: 2 MiB of flash in sectors of 4 KiB.
/// const MK3060: PartitionTable<8> = PartitionTable::new(0x20_0000, 0x1000, [
///     PartitionEntry::new(PartitionId::Bootloader, 0x0, 0x1_0000, Permissions::READ),
///     PartitionEntry::new(PartitionId::Parameter4, 0xD000, 0x1000, Permissions::READ_WRITE)
///         .nested_in(PartitionId::Bootloader),
///     PartitionEntry::new(PartitionId::Parameter1, 0x1_0000, 0x1000, Permissions::READ_WRITE),
///     PartitionEntry::new(PartitionId::Parameter2, 0x1_1000, 0x2000, Permissions::READ_WRITE),
///     PartitionEntry::new(PartitionId::Recovery, 0x1_3000, 0x7000, Permissions::READ_WRITE),
///     PartitionEntry::new(PartitionId::RecoveryBackPara, 0x1_A000, 0x2000, Permissions::READ_WRITE),
///     PartitionEntry::new(PartitionId::Application, 0x1_C000, 0xE_5000, Permissions::READ_WRITE),
///     PartitionEntry::new(PartitionId::OtaTemp, 0x10_1000, 0xE_5000, Permissions::READ_WRITE),
/// ]);
/// assert_eq!(MK3060.get(PartitionId::OtaTemp).unwrap().end(), 0x1E_6000);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable<const N: usize> {
    entries: [PartitionEntry; N],
    flash_size: u32,
    sector_size: u32,
}

impl<const N: usize> PartitionTable<N> {
    /// Builds and checks a table for a flash of `flash_size` bytes in erase
    /// sectors of `sector_size` bytes.
    ///
    /// # Panics
    /// On every mistake listed at [`PartitionTable`]; in a `const` that is a
    /// compile-time error.
    #[track_caller]
    pub const fn new(flash_size: u32, sector_size: u32, entries: [PartitionEntry; N]) -> Self {
        if sector_size == 0 {
            panic!("partition table: the sector size is 0");
        }
        let mut i = 0;
        while i < N {
            check_row(&entries, i, flash_size, sector_size);
            i += 1;
        }
        i = 0;
        while i < N {
            check_overlaps(&entries, i);
            i += 1;
        }
        Self {
            entries,
            flash_size,
            sector_size,
        }
    }

    /// The row of `id`, if the table has one.
    pub const fn get(&self, id: PartitionId) -> Option<PartitionEntry> {
        let mut i = 0;
        while i < N {
            if self.entries[i].id.is(id) {
                return Some(self.entries[i]);
            }
            i += 1;
        }
        None
    }

    /// All rows, in the order they were given.
    pub const fn entries(&self) -> &[PartitionEntry; N] {
        &self.entries
    }

    /// Bytes of flash the table was made for.
    pub const fn flash_size(&self) -> u32 {
        self.flash_size
    }

    /// Bytes in an erase sector.
    pub const fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// A view of partition `id` on `flash`.
    ///
    /// # Errors
    /// [`Cause::Missing`] when the table has no such partition,
    /// [`Cause::Geometry`] when the flash is smaller than the table says or its
    /// erase size does not divide the table's sector size,
    /// [`Cause::Busy`] when `flash` is borrowed.
    pub fn open<'a, F: NorFlash>(
        &self,
        flash: &'a RefCell<F>,
        id: PartitionId,
    ) -> Result<Partition<'a, F>, PartitionError<F::Error>> {
        let error = |cause| PartitionError {
            partition: id,
            offset: 0,
            cause,
        };
        let entry = self.get(id).ok_or(error(Cause::Missing))?;
        let capacity = flash
            .try_borrow()
            .map_err(|_| error(Cause::Busy))?
            .capacity();
        if entry.end() as usize > capacity
            || !(self.sector_size as usize).is_multiple_of(F::ERASE_SIZE)
        {
            return Err(error(Cause::Geometry));
        }
        Ok(Partition::from_entry(flash, &entry))
    }
}

/// One row by itself, and against its parent.
#[track_caller]
const fn check_row(entries: &[PartitionEntry], i: usize, flash_size: u32, sector_size: u32) {
    let e = &entries[i];
    if e.len == 0 {
        fail(e.id, " is empty", None, "");
    }
    if !e.start.is_multiple_of(sector_size) || !e.len.is_multiple_of(sector_size) {
        fail(e.id, " is not aligned to the flash's sectors", None, "");
    }
    if e.start > flash_size || e.len > flash_size - e.start {
        fail(e.id, " ends past the end of the flash", None, "");
    }
    let Some(parent) = e.parent else { return };
    let mut k = 0;
    while k < entries.len() {
        let p = &entries[k];
        if p.id.is(parent) && k != i {
            if e.start < p.start || e.end() > p.end() {
                fail(e.id, " is not wholly inside its parent ", Some(parent), "");
            }
            return;
        }
        k += 1;
    }
    fail(
        e.id,
        " is nested in a missing partition: ",
        Some(parent),
        "",
    );
}

/// One row against all that follow.
#[track_caller]
const fn check_overlaps(entries: &[PartitionEntry], i: usize) {
    let e = &entries[i];
    let mut k = i + 1;
    while k < entries.len() {
        let o = &entries[k];
        if e.id.is(o.id) {
            fail(e.id, " occurs twice", None, "");
        }
        let nested = e.nested_directly_in(o) || o.nested_directly_in(e);
        if e.overlaps(o) && !nested {
            fail(
                e.id,
                " overlaps ",
                Some(o.id),
                " (if that is meant, mark the inner one with nested_in)",
            );
        }
        k += 1;
    }
}

/// Ends the build with a message that names the partitions.
#[track_caller]
const fn fail(id: PartitionId, what: &str, other: Option<PartitionId>, hint: &str) -> ! {
    const fn put(text: &mut [u8; 160], mut at: usize, s: &str) -> usize {
        let s = s.as_bytes();
        let mut i = 0;
        while i < s.len() && at < text.len() {
            text[at] = s[i];
            at += 1;
            i += 1;
        }
        at
    }
    let mut text = [b' '; 160];
    let mut at = put(&mut text, 0, "partition table: ");
    at = put(&mut text, at, id.name());
    at = put(&mut text, at, what);
    if let Some(other) = other {
        at = put(&mut text, at, other.name());
    }
    at = put(&mut text, at, hint);
    let (text, _) = text.split_at(at);
    match core::str::from_utf8(text) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("partition table: invalid"),
    }
}
