//! The broker's loop: connect, talk, wait, again.

use core::pin::{Pin, pin};

use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};
use ota_proto::backoff::{Backoff, Ended};
use ota_proto::json;
use ota_proto::mqtt::{self, Client, PacketId, Qos, SendError};
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
#[derive(Default)]
pub(crate) struct Line {
    sent: Sent,
    /// Too many reports wait for their acknowledgement.
    stuck: bool,
}

/// Room to show a published payload: a report has at most 256 bytes.
const SHOWN: usize = 256;
/// Bytes read or written at a time. While a redirect is read, that many stay
/// free in the client's buffer.
const PIECE: usize = Client::LEND_GAP;
/// How long the good-bye may take.
const GOOD_BYE_MS: u32 = 1_000;

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
    pub(crate) fn subscribe(&self) {
        let credentials = &self.settings.credentials;
        let name = |topic: Topic| topic.name(credentials.product_key(), credentials.device_name());
        if let (Ok(upgrade), Ok(reply)) = (name(Topic::Upgrade), name(Topic::FirmwareGetReply)) {
            let filters = [
                (upgrade.as_str(), Qos::AtLeastOnce),
                (reply.as_str(), Qos::AtMostOnce),
            ];
            // Refused only while another SUBSCRIBE waits, which one connection never sees.
            let _ = self.client.borrow_mut().subscribe(&filters);
        }
    }

    pub(crate) fn publish(&self, line: &mut Line, report: Report, token: u16) {
        let credentials = &self.settings.credentials;
        let topic = report.topic();
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
        let mut client = self.client.borrow_mut();
        let queued = client.publish_with(topic.as_str(), qos, &mut |room| {
            len = self.session.borrow().write(report, token, room).ok()?;
            let copy = len.min(SHOWN);
            shown.get_mut(..copy)?.copy_from_slice(room.get(..copy)?);
            Some(len)
        });
        let packet = match queued {
            Ok(packet) => packet,
            Err(error) => {
                // A report is given out again when its time is over; but a broker
                // that acknowledges nothing needs a new connection.
                line.stuck |= error == SendError::InFlight;
                return;
            }
        };
        let payload = shown.get(..len.min(SHOWN)).unwrap_or_default();
        self.observe(Event::Published {
            topic: topic.as_str(),
            payload: core::str::from_utf8(payload).unwrap_or_default(),
        });
        if let Some(packet) = packet {
            // The older one is no longer waited for.
            line.sent.swap(0, 1);
            line.sent[0] = Some((packet, token));
        }
    }

    /// Keeps a connection to the broker. Ends when the device is to restart.
    pub(crate) async fn broker(&self) -> Outcome {
        let mut backoff = Backoff::new();
        loop {
            let ended = match self.connection().await {
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
    async fn connection(&self) -> Result<Ended, Outcome> {
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
        if !self.sign_on() {
            self.observe(Event::Disconnected(None));
            return Ok(Ended::NotConnected);
        }
        let mut accepted = None;
        let end = self.talk(stream, &mut accepted).await;
        {
            let mut client = self.client.borrow_mut();
            client.disconnected();
            // The session gives out again what was not acknowledged.
            client.drop_unacknowledged();
        }
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
    fn sign_on(&self) -> bool {
        let mode = match self.settings.broker.security {
            Security::Plain => SecureMode::Tcp,
            Security::Tls => SecureMode::Tls,
        };
        let sign_on = SignOn::new(&self.settings.credentials, self.settings.method, mode);
        sign_on.is_ok_and(|s| {
            let options = s.connect_options(self.settings.keep_alive_s, true);
            let now = self.clock.now_ms();
            self.client.borrow_mut().connect(&options, now).is_ok()
        })
    }

    /// Reads, writes and serves until the connection ends.
    async fn talk(&self, mut stream: C::Stream<'_>, accepted: &mut Option<u64>) -> End {
        let mut line = Line::default();
        let mut piece = [0; PIECE];
        loop {
            if let Err(error) = self.listen(&mut line.sent, accepted) {
                return End::Error(error);
            }
            if let Some(outcome) = self.serve(Some(&mut line)) {
                self.client.borrow_mut().disconnect();
                let good_bye = pin!(self.send(&mut stream, &mut piece));
                self.within(GOOD_BYE_MS, good_bye).await;
                return End::Outcome(outcome);
            }
            if line.stuck {
                return End::Error(mqtt::Error::TimedOut(mqtt::Awaiting::PubAck));
            }
            if !self.client.borrow().transmit().is_empty() {
                if !self.send(&mut stream, &mut piece).await {
                    return End::Closed;
                }
                continue;
            }
            let due = self.client.borrow().next_deadline();
            let timer = self.clock.sleep_until(self.deadline(due));
            let change = self.control.notify.wait();
            let room = self.client.borrow_mut().rx_space().len().min(PIECE);
            let room = piece.get_mut(..room).unwrap_or_default();
            if room.is_empty() {
                let _ = select(change, timer).await;
                continue;
            }
            match select3(stream.read(room), change, timer).await {
                Either3::First(Ok(0) | Err(_)) => return End::Closed,
                Either3::First(Ok(read)) => {
                    let read = piece.get(..read).unwrap_or_default();
                    // The room that was there has not become less.
                    self.client.borrow_mut().receive(read);
                }
                _ => {}
            }
        }
    }

    /// Sends what is queued; false if the connection is of no use.
    async fn send(&self, stream: &mut C::Stream<'_>, piece: &mut [u8]) -> bool {
        loop {
            let len = {
                let client = self.client.borrow();
                let bytes = client.transmit();
                let pairs = piece.iter_mut().zip(bytes);
                pairs.map(|(to, from)| *to = *from).count()
            };
            if len == 0 {
                let flushed = self.within_stall(pin!(stream.flush())).await;
                return matches!(flushed, Some(Ok(())));
            }
            let bytes = piece.get(..len).unwrap_or_default();
            match self.within_stall(pin!(stream.write(bytes))).await {
                Some(Ok(written @ 1..)) => self.client.borrow_mut().transmitted(written),
                _ => return false,
            }
        }
    }

    /// Takes in what has come.
    fn listen(&self, sent: &mut Sent, accepted: &mut Option<u64>) -> Result<(), mqtt::Error> {
        let now = self.clock.now_ms();
        let mut client = self.client.borrow_mut();
        let (url_max, capacity) = (client.keep_max(), client.capacity());
        while let Some(event) = client.poll(now)? {
            let mut url = None;
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
                    url = self.message(now, message.topic, message.payload, url_max);
                }
                mqtt::Event::SubscribeRefused { filter, .. } => {
                    self.observe(Event::SubscribeRefused(filter));
                }
                mqtt::Event::Oversized { size, limit, .. } => {
                    self.observe(Event::Oversized { size, limit });
                    if size <= capacity {
                        self.session.borrow_mut().missed();
                    }
                }
                mqtt::Event::Subscribed { .. } => {}
            }
            if let Some((behind, len)) = url {
                client.keep(behind, len, json::unescape);
            }
        }
        Ok(())
    }

    /// Gives where the URL stands that is to be kept: bytes from the end, and length.
    fn message(
        &self,
        now: u64,
        topic: &str,
        payload: &[u8],
        url_max: usize,
    ) -> Option<(usize, usize)> {
        let credentials = &self.settings.credentials;
        let (pk, dn) = (credentials.product_key(), credentials.device_name());
        let ours = Topic::of_device(topic, pk, dn)?;
        let device = &mut *self.device.borrow_mut();
        device.observer.event(Event::Message { topic, payload });
        let mut rules = Rules {
            settings: self.settings,
            sink: device.sink,
            boot: device.boot,
            observer: device.observer,
            has_tls: self.net.has_tls(),
            url_max,
            url: None,
        };
        let received = self
            .session
            .borrow_mut()
            .received(now, ours, payload, &mut rules);
        let url = rules.url;
        if received != Received::NotOurs {
            device.observer.event(Event::Offer(received));
        }
        url.map(|(offset, len)| (payload.len().saturating_sub(offset), len))
    }

    /// `None` when nothing came of it in time.
    pub(crate) async fn within_stall<F: Future>(&self, future: Pin<&mut F>) -> Option<F::Output> {
        self.within(self.settings.stall_ms, future).await
    }

    async fn within<F: Future>(&self, ms: u32, future: Pin<&mut F>) -> Option<F::Output> {
        let until = self.clock.now_ms().saturating_add(u64::from(ms));
        match select(future, self.clock.sleep_until(until)).await {
            Either::First(value) => Some(value),
            Either::Second(()) => None,
        }
    }
}
