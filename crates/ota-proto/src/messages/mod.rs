//! What a device and the cloud say to each other about an upgrade, in JSON.
//!
//! | message | direction | here |
//! |---|---|---|
//! | inform (version) | up | [`write_inform`] |
//! | progress | up | [`write_progress`] |
//! | firmware/get | up | [`write_firmware_get`] |
//! | upgrade, firmware/get_reply | down | [`Push::parse`] |
//!
//! Ids go out as decimal strings; they come back as strings or numbers and are
//! not needed. Shapes follow the platform's documentation of
//! `thing.ota.firmware.get`, `/ota/device/inform` and `/ota/device/progress`.

mod digest;
mod offer;
pub use digest::{Digest, Method};
pub use offer::{
    DIGESTSIGN_MAX, Diff, Field, Offer, OfferError, OfferRef, Push, URL_MAX, VERSION_MAX,
};

use serde::Serialize;

/// The cloud's progress code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many percent are done, 1 to 100.
    Percent(u8),
    /// -1: the upgrade failed for a reason the other codes do not name.
    Upgrade,
    /// -2: the download failed.
    Download,
    /// -3: digest, signature or image check failed.
    Check,
    /// -4: flash could not be written.
    Burn,
}

impl Step {
    /// The number the cloud knows. Percentages are brought into 1..=100.
    pub fn code(self) -> i8 {
        match self {
            Step::Percent(p) => p.clamp(1, 100) as i8,
            Step::Upgrade => -1,
            Step::Download => -2,
            Step::Check => -3,
            Step::Burn => -4,
        }
    }
}

/// The buffer is too small for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("buffer too small for the message")
    }
}

impl core::error::Error for NoRoom {}

#[derive(Serialize)]
struct Message<'a, P> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    params: P,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
}

#[derive(Serialize)]
struct Inform<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
}

#[derive(Serialize)]
struct Progress<'a> {
    step: &'a str,
    desc: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
}

#[derive(Serialize)]
struct Get<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<&'a str>,
}

/// Decimal text of an `i64`, without the formatting machinery.
pub(crate) struct Decimal {
    text: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(crate) fn new(value: i64) -> Self {
        let mut d = Decimal {
            text: [b'0'; 20],
            start: 20,
        };
        let mut rest = value.unsigned_abs();
        loop {
            d.put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            d.put(b'-');
        }
        d
    }

    fn put(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(slot) = self.text.get_mut(self.start) {
            *slot = byte;
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.text
            .get(self.start..)
            .and_then(|t| core::str::from_utf8(t).ok())
            .unwrap_or("0")
    }
}

fn write<P: Serialize>(
    out: &mut [u8],
    id: u32,
    params: P,
    call: Option<&str>,
) -> Result<usize, NoRoom> {
    let id = Decimal::new(i64::from(id));
    let message = Message {
        id: id.as_str(),
        version: call.map(|_| "1.0"),
        params,
        method: call,
    };
    serde_json_core::to_slice(&message, out).map_err(|_| NoRoom)
}

/// Writes the report of the running version, `{"id":"1","params":{"version":"1.0.0"}}`,
/// and gives its length. `module` is left out for the device itself.
pub fn write_inform(
    out: &mut [u8],
    id: u32,
    version: &str,
    module: Option<&str>,
) -> Result<usize, NoRoom> {
    write(out, id, Inform { version, module }, None)
}

/// Writes a progress report, `{"id":"2","params":{"step":"10","desc":""}}`, and gives its length.
pub fn write_progress(
    out: &mut [u8],
    id: u32,
    step: Step,
    desc: &str,
    module: Option<&str>,
) -> Result<usize, NoRoom> {
    let step = Decimal::new(i64::from(step.code()));
    write(
        out,
        id,
        Progress {
            step: step.as_str(),
            desc,
            module,
        },
        None,
    )
}

/// Writes the question for the newest offer,
/// `{"id":"3","version":"1.0","params":{},"method":"thing.ota.firmware.get"}`, and gives its length.
pub fn write_firmware_get(out: &mut [u8], id: u32, module: Option<&str>) -> Result<usize, NoRoom> {
    write(out, id, Get { module }, Some("thing.ota.firmware.get"))
}

#[cfg(test)]
mod tests;
