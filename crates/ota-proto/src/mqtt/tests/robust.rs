//! Any bytes, in any pieces.

use crate::mqtt::*;
use proptest::prelude::*;
use std::format;
use std::string::String;
use std::vec::Vec;

const OPTIONS: ConnectOptions<'static> = ConnectOptions {
    client_id: "id",
    username: None,
    password: None,
    keep_alive_s: 60,
    clean_session: true,
};

/// Feeds `stream` in pieces; every event or the error, and all that was sent.
fn run(stream: &[u8], pieces: &[usize], direct: bool) -> (Vec<String>, Vec<u8>) {
    let (mut rx, mut tx) = ([0; 96], [0; 160]);
    let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    let (mut seen, mut sent) = (Vec::new(), Vec::new());
    c.connect(&OPTIONS, 0).unwrap();
    let mut sizes = pieces.iter().copied().cycle();
    let mut stream = [b"\x20\x02\x00\x00", stream].concat();
    loop {
        while !c.transmit().is_empty() {
            let chunk = c.transmit().to_vec();
            sent.extend(&chunk);
            c.transmitted(chunk.len());
        }
        let want = sizes.next().unwrap().max(1).min(stream.len());
        let taken = if direct {
            let space = c.rx_space();
            let count = want.min(space.len());
            space[..count].copy_from_slice(&stream[..count]);
            c.received(count);
            count
        } else {
            c.receive(&stream[..want])
        };
        stream.drain(..taken);
        let mut events = 0;
        loop {
            match c.poll(1) {
                Ok(None) => break,
                Ok(Some(event)) => seen.push(format!("{event:?}")),
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return (seen, sent);
                }
            }
            events += 1;
            if seen.len() == 1 {
                c.subscribe(&[("a", Qos::AtLeastOnce), ("b", Qos::AtMostOnce)])
                    .unwrap();
                c.publish("t", b"p", Qos::AtLeastOnce).unwrap();
            }
        }
        if stream.is_empty() && events == 0 && c.transmit().is_empty() {
            return (seen, sent);
        }
        assert!(taken > 0 || events > 0 || !c.transmit().is_empty(), "stuck");
    }
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let publish = (
        0u8..2,
        "[a-z/]{1,20}",
        proptest::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(qos, topic, payload)| {
            let mut buf = std::vec![0; 400];
            let mut write = |room: &mut [u8]| {
                room[..payload.len()].copy_from_slice(&payload);
                Some(payload.len())
            };
            let id = (qos == 1).then_some(77);
            let len = wire::encode_publish(&mut buf, &topic, id, &mut write).unwrap();
            buf.truncate(len);
            buf
        });
    prop_oneof![
        4 => publish,
        1 => Just(b"\xd0\x00".to_vec()),
        1 => Just(b"\x40\x02\x00\x02".to_vec()),
        1 => Just(b"\x40\x02\x00\x09".to_vec()),
    ]
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        packets in proptest::collection::vec(packet(), 0..12),
        pieces in proptest::collection::vec(1usize..200, 1..8),
        direct: bool,
    ) {
        let stream = [b"\x90\x04\x00\x01\x01\x80".to_vec(), packets.concat()].concat();
        // The client must have sent SUBSCRIBE before it is answered: first the CONNACK alone.
        let whole = run(&stream, &[4, 64], false);
        let mut cut = std::vec![4];
        cut.extend(pieces);
        let (seen, sent) = run(&stream, &cut, direct);
        prop_assert_eq!(seen, whole.0);
        // PUBACKs and the rest may interleave differently, but nothing is lost.
        let sorted = |mut v: Vec<u8>| { v.sort_unstable(); v };
        prop_assert_eq!(sorted(sent), sorted(whole.1));
    }

    #[test]
    fn any_bytes_end_in_events_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        pieces in proptest::collection::vec(1usize..64, 1..6),
    ) {
        run(&bytes, &pieces, true);
    }

    #[test]
    fn damaged_streams_end_in_events_or_an_error(
        packets in proptest::collection::vec(packet(), 1..8),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        pieces in proptest::collection::vec(1usize..64, 1..6),
    ) {
        let mut stream = packets.concat();
        for (at, value) in damage {
            let at = at.index(stream.len());
            stream[at] = value;
        }
        run(&stream, &pieces, true);
    }

    #[test]
    fn any_calls_in_any_order(calls in proptest::collection::vec((0u8..10, any::<u16>()), 0..200)) {
        let (mut rx, mut tx) = ([0; 64], [0; 128]);
        let mut c = Client::new(&mut rx, &mut tx, Config::DEFAULT);
        let mut now = 0;
        for (call, value) in calls {
            let size = usize::from(value);
            match call {
                0 => drop(c.connect(&OPTIONS, now)),
                1 => { c.receive(b"\x20\x02\x00\x00"); }
                2 => drop(c.publish("t", &[0; 99][..size % 99], Qos::AtLeastOnce)),
                3 => drop(c.publish("t", &[0; 99][..size % 99], Qos::AtMostOnce)),
                4 => drop(c.subscribe(&[("t", Qos::AtLeastOnce)])),
                5 => c.transmitted(size % 150),
                6 => { c.receive(&[0x40, 2, 0, (size % 8) as u8]); }
                7 => { c.receive(&[0x32, 5, 0, 1, b'a', 0, 1]); }
                8 => c.received(size),
                _ => { now += u64::from(value); }
            }
            let _ = c.poll(now);
            prop_assert!(c.in_flight() <= 2);
            if value == 7 { c.disconnect(); }
        }
    }
}
