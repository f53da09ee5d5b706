//! Secure upgrade: the product's keys, signed packages, signed images.

mod common;
use common::*;
use ota_cloud::{Error, Method, Mode, Upload};
use ota_verify::{HashMethod, ImageKind, Module, RsaPublicKey, Version, build, verify_digestsign};
use serde_json::Value;

fn image(version: &str) -> Vec<u8> {
    let options = build::PackOptions {
        kind: ImageKind::App,
        layout: build::Layout::Host,
        version: Some(&Version::new(version).unwrap()),
        module: Module::DEFAULT,
        key: None,
    };
    let data: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
    build::pack(&data, &options).unwrap().bytes
}

fn push(b: &Bench, upload: &Upload) -> Value {
    let f = b.cloud.upload(PK, upload).unwrap();
    b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    b.online("app-1.0.0").next().json()["data"].clone()
}

fn key(b: &Bench) -> RsaPublicKey {
    RsaPublicKey::from_pem(&b.cloud.public_key_pem(PK).unwrap()).unwrap()
}

#[test]
fn packages_and_images_are_signed_with_the_products_key() {
    let b = bench();
    assert!(matches!(b.cloud.public_key_pem(PK), Err(Error::NoKey(_))));
    let product = b.cloud.set_secure_upgrade(PK, true).unwrap();
    assert!(product.secure_upgrade && product.has_key);
    for (method, name, version) in [
        (Method::Sha256, HashMethod::Sha256, "app-2.0.0"),
        (Method::Md5, HashMethod::Md5, "app-2.0.1"),
    ] {
        let file = image(version);
        let data = push(
            &b,
            &Upload::bytes("app.bin", file.clone(), version).method(method),
        );
        let sign = data["sign"].as_str().unwrap();
        let digest = ota_verify::Digest::from_hex(name, sign).unwrap();
        let digestsign = data["digestsign"].as_str().unwrap();
        verify_digestsign(&key(&b), &digest, digestsign).unwrap();
        // What is served is the image with a signed block, under a new trailer.
        let served = get(data["url"].as_str().unwrap(), "").body;
        assert_eq!(data["size"], served.len());
        let (old, new) = (build::parts(&file).unwrap(), build::parts(&served).unwrap());
        assert_eq!(old.image, new.image);
        assert!(old.signed_block.is_empty() && !new.signed_block.is_empty());
        // Free the device for the next round.
        for job in 1..=2 {
            let _ = b.cloud.cancel_job(job);
        }
    }
}

#[test]
fn another_key_does_not_verify() {
    let b = bench();
    b.cloud.set_secure_upgrade(PK, true).unwrap();
    b.cloud.create_product("other").unwrap();
    b.cloud.set_secure_upgrade("other", true).unwrap();
    let data = push(
        &b,
        &Upload::bytes("app.bin", image("app-2.0.0"), "app-2.0.0"),
    );
    let other = RsaPublicKey::from_pem(&b.cloud.public_key_pem("other").unwrap()).unwrap();
    let digest =
        ota_verify::Digest::from_hex(HashMethod::Sha256, data["sign"].as_str().unwrap()).unwrap();
    let digestsign = data["digestsign"].as_str().unwrap();
    assert!(verify_digestsign(&other, &digest, digestsign).is_err());
}

#[test]
fn a_file_that_is_no_image_gets_a_package_signature_only() {
    let b = bench();
    b.cloud.set_secure_upgrade(PK, true).unwrap();
    let data = push(
        &b,
        &Upload::bytes("data.bin", *b"no trailer here", "app-2.0.0"),
    );
    assert!(data["digestsign"].is_string());
    assert_eq!(
        get(data["url"].as_str().unwrap(), "").body,
        b"no trailer here"
    );
}

#[test]
fn switching_off_and_on_keeps_the_key() {
    let b = bench();
    b.cloud.set_secure_upgrade(PK, true).unwrap();
    let (pem, header) = (
        b.cloud.public_key_pem(PK).unwrap(),
        b.cloud.public_key_header(PK).unwrap(),
    );
    assert!(header.contains("ota_pubn_buf"));
    b.cloud.set_secure_upgrade(PK, false).unwrap();
    let file = image("app-2.0.0");
    let data = push(&b, &Upload::bytes("app.bin", file.clone(), "app-2.0.0"));
    assert_eq!(data.get("digestsign"), None);
    assert_eq!(get(data["url"].as_str().unwrap(), "").body, file);
    b.cloud.cancel_job(1).unwrap();
    // Switched on again, the same firmware is offered signed.
    b.cloud.set_secure_upgrade(PK, true).unwrap();
    assert_eq!(b.cloud.public_key_pem(PK).unwrap(), pem);
    b.cloud.validate(1, Mode::Full, DN).unwrap();
    let data = b.online("app-1.0.0").next().json()["data"].clone();
    assert!(data["digestsign"].is_string());
}

#[test]
fn the_version_inside_the_image_is_read() {
    let b = bench();
    let f = Upload::bytes("app.bin", image("app-2.0.0"), "app-9.9.9");
    let f = b.cloud.upload(PK, &f).unwrap();
    assert_eq!(f.image_version.as_deref(), Some("app-2.0.0"));
    let f = b
        .cloud
        .upload(PK, &Upload::bytes("app.bin", *b"x", "1"))
        .unwrap();
    assert_eq!(f.image_version, None);
}
