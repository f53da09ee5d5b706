//! The command line of `otaapp`: exit statuses, errors with remedies.
#![allow(missing_docs)]

use std::process::{Command, Output};
use uota_tests::{image, program};

fn otaapp(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uota-device"));
    for name in ["OTA_PK", "OTA_DN", "OTA_DS", "OTA_PS"] {
        command.env_remove(name);
    }
    command.args(args).output().unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn wrong_usage_is_status_2() {
    for (args, wanted) in [
        (
            &["--flash", "f"][..],
            "product key, device name and device secret are wanted",
        ),
        (
            &["--flash", "f", "pk", "dn", "ds"],
            "--broker HOST:PORT or --region REGION",
        ),
        (
            &["--flash", "f", "--broker", "host", "pk", "dn", "ds"],
            "HOST:PORT is wanted",
        ),
        (
            &["--flash", "f", "--region", "No_Where", "pk", "dn", "ds"],
            "lower-case letters",
        ),
        (
            &[
                "--flash",
                "f",
                "--broker",
                "h:1",
                "--require-signature",
                "pk",
                "dn",
                "ds",
            ],
            "--key",
        ),
        (
            &[
                "--flash",
                "f",
                "--broker",
                "h:1",
                "--allow-plain",
                "pk",
                "dn",
                "ds",
            ],
            "--require-signature",
        ),
        (&["--broker", "h:1", "pk", "dn", "ds"], "--flash"),
    ] {
        let out = otaapp(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {out:?}");
        assert!(stderr(&out).contains(wanted), "{args:?}: {}", stderr(&out));
    }
}

#[test]
fn errors_name_the_remedy_and_a_section() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = image("app-1.0.0", &program(1, 5000), None);
    std::fs::write(path("good"), &made.bytes).unwrap();
    std::fs::write(path("bare"), program(1, 5000)).unwrap();
    std::fs::write(path("short.flash"), b"no flash").unwrap();

    let (flash, good, bare) = (path("flash"), path("good"), path("bare"));
    let out = otaapp(&["--flash", &flash, "--init", &bare]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        stderr(&out).starts_with("error: not a packed image: "),
        "{out:?}"
    );
    assert!(
        stderr(&out).contains("help: pack it: ota image pack"),
        "{out:?}"
    );
    assert!(
        !std::path::Path::new(&flash).exists(),
        "nothing is left behind"
    );

    assert!(
        otaapp(&["--flash", &flash, "--init", &good])
            .status
            .success()
    );
    let out = otaapp(&["--flash", &flash, "--init", &good]);
    assert!(
        stderr(&out).starts_with("error: the flash file exists ("),
        "{out:?}"
    );

    let at = ["--broker", "127.0.0.1:1", "--once"];
    let device = ["pk", "dn", "ds"];
    let (short, blank, nowhere) = (path("short.flash"), path("blank"), path("no/where"));
    std::fs::write(&blank, vec![0xFF; 2 << 20]).unwrap();
    let cases: [(Vec<&str>, &str, &str); 5] = [
        (
            vec!["--flash", &short],
            "error: flash file has 8 bytes, not 2097152",
            "#flash",
        ),
        (
            vec!["--flash", &blank],
            "error: the boot loader has no image to start: ",
            "#start",
        ),
        (
            vec!["--flash", &nowhere],
            "error: there is no flash file (",
            "#start",
        ),
        (
            vec!["--flash", &flash, "--key", &bare],
            "error: ",
            "#signature",
        ),
        (
            vec!["--flash", &flash, "--ca", &bare],
            "error: no trusted certificates: ",
            "#tls",
        ),
    ];
    for (args, error, section) in cases {
        let args = [&at[..], &args, &device].concat();
        let out = otaapp(&args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {out:?}");
        let text = stderr(&out);
        assert!(text.starts_with(error), "{args:?}: {text}");
        let help = text.lines().last().unwrap();
        assert!(
            help.starts_with("help: ") && help.ends_with(section),
            "{text}"
        );
    }
    let out = otaapp(&[&at[..], &["--flash", &flash], &["pk!", "dn", "ds"]].concat());
    let wanted = "error: product key has a character not allowed at byte 2";
    assert!(stderr(&out).starts_with(wanted), "{out:?}");
}
