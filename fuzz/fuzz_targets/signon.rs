//! A hostile device.
//!
//! * Whatever a CONNECT says, the server's parsers end in a value or an error.
//! * What a device with good credentials says is understood and verified; with
//!   one bit of the password or another secret it is not.
//! * A topic made for a device is found to be that topic of that device.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_proto::signon::server::{ClientId, parse_username};
use ota_proto::signon::{Credentials, SecureMode, SignMethod, SignOn};
use ota_proto::topics::Topic;
use uota_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    let name = parse_username(text);
    if let Ok((dn, pk)) = name {
        assert_eq!(format!("{dn}&{pk}"), text);
        assert!(Credentials::new(pk, dn, "secret", "").is_ok());
    }
    if let Ok(client) = ClientId::parse(text) {
        assert!(text.starts_with(client.id));
        assert!(client.verify("pk", "dn", "secret", data).is_err());
    }
    if let Some(parsed) = Topic::parse(text) {
        assert_eq!(
            Topic::of_device(text, parsed.product_key, parsed.device_name),
            Some(parsed.topic)
        );
    }

    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().unwrap_or("");
    let (pk, dn, rest) = (word(), word(), word());
    for topic in Topic::ALL {
        if let Ok(name) = topic.name(pk, dn) {
            let parsed = Topic::parse(name.as_str()).expect("our own topic");
            assert_eq!(
                (parsed.topic, parsed.product_key, parsed.device_name),
                (topic, pk, dn)
            );
        }
    }
    let mut input = Input::new(rest.as_bytes());
    let method = [
        SignMethod::HmacMd5,
        SignMethod::HmacSha1,
        SignMethod::HmacSha256,
    ][input.below(3)];
    let mode = if input.flag() {
        SecureMode::Tls
    } else {
        SecureMode::Tcp
    };
    let bit = input.u16();
    let secret = core::str::from_utf8(input.rest()).unwrap_or("");
    let Ok(credentials) = Credentials::new(pk, dn, secret, "") else {
        return;
    };
    let signon = SignOn::new(&credentials, method, mode).expect("all methods are there");
    let client = ClientId::parse(signon.client_id()).expect("our own identifier");
    assert_eq!(parse_username(signon.username()), Ok((dn, pk)));
    assert_eq!(client.method, method);
    let mut password = signon.password().as_bytes().to_vec();
    assert_eq!(client.verify(pk, dn, secret, &password), Ok(()));
    assert!(
        client
            .verify(pk, dn, &format!("{secret}x"), &password)
            .is_err()
    );
    let at = usize::from(bit) / 8 % password.len();
    password[at] ^= 1 << (bit % 8);
    // Upper-case digits are the same digits.
    if !password.eq_ignore_ascii_case(signon.password().as_bytes()) {
        assert!(client.verify(pk, dn, secret, &password).is_err());
    }
});
