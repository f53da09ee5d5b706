//! Digests, RSA signatures, image trailers, descriptors and version rules for firmware updates.
#![no_std]
#![forbid(unsafe_code)]
