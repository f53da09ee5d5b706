//! The packet format: every type, every truncation, every length encoding.

use crate::mqtt::wire::*;
use crate::mqtt::{ProtocolError as E, SendError};
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

fn samples() -> Vec<(Vec<u8>, Incoming<'static>)> {
    let publish = |packet_id, dup, retain, payload| {
        Incoming::Publish(Publish {
            topic: "a/b",
            packet_id,
            payload,
            dup,
            retain,
        })
    };
    vec![
        (
            vec![0x20, 2, 0, 0],
            Incoming::ConnAck {
                session_present: false,
                code: 0,
            },
        ),
        (
            vec![0x20, 2, 1, 0],
            Incoming::ConnAck {
                session_present: true,
                code: 0,
            },
        ),
        (
            vec![0x20, 2, 0, 5],
            Incoming::ConnAck {
                session_present: false,
                code: 5,
            },
        ),
        (
            b"\x30\x07\x00\x03a/bhi".to_vec(),
            publish(None, false, false, b"hi"),
        ),
        (
            b"\x31\x05\x00\x03a/b".to_vec(),
            publish(None, false, true, b""),
        ),
        (
            b"\x3b\x09\x00\x03a/b\x12\x34hi".to_vec(),
            publish(Some(0x1234), true, true, b"hi"),
        ),
        (
            vec![0x40, 2, 0xff, 0xff],
            Incoming::PubAck { packet_id: 0xffff },
        ),
        (
            vec![0x90, 3, 0, 1, 0x80],
            Incoming::SubAck {
                packet_id: 1,
                codes: &[0x80],
            },
        ),
        (
            vec![0x90, 5, 0, 1, 0, 1, 2],
            Incoming::SubAck {
                packet_id: 1,
                codes: &[0, 1, 2],
            },
        ),
        (vec![0xd0, 0], Incoming::PingResp),
    ]
}

#[test]
fn every_type_and_every_truncation() {
    for (bytes, packet) in samples() {
        assert_eq!(decode(&bytes), Ok(Some((packet, bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{bytes:02x?} cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.extend([0xff; 3]);
        assert_eq!(decode(&longer), Ok(Some((packet, bytes.len()))));
        // The body alone, too short and too long for its header.
        let header = decode_header(&bytes).unwrap().unwrap();
        for end in header.len..longer.len() {
            if end != bytes.len() {
                assert!(decode_body(&header, &longer[header.len..end]).is_err());
            }
        }
    }
}

#[test]
fn every_first_byte() {
    for first in 0..=255u8 {
        let expected = match first {
            0x20 | 0x40 | 0x90 | 0xd0 => None,
            0x30..=0x3f if first & 6 == 4 => Some(E::Qos2),
            0x30..=0x3f if first & 6 == 6 => Some(E::Flags(first)),
            0x30..=0x3f => None,
            _ if matches!(first >> 4, 2 | 4 | 9 | 13) => Some(E::Flags(first)),
            _ => Some(E::UnexpectedPacket(first >> 4)),
        };
        // Known from the first byte on, and not forgotten with more.
        assert_eq!(decode_header(&[first]).err(), expected, "{first:#04x}");
        assert_eq!(
            decode_header(&[first, 0x80]).err(),
            expected,
            "{first:#04x}"
        );
    }
}

#[test]
fn every_remaining_length_for_every_type() {
    for (first, good) in [(0x20u8, vec![2]), (0x40, vec![2]), (0xd0, vec![0])] {
        for length in 0..300u32 {
            let mut bytes = vec![first];
            bytes.extend(encoded(length));
            let fits = decode_header(&bytes).is_ok();
            assert_eq!(fits, good.contains(&length), "{first:#04x} {length}");
        }
    }
    for first in [0x30, 0x32, 0x90] {
        for length in 0..3 {
            assert_eq!(decode_header(&[first, length]), Err(E::Length(first >> 4)));
        }
    }
    // QoS 1 needs two bytes more than the shortest topic.
    assert_eq!(decode(b"\x32\x03\x00\x01a"), Err(E::Length(3)));
    assert_eq!(decode(b"\x32\x04\x00\x01a\x01"), Err(E::Length(3)));
    assert_eq!(decode(b"\x30\x03\x00\x02a"), Err(E::Length(3)));
}

/// As the standard's own algorithm (2.2.3), by division.
fn encoded(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = (value % 128) as u8;
        value /= 128;
        out.push(if value > 0 { digit + 128 } else { digit });
        if value == 0 {
            return out;
        }
    }
}

#[test]
fn remaining_lengths_at_every_border() {
    for value in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        MAX_REMAINING,
    ] {
        let bytes = encoded(value);
        assert_eq!(
            decode_remaining(&bytes),
            Ok(Some((value as usize, bytes.len())))
        );
        for end in 0..bytes.len() {
            assert_eq!(decode_remaining(&bytes[..end]), Ok(None));
        }
    }
    assert_eq!(
        decode_remaining(&[0x80, 0x80, 0x80, 0x80]),
        Err(E::RemainingLength)
    );
    assert_eq!(
        decode_remaining(&[0xff, 0xff, 0xff, 0xff, 1]),
        Err(E::RemainingLength)
    );
    // Longer than necessary is allowed.
    assert_eq!(decode_remaining(&[0x82, 0x00]), Ok(Some((2, 2))));
}

#[test]
fn values_outside_the_standard_are_refused() {
    for (bytes, error) in [
        (&b"\x20\x02\x02\x00"[..], E::ConnAck(2)),
        (b"\x20\x02\x01\x05", E::ConnAck(1)),
        (b"\x20\x02\x00\x06", E::ConnAck(6)),
        (b"\x40\x02\x00\x00", E::PacketId),
        (b"\x90\x03\x00\x00\x00", E::PacketId),
        (b"\x90\x03\x00\x01\x03", E::SubAck),
        (b"\x90\x03\x00\x01\x81", E::SubAck),
        (b"\x32\x05\x00\x01a\x00\x00", E::PacketId),
        (b"\x30\x03\x00\x00a", E::Topic),
        (b"\x30\x03\x00\x01+", E::Topic),
        (b"\x30\x03\x00\x01#", E::Topic),
        (b"\x30\x03\x00\x01\x00", E::Topic),
        (b"\x30\x04\x00\x02\xc3\x28", E::Topic),
    ] {
        assert_eq!(decode(bytes), Err(error), "{bytes:02x?}");
    }
}

#[test]
fn connect_is_that_of_the_standard() {
    let mut buf = [0; 64];
    let mut options = ConnectOptions {
        client_id: "id",
        username: Some("user"),
        password: Some(b"pass"),
        keep_alive_s: 0x0102,
        clean_session: true,
    };
    let len = encode_connect(&mut buf, &options).unwrap();
    let all = b"\x10\x1a\x00\x04MQTT\x04\xc2\x01\x02\x00\x02id\x00\x04user\x00\x04pass";
    assert_eq!(&buf[..len], all);
    for end in 0..len {
        assert_eq!(
            encode_connect(&mut buf[..end], &options),
            Err(SendError::NoRoom)
        );
    }
    options.clean_session = false;
    options.username = None;
    let len = encode_connect(&mut buf, &options).unwrap();
    assert_eq!(
        &buf[..len],
        b"\x10\x0e\x00\x04MQTT\x04\x00\x01\x02\x00\x02id"
    );
    let long = "x".repeat(65_536);
    options.client_id = &long;
    assert_eq!(
        encode_connect(&mut vec![0; 70_000], &options),
        Err(SendError::TooLong)
    );
}

#[test]
fn subscribe_is_that_of_the_standard() {
    let mut buf = [0; 32];
    let filters = [("a/b", Qos::AtLeastOnce), ("c/+", Qos::AtMostOnce)];
    let len = encode_subscribe(&mut buf, 10, &filters).unwrap();
    assert_eq!(
        &buf[..len],
        b"\x82\x0e\x00\x0a\x00\x03a/b\x01\x00\x03c/+\x00"
    );
    assert_eq!(encode_subscribe(&mut buf, 10, &[]), Err(SendError::Topic));
    assert_eq!(
        encode_subscribe(&mut buf, 10, &[("", Qos::AtMostOnce)]),
        Err(SendError::Topic)
    );
    for end in 0..len {
        assert_eq!(
            encode_subscribe(&mut buf[..end], 1, &filters),
            Err(SendError::NoRoom)
        );
    }
}

#[test]
fn publish_headers_at_every_length() {
    for payload in [0, 1, 120, 121, 122, 123, 124, 16_377, 16_378, 16_379] {
        let message = vec![7u8; payload];
        let mut buf = vec![0; payload + 32];
        let mut write = |room: &mut [u8]| {
            room[..payload].copy_from_slice(&message);
            Some(payload)
        };
        let len = encode_publish(&mut buf, "a/b", None, &mut write).unwrap();
        let mut expected = vec![0x30];
        expected.extend(encoded(5 + payload as u32));
        expected.extend(b"\x00\x03a/b");
        expected.extend(&message);
        assert_eq!(&buf[..len], expected);
    }
    let mut buf = [0; 32];
    for bad in ["", "a/+", "#", "a\0"] {
        let result = encode_publish(&mut buf, bad, None, &mut |_| Some(0));
        assert_eq!(result, Err(SendError::Topic));
    }
    let liar = encode_publish(&mut buf, "a", None, &mut |room| Some(room.len() + 1));
    assert_eq!(liar, Err(SendError::Payload));
    for end in 0..8 {
        let short = encode_publish(&mut buf[..end], "a", None, &mut |_| Some(0));
        assert_eq!(short.is_err(), end < 8, "{end}");
    }
}

proptest! {
    #[test]
    fn publish_round_trip(
        topic in "[^+#\\x00]{1,80}",
        id in proptest::option::of(1u16..),
        payload in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut buf = vec![0; topic.len() + payload.len() + 12];
        let mut write = |room: &mut [u8]| {
            room.get_mut(..payload.len())?.copy_from_slice(&payload);
            Some(payload.len())
        };
        let len = encode_publish(&mut buf, &topic, id, &mut write).unwrap();
        let expected =
            Publish { topic: &topic, packet_id: id, payload: &payload, dup: false, retain: false };
        prop_assert_eq!(decode(&buf[..len]), Ok(Some((Incoming::Publish(expected), len))));
    }

    #[test]
    fn any_length_round_trips(value in 0..=MAX_REMAINING) {
        let bytes = encoded(value);
        prop_assert_eq!(decode_remaining(&bytes), Ok(Some((value as usize, bytes.len()))));
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some((_, len))) = decode(&bytes) {
            prop_assert!(len <= bytes.len() && len >= 2);
        }
    }

    #[test]
    fn damaged_packets_decode_without_panic(which in 0usize..10, at in 0usize..16, value: u8) {
        let (mut bytes, _) = samples().remove(which);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = decode(&bytes);
    }
}

#[test]
fn errors_have_texts() {
    let texts: Vec<String> = vec![
        format!("{}", crate::mqtt::Error::Protocol(E::Qos2)),
        format!(
            "{}",
            crate::mqtt::Error::Refused(crate::mqtt::Refusal::BadCredentials)
        ),
    ];
    assert_eq!(texts[0], "the server broke MQTT 3.1.1: PUBLISH with QoS 2");
    assert_eq!(
        texts[1],
        "sign-on refused: bad user name or password (code 4)"
    );
}
