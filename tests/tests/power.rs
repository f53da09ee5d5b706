//! Power cuts of a device that updates itself from a real cloud.
//!
//! `UOTA_FULL=1` cuts at every flash operation of the download.
#![allow(missing_docs)]

use ota_cloud::TaskState;
use ota_flash::sim::CutVariant;
use otaapp::host::{End, Note, SECTOR};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use uota_tests::peers::Guard;
use uota_tests::{DN, LIMIT, OLD, PK, Running, World, image, program};

const NEW: &str = "app-2.0.0";
/// Bytes between two records of how far a download got.
const CHECKPOINT: u32 = 64 << 10;

/// Where downloads stood, and where they went on.
#[derive(Default)]
struct Bytes {
    done: u32,
    restarted: bool,
    /// Bytes that were fetched a second time after the cut.
    twice: Option<u32>,
}

/// Flash operations of an update, and those of its download.
fn count(world: &World, new: &uota_tests::Made) -> (u64, u64) {
    world.factory();
    let counts = Arc::new(Mutex::new(Vec::new()));
    let own = counts.clone();
    let device = Running::start_with(world.options(), move |note| {
        if let Note::PowerOff { operations } = note {
            own.lock().unwrap().push(*operations);
        }
    });
    let _ = world.offer(new);
    assert!(matches!(device.end(), Ok(End::Updated(_))));
    world.assert_active(new);
    let counts = counts.lock().unwrap();
    (counts[1], counts[0])
}

/// One update with a cut at operation `at`; bytes fetched twice.
fn cut(world: &World, new: &uota_tests::Made, at: u64) -> u32 {
    world.wait_offline();
    world.factory();
    let mut options = world.options();
    options.cut = Some((at, CutVariant::Unstable { seed: at }));
    let bytes = Arc::new(Mutex::new(Bytes::default()));
    let own = bytes.clone();
    let device = Running::start_with(options, move |note| {
        use ota_agent::Event::{Download, Progress};
        let mut bytes = own.lock().unwrap();
        match note {
            Note::PowerCut { .. } => bytes.restarted = true,
            Note::Agent(Progress { done, .. }) if !bytes.restarted => bytes.done = *done,
            Note::Agent(Download { offset, .. }) if bytes.restarted => {
                bytes.twice = Some(bytes.done.saturating_sub(*offset));
            }
            _ => {}
        }
    });
    // The cloud offers nothing to a device that it thinks runs the version already.
    let start = std::time::Instant::now();
    while world.cloud().device(PK, DN).unwrap().version() != Some(OLD) {
        assert!(start.elapsed() < LIMIT, "cut at {at}: no report");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let job = world
        .cloud()
        .start_job(&ota_cloud::JobSpec::new(1))
        .unwrap();
    match device.end() {
        Ok(End::Updated(version)) => assert_eq!(version.to_string(), NEW, "cut at {at}"),
        Err(e) => panic!("cut at {at}: {e}\n{}", device.notes().join("\n")),
    }
    assert!(device.said("PowerCut"), "the cut at {at} did not fire");
    world.assert_active(new);
    assert_eq!(world.task(&job).0, TaskState::Succeeded, "cut at {at}");
    bytes.lock().unwrap().twice.unwrap_or(0)
}

#[test]
fn cut_anywhere_the_update_completes_and_little_is_fetched_twice() {
    let world = World::new(60_000);
    let new = image(NEW, &program(2, 200_000), None);
    let (all, download) = count(&world, &new);
    let step = match std::env::var_os("UOTA_FULL") {
        Some(_) => 1,
        None => (download / 40) | 1,
    };
    let (mut cuts, mut most, mut sum) = (0, 0, 0u64);
    let points = (0..download)
        .step_by(step as usize)
        .chain((download..all).step_by(((all - download) / 20) as usize | 1))
        .chain([download - 2, download - 1, download, all - 2, all - 1]);
    for at in points {
        let twice = cut(&world, &new, at);
        cuts += 1;
        most = most.max(twice);
        sum += u64::from(twice);
        assert!(
            twice <= CHECKPOINT + SECTOR as u32,
            "cut at {at}: {twice} bytes fetched twice"
        );
    }
    println!(
        "{cuts} cuts in {download} operations of the download and {} after it: \
         at most {most} bytes fetched twice, {} on average",
        all - download,
        sum / cuts
    );
}

/// `otaapp` as a process.
fn otaapp(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uota-device"));
    let broker = world.cloud().mqtt_addr().to_string();
    command
        .args(["--once", "--broker", &broker, "--flash"])
        .arg(world.flash())
        .env("OTA_PK", PK)
        .env("OTA_DN", DN)
        .env("OTA_DS", &world.device.ds)
        .stdout(Stdio::null());
    command
}

#[test]
fn killed_at_random_moments_it_updates_all_the_same() {
    let world = World::new(60_000);
    let new = image(NEW, &program(2, 700_000), None);
    let job = world.offer(&new);
    // From a number that is printed: a failure can be had again.
    let mut random = u64::from(std::process::id());
    println!("seed {random}");
    let mut kills = 0;
    loop {
        let mut device = Guard(otaapp(&world).spawn().unwrap());
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let delay = std::time::Duration::from_millis(5 + (random >> 33) % (60 + 10 * kills));
        let start = std::time::Instant::now();
        let ended = loop {
            if let Some(status) = device.0.try_wait().unwrap() {
                break Some(status);
            }
            if start.elapsed() >= delay {
                break None;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        match ended {
            Some(status) => {
                assert!(status.success(), "{status}");
                break;
            }
            None => {
                device.0.kill().unwrap();
                device.0.wait().unwrap();
                kills += 1;
            }
        }
        // Confirmed between the report and the kill: then there is nothing more to come.
        if kills > 20 && world.task(&job).0 == TaskState::Succeeded {
            break;
        }
        assert!(kills < 500, "it never gets there");
    }
    println!("killed {kills} times");
    assert!(kills > 0, "it was never killed");
    assert_eq!(world.task(&job).0, TaskState::Succeeded);
    world.assert_active(&new);
}

#[test]
fn a_cut_that_does_not_fire_is_an_error() {
    let world = World::new(20_000);
    let mut options = world.options();
    options.cut = Some((1 << 40, CutVariant::Before));
    let device = Running::start(options);
    let _ = world.offer(&image(NEW, &program(2, 20_000), None));
    let Err(e) = device.end() else {
        panic!("the cut cannot have fired");
    };
    assert!(
        e.to_string().starts_with("the power cut did not fire"),
        "{e}"
    );
}
