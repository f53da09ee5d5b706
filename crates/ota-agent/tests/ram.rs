//! What a whole download takes in RAM.

mod common;

use common::exec::Time;
use common::net::Net;
use common::*;
use ota_agent::*;
use ota_bootlib::Strategy;
use ota_proto::signon::Credentials;
use ota_verify::{Coding, Policy, Version};

/// Program unit of the flash.
const UNIT: usize = 32;

struct Seven;

impl Rng for Seven {
    fn next_u32(&mut self) -> u32 {
        7
    }
}

#[test]
fn agent_future_and_buffers_fit_eight_kibibytes() {
    let (net, time, control) = (Net::default(), Time::default(), Control::new());
    let (mut slot, mut journal) = (Flash::new(4 * SECTOR), Flash::new(2 * SECTOR));
    let credentials = Credentials::new(PK, DN, "secret", "").unwrap();
    let broker = Broker {
        host: "broker",
        port: 1883,
        security: Security::Plain,
    };
    let version = Version::new("1.0.0").unwrap();
    let policy = Policy::DEFAULT;
    let settings = Settings::new(credentials, broker, version, &policy, &[]);
    let parts = Parts {
        net: &net,
        clock: &time,
        rng: Seven,
        sink: ImageSlot::<_, UNIT>::new(&mut slot, 4096, &policy, &[], Coding::Plain),
        boot: BootJournal::open(&mut journal, Strategy::Swap, ()).unwrap(),
        observer: (),
    };
    // As in every other test here: payloads of 4,096 bytes, URLs of 2,048.
    let (mut rx, mut tx, mut body) = ([0; 4096 + 96], [0; 384], [0; 256]);
    let buffers = rx.len() + tx.len() + body.len();
    let mut agent = Agent::new(settings, parts, &control);
    let device = size_of_val(&agent);
    let future = agent.run(Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    });
    let sum = buffers + device + size_of_val(&future);
    println!(
        "buffers {buffers}, agent {device}, future {}, sum {sum}",
        size_of_val(&future)
    );
    assert!(sum <= 8192, "{sum}");
}
