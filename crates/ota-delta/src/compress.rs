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

/// The image as .xz, if a device is better off with that than with a patch of `patch`
/// bytes, which saves less than a tenth of it: .xz needs no old image, and new code in a
/// patch takes several times as long to decode.
///
/// # Errors
/// The encoder's own.
pub fn instead_of_patch(patch: usize, image: &[u8]) -> io::Result<Option<Vec<u8>>> {
    // Nothing packs this well that is not nearly empty.
    if patch < image.len() / 4 {
        return Ok(None);
    }
    let packed = xz(image)?;
    Ok((packed.len() / 10 * 9 <= patch).then_some(packed))
}
