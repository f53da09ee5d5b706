#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

use hal_mk3060::line_code::{CODED_LINE, LINE, decode_line};

mod keys {
    use ota_verify::RsaPublicKey;

    include!(concat!(env!("OUT_DIR"), "/keys.rs"));
}

/// Public keys that this build demands of images: those that `UOTA_BOOT_KEYS`
/// named when it was built. None: images are checked by digest only. The
/// application is built together with its loader and demands the same.
pub use keys::KEYS;

/// Bytes of the information block.
pub const INFO_LEN: usize = 96;

/// Capabilities, as bits.
pub mod capability {
    /// Full images are installed by swapping, and reverted.
    pub const SWAP: u32 = 1 << 0;
    /// nbdiff patches are rebuilt and then swapped.
    pub const PATCH_SWAP: u32 = 1 << 1;
    /// Requests of C firmware through `PARAMETER_1`.
    pub const MAILBOX: u32 = 1 << 2;
    /// Images must carry a valid signature.
    pub const SIGNED_ONLY: u32 = 1 << 3;
    /// Images can be received over the console.
    pub const SERIAL_RECOVERY: u32 = 1 << 4;
}

const MAGIC: [u8; 8] = *b"UOTABOOT";
const FORMAT: u16 = 1;

/// What the loader says about itself, at logical address
/// [`LOADER_INFO`](hal_mk3060::memory::LOADER_INFO).
///
/// Little endian: magic `UOTABOOT`, u16 format (1), u16 journal version, u32
/// capabilities, version as 32 bytes of text filled up with zeros, reserved
/// zeros, and in the last four bytes the CRC-32 of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderInfo {
    /// Version of the boot journal it writes; it reads this and older ones.
    pub journal_version: u16,
    /// Bits of [`capability`].
    pub capabilities: u32,
    version: [u8; 32],
}

impl LoaderInfo {
    /// The block of a loader; a longer `version` is cut.
    #[must_use]
    pub const fn new(journal_version: u16, capabilities: u32, version: &str) -> Self {
        let mut text = [0; 32];
        let version = version.as_bytes();
        let mut i = 0;
        while i < version.len() && i < text.len() {
            text[i] = version[i];
            i += 1;
        }
        Self {
            journal_version,
            capabilities,
            version: text,
        }
    }

    /// Version of the loader.
    #[must_use]
    pub fn version(&self) -> &str {
        let len = self.version.iter().position(|b| *b == 0).unwrap_or(32);
        self.version
            .get(..len)
            .and_then(|text| core::str::from_utf8(text).ok())
            .unwrap_or("")
    }

    /// The block as it lies in the loader.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; INFO_LEN] {
        let mut bytes = [0; INFO_LEN];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT.to_le_bytes());
        put(&mut bytes, 10, &self.journal_version.to_le_bytes());
        put(&mut bytes, 12, &self.capabilities.to_le_bytes());
        put(&mut bytes, 16, &self.version);
        let (covered, _) = bytes.split_at(INFO_LEN - 4);
        let crc = ota_verify::crc32(covered);
        put(&mut bytes, INFO_LEN - 4, &crc.to_le_bytes());
        bytes
    }

    /// Reads a block; `None` when it is none (another loader is there).
    #[must_use]
    pub fn parse(bytes: &[u8; INFO_LEN]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let (head, rest) = covered.split_first_chunk::<16>()?;
        let (version, _) = rest.split_first_chunk::<32>()?;
        let [magic @ .., f0, f1, j0, j1, c0, c1, c2, c3] = *head;
        let fits = magic == MAGIC
            && u16::from_le_bytes([f0, f1]) == FORMAT
            && u32::from_le_bytes(*crc) == ota_verify::crc32(covered);
        fits.then_some(Self {
            journal_version: u16::from_le_bytes([j0, j1]),
            capabilities: u32::from_le_bytes([c0, c1, c2, c3]),
            version: *version,
        })
    }

    /// Flash offset of the coded block, see [`LoaderInfo::parse_coded`].
    pub const FLASH_OFFSET: u32 =
        match hal_mk3060::line_code::flash_offset(hal_mk3060::memory::LOADER_INFO) {
            Some(offset) => offset,
            None => 0,
        };
    /// Flash bytes of the coded block.
    pub const CODED_LEN: usize = INFO_LEN / LINE * CODED_LINE;

    /// Reads a block as the flash controller shows it.
    #[must_use]
    pub fn parse_coded(coded: &[u8; Self::CODED_LEN]) -> Option<Self> {
        let mut plain = [0; INFO_LEN];
        for (to, line) in plain
            .as_chunks_mut::<LINE>()
            .0
            .iter_mut()
            .zip(coded.as_chunks::<CODED_LINE>().0)
        {
            *to = decode_line(line)?;
        }
        Self::parse(&plain)
    }
}

const fn put(bytes: &mut [u8; INFO_LEN], at: usize, part: &[u8]) {
    let mut i = 0;
    while i < part.len() && at + i < INFO_LEN {
        bytes[at + i] = part[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal_mk3060::line_code::encode_line;

    const INFO: LoaderInfo =
        LoaderInfo::new(1, capability::SWAP | capability::MAILBOX, "boot2-1.2.3");

    #[test]
    fn golden_bytes() {
        let bytes = INFO.to_bytes();
        assert_eq!(&bytes[..16], b"UOTABOOT\x01\0\x01\0\x05\0\0\0");
        assert_eq!(&bytes[16..28], b"boot2-1.2.3\0");
        assert!(bytes[28..92].iter().all(|b| *b == 0));
        assert_eq!(LoaderInfo::parse(&bytes), Some(INFO));
        assert_eq!(INFO.version(), "boot2-1.2.3");
    }

    #[test]
    fn anything_else_is_another_loader() {
        let bytes = INFO.to_bytes();
        for at in 0..INFO_LEN {
            let mut bad = bytes;
            bad[at] ^= 0x40;
            assert_eq!(LoaderInfo::parse(&bad), None, "byte {at}");
        }
        assert_eq!(LoaderInfo::parse(&[0xFF; INFO_LEN]), None);
        assert_eq!(
            LoaderInfo::parse_coded(&[0xFF; LoaderInfo::CODED_LEN]),
            None
        );
    }

    #[test]
    fn it_is_found_through_the_flash_controller() {
        let mut coded = [0; LoaderInfo::CODED_LEN];
        let plain = INFO.to_bytes();
        for (to, line) in coded.chunks_mut(CODED_LINE).zip(plain.chunks(LINE)) {
            to.copy_from_slice(&encode_line(line.try_into().unwrap()));
        }
        assert_eq!(LoaderInfo::parse_coded(&coded), Some(INFO));
        // 0x12040 is two lines after flash 0x13200.
        assert_eq!(LoaderInfo::FLASH_OFFSET, 0x1_3200 + 68);
    }
}
