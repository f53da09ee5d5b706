//! A line that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Forwards TCP connections to another address while it is open.
#[derive(Clone)]
pub struct Proxy {
    addr: SocketAddr,
    open: Arc<AtomicBool>,
    lines: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// A line to `target`, open.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Self {
            addr: listener.local_addr().expect("its address"),
            open: Arc::new(AtomicBool::new(true)),
            lines: Arc::default(),
        };
        let shared = proxy.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if !shared.open.load(Ordering::SeqCst) {
                    continue; // dropped: the other end sees a closed connection
                }
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                shared.pump(&near, &far);
                shared.pump(&far, &near);
            }
        });
        proxy
    }

    fn pump(&self, from: &TcpStream, to: &TcpStream) {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        if let Ok(line) = from.try_clone() {
            self.lines.lock().expect("lines").push(line);
        }
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                if to.write_all(&buf[..n]).is_err() {
                    break;
                }
            }
            // Either end may be gone already.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens it, or closes it and ends all connections.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
        if !open {
            for line in self.lines.lock().expect("lines").drain(..) {
                let _ = line.shutdown(Shutdown::Both);
            }
        }
    }
}
