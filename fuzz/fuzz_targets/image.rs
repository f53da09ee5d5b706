//! Images that are whole, damaged or noise.
//!
//! * An image that verifies has the digests that other crates compute, and one
//!   that was made whole does verify.
//! * Where a signature is required, only what was signed verifies: no damage to
//!   a signed image gives another image that does.
//! * The size of the work buffer changes nothing.
//! * `find_total` finds what trying all offsets finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_verify::{
    ImageSignature, ImageVerifier, Policy, Requirement, TRAILER_LEN, Trailer, VerifyError, Version,
    described_total, find_total, read_descriptor,
};
use uota_fuzz::images::{PUBLIC, Shape, md5, sha256};
use uota_fuzz::{Input, damage};

fn every_total(file: &[u8]) -> Result<u32, VerifyError> {
    let fits = |at: &usize| {
        Trailer::parse(&file[*at..])
            .is_ok_and(|t| t.size as usize == *at && t.md5 == md5(&file[..*at]))
    };
    let mut all = (0..(file.len() + 1).saturating_sub(TRAILER_LEN as usize)).filter(fits);
    match (all.next(), all.next()) {
        (Some(at), None) => Ok(at as u32 + TRAILER_LEN),
        (first, _) => Err(VerifyError::NoUniqueTrailer {
            found: if first.is_some() { 2 } else { 0 },
        }),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let shape = Shape::take(&mut input, 0x400);
    let file = shape.file();
    let mut slot = file.clone();
    let tail = usize::from(input.u8());
    slot.extend(input.bytes(tail));
    damage(&mut input, &mut slot);
    let mut policy = Policy::DEFAULT;
    if input.flag() {
        policy.image_signature = Requirement::Required;
    }
    if input.flag() {
        policy.min_version = Version::new("app-1.9.0").ok();
    }
    let keys = core::slice::from_ref(&*PUBLIC);
    let verifier = ImageVerifier {
        policy: &policy,
        keys,
        coding: shape.coding(),
    };
    let small = usize::from(input.u8()).max(1);
    let total = match input.u8() % 4 {
        0 => input.u32(),
        1 => u32::from(input.u16()),
        _ => file.len() as u32,
    };

    let source = &mut &slot[..];
    let result = verifier.verify(source, total, &mut [0; 4096]);
    assert_eq!(result, verifier.verify(source, total, &mut vec![0; small]));
    if slot.starts_with(&file) && total as usize == file.len() {
        let refused = policy.image_signature == Requirement::Required && !shape.signed
            || policy.min_version.is_some() && shape.version.is_none_or(|v| v < 9);
        assert_eq!(result.is_err(), refused, "{result:?}");
    }
    if let Ok(info) = result {
        let size = total - TRAILER_LEN;
        assert_eq!(info.total, total);
        assert_eq!(info.md5, md5(&slot[..size as usize]));
        assert_eq!(info.sha256, sha256(&slot[..info.len as usize]));
        if policy.image_signature == Requirement::Required {
            assert!(matches!(info.signature, ImageSignature::Verified(_)));
            assert_eq!(slot[..info.len as usize], shape.image());
        }
    }

    let found = find_total(source, &mut [0; 4096]);
    assert_eq!(found, find_total(source, &mut vec![0; small]));
    assert_eq!(found, every_total(&slot));
    let described = described_total(source, shape.coding());
    let descriptor = read_descriptor(source, shape.coding());
    if slot.starts_with(&file) && shape.version.is_some() {
        assert_eq!(described, Ok(file.len() as u32));
        assert!(matches!(descriptor, Ok(Some(_))));
    }
});
