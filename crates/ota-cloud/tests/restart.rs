//! Servers that come and go.
#![allow(missing_docs)]

use ota_cloud::{Cloud, Config};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Longer than anything may take on a busy machine; nothing is judged by it.
const LIMIT: Duration = Duration::from_secs(25);
const THREADS: usize = 8;
const TIMES: usize = 25;

/// A server that is dropped as soon as it is there ends all the same, and gives its
/// directory free.
#[test]
fn two_hundred_servers_start_and_stop() {
    let (tx, rx) = channel();
    for thread in 0..THREADS {
        let tx = tx.clone();
        std::thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            for n in 0..TIMES {
                let server = Cloud::start(Config::new(dir.path())).unwrap();
                if n % 3 == 1 {
                    // With somebody at the door.
                    let _ = std::net::TcpStream::connect(server.mqtt_addr());
                }
                drop(server);
                tx.send((thread, n)).unwrap();
            }
        });
    }
    drop(tx);
    let mut last = [0; THREADS];
    for _ in 0..THREADS * TIMES {
        match rx.recv_timeout(LIMIT) {
            Ok((thread, n)) => last[thread] = n + 1,
            Err(RecvTimeoutError::Timeout) => panic!("a server hangs; ended: {last:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("a thread panicked; ended: {last:?}"),
        }
    }
}
