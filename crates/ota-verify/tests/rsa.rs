//! RSA against vectors and oracles that are not ours: Wycheproof, OpenSSL, `rsa`.

use ota_verify::{
    DerError, Digest, HashMethod, KeyError, RsaPublicKey, SignatureError, sha256, verify_digestsign,
};
use proptest::prelude::*;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs8::EncodePublicKey;
use rsa::signature::{SignatureEncoding, Signer};
use rsa::{BigUint, RsaPrivateKey};
use wycheproof::TestResult;
use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

const MESSAGE: &[u8] = b"hello firmware";

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("vectors/", $name))
    };
    (text $name:literal) => {
        include_str!(concat!("vectors/", $name))
    };
}

struct Key {
    bits: usize,
    private: &'static str,
    spki: &'static str,
    pkcs1: &'static str,
    signature: &'static [u8],
}

macro_rules! key {
    ($bits:literal) => {
        Key {
            bits: $bits,
            private: include_str!(concat!("vectors/rsa-", $bits, ".key.pem")),
            spki: include_str!(concat!("vectors/rsa-", $bits, ".spki.pem")),
            pkcs1: include_str!(concat!("vectors/rsa-", $bits, ".pkcs1.pem")),
            signature: include_bytes!(concat!("vectors/rsa-", $bits, ".sig")),
        }
    };
}

const KEYS: [Key; 3] = [key!(2048), key!(3072), key!(4096)];

impl Key {
    fn public(&self) -> RsaPublicKey {
        RsaPublicKey::from_pem(self.spki).expect("SPKI")
    }

    fn private(&self) -> RsaPrivateKey {
        RsaPrivateKey::from_pkcs1_pem(self.private).expect("private key")
    }
}

#[test]
fn wycheproof() {
    let mut seen = 0;
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa3072Sha256,
        TestName::Rsa4096Sha256,
    ] {
        let set = TestSet::load(name).expect("vectors");
        let mut in_set = 0;
        for group in set.test_groups {
            let key = RsaPublicKey::from_der(&group.der).expect("key");
            assert_eq!(
                key,
                RsaPublicKey::from_der(&group.asn_key).expect("PKCS#1 key")
            );
            for test in &group.tests {
                let ours = key.verify_message(&test.msg, &test.sig).is_ok();
                // "Acceptable" are encodings some old signers made: we are strict.
                assert_eq!(ours, test.result == TestResult::Valid, "{name:?} {test:?}");
                in_set += 1;
            }
        }
        assert_eq!(in_set, set.number_of_tests);
        seen += in_set;
    }
    assert!(seen > 700, "only {seen} vectors");
}

#[test]
fn openssl_signatures() {
    for key in KEYS {
        let public = key.public();
        assert_eq!(public.bits(), key.bits);
        assert_eq!(public, RsaPublicKey::from_pem(key.pkcs1).expect("PKCS#1"));
        assert_eq!(public.verify_message(MESSAGE, key.signature), Ok(()));
        assert_eq!(
            public.verify_sha256(&sha256(MESSAGE), key.signature),
            Ok(())
        );
        assert_eq!(
            public.verify_message(b"hello firmwarf", key.signature),
            Err(SignatureError::Mismatch)
        );
    }
    for (der, signature, exponent) in [
        (
            &vector!("rsa-2048-e3.spki.der")[..],
            vector!("rsa-2048-e3.sig"),
            3,
        ),
        (
            &vector!("rsa-2048-e32.spki.der")[..],
            vector!("rsa-2048-e32.sig"),
            4_294_967_291,
        ),
    ] {
        let key = RsaPublicKey::from_der(der).expect("key");
        assert_eq!(key.exponent(), exponent);
        assert_eq!(key.verify_message(MESSAGE, signature), Ok(()));
    }
}

#[test]
fn openssl_digestsign() {
    let key = KEYS[0].public();
    let digest = |method, hex| Digest::from_hex(method, hex).expect("hex");
    let md5 = digest(HashMethod::Md5, "F3F458B56619EDB3FC209716A00DFB9D");
    let sha = digest(
        HashMethod::Sha256,
        "36e3e72d0e44b7f29b9bf670ba152b56350ebef622c8b9567a2c908249e08184",
    );
    let (md5_sign, sha_sign) = (
        vector!(text "digestsign-md5.b64"),
        vector!(text "digestsign-sha256.b64"),
    );
    assert_eq!(verify_digestsign(&key, &md5, md5_sign), Ok(()));
    assert_eq!(verify_digestsign(&key, &sha, sha_sign), Ok(()));
    assert_eq!(
        verify_digestsign(&key, &sha, md5_sign),
        Err(SignatureError::Mismatch)
    );
    // Strict base64: no line break, no missing padding, nothing behind it, no spare bits.
    assert!(md5_sign.ends_with("=="));
    let bare = md5_sign.trim_end_matches('=');
    let spare = {
        let mut text = bare.to_owned();
        let last = text.pop().expect("text");
        // The last character of 256 bytes carries two bits; the next letter sets a spare one.
        text.push(char::from(last as u8 + 1));
        text + "=="
    };
    for wrong in [
        "",
        "!",
        bare,
        &format!("{md5_sign}\n"),
        &format!("{md5_sign}AAAA"),
        &spare,
    ] {
        let got = verify_digestsign(&key, &md5, wrong);
        assert!(
            matches!(
                got,
                Err(SignatureError::Base64 | SignatureError::Length { .. })
            ),
            "{wrong:?}: {got:?}"
        );
    }
}

#[test]
fn rsa_crate_agrees() {
    for key in KEYS {
        let private = key.private();
        let public = private.to_public_key();
        let spki = public.to_public_key_der().expect("DER");
        assert_eq!(
            RsaPublicKey::from_der(spki.as_bytes()).expect("SPKI"),
            key.public()
        );
        let pkcs1 = public.to_pkcs1_der().expect("DER");
        assert_eq!(
            RsaPublicKey::from_der(pkcs1.as_bytes()).expect("PKCS#1"),
            key.public()
        );
        let signer = rsa::pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new(private);
        for message in [&b""[..], b"a", &[0; 1000]] {
            let signature = signer.sign(message).to_vec();
            assert_eq!(key.public().verify_message(message, &signature), Ok(()));
        }
    }
}

/// RSA of chosen numbers: a block that is well-formed but for one byte is
/// refused, whichever byte it is.
#[test]
fn every_byte_of_the_block_counts() {
    let key = &KEYS[0];
    let private = key.private();
    let public = key.public();
    let raw = |block: &[u8]| {
        let m = BigUint::from_bytes_be(block);
        let s = rsa::hazmat::rsa_decrypt(None::<&mut rsa::rand_core::OsRng>, &private, &m);
        let s = s.expect("number").to_bytes_be();
        [vec![0; 256 - s.len()], s].concat()
    };
    let good = {
        let s = BigUint::from_bytes_be(key.signature);
        let m = rsa::hazmat::rsa_encrypt(&private.to_public_key(), &s).expect("number");
        [vec![0; 1], m.to_bytes_be()].concat()
    };
    assert_eq!(good.len(), 256);
    assert_eq!(raw(&good), key.signature);
    for at in 1..256 {
        let mut block = good.clone();
        block[at] ^= 1 << (at % 8);
        assert_eq!(
            public.verify_message(MESSAGE, &raw(&block)),
            Err(SignatureError::Mismatch),
            "byte {at}"
        );
    }
    // Byte 0 can only be wrong in a number whose top byte fits below the modulus.
    let mut block = good;
    block[0] = 1;
    assert_eq!(
        public.verify_message(MESSAGE, &raw(&block)),
        Err(SignatureError::Mismatch)
    );
}

#[test]
fn range_and_length() {
    use rsa::traits::PublicKeyParts;
    for key in KEYS {
        let public = key.public();
        let n = key.private().n().clone();
        let s = BigUint::from_bytes_be(key.signature);
        let sum = &s + &n;
        // s + n is the same number modulo n; where it fits the length it must be refused.
        if sum.bits() <= key.bits {
            let sum = sum.to_bytes_be();
            assert_eq!(
                public.verify_message(MESSAGE, &sum),
                Err(SignatureError::Range)
            );
        }
        for number in [
            n.clone(),
            &n + 1u8,
            BigUint::from_bytes_be(&vec![0xFF; key.bits / 8]),
        ] {
            let bytes = number.to_bytes_be();
            assert_eq!(
                public.verify_message(MESSAGE, &bytes),
                Err(SignatureError::Range)
            );
        }
        let below = (&n - 1u8).to_bytes_be();
        assert_eq!(
            public.verify_message(MESSAGE, &below),
            Err(SignatureError::Mismatch)
        );
        let expected = key.bits / 8;
        let long = [&[0], key.signature].concat();
        for wrong in [&[][..], &key.signature[1..], &long] {
            assert_eq!(
                public.verify_message(MESSAGE, wrong),
                Err(SignatureError::Length {
                    found: wrong.len(),
                    expected
                })
            );
        }
    }
}

#[test]
fn keys_that_are_refused() {
    let mut modulus = [0xC7u8; 256];
    assert!(RsaPublicKey::new(&modulus, 3).is_ok());
    for exponent in [0, 1, 2, 65536] {
        assert_eq!(
            RsaPublicKey::new(&modulus, exponent),
            Err(KeyError::Exponent)
        );
    }
    modulus[255] = 0xC6;
    assert_eq!(RsaPublicKey::new(&modulus, 3), Err(KeyError::Even));
    modulus[255] = 0xC7;
    modulus[0] = 0x7F;
    assert_eq!(RsaPublicKey::new(&modulus, 3), Err(KeyError::Size(2048)));
    for len in [0, 1, 128, 255, 257, 320, 1024] {
        assert_eq!(
            RsaPublicKey::new(&vec![0xC7; len], 3),
            Err(KeyError::Size(len * 8))
        );
    }
    assert_eq!(RsaPublicKey::from_pem(KEYS[0].private), Err(KeyError::Pem));
    assert_eq!(RsaPublicKey::from_pem(""), Err(KeyError::Pem));
}

#[test]
fn der_is_strict() {
    use DerError::{Algorithm, Integer, Length, Tag, Trailing};
    let der = vector!("rsa-2048-e3.spki.der");
    let with = |at: usize, bytes: &[u8]| {
        let mut out = der.to_vec();
        out[at..at + bytes.len()].copy_from_slice(bytes);
        RsaPublicKey::from_der(&out)
    };
    assert!(with(0, &[0x30]).is_ok());
    assert_eq!(with(0, &[0x31]), Err(KeyError::Der(Tag(0x30))));
    assert_eq!(with(1, &[0x80]), Err(KeyError::Der(Length)));
    assert_eq!(with(8, &[0x2B]), Err(KeyError::Der(Algorithm)));
    assert_eq!(with(19, &[0x04]), Err(KeyError::Der(Tag(0x03))));
    // The modulus' sign byte: without it the number would be negative.
    let sign = 32;
    assert_eq!(der[sign - 4..=sign], [0x02, 0x82, 0x01, 0x01, 0x00]);
    assert_eq!(with(sign, &[0xFF]), Err(KeyError::Der(Integer)));
    assert_eq!(with(sign + 1, &[0x01]), Err(KeyError::Der(Integer)));
    let long = [&der[..], &[0]].concat();
    assert_eq!(RsaPublicKey::from_der(&long), Err(KeyError::Der(Trailing)));
    for len in 0..der.len() {
        assert!(
            matches!(RsaPublicKey::from_der(&der[..len]), Err(KeyError::Der(_))),
            "{len}"
        );
    }
}

proptest! {
    #[test]
    fn der_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(RsaPublicKey::from_der(&bytes).is_err());
    }

    #[test]
    fn der_flips_never_give_the_key(at in 0usize..292, bit in 0u8..8) {
        let der = vector!("rsa-2048-e3.spki.der");
        let mut flipped = der.to_vec();
        flipped[at] ^= 1 << bit;
        prop_assert_ne!(RsaPublicKey::from_der(&flipped).ok(), RsaPublicKey::from_der(der).ok());
    }

    #[test]
    fn signature_flips_are_refused(at in 0usize..256, bit in 0u8..8) {
        let mut signature = KEYS[0].signature.to_vec();
        signature[at] ^= 1 << bit;
        prop_assert!(KEYS[0].public().verify_message(MESSAGE, &signature).is_err());
    }
}

#[test]
fn c_header() {
    use ota_verify::HeaderError::{Array, Byte, Long};
    let header = |n: &str, e: &str| {
        format!(
            "const unsigned char ota_pubn_buf[256] = {{ {n} }};\nstatic const unsigned char ota_pube_buf[3] = {{ {e} }};\n"
        )
    };
    let mut modulus = vec!["0xc7"; 256];
    let key = RsaPublicKey::from_c_header(&header(&modulus.join(", "), "0x01, 0x00, 0X01,"));
    assert_eq!(key, RsaPublicKey::new(&[0xC7; 256], 65537));
    // Decimal, any white space, a comma behind the last value.
    let key =
        RsaPublicKey::from_c_header(&header(&(vec!["199"; 256].join(",\n\t") + ","), "1,0,1"));
    assert_eq!(key, RsaPublicKey::new(&[0xC7; 256], 65537));
    let got = |n: &str, e: &str| RsaPublicKey::from_c_header(&header(n, e));
    assert_eq!(
        RsaPublicKey::from_c_header("int x;"),
        Err(KeyError::Header(Array("ota_pubn_buf")))
    );
    assert_eq!(
        got("0x01, 0x100", "1"),
        Err(KeyError::Header(Byte {
            array: "ota_pubn_buf",
            index: 1
        }))
    );
    assert_eq!(
        got("1, x", "1"),
        Err(KeyError::Header(Byte {
            array: "ota_pubn_buf",
            index: 1
        }))
    );
    assert_eq!(
        got("1", "1,2,3,4,5"),
        Err(KeyError::Header(Long("ota_pube_buf")))
    );
    modulus.push("1");
    assert_eq!(got(&modulus.join(","), "1,0,1"), Err(KeyError::Size(2056)));
}
