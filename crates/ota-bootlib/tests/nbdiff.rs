//! nbdiff through the patch seam.
#![cfg(feature = "nbdiff")]

use ota_bootlib::{Nbdiff, Patch};
use ota_delta::nbdiff::{Options, Workspace, encode};

#[test]
fn slices_in_order_give_the_image() {
    let old: Vec<u8> = (0..40_000u32).map(|i| ((i * i) >> 7) as u8).collect();
    let mut new = old.clone();
    new.splice(5000..5000, *b"something new");
    new.truncate(35_000);
    let options = Options {
        slice: 8192,
        ..Options::default()
    };
    let patch = encode(&old, &new, &options, &|_| {}).unwrap();
    let mut room = Box::new(Workspace::new());
    let mut nbdiff = Nbdiff::new(&mut room);
    let mut sections = Vec::new();
    let len = nbdiff.scan(&mut &patch[..], 8192, &mut |s| {
        sections.push(s);
        true
    });
    assert_eq!(len, Some(35_000));
    assert_eq!(nbdiff.scan(&mut &patch[..], 8192, &mut |_| false), None);
    let mut made: Vec<u8> = Vec::new();
    for s in sections {
        let mut view = made.clone();
        view.extend_from_slice(&old[made.len().min(old.len())..]);
        let mut buf = [0; 1000];
        let done = nbdiff.rebuild(
            &mut &patch[..],
            8192,
            s,
            &mut &view[..],
            &mut buf,
            &mut |b| {
                made.extend_from_slice(b);
                true
            },
        );
        assert_eq!(done, Some(()));
    }
    assert!(made == new);
}
