use super::server::{ClientId, SignOnError, parse_username};
use super::*;
use proptest::prelude::*;
use std::format;
use std::string::{String, ToString};

const PK: &str = "a1B2c3D4e5F";
const DN: &str = "dev001";
const DS: &str = "0123456789abcdef0123456789abcdef";
#[allow(dead_code)]
const VECTORS: [(SignMethod, &str); 3] = [
    (SignMethod::HmacMd5, "935b46dafcb8835cef2e06835e305152"),
    (
        SignMethod::HmacSha1,
        "86accbfe5449d07ade91baeae95b6bd669ca74b6",
    ),
    (
        SignMethod::HmacSha256,
        "88d3ce1423c115e0425395b171e6e5fd1c9c97c349f1584ad2baf32d5d913dca",
    ),
];
/// Captured from the vendor's Python SDK.
#[allow(dead_code)]
const PYTHON: &str = "a1TestPK001&dev001|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1795422568|";
#[allow(dead_code)]
const PYTHON_PASSWORD: &[u8] = b"e6bb34a7ff39646a4ab5c232c505def62dfc262d";

fn credentials() -> Credentials<'static> {
    Credentials::new(PK, DN, DS, "").unwrap()
}

#[test]
#[cfg(all(feature = "hmacmd5", feature = "hmacsha1", feature = "hmacsha256"))]
fn passwords_are_those_of_the_reference() {
    for (method, password) in VECTORS {
        let sign_on = SignOn::new(&credentials(), method, SecureMode::Tcp).unwrap();
        assert_eq!(sign_on.password(), password);
        assert_eq!(sign_on.username(), "dev001&a1B2c3D4e5F");
    }
}

#[test]
fn a_build_without_a_method_says_so() {
    for method in SignMethod::ALL {
        let built =
            SignOn::new(&credentials(), method, SecureMode::Tls).map(|s| s.password().len());
        let expected = if method.is_available() {
            Ok(2 * method.len())
        } else {
            Err(Unavailable(method))
        };
        assert_eq!(built, expected);
    }
}

#[test]
#[cfg(feature = "hmacsha256")]
fn client_id_has_the_shape_of_the_cloud() {
    let sign_on = SignOn::new(&credentials(), SignMethod::HmacSha256, SecureMode::Tls).unwrap();
    let expected = format!(
        "a1B2c3D4e5F.dev001|timestamp=2524608000000,securemode=2,signmethod=hmacsha256,_ss=1,_v=uota-{},lan=Rust,ext=0|",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(sign_on.client_id(), expected);
    let options = sign_on.connect_options(60, false);
    assert_eq!(options.password, Some(VECTORS[2].1.as_bytes()));
    assert_eq!((options.keep_alive_s, options.clean_session), (60, false));
    assert!(!format!("{sign_on:?} {:?}", credentials()).contains(&DS[..8]));
    assert!(!format!("{sign_on:?}").contains(&VECTORS[2].1[..8]));
}

#[test]
#[cfg(feature = "hmacsha1")]
fn the_python_sdk_signs_on() {
    let id = ClientId::parse(PYTHON).unwrap();
    assert_eq!(id.id, "a1TestPK001&dev001");
    assert_eq!((id.method, id.secure_mode), (SignMethod::HmacSha1, 3));
    assert_eq!(id.timestamp, Some("1795422568"));
    assert_eq!(
        id.verify("a1TestPK001", "dev001", DS, PYTHON_PASSWORD),
        Ok(())
    );
    let wrong = Err(SignOnError::Password);
    assert_eq!(
        id.verify("a1TestPK001", "dev002", DS, PYTHON_PASSWORD),
        wrong
    );
    assert_eq!(
        id.verify("a1TestPK002", "dev001", DS, PYTHON_PASSWORD),
        wrong
    );
    assert_eq!(
        id.verify("a1TestPK001", "dev001", &DS[1..], PYTHON_PASSWORD),
        wrong
    );
}

#[test]
fn the_c_sdk_client_id_parses() {
    let id = ClientId::parse("a1RIsMLz2BJ.example1|timestamp=2524608000000,_v=sdk-c-3.2.0,securemode=3,signmethod=hmacsha256,lan=C,gw=0,ext=0|").unwrap();
    assert_eq!(
        (id.id, id.method),
        ("a1RIsMLz2BJ.example1", SignMethod::HmacSha256)
    );
    // The newer SDK ends its list in a comma.
    let id = ClientId::parse("p.d|timestamp=1,_ss=1,securemode=2,signmethod=hmacsha256,ext=3,|")
        .unwrap();
    assert_eq!((id.secure_mode, id.timestamp), (2, Some("1")));
    assert_eq!(
        ClientId::parse("p.d|securemode=-2,signmethod=HmacMD5|")
            .unwrap()
            .secure_mode,
        -2
    );
}

#[test]
#[cfg(all(feature = "hmacmd5", feature = "hmacsha1", feature = "hmacsha256"))]
fn any_order_either_case_and_every_wrong_digit() {
    for (method, password) in VECTORS {
        let [a, b, c] = [
            "timestamp=2524608000000".to_string(),
            format!("signmethod={}", method.as_str()),
            "securemode=2".to_string(),
        ];
        for [x, y, z] in [
            [&a, &b, &c],
            [&a, &c, &b],
            [&b, &a, &c],
            [&b, &c, &a],
            [&c, &a, &b],
            [&c, &b, &a],
        ] {
            let text = format!("{PK}.{DN}|{x},lan=C,{y},{z}|");
            let id = ClientId::parse(&text).unwrap();
            assert_eq!(id.verify(PK, DN, DS, password.as_bytes()), Ok(()));
            assert_eq!(
                id.verify(PK, DN, DS, password.to_uppercase().as_bytes()),
                Ok(())
            );
        }
        let text = format!("{PK}.{DN}|{a},{b},{c}|");
        let id = ClientId::parse(&text).unwrap();
        for at in 0..password.len() {
            for byte in 0..=255 {
                let mut wrong = password.as_bytes().to_vec();
                let right = wrong[at].eq_ignore_ascii_case(&byte);
                wrong[at] = byte;
                assert_eq!(id.verify(PK, DN, DS, &wrong).is_ok(), right, "{at} {byte}");
            }
        }
        for len in [0, 1, password.len() - 1] {
            assert!(id.verify(PK, DN, DS, &password.as_bytes()[..len]).is_err());
        }
        assert!(
            id.verify(PK, DN, DS, format!("{password}0").as_bytes())
                .is_err()
        );
        // Without a timestamp another content is signed.
        let bare = format!("{PK}.{DN}|{b},{c}|");
        assert!(
            ClientId::parse(&bare)
                .unwrap()
                .verify(PK, DN, DS, password.as_bytes())
                .is_err()
        );
    }
}

#[test]
fn bad_client_ids_are_named() {
    use SignOnError as E;
    let long = format!("{}|securemode=2,signmethod=hmacmd5|", "i".repeat(65));
    for (text, error) in [
        ("", E::ClientId),
        ("no bars", E::ClientId),
        ("a|securemode=2,signmethod=hmacmd5", E::ClientId),
        ("|securemode=2,signmethod=hmacmd5|", E::ClientId),
        (&long, E::ClientId),
        ("a|securemode|", E::ClientId),
        ("a|securemode=2|", E::SignMethod),
        ("a|securemode=2,signmethod=hmacsha512|", E::SignMethod),
        (
            "a|securemode=2,signmethod=hmacmd5,signmethod=hmacsha1|",
            E::SignMethod,
        ),
        ("a|signmethod=hmacmd5|", E::SecureMode),
        ("a|securemode=x,signmethod=hmacmd5|", E::SecureMode),
        ("a|securemode=999,signmethod=hmacmd5|", E::SecureMode),
        (
            "a|securemode=2,signmethod=hmacmd5,timestamp=|",
            E::Timestamp,
        ),
        (
            "a|securemode=2,signmethod=hmacmd5,timestamp=1x|",
            E::Timestamp,
        ),
        (
            "a|timestamp=1,securemode=2,signmethod=hmacmd5,timestamp=1|",
            E::Timestamp,
        ),
    ] {
        assert_eq!(ClientId::parse(text), Err(error), "{text}");
    }
}

#[test]
fn user_names() {
    assert_eq!(parse_username("dev001&a1PK"), Ok(("dev001", "a1PK")));
    for bad in ["", "&", "d&", "&p", "dp", "d&p&q", "d/e&p", "d&p/q"] {
        assert_eq!(parse_username(bad), Err(SignOnError::Username), "{bad}");
    }
}

#[test]
fn credentials_that_cannot_be_right_are_named() {
    let long = "x".repeat(65);
    let error = |pk, dn, ds, ps| Credentials::new(pk, dn, ds, ps).unwrap_err().to_string();
    assert_eq!(error("", "d", "s", ""), "product key is empty");
    assert_eq!(
        error(&long[..21], "d", "s", ""),
        "product key is longer than 20 bytes"
    );
    assert_eq!(
        error("a-b", "d", "s", ""),
        "product key has a character not allowed at byte 1"
    );
    assert_eq!(
        error("p", &long[..33], "s", ""),
        "device name is longer than 32 bytes"
    );
    assert_eq!(
        error("p", "ab/", "s", ""),
        "device name has a character not allowed at byte 2"
    );
    assert_eq!(error("p", "d", "", ""), "device secret is empty");
    assert_eq!(
        error("p", "d", &long, ""),
        "device secret is longer than 64 bytes"
    );
    assert_eq!(
        error("p", "d", "s s", ""),
        "device secret has a character not allowed at byte 1"
    );
    assert_eq!(
        error("p", "d", "s", "\n"),
        "product secret has a character not allowed at byte 0"
    );
    let (pk, dn, secret) = (&long[..20], &long[..32], &long[..64]);
    let longest = Credentials::new(pk, dn, secret, secret).unwrap();
    for method in SignMethod::ALL.into_iter().filter(|m| m.is_available()) {
        let sign_on = SignOn::new(&longest, method, SecureMode::Tls).unwrap();
        assert!(sign_on.client_id().ends_with(",ext=0|"));
        assert_eq!(sign_on.username(), format!("{dn}&{pk}"));
        let id = ClientId::parse(sign_on.client_id()).unwrap();
        assert_eq!(
            id.verify(pk, dn, secret, sign_on.password().as_bytes()),
            Ok(())
        );
    }
}

#[test]
fn endpoints() {
    let endpoint = Endpoint::new(&credentials(), "cn-shanghai").unwrap();
    assert_eq!(
        endpoint.host(),
        "a1B2c3D4e5F.iot-as-mqtt.cn-shanghai.aliyuncs.com"
    );
    assert_eq!(
        (SecureMode::Tls.port(), SecureMode::Tcp.port()),
        (443, 1883)
    );
    let (pk, region) = ("k".repeat(20), "r".repeat(32));
    let longest = Credentials::new(&pk, "d", "s", "").unwrap();
    let host = Endpoint::new(&longest, &region).unwrap().host().to_string();
    assert_eq!(host, format!("{pk}.iot-as-mqtt.{region}.aliyuncs.com"));
    for bad in ["", "CN", "a.b", "a b", &"r".repeat(33)] {
        assert_eq!(Endpoint::new(&credentials(), bad).unwrap_err(), RegionError);
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_panic(text in ".{0,120}", tail in "[|,=a-z0-9]{0,60}") {
        let text: String = format!("{text}|{tail}|");
        let _ = ClientId::parse(&text).map(|id| id.verify("p", "d", "s", text.as_bytes()));
        let _ = parse_username(&text);
    }
}
