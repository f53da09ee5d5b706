//! Making .xz images that a device decodes while it downloads them.

use lzma_rust2::{CheckType, LzmaOptions, XzOptions, XzWriter};
use std::io::{self, Write};
use std::vec::Vec;

/// Dictionary of [`xz`] in bytes: the largest a device takes.
pub const DICTIONARY: u32 = 32 * 1024;

/// Packs an image as .xz: one stream, CRC-32, dictionary of 32 KiB. The best of a few
/// settings for literals; machine code likes them different.
///
/// # Errors
/// The encoder's own.
pub fn xz(image: &[u8]) -> io::Result<Vec<u8>> {
    let mut best: Option<Vec<u8>> = None;
    for (lc, lp, pb) in [(3, 0, 2), (2, 1, 1), (1, 2, 2), (0, 2, 2)] {
        let mut options = XzOptions::with_preset(9);
        options.lzma_options = LzmaOptions {
            dict_size: DICTIONARY,
            lc,
            lp,
            pb,
            ..LzmaOptions::with_preset(9)
        };
        options.set_check_sum_type(CheckType::Crc32);
        let mut writer = XzWriter::new(Vec::new(), options)?;
        writer.write_all(image)?;
        let made = writer.finish()?;
        if best.as_ref().is_none_or(|b| made.len() < b.len()) {
            best = Some(made);
        }
    }
    Ok(best.unwrap_or_default())
}

/// Whether to look how long an image is as .xz, when its patch is so long: nothing packs
/// to a quarter that is not nearly empty.
#[must_use]
pub const fn worth_packing(image: u64, patch: u64) -> bool {
    patch >= image / 4
}

/// Whether a device is better off with so many bytes of .xz than with a patch of `patch`
/// bytes, which saves less than a tenth of them: .xz needs no old image, and new code in
/// a patch takes several times as long to decode.
#[must_use]
pub const fn beats_patch(packed: u64, patch: u64) -> bool {
    packed / 10 * 9 <= patch
}
