//! The HMAC over the sign-on content, with whichever hash functions this build has.

use super::{SignMethod, Unavailable};
use hmac::{Hmac, KeyInit, Mac};

/// Longest HMAC in bytes.
pub(super) const MAX: usize = 32;

/// The HMAC of all `parts` together; its length is `method.len()`.
pub(super) fn compute(
    method: SignMethod,
    key: &[u8],
    parts: &[&str],
) -> Result<[u8; MAX], Unavailable> {
    let mut out = [0; MAX];
    match method {
        #[cfg(feature = "hmacmd5")]
        SignMethod::HmacMd5 => run::<Hmac<md5::Md5>>(key, parts, &mut out),
        #[cfg(feature = "hmacsha1")]
        SignMethod::HmacSha1 => run::<Hmac<sha1::Sha1>>(key, parts, &mut out),
        #[cfg(feature = "hmacsha256")]
        SignMethod::HmacSha256 => run::<Hmac<sha2::Sha256>>(key, parts, &mut out),
        #[allow(unreachable_patterns)]
        other => return Err(Unavailable(other)),
    }
    Ok(out)
}

#[allow(dead_code)]
fn run<M: Mac + KeyInit>(key: &[u8], parts: &[&str], out: &mut [u8; MAX]) {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return;
    };
    for part in parts {
        mac.update(part.as_bytes());
    }
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
}
