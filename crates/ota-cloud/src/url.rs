//! Download addresses that expire.
//!
//! `BASE/ota/MD5/FILE?Expires=UNIX&task=N&Signature=HEX`: HMAC-SHA256 over path,
//! expiry and task with a key that never leaves the data directory.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write as _;

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No or malformed parameters, or the signature does not fit.
    Signature,
    /// Its time is over.
    Expired,
}

/// Signs and checks addresses.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Vec<u8>,
}

impl Signer {
    pub(crate) fn new(key: &str) -> Self {
        Self {
            key: key.as_bytes().to_vec(),
        }
    }

    fn mac(&self, path: &str, expires: i64, task: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
        mac.update(format!("GET\n{path}\n{expires}\n{task}").as_bytes());
        mac
    }

    /// Path and query of a file. `expires`: seconds since 1970. `pad`: bytes of
    /// filler, because the addresses of the real cloud are long.
    pub(crate) fn sign(&self, path: &str, expires: i64, task: i64, pad: usize) -> String {
        let signature = crate::digest::hex(&self.mac(path, expires, task).finalize().into_bytes());
        let mut url = format!("{path}?Expires={expires}&task={task}&Signature={signature}");
        if pad > 0 {
            url.push_str("&security-token=");
            for i in 0..pad {
                let _ = write!(url, "{}", char::from(b'A' + (i % 26) as u8));
            }
        }
        url
    }

    /// Checks a request at time `now` (seconds since 1970); gives the task.
    pub(crate) fn check(&self, path: &str, query: &str, now: i64) -> Result<i64, Refused> {
        let mut fields = (None, None, None);
        for (key, value) in query.split('&').filter_map(|f| f.split_once('=')) {
            match key {
                "Expires" => fields.0 = value.parse().ok(),
                "task" => fields.1 = value.parse().ok(),
                "Signature" => fields.2 = unhex(value),
                _ => {}
            }
        }
        let (Some(expires), Some(task), Some(signature)) = fields else {
            return Err(Refused::Signature);
        };
        // `verify_slice` takes the same time wherever the difference is.
        self.mac(path, expires, task)
            .verify_slice(&signature)
            .map_err(|_| Refused::Signature)?;
        if now >= expires {
            return Err(Refused::Expired);
        }
        Ok(task)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(url: &str) -> (&str, &str) {
        url.split_once('?').unwrap()
    }

    #[test]
    fn an_address_is_good_until_it_expires() {
        let s = Signer::new("k");
        for pad in [0, 600] {
            let url = s.sign("/ota/ab/x.bin", 100, 7, pad);
            let (path, query) = split(&url);
            assert_eq!(s.check(path, query, 99), Ok(7));
            assert_eq!(s.check(path, query, 100), Err(Refused::Expired));
        }
        assert!(s.sign("/p", 1, 1, 600).len() > 600);
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let s = Signer::new("k");
        let url = s.sign("/ota/ab/x.bin", 100, 7, 0);
        let (path, query) = split(&url);
        let wrong = [
            ("/ota/ac/x.bin", query.to_string()),
            (path, query.replace("Expires=100", "Expires=1000")),
            (path, query.replace("task=7", "task=8")),
            (path, query.replace("Signature=", "Signature=00")),
            (path, "Signature=é&task=7&Expires=100".into()),
            (path, "Expires=100&task=7&Signature=".into()),
            (path, "Expires=100&task=7".into()),
            (path, String::new()),
        ];
        for (path, query) in wrong {
            assert_eq!(s.check(path, &query, 0), Err(Refused::Signature), "{query}");
        }
        assert_eq!(
            Signer::new("l").check(path, query, 0),
            Err(Refused::Signature)
        );
    }
}
