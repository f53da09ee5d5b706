//! The MQTT side: sign-on, topics, pushes. One thread; nothing here is `Send`.

use crate::jobs::Task;
use crate::messages::{self, Message, Offer};
use crate::signon;
use crate::store::now_ms;
use crate::url::Signer;
use crate::{Cloud, Config, EventKind};
use ntex::service::{ServiceFactory, fn_factory_with_config, fn_service};
use ntex::util::{Bytes, Ready};
use ntex_mqtt::v3::{self, Control, ControlAck, CtlFrame, CtlReason, Handshake, HandshakeAck};
use ota_proto::topics::Topic;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Keep-alive the cloud allows, in seconds.
const KEEP_ALIVE: std::ops::RangeInclusive<u16> = 30..=1200;
/// Largest message a device may send.
pub(crate) const MAX_PACKET: u32 = 128 * 1024;

/// Everything the connections share.
pub(crate) struct Hub {
    cloud: Cloud,
    signer: Signer,
    /// Start of download addresses: `http://HOST:PORT`.
    base_url: String,
    url_ttl: Duration,
    url_pad: usize,
    inform_grace: Duration,
    conns: RefCell<HashMap<(String, String), Rc<Conn>>>,
    next: Cell<u64>,
}

/// A device that is connected.
pub(crate) struct Conn {
    pk: String,
    dn: String,
    sink: v3::MqttSink,
    number: u64,
    since: Instant,
    informed: Cell<bool>,
    /// Upgrade messages that wait for their acknowledgement, by task.
    in_flight: RefCell<HashSet<i64>>,
    ended: RefCell<Option<String>>,
}

impl Conn {
    fn id(&self) -> (&str, &str) {
        (&self.pk, &self.dn)
    }

    fn wants_push(&self, grace: Duration) -> bool {
        self.informed.get() || self.since.elapsed() >= grace
    }
}

/// A connection must be closed.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl<E: std::error::Error> From<E> for Fault {
    fn from(e: E) -> Self {
        Self(e.to_string())
    }
}

impl Fault {
    pub(crate) fn tls(e: &std::io::Error) -> v3::MqttError<Self> {
        v3::MqttError::Service(Self(format!("TLS: {e}")))
    }
}

type Session = v3::Session<Rc<Conn>>;

impl Hub {
    pub(crate) fn new(cloud: Cloud, signer: Signer, base_url: String, config: &Config) -> Rc<Self> {
        Rc::new(Self {
            cloud,
            signer,
            base_url,
            url_ttl: config.url_ttl,
            url_pad: config.url_pad,
            inform_grace: config.inform_grace,
            conns: RefCell::default(),
            next: Cell::new(1),
        })
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get().wrapping_add(1))
    }

    fn note(&self, kind: EventKind, id: (&str, &str), text: &str) -> Result<(), Fault> {
        Ok(self.cloud.note(kind, id, None, None, text)?)
    }

    fn sign_on(&self, hs: Handshake) -> Result<HandshakeAck<Rc<Conn>>, Fault> {
        let packet = hs.packet();
        let user = packet.username.as_deref().unwrap_or("");
        let password = packet.password.as_deref().unwrap_or_default();
        let (pk, dn) = signon::claimed(user);
        let (pk, dn) = (pk.to_string(), dn.to_string());
        let secret = self.cloud.secret(&pk, &dn)?;
        let checked = signon::check(&packet.client_id, user, password, secret.as_deref());
        if let Err(refusal) = checked {
            self.note(EventKind::Refused, (&pk, &dn), &refusal.to_string())?;
            return Ok(match refusal {
                signon::Refusal::BadPassword(_) => hs.bad_username_or_pwd(),
                signon::Refusal::NotAuthorized => hs.not_authorized(),
            });
        }
        if !KEEP_ALIVE.contains(&packet.keep_alive) {
            let text = format!(
                "keep-alive of {} s (the cloud allows {} to {} s)",
                packet.keep_alive,
                KEEP_ALIVE.start(),
                KEEP_ALIVE.end()
            );
            self.note(EventKind::Refused, (&pk, &dn), &text)?;
            return Ok(hs.identifier_rejected());
        }
        let conn = Rc::new(Conn {
            sink: hs.sink(),
            number: self.number(),
            since: Instant::now(),
            informed: Cell::new(false),
            in_flight: RefCell::default(),
            ended: RefCell::default(),
            pk,
            dn,
        });
        let key = (conn.pk.clone(), conn.dn.clone());
        if let Some(old) = self.conns.borrow_mut().insert(key, conn.clone()) {
            // One session per device: the later sign-on wins.
            old.sink.force_close();
            self.note(
                EventKind::Disconnected,
                old.id(),
                "taken over by another sign-on",
            )?;
        }
        self.cloud.seen(&conn.pk, &conn.dn, true)?;
        self.note(EventKind::Connected, conn.id(), "")?;
        Ok(hs.ack(conn, false))
    }

    /// The connection has ended.
    fn gone(&self, conn: &Conn) -> Result<(), Fault> {
        let key = (conn.pk.clone(), conn.dn.clone());
        let mut conns = self.conns.borrow_mut();
        if conns.get(&key).is_some_and(|c| c.number == conn.number) {
            conns.remove(&key);
            self.cloud.seen(&conn.pk, &conn.dn, false)?;
            let why = conn.ended.borrow_mut().take();
            let why = why.as_deref().unwrap_or("connection closed");
            self.note(EventKind::Disconnected, conn.id(), why)?;
        }
        Ok(())
    }

    /// A message of a device. Only a database failure closes the connection.
    fn received(
        self: &Rc<Self>,
        conn: &Rc<Conn>,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let result = match Topic::of_device(topic, &conn.pk, &conn.dn) {
            Some(topic) => Message::parse(payload).map(|m| (topic, m)),
            None if is_own(topic, &conn.pk, &conn.dn) => return Ok(()),
            None => Err(format!("not a topic of this device: {topic}")),
        };
        let handled = match result {
            Ok((topic, message)) => self.handle(conn, topic, &message)?,
            Err(why) => Err(why),
        };
        self.cloud.seen(&conn.pk, &conn.dn, true)?;
        if let Err(why) = handled {
            self.note(EventKind::Ignored, conn.id(), &why)?;
        }
        Ok(())
    }

    fn handle(
        self: &Rc<Self>,
        conn: &Rc<Conn>,
        topic: Topic,
        message: &Message,
    ) -> Result<Result<(), String>, Fault> {
        let module = message.module();
        match topic {
            Topic::Inform => {
                let version = match message.version() {
                    Ok(v) => v,
                    Err(why) => return Ok(Err(why)),
                };
                self.cloud.informed(conn.id(), module, version)?;
                conn.informed.set(true);
                self.push_due()?;
            }
            Topic::Progress => match message.step() {
                Ok((step, desc)) => self.cloud.progressed(conn.id(), module, step, desc)?,
                Err(why) => return Ok(Err(why)),
            },
            Topic::FirmwareGet => {
                let to = Topic::FirmwareGetReply;
                self.answer(conn, module, &message.id, to, messages::get_reply)?;
            }
            Topic::Request => {
                let to = Topic::Request;
                self.answer(conn, module, &message.id, to, messages::upgrade)?;
            }
            Topic::Upgrade | Topic::FirmwareGetReply => {
                return Ok(Err("a topic that only the cloud writes to".into()));
            }
        }
        Ok(Ok(()))
    }

    /// Answers a device that asks for its upgrade.
    fn answer(
        self: &Rc<Self>,
        conn: &Rc<Conn>,
        module: &str,
        id: &Value,
        topic: Topic,
        write: fn(&Value, Option<&Offer<'_>>) -> String,
    ) -> Result<(), Fault> {
        let task = self.cloud.open_task(&conn.pk, &conn.dn, module)?;
        let text = task.as_ref().map_or("nothing to install", |t| &t.target);
        let job = task.as_ref().map(|t| t.job);
        self.cloud
            .note(EventKind::Asked, conn.id(), job, None, text)?;
        let payload = match &task {
            Some(t) => self.offer(t, |o| write(id, Some(o)))?,
            None => write(id, None),
        };
        self.send(conn, topic, payload, task);
        Ok(())
    }

    /// Pushes the upgrades of all devices that are online and waiting.
    pub(crate) fn push_due(self: &Rc<Self>) -> Result<(), Fault> {
        if self.conns.borrow().is_empty() {
            return Ok(());
        }
        for task in self.cloud.due_tasks()? {
            let key = (task.pk.clone(), task.dn.clone());
            let conn = self.conns.borrow().get(&key).cloned();
            let Some(conn) = conn.filter(|c| c.wants_push(self.inform_grace) && c.sink.is_open())
            else {
                continue;
            };
            if conn.in_flight.borrow_mut().insert(task.id) {
                let id = Value::from(self.number());
                let payload = self.offer(&task, |o| messages::upgrade(&id, Some(o)))?;
                self.send(&conn, Topic::Upgrade, payload, Some(task));
            }
        }
        Ok(())
    }

    fn offer(
        &self,
        task: &Task,
        write: impl FnOnce(&Offer<'_>) -> String,
    ) -> Result<String, Fault> {
        let package = self.cloud.package(task.package)?;
        let path = format!("/ota/{}/{}", package.md5, package.file);
        let ttl = i64::try_from(self.url_ttl.as_secs()).unwrap_or(i64::MAX);
        let expires = (now_ms() / 1000).saturating_add(ttl);
        let signed = self.signer.sign(&path, expires, task.id, self.url_pad);
        Ok(write(&Offer {
            package: &package,
            url: &format!("{}{signed}", self.base_url),
            version: &task.target,
            module: &task.module,
        }))
    }

    /// Sends with QoS 1. The acknowledgement makes `task` notified.
    fn send(self: &Rc<Self>, conn: &Rc<Conn>, topic: Topic, payload: String, task: Option<Task>) {
        let (hub, conn) = (self.clone(), conn.clone());
        let Ok(name) = topic.name(&conn.pk, &conn.dn) else {
            return log::error!("{}/{} cannot stand in a topic", conn.pk, conn.dn);
        };
        let sent = conn
            .sink
            .publish(name.as_str())
            .send_at_least_once(Bytes::from(payload));
        ntex::rt::spawn(async move {
            let done = sent.await;
            let Some(task) = task else { return };
            conn.in_flight.borrow_mut().remove(&task.id);
            if done.is_ok() {
                let noted = hub.cloud.pushed(&task).and_then(|()| {
                    let kind = EventKind::Pushed;
                    hub.cloud
                        .note(kind, conn.id(), Some(task.job), None, &task.target)
                });
                if let Err(e) = noted {
                    log::error!("push to {}/{} not noted: {e}", conn.pk, conn.dn);
                }
            }
        });
    }
}

/// Whether a topic is a device's own, but of no concern to updates.
fn is_own(topic: &str, pk: &str, dn: &str) -> bool {
    let rest = topic.strip_prefix("/sys").unwrap_or(topic);
    rest.starts_with(&format!("/{pk}/{dn}/"))
}

/// Whether a device may subscribe: only to filters that match nothing but its own topics.
fn may_subscribe(filter: &str, pk: &str, dn: &str) -> bool {
    let own = format!("/{pk}/{dn}");
    let inside = |head: &str| {
        let rest = filter.strip_prefix(head).and_then(|f| f.strip_prefix(&own));
        rest.is_some_and(|r| r.starts_with('/') && r.len() > 1)
    };
    let ota = filter
        .strip_prefix("/ota/device/")
        .and_then(|f| f.strip_suffix(&own))
        .is_some_and(|verb| !verb.is_empty() && !verb.contains(['/', '#']));
    ota || inside("") || inside("/sys") || inside("/shadow") || inside("/ext/session")
}

/// The MQTT service of one worker.
pub(crate) fn service<F: ntex::io::Filter>(
    hub: &Rc<Hub>,
) -> impl ServiceFactory<
    ntex::io::Io<F>,
    ntex::SharedCfg,
    Response = (),
    Error = v3::MqttError<Fault>,
    InitError: std::fmt::Debug,
> + use<F> {
    let sign_on = hub.clone();
    let control = hub.clone();
    let publish = hub.clone();
    v3::MqttServer::new(fn_service(move |hs: Handshake| {
        let hub = sign_on.clone();
        async move { hub.sign_on(hs) }
    }))
    .control(fn_factory_with_config(move |session: Session| {
        let hub = control.clone();
        Ready::Ok::<_, Fault>(fn_service(move |msg: Control<Fault>| {
            let (hub, conn) = (hub.clone(), session.state().clone());
            async move { on_control(&hub, &conn, msg) }
        }))
    }))
    .publish(fn_factory_with_config(move |session: Session| {
        let hub = publish.clone();
        Ready::Ok::<_, Fault>(fn_service(move |msg: v3::Publish| {
            let (hub, conn) = (hub.clone(), session.state().clone());
            async move {
                let payload = msg.read_all().await?;
                hub.received(&conn, msg.publish_topic(), &payload)
            }
        }))
    }))
}

fn on_control(hub: &Hub, conn: &Conn, msg: Control<Fault>) -> Result<ControlAck, Fault> {
    match msg {
        Control::Protocol(CtlFrame::Subscribe(mut s)) => {
            for mut sub in &mut s {
                if may_subscribe(sub.topic(), &conn.pk, &conn.dn) {
                    sub.confirm(sub.qos().min(v3::QoS::AtLeastOnce));
                } else {
                    let text = format!("subscription refused: {}", sub.topic());
                    hub.note(EventKind::Ignored, conn.id(), &text)?;
                    sub.fail();
                }
            }
            Ok(s.ack())
        }
        Control::Protocol(CtlFrame::Unsubscribe(s)) => Ok(s.ack()),
        Control::Protocol(CtlFrame::Disconnect(d)) => {
            conn.ended.replace(Some("device has signed off".into()));
            Ok(d.ack())
        }
        Control::Stop(reason) => {
            let text = match &reason {
                CtlReason::Error(e) => format!("cloud failed: {}", e.get_ref().0),
                CtlReason::ProtocolError(e) => format!("protocol error: {}", e.get_ref()),
                CtlReason::PeerGone(_) => "connection lost".into(),
            };
            conn.ended.borrow_mut().get_or_insert(text);
            Ok(Control::Stop(reason).ack())
        }
        Control::Shutdown(s) => {
            hub.gone(conn)?;
            Ok(s.ack())
        }
        other => Ok(other.ack()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_topics_that_do_not_matter_here() {
        for own in ["/sys/pk/dn/thing/event/x/post", "/pk/dn/user/update"] {
            assert!(is_own(own, "pk", "dn"), "{own}");
        }
        for other in ["/sys/pk/dn2/x", "/pk/dn", "/pk2/dn/x", "/x/pk/dn/y", ""] {
            assert!(!is_own(other, "pk", "dn"), "{other}");
        }
    }

    #[test]
    fn subscriptions_stay_inside_the_device() {
        let may = |f| may_subscribe(f, "pk", "dn");
        for own in [
            "/ota/device/upgrade/pk/dn",
            "/ota/device/request/pk/dn",
            "/ota/device/+/pk/dn",
            "/sys/pk/dn/thing/ota/firmware/get_reply",
            "/sys/pk/dn/#",
            "/pk/dn/user/get",
            "/ext/session/pk/dn/combine/login_reply",
        ] {
            assert!(may(own), "{own}");
        }
        for other in [
            "#",
            "/#",
            "/ota/device/upgrade/+/+",
            "/ota/device/upgrade/pk/dn2",
            "/ota/device/upgrade/pk/+",
            "/ota/device/#/pk/dn",
            "/ota/device/x/y/pk/dn",
            "/sys/pk/+/thing/#",
            "/sys/pk/dn",
            "/sys/pk/dn/",
            "/sys/pk/dn2/x",
            "/+/+/user/get",
            "",
        ] {
            assert!(!may(other), "{other}");
        }
    }
}
