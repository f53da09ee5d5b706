//! Puts the public keys that may sign images into the loader.
//!
//! `UOTA_BOOT_KEYS` names PEM files, DER files or `ota_public_key_config.h`
//! headers, separated by `:`. With at least one key unsigned images are
//! refused; without any, images are checked by digest only.

use ota_verify::RsaPublicKey;
use std::fmt::Write;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=UOTA_BOOT_KEYS");
    let files = std::env::var_os("UOTA_BOOT_KEYS").unwrap_or_default();
    let mut keys = String::new();
    let mut count = 0;
    for file in std::env::split_paths(&files).filter(|f| !f.as_os_str().is_empty()) {
        println!("cargo::rerun-if-changed={}", file.display());
        let key = read(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let mut buf = [0; ota_verify::MAX_MODULUS_LEN];
        let modulus = key.modulus(&mut buf);
        writeln!(
            keys,
            "    match RsaPublicKey::new(&{modulus:?}, {}) {{ Ok(key) => key, Err(_) => panic!(\"key\") }},",
            key.exponent()
        )
        .expect("writing to a string");
        count += 1;
    }
    let code =
        format!("/// Keys of this build.\npub const KEYS: [RsaPublicKey; {count}] = [\n{keys}];\n");
    let out = std::env::var_os("OUT_DIR").expect("OUT_DIR");
    std::fs::write(Path::new(&out).join("keys.rs"), code).expect("writing keys.rs");
}

fn read(file: &Path) -> Result<RsaPublicKey, String> {
    let bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return RsaPublicKey::from_der(&bytes).map_err(|e| format!("{e:?}"));
    };
    if text.contains("-----BEGIN") {
        RsaPublicKey::from_pem(text).map_err(|e| format!("{e:?}"))
    } else {
        RsaPublicKey::from_c_header(text).map_err(|e| format!("{e:?}"))
    }
}
