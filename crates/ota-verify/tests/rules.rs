//! What a boot loader leaves out of the check, and what stays in it.

use ota_verify::build::{self, Layout, PackOptions, PrivateKey};
use ota_verify::{
    Coding, Examined, ImageKind, Module, Policy, Refusal, Requirement, RsaPublicKey, Rules,
    SignatureError, VerifyError, Version, examine,
};

fn key() -> PrivateKey {
    PrivateKey::from_pem(include_str!("vectors/rsa-2048.key.pem")).expect("key")
}

fn image(version: Option<&str>, key: Option<&PrivateKey>) -> Vec<u8> {
    let version = version.map(|text| Version::new(text).expect("version"));
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Host,
        version: version.as_ref(),
        module: Module::DEFAULT,
        key,
    };
    build::pack(&[0x5A; 300], &options).expect("packed").bytes
}

/// Swap and SHA-256, with keys or without; nothing else.
struct Lean(Policy, Vec<RsaPublicKey>);

impl Lean {
    fn hash() -> Self {
        Self(Policy::DEFAULT, Vec::new())
    }

    fn signed() -> Self {
        let policy = Policy {
            image_signature: Requirement::Required,
            ..Policy::DEFAULT
        };
        Self(policy, vec![key().public().clone()])
    }
}

impl Rules for Lean {
    const MD5: bool = false;
    const FLOOR: bool = false;
    const BARE: bool = false;

    fn policy(&self) -> &Policy {
        &self.0
    }
    fn keys(&self) -> &[RsaPublicKey] {
        &self.1
    }
    fn coding(&self) -> Coding {
        Coding::Plain
    }
}

fn check(rules: &Lean, file: &[u8], total: Option<u32>) -> Result<Examined, VerifyError> {
    let mut found = Examined::EMPTY;
    // A slot goes on behind the image.
    let slot = [file, &[0xFF; 64]].concat();
    let mut source = slot.as_slice();
    examine::<_, _, VerifyError>(rules, &mut source, total, b"9.9", &mut [0; 64], &mut found)?;
    Ok(found)
}

#[test]
fn with_a_signed_block_the_md5_is_not_needed() {
    let mut file = image(Some("app-1.0"), Some(&key()));
    let total = file.len() as u32;
    // No floor is looked at, and none of the trailer's MD5.
    let md5 = file.len() - 20;
    file[md5] ^= 1;
    for rules in [Lean::hash(), Lean::signed()] {
        for total in [Some(total), None] {
            let found = check(&rules, &file, total).expect("good");
            assert_eq!((found.total, found.len), (file.len() as u32, 460));
            assert_eq!(&found.version()[..8], b"app-1.0\0");
        }
    }
}

#[test]
fn every_damaged_byte_of_image_and_digest_is_noticed() {
    let file = image(Some("app-1.0"), Some(&key()));
    let total = Some(file.len() as u32);
    for at in (0..460).chain(460 + 32..460 + 64) {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        assert!(check(&Lean::hash(), &bad, total).is_err(), "byte {at}");
        assert!(check(&Lean::signed(), &bad, total).is_err(), "byte {at}");
    }
    // Only keys look at the signature.
    let mut bad = file.clone();
    bad[460 + 64 + 9] ^= 1;
    assert!(check(&Lean::hash(), &bad, total).is_ok());
    assert_eq!(
        check(&Lean::signed(), &bad, total).map(|_| ()),
        Err(VerifyError::Signature(SignatureError::Mismatch))
    );
}

#[test]
fn without_md5_a_block_is_needed_and_without_search_a_descriptor() {
    let unsigned = image(Some("app-1.0"), None);
    let total = Some(unsigned.len() as u32);
    let refused = Err(VerifyError::Refused(Refusal::ImageUnsigned));
    assert_eq!(check(&Lean::hash(), &unsigned, total).map(|_| ()), refused);
    assert_eq!(check(&Lean::signed(), &unsigned, None).map(|_| ()), refused);
    let bare = image(None, None);
    for total in [Some(bare.len() as u32), None] {
        assert_eq!(
            check(&Lean::hash(), &bare, total).map(|_| ()),
            Err(VerifyError::NoDescriptor)
        );
    }
}
