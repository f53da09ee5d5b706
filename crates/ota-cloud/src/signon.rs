//! Checks a device's sign-on.

/// Why a sign-on is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// CONNACK 4.
    BadPassword(String),
    /// CONNACK 5.
    NotAuthorized(String),
}

impl Refusal {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::BadPassword(t) | Self::NotAuthorized(t) => t,
        }
    }
}

pub(crate) fn check(
    client_id: &str,
    user: &str,
    password: &[u8],
    secret: Option<&str>,
) -> Result<(), Refusal> {
    let Some(secret) = secret else {
        return Err(Refusal::NotAuthorized(format!("no device `{user}`")));
    };
    let (dn, pk) = user
        .split_once('&')
        .ok_or_else(|| Refusal::BadPassword("user name is not DEVICE&PRODUCT".into()))?;
    let (id, rest) = client_id
        .split_once('|')
        .ok_or_else(|| Refusal::BadPassword("client identifier has no |...| list".into()))?;
    let get = |k: &str| {
        rest.trim_end_matches('|')
            .split(',')
            .filter_map(|f| f.split_once('='))
            .find(|(n, _)| *n == k)
            .map(|(_, v)| v)
    };
    let mut content = format!("clientId{id}deviceName{dn}productKey{pk}");
    if let Some(ts) = get("timestamp") {
        content += &format!("timestamp{ts}");
    }
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    let want = crate::digest::hex(&mac.finalize().into_bytes());
    if get("signmethod") == Some("hmacsha256") && want.as_bytes().eq_ignore_ascii_case(password) {
        Ok(())
    } else {
        Err(Refusal::BadPassword("password does not match".into()))
    }
}
