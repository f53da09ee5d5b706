//! A whole device on a host: `host_device FLASH HOST PORT PK DN DS`, without TLS.
//! FLASH is a file of 132 sectors (made blank if there is none) with an image of
//! `ota image pack` at its start. A real one would jump where this one prints.
use embedded_io_adapters::tokio_1::FromTokio;
use ota_agent::*;
use ota_bootlib::{Config, Decision, ImageCheck, Partitions, Strategy, start_up};
use ota_flash::sim::FileFlash;
use ota_flash::{PartitionEntry, PartitionId, PartitionTable, Permissions};
use ota_proto::signon::Credentials;
use ota_verify::{Coding, NorReader, Policy, read_descriptor};
use std::{cell::RefCell, error::Error, time::Duration};
use tokio::{net::TcpStream, time::Instant};

const SLOT: u32 = 64 * 4096;
const RW: Permissions = Permissions::READ_WRITE;
const TABLE: PartitionTable<3> = PartitionTable::new(
    132 * 4096,
    4096,
    [
        PartitionEntry::new(PartitionId::Application, 0, SLOT, RW),
        PartitionEntry::new(PartitionId::OtaTemp, SLOT, SLOT + 4096, RW), // and the spare sector
        PartitionEntry::new(PartitionId::RecoveryBackPara, 129 * 4096, 2 * 4096, RW),
    ],
);

struct Host(Instant);
impl Connect for Host {
    type Stream<'a> = FromTokio<TcpStream>;
    async fn connect<'a>(
        &'a self,
        host: &str,
        port: u16,
        _: Security,
    ) -> Result<Self::Stream<'a>, ConnectFailure> {
        let stream = TcpStream::connect((host, port)).await;
        stream.map(FromTokio::new).map_err(|_| ConnectFailure::Connect)
    }
    fn has_tls(&self) -> bool {
        false
    }
}
impl Clock for Host {
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
    async fn sleep_until(&self, deadline: u64) {
        let wait = deadline.saturating_sub(self.now_ms()).min(1 << 35);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}
impl Rng for Host {
    fn next_u32(&mut self) -> u32 {
        getrandom::u32().unwrap_or(1)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, flash, host, port, pk, dn, ds] = &args[..] else {
        return Err("host_device FLASH HOST PORT PK DN DS".into());
    };
    let flash = RefCell::new(FileFlash::<4096, 32>::open(flash, TABLE.flash_size())?);
    let active = TABLE.open(&flash, PartitionId::Application)?;
    let update = TABLE.open(&flash, PartitionId::OtaTemp)?;
    let journal = TABLE.open(&flash, PartitionId::RecoveryBackPara)?;
    let (policy, keys, coding) = (&Policy::DEFAULT, &[], Coding::Plain);
    loop {
        // The boot loader.
        let mut parts = Partitions { active, update, journal, mailbox: None };
        let mut check = ImageCheck { policy, keys, coding };
        let mut buf = [0; 4096];
        match start_up(&mut parts, &mut check, &mut (), &Config::default(), &mut buf) {
            Decision::Start { trial, .. } => println!("start, on trial: {trial}"),
            Decision::Recovery { reason } => return Err(format!("no image: {reason:?}").into()),
        }
        // The app.
        let own = read_descriptor(&mut NorReader(&mut active.read_only()), coding);
        let version = own.map_err(|e| e.to_string())?.ok_or("no version")?.version;
        let broker = Broker { host, port: port.parse()?, security: Security::Plain };
        let credentials = Credentials::new(pk, dn, ds, "")?;
        let settings = Settings::new(credentials, broker, version, policy, keys);
        let clock = Host(Instant::now());
        let parts = Parts {
            net: &clock,
            clock: &clock,
            rng: Host(clock.0),
            sink: ImageSlot::<_, 256>::new(update, SLOT, policy, keys, coding),
            boot: BootJournal::open(journal, Strategy::Swap, ())?,
            observer: |event: Event<'_>| println!("{event:?}"),
        };
        let (mut rx, mut tx, mut body) = ([0; 4352], [0; 512], [0; 1024]);
        let buffers = Buffers { rx: &mut rx, tx: &mut tx, body: &mut body };
        Agent::new(settings, parts, &Control::new()).run(buffers).await;
        println!("restart");
    }
}
