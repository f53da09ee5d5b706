//! The shipped application behind the shipped loader on the emulated board:
//! commands typed into UART1, SLIP on UART2, real TCP to a development cloud.

use board_tests::{DN, Desk, PK, World, app, file, packed, symbol};
use mk3060_sim::{ResetCause, Time};
use ota_cloud::{Cloud, TaskState};
use ota_flash::PartitionId;
use ota_verify::build::{PrivateKey, sign_image};

/// The whole way, and what the image check costs.
#[test]
fn an_update_from_the_cloud_is_confirmed_by_the_new_version() {
    let (v1, v2) = (app("app-1.0.0"), app("app-2.0.0"));
    let mut world = World::new(&file("boot2.bin"), &v1);
    world.sign_on();
    let job = world.push(&v2, "app-2.0.0");
    let desk = &mut world.desk;
    desk.expect("download finish ret:0.");
    assert_eq!(desk.lost(), 0, "bytes came in while flash was busy");

    // From one block of SHA-256 to the next, when nothing else is between them.
    let block = symbol("otaapp", "::sha256_compress");
    desk.session.machine.add_breakpoint(block);
    while desk.stops.len() < 9 {
        desk.step();
    }
    desk.session.machine.remove_breakpoint(block);
    let counts = desk.stops.windows(2).map(|pair| pair[1] - pair[0]);
    let sha256 = counts.min().unwrap() * 16;
    println!("otaapp: SHA-256 takes {sha256} instructions per KiB");
    assert!(sha256 <= 40_000, "{sha256}");

    desk.expect("OTA finish");
    desk.expect("app_version: app-2.0.0");
    // It goes on by itself, with what was typed into version 1.
    desk.expect("running image confirmed");
    assert!(world.over(&job).succeeded());
    let desk = &mut world.desk;
    assert_eq!(desk.slot(PartitionId::Application, v2.len()), v2);
    assert_eq!(desk.resets, [ResetCause::Watchdog]);
    // Settings are kept for good now, and what is new works.
    desk.type_in("version");
    desk.expect("app_version: app-2.0.0");
    desk.expect("image: confirmed");
    desk.type_in("uptime");
    desk.expect("up 0 min ");
    desk.check_stack("whole image");
}

/// Version 2 fails its trial in its own way, three times: version 1 comes back
/// by itself, signs on by itself, and the cloud shows why.
fn reverted(version: &str, each: Time, causes: &[ResetCause]) {
    let (v1, v2) = (app("app-1.0.0"), app(version));
    let mut world = World::new(&file("boot2.bin"), &v1);
    world.sign_on();
    let job = world.push(&v2, version);
    let desk = &mut world.desk;
    desk.expect("reboot system");
    let begin = desk.now();
    for _ in 0..3 {
        desk.expect_within(&format!("app_version: {version}"), each);
        desk.expect("running image: on trial");
    }
    desk.expect_within("app_version: app-1.0.0", each);
    println!("{version}: back after {}", desk.now().since(begin));
    desk.expect("running image: confirmed");
    desk.expect("last update: ");
    desk.expect("init mqtt success");
    let task = world.over(&job).tasks.remove(0);
    println!("the cloud: {} {:?} {}", task.state, task.step, task.desc);
    assert_eq!(task.state, TaskState::Failed);
    assert_eq!(task.step, Some(-1));
    assert!(task.desc.contains("reverted"), "{}", task.desc);
    let desk = &mut world.desk;
    assert_eq!(desk.slot(PartitionId::Application, v1.len()), v1);
    assert_eq!(desk.resets, causes);
    // The same package is not tried again.
    assert_eq!(
        world.cloud.device(PK, DN).unwrap().version(),
        Some("app-1.0.0")
    );
}

/// How software resets, too.
const RESETS: [ResetCause; 4] = [ResetCause::Watchdog; 4];

#[test]
fn a_version_that_hangs_is_reverted_and_the_cloud_shows_why() {
    reverted("app-2.0.0-hang", Time::millis(20_000), &RESETS);
}

#[test]
fn a_version_that_resets_at_once_is_reverted_and_the_cloud_shows_why() {
    reverted("app-2.0.0-reset", Time::millis(20_000), &RESETS);
}

/// Ten minutes for each of three starts.
#[test]
fn a_version_that_never_confirms_is_reverted_and_the_cloud_shows_why() {
    reverted("app-2.0.0-mute", Time::millis(620_000), &RESETS);
}

/// Loader and application were built with the key that the cloud has made for
/// the product: nothing goes without signatures, on package and image.
#[test]
fn with_the_clouds_key_only_signed_packages_and_images_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    // The cloud that was there when the images were built.
    let database = file("secure/cloud/cloud.db");
    std::fs::write(dir.path().join("cloud.db"), database).unwrap();
    let key = {
        let cloud = Cloud::open(dir.path()).unwrap();
        PrivateKey::from_pem(&cloud.private_key_pem(PK).unwrap()).unwrap()
    };
    let program = file("secure/otaapp.bin");
    let v1 = packed("app-1.0.0", &program, Some(&key));
    let mut world = World::at(dir, &file("secure/boot2.bin"), &v1);
    world.sign_on();

    // Nothing is signed.
    let v2 = packed("app-2.0.0", &program, None);
    world.cloud.set_secure_upgrade(PK, false).unwrap();
    let job = world.push(&v2, "app-2.0.0");
    let task = world.over(&job).tasks.remove(0);
    println!("the cloud: {} {:?} {}", task.state, task.step, task.desc);
    assert!(task.step.unwrap() < 0);
    // The image is signed, the package is not.
    let signed = packed("app-2.0.1", &program, Some(&key));
    let job = world.push(&signed, "app-2.0.1");
    let task = world.over(&job).tasks.remove(0);
    println!("the cloud: {} {:?} {}", task.state, task.step, task.desc);
    assert!(task.step.unwrap() < 0);
    assert_eq!(world.desk.slot(PartitionId::Application, v1.len()), v1);
    assert_eq!(world.desk.resets, []);

    // The cloud signs package and image.
    world.cloud.set_secure_upgrade(PK, true).unwrap();
    let v3 = packed("app-3.0.0", &program, None);
    let job = world.push(&v3, "app-3.0.0");
    world.desk.expect("app_version: app-3.0.0");
    world.desk.expect("running image confirmed");
    assert!(world.over(&job).succeeded());
    world.desk.check_stack("signed package and image");
    let v3 = sign_image(&v3, &key).unwrap();
    assert_eq!(world.desk.slot(PartitionId::Application, v3.len()), v3);
}

#[test]
fn on_another_loader_it_takes_no_updates_and_says_why() {
    // `ldr pc, [pc, #-4]` and where to: starts the application, that is all.
    let jump = [0xE51F_F004_u32, hal_mk3060::memory::APP_START];
    let loader: Vec<u8> = jump.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut desk = Desk::new(&loader, &app("app-1.0.0"), "");
    desk.expect("no updates: the boot loader is not boot2");
    let before = desk.slot(PartitionId::Parameter1, 0x3000);
    desk.type_in("netmgr connect home secret");
    desk.expect("Got ip");
    desk.type_in("ota_app a b c d");
    desk.expect("no updates: the boot loader is not boot2");
    desk.type_in("version");
    desk.expect("loader: not boot2");
    assert_eq!(desk.slot(PartitionId::Parameter1, 0x3000), before);
    assert_eq!(desk.session.machine.board.flash.counts.erases, 0);
}
