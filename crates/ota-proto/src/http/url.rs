//! URLs and redirects.

use crate::messages::URL_MAX;

/// Redirects in a row that are followed.
pub const MAX_REDIRECTS: u8 = 5;

/// Scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP, port 80 if none is given.
    Http,
    /// TLS, port 443 if none is given.
    Https,
}

impl Scheme {
    /// The port when a URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        }
    }
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    Scheme,
    /// No host, or one with characters no host name has.
    Host,
    /// The port is no number in 1..=65535.
    Port,
    /// `user@host`: refused, credentials do not belong into a download URL.
    UserInfo,
    /// A blank, a control character or one outside ASCII.
    Character,
    /// Longer than there is room for.
    TooLong,
    /// A redirect from `https` to `http`.
    Downgrade,
}

impl core::fmt::Display for UrlError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            UrlError::Scheme => "URL is neither http nor https",
            UrlError::Host => "URL has a bad host",
            UrlError::Port => "URL has a bad port",
            UrlError::UserInfo => "URL with user information refused",
            UrlError::Character => "URL has a blank, control or non-ASCII character",
            UrlError::TooLong => "URL too long",
            UrlError::Downgrade => "redirect from https to http refused",
        })
    }
}

impl core::error::Error for UrlError {}

pub(crate) fn check_characters(mut chars: impl Iterator<Item = char>) -> Result<(), UrlError> {
    if chars.all(|c| c.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(UrlError::Character)
    }
}

/// A URL, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// Host name or address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// The port, given or by scheme.
    pub port: u16,
    /// Host and port as they stand in the URL, for the `Host` header.
    pub authority: &'a str,
    /// Path and query without fragment; may be empty or begin with `?`.
    pub target: &'a str,
}

fn strip_scheme(text: &str) -> Option<(Scheme, &str)> {
    [Scheme::Https, Scheme::Http]
        .into_iter()
        .find_map(|scheme| {
            let prefix = scheme.prefix();
            let (head, rest) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some((scheme, rest))
        })
}

impl<'a> Url<'a> {
    /// Takes a URL apart.
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        if text.len() > URL_MAX {
            return Err(UrlError::TooLong);
        }
        check_characters(text.chars())?;
        let (scheme, rest) = strip_scheme(text).ok_or(UrlError::Scheme)?;
        let cut = |s: &'a str, at: Option<usize>| s.split_at(at.unwrap_or(s.len()));
        let (authority, target) = cut(rest, rest.find(['/', '?', '#', '\\']));
        let (target, _fragment) = cut(target, target.find('#'));
        if target.starts_with('\\') {
            return Err(UrlError::Host);
        }
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
            let (host, behind) = inner.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<core::net::Ipv6Addr>()
                .map_err(|_| UrlError::Host)?;
            match behind.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if behind.is_empty() => (host, None),
                None => return Err(UrlError::Host),
            }
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !(authority.starts_with('[') || host.chars().all(plain)) {
            return Err(UrlError::Host);
        }
        let port = match port {
            // `host:` is allowed and means the default.
            None | Some("") => scheme.default_port(),
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => {
                p.parse().ok().filter(|p| *p != 0).ok_or(UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        let authority = authority.strip_suffix(':').unwrap_or(authority);
        Ok(Url {
            scheme,
            host,
            port,
            authority,
            target,
        })
    }
}

/// Puts `prefix` in front of the `len` bytes at the front of `buf`.
fn prepend(buf: &mut [u8], len: usize, prefix: &[u8]) -> Result<usize, UrlError> {
    let total = len + prefix.len();
    if total > buf.len() || len > buf.len() {
        return Err(UrlError::TooLong);
    }
    buf.copy_within(..len, prefix.len());
    if let Some(front) = buf.get_mut(..prefix.len()) {
        front.copy_from_slice(prefix);
    }
    Ok(total)
}

/// Makes the absolute URL of a redirect in place: `buf[..len]` holds the value of `Location`,
/// which may be relative to `base`. Gives the length of the URL then at the front of `buf`.
///
/// # Errors
/// [`UrlError::Downgrade`] for `https` to `http`, [`UrlError::TooLong`] if `buf`
/// has no room, otherwise what is wrong with the target.
pub fn follow(base: &Url<'_>, buf: &mut [u8], len: usize) -> Result<usize, UrlError> {
    let text = |buf: &[u8], len: usize| -> Result<(), UrlError> {
        let bytes = buf.get(..len).ok_or(UrlError::TooLong)?;
        check_characters(bytes.iter().map(|b| char::from(*b)))
    };
    text(buf, len)?;
    let given = buf.get(..len).unwrap_or(&[]);
    // A scheme ends at the first ':' before any '/', '?' or '#'.
    let scheme_end = given
        .iter()
        .position(|b| matches!(b, b':' | b'/' | b'?' | b'#'));
    let absolute = scheme_end.is_some_and(|i| i > 0 && given.get(i) == Some(&b':'));
    let mut len = len;
    if !absolute {
        if !given.starts_with(b"//") {
            let directory = base.target.split(['?', '#']).next().unwrap_or("");
            match given.first() {
                None => return Err(UrlError::Host),
                Some(b'/') => {}
                Some(b'?') => len = prepend(buf, len, directory.as_bytes())?,
                Some(b'#') => len = prepend(buf, len, base.target.as_bytes())?,
                Some(_) => {
                    let cut = directory.rfind('/').map_or(0, |i| i + 1);
                    len = prepend(buf, len, directory.get(..cut).unwrap_or("").as_bytes())?;
                }
            }
            if !matches!(buf.first(), Some(b'/' | b'?')) {
                len = prepend(buf, len, b"/")?;
            }
            len = prepend(buf, len, base.authority.as_bytes())?;
            len = prepend(buf, len, b"//")?;
        }
        let scheme = base.scheme.prefix().trim_end_matches('/');
        len = prepend(buf, len, scheme.as_bytes())?;
    }
    let text =
        core::str::from_utf8(buf.get(..len).unwrap_or(&[])).map_err(|_| UrlError::Character)?;
    let url = Url::parse(text)?;
    if base.scheme == Scheme::Https && url.scheme == Scheme::Http {
        return Err(UrlError::Downgrade);
    }
    Ok(len)
}
