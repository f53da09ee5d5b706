//! Golden bytes of docs/image-format.md, texts, versions.

use embedded_storage::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};
use hex_literal::hex;
use ota_verify::{
    Crc32, Digest, HashMethod, Hasher, HexError, ImageDescriptor, ImageKind, KeyId, Module,
    NorReader, Policy, ReadAt, ReadError, Refusal, Requirement, SignedBlock, Trailer, TrailerError,
    Version, VersionError, VersionOrder, VersionRule, crc16_xmodem, crc32, md5,
};
use proptest::prelude::*;

fn v(text: &str) -> Version {
    Version::new(text).expect(text)
}

#[test]
fn trailer_vectors() {
    let counting: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    for (bytes, want) in [
        (
            &b""[..],
            hex!("efefefef00000000d41d8cd98f00b204e9800998ecf8427effffffff"),
        ),
        (
            b"hello AliOS OTA\n",
            hex!("efefefef100000004949b4d639aa1e43fd1a33ca2be58a9dffffffff"),
        ),
        (
            b"hello firmware",
            hex!("efefefef0e0000005d99b396caab4bfae4e25207b62b30e2ffffffff"),
        ),
        (
            &counting,
            hex!("efefefefe8030000cbecbdb0fdd5cec1e242493b6008cc79ffffffff"),
        ),
    ] {
        let trailer = Trailer {
            kind: ImageKind::App,
            size: bytes.len() as u32,
            md5: md5(bytes),
        };
        assert_eq!(trailer.to_bytes(), want);
        assert_eq!(Trailer::parse(&want), Ok(trailer));
    }
}

#[test]
fn trailer_kinds_and_errors() {
    for (kind, byte, name) in [
        (ImageKind::App, 0xEF, "app"),
        (ImageKind::Kernel, 0xCD, "kernel"),
        (ImageKind::Single, 0xAB, "single"),
    ] {
        let bytes = Trailer {
            kind,
            size: 1,
            md5: [2; 16],
        }
        .to_bytes();
        assert_eq!(bytes[..4], [byte; 4]);
        assert_eq!(Trailer::parse(&bytes).map(|t| t.kind.name()), Ok(name));
    }
    assert_eq!(Trailer::parse(&[0xEF; 27]), Err(TrailerError::Short));
    assert_eq!(
        Trailer::parse(&[0xFF; 28]),
        Err(TrailerError::Magic(0xFFFF_FFFF))
    );
    // The reserved bytes and the CRC field say nothing.
    let mut bytes = Trailer {
        kind: ImageKind::App,
        size: 1,
        md5: [2; 16],
    }
    .to_bytes();
    bytes[24..].fill(0);
    assert!(Trailer::parse(&bytes).is_ok());
}

/// The example of docs/image-format.md.
const DESCRIPTOR: [u8; 96] = hex!(
    "754f5441696d6731" "0100" "6000" "b5000000" "c0a50100" "00000000"
    "6170702d312e302e302d32303236313132332e30393030000000000000000000"
    "7769666900000000000000000000000000000000000000000000000000000000"
    "00000000" "fed1943b"
);

#[test]
fn descriptor_golden_bytes() {
    let descriptor = ImageDescriptor {
        image_len: 181,
        load_address: 0x1A5C0,
        version: v("app-1.0.0-20261123.0900"),
        module: Module::new("wifi").expect("module"),
    };
    assert_eq!(
        descriptor.to_bytes(),
        Ok(DESCRIPTOR),
        "{:02x?}",
        descriptor.to_bytes()
    );
    assert_eq!(ImageDescriptor::parse(&DESCRIPTOR), Ok(Some(descriptor)));
    let template = ImageDescriptor::template("app-1.0.0-20261123.0900", "wifi", 0x1A5C0);
    let unfinished = ImageDescriptor {
        image_len: 0,
        ..descriptor
    };
    assert_eq!(
        ImageDescriptor::parse_template(&template),
        Ok(Some(unfinished))
    );
    assert_eq!(ImageDescriptor::parse(&[0; 96]), Ok(None));
}

#[test]
fn descriptor_texts_are_checked() {
    use ota_verify::DescriptorError::{Module as BadModule, Reserved, Short, Version as Bad};
    let with = |at: usize, byte: u8| {
        let mut bytes = DESCRIPTOR;
        bytes[at] = byte;
        let crc = crc32(&bytes[..92]);
        bytes[92..].copy_from_slice(&crc.to_le_bytes());
        ImageDescriptor::parse(&bytes).expect_err("damaged")
    };
    assert_eq!(with(20, 1), Reserved);
    assert_eq!(with(24, 0), Bad, "text behind a NUL");
    assert_eq!(with(25, b' '), Bad);
    assert_eq!(with(55, b'x'), Bad);
    assert_eq!(with(56, 0), BadModule);
    assert_eq!(with(57, 0x80), BadModule);
    assert_eq!(with(88, 1), Reserved);
    assert_eq!(ImageDescriptor::parse(&DESCRIPTOR[..95]), Err(Short));
    assert_eq!(ImageDescriptor::parse(&DESCRIPTOR[..7]), Ok(None));
    let long = ImageDescriptor {
        image_len: 1,
        load_address: 0,
        version: v(&"1".repeat(33)),
        module: Module::DEFAULT,
    };
    assert!(long.to_bytes().is_err());
    assert!(
        ImageDescriptor {
            version: v(&"1".repeat(32)),
            ..long
        }
        .to_bytes()
        .is_ok()
    );
}

#[test]
fn modules() {
    assert_eq!(Module::new(""), Some(Module::DEFAULT));
    assert_eq!(Module::new("default"), Some(Module::DEFAULT));
    assert_eq!(Module::DEFAULT.as_str(), "default");
    assert_eq!(Module::new("mcu").expect("name").as_str(), "mcu");
    assert_eq!(
        Module::new(&"m".repeat(32)).expect("name").as_str(),
        "m".repeat(32)
    );
    for bad in [&"m".repeat(33), "a b", "a\"", "\u{e9}"] {
        assert_eq!(Module::new(bad), None, "{bad}");
    }
}

#[test]
fn signed_block_golden_bytes() {
    let digest = core::array::from_fn(|i| i as u8);
    let id = KeyId(hex!("a0a1a2a3a4a5a6a7"));
    let block = SignedBlock::new(0x1234, &digest, id, 256);
    assert_eq!((block.image_len(), block.signature_len()), (0x1234, 256));
    assert_eq!((block.sha256(), block.key_id()), (&digest, id));
    let header = hex!(
        "754f544173696731" "4c010000" "01" "00" "0001" "34120000" "00000000" "a0a1a2a3a4a5a6a7"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    );
    let footer = hex!("4c010000" "754f544173696731");
    assert_eq!(block.block_len(), 332);
    assert_eq!(block.header(), &header);
    assert_eq!(block.footer(), footer);
    assert_eq!(SignedBlock::parse(&header, 332), Ok(block));
    assert_eq!(SignedBlock::len_from_footer(&footer), Some(332));
    assert_eq!(SignedBlock::len_from_footer(&[0xFF; 12]), None);
    assert_eq!(
        SignedBlock::len_from_start(header[..12].try_into().expect("12")),
        Some(332)
    );
}

#[test]
fn digests() {
    let mut hasher = Hasher::new(HashMethod::from_name("Sha256").expect("name"));
    for byte in b"hello firmware" {
        hasher.update(&[*byte]);
    }
    hasher.update(
        &Trailer {
            kind: ImageKind::App,
            size: 14,
            md5: md5(b"hello firmware"),
        }
        .to_bytes(),
    );
    let want = "36E3E72D0E44B7F29B9BF670BA152B56350EBEF622C8B9567A2C908249E08184";
    let digest = hasher.finish();
    assert_eq!(Ok(digest), Digest::from_hex(HashMethod::Sha256, want));
    assert_eq!(
        Ok(digest),
        Digest::from_hex(HashMethod::Sha256, &want.to_lowercase())
    );
    assert_eq!(digest.to_string(), want.to_lowercase());
    assert_eq!(
        Digest::from_bytes(HashMethod::Sha256, digest.as_bytes()),
        Some(digest)
    );
    assert_eq!(Digest::from_bytes(HashMethod::Md5, digest.as_bytes()), None);
    assert_ne!(Digest::Md5([0; 16]), Digest::Sha256([0; 32]));
    for (text, error) in [
        ("", HexError::Length(0)),
        (&want[1..], HexError::Length(63)),
        (&want.replace('7', "g"), HexError::Digit(5)),
        (&want.replace("36E3", "\u{e9}E3"), HexError::Digit(0)),
    ] {
        assert_eq!(
            Digest::from_hex(HashMethod::Sha256, text),
            Err(error),
            "{text}"
        );
    }
    for name in ["Md5", "MD5", "md5"] {
        assert_eq!(HashMethod::from_name(name), Some(HashMethod::Md5));
    }
    for name in ["SHA256", "Sha256", "sha256"] {
        assert_eq!(HashMethod::from_name(name), Some(HashMethod::Sha256));
    }
    assert_eq!(HashMethod::from_name("sha1"), None);
}

#[test]
fn version_texts() {
    assert_eq!(v("app-1.0.0").to_string(), "app-1.0.0");
    assert_eq!(Version::new(""), Err(VersionError::Empty));
    assert_eq!(Version::new(&"9".repeat(65)), Err(VersionError::Long(65)));
    assert_eq!(Version::new(&"9".repeat(400)), Err(VersionError::Long(400)));
    assert_eq!(v(&"9".repeat(64)).as_bytes(), [b'9'; 64]);
    for (text, at) in [
        ("1 0", 1),
        ("\"", 0),
        ("1\\", 1),
        ("1\0", 1),
        ("1.\u{e9}", 2),
        ("\n", 0),
    ] {
        assert_eq!(
            Version::new(text),
            Err(VersionError::Character(at)),
            "{text:?}"
        );
    }
}

#[test]
fn numeric_rule() {
    use VersionOrder::{Newer, Older, Same, Unrelated};
    for (new, current, want) in [
        ("1.0.10", "1.0.9", Newer),
        ("app-1.0.10", "app-1.0.9", Newer),
        ("app-1.0.0-20190530.1700", "app-1.0.0-20190530.1659", Newer),
        ("app-1.0.0-20190530.1700", "app-1.0.0-20190530.1700", Same),
        ("1.2", "1.10", Older),
        ("1.0", "1.0.0", Same),
        ("1.0.1", "1.0", Newer),
        ("1.0", "1.0.1", Older),
        ("01.002", "1.2", Same),
        ("1.0-1", "1.0.1", Same),
        ("v2", "v10", Older),
        ("1.0.0-rc1", "1.0.0", Older),
        ("1.0.0", "1.0.0-rc1", Newer),
        ("1.0.0-rc10", "1.0.0-rc9", Newer),
        ("1.0.0-rc1", "1.0.0-beta2", Newer),
        ("1.0.0-rc1", "1.0.1", Older),
        ("1.0.0-1", "1.0.0-rc1", Newer),
        ("99999999999999999999999", "99999999999999999999998", Newer),
        ("100000000000000000000000", "99999999999999999999999", Newer),
        ("v1.0", "app-1.0", Unrelated),
        ("1.0", "v1.0", Unrelated),
        ("v1.0", "1.0", Unrelated),
        ("v1.0", "V1.0", Unrelated),
        ("abc", "abd", Unrelated),
        ("abc", "abc", Same),
    ] {
        assert_eq!(
            VersionRule::Numeric.compare(&v(new), &v(current)),
            want,
            "{new} / {current}"
        );
    }
}

#[test]
fn alios_rule() {
    use VersionOrder::{Newer, Older, Same};
    for (new, current, want) in [
        ("app-1.0.10", "app-1.0.9", Older),
        ("app-1.0.9", "app-1.0.10", Newer),
        ("app-1.0", "app-1.0.9", Same),
        ("app-1.0.9", "app-1.0", Newer),
        ("v1.0", "app-9.9", Newer),
        ("app-9.9", "v1.0", Older),
    ] {
        assert_eq!(
            VersionRule::Alios.compare(&v(new), &v(current)),
            want,
            "{new} / {current}"
        );
    }
}

/// C's `strncmp(new, current, strlen(new))`, written down independently.
fn strncmp(new: &str, current: &str) -> i32 {
    let nul = |s: &str, i: usize| s.as_bytes().get(i).copied().unwrap_or(0);
    for i in 0..new.len() {
        let (a, b) = (nul(new, i), nul(current, i));
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        if a == 0 {
            break;
        }
    }
    0
}

const TEXT: &str = "[a-b]{0,2}[-.]?[0-9]{1,2}([-._a-b]?[0-9a-b]{1,2}){0,3}";

proptest! {
    #[test]
    fn alios_rule_is_strncmp(new in TEXT, current in TEXT) {
        let got = VersionRule::Alios.compare(&v(&new), &v(&current));
        let want = match strncmp(&new, &current) {
            0 => VersionOrder::Same,
            n if n > 0 => VersionOrder::Newer,
            _ => VersionOrder::Older,
        };
        prop_assert_eq!(got, want);
    }

    /// The numeric rule orders versions of one prefix totally.
    #[test]
    fn numeric_rule_is_an_order(a in TEXT, b in TEXT, c in TEXT) {
        let at_most = |x: &str, y: &str| {
            let (x, y) = (format!("v1{x}"), format!("v1{y}"));
            matches!(
                VersionRule::Numeric.compare(&v(&x), &v(&y)),
                VersionOrder::Older | VersionOrder::Same
            )
        };
        prop_assert!(at_most(&a, &a));
        prop_assert!(at_most(&a, &b) || at_most(&b, &a));
        prop_assert!(!(at_most(&a, &b) && at_most(&b, &c)) || at_most(&a, &c));
    }

    #[test]
    fn plain_dotted_numbers_compare_as_tuples(
        a in proptest::array::uniform3(0u32..2000),
        b in proptest::array::uniform3(0u32..2000),
    ) {
        let text = |[x, y, z]: [u32; 3]| v(&format!("app-{x}.{y}.{z}"));
        let want: VersionOrder = a.cmp(&b).into();
        prop_assert_eq!(VersionRule::Numeric.compare(&text(a), &text(b)), want);
    }

    #[test]
    fn crcs_equal_the_crc_crate(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let (a, b) = bytes.split_at(cut.min(bytes.len()));
        let xmodem = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM).checksum(&bytes);
        prop_assert_eq!(crc16_xmodem(crc16_xmodem(0, a), b), xmodem);
        let ieee = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
        prop_assert_eq!(crc32(&bytes), ieee);
        let mut running = Crc32::new();
        running.update(a);
        b.iter().for_each(|byte| running.byte(*byte));
        prop_assert_eq!(running.value(), ieee);
    }

    #[test]
    fn hex_never_panics(text in "\\PC{0,70}") {
        let _ = Digest::from_hex(HashMethod::Md5, &text);
        let _ = Version::new(&text);
        let _ = Module::new(&text);
    }
}

#[test]
fn policy_on_offers() {
    let digest = Digest::Md5([0; 16]);
    let open = Policy::DEFAULT;
    assert_eq!(open.check_package(100, &digest, false), Ok(()));
    let strict = Policy {
        package_signature: Requirement::Required,
        allow_md5: false,
        max_image_len: 99,
        ..Policy::DEFAULT
    };
    assert_eq!(
        strict.check_package(99, &digest, false),
        Err(Refusal::PackageUnsigned)
    );
    assert_eq!(strict.check_package(99, &digest, true), Err(Refusal::Md5));
    let digest = Digest::Sha256([0; 32]);
    assert_eq!(strict.check_package(99, &digest, true), Ok(()));
    assert_eq!(
        strict.check_package(100, &digest, true),
        Err(Refusal::TooLong { len: 100, max: 99 })
    );

    // Plain download: only by decision, and only while something is signed.
    let allow = Policy {
        allow_plain_download: true,
        ..Policy::DEFAULT
    };
    for policy in [open, strict, allow] {
        assert_eq!(policy.check_plain_download(), Err(Refusal::PlainDownload));
    }
    let signed = Requirement::Required;
    assert_eq!(
        Policy {
            package_signature: signed,
            ..allow
        }
        .check_plain_download(),
        Ok(())
    );
    assert_eq!(
        Policy {
            image_signature: signed,
            ..allow
        }
        .check_plain_download(),
        Ok(())
    );

    let order = |rule, order| Err(Refusal::Version { rule, order });
    let numeric = VersionRule::Numeric;
    assert_eq!(open.check_version(&v("1.1"), &v("1.0")), Ok(()));
    assert_eq!(
        open.check_version(&v("1.0"), &v("1.0")),
        order(numeric, VersionOrder::Same)
    );
    assert_eq!(
        open.check_version(&v("0.9"), &v("1.0")),
        order(numeric, VersionOrder::Older)
    );
    assert_eq!(
        open.check_version(&v("v2"), &v("1.0")),
        order(numeric, VersionOrder::Unrelated)
    );
    let same = Policy {
        allow_same_version: true,
        ..Policy::DEFAULT
    };
    assert_eq!(same.check_version(&v("1.0"), &v("1.0")), Ok(()));
    let alios = Policy {
        version_rule: VersionRule::Alios,
        ..Policy::DEFAULT
    };
    let refused = alios.check_version(&v("app-1.0.10"), &v("app-1.0.9"));
    assert_eq!(refused, order(VersionRule::Alios, VersionOrder::Older));
    // The refusal names the rule.
    let said = refused.expect_err("refused").to_string();
    assert!(said.contains("older") && said.contains("alios"), "{said}");
    let floor = Policy {
        min_version: Some(v("1.5")),
        ..Policy::DEFAULT
    };
    assert_eq!(floor.check_version(&v("1.5"), &v("1.0")), Ok(()));
    let below = Refusal::BelowFloor {
        rule: numeric,
        order: VersionOrder::Older,
    };
    assert_eq!(floor.check_version(&v("1.4"), &v("1.0")), Err(below));
}

/// A flash that only reads whole, aligned units.
struct Units<const N: usize>(Vec<u8>);

impl<const N: usize> ErrorType for Units<N> {
    type Error = NorFlashErrorKind;
}

impl<const N: usize> ReadNorFlash for Units<N> {
    const READ_SIZE: usize = N;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        if !(offset as usize).is_multiple_of(N) || !bytes.len().is_multiple_of(N) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        let from = offset as usize;
        let source = self.0.get(from..from + bytes.len());
        bytes.copy_from_slice(source.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

fn reads<const N: usize>() {
    let bytes: Vec<u8> = (0..128).collect();
    let mut flash = Units::<N>(bytes.clone());
    for from in 0..128 {
        for len in 0..=(128 - from) {
            let mut got = vec![0xEE; len];
            NorReader(&mut flash)
                .read_at(from as u32, &mut got)
                .expect("inside");
            assert_eq!(got, bytes[from..from + len], "{N} {from} {len}");
        }
    }
    let error = Err(ReadError { offset: 120 });
    assert_eq!(NorReader(&mut flash).read_at(120, &mut [0; 9]), error);
    assert_eq!(NorReader(&mut flash).size(), 128);
}

#[test]
fn nor_flash_of_any_read_size() {
    reads::<1>();
    reads::<4>();
    reads::<32>();
    reads::<64>();
    let mut slice = &[1u8, 2, 3][..];
    assert_eq!(slice.read_at(2, &mut [0; 2]), Err(ReadError { offset: 2 }));
    assert_eq!(
        slice.read_at(u32::MAX, &mut [0; 1]),
        Err(ReadError { offset: u32::MAX })
    );
    assert_eq!(slice.read_at(3, &mut []), Ok(()));
}
