//! The errors in words. Device code that does not print them does not carry them.

use core::fmt::{Display, Formatter, Result};

use crate::{
    DerError, DescriptorError, HexError, ImageSignature, KeyError, ReadError, Refusal,
    SignatureError, SignedBlockError, TrailerError, VerifyError, VersionError, VersionOrder,
};

impl Display for HexError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Length(n) => write!(f, "{n} characters; MD5 has 32, SHA-256 has 64"),
            Self::Digit(at) => write!(f, "character {at} is not a hexadecimal digit"),
        }
    }
}

impl Display for ReadError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "reading at offset {:#x} failed", self.offset)
    }
}

impl Display for TrailerError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Short => f.write_str("shorter than 28 bytes"),
            Self::Magic(magic) => write!(f, "no trailer magic ({magic:#010x})"),
        }
    }
}

impl Display for VersionError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Empty => f.write_str("the version is empty"),
            Self::Long(n) => write!(f, "the version has {n} characters; 64 are allowed"),
            Self::Character(at) => write!(
                f,
                "character {at} of the version is not allowed (ASCII without blank, quote and backslash)"
            ),
        }
    }
}

impl Display for VersionOrder {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Newer => "newer",
            Self::Same => "the same",
            Self::Older => "older",
            Self::Unrelated => "built differently, so that it cannot be compared",
        })
    }
}

impl Display for DescriptorError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("image descriptor: ")?;
        match self {
            Self::Short => f.write_str("shorter than 96 bytes"),
            Self::Format(n) => write!(f, "unknown format {n}"),
            Self::Unfinished => f.write_str("the image was linked but not packed"),
            Self::Crc { found, expected } => {
                write!(
                    f,
                    "CRC-32 is {found:#010x}, its bytes give {expected:#010x}"
                )
            }
            Self::Version => {
                f.write_str("the version is empty or has a character that is not allowed")
            }
            Self::VersionLong => f.write_str("the version has more than 32 characters"),
            Self::Module => f.write_str("the module name is not valid"),
            Self::Reserved => f.write_str("a reserved byte is not 0"),
        }
    }
}

impl Display for SignedBlockError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("signed image block: ")?;
        match self {
            Self::Length(n) => write!(f, "a length of {n} bytes cannot be"),
            Self::Frame => f.write_str("its two ends do not belong together"),
            Self::Algorithm(n) => write!(f, "unknown algorithm {n}"),
            Self::SignatureLength(n) => write!(f, "a signature of {n} bytes cannot be"),
            Self::Reserved => f.write_str("a reserved byte is not 0"),
        }
    }
}

impl Display for DerError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Tag(tag) => write!(f, "no element with tag {tag:#04x} where one belongs"),
            Self::Length => f.write_str("a length is not canonical or goes past the end"),
            Self::Trailing => f.write_str("bytes follow the key"),
            Self::Integer => f.write_str("an integer is not canonical"),
            Self::Algorithm => f.write_str("the key is not for rsaEncryption"),
        }
    }
}

#[cfg(feature = "keys")]
impl Display for crate::HeaderError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Array(name) => write!(f, "there is no array {name}"),
            Self::Byte { array, index } => write!(f, "value {index} of {array} is not a byte"),
            Self::Long(name) => write!(f, "{name} has too many values"),
        }
    }
}

impl Display for KeyError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Size(bits) => {
                write!(
                    f,
                    "RSA keys of {bits} bits are not supported (2048, 3072 and 4096 are)"
                )
            }
            Self::Even => f.write_str("the modulus is even"),
            Self::Exponent => f.write_str("the exponent is not an odd number from 3 to 2^32 - 1"),
            Self::Der(e) => write!(f, "not a DER RSA public key: {e}"),
            #[cfg(feature = "keys")]
            Self::Pem => f.write_str("not a PEM public key (PUBLIC KEY or RSA PUBLIC KEY)"),
            #[cfg(feature = "keys")]
            Self::Header(e) => write!(f, "not an ota_public_key_config.h: {e}"),
        }
    }
}

impl Display for SignatureError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Length { found, expected } => {
                write!(
                    f,
                    "the signature has {found} bytes; the key makes {expected}"
                )
            }
            Self::Range => f.write_str("the signature is not below the modulus"),
            Self::Mismatch => f.write_str("the signature does not match"),
            Self::Base64 => f.write_str("the signature is not base64"),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Version { rule, order } => {
                write!(f, "the offered version is {order} (rule {})", rule.name())
            }
            Self::BelowFloor { rule, order } => {
                write!(
                    f,
                    "against the lowest version allowed the image's is {order} (rule {})",
                    rule.name()
                )
            }
            Self::NoDescriptor => f.write_str("a lowest version is set and the image names none"),
            Self::Module(module) => write!(f, "for module {module:?}, which this device has not"),
            Self::TooLong { len, max } => write!(f, "{len} bytes; {max} are allowed"),
            Self::PackageUnsigned => f.write_str("the package is not signed and must be"),
            Self::ImageUnsigned => f.write_str("the image is not signed and must be"),
            Self::Md5 => f.write_str("the package digest is MD5, which is not allowed"),
            Self::PlainDownload => f.write_str("download without TLS is not allowed"),
        }
    }
}

impl Display for ImageSignature {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Unknown(id) => write!(f, "by unknown key {id}"),
            Self::Verified(id) => write!(f, "by key {id}"),
        }
    }
}

impl Display for VerifyError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Read(e) => write!(f, "{e}"),
            Self::Buffer => f.write_str("no work buffer"),
            Self::Length(n) => write!(f, "a length of {n} bytes cannot be"),
            Self::Trailer { offset, error } => write!(f, "trailer at {offset:#x}: {error}"),
            Self::TrailerSize { found, expected } => {
                write!(
                    f,
                    "the trailer says {found} bytes, {expected} are in front of it"
                )
            }
            Self::NoUniqueTrailer { found: 0 } => f.write_str("no trailer fits what is before it"),
            Self::NoUniqueTrailer { .. } => f.write_str("more than one trailer fits"),
            Self::Descriptor(e) => write!(f, "{e}"),
            Self::DescriptorLength { described, found } => {
                write!(
                    f,
                    "image descriptor: describes {described} bytes, the image has {found}"
                )
            }
            Self::NoDescriptor => f.write_str("the image has no descriptor"),
            Self::Signed(e) => write!(f, "{e}"),
            Self::SignedDigest => f.write_str("the signed image block is for other bytes"),
            Self::UnknownKey(id) => write!(f, "signed by unknown key {id}"),
            Self::Signature(e) => write!(f, "image signature: {e}"),
            Self::Md5 => f.write_str("the bytes do not have the trailer's MD5"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

macro_rules! errors {
    ($($name:ty),* $(,)?) => {
        $(impl core::error::Error for $name {})*
    };
}

errors!(
    HexError,
    ReadError,
    TrailerError,
    VersionError,
    DescriptorError,
    SignedBlockError,
    DerError,
    KeyError,
    SignatureError,
    Refusal,
    VerifyError,
);
