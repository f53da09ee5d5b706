//! Making patches that the original AliOS boot loader accepts.

use super::{DICT, HEADER_LEN, MAGIC};
use crate::matching::{Index, approximate};
use lzma_rust2::{CheckType, LzmaOptions, XzOptions, XzWriter};
use ota_verify::crc16_xmodem;
use std::io::Write;
use std::vec::Vec;

/// How a patch is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of new image per section: the device's `SPLICT_SIZE`.
    pub slice: u32,
    /// Dictionary of the .xz streams in bytes: 4 KiB to 16 KiB. 4 KiB suits ESP8266 too.
    pub dict: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            slice: super::SLICE,
            dict: DICT as u32,
        }
    }
}

/// Why no patch was made.
#[derive(Debug)]
pub enum EncodeError {
    /// An image is empty or larger than 2 GiB.
    ImageLength,
    /// The slice size is 0 or not a multiple of 4 KiB.
    Slice,
    /// The dictionary is not 4, 6, 8, 12 or 16 KiB.
    Dictionary,
    /// The .xz encoder failed.
    Xz(std::io::Error),
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            EncodeError::ImageLength => f.write_str("an image is empty or larger than 2 GiB"),
            EncodeError::Slice => f.write_str("the slice size is no multiple of 4096"),
            EncodeError::Dictionary => f.write_str("the dictionary is not 4, 6, 8, 12 or 16 KiB"),
            EncodeError::Xz(e) => write!(f, "the .xz encoder failed: {e}"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Makes a patch from `old` to `new`; `progress` is told the share done, 0 to 1.
///
/// # Errors
/// [`EncodeError`].
pub fn encode(
    old: &[u8],
    new: &[u8],
    options: &Options,
    progress: &(dyn Fn(f32) + Sync),
) -> Result<Vec<u8>, EncodeError> {
    if new.is_empty() || old.len().max(new.len()) > i32::MAX as usize {
        return Err(EncodeError::ImageLength);
    }
    if options.slice == 0 || !options.slice.is_multiple_of(4096) {
        return Err(EncodeError::Slice);
    }
    if ![4, 6, 8, 12, 16].contains(&(options.dict / 1024)) || !options.dict.is_multiple_of(1024) {
        return Err(EncodeError::Dictionary);
    }
    let slice = options.slice as usize;
    let count = new.len().div_ceil(slice);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(count);
    // Slices do not depend on each other: every thread takes each `threads`-th one.
    let parts = std::thread::scope(|scope| {
        let work = |first: usize| {
            let done = &done;
            move || -> Result<Vec<(usize, Vec<u8>)>, EncodeError> {
                let mut made = Vec::new();
                for k in (first..count).step_by(threads) {
                    made.push((k, section(old, new, k * slice, options)?));
                    let n = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    progress(n as f32 / count as f32);
                }
                Ok(made)
            }
        };
        let handles: Vec<_> = (0..threads).map(|t| scope.spawn(work(t))).collect();
        let mut parts = Vec::new();
        for h in handles {
            match h.join() {
                Ok(part) => parts.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, EncodeError>(parts)
    });
    let mut parts = parts?;
    parts.sort_by_key(|(k, _)| *k);
    Ok(parts.into_iter().flat_map(|(_, bytes)| bytes).collect())
}

fn number(v: i64) -> [u8; 8] {
    let mut bytes = v.unsigned_abs().to_le_bytes();
    if v < 0 {
        bytes[7] |= 0x80;
    }
    bytes
}

fn section(
    old: &[u8],
    new: &[u8],
    start: usize,
    options: &Options,
) -> Result<Vec<u8>, EncodeError> {
    let end = new.len().min(start + options.slice as usize);
    let target = &new[start..end];
    let mut view = new[..start].to_vec();
    view.extend_from_slice(old.get(start..).unwrap_or(&[]));
    let index = Index::new(&view);
    let mut best: Option<Vec<u8>> = None;
    for min_gain in [8, 16, 32] {
        let (mut control, mut diff, mut extra) = (Vec::new(), Vec::new(), Vec::new());
        let matches = approximate(&index, target, target, &view, min_gain);
        let mut triple = |add: usize, copy: usize, seek: i64| {
            for v in [add as i64, copy as i64, seek] {
                control.extend_from_slice(&number(v));
            }
        };
        let first = matches.first();
        let lead = first.map_or(target.len(), |m| m.new);
        if lead != 0 || first.is_some_and(|m| m.old != 0) {
            triple(0, lead, first.map_or(0, |m| m.old as i64));
            extra.extend_from_slice(&target[..lead]);
        }
        for (i, m) in matches.iter().enumerate() {
            let next = matches.get(i + 1);
            let after = m.new + m.len;
            let gap_end = next.map_or(target.len(), |n| n.new);
            triple(
                m.len,
                gap_end - after,
                next.map_or(0, |n| n.old as i64 - (m.old + m.len) as i64),
            );
            diff.extend((0..m.len).map(|k| target[m.new + k].wrapping_sub(view[m.old + k])));
            extra.extend_from_slice(&target[after..gap_end]);
        }
        let streams = [
            xz(&control, options)?,
            xz(&diff, options)?,
            // No stream at all is shorter than an empty one, and as good.
            if extra.is_empty() {
                Vec::new()
            } else {
                xz(&extra, options)?
            },
        ];
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        for s in &streams {
            out.extend_from_slice(&number(s.len() as i64));
        }
        out.extend_from_slice(&number(target.len() as i64));
        out.extend_from_slice(&number(i64::from(crc16_xmodem(0, target))));
        out.extend(streams.into_iter().flatten());
        if best.as_ref().is_none_or(|b| out.len() < b.len()) {
            best = Some(out);
        }
    }
    Ok(best.unwrap_or_default())
}

fn xz(data: &[u8], options: &Options) -> Result<Vec<u8>, EncodeError> {
    let mut o = XzOptions::with_preset(9);
    o.lzma_options = LzmaOptions {
        dict_size: options.dict,
        lc: 3,
        lp: 0,
        pb: 2,
        ..LzmaOptions::with_preset(9)
    };
    o.set_check_sum_type(CheckType::Crc32);
    let mut w = XzWriter::new(Vec::new(), o).map_err(EncodeError::Xz)?;
    w.write_all(data).map_err(EncodeError::Xz)?;
    w.finish().map_err(EncodeError::Xz)
}
