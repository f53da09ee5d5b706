//! OpenSSL reads our keys and signatures, and we read OpenSSL's.
#![cfg(feature = "peers")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn run(dir: &Path, program: &str, args: &str) -> Vec<u8> {
    let output = Command::new(program)
        .args(args.split_whitespace())
        .current_dir(dir)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args}: {said}");
    output.stdout
}

fn ota(dir: &Path, args: &str) -> Vec<u8> {
    run(dir, env!("CARGO_BIN_EXE_ota"), args)
}

fn openssl(dir: &Path, args: &str) -> Vec<u8> {
    run(dir, "openssl", args)
}

#[test]
fn our_keys_and_signatures() {
    let desk = tempfile::tempdir().expect("directory");
    let dir = desk.path();
    std::fs::write(dir.join("pkg"), b"hello firmware").expect("write");
    ota(dir, "key gen -o keys --bits 3072");
    openssl(dir, "rsa -in keys/private.pem -check -noout");
    let public = openssl(dir, "rsa -in keys/private.pem -pubout");
    assert_eq!(
        public,
        std::fs::read(dir.join("keys/public.pem")).expect("public key")
    );
    for method in ["md5", "sha256"] {
        let signed = ota(
            dir,
            &format!("package sign pkg --key keys/private.pem --json --method {method}"),
        );
        let signed: Value = serde_json::from_slice(&signed).expect("JSON");
        let b64 = signed["digestsign"].as_str().expect("base64").to_owned() + "\n";
        std::fs::write(dir.join("b64"), b64).expect("write");
        openssl(dir, "base64 -d -A -in b64 -out sig");
        // The signed message is the raw digest.
        openssl(dir, &format!("dgst -{method} -binary -out digest pkg"));
        openssl(
            dir,
            "dgst -sha256 -verify keys/public.pem -signature sig digest",
        );
    }
    // The signed image block: its first 64 bytes, then the signature.
    ota(dir, "image pack pkg -o img --sign keys/private.pem");
    let image = std::fs::read(dir.join("img")).expect("image");
    std::fs::write(dir.join("header"), &image[14..78]).expect("write");
    std::fs::write(dir.join("sig"), &image[78..78 + 384]).expect("write");
    openssl(
        dir,
        "dgst -sha256 -verify keys/public.pem -signature sig header",
    );
    std::fs::write(dir.join("image"), &image[..14]).expect("write");
    let digest = openssl(dir, "dgst -sha256 -binary image");
    assert_eq!(digest, image[14 + 32..14 + 64]);
}

#[test]
fn its_keys_and_signatures() {
    let desk = tempfile::tempdir().expect("directory");
    let dir = desk.path();
    std::fs::write(dir.join("pkg"), b"hello firmware").expect("write");
    for (make, bits) in [
        ("genrsa -traditional -out key.pem 2048", 2048),
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out key.pem",
            3072,
        ),
    ] {
        openssl(dir, make);
        openssl(dir, "rsa -in key.pem -pubout -out spki.pem");
        openssl(dir, "rsa -in key.pem -RSAPublicKey_out -out pkcs1.pem");
        openssl(dir, "dgst -md5 -binary -out digest pkg");
        openssl(dir, "dgst -sha256 -sign key.pem -out sig digest");
        let b64 = String::from_utf8(openssl(dir, "base64 -A -in sig")).expect("text");
        for key in ["spki.pem", "pkcs1.pem"] {
            ota(
                dir,
                &format!(
                    "package verify pkg --key {key} --method md5 --digestsign {}",
                    b64.trim()
                ),
            );
        }
        ota(dir, "image pack pkg -o img --force --sign key.pem");
        let verified = ota(dir, "image verify img --key pkcs1.pem --json");
        let verified: Value = serde_json::from_slice(&verified).expect("JSON");
        assert_eq!(verified["size"], 14 + 76 + bits / 8 + 28);
    }
}
