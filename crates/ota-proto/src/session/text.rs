//! The texts of an offer that are too long to keep inside the session.

use crate::http::{self, Url, UrlError};
use crate::messages::{Field, OfferError, OfferRef};

/// `digestsign`, URL and room for the target of a redirect, in this order in one buffer.
pub(super) struct Texts<'b> {
    buf: &'b mut [u8],
    sign: usize,
    url: usize,
}

impl<'b> Texts<'b> {
    pub(super) fn new(buf: &'b mut [u8]) -> Self {
        Texts { buf, sign: 0, url: 0 }
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.buf.get(from..to).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("")
    }

    pub(super) fn digestsign(&self) -> Option<&str> {
        Some(self.part(0, self.sign)).filter(|s| !s.is_empty())
    }

    pub(super) fn url(&self) -> &str {
        self.part(self.sign, self.sign + self.url)
    }

    /// Keeps the texts of an offer; on error those before stay.
    pub(super) fn store(&mut self, offer: &OfferRef<'_>) -> Result<(), OfferError> {
        let sign = offer.digestsign.map_or(0, |s| s.len());
        let url = offer.url.len();
        if sign + url > self.buf.len() {
            return Err(OfferError::BadLength(Field::Url));
        }
        if let Some(s) = offer.digestsign {
            s.copy_to(self.buf)?;
        }
        offer.url.copy_to(self.buf.get_mut(sign..).unwrap_or(&mut []))?;
        (self.sign, self.url) = (sign, url);
        Ok(())
    }

    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.sign + self.url..).unwrap_or(&mut [])
    }

    /// Replaces the URL by the redirect whose `Location` lies in the spare room.
    pub(super) fn redirect(&mut self, len: usize) -> Result<(), UrlError> {
        let start = self.sign + self.url;
        let (head, spare) = self.buf.split_at_mut_checked(start).ok_or(UrlError::TooLong)?;
        let url = head.get(self.sign..).and_then(|b| core::str::from_utf8(b).ok());
        let base = Url::parse(url.unwrap_or(""))?;
        let len = http::follow(&base, spare, len)?;
        self.buf.copy_within(start..start + len, self.sign);
        self.url = len;
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        (self.sign, self.url) = (0, 0);
    }
}
