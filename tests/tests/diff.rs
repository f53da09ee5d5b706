//! Differential updates: AliOS nbdiff packages from the cloud to the active slot.
#![allow(missing_docs)]

use std::sync::{Arc, Mutex};

use ota_bootlib::Strategy;
use ota_cloud::{Job, JobSpec, Mode, TaskState};
use ota_flash::sim::CutVariant;
use otaapp::host::{ACTIVE, End, Note, Options, read_slot};
use uota_tests::{DN, LIMIT, Made, OLD, PK, Running, World, failed, image, program, updated};

const NEW: &str = "app-2.0.0";
const LEN: usize = 200_000;
const STRATEGIES: [Strategy; 2] = [Strategy::PatchSwap, Strategy::InPlace];

/// Program `seed` with something put in, something changed and something new at the end.
fn changed(seed: u32) -> Vec<u8> {
    let mut bytes = program(seed, LEN);
    bytes.splice(1000..1000, program(77, 500));
    bytes[150_000..150_400].fill(0x55);
    bytes.extend(program(78, 40_000));
    bytes
}

fn options(world: &World, strategy: Strategy) -> Options {
    Options {
        strategy,
        ..world.options()
    }
}

#[test]
fn patches_and_whole_images_with_either_strategy() {
    for strategy in STRATEGIES {
        let world = World::new(LEN);
        let new = image(NEW, &changed(1), None);
        let device = Running::start(options(&world, strategy));
        device.wait_for("Acknowledged");
        let job = world.offer_diff(&world.old, &new);
        assert_eq!(updated(device.end()), NEW, "{strategy:?}");
        world.assert_active(&new);
        assert_eq!(world.task(&job).0, TaskState::Succeeded);
        assert!(device.said("PatchStored"), "{strategy:?}: no patch");
        assert!(device.said("trial: true"), "{strategy:?}: not on trial");
        // Much less than the image came over the line.
        let size = package_size(&device);
        assert!(size < new.bytes.len() / 3, "{size} bytes fetched");

        // The same device takes a whole image, and then a patch to that.
        world.wait_offline();
        let third = image("app-3.0.0", &program(3, 90_000), None);
        let device = Running::start(options(&world, strategy));
        let job = world.offer(&third);
        assert_eq!(updated(device.end()), "app-3.0.0", "{strategy:?}");
        world.assert_active(&third);
        assert_eq!(world.task(&job).0, TaskState::Succeeded);
        world.wait_offline();
        let fourth = image("app-4.0.0", &program(3, 91_000), None);
        let device = Running::start(options(&world, strategy));
        device.wait_for("Acknowledged");
        let job = world.offer_next(&fourth);
        assert_eq!(updated(device.end()), "app-4.0.0", "{strategy:?}");
        world.assert_active(&fourth);
        assert_eq!(world.task(&job).0, TaskState::Succeeded);
    }
}

/// Bytes of the package that a device was offered, from what it said.
fn package_size(device: &Running) -> usize {
    let notes = device.notes();
    let note = notes.iter().find(|n| n.contains("Download {")).unwrap();
    let size = note.split("size: ").nth(1).unwrap();
    let end = size.find(|c: char| !c.is_ascii_digit()).unwrap();
    size[..end].parse().unwrap()
}

#[test]
fn a_device_for_whole_images_refuses_a_patch_before_the_first_byte() {
    let world = World::new(20_000);
    let new = image(NEW, &program(1, 21_000), None);
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    let job = world.offer_diff(&world.old, &new);
    let wanted = (-1, "differential package not supported".to_owned());
    assert_eq!(failed(device.end()), wanted);
    assert!(!device.said("Download {"));
    assert_eq!(world.task(&job).0, TaskState::Failed);
    world.assert_active(&world.old);
}

#[test]
fn a_patch_to_another_image_is_refused_and_the_old_one_runs() {
    for strategy in STRATEGIES {
        let world = World::new(LEN);
        // What the cloud takes for the old version is not what the device runs.
        let other = image(OLD, &program(9, LEN), None);
        let new = image(NEW, &changed(9), None);
        let device = Running::start(options(&world, strategy));
        device.wait_for("Acknowledged");
        let job = world.offer_diff(&other, &new);
        let (step, desc) = failed(device.end());
        assert_eq!(step, -3, "{strategy:?}: {desc}");
        let reason = "patch does not fit running image";
        assert!(desc.starts_with(reason), "{strategy:?}: {desc}");
        world.wait_report(-3, reason);
        assert_eq!(world.task(&job).0, TaskState::Failed);
        assert!(!device.said("trial: true"));
        world.assert_active(&world.old);

        // It is not fetched again, and a whole image is taken.
        world.wait_offline();
        let again = world.cloud().validate(job.firmware, Mode::Diff, DN);
        let device = Running::start(options(&world, strategy));
        assert_eq!(failed(device.end()).1, "package failed before");
        assert!(!device.said("Download {"));
        assert_eq!(world.task(&again.unwrap()).0, TaskState::Failed);
        world.wait_offline();
        let device = Running::start(options(&world, strategy));
        let job = world.cloud().validate(job.firmware, Mode::Full, DN);
        assert_eq!(updated(device.end()), NEW);
        assert_eq!(world.task(&job.unwrap()).0, TaskState::Succeeded);
        world.assert_active(&new);
    }
}

/// One update from the factory on, with a cut; flash operations at each power-off.
fn update(
    world: &World,
    strategy: Strategy,
    new: &Made,
    cut: Option<u64>,
    offer: impl FnOnce() -> Job,
) -> Vec<u64> {
    world.wait_offline();
    world.factory();
    let options = Options {
        cut: cut.map(|at| (at, CutVariant::Unstable { seed: at })),
        ..options(world, strategy)
    };
    let counts = Arc::new(Mutex::new(Vec::new()));
    let own = counts.clone();
    let device = Running::start_with(options, move |note| {
        if let Note::PowerOff { operations } = note {
            own.lock().unwrap().push(*operations);
        }
    });
    let start = std::time::Instant::now();
    while world.cloud().device(PK, DN).unwrap().version() != Some(OLD) {
        assert!(start.elapsed() < LIMIT, "cut at {cut:?}: no report");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let job = offer();
    match device.end() {
        Ok(End::Updated(version)) => assert_eq!(version.as_str(), NEW, "cut at {cut:?}"),
        Err(e) => panic!("cut at {cut:?}: {e}\n{}", device.notes().join("\n")),
    }
    assert_eq!(device.said("PowerCut"), cut.is_some());
    assert_eq!(world.task(&job).0, TaskState::Succeeded, "cut at {cut:?}");
    let slot = read_slot(&world.flash(), &ACTIVE, new.bytes.len()).unwrap();
    assert!(slot == new.bytes, "{strategy:?}, cut at {cut:?}: not {NEW}");
    counts.lock().unwrap().clone()
}

#[test]
fn cut_anywhere_a_patch_is_applied_all_the_same() {
    for strategy in STRATEGIES {
        let world = World::new(LEN);
        let new = image(NEW, &changed(1), None);
        let mut firmware = None;
        let counts = update(&world, strategy, &new, None, || {
            let job = world.offer_diff(&world.old, &new);
            firmware = Some(job.firmware);
            job
        });
        let (download, all) = (counts[0], counts[1]);
        let step = |n: u64, points: u64| (n / points).max(1) as usize;
        let early = (0..download).step_by(step(download, 8));
        let late = (download..all).step_by(step(all - download, 16));
        let mut cuts = 0;
        for at in early.chain(late).chain([download - 1, all - 1]) {
            update(&world, strategy, &new, Some(at), || {
                let spec = JobSpec::new(firmware.unwrap());
                world.cloud().start_job(&spec).unwrap()
            });
            cuts += 1;
        }
        println!("{strategy:?}: {cuts} cuts in {all} operations, {download} of the download");
    }
}
