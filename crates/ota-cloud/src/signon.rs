//! Checks a device's sign-on. What CONNECT must hold is `ota-proto`'s business.

use ota_proto::signon::server::{ClientId, SignOnError, parse_username};

/// Why a sign-on is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// CONNACK 4: the sign-on itself is wrong.
    BadPassword(SignOnError),
    /// CONNACK 5: there is no such device.
    NotAuthorized,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadPassword(e) => e.fmt(f),
            Self::NotAuthorized => f.write_str("there is no such product or device"),
        }
    }
}

/// The names a device claims; both empty when the user name has none.
pub(crate) fn claimed(user: &str) -> (&str, &str) {
    parse_username(user).map_or(("", ""), |(dn, pk)| (pk, dn))
}

/// Checks CONNECT's three fields against the secret of the claimed device.
pub(crate) fn check(
    client_id: &str,
    user: &str,
    password: &[u8],
    secret: Option<&str>,
) -> Result<(), Refusal> {
    let (dn, pk) = parse_username(user).map_err(Refusal::BadPassword)?;
    let id = ClientId::parse(client_id).map_err(Refusal::BadPassword)?;
    let secret = secret.ok_or(Refusal::NotAuthorized)?;
    id.verify(pk, dn, secret, password)
        .map_err(Refusal::BadPassword)
}
