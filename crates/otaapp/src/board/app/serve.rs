//! The agent, and what it works on.

use super::{App, CONFIRM_WITHIN_MS, POLICY, USABLE, open};
use crate::board::hardware::Millis;
use crate::board::log::{Level, Reporter};
use crate::board::rng::XorShift;
use crate::board::saved::Saved;
use boot2::{KEYS, capability};
use core::future::poll_fn;
use core::task::Poll;
use ota_agent::{
    Agent, Broker, Buffers, Clock, Decoders, Event, Outcome, PackageSlot, Parts, PatchSlot,
    Security, Settings,
};
use ota_flash::PartitionId;
use ota_proto::signon::{Credentials, Endpoint, SecureMode};
use ota_verify::Coding;

/// Region of the platform when no broker is named.
const REGION: &str = "cn-shanghai";
/// Erased ahead and asked for at a time, and recorded then: no byte of a
/// download is in flight while flash erases.
const WINDOW: u32 = 64 * 1024;

impl App<'_> {
    /// The agent, whenever there is a network and somebody to sign on.
    pub(super) async fn work(&self, buffers: Buffers<'_>, decoders: &mut Decoders, seed: u64) {
        let Buffers { rx, tx, body } = buffers;
        loop {
            poll_fn(|_| {
                if self.had_address.get() && self.saved.borrow().has_credentials() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            let saved = self.saved.borrow().clone();
            let Some(outcome) = self
                .serve(&saved, Buffers { rx, tx, body }, decoders, seed)
                .await
            else {
                // Nothing to do until something else is typed.
                self.wait_for_change(&saved).await;
                continue;
            };
            match outcome {
                Outcome::Reboot => return,
                Outcome::Stopped => {}
            }
        }
    }

    async fn wait_for_change(&self, saved: &Saved) {
        poll_fn(|_| {
            if *self.saved.borrow() == *saved {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    async fn serve(
        &self,
        saved: &Saved,
        buffers: Buffers<'_>,
        decoders: &mut Decoders,
        seed: u64,
    ) -> Option<Outcome> {
        let credentials = Credentials::new(
            &saved.product_key,
            &saved.device_name,
            &saved.device_secret,
            &saved.product_secret,
        )
        .map_err(|e| self.log(Level::Error, format_args!("{e}")))
        .ok()?;
        let endpoint = Endpoint::new(&credentials, REGION).ok()?;
        let (host, port) = match saved.broker.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (saved.broker.as_str(), Some(SecureMode::Tcp.port())),
        };
        let host = if host.is_empty() {
            endpoint.host()
        } else {
            host
        };
        let Some(port) = port else {
            self.log(Level::Error, format_args!("broker: port is no number"));
            return None;
        };
        let (Some(version), Some(boot)) = (self.version, self.journal()) else {
            self.cannot_update();
            return None;
        };
        let broker = Broker {
            host,
            port,
            security: Security::Plain,
        };
        let settings = Settings {
            window: WINDOW,
            checkpoint: WINDOW,
            confirm_within_ms: CONFIRM_WITHIN_MS,
            ..Settings::new(credentials, broker, version, &POLICY, &KEYS)
        };
        let mut reporter = Reporter::default();
        let observer = |event: Event<'_>| {
            if let Event::Confirmed = event {
                self.confirmed.set(true);
                self.trial_ends.set(None);
            }
            reporter.event(event, &mut { self.console });
        };
        let slot = open(self.flash, PartitionId::OtaTemp)?;
        let active = open(self.flash, PartitionId::Application)?;
        let slot = PatchSlot::<_, 256>::new(slot, USABLE, &POLICY, &KEYS, Coding::MK3060)
            .take_diffs(self.loader_can(capability::PATCH_SWAP));
        let parts = Parts {
            net: self.net,
            clock: &Millis,
            rng: XorShift::new(seed ^ Millis.now_ms() << 32),
            sink: PackageSlot::new(slot, active, decoders),
            boot,
            observer,
        };
        let mut agent = Agent::new(settings, parts, &self.control);
        self.running.set(true);
        let outcome = agent.run(buffers).await;
        self.running.set(false);
        Some(outcome)
    }
}
