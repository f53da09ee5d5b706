//! The command line as a user meets it: files in, files out, texts, exit status.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hal_mk3060::line_code;
use ota_verify::{ImageDescriptor, Trailer, md5};
use serde_json::Value;
use tempfile::TempDir;

const PRIVATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ota-verify/tests/vectors/rsa-2048.key.pem"
);
const PUBLIC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ota-verify/tests/vectors/rsa-2048.spki.pem"
);
const OTHER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ota-verify/tests/vectors/rsa-3072.spki.pem"
);

struct Run {
    status: i32,
    out: Vec<u8>,
    err: String,
}

impl Run {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).expect("one JSON object on standard output")
    }

    #[track_caller]
    fn good(self) -> Self {
        assert_eq!(self.status, 0, "{}", self.err);
        assert!(!self.err.contains("error"), "{}", self.err);
        self
    }

    /// Failed with this status; the error says what, the help what to do.
    #[track_caller]
    fn bad(self, status: i32, what: &str, help: &str) {
        assert_eq!(self.status, status, "{}", self.err);
        assert!(self.err.contains(what), "{what:?} not in {:?}", self.err);
        assert!(self.err.contains(help), "{help:?} not in {:?}", self.err);
        assert!(self.err.starts_with("error: "), "{:?}", self.err);
        assert!(self.out.is_empty(), "nothing on standard output");
    }
}

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("write");
        path
    }

    fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("list");
        let mut names: Vec<_> = entries
            .map(|e| e.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    }

    /// `ota` with arguments split at blanks.
    fn ota(&self, args: &str) -> Run {
        self.ota_with(args, &[])
    }

    fn ota_with(&self, args: &str, input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ota"))
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ota");
        // A command that fails early does not read its input.
        let _ = child.stdin.take().expect("stdin").write_all(input);
        let output = child.wait_with_output().expect("output");
        Run {
            status: output.status.code().expect("no signal"),
            out: output.stdout,
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

fn program(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

/// A board program with the descriptor its linker script would place.
fn board_program(len: usize) -> Vec<u8> {
    let mut bytes = program(len);
    bytes[0x40..0xA0].copy_from_slice(&ImageDescriptor::template("app-1.0.0", "", 0x1A5C0));
    bytes
}

#[test]
fn pack_a_plain_program_as_the_original_does() {
    let desk = Desk::new();
    desk.put("in.bin", b"hello firmware");
    let run = desk.ota("image pack in.bin -o out.bin").good();
    assert!(run.err.contains("note: no image descriptor"), "{}", run.err);
    let hex: String = desk.get("out.bin")[14..]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        hex,
        "efefefef0e0000005d99b396caab4bfae4e25207b62b30e2ffffffff"
    );
    for (magic, byte) in [("app", 0xEF), ("kernel", 0xCD), ("single", 0xAB)] {
        desk.ota(&format!(
            "image pack in.bin -o out.bin --force --magic {magic}"
        ))
        .good();
        assert_eq!(desk.get("out.bin")[14..18], [byte; 4]);
        let info = desk.ota("image info out.bin --json").good().json();
        assert_eq!(info["kind"], magic);
    }
}

#[test]
fn pack_info_verify_a_signed_host_image() {
    let desk = Desk::new();
    desk.put("in.bin", b"data");
    let pack = format!(
        "image pack in.bin -o out.img --image-version app-1.2.3 --module mcu --sign {PRIVATE}"
    );
    let made = desk.ota(&(pack + " --json")).good().json();
    let file = desk.get("out.img");
    assert_eq!(file.len(), 160 + 4 + 332 + 28);
    assert_eq!(made["size"], file.len());
    assert_eq!(made["image_size"], 164);
    assert_eq!(made["version"], "app-1.2.3");
    assert_eq!(made["module"], "mcu");
    assert_eq!(made["board"], Value::Null);
    let info = desk.ota("image info out.img --json").good().json();
    assert_eq!(info["check"], "good");
    assert_eq!(
        info["signature"],
        format!("by unknown key {}", made["key"].as_str().expect("id"))
    );
    let text = desk.ota("image info out.img").good();
    assert!(
        text.text()
            .lines()
            .any(|l| l.starts_with("version:") && l.ends_with(" app-1.2.3"))
    );
    let verified = desk
        .ota(&format!("image verify out.img --key {PUBLIC} --json"))
        .good()
        .json();
    assert_eq!(
        verified["signature"],
        format!("by key {}", made["key"].as_str().expect("id"))
    );
    assert_eq!(verified["sha256"], made["sha256"]);
    desk.ota("image verify out.img").good();
    desk.ota(&format!("image verify out.img --key {OTHER}"))
        .bad(1, "signed by another key", "help: ");
}

#[test]
fn verify_names_the_damage() {
    let desk = Desk::new();
    desk.put("in.bin", b"data");
    desk.ota(&format!(
        "image pack in.bin -o good.img --image-version 1.0 --sign {PRIVATE}"
    ))
    .good();
    let good = desk.get("good.img");
    let damaged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    desk.put("bad.img", &damaged(161));
    desk.ota("image verify bad.img")
        .bad(1, "do not have the trailer's MD5 (bad.img)", "");
    // info shows what can be shown, and the verdict.
    let info = desk.ota("image info bad.img --json").good().json();
    assert_eq!(info["version"], "1.0");
    assert_eq!(info["sha256"], Value::Null);
    assert_ne!(info["check"], "good");
    desk.put("bad.img", &damaged(164 + 100));
    desk.ota(&format!("image verify bad.img --key {PUBLIC}"))
        .bad(1, "signature does not match", "");
    desk.put("bad.img", &damaged(good.len() - 10));
    desk.ota("image verify bad.img").bad(1, "MD5", "");
    desk.put("bad.img", &good[..good.len() - 1]);
    desk.ota("image verify bad.img")
        .bad(1, "no trailer magic", "help: give the packed file");
    desk.ota("image pack in.bin -o plain.img").good();
    desk.ota(&format!("image verify plain.img --key {PUBLIC}"))
        .bad(1, "not signed", "help: sign the image");
    desk.ota("image info in.bin")
        .bad(1, "not an image", "help: ota image pack");
}

#[test]
fn pack_for_the_board() {
    let desk = Desk::new();
    let plain = board_program(1000);
    desk.put("app.bin", &plain);
    desk.ota("image pack app.bin -o app.img --board mk3060")
        .good();
    let file = desk.get("app.img");
    let image = &file[..file.len() - 28];
    assert_eq!(image[..28], [0; 28]);
    let lines: Vec<u8> = line_code::decode(&image[28..])
        .flat_map(|line| line.expect("line CRC"))
        .collect();
    assert_eq!(lines.len(), 1024);
    assert_eq!(lines[..0x40], plain[..0x40]);
    assert_eq!(lines[0xA0..1000], plain[0xA0..]);
    assert_eq!(lines[1000..], [0xFF; 24]);
    let info = desk.ota("image info app.img --json").good().json();
    assert_eq!(info["board"], "mk3060");
    assert_eq!(info["version"], "app-1.0.0");
    assert_eq!(info["load_address"], "0x1a5c0");
    assert_eq!(info["check"], "good");
    desk.ota("image pack app.bin -o app.img --force --board mk3060 --image-version app-9")
        .good();
    assert_eq!(
        desk.ota("image info app.img --json").good().json()["version"],
        "app-9"
    );

    // A line whose CRC is wrong, under a trailer that fits it: only hardware would notice.
    let mut bad = desk.get("app.img");
    let size = bad.len() - 28;
    bad[28 + 34 * 7 + 33] ^= 1;
    let trailer = Trailer::parse(&bad[size..]).expect("trailer");
    let trailer = Trailer {
        md5: md5(&bad[..size]),
        ..trailer
    };
    bad[size..].copy_from_slice(&trailer.to_bytes());
    desk.put("bad.img", &bad);
    desk.ota("image verify bad.img")
        .bad(1, "coded line 7 has a wrong CRC", "");
}

#[test]
fn the_board_limits_the_length() {
    let desk = Desk::new();
    // Largest file without a warning: 0xD4000 bytes; 28 + lines * 34 + 28.
    let lines = (0xD4000 - 56) / 34;
    desk.put("app.bin", &board_program(lines * 32));
    let quiet = desk
        .ota("image pack app.bin -o a.img --board mk3060")
        .good();
    assert!(!quiet.err.contains("warning"), "{}", quiet.err);
    desk.put("app.bin", &board_program(lines * 32 + 1));
    let loud = desk
        .ota("image pack app.bin -o b.img --board mk3060")
        .good();
    assert!(
        loud.err.contains("warning: ") && loud.err.contains("0xf0000"),
        "{}",
        loud.err
    );
    let most = (0xE4000 - 56) / 34;
    desk.put("app.bin", &board_program(most * 32));
    desk.ota("image pack app.bin -o c.img --board mk3060")
        .good();
    desk.put("app.bin", &board_program(most * 32 + 1));
    desk.ota("image pack app.bin -o d.img --board mk3060")
        .bad(1, "at most 933888", "app.bin");
    assert!(!desk.path("d.img").exists());
}

#[test]
fn a_board_program_without_descriptor() {
    let desk = Desk::new();
    desk.put("c.bin", &program(1000));
    desk.ota("image pack c.bin -o c.img --board mk3060 --image-version 1.0")
        .bad(1, "no image descriptor", "help: link the program");
    let run = desk.ota("image pack c.bin -o c.img --board mk3060").good();
    assert!(run.err.contains("note: no image descriptor"), "{}", run.err);
    let info = desk.ota("image info c.img --json").good().json();
    assert_eq!(
        (&info["board"], &info["version"]),
        (&Value::from("mk3060"), &Value::Null)
    );
}

#[test]
fn merge_loader_and_app() {
    let desk = Desk::new();
    let boot = program(2000);
    desk.put("boot2.bin", &boot);
    desk.put("app.bin", &board_program(5000));
    desk.ota(&format!(
        "image pack app.bin -o app.img --board mk3060 --sign {PRIVATE}"
    ))
    .good();
    let merge = "image merge --boot boot2.bin --app app.img -o all.bin --board mk3060";
    let made = desk.ota(&format!("{merge} --json")).good().json();
    let (all, app) = (desk.get("all.bin"), desk.get("app.img"));
    let coded: Vec<u8> = line_code::encode(&boot).flatten().collect();
    assert_eq!(all[..coded.len()], coded);
    assert!(all[coded.len()..0x8E00].iter().all(|b| *b == 0xFF));
    assert_eq!(all[0x8E00..], app);
    assert_eq!(made["flash_address"], "0x13200");
    let verified = desk
        .ota(&format!("image verify all.bin --key {PUBLIC} --json"))
        .good()
        .json();
    assert_eq!(verified["offset"], 0x8E00);
    assert_eq!(verified["version"], "app-1.0.0");

    desk.ota(merge)
        .bad(1, "the output file exists (all.bin)", "--force");
    let with = |boot: &str, app: &str| {
        desk.ota(&format!(
            "image merge --boot {boot} --app {app} -o new.bin --board mk3060"
        ))
    };
    with("boot2.bin", "app.bin").bad(1, "trailer", "help: pack the app");
    with("boot2.bin", "all.bin").bad(1, "holds a loader already", "help: give APP");
    desk.ota("image pack app.bin -o host.img").good();
    with("boot2.bin", "host.img").bad(1, "not coded for mk3060", "help: pack the app");
    desk.put("big.bin", &program(0x6701));
    with("big.bin", "app.img").bad(1, "room for 26368 (big.bin)", "help: give the loader");
    desk.put("full.bin", &program(0x6700));
    with("full.bin", "app.img").good();
    desk.put("empty.bin", b"");
    with("empty.bin", "app.img").bad(1, "empty", "");
}

#[test]
fn packages() {
    let desk = Desk::new();
    desk.put("pkg", b"hello firmware");
    let sign = |method: &str| {
        desk.ota(&format!(
            "package sign pkg --key {PRIVATE} --method {method} --json"
        ))
        .good()
        .json()
    };
    let (md5, sha) = (sign("md5"), sign("sha256"));
    assert_eq!(md5["size"], 14);
    assert_eq!(md5["signMethod"], "Md5");
    assert_eq!(md5["sign"], "5d99b396caab4bfae4e25207b62b30e2");
    assert_eq!(md5["md5"], md5["sign"]);
    assert_eq!(sha["signMethod"], "SHA256");
    assert_eq!(sha["sign"].as_str().map(str::len), Some(64));
    assert_eq!(sha.get("md5"), None);
    for (method, signed) in [("md5", &md5), ("sha256", &sha)] {
        let b64 = signed["digestsign"].as_str().expect("base64");
        assert_eq!(b64.len(), 344);
        let verify = |key: &str, b64: &str, method: &str| {
            desk.ota(&format!(
                "package verify pkg --key {key} --digestsign {b64} --method {method}"
            ))
        };
        verify(PUBLIC, b64, method).good();
        let other = if method == "md5" { "sha256" } else { "md5" };
        verify(PUBLIC, b64, other).bad(1, "does not match (pkg)", "help: check");
        verify(OTHER, b64, method).bad(1, "256 bytes; the key makes 384", "help: check");
        verify(PUBLIC, "AAAA", method).bad(1, "3 bytes", "help: check");
        verify(PUBLIC, "?", method).bad(1, "not base64", "help: check");
    }
    let text = desk
        .ota(&format!("package sign pkg --key {PRIVATE}"))
        .good();
    assert!(text.text().lines().any(|l| l.starts_with("digestsign: ")));
    desk.ota(&format!("package sign pkg --key {PUBLIC}")).bad(
        1,
        "not a private RSA key",
        "help: this is a public key",
    );
    desk.ota(&format!(
        "package verify pkg --key {PRIVATE} --digestsign AAAA"
    ))
    .bad(1, "not a PEM public key", "help: this is a private key");
}

#[test]
fn keys() {
    let desk = Desk::new();
    let made = desk.ota("key gen -o keys --json").good().json();
    assert_eq!(made["bits"], 2048);
    let (private, public) = (desk.get("keys/private.pem"), desk.get("keys/public.pem"));
    assert!(private.starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    assert!(public.starts_with(b"-----BEGIN PUBLIC KEY-----\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(desk.path("keys/private.pem"))
            .expect("file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "others can read the private key");
    }
    desk.ota("key gen -o keys")
        .bad(1, "the key file exists", "help: ");
    assert_eq!(desk.get("keys/private.pem"), private);
    desk.ota("key gen -o keys --bits 1024")
        .bad(2, "invalid value '1024'", "");

    desk.ota("key header keys/public.pem -o key.h").good();
    let header = String::from_utf8(desk.get("key.h")).expect("text");
    assert!(header.contains("ota_pubn_buf[256]") && header.contains("ota_pube_buf[3]"));
    assert!(header.contains("0x01, 0x00, 0x01,"));
    assert_eq!(desk.ota("key header --import key.h").good().out, public);
    // The header does as a key everywhere.
    desk.put("in.bin", b"x");
    desk.ota("image pack in.bin -o signed.img --sign keys/private.pem")
        .good();
    desk.ota("image verify signed.img --key key.h").good();
    desk.ota("key header keys/private.pem").bad(
        1,
        "not a PEM public key",
        "help: this is a private key",
    );
    desk.ota("key header --import in.bin")
        .bad(1, "no array ota_pubn_buf (in.bin)", "help: ");
    desk.ota("key header").bad(2, "required", "");
    desk.ota("key header keys/public.pem --import key.h")
        .bad(2, "cannot be used with", "");
}

#[test]
fn standard_input_and_output() {
    let desk = Desk::new();
    let packed = desk
        .ota_with("image pack - -o - --image-version 1.0", b"data")
        .good();
    assert_eq!(packed.out.len(), 192);
    assert!(
        packed.err.contains("image size"),
        "facts beside the data: {}",
        packed.err
    );
    let info = desk
        .ota_with("image info - --json", &packed.out)
        .good()
        .json();
    assert_eq!(info["version"], "1.0");
    desk.ota_with("image verify -", &packed.out).good();
    desk.ota_with("image pack - -o - --json", b"data").bad(
        2,
        "both want standard output",
        "help: ",
    );
    let sign = desk.ota_with(
        &format!("package sign - --key {PRIVATE} --json"),
        b"hello firmware",
    );
    assert_eq!(sign.good().json()["size"], 14);
    assert_eq!(desk.names(), Vec::<String>::new());
}

#[test]
fn outputs_are_whole_or_absent() {
    let desk = Desk::new();
    desk.put("in.bin", b"new");
    desk.put("out.bin", b"precious");
    desk.ota("image pack in.bin -o out.bin").bad(
        1,
        "the output file exists (out.bin)",
        "help: overwrite it with --force",
    );
    assert_eq!(desk.get("out.bin"), b"precious");
    desk.ota("image pack in.bin -o out.bin --force").good();
    assert_eq!(desk.get("out.bin").len(), 31);
    desk.ota("image pack in.bin -o missing/out.bin")
        .bad(1, "cannot write", "missing/out.bin");
    desk.ota("image pack nothing.bin -o new.bin")
        .bad(1, "cannot read", "nothing.bin");
    desk.ota("image pack out.bin -o new.bin").bad(
        1,
        "already ends in an image trailer",
        "help: give the program",
    );
    assert_eq!(desk.names(), ["in.bin", "out.bin"]);
}

#[test]
fn usage() {
    let desk = Desk::new();
    for args in [
        "",
        "image",
        "image pack",
        "bogus",
        "image pack a -o b --magic x",
        "image pack a -o b --board esp32",
    ] {
        let run = desk.ota(args);
        assert_eq!(run.status, 2, "{args}: {}", run.err);
        assert!(run.out.is_empty());
    }
    desk.ota(&format!(
        "image pack a -o b --image-version {}",
        "1".repeat(33)
    ))
    .bad(2, "holds 32", "");
    desk.ota("image pack a -o b --module m")
        .bad(2, "--image-version", "");
    for args in [
        "--help",
        "image --help",
        "image pack --help",
        "image info --help",
        "image verify --help",
        "image merge --help",
        "package --help",
        "package sign --help",
        "package verify --help",
        "key --help",
        "key gen --help",
        "key header --help",
        "--version",
    ] {
        let run = desk.ota(args).good();
        assert!(run.text().contains("ota"), "{args}");
    }
    assert!(Path::new(PRIVATE).exists());
}

#[test]
fn an_empty_program_is_no_image() {
    let desk = Desk::new();
    desk.put("in.bin", b"");
    desk.ota("image pack in.bin -o out.bin")
        .bad(1, "error: the program is empty (in.bin)", "");
    assert_eq!(desk.names(), ["in.bin"]);
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_takes_nothing() {
    let desk = Desk::new();
    desk.put("in.bin", b"hello firmware");
    desk.ota("image pack in.bin -o out.bin").good();
    let run = |stdout: Stdio| {
        let output = Command::new(env!("CARGO_BIN_EXE_ota"))
            .args(["image", "info", "out.bin"])
            .current_dir(desk.0.path())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()
            .expect("ota");
        let err = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), err)
    };
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let (status, err) = run(full.into());
    assert_eq!(status, Some(1));
    assert!(err.starts_with("error: cannot write: "), "{err}");
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    assert_eq!(run(writer.into()), (Some(1), String::new()));
}

#[cfg(unix)]
#[test]
fn a_device_is_written_to_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let desk = Desk::new();
    desk.put("in.bin", b"hello firmware");
    // A name that leads to a device, as /dev/null does.
    std::os::unix::fs::symlink("/dev/null", desk.path("null")).expect("link");
    for force in ["", " --force"] {
        desk.ota(&format!("image pack in.bin -o null{force}"))
            .good();
        let kind = std::fs::metadata(desk.path("null")).expect("null");
        assert!(kind.file_type().is_char_device());
    }
}

#[test]
fn a_boot_loader_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("boot2.bin");
    let can = boot2::capability::SWAP | boot2::capability::PATCH_SWAP;
    let info = boot2::LoaderInfo::new(1, can, "boot2-9.8.7");
    let mut bytes = vec![0xE5; 20_000];
    bytes[0x40..0x40 + boot2::INFO_LEN].copy_from_slice(&info.to_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let ota = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ota"));
        command.args(["image", "info"]).arg(&path);
        command.output().unwrap()
    };
    let out = ota();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    for fact in ["boot loader", "boot2-9.8.7", "mk3060", "swap patch-swap"] {
        assert!(text.contains(fact), "no {fact} in {text}");
    }
    bytes[0x50] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(!ota().status.success(), "damaged, and taken all the same");
}

#[test]
fn keys_of_another_length_are_told_what_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.pem");
    // A public key of 1024 bits (SPKI).
    let pem = include_str!("small.pem");
    std::fs::write(&path, pem).unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_ota"))
        .args(["key", "header", "-o", "-"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("1024 bits"), "{text}");
    assert!(text.contains("ota key gen"), "{text}");
}
