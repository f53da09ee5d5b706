//! The MQTT client against mosquitto, a broker that this project did not write.
//! `cargo test -p ota-proto --features peers`; needs `mosquitto` on the path.
#![cfg(feature = "peers")]
#![allow(missing_docs)]

use ota_proto::mqtt::{Client, Config, ConnectOptions, Error, Event, Qos, Refusal, State};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Broker {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Broker {
    /// Starts one with `extra` lines of configuration; `DIR` in them stands for its folder.
    fn start(name: &str, extra: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("uota-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let folder = dir.to_str().unwrap();
        for (file, text) in files {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // As root mosquitto would become another user, who cannot read the folder.
        let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
        let text = format!(
            "listener {port} 127.0.0.1\nuser {user}\n{}\n",
            extra.replace("DIR", folder)
        );
        std::fs::write(dir.join("conf"), text).unwrap();
        let path = format!(
            "{}:/usr/sbin:/usr/local/sbin",
            std::env::var("PATH").unwrap_or_default()
        );
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(dir.join("conf"))
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("mosquitto cannot be started ({error})\nhelp: cargo xtask setup --yes, or: apt install mosquitto")
            });
        let mut broker = Self { child, port, dir };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                broker.child.try_wait().unwrap().is_none(),
                "mosquitto ended at once"
            );
            assert!(Instant::now() < end, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        broker
    }

    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        stream
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Moves bytes and time until `done` accepts an event.
fn drive(
    client: &mut Client<'_>,
    stream: &mut TcpStream,
    clock: Instant,
    mut done: impl FnMut(Event<'_>) -> bool,
) -> Result<(), Error> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        while !client.transmit().is_empty() {
            let sent = stream.write(client.transmit()).unwrap();
            client.transmitted(sent);
        }
        let space = client.rx_space();
        if !space.is_empty() {
            match stream.read(space) {
                Ok(0) => panic!("mosquitto closed the connection"),
                Ok(count) => client.received(count),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("{e}"),
            }
        }
        while let Some(event) = client.poll(clock.elapsed().as_millis() as u64)? {
            if done(event) {
                return Ok(());
            }
        }
    }
    panic!("mosquitto did not answer as expected");
}

fn options(client_id: &str) -> ConnectOptions<'_> {
    ConnectOptions {
        client_id,
        username: Some("dev001&a1PK"),
        password: Some(b"secret"),
        keep_alive_s: 60,
        clean_session: false,
    }
}

#[test]
fn a_message_goes_round_in_both_qualities() {
    let broker = Broker::start("round", "allow_anonymous true", &[]);
    let (mut rx, mut tx) = ([0; 4352], [0; 4800]);
    let mut client = Client::new(
        &mut rx,
        &mut tx,
        Config {
            ping_after_ms: 200,
            ..Config::DEFAULT
        },
    );
    let clock = Instant::now();
    let mut stream = broker.open();
    client.connect(&options("round"), 0).unwrap();
    drive(&mut client, &mut stream, clock, |e| {
        e == Event::Connected {
            session_present: false,
        }
    })
    .unwrap();
    let upgrade = "/ota/device/upgrade/a1PK/dev001";
    let id = client
        .subscribe(&[(upgrade, Qos::AtLeastOnce), ("other/#", Qos::AtMostOnce)])
        .unwrap();
    drive(&mut client, &mut stream, clock, |e| {
        e == Event::Subscribed { packet_id: id }
    })
    .unwrap();
    for (size, qos) in [
        (0, Qos::AtMostOnce),
        (4096, Qos::AtMostOnce),
        (4096, Qos::AtLeastOnce),
    ] {
        let body: Vec<u8> = (0..size).map(|i| ((i * 7) >> 3) as u8).collect();
        let id = client.publish(upgrade, &body, qos).unwrap();
        let (mut back, mut acknowledged) = (false, id.is_none());
        drive(&mut client, &mut stream, clock, |e| {
            match e {
                Event::Message(m) => {
                    assert_eq!((m.topic, m.payload, m.qos), (upgrade, &body[..], qos));
                    back = true;
                }
                Event::Published { packet_id } => acknowledged = Some(packet_id) == id,
                _ => {}
            }
            back && acknowledged
        })
        .unwrap();
    }
    // Pings are answered while nothing else goes on.
    for _ in 0..3 {
        let before = client.next_deadline();
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(client.poll(clock.elapsed().as_millis() as u64), Ok(None));
        let _ = stream.write(client.transmit()).unwrap();
        client.transmitted(2);
        let mut answer = [0; 2];
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xd0, 0]);
        assert_eq!(client.receive(&answer), 2);
        assert_eq!(client.poll(clock.elapsed().as_millis() as u64), Ok(None));
        assert_ne!(client.next_deadline(), before);
    }
    client.disconnect();
    stream.write_all(client.transmit()).unwrap();
    let sent = client.transmit().len();
    client.transmitted(sent);
    assert_eq!(
        stream.read(&mut [0; 1]).unwrap(),
        0,
        "mosquitto closes after DISCONNECT"
    );
}

#[test]
fn an_oversized_message_does_not_end_the_connection() {
    let broker = Broker::start("large", "allow_anonymous true", &[]);
    let (mut rx, mut tx) = ([0; 256], [0; 256]);
    let (mut rx2, mut tx2) = (vec![0; 64], vec![0; 70_000]);
    let clock = Instant::now();
    let mut client = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    let mut sender = Client::new(&mut rx2, &mut tx2, Config::DEFAULT);
    let (mut a, mut b) = (broker.open(), broker.open());
    client.connect(&options("small"), 0).unwrap();
    sender.connect(&options("large"), 0).unwrap();
    let connected = |e: Event<'_>| matches!(e, Event::Connected { .. });
    drive(&mut client, &mut a, clock, connected).unwrap();
    drive(&mut sender, &mut b, clock, connected).unwrap();
    client.subscribe(&[("t", Qos::AtLeastOnce)]).unwrap();
    drive(&mut client, &mut a, clock, |e| {
        matches!(e, Event::Subscribed { .. })
    })
    .unwrap();
    for payload in [&[b'x'; 60_000][..], b"after"] {
        sender.publish("t", payload, Qos::AtLeastOnce).unwrap();
        drive(&mut sender, &mut b, clock, |e| {
            matches!(e, Event::Published { .. })
        })
        .unwrap();
    }
    let mut skipped = None;
    drive(&mut client, &mut a, clock, |e| match e {
        Event::Oversized { topic, size, .. } => {
            skipped = Some((topic == Some("t"), size));
            false
        }
        Event::Message(m) => m.payload == b"after",
        _ => false,
    })
    .unwrap();
    assert_eq!(skipped, Some((true, 60_000 + 5 + 4)));
}

#[test]
fn a_message_lost_with_the_connection_is_sent_again_and_the_session_is_kept() {
    let broker = Broker::start("again", "allow_anonymous true", &[]);
    let (mut rx, mut tx) = ([0; 512], [0; 512]);
    let clock = Instant::now();
    let mut client = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    let mut stream = broker.open();
    client.connect(&options("again"), 0).unwrap();
    drive(&mut client, &mut stream, clock, |e| {
        matches!(e, Event::Connected { .. })
    })
    .unwrap();
    client.subscribe(&[("t", Qos::AtLeastOnce)]).unwrap();
    drive(&mut client, &mut stream, clock, |e| {
        matches!(e, Event::Subscribed { .. })
    })
    .unwrap();
    // "Sent", but the network swallowed it.
    let id = client
        .publish("t", b"report", Qos::AtLeastOnce)
        .unwrap()
        .unwrap();
    let lost = client.transmit().len();
    client.transmitted(lost);
    drop(stream);
    client.disconnected();
    let mut stream = broker.open();
    client
        .connect(&options("again"), clock.elapsed().as_millis() as u64)
        .unwrap();
    drive(&mut client, &mut stream, clock, |e| {
        e == Event::Connected {
            session_present: true,
        }
    })
    .unwrap();
    assert_eq!(client.transmit()[0], 0x3a);
    let (mut back, mut acknowledged) = (false, false);
    drive(&mut client, &mut stream, clock, |e| {
        back |= matches!(e, Event::Message(m) if m.payload == b"report");
        acknowledged |= e == Event::Published { packet_id: id };
        back && acknowledged
    })
    .unwrap();
    assert_eq!(client.in_flight(), 0);
}

#[test]
fn refusals_of_a_real_broker() {
    let acl = "user dev001&a1PK\ntopic readwrite good\n";
    let broker = Broker::start("strict", "allow_anonymous false", &[]);
    let (mut rx, mut tx) = ([0; 256], [0; 256]);
    let mut client = Client::new(&mut rx, &mut tx, Config::DEFAULT);
    let mut stream = broker.open();
    client
        .connect(
            &ConnectOptions {
                username: None,
                password: None,
                ..options("who")
            },
            0,
        )
        .unwrap();
    let refused = drive(&mut client, &mut stream, Instant::now(), |_| false);
    let Err(Error::Refused(refusal @ (Refusal::NotAuthorized | Refusal::BadCredentials))) = refused
    else {
        panic!("{refused:?}")
    };
    assert!(refusal.is_permanent());
    assert_eq!(client.state(), State::Idle);
    // MQTT 3.1.1 asks for a clean session with an empty identifier; mosquitto answers 2.
    let open = Broker::start(
        "open",
        "allow_anonymous true\nacl_file DIR/acl",
        &[("acl", acl)],
    );
    let mut stream = open.open();
    client.connect(&options(""), 0).unwrap();
    let refused = drive(&mut client, &mut stream, Instant::now(), |_| false);
    assert_eq!(refused, Err(Error::Refused(Refusal::IdentifierRejected)));
    let mut stream = open.open();
    client.connect(&options("acl"), 0).unwrap();
    drive(&mut client, &mut stream, Instant::now(), |e| {
        matches!(e, Event::Connected { .. })
    })
    .unwrap();
    client
        .subscribe(&[("good", Qos::AtLeastOnce), ("a/#/b", Qos::AtLeastOnce)])
        .map(drop)
        .unwrap();
    // A malformed filter ends the connection in mosquitto: the caller sees the stream close.
    let sent = client.transmit().to_vec();
    stream.write_all(&sent).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)));
}
