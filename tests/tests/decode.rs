//! Packages that a host device decodes while it downloads them, from the cloud that
//! makes them to the slot that runs.
#![allow(missing_docs)]

use std::sync::{Arc, Mutex};

use ota_bootlib::Strategy;
use ota_cloud::{Format, Job, JobSpec, Mode, TaskState, Upload};
use ota_flash::sim::CutVariant;
use otaapp::host::{ACTIVE, End, Note, Options, UPDATE, read_slot};
use uota_tests::{DN, LIMIT, Made, OLD, PK, Running, World, failed, image, program, updated};

const NEW: &str = "app-2.0.0";
const LEN: usize = 200_000;
const FORMATS: [(Mode, Format, &str); 2] = [
    (Mode::Diff, Format::Ptr, "kind: Ptr"),
    (Mode::Full, Format::Xz, "kind: Xz"),
];

/// Bytes that pack to about a half.
fn text(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = program(seed, len);
    for (i, b) in bytes.iter_mut().enumerate() {
        if i % 2 == 1 {
            *b = (i >> 6) as u8;
        }
    }
    bytes
}

/// The same with something put in, something changed and something new at the end.
fn changed(seed: u32) -> Vec<u8> {
    let mut bytes = text(seed, LEN);
    bytes.splice(1000..1000, program(77, 500));
    bytes[150_000..150_400].fill(0x55);
    bytes.extend(program(78, 6_000));
    bytes
}

/// A world whose device runs `text(1)`.
fn world() -> World {
    let mut world = World::new(1_000);
    world.old = image(OLD, &text(1, LEN), None);
    world.factory();
    world
}

/// Uploads what the device runs and what it shall run.
fn upload(world: &World, base: &Made, new: &Made) -> i64 {
    let put = |made: &Made| {
        let upload = Upload::bytes("app.bin", made.bytes.clone(), &made.version);
        world.cloud().upload(PK, &upload).unwrap().id
    };
    put(base);
    put(new)
}

#[test]
fn each_strategy_takes_them() {
    for strategy in [
        Strategy::Swap,
        Strategy::PatchSwap,
        Strategy::Overwrite,
        Strategy::InPlace,
        Strategy::Switch,
    ] {
        for (mode, format, said) in FORMATS {
            let world = world();
            let new = image(NEW, &changed(1), None);
            let firmware = upload(&world, &world.old, &new);
            let device = Running::start(Options {
                strategy,
                ..world.options()
            });
            device.wait_for("Acknowledged");
            let name = format!("{strategy:?} {format:?}");
            let job = world.cloud().validate_as(firmware, mode, Some(format), DN);
            let job = job.unwrap();
            assert_eq!(updated(device.end()), NEW, "{name}");
            assert!(device.said(said), "{name}: not what was asked for");
            assert_eq!(world.task(&job).0, TaskState::Succeeded, "{name}");
            let slot = match strategy {
                Strategy::Switch => UPDATE,
                _ => ACTIVE,
            };
            let found = read_slot(&world.flash(), &slot, new.bytes.len()).unwrap();
            assert!(found == new.bytes, "{name}: not {NEW}");
            let task = &job.tasks[0];
            assert_eq!(task.format, format);
            assert_eq!(job.full_size, new.bytes.len() as u64);
            let share = if format == Format::Ptr { 10 } else { 60 };
            assert!(
                task.size * 100 < job.full_size * share,
                "{name}: {}",
                task.size
            );
            if strategy == Strategy::Swap {
                println!("{format:?}: {} bytes for {}", task.size, job.full_size);
            }
        }
    }
}

/// With `Switch` the image that runs lies in the other slot the second time.
#[test]
fn a_patch_to_an_image_that_runs_from_the_second_slot() {
    let world = world();
    let options = Options {
        strategy: Strategy::Switch,
        ..world.options()
    };
    let mut base = world.old.clone();
    for (version, seed, slot) in [(NEW, 1, UPDATE), ("app-3.0.0", 5, ACTIVE)] {
        let mut bytes = changed(1);
        bytes[9_000..9_000 + seed].fill(0xA5);
        let new = image(version, &bytes, None);
        if base.version == OLD {
            let put = Upload::bytes("app.bin", base.bytes.clone(), OLD);
            world.cloud().upload(PK, &put).unwrap();
        }
        let put = Upload::bytes("app.bin", new.bytes.clone(), version);
        let firmware = world.cloud().upload(PK, &put).unwrap().id;
        let device = Running::start(options.clone());
        device.wait_for("Acknowledged");
        let job = world
            .cloud()
            .validate_as(firmware, Mode::Diff, Some(Format::Ptr), DN);
        job.unwrap();
        assert_eq!(updated(device.end()), version);
        let found = read_slot(&world.flash(), &slot, new.bytes.len()).unwrap();
        assert!(found == new.bytes, "not {version}");
        world.wait_offline();
        base = new;
    }
}

#[test]
fn a_patch_to_another_image_is_refused_before_anything_is_written() {
    let world = world();
    // What the cloud takes for the old version is not what the device runs.
    let other = image(OLD, &text(9, LEN), None);
    let new = image(NEW, &changed(9), None);
    let firmware = upload(&world, &other, &new);
    let before = std::fs::read(world.flash()).unwrap();
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    let job = world
        .cloud()
        .validate_as(firmware, Mode::Diff, Some(Format::Ptr), DN);
    let wanted = (-3, "patch for another base image".to_owned());
    assert_eq!(failed(device.end()), wanted);
    assert_eq!(world.task(&job.unwrap()).0, TaskState::Failed);
    world.assert_active(&world.old);
    let slot = |flash: &[u8]| {
        let from = UPDATE.start() as usize;
        flash[from..from + UPDATE.len() as usize].to_vec()
    };
    let after = std::fs::read(world.flash()).unwrap();
    assert!(slot(&before) == slot(&after), "the update slot was touched");
    // A whole image is taken all the same.
    world.wait_offline();
    let device = Running::start(world.options());
    let job = world.cloud().validate(firmware, Mode::Full, DN).unwrap();
    assert_eq!(updated(device.end()), NEW);
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
}

#[test]
fn signed_images_come_out_where_nothing_else_is_taken() {
    for (mode, format, said) in FORMATS {
        let mut world = World::new(20_000);
        let key = world.secure();
        let mut new = program(1, 20_000);
        new.extend(text(4, 3_000));
        let base = image(OLD, &program(1, 20_000), None);
        let new = image(NEW, &new, None);
        // Unsigned as they are uploaded, signed as they are served.
        let firmware = upload(&world, &base, &new);
        let device = Running::start(world.secure_options(key.public()));
        device.wait_for("Acknowledged");
        let job = world.cloud().validate_as(firmware, mode, Some(format), DN);
        let job = job.unwrap();
        assert_eq!(updated(device.end()), NEW, "{format:?}");
        assert!(device.said(said));
        assert_eq!(world.task(&job).0, TaskState::Succeeded);
    }
}

#[test]
fn an_unsigned_image_in_a_signed_patch_is_refused() {
    let mut world = World::new(20_000);
    let key = world.secure();
    let new = image(NEW, &program(1, 21_000), None);
    let options = ota_delta::ptr::Options::default();
    let patch = ota_delta::ptr::encode(&world.old.bytes, &new.bytes, &options, &|_| ()).unwrap();
    // The patch goes out as a file of its own, and is signed as one.
    let made = Made {
        version: NEW.into(),
        bytes: patch,
    };
    let device = Running::start(world.secure_options(key.public()));
    device.wait_for("Acknowledged");
    let job = world.offer(&made);
    assert_eq!(failed(device.end()), (-3, "image not signed".to_owned()));
    assert!(device.said("kind: Ptr"));
    assert_eq!(world.task(&job).0, TaskState::Failed);
    world.assert_active(&world.old);
}

/// What an original device understands is the default; `auto` knows who takes more.
#[test]
fn the_format_is_chosen_for_the_device() {
    let world = world();
    let new = image(NEW, &changed(1), None);
    let firmware = upload(&world, &world.old, &new);
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    let cloud = world.cloud();
    let started = |mode, format| {
        let job = cloud.validate_as(firmware, mode, format, DN).unwrap();
        cloud.cancel_job(job.id).unwrap();
        job.tasks[0].format
    };
    drop(device.power_off());
    world.wait_offline();
    assert_eq!(started(Mode::Full, None), Format::Plain);
    assert_eq!(started(Mode::Diff, None), Format::Nbdiff);
    assert_eq!(started(Mode::Diff, Some(Format::Auto)), Format::Ptr);
    let wrong = cloud.validate_as(firmware, Mode::Full, Some(Format::Ptr), DN);
    let wrong = wrong.unwrap_err();
    assert!(wrong.help().contains("plain, xz"), "{}", wrong.help());
    // A roll-out goes on with what was validated.
    let device = Running::start(world.options());
    let job = cloud.validate_as(firmware, Mode::Diff, Some(Format::Ptr), DN);
    assert_eq!(updated(device.end()), NEW);
    assert_eq!(world.task(&job.unwrap()).0, TaskState::Succeeded);
    world.wait_offline();
    world.factory();
    let device = Running::start(world.options());
    wait_for_old(&world);
    let job = cloud.start_job(&JobSpec::new(firmware)).unwrap();
    assert_eq!(job.tasks[0].format, Format::Ptr);
    assert_eq!(updated(device.end()), NEW);
}

#[test]
fn auto_takes_the_packed_image_where_patches_save_nothing() {
    let world = world();
    let mut other = program(9, 50_000);
    other.resize(90_000, 0);
    let new = image(NEW, &other, None);
    let firmware = upload(&world, &world.old, &new);
    let device = Running::start(world.options());
    device.wait_for("Acknowledged");
    let job = world
        .cloud()
        .validate_as(firmware, Mode::Diff, Some(Format::Auto), DN)
        .unwrap();
    assert_eq!(job.tasks[0].format, Format::Xz);
    assert_eq!(updated(device.end()), NEW);
    assert!(device.said("kind: Xz"));
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
    world.assert_active(&new);
}

/// A C firmware has no descriptor: nobody knows what it takes but nbdiff.
#[test]
fn auto_stays_with_nbdiff_for_images_without_a_descriptor() {
    let world = world();
    let (old, new) = (program(1, 20_000), program(1, 21_000));
    let put = |bytes: &[u8], version: &str| {
        let upload = Upload::bytes("app.bin", bytes, version);
        world.cloud().upload(PK, &upload).unwrap()
    };
    let base = put(&old, OLD);
    assert!(!base.has_trailer && base.image_version.is_none());
    let firmware = put(&new, NEW).id;
    let device = Running::start(world.options());
    wait_for_old(&world);
    drop(device.power_off());
    let job = world
        .cloud()
        .validate_as(firmware, Mode::Diff, Some(Format::Auto), DN);
    assert_eq!(job.unwrap().tasks[0].format, Format::Nbdiff);
}

fn wait_for_old(world: &World) {
    let start = std::time::Instant::now();
    while world.cloud().device(PK, DN).unwrap().version() != Some(OLD) {
        assert!(start.elapsed() < LIMIT, "no report");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// One update from the factory on, with a cut; flash operations at each power-off,
/// and bytes of the image that were found in flash after the cut.
fn update(
    world: &World,
    new: &Made,
    cut: Option<u64>,
    offer: impl FnOnce() -> Job,
) -> (Vec<u64>, u32) {
    world.wait_offline();
    world.factory();
    let options = Options {
        cut: cut.map(|at| (at, CutVariant::Unstable { seed: at })),
        ..world.options()
    };
    let seen = Arc::new(Mutex::new((Vec::new(), 0)));
    let own = seen.clone();
    let device = Running::start_with(options, move |note| match note {
        Note::PowerOff { operations } => own.lock().unwrap().0.push(*operations),
        Note::Agent(ota_agent::Event::Package { kept, .. }) => own.lock().unwrap().1 = *kept,
        _ => {}
    });
    wait_for_old(world);
    let job = offer();
    match device.end() {
        Ok(End::Updated(version)) => assert_eq!(version.as_str(), NEW, "cut at {cut:?}"),
        Err(e) => panic!("cut at {cut:?}: {e}\n{}", device.notes().join("\n")),
    }
    assert_eq!(device.said("PowerCut"), cut.is_some());
    assert_eq!(world.task(&job).0, TaskState::Succeeded, "cut at {cut:?}");
    world.assert_active(new);
    seen.lock().unwrap().clone()
}

#[test]
fn cut_anywhere_the_update_completes() {
    for (mode, format, _) in FORMATS {
        let world = world();
        let new = image(NEW, &changed(1), None);
        let firmware = upload(&world, &world.old, &new);
        let (counts, _) = update(&world, &new, None, || {
            let job = world.cloud().validate_as(firmware, mode, Some(format), DN);
            job.unwrap()
        });
        let (download, all) = (counts[0], counts[1]);
        let points = (0..download)
            .step_by((download / 12) as usize)
            .chain((download..all).step_by(((all - download) / 6) as usize));
        let (mut cuts, mut most) = (0, 0);
        for at in points.chain([download - 1, all - 1]) {
            let (_, kept) = update(&world, &new, Some(at), || {
                world.cloud().start_job(&JobSpec::new(firmware)).unwrap()
            });
            most = most.max(kept);
            cuts += 1;
        }
        println!(
            "{format:?}: {cuts} cuts in {all} operations, {download} of the download; \
             up to {most} bytes of the image kept"
        );
        assert!(most >= 2 * 65_536, "{format:?}: {most}");
    }
}
