//! The flash in a file: same rules, every operation in the file at once.

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use ota_flash::sim::{CutVariant, FileFlash, FileFlashError, SimFlash};
use proptest::prelude::*;

type Flash = FileFlash<256, 32>;

#[test]
fn a_new_flash_is_blank_and_stays_what_it_was_made_into() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let mut flash = Flash::open(&path, 1024).unwrap();
    assert_eq!(flash.path(), path);
    assert_eq!(std::fs::read(&path).unwrap(), [0xFF; 1024]);
    flash.write(32, &[0xF0; 32]).unwrap();
    flash.write(32, &[0x3C; 32]).unwrap();
    // Already in the file, though nothing was closed or synced.
    assert_eq!(std::fs::read(&path).unwrap()[32..64], [0x30; 32]);
    drop(flash);

    let mut flash = Flash::open(&path, 1024).unwrap();
    let mut bytes = [0; 32];
    flash.read(32, &mut bytes).unwrap();
    assert_eq!(bytes, [0x30; 32]);
    flash.erase(0, 256).unwrap();
    flash.load(255, b"ab").unwrap();
    assert_eq!(flash.ops(), 1);
    let mut expected = vec![0xFF; 1024];
    expected[255..257].copy_from_slice(b"ab");
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    assert!(matches!(
        flash.load(1020, b"abcde"),
        Err(FileFlashError::OutOfBounds { offset: 1020 })
    ));
    // Nothing else was left in the directory.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_does_not_fit_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    std::fs::write(&path, b"precious").unwrap();
    let e = Flash::open(&path, 1024).unwrap_err();
    assert!(matches!(
        e,
        FileFlashError::WrongSize {
            expected: 1024,
            found: 8,
            ..
        }
    ));
    assert!(e.to_string().contains("flash.img"), "{e}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    let other = dir.path().join("other.img");
    let e = Flash::open(&other, 1000).unwrap_err();
    assert!(matches!(e, FileFlashError::NotAligned { .. }));
    assert!(!other.exists());
    let e = Flash::open(dir.path().join("no/such/dir.img"), 1024).unwrap_err();
    assert!(matches!(e, FileFlashError::Io { .. }));
    assert!(std::error::Error::source(&e).is_some());
}

#[test]
fn two_cannot_use_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let first = Flash::open(&path, 1024).unwrap();
    let second = Flash::open(&path, 1024);
    assert!(matches!(second, Err(FileFlashError::InUse { .. })));
    drop(first);
    Flash::open(&path, 1024).unwrap();
}

/// Between fork and exec a new process holds copies of all handles.
#[cfg(unix)]
#[test]
fn a_process_being_started_does_not_keep_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let starts = std::thread::spawn(|| {
        for _ in 0..200 {
            assert!(
                std::process::Command::new("true")
                    .status()
                    .unwrap()
                    .success()
            );
        }
    });
    while !starts.is_finished() {
        drop(Flash::open(&path, 1024).unwrap());
    }
    starts.join().unwrap();
}

/// Runs one test of this file again in a process of its own, through `sh`.
#[cfg(unix)]
fn again(setup: &str, test: &str, flash: &std::path::Path) -> std::process::Command {
    let mut sh = std::process::Command::new("sh");
    sh.arg("-c")
        .arg(format!("{setup} exec \"$0\" --exact {test}"))
        .arg(std::env::current_exe().unwrap())
        .env("OTA_FLASH_TEST_CHILD", flash)
        .stdout(std::process::Stdio::null());
    sh
}

#[cfg(unix)]
fn child_path() -> Option<std::path::PathBuf> {
    std::env::var_os("OTA_FLASH_TEST_CHILD").map(Into::into)
}

/// A disk that takes 512 bytes only (a file size limit stands for it).
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
    if let Some(path) = child_path() {
        let e = Flash::open(path, 8192).unwrap_err();
        assert!(matches!(e, FileFlashError::Io { .. }), "{e}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let test = "a_full_disk_is_an_error_and_leaves_nothing_behind";
    let child = again("trap '' XFSZ; ulimit -f 1;", test, &path)
        .status()
        .unwrap();
    assert!(child.success());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // The same without the limit finds room: the limit made the error.
    assert!(
        !again("", test, &path)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(std::fs::read(&path).unwrap().len(), 8192);
}

/// Killed in the middle of work: what was done is in the file, in order, and
/// the file can be opened at once.
#[cfg(unix)]
#[test]
fn kill_9_is_a_power_cut() {
    if let Some(path) = child_path() {
        let mut flash = Flash::open(path, 1 << 20).unwrap();
        for round in 0.. {
            flash.erase(0, 1 << 20).unwrap();
            for unit in 0..1 << 15 {
                flash.write(unit * 32, &[round; 32]).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let mut child = again("", "kill_9_is_a_power_cut", &path).spawn().unwrap();
    let programmed = || std::fs::read(&path).is_ok_and(|f| f.get(4096) == Some(&0));
    while !programmed() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child works until it is killed"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut flash = Flash::open(&path, 1 << 20).unwrap();
    let mut bytes = vec![0; 1 << 20];
    flash.read(0, &mut bytes).unwrap();
    // Runs of whole units: at most old round, new round, blank.
    let runs: Vec<u8> = bytes
        .chunk_by(|a, b| a == b)
        .map(|run| {
            assert_eq!(run.len() % 32, 0, "units are whole");
            run[0]
        })
        .collect();
    assert!(runs.len() <= 3, "{runs:?}");
    assert!(runs.iter().any(|b| *b != 0xFF));
}

#[test]
fn a_cut_leaves_the_same_in_a_file_as_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let variants = CutVariant::for_erase(8)
        .into_iter()
        .chain(CutVariant::for_program(8));
    for (i, variant) in variants.enumerate() {
        if matches!(
            variant,
            CutVariant::Unstable { .. } | CutVariant::Flicker { .. }
        ) {
            continue; // see below
        }
        let mut sim = SimFlash::<256, 32>::new(512);
        let mut file = Flash::open(&path, 512).unwrap();
        let old: Vec<u8> = (0..512).map(|b| (b * 3) as u8).collect();
        sim.load(0, &old);
        file.load(0, &old).unwrap();
        sim.cut_at(1, variant);
        file.cut_at(1, variant);
        if i < 14 {
            sim.erase(0, 512).unwrap_err();
            assert!(matches!(
                file.erase(0, 512),
                Err(FileFlashError::PoweredOff)
            ));
        } else {
            sim.write(0, &[0x41; 96]).unwrap_err();
            assert!(matches!(
                file.write(0, &[0x41; 96]),
                Err(FileFlashError::PoweredOff)
            ));
        }
        assert!(!file.is_powered());
        assert!(matches!(
            file.read(0, &mut [0; 1]),
            Err(FileFlashError::PoweredOff)
        ));
        assert_eq!(
            std::fs::read(&path).unwrap(),
            sim.dump(0, 512),
            "{variant:?}"
        );
    }
}

/// A file cannot hold unstable bits: they are settled, each old or new.
#[test]
fn unstable_bits_are_settled_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flash.img");
    let mut file = Flash::open(&path, 256).unwrap();
    file.cut_at(0, CutVariant::Unstable { seed: 3 });
    file.write(0, &[0x0F; 32]).unwrap_err();
    let left = std::fs::read(&path).unwrap();
    assert!(left[..32].iter().all(|b| b & 0x0F == 0x0F));
    assert!(left[..32].iter().any(|b| *b != 0x0F) && left[..32].iter().any(|b| *b != 0xFF));
    assert_eq!(left[32..], [0xFF; 224]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The same calls give the same results and the same bytes.
    #[test]
    fn a_file_behaves_like_the_simulator(
        calls in prop::collection::vec((0u8..3, 0u32..40, 0u32..40, any::<u8>()), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flash.img");
        let mut file = Flash::open(&path, 1024).unwrap();
        let mut sim = SimFlash::<256, 32>::new(1024);
        for (call, a, b, fill) in calls {
            let (x, y) = match call {
                0 => (file.erase(a * 128, b * 128).is_ok(), sim.erase(a * 128, b * 128).is_ok()),
                1 => {
                    let data = vec![fill; b as usize * 16];
                    (file.write(a * 16, &data).is_ok(), sim.write(a * 16, &data).is_ok())
                }
                _ => {
                    let (mut p, mut q) = (vec![0; b as usize], vec![0; b as usize]);
                    let ok = (file.read(a * 30, &mut p).is_ok(), sim.read(a * 30, &mut q).is_ok());
                    prop_assert_eq!(p, q);
                    ok
                }
            };
            prop_assert_eq!(x, y);
            prop_assert_eq!(file.ops(), sim.ops());
        }
        prop_assert_eq!(std::fs::read(&path).unwrap(), sim.dump(0, 1024));
    }
}
