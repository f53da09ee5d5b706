//! What a device is told once.

use ota_proto::mqtt;
use ota_proto::session;
use ota_proto::signon::{Credentials, SignMethod};
use ota_verify::{Policy, RsaPublicKey, Version};

use crate::Security;

/// Where the broker is.
#[derive(Debug, Clone, Copy)]
pub struct Broker<'a> {
    /// Name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// Plain or TLS; decides `securemode` as well.
    pub security: Security,
}

/// Settings of an agent.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Who the device is.
    pub credentials: Credentials<'a>,
    /// How it signs on.
    pub method: SignMethod,
    /// Where it signs on.
    pub broker: Broker<'a>,
    /// Version of the running image; reported to the cloud.
    pub version: Version,
    /// What is accepted.
    pub policy: &'a Policy,
    /// Keys that may sign packages.
    pub keys: &'a [RsaPublicKey],
    /// Bytes asked for at a time; 0 for the rest at once. A board whose receiver
    /// is stopped while flash is busy takes a few sectors, so that flash is
    /// erased between two requests and never while bytes come in.
    pub window: u32,
    /// Bytes between two records of how far a download got.
    pub checkpoint: u32,
    /// A download or a connection attempt on which nothing happens for so many
    /// milliseconds is given up and tried again.
    pub stall_ms: u32,
    /// Keep-alive of the broker connection, 30 to 1200 s.
    pub keep_alive_s: u16,
    /// An image on trial that could not report within this time gives up its
    /// turn: [`Outcome::Reboot`](crate::Outcome::Reboot). 0: no limit.
    pub confirm_within_ms: u32,
    /// Timing of the MQTT client.
    pub mqtt: mqtt::Config,
    /// Percent between two progress reports.
    pub percent_step: u8,
    /// Attempts in a row without a new byte before a download is given up.
    pub max_attempts: u8,
}

impl<'a> Settings<'a> {
    /// Settings that suit most devices.
    #[must_use]
    pub const fn new(
        credentials: Credentials<'a>,
        broker: Broker<'a>,
        version: Version,
        policy: &'a Policy,
        keys: &'a [RsaPublicKey],
    ) -> Self {
        Self {
            credentials,
            method: SignMethod::HmacSha256,
            broker,
            version,
            policy,
            keys,
            window: 64 * 1024,
            checkpoint: 64 * 1024,
            stall_ms: 30_000,
            keep_alive_s: 60,
            confirm_within_ms: 600_000,
            mqtt: mqtt::Config::DEFAULT,
            percent_step: 5,
            max_attempts: 10,
        }
    }

    pub(crate) fn session(&self) -> session::Config<'_> {
        session::Config {
            percent_step: self.percent_step,
            max_attempts: self.max_attempts,
            // The client repeats a message first, with DUP.
            reply_ms: self.mqtt.repeat_ms.saturating_add(self.mqtt.answer_ms),
            ..session::Config::new(self.version.as_str())
        }
    }
}

/// Memory of an agent, in bytes. The least that serves every message of the
/// protocol is given with each.
pub struct Buffers<'b> {
    /// Longest MQTT packet: 4,192 for payloads of 4 KiB. The URL of the package in
    /// hand stays in it: while a download is going on, longer messages than fit
    /// beside it are dropped, and the cloud is asked for them afterwards. So URLs
    /// have at most 256 bytes less.
    pub rx: &'b mut [u8],
    /// MQTT packets on their way out: 384, or more with long names.
    pub tx: &'b mut [u8],
    /// Bytes of a download at a time, any length from 256.
    pub body: &'b mut [u8],
}
