//! A device and the development cloud: the whole path, and what can go wrong on it.
#![allow(missing_docs)]

use ota_cloud::{EventKind, TaskState};
use ota_verify::build::PrivateKey;
use otaapp::host::{Error, Note};
use uota_tests::{DN, LIMIT, OLD, PK, Proxy, Running, World, failed, image, program, updated};

const NEW: &str = "app-2.0.0";

#[test]
fn version_1_to_version_2() {
    let world = World::new(150_000);
    let new = image(NEW, &program(2, 180_000), None);
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    assert_eq!(world.cloud().device(PK, DN).unwrap().version(), Some(OLD));
    let job = world.offer(&new);
    assert_eq!(updated(device.end()), NEW);
    world.assert_active(&new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
    assert!(device.said("trial: true"), "it was not on trial");
    // And it stays: the next start is a plain one.
    let again = Running::start(world.options());
    again.wait_for("Start");
    assert!(again.said("trial: false"));
}

#[test]
fn the_other_strategies_for_whole_images() {
    use ota_bootlib::Strategy;
    use otaapp::host::{ACTIVE, UPDATE, read_slot};
    for (strategy, slot) in [(Strategy::Overwrite, ACTIVE), (Strategy::Switch, UPDATE)] {
        let world = World::new(20_000);
        let mut options = world.options();
        options.strategy = strategy;
        let mut last = OLD;
        // Twice: with `Switch` the second one goes back into the first slot.
        for (version, slot) in [(NEW, slot), ("app-3.0.0", ACTIVE)] {
            let new = image(version, &program(version.len() as u32, 30_000), None);
            let device = Running::start(options.clone());
            device.wait_for("Acknowledged");
            let job = world.offer(&new);
            assert_eq!(updated(device.end()), version, "{strategy:?}");
            assert_eq!(world.task(&job).0, TaskState::Succeeded);
            let found = read_slot(&world.flash(), &slot, new.bytes.len()).unwrap();
            assert!(found == new.bytes, "{strategy:?}: not {version}");
            last = version;
            world.wait_offline();
        }
        let device = Running::start(options);
        device.wait_for(&format!("Start {{ version: \"{}\", trial: false", last));
    }
}

#[test]
fn an_offer_made_while_the_device_is_off_is_taken() {
    let world = World::new(20_000);
    let new = image(NEW, &program(2, 30_000), None);
    let job = world.offer(&new);
    assert_eq!(updated(Running::start(world.options()).end()), NEW);
    world.assert_active(&new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
}

#[test]
fn signed_updates() {
    let mut world = World::new(20_000);
    let key = world.secure();
    let new = image(NEW, &program(2, 30_000), Some(&key));
    let device = Running::start(world.secure_options(key.public()));
    // Uploaded unsigned: the cloud signs it.
    let job = world.offer(&image(NEW, &program(2, 30_000), None));
    assert_eq!(updated(device.end()), NEW);
    assert!(device.said("signature: Verified"));
    world.assert_active(&new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
}

#[test]
fn unsigned_and_wrongly_signed_updates_are_refused() {
    let mut world = World::new(20_000);
    let key = world.secure();
    world.cloud().set_secure_upgrade(PK, false).unwrap();
    let device = Running::start(world.secure_options(key.public()));
    let job = world.offer(&image(NEW, &program(2, 30_000), None));
    assert_eq!(failed(device.end()), (-3, "signature required".into()));
    assert_eq!(world.task(&job).0, TaskState::Failed);
    world.assert_active(&world.old);
    world.wait_offline();

    // Signed by the cloud, but the device trusts another key, which also signed what runs.
    let other = PrivateKey::generate(2048).unwrap();
    world.old = image(OLD, &program(1, 20_000), Some(&other));
    world.factory();
    world.cloud().set_secure_upgrade(PK, true).unwrap();
    let device = Running::start(world.secure_options(other.public()));
    let job = world.offer(&image("app-3.0.0", &program(3, 30_000), None));
    let (step, _) = failed(device.end());
    assert_eq!(step, -3);
    assert!(device.said("SignatureRefused"));
    assert!(!device.said("Download {"), "refused before the first byte");
    assert_eq!(world.task(&job).1, Some(-3));
    world.assert_active(&world.old);
}

#[test]
fn a_damaged_package_is_refused_for_good_and_the_next_good_one_taken() {
    let world = World::new(20_000);
    let bad = image(NEW, &program(2, 100_000), None);
    let job = world.offer(&bad);
    world.corrupt_files();
    let device = Running::start(world.options());
    assert_eq!(failed(device.end()), (-3, "digest mismatch".into()));
    let downloads = device
        .notes()
        .iter()
        .filter(|n| n.contains("Download {"))
        .count();
    assert_eq!(downloads, 2, "twice, then for good");
    assert_eq!(world.task(&job).0, TaskState::Failed);
    world.assert_active(&world.old);

    // The same package again: refused without a download.
    world.wait_offline();
    world.corrupt_files(); // a second time makes them good again
    let job = world
        .cloud()
        .validate(job.firmware, ota_cloud::Mode::Full, DN)
        .unwrap();
    let device = Running::start(world.options());
    assert_eq!(failed(device.end()).1, "package failed before");
    assert!(!device.said("Download {"));
    assert_eq!(world.task(&job).0, TaskState::Failed);

    world.wait_offline();
    let good = image("app-2.0.1", &program(3, 100_000), None);
    let device = Running::start(world.options());
    let job = world.offer(&good);
    assert_eq!(updated(device.end()), "app-2.0.1");
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
    world.assert_active(&good);
}

#[test]
fn offers_that_cannot_be_right_are_refused_by_name() {
    let world = World::new(20_000);
    let older = image("app-0.9.0", &program(2, 9_000), None);
    let liar = image("app-2.0.0", &program(3, 9_000), None);
    let long = image("app-4.0.0", &program(4, 0xE_4000), None);
    let cases = [
        (&older, "app-0.9.0", -1, "version not newer"),
        (&liar, "app-3.0.0", -3, "image has another version"),
        (&long, "app-4.0.0", -1, "package larger than slot"),
    ];
    for (made, version, step, desc) in cases {
        world.wait_offline();
        let device = Running::start(world.options());
        let job = world.offer_as(made, version);
        assert_eq!(failed(device.end()), (step, desc.into()));
        assert_eq!(
            world.task(&job),
            (TaskState::Failed, Some(step), desc.into())
        );
        world.assert_active(&world.old);
    }
    world.wait_offline();
    let good = image("app-5.0.0", &program(5, 9_000), None);
    let device = Running::start(world.options());
    let _ = world.offer(&good);
    assert_eq!(updated(device.end()), "app-5.0.0");
    world.assert_active(&good);
}

#[test]
fn a_version_that_never_reports_is_reverted_and_the_cloud_shows_why() {
    let world = World::new(20_000);
    let new = image(NEW, &program(2, 30_000), None);
    let line = Proxy::to(world.cloud().mqtt_addr());
    let mut options = world.options_at(line.addr());
    options.confirm_within = std::time::Duration::from_millis(300);
    let own = line.clone();
    let device = Running::start_with(options, move |note| {
        // The new version cannot reach the cloud; the old one can.
        if let Note::Start { version, .. } = note {
            own.set_open(version.as_str() == OLD);
        }
    });
    device.wait_for("Acknowledged");
    let job = world.offer(&new);
    let (step, desc) = failed(device.end());
    assert_eq!(step, -1);
    assert!(desc.starts_with("reverted: not confirmed"), "{desc}");
    let notes = device.notes();
    let trials = notes.iter().filter(|n| n.contains("trial: true")).count();
    assert_eq!(trials, 3, "three starts");
    world.assert_active(&world.old);
    let (state, step, text) = world.task(&job);
    assert_eq!((state, step), (TaskState::Failed, Some(-1)));
    assert!(text.contains("reverted: not confirmed"), "{text}");

    // It is not taken again, and another one is.
    world.wait_offline();
    let again = world
        .cloud()
        .validate(job.firmware, ota_cloud::Mode::Full, DN)
        .unwrap();
    let device = Running::start(world.options());
    assert_eq!(failed(device.end()).1, "package failed before");
    assert_eq!(world.task(&again).0, TaskState::Failed);
    world.wait_offline();
    let good = image("app-2.0.1", &program(3, 30_000), None);
    let device = Running::start(world.options());
    let _ = world.offer(&good);
    assert_eq!(updated(device.end()), "app-2.0.1");
    world.assert_active(&good);
}

#[test]
fn the_cloud_is_gone_for_a_while() {
    let mut world = World::new(20_000);
    let new = image(NEW, &program(2, 700_000), None);
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    let job = world.offer(&new);
    device.wait_for("Download {");
    world.stop_cloud();
    device.wait_for("Unreachable");
    world.start_cloud();
    assert_eq!(updated(device.end()), NEW);
    world.assert_active(&new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
}

#[test]
fn wrong_credentials_end_the_device_by_name() {
    let world = World::new(20_000);
    let mut options = world.options();
    options.identity.ds = "wrong".into();
    let Err(e) = Running::start(options).end() else {
        panic!("signed on with a wrong secret");
    };
    assert_eq!(
        e.to_string(),
        "sign-on refused: bad user name or password (code 4)"
    );
    let mut options = world.options();
    options.identity.dn = "nobody".into();
    let Err(e) = Running::start(options).end() else {
        panic!("signed on as nobody");
    };
    assert_eq!(e.to_string(), "sign-on refused: not authorised (code 5)");
    assert!(e.help().ends_with("docs/troubleshooting.md#sign-on"));
}

#[test]
fn two_devices_with_the_same_credentials_are_told() {
    let world = World::new(20_000);
    let first = Running::start(world.options());
    let mut options = world.options();
    options.flash = world.dir.path().join("second.flash");
    otaapp::host::init(&options.flash, &world.old.bytes).unwrap();
    let second = Running::start(options);
    let told = |d: &Running| d.said("taken_over: true");
    let start = std::time::Instant::now();
    while !told(&first) && !told(&second) {
        assert!(start.elapsed() < LIMIT, "neither was told");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    first.power_off();
    second.power_off();
    let events = world.cloud().events_after(0).unwrap();
    let sign_ons = events.iter().filter(|e| e.kind == EventKind::Connected);
    assert!(sign_ons.count() >= 3);
}

#[test]
fn tls_with_a_root_of_ones_own_and_without() {
    let data =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ota-cloud/tests/data");
    let world = World::with(20_000, |config| {
        config.tls = Some(ota_cloud::TlsFiles {
            cert: data.join("test-cert.pem"),
            key: data.join("test-key.pem"),
        });
    });
    let mut options = world.options();
    options.security = ota_agent::Security::Tls;
    options.roots = otaapp::host::Roots::File(data.join("test-cert.pem"));
    let new = image(NEW, &program(2, 90_000), None);
    let job = world.offer(&new);
    let device = Running::start(options.clone());
    assert_eq!(updated(device.end()), NEW);
    world.assert_active(&new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);

    options.roots = otaapp::host::Roots::System;
    world.factory();
    match Running::start(options.clone()) {
        // A machine without any roots says so at once, another at the handshake.
        device if otaapp_has_roots() => device.wait_for("Unreachable(Tls)"),
        device => assert!(matches!(device.end(), Err(Error::Roots(_)))),
    }
    options.roots = otaapp::host::Roots::File(data.join("test-key.pem"));
    world.factory();
    let Err(e) = Running::start(options).end() else {
        panic!("a key is no root");
    };
    assert!(e.to_string().starts_with("no trusted certificates"), "{e}");
}

/// Whether this machine has root certificates.
fn otaapp_has_roots() -> bool {
    [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
    ]
    .iter()
    .any(|p| std::path::Path::new(p).exists())
        || std::env::var_os("SSL_CERT_FILE").is_some()
}

#[test]
fn a_flash_file_has_one_device() {
    let world = World::new(20_000);
    let first = Running::start(world.options());
    first.wait_for("Start");
    let Err(e) = Running::start(world.options()).end() else {
        panic!("two devices over one flash");
    };
    assert!(e.to_string().contains("used by another process"), "{e}");
    assert!(otaapp::host::init(&world.flash(), &world.old.bytes).is_err());
}
