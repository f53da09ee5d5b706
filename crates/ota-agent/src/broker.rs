//! The broker's loop: connect, talk, wait, again.

use core::pin::{Pin, pin};

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};
use ota_proto::backoff::{Backoff, Ended};
use ota_proto::mqtt::{self, Client, PacketId, Qos};
use ota_proto::session::{Received, Report};
use ota_proto::signon::{SecureMode, SignOn};
use ota_proto::topics::Topic;

use crate::agent::{Outcome, Running};
use crate::event::{Event, Observer};
use crate::judge::Rules;
use crate::seams::{BootRequest, Clock, Connect, ResumeStore, Rng, UpdateSink, VerifyImage};
use crate::{ConnectFailure, Security};

/// Reports on their way: packet identifier and the session's token.
type Sent = [Option<(PacketId, u16)>; 2];

/// The connection while it stands.
pub(crate) struct Line<'l, 'c, 'b> {
    client: &'l mut Client<'b>,
    sent: &'c mut Sent,
}

/// Room to show a published payload: a report has at most 256 bytes.
const SHOWN: usize = 256;

impl Line<'_, '_, '_> {
    pub(crate) fn subscribe<C, K, R, S, B, O>(&mut self, run: &Running<'_, '_, C, K, R, S, B, O>) {
        let credentials = &run.settings.credentials;
        let name = |topic: Topic| topic.name(credentials.product_key(), credentials.device_name());
        if let (Ok(upgrade), Ok(reply)) = (name(Topic::Upgrade), name(Topic::FirmwareGetReply)) {
            let filters = [
                (upgrade.as_str(), Qos::AtLeastOnce),
                (reply.as_str(), Qos::AtMostOnce),
            ];
            // Refused only while another SUBSCRIBE waits, which one connection never sees.
            let _ = self.client.subscribe(&filters);
        }
    }

    pub(crate) fn publish<C, K, R, S, B, O: Observer>(
        &mut self,
        run: &Running<'_, '_, C, K, R, S, B, O>,
        report: Report,
        token: u16,
    ) {
        let topic = match report {
            Report::Inform => Topic::Inform,
            Report::Percent(_) | Report::Failure(_) => Topic::Progress,
            Report::FirmwareGet => Topic::FirmwareGet,
        };
        let credentials = &run.settings.credentials;
        let Ok(topic) = topic.name(credentials.product_key(), credentials.device_name()) else {
            return;
        };
        let qos = if report.wants_ack() {
            Qos::AtLeastOnce
        } else {
            Qos::AtMostOnce
        };
        let mut shown = [0; SHOWN];
        let mut len = 0;
        let queued = self.client.publish_with(topic.as_str(), qos, &mut |room| {
            len = run.session.borrow().write(report, token, room).ok()?;
            let copy = len.min(SHOWN);
            shown.get_mut(..copy)?.copy_from_slice(room.get(..copy)?);
            Some(len)
        });
        // A report that finds no room is given out again when its time is over.
        let Ok(packet) = queued else { return };
        let payload = shown.get(..len.min(SHOWN)).unwrap_or_default();
        run.device.borrow_mut().observer.event(Event::Published {
            topic: topic.as_str(),
            payload: core::str::from_utf8(payload).unwrap_or_default(),
        });
        if let Some(packet) = packet {
            // The older one is no longer waited for.
            self.sent.swap(0, 1);
            self.sent[0] = Some((packet, token));
        }
    }
}

/// How a connection ended.
enum End {
    Outcome(Outcome),
    /// Closed by the other side, or broken.
    Closed,
    Error(mqtt::Error),
}

impl<C, K, R, S, B, O> Running<'_, '_, C, K, R, S, B, O>
where
    C: Connect,
    K: Clock,
    R: Rng,
    S: UpdateSink + VerifyImage,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    /// Keeps a connection to the broker. Ends when the device is to restart.
    pub(crate) async fn broker(&self, client: &mut Client<'_>) -> Outcome {
        let mut backoff = Backoff::new();
        loop {
            let ended = match self.connection(client).await {
                Ok(ended) => ended,
                Err(outcome) => return outcome,
            };
            let random = self.device.borrow_mut().rng.next_u32();
            let wait = backoff.next(ended, random);
            self.observe(Event::Waiting {
                ms: wait.ms,
                taken_over: wait.taken_over,
            });
            let until = self.clock.now_ms().saturating_add(u64::from(wait.ms));
            if let Err(outcome) = self.meanwhile(pin!(self.clock.sleep_until(until))).await {
                return outcome;
            }
        }
    }

    /// One connection from its beginning to its end.
    async fn connection(&self, client: &mut Client<'_>) -> Result<Ended, Outcome> {
        let broker = &self.settings.broker;
        self.observe(Event::Connecting {
            host: broker.host,
            port: broker.port,
        });
        let connect = pin!(self.net.connect(broker.host, broker.port, broker.security));
        let connected = pin!(self.within_stall(connect));
        let stream = match self.meanwhile(connected).await? {
            Some(Ok(stream)) => stream,
            Some(Err(failure)) => {
                self.observe(Event::Unreachable(failure));
                return Ok(Ended::NotConnected);
            }
            None => {
                self.observe(Event::Unreachable(ConnectFailure::Connect));
                return Ok(Ended::NotConnected);
            }
        };
        if !self.sign_on(client) {
            self.observe(Event::Disconnected(None));
            return Ok(Ended::NotConnected);
        }
        let mut accepted = None;
        let end = self.talk(client, stream, &mut accepted).await;
        client.disconnected();
        // The session gives out again what was not acknowledged.
        client.drop_unacknowledged();
        let now = self.clock.now_ms();
        self.session.borrow_mut().disconnected(now);
        let held = accepted.map(|at| now.saturating_sub(at));
        let error = match end {
            End::Outcome(outcome) => return Err(outcome),
            End::Closed => None,
            End::Error(error) => Some(error),
        };
        self.observe(Event::Disconnected(error));
        Ok(match (held, error) {
            (None, _) => Ended::NotConnected,
            (Some(held_ms), None) => Ended::ByPeer { held_ms },
            (Some(held_ms), Some(_)) => Ended::Otherwise { held_ms },
        })
    }

    /// Queues CONNECT.
    fn sign_on(&self, client: &mut Client<'_>) -> bool {
        let mode = match self.settings.broker.security {
            Security::Plain => SecureMode::Tcp,
            Security::Tls => SecureMode::Tls,
        };
        let sign_on = SignOn::new(&self.settings.credentials, self.settings.method, mode);
        sign_on.is_ok_and(|s| {
            let options = s.connect_options(self.settings.keep_alive_s, true);
            client.connect(&options, self.clock.now_ms()).is_ok()
        })
    }

    /// Reads, writes and serves until the connection ends.
    async fn talk(
        &self,
        client: &mut Client<'_>,
        mut stream: C::Stream<'_>,
        accepted: &mut Option<u64>,
    ) -> End {
        let mut sent: Sent = [None; 2];
        loop {
            if let Err(error) = self.listen(client, &mut sent, accepted) {
                return End::Error(error);
            }
            let mut line = Line {
                client,
                sent: &mut sent,
            };
            if let Some(outcome) = self.serve(Some(&mut line)) {
                return End::Outcome(outcome);
            }
            if !client.transmit().is_empty() {
                let written = self
                    .within_stall(pin!(stream.write(client.transmit())))
                    .await;
                let Some(Ok(written)) = written else {
                    return End::Closed;
                };
                client.transmitted(written);
                if client.transmit().is_empty()
                    && !matches!(self.within_stall(pin!(stream.flush())).await, Some(Ok(())))
                {
                    return End::Closed;
                }
                continue;
            }
            let timer = self
                .clock
                .sleep_until(self.deadline(client.next_deadline()));
            let change = self.control.notify.wait();
            let room = client.rx_space();
            if room.is_empty() {
                let _ = select(change, timer).await;
                continue;
            }
            match select3(stream.read(room), change, timer).await {
                Either3::First(Ok(0) | Err(_)) => return End::Closed,
                Either3::First(Ok(read)) => client.received(read),
                _ => {}
            }
        }
    }

    /// Takes in what has come.
    fn listen(
        &self,
        client: &mut Client<'_>,
        sent: &mut Sent,
        accepted: &mut Option<u64>,
    ) -> Result<(), mqtt::Error> {
        let now = self.clock.now_ms();
        while let Some(event) = client.poll(now)? {
            match event {
                mqtt::Event::Connected { .. } => {
                    *accepted = Some(now);
                    self.observe(Event::Connected);
                    self.session.borrow_mut().connected(now);
                }
                mqtt::Event::Published { packet_id } => {
                    for slot in sent.iter_mut() {
                        if let Some((_, token)) = slot.take_if(|s| s.0 == packet_id) {
                            self.observe(Event::Acknowledged);
                            self.session.borrow_mut().acknowledged(now, token);
                        }
                    }
                }
                mqtt::Event::Message(message) => {
                    self.message(now, message.topic, message.payload);
                }
                mqtt::Event::SubscribeRefused { filter, .. } => {
                    self.observe(Event::SubscribeRefused(filter));
                }
                mqtt::Event::Oversized { size, limit, .. } => {
                    self.observe(Event::Oversized { size, limit });
                }
                mqtt::Event::Subscribed { .. } => {}
            }
        }
        Ok(())
    }

    fn message(&self, now: u64, topic: &str, payload: &[u8]) {
        let credentials = &self.settings.credentials;
        let (pk, dn) = (credentials.product_key(), credentials.device_name());
        let Some(ours) = Topic::of_device(topic, pk, dn) else {
            return;
        };
        let device = &mut *self.device.borrow_mut();
        device.observer.event(Event::Message { topic, payload });
        let mut rules = Rules {
            settings: self.settings,
            sink: device.sink,
            boot: device.boot,
            observer: device.observer,
            has_tls: self.net.has_tls(),
        };
        let received = self
            .session
            .borrow_mut()
            .received(now, ours, payload, &mut rules);
        if received != Received::NotOurs {
            device.observer.event(Event::Offer(received));
        }
    }

    /// `None` when nothing came of it in time.
    pub(crate) async fn within_stall<F: Future>(&self, future: Pin<&mut F>) -> Option<F::Output> {
        let until = self
            .clock
            .now_ms()
            .saturating_add(u64::from(self.settings.stall_ms));
        match select(future, self.clock.sleep_until(until)).await {
            Either::First(value) => Some(value),
            Either::Second(()) => None,
        }
    }
}
