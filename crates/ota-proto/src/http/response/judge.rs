//! What a complete header section means for the range that was asked for.

use super::{ContentRange, Head, HttpError, Response, State, Validator};

impl Response {
    fn validator(&self) -> Option<Validator> {
        match (self.etag, self.modified) {
            (Some(hash), _) => Some(Validator { hash, etag: true }),
            (None, Some(hash)) => Some(Validator { hash, etag: false }),
            (None, None) => None,
        }
    }

    /// The header section is complete: judge it.
    pub(super) fn head_end(&mut self, location: &[u8]) -> Result<Option<Head>, HttpError> {
        match self.status {
            // Switching protocols was not asked for.
            101 => return Err(HttpError::Status(101)),
            100..=199 => {
                // Interim: another header section follows. Keep the count against endless ones.
                let head_bytes = self.head_bytes;
                *self = Response {
                    head_bytes,
                    ..Response::new(self.range, self.known)
                };
                return Ok(None);
            }
            200 | 206 => {}
            301 | 302 | 303 | 307 | 308 => {
                let len = self.location.filter(|n| *n > 0 && *n <= location.len());
                self.state = State::Redirect(len.ok_or(HttpError::Location)?);
                return Ok(None);
            }
            401 | 403 | 404 | 410 => return Err(HttpError::Expired(self.status)),
            408 | 425 | 429 | 500..=599 => return Err(HttpError::Unavailable(self.status)),
            416 => return self.nothing_left(),
            other => return Err(HttpError::Status(other)),
        }
        if self.encoded {
            return Err(HttpError::ContentEncoding);
        }
        if self.transfer {
            return Err(HttpError::TransferEncoding);
        }
        if self.multipart {
            return Err(HttpError::Multipart);
        }
        let validator = self.validator();
        if let (Some(new), Some(old)) = (validator, self.known)
            && new.etag == old.etag
            && new.hash != old.hash
        {
            return Err(HttpError::Changed);
        }
        let ranged = self.status == 206;
        if ranged {
            self.partial()?
        } else {
            self.whole()?
        }
        let total = u64::from(self.skip) + u64::from(self.left);
        self.state = if self.chunked {
            State::ChunkSize
        } else if let Some(n) = self.content_length {
            if n != total {
                return Err(HttpError::WrongLength);
            }
            State::Fixed(n)
        } else {
            State::UntilClose
        };
        // Both framings at once: the length is not to be trusted, nor the connection.
        self.close |= self.chunked && self.content_length.is_some();
        self.len = 0;
        self.head_bytes = 0;
        Ok(Some(Head {
            status: self.status,
            ranged,
            len: self.left,
            validator,
        }))
    }

    fn size_is(&self, found: u64) -> Result<(), HttpError> {
        let offered = self.range.size;
        if found != u64::from(offered) {
            return Err(HttpError::SizeMismatch { offered, found });
        }
        Ok(())
    }

    fn partial(&mut self) -> Result<(), HttpError> {
        let range = self
            .content_range
            .filter(|_| !self.bad_range)
            .ok_or(HttpError::WrongRange)?;
        if let Some(total) = range.total {
            self.size_is(total)?;
        }
        let (first, last) = range.bytes.ok_or(HttpError::WrongRange)?;
        // A server may send less than was asked for, but not other bytes.
        if first != u64::from(self.range.start) || last >= u64::from(self.range.end) {
            return Err(HttpError::WrongRange);
        }
        self.left = u32::try_from(last - first + 1).map_err(|_| HttpError::WrongRange)?;
        Ok(())
    }

    fn whole(&mut self) -> Result<(), HttpError> {
        if let (Some(n), false) = (self.content_length, self.chunked) {
            self.size_is(n)?;
        }
        self.skip = self.range.start.min(self.range.size);
        self.left = self.range.size - self.skip;
        Ok(())
    }

    /// 416.
    fn nothing_left(&mut self) -> Result<Option<Head>, HttpError> {
        if let Some(ContentRange {
            total: Some(total), ..
        }) = self.content_range
        {
            self.size_is(total)?;
        }
        if self.range.start < self.range.size {
            return Err(HttpError::RangeRefused);
        }
        self.close = true;
        self.state = State::Done;
        Ok(None)
    }
}
