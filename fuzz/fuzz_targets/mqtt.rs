//! A hostile server: whatever it sends, the client ends in events or in an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_proto::mqtt::{Client, Config, ConnectOptions, Qos, wire};
use ota_proto::signon::server::{ClientId, parse_username};
use ota_proto::topics::Topic;

fuzz_target!(|data: &[u8]| {
    let _ = wire::decode(data);
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = ClientId::parse(text);
        let _ = parse_username(text);
        let _ = Topic::parse(text);
    }
    let Some((&pieces, mut stream)) = data.split_first() else {
        return;
    };
    let piece = usize::from(pieces).max(1);
    let (mut rx, mut tx) = ([0; 128], [0; 160]);
    let mut client = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    let options = ConnectOptions {
        client_id: "id",
        username: None,
        password: None,
        keep_alive_s: 60,
        clean_session: true,
    };
    client
        .connect(&options, 0)
        .expect("an empty buffer takes a CONNECT");
    client.receive(&[0x20, 2, 0, 0]);
    let mut now = 0;
    while !stream.is_empty() {
        now += 100;
        let taken = client.receive(&stream[..piece.min(stream.len())]);
        stream = &stream[taken..];
        let mut events = 0;
        loop {
            match client.poll(now) {
                Ok(None) => break,
                Ok(Some(_)) => events += 1,
                Err(_) => return,
            }
        }
        let _ = client.subscribe(&[("a", Qos::AtLeastOnce), ("b", Qos::AtMostOnce)]);
        let _ = client.publish("t", b"payload", Qos::AtLeastOnce);
        let out = client.transmit().len();
        client.transmitted(out);
        assert!(taken > 0 || events > 0 || out > 0, "stuck");
    }
});
