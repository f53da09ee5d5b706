//! Updates of the shipped application by packages that are no whole images:
//! nbdiff patches through the loader, ptr patches and .xz images while they are
//! downloaded.

use board_tests::{World, app, file};
use mk3060_sim::Time;
use ota_cloud::Format;
use ota_flash::PartitionId;

/// One update; bytes of the package and virtual time from push to success.
fn update(format: Format, shown: &str) -> (usize, Time) {
    let (v1, v2) = (app("app-1.0.0"), app("app-2.0.0"));
    let mut world = World::new(&file("boot2.bin"), &v1);
    world.sign_on();
    // The cloud makes differences to what it has.
    world.upload(&v1, "app-1.0.0");
    let begin = world.desk.now();
    let job = world.push_as(&v2, "app-2.0.0", format);
    let desk = &mut world.desk;
    desk.expect("download file size:");
    desk.expect(shown);
    desk.expect("download finish ret:0.");
    assert_eq!(desk.lost(), 0, "bytes came in while flash was busy");
    desk.expect("OTA finish");
    desk.expect("app_version: app-2.0.0");
    desk.expect("running image confirmed");
    assert!(world.over(&job).succeeded());
    let desk = &world.desk;
    desk.check_stack(format.as_str());
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    assert_eq!(desk.resets.len(), 1);
    let (_, size) = desk.shown.split_once("download file size:").unwrap();
    let size = size.split_whitespace().next().unwrap().parse().unwrap();
    let time = desk.now().since(begin);
    println!("{}: {size} bytes for {}, {time}", format.as_str(), v2.len());
    assert!(size < v2.len());
    (size, time)
}

#[test]
fn an_nbdiff_patch_is_applied_by_the_loader() {
    update(Format::Nbdiff, "package: nbdiff patch");
}

#[test]
fn a_ptr_patch_is_applied_while_it_is_downloaded() {
    let (size, _) = update(Format::Ptr, "package: ptr patch");
    // One command more, in a program of 140 KiB.
    assert!(size < 20_000, "{size}");
}

#[test]
fn an_xz_image_is_decoded_while_it_is_downloaded() {
    update(Format::Xz, "package: .xz image");
}

/// On a loader that applies no patches nbdiff is refused before anything is
/// downloaded; ptr needs nothing of the loader.
#[test]
fn what_the_loader_cannot_do_is_not_asked_of_it() {
    let (v1, v2) = (app("app-1.0.0"), app("app-2.0.0"));
    let mut world = World::new(&file("boot2-swap.bin"), &v1);
    world.sign_on();
    world.desk.type_in("ota_diff");
    world
        .desk
        .expect("nbdiff : no: the boot loader does not apply patches");
    world.upload(&v1, "app-1.0.0");
    let job = world.push_as(&v2, "app-2.0.0", Format::Nbdiff);
    let task = world.over(&job).tasks.remove(0);
    println!("the cloud: {} {:?} {}", task.state, task.step, task.desc);
    assert_eq!(task.step, Some(-1));
    assert!(
        !world.desk.shown.contains("send GET"),
        "{}",
        world.desk.shown
    );
    assert_eq!(world.desk.slot(PartitionId::Application, v1.len()), v1);
}
