//! How logical image bytes lie on flash.

/// The way from an offset in the program as linked to an offset in the file.
///
/// Digests always cover the bytes as they lie on flash; only the descriptor is
/// looked up through this mapping. The CRC bytes of coded lines are not checked
/// here: the digest over all bytes says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// File offset and image offset are the same.
    Plain,
    /// `pad` bytes, then lines of 32 data bytes and 2 CRC bytes (BK7231).
    Lines34 {
        /// Bytes in front of the first line.
        pad: u16,
    },
}

impl Coding {
    /// The MK3060's application slot: 28 pad bytes bring the first line to a
    /// multiple of 34 from the start of flash.
    pub const MK3060: Self = Self::Lines34 { pad: 28 };

    /// Where logical byte `offset` lies in the file, or `None` above 4 GiB.
    #[must_use]
    pub const fn to_file(self, offset: u32) -> Option<u32> {
        match self {
            Self::Plain => Some(offset),
            Self::Lines34 { pad } => {
                let crcs = (offset / 32) * 2 + pad as u32;
                offset.checked_add(crcs)
            }
        }
    }

    /// How many file bytes an image of `len` logical bytes takes (its last line
    /// is filled up), or `None` above 4 GiB.
    #[must_use]
    pub const fn file_len(self, len: u32) -> Option<u32> {
        match self {
            Self::Plain => Some(len),
            Self::Lines34 { pad } => {
                // Not `checked_mul`, which multiplies 64 bits.
                let lines = len.div_ceil(32);
                if lines > u32::MAX / 34 {
                    None
                } else {
                    (lines * 34).checked_add(pad as u32)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_the_identity() {
        assert_eq!(Coding::Plain.to_file(0x40), Some(0x40));
        assert_eq!(Coding::Plain.file_len(u32::MAX), Some(u32::MAX));
    }

    #[test]
    fn lines_follow_the_hardware_address_rule() {
        // From flash offset 0 without a pad: CPU address -> flash offset.
        let cpu = Coding::Lines34 { pad: 0 };
        for (logical, flash) in [
            (0x12000, 0x13200),
            (0x16C00, 0x182C0),
            (0x1A5C0, 0x1C01C),
            (0x10000, 0x11000),
        ] {
            assert_eq!(cpu.to_file(logical), Some(flash));
        }
        // The slot starts at 0x1C000; logical 0x1A5C0 is the first byte after the pad.
        for offset in [0u32, 31, 32, 33, 0x40, 0x9F, 5000] {
            assert_eq!(
                Coding::MK3060.to_file(offset).map(|at| at + 0x1C000),
                cpu.to_file(0x1A5C0 + offset)
            );
        }
    }

    #[test]
    fn lengths_fill_the_last_line() {
        let c = Coding::MK3060;
        assert_eq!(c.file_len(0), Some(28));
        assert_eq!(c.file_len(1), Some(62));
        assert_eq!(c.file_len(32), Some(62));
        assert_eq!(c.file_len(33), Some(96));
        assert_eq!(c.file_len(u32::MAX), None);
        assert_eq!(c.to_file(u32::MAX), None);
    }
}
