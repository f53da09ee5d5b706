//! Values of the header fields a download depends on.

/// `Content-Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First and last byte; `None` for `bytes */n`.
    pub bytes: Option<(u64, u64)>,
    /// Size of the whole file; `None` for `*`.
    pub total: Option<u64>,
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |v, b| {
        let d = b.checked_sub(b'0').filter(|d| *d < 10)?;
        v.checked_mul(10)?.checked_add(u64::from(d))
    })
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let i = text.iter().position(|b| *b == at)?;
    Some((text.get(..i)?, text.get(i + 1..)?))
}

impl ContentRange {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = split(value, b' ')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let (bytes, total) = split(rest.trim_ascii_start(), b'/')?;
        let bytes = match bytes {
            b"*" => None,
            text => {
                let (first, last) = split(text, b'-')?;
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                Some((first, last))
            }
        };
        let total = match total {
            b"*" => None,
            text => Some(number(text)?),
        };
        Some(ContentRange { bytes, total })
    }
}

/// 32-bit FNV-1a: a changed file is told by the digest in the end; this only saves the download.
pub(super) fn fnv(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}
pub(super) const FNV_START: u32 = 0x811c_9dc5;
