//! Small formats: what is read is what is written, byte for byte, and others
//! (the `rsa`, `crc`, `sha2`, `md-5` crates) read the same.
//!
//! * Trailer, descriptor, signed block: read and written again they are the same.
//! * Keys: DER, PEM and C header.
//! * Digests in pieces of any length.
//! * Versions: "numeric" is an order (reflexive, antisymmetric, transitive),
//!   "alios" is `strncmp`.
//! * Line coding: any line that is taken is coded to itself; addresses invert.
#![no_main]

use hal_mk3060::line_code;
use libfuzzer_sys::fuzz_target;
use ota_verify::{
    Coding, Crc32, Digest, HashMethod, ImageDescriptor, Md5, Module, RsaPublicKey, Sha256,
    SignedBlock, Trailer, Version, VersionOrder, VersionRule, crc16_xmodem, crc32,
    verify_digestsign,
};
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::pkcs8::DecodePublicKey;
use rsa::traits::PublicKeyParts;
use uota_fuzz::{Input, images, packages};

fn trailer_and_block(data: &[u8]) {
    if let Ok(t) = Trailer::parse(data) {
        // The last four bytes carry nothing.
        assert_eq!(t.to_bytes()[..24], data[..24]);
        assert_eq!(Trailer::parse(&t.to_bytes()), Ok(t));
    }
    let mut input = Input::new(data);
    let len = input.u16();
    let header: [u8; 64] = input.array();
    for block_len in [u32::from(len), 64 + 256 + 12, 64 + 512 + 12] {
        if let Ok(b) = SignedBlock::parse(&header, block_len) {
            assert_eq!(b.block_len(), block_len);
            assert_eq!(SignedBlock::len_from_footer(&b.footer()), Some(block_len));
            let again = SignedBlock::new(b.image_len(), b.sha256(), b.key_id(), b.signature_len());
            assert_eq!(again.header(), &header);
        }
    }
}

fn descriptor(data: &[u8]) {
    let mut bytes = data.to_vec();
    for repaired in [false, true] {
        if repaired && bytes.len() >= 96 {
            bytes[..8].copy_from_slice(&ImageDescriptor::template("", "", 0)[..8]);
            let crc = packages::crc32(&bytes[..92]);
            bytes[92..96].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(Some(d)) = ImageDescriptor::parse(&bytes) {
            assert_eq!(d.to_bytes().expect("it was read")[..], bytes[..96]);
            assert!(Version::new(d.version.as_str()) == Ok(d.version));
            assert!(Module::new(d.module.as_str()) == Some(d.module));
        }
        let _ = ImageDescriptor::parse_template(&bytes);
    }
}

fn keys(data: &[u8]) {
    let ours = RsaPublicKey::from_der(data);
    let theirs = rsa::RsaPublicKey::from_public_key_der(data)
        .ok()
        .or_else(|| rsa::RsaPublicKey::from_pkcs1_der(data).ok());
    if let Ok(key) = &ours {
        let theirs = theirs.expect("taken, but not by the rsa crate");
        let mut n = [0; ota_verify::MAX_MODULUS_LEN];
        assert_eq!(key.modulus(&mut n), theirs.n().to_bytes_be());
        assert_eq!(theirs.e(), &key.exponent().into());
        let _ = key.verify_message(data, &data[..256.min(data.len())]);
    } else if let Some(theirs) = theirs {
        // What we refuse is refused for its size, its exponent or an even modulus.
        let odd = theirs.n().to_bytes_be().last().is_some_and(|b| b & 1 == 1);
        let small = theirs.e() < &(1u64 << 32).into();
        assert!(
            theirs.n().bits() != 2048 || !odd || !small,
            "refused: {ours:?}"
        );
    }
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let _ = RsaPublicKey::from_pem(text);
    let _ = RsaPublicKey::from_c_header(text);
    let digest = Digest::from_bytes(HashMethod::Sha256, &[7; 32]);
    if let Some(digest) = digest {
        assert!(verify_digestsign(&images::PUBLIC, &digest, text).is_err());
    }
}

fn digests(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.u8()).max(1);
    let (mut a, mut b, mut c) = (Sha256::new(), Md5::new(), Crc32::new());
    for part in data.chunks(piece) {
        a.update(part);
        b.update(part);
        c.update(part);
    }
    assert_eq!(
        (a.finish(), b.finish()),
        (images::sha256(data), images::md5(data))
    );
    assert_eq!([c.value(), crc32(data)], [packages::crc32(data); 2]);
    assert_eq!(crc16_xmodem(0, data), packages::crc16(data));
    let cms = crc::Crc::<u16>::new(&crc::CRC_16_CMS).checksum(data);
    assert_eq!(line_code::crc16(data), cms);
}

fn versions(data: &[u8]) {
    let mut words = data.splitn(3, |b| *b == b' ');
    let mut next = || Version::from_bytes(words.next().unwrap_or(&[]));
    let (Ok(a), Ok(b), Ok(c)) = (next(), next(), next()) else {
        return;
    };
    use VersionOrder::{Newer, Older, Same, Unrelated};
    let order = |x: &Version, y: &Version| VersionRule::Numeric.compare(x, y);
    assert_eq!(order(&a, &a), Same);
    let reversed = match order(&a, &b) {
        Newer => Older,
        Older => Newer,
        other => other,
    };
    assert_eq!(order(&b, &a), reversed);
    match (order(&a, &b), order(&b, &c)) {
        (Same, other) | (other, Same) => assert_eq!(order(&a, &c), other),
        (x, y) if x == y && x != Unrelated => assert_eq!(order(&a, &c), x),
        _ => {}
    }
    // strncmp(new, current, strlen(new)): NUL ends the current one.
    let (new, mut old) = (a.as_bytes(), b.as_bytes().to_vec());
    old.resize(new.len().max(old.len()), 0);
    let theirs = VersionOrder::from(new.cmp(&old[..new.len()]));
    assert_eq!(VersionRule::Alios.compare(&a, &b), theirs);
}

fn lines(data: &[u8]) {
    let coded: Vec<u8> = line_code::encode(data).flatten().collect();
    assert_eq!(Some(coded.len()), line_code::coded_len(data.len()));
    let plain: Vec<u8> = line_code::decode(&coded)
        .flat_map(|l| l.expect("our own line"))
        .collect();
    assert!(plain.starts_with(data) && plain[data.len()..].iter().all(|b| *b == 0xFF));
    for (n, line) in line_code::decode(data).enumerate() {
        if let Ok(plain) = line {
            assert_eq!(line_code::encode_line(&plain)[..], data[n * 34..][..34]);
        }
    }
    let mut input = Input::new(data);
    let (at, start) = (input.u32(), input.u32());
    if let Some(offset) = line_code::flash_offset(at) {
        assert_eq!(line_code::logical_address(offset), Some(at));
        assert_eq!(Coding::Lines34 { pad: 0 }.to_file(at), Some(offset));
    } else {
        assert_eq!(Coding::Lines34 { pad: 0 }.to_file(at), None);
    }
    if let Some(logical) = line_code::logical_address(start) {
        assert_eq!(line_code::flash_offset(logical), Some(start));
    }
    let pad = line_code::padding(start);
    assert!(pad < 34 && (u64::from(start) + u64::from(pad)).is_multiple_of(34));
}

fuzz_target!(|data: &[u8]| {
    let Some((&which, data)) = data.split_first() else {
        return;
    };
    match which % 6 {
        0 => trailer_and_block(data),
        1 => descriptor(data),
        2 => keys(data),
        3 => digests(data),
        4 => versions(data),
        _ => lines(data),
    }
});
