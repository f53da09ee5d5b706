//! The little DER that public keys need, strictly.

/// Why bytes are not a DER RSA public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DerError {
    /// A tag other than the one expected (given last), or none.
    Tag(u8),
    /// A length that is not in its shortest form or goes past the end.
    Length,
    /// Bytes follow the key.
    Trailing,
    /// An integer is negative, empty or has needless leading zeros.
    Integer,
    /// The key is for another algorithm than rsaEncryption.
    Algorithm,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// AlgorithmIdentifier content: OID 1.2.840.113549.1.1.1, NULL.
const RSA_ENCRYPTION: [u8; 13] = [
    0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// Modulus and exponent without leading zeros.
pub(super) fn public_key(der: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    let mut outer = only(der, SEQUENCE)?;
    if outer.first() == Some(&SEQUENCE) {
        // SubjectPublicKeyInfo: AlgorithmIdentifier, BIT STRING { RSAPublicKey }.
        if take(&mut outer, SEQUENCE)? != RSA_ENCRYPTION {
            return Err(DerError::Algorithm);
        }
        let bits = only(outer, BIT_STRING)?;
        let [0, key @ ..] = bits else {
            return Err(DerError::Length);
        };
        outer = only(key, SEQUENCE)?;
    }
    let modulus = unsigned(take(&mut outer, INTEGER)?)?;
    let exponent = unsigned(only(outer, INTEGER)?)?;
    Ok((modulus, exponent))
}

/// The content of the one element that `der` is.
fn only(mut der: &[u8], tag: u8) -> Result<&[u8], DerError> {
    let content = take(&mut der, tag)?;
    if der.is_empty() {
        Ok(content)
    } else {
        Err(DerError::Trailing)
    }
}

/// Takes an element off `der` and returns its content.
fn take<'a>(der: &mut &'a [u8], tag: u8) -> Result<&'a [u8], DerError> {
    let (len, rest) = match der {
        [t, ..] if *t != tag => return Err(DerError::Tag(tag)),
        [_, len @ 0..=0x7F, rest @ ..] => (usize::from(*len), rest),
        [_, 0x81, len @ 0x80..=0xFF, rest @ ..] => (usize::from(*len), rest),
        [_, 0x82, hi @ 1..=0xFF, lo, rest @ ..] => (usize::from(*hi) << 8 | usize::from(*lo), rest),
        [] => return Err(DerError::Tag(tag)),
        _ => return Err(DerError::Length),
    };
    let (content, rest) = rest.split_at_checked(len).ok_or(DerError::Length)?;
    *der = rest;
    Ok(content)
}

fn unsigned(content: &[u8]) -> Result<&[u8], DerError> {
    match content {
        [0, rest @ ..] if rest.first().is_some_and(|b| *b >= 0x80) => Ok(rest),
        [1..=0x7F, ..] => Ok(content),
        _ => Err(DerError::Integer),
    }
}
