//! `ota-verify`.

use crate::bare::{input, number, text};
use core::hint::black_box;
use ota_verify::{
    Coding, Digest, HashMethod, Hasher, ImageVerifier, Policy, RsaPublicKey, Version, VersionRule,
    find_total, verify_digestsign,
};

pub fn probe() {
    for method in [HashMethod::Md5, HashMethod::Sha256] {
        let mut hasher = Hasher::new(method);
        hasher.update(input());
        let digest = hasher.finish();
        black_box(Digest::from_hex(method, text()) == Ok(digest));
        if let Ok(key) = RsaPublicKey::from_der(input()) {
            black_box(verify_digestsign(&key, &digest, text()).is_ok());
            let verifier = ImageVerifier {
                policy: &Policy::DEFAULT,
                keys: &[key],
                coding: Coding::Plain,
            };
            let mut source = input();
            black_box(
                verifier
                    .verify(&mut source, number(), &mut [0; 256])
                    .is_ok(),
            );
            black_box(find_total(&mut source, &mut [0; 256]).is_ok());
        }
    }
    if let (Ok(new), Ok(old)) = (Version::new(text()), Version::new(text())) {
        black_box(VersionRule::Numeric.compare(&new, &old));
        black_box(VersionRule::Alios.compare(&new, &old));
    }
}
