//! Sign-on, keep-alive, one session per device, subscriptions.

mod common;
use common::*;
use ota_cloud::EventKind;

fn try_sign_on(b: &Bench, client_id: &str, user: &str, password: &str, keep_alive: u16) -> u8 {
    Client::connect(b.cloud.mqtt_addr(), client_id, user, password, keep_alive)
        .err()
        .unwrap_or(0)
}

/// The client identifier with a given list.
fn id(list: &str) -> String {
    format!("{PK}.{DN}|{list}|")
}

#[test]
fn three_methods_either_case_any_order() {
    let b = bench();
    for (method, password) in [
        ("hmacmd5", HMAC_MD5),
        ("hmacsha1", HMAC_SHA1),
        ("hmacsha256", HMAC_SHA256),
    ] {
        for list in [
            // SDK 2.3, SDK 3.0.1, SDK 4 (with a comma at the end), bare.
            format!(
                "securemode=3,_v=sdk-c-2.3.0,timestamp=2524608000000,signmethod={method},lan=C,gw=0,ext=0"
            ),
            format!(
                "timestamp=2524608000000,_v=sdk-c-3.0.1,securemode=3,signmethod={method},lan=C,gw=0,ext=0"
            ),
            format!(
                "timestamp=2524608000000,_ss=1,_v=sdk-c-4.1.0,securemode=2,signmethod={method},ext=3,"
            ),
            format!("signmethod={method},timestamp=2524608000000,securemode=3"),
        ] {
            for password in [password.to_lowercase(), password.to_uppercase()] {
                assert_eq!(
                    try_sign_on(&b, &id(&list), USER, &password, 60),
                    0,
                    "{list}"
                );
            }
        }
    }
}

#[test]
fn the_sign_on_of_the_python_sdk() {
    let b = bench();
    b.cloud.create_product("a1TestPK001").unwrap();
    b.cloud
        .add_device_with_secret("a1TestPK001", "dev001", DS)
        .unwrap();
    let client_id = "a1TestPK001&dev001|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1795422568|";
    let password = "e6bb34a7ff39646a4ab5c232c505def62dfc262d";
    assert_eq!(
        try_sign_on(&b, client_id, "dev001&a1TestPK001", password, 60),
        0
    );
}

#[test]
fn wrong_credentials_are_refused_by_their_code() {
    let b = bench();
    let good = "securemode=3,signmethod=hmacsha256,timestamp=2524608000000";
    let wrong = |list: &str, user, password, why| {
        let before = b.cloud.last_event().unwrap();
        let code = try_sign_on(&b, &id(list), user, password, 60);
        let events = b.cloud.events_after(before).unwrap();
        assert_eq!(events.len(), 1, "{why}: {events:?}");
        assert_eq!(events[0].kind, EventKind::Refused, "{why}");
        code
    };
    assert_eq!(wrong(good, USER, HMAC_SHA1, "another method's password"), 4);
    assert_eq!(wrong(good, USER, "", "no password"), 4);
    assert_eq!(wrong(good, USER, &HMAC_SHA256[..62], "short password"), 4);
    let other = good.replace("25246", "25247");
    assert_eq!(wrong(&other, USER, HMAC_SHA256, "another time stamp"), 4);
    let plain = "securemode=3,timestamp=2524608000000";
    assert_ne!(wrong(plain, USER, HMAC_SHA256, "no method"), 0);
    let sha512 = good.replace("sha256", "sha512");
    assert_ne!(wrong(&sha512, USER, HMAC_SHA256, "unknown method"), 0);
    assert_eq!(
        wrong(good, "dev002&a1B2c3D4e5F", HMAC_SHA256, "no such device"),
        5
    );
    assert_eq!(
        wrong(good, "dev001&nothere", HMAC_SHA256, "no such product"),
        5
    );
    assert_ne!(
        wrong(good, "dev001", HMAC_SHA256, "no product in the user name"),
        0
    );
    // The good one still gets in.
    assert_eq!(try_sign_on(&b, &id(good), USER, HMAC_SHA256, 60), 0);
}

#[test]
fn keep_alive_must_be_30_to_1200() {
    let b = bench();
    for (seconds, ok) in [
        (0, false),
        (29, false),
        (30, true),
        (1200, true),
        (1201, false),
    ] {
        let code = try_sign_on(&b, CLIENT_ID, USER, HMAC_SHA256, seconds);
        assert_eq!(code == 0, ok, "{seconds}: {code}");
        // Not as a wrong password: the device would give up its credentials.
        assert!(code != 4 && code != 5, "{seconds}: {code}");
    }
}

#[test]
fn a_second_sign_on_closes_the_first() {
    let b = bench();
    let mut first = b.sign_on();
    first.ping();
    let mut second = b.sign_on();
    assert!(first.is_closed());
    second.ping();
    assert!(b.cloud.device(PK, DN).unwrap().online);
    // And in turns: the newest always wins.
    let mut third = b.sign_on();
    assert!(second.is_closed());
    third.ping();
    drop(third);
    b.cloud
        .wait_event(0, WAIT, "sign-off", |e| {
            e.kind == EventKind::Disconnected && !e.text.contains("taken over")
        })
        .unwrap();
    assert!(!b.cloud.device(PK, DN).unwrap().online);
}

#[test]
fn only_own_topics_may_be_subscribed() {
    let b = bench();
    let mut c = b.sign_on();
    assert_eq!(c.subscribe(&format!("/ota/device/upgrade/{PK}/{DN}")), 1);
    assert_eq!(
        c.subscribe(&format!("/sys/{PK}/{DN}/thing/ota/firmware/get_reply")),
        1
    );
    assert_eq!(
        c.subscribe(&format!("/ota/device/upgrade/{PK}/other")),
        0x80
    );
    assert_eq!(c.subscribe("/ota/device/upgrade/+/+"), 0x80);
    assert_eq!(c.subscribe("#"), 0x80);
    c.ping();
}

#[test]
fn foreign_and_broken_messages_are_noted_and_change_nothing() {
    let b = bench();
    b.cloud.add_device(PK, "victim").unwrap();
    let mut c = b.online("1.0.0");
    let before = b.cloud.last_event().unwrap();
    c.publish(
        &format!("/ota/device/inform/{PK}/victim"),
        r#"{"id":1,"params":{"version":"9"}}"#,
    );
    let inform = format!("/ota/device/inform/{PK}/{DN}");
    c.publish(&inform, "not json");
    c.publish(&inform, "");
    c.publish(&inform, "[".repeat(50_000));
    c.publish(
        &format!("/ota/device/progress/{PK}/{DN}"),
        r#"{"params":{"step":"x"}}"#,
    );
    c.ping();
    let events = b.cloud.events_after(before).unwrap();
    assert_eq!(events.len(), 5, "{events:?}");
    assert!(
        events.iter().all(|e| e.kind == EventKind::Ignored),
        "{events:?}"
    );
    assert_eq!(b.cloud.device(PK, "victim").unwrap().version(), None);
    assert_eq!(b.cloud.device(PK, DN).unwrap().version(), Some("1.0.0"));
}

#[test]
fn a_huge_packet_ends_the_connection_not_the_cloud() {
    let b = bench();
    let mut c = b.sign_on();
    // PUBLISH that announces 200 MB.
    c.send(&[0x30, 0x80, 0xA0, 0xAF, 0x5F, 0, 1, b'x']);
    assert!(c.is_closed());
    b.sign_on().ping();
}
