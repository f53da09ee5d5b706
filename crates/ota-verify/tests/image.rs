//! Images built and verified: every part damaged, every policy refused.

use ota_verify::build::{self, BuildError, Layout, PackOptions, PrivateKey};
use ota_verify::{
    Coding, DescriptorError, ImageDescriptor, ImageInfo, ImageKind, ImageSignature, ImageVerifier,
    Module, Policy, ReadAt, ReadError, Refusal, Requirement, RsaPublicKey, SignatureError,
    SignedBlockError, Trailer, TrailerError, VerifyError, Version, VersionOrder, VersionRule,
    described_total, find_total, md5, sha256,
};
use proptest::prelude::*;

fn key(bits: usize) -> PrivateKey {
    let pem = match bits {
        2048 => include_str!("vectors/rsa-2048.key.pem"),
        3072 => include_str!("vectors/rsa-3072.key.pem"),
        _ => include_str!("vectors/rsa-4096.key.pem"),
    };
    PrivateKey::from_pem(pem).expect("key")
}

/// 34/32 coding with a CRC of zero: the verifier looks through lines, not at CRCs.
fn lines(program: &[u8]) -> Vec<u8> {
    program
        .chunks(32)
        .flat_map(|c| [c, &[0xFF; 32][c.len()..], &[0, 0]].concat())
        .collect()
}

const BOARD: Layout = Layout::Board {
    coding: Coding::MK3060,
    encode: lines,
};

fn version(text: &str) -> Version {
    Version::new(text).expect("version")
}

fn host(program: &[u8], text: &str, key: Option<&PrivateKey>) -> Vec<u8> {
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Host,
        version: Some(&version(text)),
        module: Module::DEFAULT,
        key,
    };
    build::pack(program, &options).expect("packed").bytes
}

fn bare(program: &[u8]) -> Vec<u8> {
    let options = PackOptions {
        kind: ImageKind::Single,
        layout: Layout::Host,
        version: None,
        module: Module::DEFAULT,
        key: None,
    };
    let packed = build::pack(program, &options).expect("packed");
    assert_eq!(packed.descriptor, None);
    packed.bytes
}

fn verify_with(
    file: &[u8],
    policy: &Policy,
    keys: &[RsaPublicKey],
    coding: Coding,
) -> Result<ImageInfo, VerifyError> {
    let verifier = ImageVerifier {
        policy,
        keys,
        coding,
    };
    let all = [1, 7, 64, 4096]
        .map(|n| verifier.verify(&mut &file[..], file.len() as u32, &mut vec![0; n]));
    // The size of the work buffer changes nothing.
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    all[0]
}

fn verify(file: &[u8]) -> Result<ImageInfo, VerifyError> {
    verify_with(file, &Policy::DEFAULT, &[], Coding::Plain)
}

const SIGNED: Policy = Policy {
    image_signature: Requirement::Required,
    ..Policy::DEFAULT
};

#[test]
fn a_host_image() {
    let file = host(b"data", "app-1.0.0", None);
    let info = verify(&file).expect("good");
    assert_eq!(info.len, 164);
    assert_eq!(info.total, 192);
    assert_eq!(info.kind, ImageKind::App);
    assert_eq!(info.sha256, sha256(&file[..164]));
    assert_eq!(info.md5, md5(&file[..164]));
    assert_eq!(info.signature, ImageSignature::None);
    assert_eq!(info.version().map(Version::as_str), Some("app-1.0.0"));
    assert_eq!(&file[160..164], b"data");
    assert_eq!(described_total(&mut &file[..], Coding::Plain), Ok(192));
    assert_eq!(build::strip(&file), Ok(&file[..164]));
}

#[test]
fn firmware_without_descriptor() {
    let file = bare(&[0x5A; 300]);
    let info = verify(&file).expect("good");
    assert_eq!(
        (info.len, info.total, info.kind),
        (300, 328, ImageKind::Single)
    );
    assert_eq!(info.descriptor, None);
    assert_eq!(
        described_total(&mut &file[..], Coding::Plain),
        Err(VerifyError::NoDescriptor)
    );
    // Too short to hold a descriptor, and empty.
    for len in [0, 1, 12, 159] {
        assert_eq!(verify(&bare(&vec![7; len])).map(|i| i.len), Ok(len as u32));
    }
}

#[test]
fn signed_images_of_every_key_size() {
    for bits in [2048, 3072, 4096] {
        let key = key(bits);
        let file = host(b"signed", "app-1.0.0", Some(&key));
        assert_eq!(file.len(), 166 + 76 + bits / 8 + 28);
        let keys = [key.public().clone()];
        let info = verify_with(&file, &SIGNED, &keys, Coding::Plain).expect("good");
        assert_eq!(info.len, 166);
        assert_eq!(info.signature, ImageSignature::Verified(key.public().id()));
        assert_eq!(
            described_total(&mut &file[..], Coding::Plain),
            Ok(file.len() as u32)
        );
        // Without the key: known to be signed, no more; refused where required.
        let id = key.public().id();
        assert_eq!(
            verify(&file).map(|i| i.signature),
            Ok(ImageSignature::Unknown(id))
        );
        assert_eq!(
            verify_with(&file, &SIGNED, &[], Coding::Plain),
            Err(VerifyError::UnknownKey(id))
        );
        // To an original device it is an image like any other.
        let trailer = Trailer::parse(&file[file.len() - 28..]).expect("trailer");
        assert_eq!(trailer.size as usize, file.len() - 28);
        assert_eq!(trailer.md5, md5(&file[..file.len() - 28]));
    }
}

#[test]
fn signing_afterwards_and_again_is_the_same() {
    let (a, b) = (key(2048), key(3072));
    let plain = host(b"x", "1.0", None);
    let signed = build::sign_image(&plain, &a).expect("signed");
    assert_eq!(signed, host(b"x", "1.0", Some(&a)));
    let again = build::sign_image(&signed, &b).expect("signed");
    assert_eq!(again, host(b"x", "1.0", Some(&b)));
    assert_eq!(build::strip(&again), build::strip(&plain));
}

#[test]
fn a_board_image() {
    let mut program = vec![0x11; 1000];
    program[0x40..0xA0].copy_from_slice(&ImageDescriptor::template("app-1.0.0", "", 0x1A5C0));
    let new = version("app-2.0.0");
    for (given, want) in [(None, "app-1.0.0"), (Some(&new), "app-2.0.0")] {
        let options = PackOptions {
            kind: ImageKind::App,
            layout: BOARD,
            version: given,
            module: Module::DEFAULT,
            key: Some(&key(2048)),
        };
        let packed = build::pack(&program, &options).expect("packed");
        assert_eq!(packed.image_len, 28 + 32 * 34);
        assert_eq!(packed.bytes[..28], [0; 28]);
        let keys = [key(2048).public().clone()];
        let info = verify_with(&packed.bytes, &SIGNED, &keys, Coding::MK3060).expect("good");
        let descriptor = info.descriptor.expect("descriptor");
        assert_eq!(descriptor.image_len, 1000);
        assert_eq!(descriptor.load_address, 0x1A5C0);
        assert_eq!(descriptor.version.as_str(), want);
        let total = packed.bytes.len() as u32;
        assert_eq!(
            described_total(&mut &packed.bytes[..], Coding::MK3060),
            Ok(total)
        );
    }
}

#[test]
fn a_board_program_needs_its_own_descriptor() {
    let options = PackOptions {
        kind: ImageKind::App,
        layout: BOARD,
        version: Some(&version("1")),
        module: Module::DEFAULT,
        key: None,
    };
    assert_eq!(
        build::pack(&[0; 1000], &options),
        Err(BuildError::NoDescriptor)
    );
    let c_firmware = PackOptions {
        version: None,
        ..options
    };
    let packed = build::pack(&[0; 1000], &c_firmware).expect("packed");
    assert_eq!(packed.descriptor, None);
    assert!(verify_with(&packed.bytes, &Policy::DEFAULT, &[], Coding::MK3060).is_ok());
}

#[test]
fn packing_twice_is_refused() {
    let file = bare(b"once");
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Host,
        version: None,
        module: Module::DEFAULT,
        key: None,
    };
    assert_eq!(build::pack(&file, &options), Err(BuildError::AlreadyPacked));
    assert!(matches!(
        build::strip(b"not packed at all, but long enough"),
        Err(BuildError::NotPacked(_))
    ));
}

/// Any bit of any byte: never accepted with another meaning.
#[test]
fn every_flipped_bit_of_a_signed_image_is_found() {
    let key = key(2048);
    let good = host(b"important", "app-1.0.0", Some(&key));
    let keys = [key.public().clone()];
    let verifier = ImageVerifier {
        policy: &SIGNED,
        keys: &keys,
        coding: Coding::Plain,
    };
    let mut buf = [0; 512];
    let mut accepted = vec![];
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if verifier
                .verify(&mut &bad[..], bad.len() as u32, &mut buf)
                .is_ok()
            {
                accepted.push(at);
            }
        }
    }
    // The trailer's reserved bytes and its CRC field, which AliOS leaves unused.
    let unused: Vec<usize> = (good.len() - 4..good.len())
        .flat_map(|at| [at; 8])
        .collect();
    assert_eq!(accepted, unused);
}

#[test]
fn damage_is_named() {
    let key = key(2048);
    let keys = [key.public().clone()];
    let good = host(b"important", "app-1.0.0", Some(&key));
    let len = good.len();
    let block = 169;
    // Damage in front of the trailer, with an MD5 that fits it.
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good[..len - 28].to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let trailer = Trailer {
            kind: ImageKind::App,
            size: bad.len() as u32,
            md5: md5(&bad),
        };
        bad.extend(trailer.to_bytes());
        verify_with(&bad, &SIGNED, &keys, Coding::Plain)
            .map(|_| ())
            .expect_err("damaged")
    };
    use VerifyError as E;
    assert_eq!(with(165, b"?"), E::SignedDigest, "image byte");
    assert!(matches!(
        with(0x60, b"?"),
        E::Descriptor(DescriptorError::Crc { .. })
    ));
    assert_eq!(with(0x48, &[2]), E::Descriptor(DescriptorError::Format(2)));
    assert_eq!(
        with(0x4C, &[0; 4]),
        E::Descriptor(DescriptorError::Unfinished)
    );
    assert_eq!(
        with(0x40, b"X"),
        E::SignedDigest,
        "no descriptor, and so another image"
    );
    assert_eq!(with(block, b"X"), E::Signed(SignedBlockError::Frame));
    assert_eq!(with(block + 8, &[0]), E::Signed(SignedBlockError::Frame));
    assert_eq!(
        with(block + 12, &[2]),
        E::Signed(SignedBlockError::Algorithm(2))
    );
    assert_eq!(
        with(block + 13, &[1]),
        E::Signed(SignedBlockError::Algorithm(0x101))
    );
    assert_eq!(
        with(block + 20, &[1]),
        E::Signed(SignedBlockError::Reserved)
    );
    assert_eq!(
        with(block + 14, &[1]),
        E::Signed(SignedBlockError::SignatureLength(257))
    );
    assert_eq!(
        with(block + 14, &[0x80, 1]),
        E::Signed(SignedBlockError::Length(332))
    );
    assert_eq!(with(block + 16, &[168]), E::SignedDigest, "length");
    assert!(matches!(with(block + 24, &[0; 8]), E::UnknownKey(_)));
    assert_eq!(
        with(block + 32, &[0; 4]),
        E::Signature(SignatureError::Mismatch)
    );
    assert_eq!(
        with(block + 64, &[0; 4]),
        E::Signature(SignatureError::Mismatch)
    );
    assert_eq!(
        with(block + 64, &[0xFF; 256]),
        E::Signature(SignatureError::Range)
    );
    assert_eq!(
        with(block + 320, &[75, 0]),
        E::Signed(SignedBlockError::Length(75))
    );
    assert_eq!(
        with(block + 320, &[0xFF; 4]),
        E::Signed(SignedBlockError::Length(u32::MAX))
    );
    assert_eq!(
        with(block + 324, b"X"),
        E::DescriptorLength {
            described: 169,
            found: 501
        }
    );

    let raw = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        verify_with(&bad, &SIGNED, &keys, Coding::Plain)
            .map(|_| ())
            .expect_err("damaged")
    };
    assert_eq!(raw(len - 8, good[len - 8] ^ 1), E::Md5);
    assert_eq!(
        raw(len - 24, 0),
        E::TrailerSize {
            found: 501 & !255,
            expected: 501
        }
    );
    let error = TrailerError::Magic(0xEFEF_EF00);
    assert_eq!(raw(len - 28, 0), E::Trailer { offset: 501, error });
}

#[test]
fn an_unsigned_image_with_the_block_cut_out_is_refused() {
    let key = key(2048);
    let keys = [key.public().clone()];
    let signed = host(b"important", "app-1.0.0", Some(&key));
    let unsigned = host(b"important", "app-1.0.0", None);
    let refused = Err(VerifyError::Refused(Refusal::ImageUnsigned));
    assert_eq!(
        verify_with(&unsigned, &SIGNED, &keys, Coding::Plain),
        refused
    );
    // A block moved to another image.
    let mut moved = build::strip(&unsigned).expect("image").to_vec();
    moved[165] ^= 1;
    moved.extend(&signed[moved.len()..signed.len() - 28]);
    let trailer = Trailer {
        kind: ImageKind::App,
        size: moved.len() as u32,
        md5: md5(&moved),
    };
    moved.extend(trailer.to_bytes());
    assert_eq!(
        verify_with(&moved, &SIGNED, &keys, Coding::Plain),
        Err(VerifyError::SignedDigest)
    );
}

/// A package signature is over 16 or 32 bytes, an image's over a 64-byte header:
/// one can never stand for the other.
#[test]
fn package_signatures_do_not_sign_images() {
    let key = key(2048);
    let good = host(b"important", "app-1.0.0", Some(&key));
    let image = build::strip(&good).expect("image");
    let forged = key
        .sign_message(&sha256(image))
        .expect("a package signature");
    let mut bad = good[..good.len() - 28].to_vec();
    bad[image.len() + 64..image.len() + 320].copy_from_slice(&forged);
    let trailer = Trailer {
        kind: ImageKind::App,
        size: bad.len() as u32,
        md5: md5(&bad),
    };
    bad.extend(trailer.to_bytes());
    let got = verify_with(&bad, &SIGNED, &[key.public().clone()], Coding::Plain);
    assert_eq!(got, Err(VerifyError::Signature(SignatureError::Mismatch)));
}

#[test]
fn the_policy_speaks_for_images() {
    let file = host(b"data", "app-1.0.5", None);
    let refused = |policy: &Policy| match verify_with(&file, policy, &[], Coding::Plain) {
        Err(VerifyError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let floor = Policy {
        min_version: Some(version("app-1.0.6")),
        ..Policy::DEFAULT
    };
    let rule = VersionRule::Numeric;
    assert_eq!(
        refused(&floor),
        Refusal::BelowFloor {
            rule,
            order: VersionOrder::Older
        }
    );
    let same = Policy {
        min_version: Some(version("app-1.0.5")),
        ..Policy::DEFAULT
    };
    assert!(verify_with(&file, &same, &[], Coding::Plain).is_ok());
    let no_descriptor = verify_with(&bare(b"c"), &same, &[], Coding::Plain);
    assert_eq!(
        no_descriptor,
        Err(VerifyError::Refused(Refusal::NoDescriptor))
    );
    let short = Policy {
        max_image_len: 191,
        ..Policy::DEFAULT
    };
    assert_eq!(refused(&short), Refusal::TooLong { len: 192, max: 191 });
    const MCU: Module = match Module::new("mcu") {
        Some(m) => m,
        None => Module::DEFAULT,
    };
    let other = Policy {
        modules: &[MCU],
        ..Policy::DEFAULT
    };
    assert_eq!(refused(&other), Refusal::Module(Module::DEFAULT));
}

#[test]
fn lengths_that_cannot_be() {
    let file = bare(b"data");
    let verifier = ImageVerifier {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: Coding::Plain,
    };
    for total in [0, 27, 33] {
        assert_eq!(
            verifier.verify(&mut &file[..], total, &mut [0; 64]),
            Err(VerifyError::Length(total))
        );
    }
    assert_eq!(
        verifier.verify(&mut &file[..], 32, &mut []),
        Err(VerifyError::Buffer)
    );
}

/// A flash that fails at one offset.
struct Faulty<'a>(&'a [u8], u32);

impl ReadAt for Faulty<'_> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        if (offset..offset + buf.len() as u32).contains(&self.1) {
            return Err(ReadError { offset });
        }
        self.0.read_at(offset, buf)
    }

    fn size(&self) -> u32 {
        self.0.size()
    }
}

#[test]
fn a_failing_read_is_reported_wherever_it_is() {
    let key = key(2048);
    let keys = [key.public().clone()];
    let file = host(b"data", "1.0", Some(&key));
    let verifier = ImageVerifier {
        policy: &SIGNED,
        keys: &keys,
        coding: Coding::Plain,
    };
    for at in 0..file.len() as u32 {
        let got = verifier.verify(&mut Faulty(&file, at), file.len() as u32, &mut [0; 16]);
        assert!(matches!(got, Err(VerifyError::Read(_))), "{at}: {got:?}");
    }
}

#[test]
fn the_end_is_found_without_a_length() {
    let key = key(2048);
    for file in [
        bare(&[1; 500]),
        host(b"data", "1.0", None),
        host(b"data", "1.0", Some(&key)),
        bare(b""),
    ] {
        let total = file.len() as u32;
        // What a longer, older image left behind, its trailer included.
        let mut slot = bare(&[0xA5; 2000]);
        slot[..file.len()].copy_from_slice(&file);
        for size in [1, 13, 256, 4096] {
            let mut buf = vec![0; size];
            assert_eq!(
                find_total(&mut &slot[..], &mut buf),
                Ok(total),
                "buffer {size}"
            );
            assert_eq!(find_total(&mut &file[..], &mut buf), Ok(total));
        }
    }
    let none = Err(VerifyError::NoUniqueTrailer { found: 0 });
    assert_eq!(find_total(&mut &[0xFF; 4096][..], &mut [0; 64]), none);
    // Too short for a trailer, with what could be the size of one.
    for len in 0..28 {
        assert_eq!(find_total(&mut &[0; 28][..len], &mut [0; 64]), none);
    }
    // An image that wraps another one: which is meant cannot be told.
    let mut nested = bare(&[1; 100]);
    nested.extend([2; 10]);
    let trailer = Trailer {
        kind: ImageKind::App,
        size: nested.len() as u32,
        md5: md5(&nested),
    };
    nested.extend(trailer.to_bytes());
    let two = Err(VerifyError::NoUniqueTrailer { found: 2 });
    assert_eq!(find_total(&mut &nested[..], &mut [0; 64]), two);
    assert_eq!(
        find_total(&mut &nested[..], &mut []),
        Err(VerifyError::Buffer)
    );
}

proptest! {
    #[test]
    fn nothing_random_verifies_or_panics(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..700),
        frame in any::<bool>(),
        footer in any::<u32>(),
    ) {
        if frame && bytes.len() > 100 {
            // Closer to the real thing: footer magic, trailer with the right size.
            let size = bytes.len() - 28;
            bytes[size - 12..size - 8].copy_from_slice(&(footer % 800).to_le_bytes());
            bytes[size - 8..size].copy_from_slice(b"uOTAsig1");
            bytes[size..size + 4].fill(0xEF);
            bytes[size + 4..size + 8].copy_from_slice(&(size as u32).to_le_bytes());
            bytes[0x40..0x48].copy_from_slice(b"uOTAimg1");
        }
        for coding in [Coding::Plain, Coding::MK3060] {
            prop_assert!(verify_with(&bytes, &Policy::DEFAULT, &[], coding).is_err());
        }
        let _ = described_total(&mut &bytes[..], Coding::Plain);
        prop_assert!(find_total(&mut &bytes[..], &mut [0; 32]).is_err());
    }

    #[test]
    fn what_is_packed_verifies(
        program in proptest::collection::vec(any::<u8>(), 0..2000),
        text in "[a-z]{0,3}[0-9]{1,4}(\\.[0-9]{1,4}){0,3}",
    ) {
        let file = host(&program, &text, None);
        let info = verify(&file).unwrap();
        prop_assert_eq!(info.version().unwrap().as_str(), &text);
        prop_assert_eq!(&file[160..info.len as usize], &program[..]);
        prop_assert_eq!(find_total(&mut &file[..], &mut [0; 64]), Ok(info.total));
    }
}

#[test]
fn keys_survive_their_texts() {
    let made = PrivateKey::generate(2048).expect("key");
    let read = PrivateKey::from_pem(&made.to_pem().expect("PEM")).expect("key");
    assert_eq!(read.public(), made.public());
    let pem = build::public_key_pem(made.public()).expect("PEM");
    assert_eq!(RsaPublicKey::from_pem(&pem).as_ref(), Ok(made.public()));
    let header = build::c_header(made.public());
    assert_eq!(
        RsaPublicKey::from_c_header(&header).as_ref(),
        Ok(made.public())
    );
    assert!(header.contains("ota_pubn_buf[256]") && header.contains("ota_pube_buf[3]"));
    for bits in [0, 1024, 2047, 8192] {
        assert!(
            matches!(PrivateKey::generate(bits), Err(BuildError::Key(_))),
            "{bits}"
        );
    }
    assert!(matches!(
        PrivateKey::from_pem("nonsense"),
        Err(BuildError::PrivateKey(_))
    ));
}
