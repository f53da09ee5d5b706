//! What can be wrong with a response.

/// Why a response cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// Not an HTTP/1.x response, or broken framing.
    Malformed,
    /// The header section is longer than 16 KiB.
    HeadTooLong,
    /// 403, 404 or 410 (also 401): the URL is no longer good; ask for a fresh one.
    Expired(u16),
    /// 408, 425, 429 or 5xx: try again later.
    Unavailable(u16),
    /// Another status that is no success.
    Status(u16),
    /// 206 without a usable `Content-Range`, or with one that starts elsewhere.
    WrongRange,
    /// The file on the server has another size than the offer says.
    SizeMismatch {
        /// Size by the offer.
        offered: u32,
        /// Size by the server.
        found: u64,
    },
    /// `Content-Length` contradicts the range, or itself.
    WrongLength,
    /// 416, though something is missing here.
    RangeRefused,
    /// `multipart/byteranges`.
    Multipart,
    /// The body is compressed though `identity` was asked for.
    ContentEncoding,
    /// A transfer coding other than `chunked`.
    TransferEncoding,
    /// `ETag` or `Last-Modified` differs from the one before: the file has changed; start at 0.
    Changed,
    /// A redirect without `Location`, or one that does not fit the buffer.
    Location,
    /// The connection ended before the body did.
    ShortBody,
    /// More bytes than the range has.
    LongBody,
}

impl HttpError {
    /// Short text for logs and reports.
    pub const fn desc(&self) -> &'static str {
        match self {
            HttpError::Malformed => "malformed http response",
            HttpError::HeadTooLong => "http header too long",
            HttpError::Expired(_) => "url expired",
            HttpError::Unavailable(_) => "http server unavailable",
            HttpError::Status(_) => "http status refused",
            HttpError::WrongRange => "wrong content-range",
            HttpError::SizeMismatch { .. } => "size on server differs from offer",
            HttpError::WrongLength => "wrong content-length",
            HttpError::RangeRefused => "range not satisfiable",
            HttpError::Multipart => "multipart response refused",
            HttpError::ContentEncoding => "content-encoding refused",
            HttpError::TransferEncoding => "transfer-encoding refused",
            HttpError::Changed => "file changed on server",
            HttpError::Location => "bad redirect",
            HttpError::ShortBody => "connection closed early",
            HttpError::LongBody => "body too long",
        }
    }
}

impl core::fmt::Display for HttpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            HttpError::Expired(s) | HttpError::Unavailable(s) | HttpError::Status(s) => {
                write!(f, "{} (status {s})", self.desc())
            }
            HttpError::SizeMismatch { offered, found } => {
                write!(f, "{} (offered {offered}, found {found})", self.desc())
            }
            _ => f.write_str(self.desc()),
        }
    }
}

impl core::error::Error for HttpError {}
