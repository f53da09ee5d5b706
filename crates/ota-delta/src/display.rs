//! What the errors say to people.

use crate::xz::XzError;
use crate::{nbdiff, ptr};
use core::fmt::{Display, Formatter, Result};

impl Display for XzError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Magic => "no .xz stream",
            Self::Format => "headers, padding or index of the .xz stream contradict each other",
            Self::HeaderCrc => "a header of the .xz stream is damaged",
            Self::Options => "filters, check or lc/lp/pb of the .xz stream are not supported",
            Self::Dictionary => "the dictionary of the .xz stream is too large",
            Self::Data => "the data of the .xz stream is damaged",
            Self::Check => "the CRC-32 of the .xz stream is wrong",
            Self::Trailing => "bytes follow the .xz stream",
            Self::Truncated => "the .xz stream ends too early",
        })
    }
}

impl Display for nbdiff::Stream {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Diff => "difference",
            Self::Extra => "extra",
        })
    }
}

impl Display for ptr::Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Magic => "no ptr patch",
            Self::Unsupported => "the patch is of a version or for an architecture not known here",
            Self::Header => "the header is damaged",
            Self::Refused => "made against another image, or there is no room",
            Self::Map => "the address map is damaged",
            Self::SliceHeader => "a slice has an impossible length",
            Self::Range => "a copy reaches out of its image",
            Self::Crc => "the CRC-32 of a slice is wrong",
            Self::Trailing => "bytes follow the last slice",
            Self::Truncated => "the patch ends too early",
            Self::OldIo => "the old image could not be read",
            Self::NewIo => "the new image could not be written or read back",
        })
    }
}

impl Display for nbdiff::Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Magic => "a section does not begin with BSDIFF40",
            Self::Length => "a length in a header is impossible",
            Self::SliceLength => "a section does not make a slice",
            Self::CrcField => "the CRC-16 in a header is negative",
            Self::Truncated => "the patch ends inside a section",
            Self::Control => "a step reaches out of its slice or image",
            Self::Xz(stream, e) => return write!(f, "{stream} stream: {e}"),
            Self::Surplus(stream) => {
                return write!(f, "the {stream} stream is longer than what is used of it");
            }
            Self::Crc => "the CRC-16 of a slice is wrong",
            Self::PatchIo => "the patch could not be read",
            Self::OldIo => "the old image could not be read",
        })
    }
}

impl core::error::Error for XzError {}
impl core::error::Error for ptr::Error {}
impl core::error::Error for nbdiff::Error {}
