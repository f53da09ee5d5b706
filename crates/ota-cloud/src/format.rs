//! What a package is made like.

use crate::{Error, Mode, Result};
use serde::Serialize;
use std::str::FromStr;

/// Format of a package. A device tells it by the first bytes; in an upgrade message
/// only nbdiff is marked (`isDiff`, `splictSize`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The file as it is: every device takes it. Default of [`Mode::Full`].
    Plain,
    /// The file as .xz, dictionary 32 KiB: for devices that decode it while they
    /// download (uota with feature `xz`).
    Xz,
    /// AliOS's own patch: original devices take it. Default of [`Mode::Diff`].
    Nbdiff,
    /// Pointer-aware patch, applied while it is downloaded: for devices that run uota
    /// with feature `ptr`.
    Ptr,
    /// Whichever patch is smaller, or the whole as .xz where a patch saves less than a
    /// tenth of it, for devices whose running image has an image descriptor, as uota's
    /// have; nbdiff for others.
    Auto,
}

impl Format {
    /// What devices are sent unless said otherwise.
    pub const fn default_for(mode: Mode) -> Self {
        match mode {
            Mode::Full => Self::Plain,
            Mode::Diff => Self::Nbdiff,
        }
    }

    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Xz => "xz",
            Self::Nbdiff => "nbdiff",
            Self::Ptr => "ptr",
            Self::Auto => "auto",
        }
    }

    /// Whether packages of `mode` can be made like this.
    pub const fn fits(self, mode: Mode) -> bool {
        match self {
            Self::Plain | Self::Xz => matches!(mode, Mode::Full),
            Self::Nbdiff | Self::Ptr | Self::Auto => matches!(mode, Mode::Diff),
        }
    }

    /// The format asked for, or the mode's own.
    pub(crate) fn choose(asked: Option<Self>, mode: Mode) -> Result<Self> {
        match asked {
            None => Ok(Self::default_for(mode)),
            Some(format) if format.fits(mode) => Ok(format),
            Some(format) => Err(Error::Format { format, mode }),
        }
    }

    /// From the database, where rows of earlier versions have none.
    pub(crate) fn stored(name: Option<String>, mode: Mode) -> Self {
        name.and_then(|n| n.parse().ok())
            .unwrap_or(Self::default_for(mode))
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let all = [Self::Plain, Self::Xz, Self::Nbdiff, Self::Ptr, Self::Auto];
        let found = all.into_iter().find(|f| f.as_str() == s);
        found.ok_or_else(|| format!("`{s}` is none of plain, xz, nbdiff, ptr and auto"))
    }
}
