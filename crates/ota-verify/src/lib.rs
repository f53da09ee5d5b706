#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "host"), no_std)]
#![forbid(unsafe_code)]

#[cfg(feature = "host")]
pub mod build;
mod bytes;
mod check;
mod coding;
mod crc;
mod descriptor;
mod display;
mod hash;
mod image;
#[cfg(feature = "keys")]
mod keys;
mod package;
mod policy;
mod read;
mod rsa;
mod signed;
mod trailer;
mod version;

pub use check::{Examined, Rules, examine};
pub use coding::Coding;
pub use crc::{Crc32, crc16_xmodem, crc32};
pub use descriptor::{
    DESCRIPTOR_LEN, DESCRIPTOR_OFFSET, DescriptorError, HOST_HEADER_LEN, ImageDescriptor, Module,
};
pub use hash::{Digest, HashMethod, Hasher, HexError, Md5, Sha256, md5, sha256};
pub use image::{
    ImageInfo, ImageSignature, ImageVerifier, VerifyError, described_total, find_total,
    read_descriptor,
};
#[cfg(feature = "keys")]
pub use keys::HeaderError;
pub use package::verify_digestsign;
pub use policy::{Policy, Refusal, Requirement};
pub use read::{NorReader, ReadAt, ReadError};
pub use rsa::{DerError, KeyError, KeyId, MAX_MODULUS_LEN, RsaPublicKey, SignatureError};
pub use signed::{SIGNED_FOOTER_LEN, SIGNED_HEADER_LEN, SignedBlock, SignedBlockError};
pub use trailer::{ImageKind, TRAILER_LEN, Trailer, TrailerError};
pub use version::{Version, VersionError, VersionOrder, VersionRule};
