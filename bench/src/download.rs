//! RAM of a whole download: the future that runs a device, and its buffers.

use embedded_io_async::{ErrorType, Read, Write};
use ota_agent::{
    Agent, BootJournal, Broker, Buffers, Clock, Connect, ConnectFailure, Control, ImageSlot, Parts,
    Rng, Security, Settings,
};
use ota_bootlib::Strategy;
use ota_flash::sim::SimFlash;
use ota_proto::signon::Credentials;
use ota_verify::{Coding, Policy, Version};

/// What a device without TLS and TCP/IP may take, in bytes.
const LIMIT: usize = 8 * 1024;
/// MQTT packets with payloads of 4,096 bytes; URLs of 2,048 bytes stay in it.
const RX: usize = 4096 + 96;
const TX: usize = 384;
const BODY: usize = 256;
/// A program unit of the MK3060.
const UNIT: usize = 32;

/// A stream that is a handle to somebody else's buffers.
struct Handle;

impl ErrorType for Handle {
    type Error = core::convert::Infallible;
}

impl Read for Handle {
    async fn read(&mut self, _buf: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(0)
    }
}

impl Write for Handle {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        Ok(buf.len())
    }
    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

struct Nowhere;

impl Connect for Nowhere {
    type Stream<'a> = Handle;
    async fn connect(
        &self,
        _host: &str,
        _port: u16,
        _security: Security,
    ) -> Result<Handle, ConnectFailure> {
        Ok(Handle)
    }
    fn has_tls(&self) -> bool {
        false
    }
}

impl Clock for Nowhere {
    fn now_ms(&self) -> u64 {
        0
    }
    async fn sleep_until(&self, _deadline: u64) {}
}

impl Rng for Nowhere {
    fn next_u32(&mut self) -> u32 {
        1
    }
}

/// Prints the parts; false when their sum is above the limit.
pub fn run() -> bool {
    let credentials = Credentials::new("a1TestPK001", "dev001", "secret", "").expect("names");
    let broker = Broker {
        host: "broker",
        port: 1883,
        security: Security::Plain,
    };
    let version = Version::new("1.0.0").expect("version");
    let policy = Policy::DEFAULT;
    let settings = Settings::new(credentials, broker, version, &policy, &[]);
    let (net, clock, control) = (Nowhere, Nowhere, Control::new());
    // Flash itself is no RAM of the device: both views stand for a handle.
    let mut update = SimFlash::<4096, UNIT>::new(16 * 4096);
    let mut journal = SimFlash::<4096, UNIT>::new(2 * 4096);
    let parts = Parts {
        net: &net,
        clock: &clock,
        rng: Nowhere,
        sink: ImageSlot::<_, UNIT>::new(&mut update, 1 << 16, &policy, &[], Coding::Plain),
        boot: BootJournal::open(&mut journal, Strategy::Swap, ()).expect("journal"),
        observer: (),
    };
    let (mut rx, mut tx, mut body) = ([0; RX], [0; TX], [0; BODY]);
    let buffers = Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    };
    let mut agent = Agent::new(settings, parts, &control);
    let device = size_of_val(&agent);
    let future = size_of_val(&agent.run(buffers));
    println!("RAM of a whole download, without TLS and TCP/IP");
    let rows = [
        ("MQTT packets in, URL", RX),
        ("MQTT packets out", TX),
        ("body", BODY),
        ("agent: settings, slot writer, boot journal", device),
        ("future of Agent::run", future),
    ];
    for (name, bytes) in rows {
        println!("  {name:<46} {bytes:>8} B");
    }
    let sum: usize = rows.iter().map(|r| r.1).sum();
    println!("  {:<46} {sum:>8} B (limit {LIMIT})", "sum");
    sum <= LIMIT
}
