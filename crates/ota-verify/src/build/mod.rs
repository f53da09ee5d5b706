//! Making what the rest of this crate checks: images, signatures, keys. Needs
//! `std`; for hosts (the `ota` command, the development cloud, tests).

mod key;
mod pack;

pub use key::{PrivateKey, c_header, public_key_pem};
pub use pack::{Layout, PackOptions, Packed, Parts, pack, parts, sign_image, strip};

use crate::{DescriptorError, KeyError, SignatureError, VerifyError, VersionError};

/// Why something could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The input already ends in a trailer that fits it.
    AlreadyPacked,
    /// The input has no trailer, or not one that fits.
    NotPacked(VerifyError),
    /// The image has more than 4 GiB with everything around it.
    TooLong,
    /// A version was given, but the program has no descriptor to write it to,
    /// and one cannot be put in front of a program linked at a fixed address.
    NoDescriptor,
    /// The version or module text does not fit the descriptor.
    Descriptor(DescriptorError),
    /// The version text is not one.
    Version(VersionError),
    /// The public half of a key is refused.
    Key(KeyError),
    /// Not a private RSA key in PEM (PKCS#8 or PKCS#1), or an inconsistent one.
    PrivateKey(String),
    /// Signing failed, or what was signed does not verify.
    Signature(SignatureError),
}

impl core::fmt::Display for BuildError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::AlreadyPacked => f.write_str("the input already ends in an image trailer"),
            Self::NotPacked(e) => write!(f, "not a packed image: {e}"),
            Self::TooLong => f.write_str("the image is longer than 4 GiB"),
            Self::NoDescriptor => {
                f.write_str("the program has no image descriptor at offset 0x40 to hold a version")
            }
            Self::Descriptor(e) => write!(f, "{e}"),
            Self::Version(e) => write!(f, "{e}"),
            Self::Key(e) => write!(f, "{e}"),
            Self::PrivateKey(e) => write!(f, "not a private RSA key: {e}"),
            Self::Signature(e) => write!(f, "signing failed: {e}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<KeyError> for BuildError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
