//! What a client does over time.

use crate::mqtt::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

const RX: usize = 128;
const TX: usize = 256;

const OPTIONS: ConnectOptions<'static> = ConnectOptions {
    client_id: "id",
    username: None,
    password: None,
    keep_alive_s: 60,
    clean_session: false,
};

/// Sends all there is; what was sent.
fn flush(c: &mut Client<'_>) -> Vec<u8> {
    let mut all = Vec::new();
    while !c.transmit().is_empty() {
        let chunk = c.transmit().to_vec();
        c.transmitted(chunk.len());
        all.extend(chunk);
    }
    all
}

/// Hands bytes in; the events as text.
fn hear(c: &mut Client<'_>, now: u64, mut bytes: &[u8]) -> Result<Vec<String>, Error> {
    let mut events = Vec::new();
    loop {
        let taken = c.receive(bytes);
        bytes = &bytes[taken..];
        while let Some(event) = c.poll(now)? {
            events.push(format!("{event:?}"));
        }
        if bytes.is_empty() {
            return Ok(events);
        }
        assert!(taken > 0, "stuck");
    }
}

fn connected<'b>(rx: &'b mut [u8], tx: &'b mut [u8]) -> Client<'b> {
    let mut c = Client::new(rx, tx, Config::DEFAULT);
    c.connect(&OPTIONS, 0).unwrap();
    assert_eq!(flush(&mut c)[0], 0x10);
    assert_eq!(
        hear(&mut c, 0, b"\x20\x02\x00\x00").unwrap(),
        ["Connected { session_present: false }"]
    );
    assert_eq!(c.state(), State::Connected);
    c
}

fn with_client(test: impl FnOnce(&mut Client<'_>)) {
    let (mut rx, mut tx) = ([0; RX], [0; TX]);
    test(&mut connected(&mut rx, &mut tx));
}

#[test]
fn refusals_are_named_and_sorted() {
    use RefusalKind::*;
    let kinds = [
        Incompatible,
        Credentials,
        Temporary,
        Credentials,
        Credentials,
    ];
    for (code, kind) in (1..=5u8).zip(kinds) {
        let (mut rx, mut tx) = ([0; RX], [0; TX]);
        let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
        c.connect(&OPTIONS, 0).unwrap();
        flush(&mut c);
        let Err(Error::Refused(refusal)) = hear(&mut c, 1, &[0x20, 2, 0, code]) else {
            panic!()
        };
        assert_eq!((refusal.code(), refusal.kind()), (code, kind));
        assert_eq!(refusal.is_permanent(), kind != Temporary);
        assert!(refusal.to_string().contains(&format!("code {code}")));
        assert_eq!(c.state(), State::Idle);
        assert!(c.transmit().is_empty());
        // The same client connects afresh.
        c.connect(&OPTIONS, 2).unwrap();
        flush(&mut c);
        assert_eq!(
            hear(&mut c, 3, b"\x20\x02\x01\x00").unwrap(),
            ["Connected { session_present: true }"]
        );
    }
}

#[test]
fn nothing_but_connack_answers_a_connect() {
    let (mut rx, mut tx) = ([0; RX], [0; TX]);
    let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    for (bytes, kind) in [(&b"\xd0\x00"[..], 13), (b"\x30\x03\x00\x01a", 3)] {
        c.connect(&OPTIONS, 0).unwrap();
        flush(&mut c);
        let error = Error::Protocol(ProtocolError::UnexpectedPacket(kind));
        assert_eq!(hear(&mut c, 0, bytes), Err(error));
    }
    with_client(|c| {
        let error = Error::Protocol(ProtocolError::UnexpectedPacket(2));
        assert_eq!(hear(c, 0, b"\x20\x02\x00\x00"), Err(error));
    });
}

#[test]
fn subscriptions_and_refused_ones_by_name() {
    with_client(|c| {
        let qos = Qos::AtLeastOnce;
        let id = c
            .subscribe(&[("one", qos), ("two", qos), ("three", qos)])
            .unwrap();
        assert_eq!(c.subscribe(&[("four", qos)]), Err(SendError::InFlight));
        // An answer before the question went out answers nothing.
        assert_eq!(
            flush(c),
            b"\x82\x16\x00\x01\x00\x03one\x01\x00\x03two\x01\x00\x05three\x01"
        );
        assert_eq!(id, 1);
        let events = hear(c, 0, b"\x90\x05\x00\x01\x80\x01\x80\xd0\x00").unwrap();
        assert_eq!(
            events,
            [
                "SubscribeRefused { packet_id: 1, filter: \"one\" }",
                "SubscribeRefused { packet_id: 1, filter: \"three\" }",
                "Subscribed { packet_id: 1 }",
            ]
        );
        assert_eq!(c.subscribe(&[("four", qos)]), Ok(2));
        flush(c);
        let error = Error::Protocol(ProtocolError::SubAck);
        assert_eq!(hear(c, 0, b"\x90\x04\x00\x02\x00\x00"), Err(error));
    });
    with_client(|c| {
        let error = Error::Protocol(ProtocolError::SubAck);
        assert_eq!(hear(c, 0, b"\x90\x03\x00\x01\x00"), Err(error));
    });
}

#[test]
fn messages_come_in_and_are_acknowledged() {
    with_client(|c| {
        let events = hear(c, 0, b"\x30\x05\x00\x01ahi\x33\x07\x00\x01b\x00\x09yo").unwrap();
        assert_eq!(events.len(), 2);
        assert!(events[0].contains("topic: \"a\", payload: [104, 105], qos: AtMostOnce"));
        assert!(events[1].contains("topic: \"b\", payload: [121, 111], qos: AtLeastOnce"));
        assert!(events[1].contains("retain: true"));
        assert_eq!(flush(c), b"\x40\x02\x00\x09");
        let error = Error::Protocol(ProtocolError::Qos2);
        assert_eq!(hear(c, 0, b"\x34\x07\x00\x01b\x00\x09yo"), Err(error));
    });
}

#[test]
fn qos_1_is_kept_until_acknowledged() {
    with_client(|c| {
        assert_eq!(c.publish("t", b"one", Qos::AtLeastOnce), Ok(Some(1)));
        assert_eq!(c.publish("t", b"two", Qos::AtLeastOnce), Ok(Some(2)));
        assert_eq!(
            c.publish("t", b"three", Qos::AtLeastOnce),
            Err(SendError::InFlight)
        );
        assert_eq!(c.publish("t", b"q0", Qos::AtMostOnce), Ok(None));
        let first = b"\x30\x05\x00\x01tq0\x32\x08\x00\x01t\x00\x01one\x32\x08\x00\x01t\x00\x02two";
        assert_eq!(flush(c), first);
        assert_eq!(
            hear(c, 10, b"\x40\x02\x00\x01").unwrap(),
            ["Published { packet_id: 1 }"]
        );
        // Twice the same, or never sent: nothing happens.
        assert_eq!(
            hear(c, 10, b"\x40\x02\x00\x01\x40\x02\x00\x63").unwrap(),
            [""; 0]
        );
        assert_eq!(c.in_flight(), 1);
        // After the time set the other goes out again, marked as a duplicate.
        assert_eq!(hear(c, 19_999, b"\xd0\x00").unwrap(), [""; 0]);
        assert!(flush(c).is_empty());
        hear(c, 20_000, b"\xd0\x00").unwrap();
        assert_eq!(flush(c), b"\x3a\x08\x00\x01t\x00\x02two");
        // And again on the next connection, after the CONNACK.
        c.disconnected();
        c.connect(&OPTIONS, 30_000).unwrap();
        assert_eq!(flush(c), b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x3c\x00\x02id");
        hear(c, 30_000, b"\x20\x02\x00\x00").unwrap();
        assert_eq!(flush(c), b"\x3a\x08\x00\x01t\x00\x02two");
        assert_eq!(
            hear(c, 30_001, b"\x40\x02\x00\x02").unwrap(),
            ["Published { packet_id: 2 }"]
        );
        assert_eq!(c.in_flight(), 0);
    });
}

#[test]
fn a_message_queued_while_offline_is_no_duplicate() {
    let (mut rx, mut tx) = ([0; RX], [0; TX]);
    let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    assert_eq!(
        c.publish("t", b"", Qos::AtMostOnce),
        Err(SendError::NotConnected)
    );
    assert_eq!(
        c.subscribe(&[("t", Qos::AtMostOnce)]),
        Err(SendError::NotConnected)
    );
    assert_eq!(c.publish("t", b"x", Qos::AtLeastOnce), Ok(Some(1)));
    c.connect(&OPTIONS, 0).unwrap();
    flush(&mut c);
    hear(&mut c, 0, b"\x20\x02\x00\x00").unwrap();
    assert_eq!(c.transmit(), b"\x32\x06\x00\x01t\x00\x01x");
    // Half of it out when the stream breaks: the server may have it.
    c.transmitted(4);
    c.disconnected();
    c.connect(&OPTIONS, 0).unwrap();
    flush(&mut c);
    hear(&mut c, 0, b"\x20\x02\x00\x00").unwrap();
    assert_eq!(flush(&mut c), b"\x3a\x06\x00\x01t\x00\x01x");
}

#[test]
fn an_acknowledgement_in_the_middle_of_a_repetition_ends_it_cleanly() {
    with_client(|c| {
        c.publish("t", b"one", Qos::AtLeastOnce).unwrap();
        c.publish("t", b"two", Qos::AtLeastOnce).unwrap();
        flush(c);
        hear(c, 20_000, b"\xd0\x00").unwrap();
        c.transmitted(3);
        assert_eq!(
            hear(c, 20_000, b"\x40\x02\x00\x01").unwrap(),
            ["Published { packet_id: 1 }"]
        );
        c.publish("t", b"q0", Qos::AtMostOnce).unwrap();
        let rest = b"\x01t\x00\x01one\x30\x05\x00\x01tq0\x3a\x08\x00\x01t\x00\x02two";
        assert_eq!(flush(c), rest);
        assert_eq!(c.publish("t", b"3", Qos::AtLeastOnce), Ok(Some(3)));
    });
}

#[test]
fn one_byte_at_a_time_out_is_the_same_stream() {
    with_client(|c| {
        let mut all = Vec::new();
        c.publish("t", b"one", Qos::AtLeastOnce).unwrap();
        c.publish("t", b"q0", Qos::AtMostOnce).unwrap();
        for step in 0.. {
            let Some(&byte) = c.transmit().first() else {
                break;
            };
            all.push(byte);
            c.transmitted(1);
            // More arrives to be sent while packets are half out.
            match step {
                2 => drop(c.publish("t", b"two", Qos::AtLeastOnce).unwrap()),
                9 => drop(c.publish("t", b"q1", Qos::AtMostOnce).unwrap()),
                _ => {}
            }
        }
        let expected = b"\x30\x05\x00\x01tq0\x32\x08\x00\x01t\x00\x01one\x30\x05\x00\x01tq1\x32\x08\x00\x01t\x00\x02two";
        assert_eq!(all, expected);
    });
}

#[test]
fn full_buffers_push_back_and_lose_nothing() {
    with_client(|c| {
        let fill = |c: &mut Client<'_>| while c.publish("t", &[7; 40], Qos::AtMostOnce).is_ok() {};
        fill(c);
        assert_eq!(
            c.publish("t", &[7; 40], Qos::AtMostOnce),
            Err(SendError::NoRoom)
        );
        // Acknowledgements use the room kept for them; then messages wait.
        let mut events = 0;
        for _ in 0..100 {
            c.receive(b"\x32\x07\x00\x01b\x00\x09yo");
            while c.poll(0).unwrap().is_some() {
                events += 1;
            }
        }
        let waiting = RX / 9;
        assert!(c.rx_space().len() < 9);
        let sent = flush(c);
        while c.poll(0).unwrap().is_some() {
            events += 1;
        }
        while !c.transmit().is_empty() {
            flush(c);
            while c.poll(0).unwrap().is_some() {
                events += 1;
            }
        }
        assert!(sent.len() > 40 && events > waiting, "{events}");
        let big = c.publish("t", &[7; TX], Qos::AtMostOnce);
        assert_eq!(big, Err(SendError::TooLong));
    });
}

#[test]
fn keep_alive_pings_and_finds_a_dead_server() {
    with_client(|c| {
        assert_eq!(c.next_deadline(), Some(25_000));
        assert_eq!(c.poll(24_999), Ok(None));
        assert!(c.transmit().is_empty());
        assert_eq!(c.poll(25_000), Ok(None));
        assert_eq!(flush(c), b"\xc0\x00");
        assert_eq!(c.next_deadline(), Some(35_000));
        assert_eq!(hear(c, 34_999, b"\xd0\x00").unwrap(), [""; 0]);
        // Sent last at 25 s.
        assert_eq!(c.next_deadline(), Some(50_000));
        assert_eq!(c.poll(50_000), Ok(None));
        assert_eq!(flush(c), b"\xc0\x00");
        assert_eq!(c.poll(60_000), Ok(None));
        assert_eq!(c.next_deadline(), Some(61_000));
        assert_eq!(c.poll(60_999), Ok(None));
        assert_eq!(c.poll(61_000), Err(Error::TimedOut(Awaiting::PingResp)));
        assert_eq!((c.state(), c.next_deadline()), (State::Idle, None));
    });
}

#[test]
fn sending_alone_does_not_hide_a_dead_server() {
    with_client(|c| {
        let mut dead = None;
        for now in (0..100_000).step_by(1_000) {
            if let Err(error) = c.poll(now) {
                dead = Some((now, error));
                break;
            }
            c.publish("t", b"progress", Qos::AtMostOnce).unwrap();
            flush(c);
        }
        assert_eq!(dead, Some((36_000, Error::TimedOut(Awaiting::PingResp))));
    });
}

#[test]
fn a_long_stall_of_the_caller_kills_nothing() {
    with_client(|c| {
        c.poll(25_000).unwrap();
        flush(c);
        // Flash is erased for a minute; the answer waits in the socket all that time.
        assert_eq!(c.poll(85_000), Ok(None));
        assert_eq!(hear(c, 85_001, b"\xd0\x00").unwrap(), [""; 0]);
        assert_eq!(c.state(), State::Connected);
        assert_eq!(flush(c), b"\xc0\x00");
        assert_eq!(c.next_deadline(), Some(95_001));
    });
}

#[test]
fn a_short_keep_alive_pings_in_half_its_time() {
    let (mut rx, mut tx) = ([0; RX], [0; TX]);
    let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    for (keep_alive_s, ping) in [(30, 15_000), (0, 25_000), (1200, 25_000)] {
        c.connect(
            &ConnectOptions {
                keep_alive_s,
                ..OPTIONS
            },
            0,
        )
        .unwrap();
        flush(&mut c);
        hear(&mut c, 0, b"\x20\x02\x00\x00").unwrap();
        assert_eq!(c.next_deadline(), Some(ping));
        c.disconnected();
    }
}

#[test]
fn silence_after_connect_and_subscribe_is_named() {
    let (mut rx, mut tx) = ([0; RX], [0; TX]);
    let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    c.connect(&OPTIONS, 5).unwrap();
    flush(&mut c);
    assert_eq!(c.next_deadline(), Some(10_005));
    // A trickle is no answer.
    assert_eq!(hear(&mut c, 10_005, b"\x20").unwrap(), [""; 0]);
    assert_eq!(c.poll(11_005), Err(Error::TimedOut(Awaiting::ConnAck)));
    with_client(|c| {
        c.subscribe(&[("t", Qos::AtMostOnce)]).unwrap();
        flush(c);
        assert_eq!(c.next_deadline(), Some(10_000));
        assert_eq!(c.poll(10_000), Ok(None));
        assert_eq!(c.poll(11_000), Err(Error::TimedOut(Awaiting::SubAck)));
    });
}

#[test]
fn good_bye_is_said() {
    with_client(|c| {
        c.publish("t", b"q0", Qos::AtMostOnce).unwrap();
        c.disconnect();
        assert_eq!(c.state(), State::Closing);
        assert_eq!(flush(c), b"\x30\x05\x00\x01tq0\xe0\x00");
        assert_eq!(hear(c, 0, b"\x30\x05\x00\x01ahi").unwrap(), [""; 0]);
        assert_eq!(c.next_deadline(), None);
    });
}

/// A PUBLISH of `size` bytes in all.
fn large(size: usize, first: u8) -> Vec<u8> {
    let remaining = size - 3;
    let mut bytes = vec![
        first,
        (remaining & 127) as u8 | 0x80,
        (remaining >> 7) as u8,
    ];
    bytes.extend(b"\x00\x05topic");
    if first & 2 != 0 {
        bytes.extend([0, 7]);
    }
    bytes.resize(size, 0x30);
    bytes
}

#[test]
fn the_largest_message_fits_and_one_byte_more_is_skipped() {
    for first in [0x30, 0x32] {
        with_client(|c| {
            let events = hear(c, 0, &large(RX, first)).unwrap();
            assert!(events[0].starts_with("Message"), "{events:?}");
            flush(c);
            for size in [RX + 1, RX + 2, 2 * RX, 2 * RX + 1, 5000] {
                let mut bytes = large(size, first);
                bytes.extend(b"\x30\x05\x00\x01ahi");
                let events = hear(c, 0, &bytes).unwrap();
                let skipped =
                    format!("Oversized {{ topic: Some(\"topic\"), size: {size}, limit: {RX} }}");
                assert_eq!(events[0], skipped);
                assert!(events[1].contains("topic: \"a\"") && events.len() == 2);
                let ack: &[u8] = if first == 0x32 {
                    b"\x40\x02\x00\x07"
                } else {
                    b""
                };
                assert_eq!(flush(c), ack);
            }
        });
    }
}

#[test]
fn an_oversized_topic_is_skipped_too() {
    with_client(|c| {
        let mut bytes = vec![0x32, 0x80 | 72, 2, 0, 200];
        bytes.extend([b'x'; 200]);
        bytes.resize(3 + 328, 0);
        bytes.extend(b"\x30\x05\x00\x01ahi");
        let events = hear(c, 0, &bytes).unwrap();
        assert_eq!(
            events[0],
            format!("Oversized {{ topic: None, size: 331, limit: {RX} }}")
        );
        assert!(events[1].contains("topic: \"a\""));
    });
}

#[test]
fn a_payload_of_4096_bytes_fits_the_buffer_of_the_cloud() {
    let (mut rx, mut tx) = ([0; 4352], [0; 768]);
    let mut c = connected(&mut rx, &mut tx);
    let topic = crate::topics::Topic::FirmwareGetReply
        .name(&"k".repeat(20), &"d".repeat(64))
        .unwrap();
    let mut packet = vec![0; 4352];
    let mut write = |room: &mut [u8]| {
        room[..4096].fill(b'x');
        Some(4096)
    };
    let len = wire::encode_publish(&mut packet, &topic, Some(1), &mut write).unwrap();
    c.receive(&packet[..len]);
    let Ok(Some(Event::Message(message))) = c.poll(0) else {
        panic!()
    };
    assert_eq!(
        (message.topic, message.payload.len()),
        (topic.as_str(), 4096)
    );
}

#[test]
fn the_client_is_small() {
    assert!(
        size_of::<Client<'_>>() <= 320,
        "{}",
        size_of::<Client<'_>>()
    );
    let mut small = [0; Client::MIN_RX - 1];
    let mut tx = [0; 64];
    let result = Client::new(&mut small, &mut tx, Config::DEFAULT).connect(&OPTIONS, 0);
    assert_eq!(result, Err(SendError::RxBuffer));
}
