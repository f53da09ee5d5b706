//! `ota-delta`, decoding.

use crate::bare::{input, number};
use core::hint::black_box;
use ota_delta::nbdiff::{SliceDecoder, Workspace, scan};
use ota_delta::xz::XzDecoder;
use ota_delta::{PackageKind, ptr};

pub fn probe() {
    black_box(PackageKind::detect(input()));
    let (mut patch, mut old) = (input(), input());
    black_box(scan(&mut patch, number(), number(), &mut |slice| {
        black_box(slice);
        Ok(())
    }))
    .ok();
    static mut ROOM: Workspace = Workspace::new();
    // SAFETY: the probe is never run, and has one thread.
    let room = unsafe { &mut *(&raw mut ROOM) };
    let slice = SliceDecoder::begin(room, &mut patch, number(), number(), number(), number());
    if let Ok(mut slice) = slice {
        black_box(slice.read(&mut patch, &mut old, &mut [0; 256]).is_ok());
    }
    let mut xz = XzDecoder::<32768>::new();
    black_box(xz.decode(&mut input(), &mut [0; 256]).is_ok());
    black_box(ptr::Header::parse(input()).is_ok());
}
