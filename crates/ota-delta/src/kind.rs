//! What a downloaded package is, told by its first bytes.

use crate::{nbdiff, ptr, xz};

/// Kinds of packages the cloud may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageKind {
    /// AliOS nbdiff patch (`BSDIFF40`): stored, applied by the boot loader.
    Nbdiff,
    /// Pointer-aware patch: applied while it is downloaded.
    Ptr,
    /// Full image as .xz, dictionary at most 32 KiB: decoded while it is downloaded.
    Xz,
    /// Anything else: a full image as it is.
    Plain,
}

impl PackageKind {
    /// First bytes [`detect`](Self::detect) wants to see.
    pub const DETECT_LEN: usize = 8;

    /// Tells the kind from the package's first bytes; all of a shorter package.
    pub fn detect(first: &[u8]) -> Self {
        if first.starts_with(&nbdiff::MAGIC) {
            PackageKind::Nbdiff
        } else if first.starts_with(&ptr::MAGIC) {
            PackageKind::Ptr
        } else if first.starts_with(&xz::MAGIC) {
            PackageKind::Xz
        } else {
            PackageKind::Plain
        }
    }
}
