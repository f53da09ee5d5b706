//! The offer of an upgrade: parsing of `upgrade` and `firmware/get_reply`.

use super::{Digest, Method, Step};
use crate::json::{self, ErrorKind, Reader, Str};

/// Longest URL that must be taken, in bytes.
pub const URL_MAX: usize = 2048;
/// Longest version string, in bytes.
pub const VERSION_MAX: usize = 64;
/// Longest `digestsign` text: base64 of a 4,096-bit signature.
pub const DIGESTSIGN_MAX: usize = 684;

/// A differential package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diff {
    /// Bytes of a slice (`splictSize`), 0 if not given.
    pub slice: u32,
}

/// Fields an error can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Code,
    Data,
    Size,
    Version,
    Url,
    Sign,
    Md5,
    SignMethod,
    DigestSign,
    IsDiff,
    SplictSize,
    Module,
    DProtocol,
    Files,
}

impl Field {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Code => "code",
            Field::Data => "data",
            Field::Size => "size",
            Field::Version => "version",
            Field::Url => "url",
            Field::Sign => "sign",
            Field::Md5 => "md5",
            Field::SignMethod => "signMethod",
            Field::DigestSign => "digestsign",
            Field::IsDiff => "isDiff",
            Field::SplictSize => "splictSize",
            Field::Module => "module",
            Field::DProtocol => "dProtocol",
            Field::Files => "files",
        }
    }
}

/// Why an offer was not understood or cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferError {
    /// Not JSON, or a field of the wrong type.
    Json(json::Error),
    /// A field that must be there is not (`sign` stands for `sign` or `md5`).
    Missing(Field),
    /// The field has a value of another type, or a number out of range.
    BadValue(Field),
    /// The field occurs twice.
    Twice(Field),
    /// The text is longer than can be kept, or empty.
    BadLength(Field),
    /// `size` is 0.
    SizeZero,
    /// `sign` without `signMethod`.
    NoSignMethod,
    /// `signMethod` is neither MD5 nor SHA256.
    UnknownSignMethod,
    /// The digest's length does not fit the method.
    DigestLength,
    /// The digest holds a character that is no hex digit.
    DigestNotHex,
    /// `sign` and `md5` differ though the method is MD5.
    DigestsDisagree,
    /// A multi-file package.
    MultiFile,
    /// A download protocol other than HTTP.
    Protocol,
    /// The cloud answered with an error code.
    Refused(u32),
    /// The URL holds blanks or control characters, or is no `http` or `https` URL.
    BadUrl(crate::http::UrlError),
}

impl OfferError {
    /// The cloud's code for it.
    pub fn step(&self) -> Step {
        match self {
            OfferError::BadUrl(_) | OfferError::Protocol => Step::Download,
            OfferError::UnknownSignMethod
            | OfferError::NoSignMethod
            | OfferError::DigestLength
            | OfferError::DigestNotHex
            | OfferError::DigestsDisagree => Step::Check,
            _ => Step::Upgrade,
        }
    }

    /// Short text for the `desc` of a progress report.
    pub fn desc(&self) -> &'static str {
        match self {
            OfferError::Json(_) => "offer is not valid JSON",
            OfferError::Missing(Field::Size) => "offer without size",
            OfferError::Missing(Field::Version) => "offer without version",
            OfferError::Missing(Field::Url) => "offer without url",
            OfferError::Missing(Field::Sign) => "offer without sign",
            OfferError::Missing(_) => "offer lacks a field",
            OfferError::BadValue(_) => "field of the offer has a bad value",
            OfferError::Twice(_) => "field of the offer given twice",
            OfferError::BadLength(Field::Url) => "url too long or empty",
            OfferError::BadLength(Field::Version) => "version too long or empty",
            OfferError::BadLength(_) => "field of the offer too long or empty",
            OfferError::SizeZero => "size is 0",
            OfferError::NoSignMethod => "sign without signMethod",
            OfferError::UnknownSignMethod => "unknown signMethod",
            OfferError::DigestLength => "digest of wrong length",
            OfferError::DigestNotHex => "digest is not hex",
            OfferError::DigestsDisagree => "sign and md5 disagree",
            OfferError::MultiFile => "multi-file package not supported",
            OfferError::Protocol => "download protocol not supported",
            OfferError::Refused(_) => "cloud refused the question",
            OfferError::BadUrl(_) => "bad url",
        }
    }
}

impl core::fmt::Display for OfferError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            OfferError::Json(e) => write!(f, "{} ({e})", self.desc()),
            OfferError::Missing(x)
            | OfferError::BadValue(x)
            | OfferError::Twice(x)
            | OfferError::BadLength(x) => write!(f, "{} ({})", self.desc(), x.name()),
            OfferError::Refused(code) => write!(f, "{} (code {code})", self.desc()),
            OfferError::BadUrl(e) => write!(f, "{} ({e})", self.desc()),
            _ => f.write_str(self.desc()),
        }
    }
}

impl core::error::Error for OfferError {}

impl From<json::Error> for OfferError {
    fn from(e: json::Error) -> Self {
        OfferError::Json(e)
    }
}

/// A checked offer whose texts still lie in the message.
#[derive(Debug, Clone, Copy)]
pub struct OfferRef<'a> {
    /// Bytes of the package, at least 1.
    pub size: u32,
    /// Version that the package brings, 1..=[`VERSION_MAX`] bytes.
    pub version: Str<'a>,
    /// Where the package lies, 1..=[`URL_MAX`] bytes.
    pub url: Str<'a>,
    /// Digest of the package.
    pub digest: Digest,
    /// Base64 of the signature over the digest, at most [`DIGESTSIGN_MAX`] bytes; not decoded here.
    pub digestsign: Option<Str<'a>>,
    /// Set for a differential package.
    pub diff: Option<Diff>,
    /// Module the package is for; `None` is the device itself (also given as `default`).
    pub module: Option<Str<'a>>,
}

/// What of an offer is kept in memory; its URL and `digestsign` go into a buffer of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Bytes of the package.
    pub size: u32,
    /// Version that the package brings.
    pub version: heapless::String<VERSION_MAX, u8>,
    /// Digest of the package.
    pub digest: Digest,
    /// Set for a differential package.
    pub diff: Option<Diff>,
}

impl Offer {
    /// Whether both name the same package: digest, size and version.
    pub fn same_package(&self, other: &OfferRef<'_>) -> bool {
        self.size == other.size
            && self.digest == other.digest
            && other.version == self.version.as_str()
    }
}

impl OfferRef<'_> {
    /// Takes the short fields out of the message.
    pub fn to_offer(&self) -> Result<Offer, OfferError> {
        let mut version = heapless::String::new();
        for c in self.version.chars() {
            version
                .push(c)
                .map_err(|_| OfferError::BadLength(Field::Version))?;
        }
        Ok(Offer {
            size: self.size,
            version,
            digest: self.digest,
            diff: self.diff,
        })
    }
}

/// A message of the cloud.
#[derive(Debug, Clone, Copy)]
pub enum Push<'a> {
    /// There is nothing to install (`"data":{}`).
    Nothing,
    /// A package is offered.
    Offer(OfferRef<'a>),
}

#[derive(Default)]
struct Raw<'a> {
    size: Option<u64>,
    version: Option<Str<'a>>,
    url: Option<Str<'a>>,
    sign: Option<Str<'a>>,
    md5: Option<Str<'a>>,
    method: Option<Str<'a>>,
    digestsign: Option<Str<'a>>,
    is_diff: Option<u64>,
    slice: Option<u64>,
    module: Option<Str<'a>>,
    protocol: Option<Str<'a>>,
    files: bool,
    /// Any field at all.
    any: bool,
}

/// Reads a value into `slot` with the field's name on errors. `null` counts as absent.
fn put<'a, T>(
    slot: &mut Option<T>,
    field: Field,
    r: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, json::Error>,
) -> Result<(), OfferError> {
    if r.null()? {
        return Ok(());
    }
    let value = read(r).map_err(|e| match e.kind {
        ErrorKind::WrongType | ErrorKind::BadNumber => OfferError::BadValue(field),
        _ => OfferError::Json(e),
    })?;
    if slot.replace(value).is_some() {
        return Err(OfferError::Twice(field));
    }
    Ok(())
}

/// `isDiff` is a number by the documentation; a boolean is understood, too.
fn number_or_bool(r: &mut Reader<'_>) -> Result<u64, json::Error> {
    match r.kind()? {
        json::Kind::Bool => r.boolean().map(u64::from),
        _ => r.unsigned(),
    }
}

impl<'a> Raw<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, OfferError> {
        let mut raw = Raw::default();
        r.begin_object()?;
        while let Some(key) = r.next_key()? {
            raw.any = true;
            let is = |f: Field| key == f.name();
            if is(Field::Size) {
                put(&mut raw.size, Field::Size, r, Reader::unsigned)?;
            } else if is(Field::Version) {
                put(&mut raw.version, Field::Version, r, Reader::string)?;
            } else if is(Field::Url) {
                put(&mut raw.url, Field::Url, r, Reader::string)?;
            } else if is(Field::Sign) {
                put(&mut raw.sign, Field::Sign, r, Reader::string)?;
            } else if is(Field::Md5) {
                put(&mut raw.md5, Field::Md5, r, Reader::string)?;
            } else if is(Field::SignMethod) {
                put(&mut raw.method, Field::SignMethod, r, Reader::string)?;
            } else if is(Field::DigestSign) {
                put(&mut raw.digestsign, Field::DigestSign, r, Reader::string)?;
            } else if is(Field::IsDiff) {
                put(&mut raw.is_diff, Field::IsDiff, r, number_or_bool)?;
            } else if is(Field::SplictSize) {
                put(&mut raw.slice, Field::SplictSize, r, Reader::unsigned)?;
            } else if is(Field::Module) {
                put(&mut raw.module, Field::Module, r, Reader::string)?;
            } else if is(Field::DProtocol) {
                put(&mut raw.protocol, Field::DProtocol, r, Reader::string)?;
            } else if is(Field::Files) {
                if !r.null()? {
                    raw.files = true;
                    r.skip()?;
                }
            } else {
                r.skip()?;
            }
        }
        Ok(raw)
    }

    fn digest(&self) -> Result<Digest, OfferError> {
        let method = match (&self.method, &self.sign, &self.md5) {
            (Some(m), _, _) if m.eq_ignore_case("md5") => Method::Md5,
            (Some(m), _, _) if m.eq_ignore_case("sha256") => Method::Sha256,
            (Some(_), _, _) => return Err(OfferError::UnknownSignMethod),
            // The protocol before `signMethod` knew only `md5`.
            (None, None, Some(_)) => Method::Md5,
            (None, Some(_), _) => return Err(OfferError::NoSignMethod),
            (None, None, None) => return Err(OfferError::Missing(Field::Sign)),
        };
        let sign = self
            .sign
            .map(|s| Digest::from_hex(method, &s))
            .transpose()?;
        // `md5` besides a SHA-256 says nothing we would check.
        let md5 = match method {
            Method::Md5 => self.md5.map(|s| Digest::from_hex(method, &s)).transpose()?,
            Method::Sha256 => None,
        };
        match (sign, md5) {
            (Some(a), Some(b)) if a != b => Err(OfferError::DigestsDisagree),
            (Some(d), _) | (None, Some(d)) => Ok(d),
            (None, None) => Err(OfferError::Missing(Field::Sign)),
        }
    }

    fn check(self) -> Result<OfferRef<'a>, OfferError> {
        if self.files {
            return Err(OfferError::MultiFile);
        }
        if let Some(p) = self.protocol
            && !p.eq_ignore_case("http")
            && !p.eq_ignore_case("https")
        {
            return Err(OfferError::Protocol);
        }
        let text = |s: Option<Str<'a>>, field, max| match s {
            None => Err(OfferError::Missing(field)),
            Some(s) if s.is_empty() || s.len() > max => Err(OfferError::BadLength(field)),
            Some(s) => Ok(s),
        };
        let number = |v: u64, field| u32::try_from(v).map_err(|_| OfferError::BadValue(field));
        let size = number(
            self.size.ok_or(OfferError::Missing(Field::Size))?,
            Field::Size,
        )?;
        if size == 0 {
            return Err(OfferError::SizeZero);
        }
        let version = text(self.version, Field::Version, VERSION_MAX)?;
        let url = text(self.url, Field::Url, URL_MAX)?;
        crate::http::check_characters(url.chars()).map_err(OfferError::BadUrl)?;
        let digest = self.digest()?;
        let digestsign = match self.digestsign {
            // An empty text would read as "not signed": refuse it.
            Some(_) => Some(text(self.digestsign, Field::DigestSign, DIGESTSIGN_MAX)?),
            None => None,
        };
        let slice = number(self.slice.unwrap_or(0), Field::SplictSize)?;
        let diff = match self.is_diff {
            None | Some(0) => None,
            Some(1) => Some(Diff { slice }),
            Some(_) => return Err(OfferError::BadValue(Field::IsDiff)),
        };
        let module = self.module.filter(|m| !m.is_empty() && *m != "default");
        Ok(OfferRef {
            size,
            version,
            url,
            digest,
            digestsign,
            diff,
            module,
        })
    }
}

/// `1000` and `200` mean success. Any other number is the cloud's refusal.
fn check_code(code: Option<u64>) -> Result<(), OfferError> {
    match code {
        None | Some(1000 | 200) => Ok(()),
        Some(other) => Err(OfferError::Refused(
            u32::try_from(other).unwrap_or(u32::MAX),
        )),
    }
}

impl<'a> Push<'a> {
    /// Reads an `upgrade` or `firmware/get_reply` message.
    ///
    /// Unknown fields (also `extData`) are skipped, the order is free, numbers
    /// may be strings, one trailing NUL is ignored.
    ///
    /// # Errors
    /// See [`OfferError`]. Nothing of a message is used unless all of it is good.
    pub fn parse(payload: &'a [u8]) -> Result<Self, OfferError> {
        let mut r = Reader::new(payload);
        let mut code = None;
        let mut data = None;
        r.begin_object()?;
        while let Some(key) = r.next_key()? {
            if key == Field::Code.name() {
                put(&mut code, Field::Code, &mut r, Reader::unsigned)?;
            } else if key == Field::Data.name() {
                if r.null()? {
                    continue;
                }
                if r.kind()? != json::Kind::Object {
                    return Err(OfferError::BadValue(Field::Data));
                }
                if data.replace(Raw::read(&mut r)?).is_some() {
                    return Err(OfferError::Twice(Field::Data));
                }
            } else {
                r.skip()?;
            }
        }
        r.end()?;
        check_code(code)?;
        match data {
            None => Err(OfferError::Missing(Field::Data)),
            Some(raw) if !raw.any => Ok(Push::Nothing),
            Some(raw) => raw.check().map(Push::Offer),
        }
    }
}
