//! A patch that cannot share the slot with its image is refused before the restart.
#![cfg(feature = "nbdiff")]

use ota_agent::{PackageId, PatchSlot, UpdateSink, Verified, VerifyImage};
use ota_flash::sim::SimFlash;
use ota_proto::messages::Diff;
use ota_proto::session::CheckError;
use ota_verify::{Coding, Digest, Policy};

const SECTOR: u32 = 1024;
const SLICE: u32 = 4096;

/// A section header and filling: this side reads no more of a patch.
fn section(new_len: u32, body: u32) -> Vec<u8> {
    let mut bytes = b"BSDIFF40".to_vec();
    for word in [body, 0, 0, new_len, 0] {
        bytes.extend(u64::from(word).to_le_bytes());
    }
    bytes.resize(48 + body as usize, 0x5A);
    bytes
}

/// What becomes of a patch that makes 4 slices and `last` bytes, in a slot of so many sectors.
fn verify(sectors: u32, usable: u32, body: u32, last: u32) -> Result<Verified, CheckError> {
    let mut patch = Vec::new();
    for _ in 0..4 {
        patch.extend(section(SLICE, body));
    }
    patch.extend(section(last, body));
    let flash = SimFlash::<1024, 32>::new((sectors * SECTOR) as usize);
    let mut slot =
        PatchSlot::<_, 256>::new(flash, usable * SECTOR, &Policy::DEFAULT, &[], Coding::Plain);
    let package = PackageId {
        size: patch.len() as u32,
        digest: Digest::Md5([1; 16]),
        version: "2",
        diff: Some(Diff { slice: SLICE }),
    };
    slot.begin(&package, 0).expect("fits");
    while slot.prepare(package.size).expect("flash") {}
    slot.write(&patch).expect("flash");
    slot.finish().expect("flash");
    slot.verify_image(&package)
}

#[test]
fn a_slice_must_end_in_front_of_its_section() {
    // Sections of 2 sectors. The fourth slice ends with sector 16 and its section
    // begins 6 sectors behind the patch's start, which is 10 from the slot's end.
    assert!(matches!(verify(20, 20, 2000, 1000), Ok(Verified::Patch(p)) if p.at == 10 * SECTOR));
    assert_eq!(
        verify(19, 19, 2000, 1000).map(|_| ()),
        Err(CheckError::Size)
    );
    // A sector that images may not use is room for a patch.
    assert!(verify(20, 19, 2000, 1000).is_ok());
}
