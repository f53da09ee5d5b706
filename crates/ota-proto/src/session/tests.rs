//! Every input in every state, whole stories, and arbitrary sequences.

use super::*;
use crate::http::{HttpError, UrlError};
use crate::json::Str;
use crate::messages::{Field, OfferError};
use crate::topics::Topic;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

std::thread_local! {
    static URL: core::cell::RefCell<String> = const { core::cell::RefCell::new(String::new()) };
}

/// The URL kept last.
fn url() -> String {
    URL.with_borrow(String::clone)
}

fn keep(url: &Str<'_>) -> Result<(), OfferError> {
    URL.set(url.to_string());
    Ok(())
}

struct Yes(u32);
impl Judge for Yes {
    fn judge(&mut self, _: &OfferRef<'_>) -> Result<u32, Refusal> {
        Ok(self.0)
    }
    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
        keep(url)
    }
}
struct No(Refusal);
impl Judge for No {
    fn judge(&mut self, _: &OfferRef<'_>) -> Result<u32, Refusal> {
        Err(self.0)
    }
    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
        keep(url)
    }
}
/// Wants it, but has no room for the URL.
struct NoRoom;
impl Judge for NoRoom {
    fn judge(&mut self, _: &OfferRef<'_>) -> Result<u32, Refusal> {
        Ok(0)
    }
    fn keep(&mut self, _: &Str<'_>) -> Result<(), OfferError> {
        Err(OfferError::BadLength(Field::Url))
    }
}
struct Never;
impl Judge for Never {
    fn judge(&mut self, _: &OfferRef<'_>) -> Result<u32, Refusal> {
        panic!("not to be asked")
    }
    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
        keep(url)
    }
}

fn push_with(version: &str, digest: char, extra: &str) -> Vec<u8> {
    let sign = digest.to_string().repeat(32);
    format!(
        r#"{{"code":"1000","data":{{"size":1000,"version":"{version}","url":"http://h/{version}?x","signMethod":"MD5","sign":"{sign}"{extra}}}}}"#,
    )
    .into_bytes()
}

/// An offer of version 2.
fn push() -> Vec<u8> {
    push_with("2", '0', "")
}

fn session() -> Session<'static> {
    start(StartUp::default())
}

fn start(start: StartUp) -> Session<'static> {
    Session::new(Config::new("1"), start, 7)
}

fn action(a: Action) -> String {
    match a {
        Action::Publish {
            report: Report::Inform,
            ..
        } => "inform".into(),
        Action::Publish {
            report: Report::FirmwareGet,
            ..
        } => "get".into(),
        Action::Publish { report, .. } => format!("step{}", report.step().unwrap().code()),
        Action::StartDownload { offset, fresh } => {
            format!("start{offset}{}", if fresh { "!" } else { "" })
        }
        Action::Remember { cause, .. } => format!("remember{}", cause.step().code()),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// All actions at `now`, with every report acknowledged if `ack`.
fn drain(s: &mut Session<'_>, now: u64, ack: bool) -> String {
    let mut all = vec![];
    while let Some(a) = s.poll(now) {
        all.push(action(a));
        assert!(all.len() < 20, "{all:?}");
        if let (true, Action::Publish { report, token }) = (ack, a)
            && report.wants_ack()
        {
            s.acknowledged(now, token);
        }
    }
    all.join(" ")
}

/// Puts a session into a state, with nothing left to put out and the broker connected.
fn in_state(name: &str) -> Session<'static> {
    let mut s = start(StartUp {
        trial: name == "trial",
        failure: None,
    });
    s.connected(0);
    if name == "trial" {
        // The PUBACK of the inform has not come.
        drain(&mut s, 0, false);
        return s;
    }
    drain(&mut s, 0, true);
    if name == "idle" {
        return s;
    }
    assert_eq!(
        s.received(1, Topic::Upgrade, &push(), &mut Yes(0)),
        Received::Accepted
    );
    assert_eq!(drain(&mut s, 1, true), "step1 start0!");
    s.download(2, DownloadEvent::Progress(300));
    match name {
        "down" => {}
        "url" => s.download(
            3,
            DownloadEvent::Failed(DownloadError::Http(HttpError::Expired(403))),
        ),
        "back" => s.download(3, DownloadEvent::Failed(DownloadError::Reset)),
        _ => s.download(3, DownloadEvent::Complete),
    }
    drain(&mut s, 3, true);
    if name == "inst" || name == "boot" {
        s.verified(4, Ok(()));
        assert_eq!(drain(&mut s, 4, true), "install");
    }
    if name == "boot" {
        s.installed(5, Ok(()));
        assert_eq!(drain(&mut s, 5, false), "step100");
    }
    s
}

const STATES: [&str; 8] = [
    "idle", "trial", "url", "back", "down", "veri", "inst", "boot",
];

fn state(s: &Session<'_>) -> &'static str {
    match s.state() {
        State::Idle if s.on_trial() => "trial",
        State::Idle => "idle",
        State::AwaitUrl => "url",
        State::BackOff => "back",
        State::Downloading => "down",
        State::Verifying => "veri",
        State::Installing => "inst",
        State::Rebooting => "boot",
    }
}

type Input = fn(&mut Session<'_>);
const NOW: u64 = 10;

/// Input, and for each of `STATES` the state it leads to with the actions put out.
#[rustfmt::skip]
const TABLE: &[(&str, Input, [&str; 8])] = include!("table.in");

#[test]
fn every_input_in_every_state() {
    let mut wrong = String::new();
    for (name, input, expected) in TABLE {
        let got: Vec<String> = STATES
            .iter()
            .map(|from| {
                let mut s = in_state(from);
                assert_eq!(state(&s), *from);
                input(&mut s);
                let at = if *name == "time passes" {
                    1_000_000
                } else {
                    NOW
                };
                let actions = drain(&mut s, at, false);
                format!("{}: {actions}", state(&s))
            })
            .collect();
        for ((from, got), expected) in STATES.iter().zip(&got).zip(expected) {
            if got.trim_end_matches([' ', ':']) != *expected {
                wrong += &format!("{name} in {from}: {got:?}, not {expected:?}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn whole_update() {
    let mut s = session();
    assert_eq!(s.poll(0), None);
    s.connected(0);
    assert_eq!(drain(&mut s, 0, false), "subscribe inform");
    assert_eq!(s.next_deadline(), Some(10_000));
    s.received(
        1,
        Topic::Upgrade,
        &push_with("2", '0', r#","digestsign":"QUJD""#),
        &mut Yes(0),
    );
    assert_eq!(s.offer().unwrap().size, 1000);
    assert!(url().starts_with("http://h/2?"));
    // Progress waits for the inform's turn, the download does not.
    assert_eq!(drain(&mut s, 1, false), "start0!");
    s.acknowledged(2, s.token);
    let mut steps = String::new();
    for done in 0..=1000 {
        s.download(3, DownloadEvent::Progress(done));
        steps += &drain(&mut s, 3, false);
    }
    let expected: String = (0..20).map(|i| format!("step{}", 1 + 5 * i)).collect();
    assert_eq!(steps, expected);
    s.download(4, DownloadEvent::Complete);
    assert_eq!(drain(&mut s, 4, false), "verify");
    s.verified(5, Ok(()));
    assert_eq!(drain(&mut s, 5, false), "install");
    s.installed(6, Ok(()));
    assert_eq!(drain(&mut s, 6, false), "step100");
    assert_eq!(s.next_deadline(), Some(3_006));
    assert_eq!(drain(&mut s, 3_006, false), "reboot");
    s.disconnected(3_007);
    assert_eq!(
        (drain(&mut s, 1 << 40, false), s.next_deadline()),
        (String::new(), None),
        "one reboot"
    );
}

#[test]
fn confirmed_only_after_the_acknowledged_report() {
    let mut s = start(StartUp {
        trial: true,
        failure: None,
    });
    s.connected(0);
    assert_eq!(drain(&mut s, 0, false), "subscribe inform");
    assert_eq!(
        s.received(1, Topic::Upgrade, &push(), &mut Never),
        Received::Deferred
    );
    s.disconnected(2);
    assert_eq!(drain(&mut s, 1_000_000, false), "");
    s.connected(1_000_001);
    // The PUBACK never arrives: reported again and again, never confirmed.
    assert_eq!(drain(&mut s, 1_000_001, false), "subscribe inform");
    assert_eq!(drain(&mut s, 1_010_001, false), "inform");
    s.acknowledged(1_010_002, s.token - 1);
    assert_eq!(
        drain(&mut s, 1_010_002, false),
        "",
        "an old PUBACK does not count"
    );
    s.acknowledged(1_010_002, s.token);
    assert_eq!(drain(&mut s, 1_010_002, false), "confirm");
    s.confirmed(1_010_003);
    assert_eq!(
        drain(&mut s, 1_010_003, false),
        "get",
        "the deferred offer is asked for"
    );
    assert_eq!(
        s.received(1, Topic::FirmwareGetReply, &push(), &mut Yes(0)),
        Received::Accepted
    );
}

#[test]
fn failures_of_the_boot_state_are_reported_until_acknowledged() {
    let cause = Cause::Boot(BootError::Reverted, 3);
    let mut s = start(StartUp {
        trial: false,
        failure: Some(cause),
    });
    for now in [0, 100_000] {
        s.connected(now);
        assert_eq!(drain(&mut s, now, false), "subscribe inform");
        s.acknowledged(now, s.token);
        assert_eq!(drain(&mut s, now, false), "step-1");
        assert_eq!(drain(&mut s, now + 10_000, false), "step-1");
        s.disconnected(now + 10_001);
    }
    s.connected(200_000);
    assert_eq!(
        drain(&mut s, 200_000, true),
        "subscribe inform step-1 failurereported"
    );
    let mut buf = [0; 256];
    let n = s.write(Report::Failure(cause), 9, &mut buf).unwrap();
    assert_eq!(
        core::str::from_utf8(&buf[..n]).unwrap(),
        r#"{"id":"9","params":{"step":"-1","desc":"reverted: not confirmed (3)"}}"#
    );
}

#[test]
fn a_failure_is_reported_after_the_broker_comes_back() {
    let mut s = in_state("down");
    s.disconnected(10);
    s.download(11, DownloadEvent::Failed(DownloadError::Flash));
    assert_eq!(drain(&mut s, 11, false), "");
    s.connected(12);
    assert_eq!(drain(&mut s, 12, true), "subscribe inform step-4");
    assert_eq!(drain(&mut s, 1_000_000, true), "");
}

#[test]
fn network_causes_back_off_then_give_up() {
    let mut s = in_state("down");
    let mut now = 10;
    let mut waits = vec![];
    for _ in 0..9 {
        s.download(now, DownloadEvent::Failed(DownloadError::TimedOut));
        assert_eq!(drain(&mut s, now, true), "");
        let until = s.next_deadline().unwrap();
        waits.push(until - now);
        assert_eq!(drain(&mut s, until - 1, true), "");
        now = until;
        assert_eq!(drain(&mut s, now, true), "start300");
    }
    assert!(
        waits[0] >= 1_000 && waits[8] <= 60_000 && waits[8] >= 30_000,
        "{waits:?}"
    );
    s.download(now, DownloadEvent::Failed(DownloadError::TimedOut));
    assert_eq!(drain(&mut s, now, true), "step-2");
    assert_eq!(s.state(), State::Idle);
    // Not remembered: the same offer is taken again.
    assert_eq!(
        s.received(now, Topic::Upgrade, &push(), &mut Yes(300)),
        Received::Accepted
    );
    assert_eq!(drain(&mut s, now, true), "step30 start300");
}

#[test]
fn a_new_byte_counts_the_attempts_from_zero() {
    let mut s = in_state("down");
    let mut now = 10;
    for done in 301..400 {
        s.download(now, DownloadEvent::Failed(DownloadError::Reset));
        now = s.next_deadline().unwrap();
        assert!(drain(&mut s, now, true).ends_with(&format!("start{}", done - 1)));
        s.download(now, DownloadEvent::Progress(done));
    }
}

#[test]
fn expired_urls_are_renewed() {
    let mut s = in_state("down");
    s.download(
        10,
        DownloadEvent::Failed(DownloadError::Http(HttpError::Expired(404))),
    );
    assert_eq!(drain(&mut s, 10, true), "get");
    let fresh = String::from_utf8(push()).unwrap().replace("2?x", "2?y");
    let got = s.received(11, Topic::FirmwareGetReply, fresh.as_bytes(), &mut Never);
    assert_eq!((got, url().as_str()), (Received::Same, "http://h/2?y"));
    assert_eq!(drain(&mut s, 11, true), "start300");
    // No answer, and no answer: given up with the status that was seen.
    s.download(
        12,
        DownloadEvent::Failed(DownloadError::Http(HttpError::Expired(404))),
    );
    let mut all = String::new();
    for _ in 0..40 {
        let Some(now) = s.next_deadline() else { break };
        all += &drain(&mut s, now, false);
    }
    assert!(
        all.starts_with("getget") && all.ends_with("step-2"),
        "{all}"
    );
    assert_eq!(
        s.failure,
        Some(Cause::Download(DownloadError::Http(HttpError::Expired(
            404
        ))))
    );
}

#[test]
fn without_a_broker_a_fresh_url_waits() {
    let mut s = in_state("url");
    s.disconnected(10);
    assert_eq!(
        (drain(&mut s, 1 << 30, true), s.next_deadline()),
        (String::new(), None)
    );
    s.connected(1 << 30);
    assert_eq!(drain(&mut s, 1 << 30, true), "subscribe inform get");
}

#[test]
fn two_full_downloads_with_a_wrong_digest_are_proof() {
    // What was stored before the start counts for nothing.
    for (stored, downloads) in [(0, 2), (500, 3)] {
        let mut s = in_state("idle");
        s.received(1, Topic::Upgrade, &push(), &mut Yes(stored));
        for n in 1..=downloads {
            assert!(drain(&mut s, 1, true).contains("start"));
            s.download(1, DownloadEvent::Complete);
            assert_eq!(drain(&mut s, 1, true), "verify");
            s.verified(1, Err(CheckError::Digest));
            assert_eq!(s.state() == State::Idle, n == downloads);
        }
        assert_eq!(drain(&mut s, 1, true), "remember-3 step-3");
    }
}

#[test]
fn a_wrong_digest_counts_over_resets() {
    let mut s = in_state("idle");
    s.received(1, Topic::Upgrade, &push(), &mut Yes(0));
    assert!(drain(&mut s, 1, true).contains("start"));
    s.download(1, DownloadEvent::Complete);
    assert_eq!(drain(&mut s, 1, true), "verify");
    s.verified(1, Err(CheckError::Digest));
    // The boot state has counted one before the reset.
    let Some(Action::Remember { digest, cause }) = s.poll(1) else {
        panic!("not remembered");
    };
    assert!(!cause.permanent());
    let other = crate::messages::Digest::new(crate::messages::Method::Md5, &[9; 16]).unwrap();
    s.give_up(&other, cause);
    assert_eq!(s.state(), State::Downloading);
    s.give_up(&digest, cause);
    assert_eq!(s.state(), State::Idle);
    assert_eq!(drain(&mut s, 1, true), "step-3");
}

#[test]
fn a_flapping_file_ends() {
    let mut s = in_state("down");
    let mut now = 10;
    for _ in 0..3 {
        s.download(
            now,
            DownloadEvent::Failed(DownloadError::Http(HttpError::Changed)),
        );
        now = s.next_deadline().unwrap();
        assert_eq!(drain(&mut s, now, true), "start0!");
        s.download(now, DownloadEvent::Progress(900));
        drain(&mut s, now, true);
    }
    s.download(now, DownloadEvent::Failed(DownloadError::ResumeLost));
    assert_eq!(drain(&mut s, now, true), "step-2");
}

#[test]
fn an_offer_put_off_by_verification_is_asked_for_if_that_fails() {
    for (name, fail) in [
        (
            "veri",
            (|s| s.verified(10, Err(CheckError::Trailer))) as Input,
        ),
        ("inst", |s| {
            s.installed(10, Err(Cause::Boot(BootError::Flash, 0)))
        }),
    ] {
        let mut s = in_state(name);
        let other = push_with("3", '1', "");
        assert_eq!(
            s.received(9, Topic::Upgrade, &other, &mut Never),
            Received::Deferred
        );
        fail(&mut s);
        let actions = drain(&mut s, 10, true);
        assert!(actions.ends_with("get"), "{actions}");
    }
}

#[test]
fn cancel_is_too_late_only_after_the_install_was_given_out() {
    let mut s = in_state("veri");
    s.verified(4, Ok(()));
    assert!(s.cancel(5));
    assert_eq!(drain(&mut s, 5, true), "step-1");
    for (name, stops) in STATES
        .iter()
        .zip([false, false, true, true, true, true, false, false])
    {
        let mut s = in_state(name);
        assert_eq!(s.cancel(5), stops, "{name}");
        let next = push_with("3", '1', "");
        drain(&mut s, 5, true);
        // The next good offer works.
        if stops {
            assert_eq!(
                s.received(6, Topic::Upgrade, &next, &mut Yes(0)),
                Received::Accepted
            );
            assert_eq!(drain(&mut s, 6, true), "step1 start0!");
        }
    }
}

#[test]
fn a_failed_package_is_refused_each_time_without_a_download() {
    let mut s = in_state("veri");
    s.verified(4, Err(CheckError::Signature));
    assert_eq!(drain(&mut s, 4, true), "remember-3 step-3");
    for now in 5..9 {
        let refusal = Refusal::FailedBefore(Step::Check);
        let got = s.received(now, Topic::Upgrade, &push(), &mut No(refusal));
        assert_eq!(got, Received::Refused(Cause::Refused(refusal)));
        assert_eq!(drain(&mut s, now, true), "step-3");
    }
}

#[test]
fn a_reverted_package_offered_again_does_not_hide_why_it_was_reverted() {
    let mut s = start(StartUp {
        trial: false,
        failure: Some(Cause::Boot(BootError::Reverted, 3)),
    });
    s.connected(0);
    assert_eq!(drain(&mut s, 0, false), "subscribe inform");
    let mut no = No(Refusal::FailedBefore(Step::Upgrade));
    // The push races with the report; nothing but the report goes out.
    assert_eq!(
        s.received(1, Topic::Upgrade, &push(), &mut no),
        Received::Same
    );
    s.acknowledged(2, s.token);
    assert_eq!(drain(&mut s, 2, true), "step-1 failurereported");
    // Once the cloud knows, an offer of it is answered.
    let got = s.received(3, Topic::Upgrade, &push(), &mut no);
    assert_eq!(got, Received::Refused(Cause::Refused(no.0)));
    assert_eq!(drain(&mut s, 3, true), "step-1");
}

#[test]
fn an_offer_whose_url_cannot_be_kept_changes_nothing() {
    let mut s = session();
    assert_eq!(
        s.received(0, Topic::Upgrade, &push(), &mut Yes(0)),
        Received::Accepted
    );
    let error = Cause::Offer(OfferError::BadLength(Field::Url));
    let other = push_with("3", '1', "");
    assert_eq!(
        s.received(0, Topic::Upgrade, &other, &mut NoRoom),
        Received::Refused(error)
    );
    assert_eq!(
        (url().as_str(), s.state()),
        ("http://h/2?x", State::Downloading)
    );
}

#[test]
fn a_message_missed_during_an_update_is_asked_for_after_it() {
    for (name, asks) in STATES
        .iter()
        .zip([false, true, true, true, true, true, true, true])
    {
        let mut s = in_state(name);
        s.missed();
        assert_eq!(s.ask_later, asks, "{name}");
    }
    let mut s = in_state("down");
    s.missed();
    s.cancel(9);
    assert_eq!(drain(&mut s, 9, true), "abortdownload step-1 get");
}

#[test]
fn modules() {
    let config = Config {
        module: Some("m"),
        ..Config::new("1")
    };
    let mut s = Session::new(config, StartUp::default(), 7);
    let refused = Received::Refused(Cause::Refused(Refusal::Module));
    assert_eq!(s.received(0, Topic::Upgrade, &push(), &mut Never), refused);
    let ours = push_with("2", '0', r#","module":"m""#);
    assert_eq!(
        s.received(0, Topic::Upgrade, &ours, &mut Yes(0)),
        Received::Accepted
    );
    let mut buf = [0; 99];
    let n = s.write(Report::Percent(3), 1, &mut buf).unwrap();
    assert!(buf[..n].ends_with(br#""desc":"","module":"m"}}"#));
}

#[test]
fn every_cause_has_a_text_and_a_step_of_the_cloud() {
    let mut causes = vec![Cause::Cancelled];
    causes.extend(
        [
            OfferError::SizeZero,
            OfferError::Protocol,
            OfferError::DigestsDisagree,
        ]
        .map(Cause::Offer),
    );
    use Refusal as R;
    causes.extend(
        [
            R::Module,
            R::Diff,
            R::NotNewer,
            R::TooLarge,
            R::Unsigned,
            R::BadSignature,
            R::NoTls,
            R::FailedBefore(Step::Burn),
            R::NotAllowed,
        ]
        .map(Cause::Refused),
    );
    use DownloadError as D;
    causes.extend(
        [
            D::Dns,
            D::Connect,
            D::Tls,
            D::Reset,
            D::TimedOut,
            D::NoTls,
            D::Http(HttpError::Multipart),
            D::Url(UrlError::Downgrade),
            D::TooManyRedirects,
            D::ResumeLost,
            D::Flash,
            D::Decode,
            D::WrongBase,
            D::TooLarge,
        ]
        .map(Cause::Download),
    );
    use CheckError as C;
    causes.extend(
        [
            C::Digest,
            C::Signature,
            C::Unsigned,
            C::Trailer,
            C::Descriptor,
            C::Version,
            C::Size,
            C::Floor,
            C::Flash,
        ]
        .map(Cause::Check),
    );
    causes.extend(
        [
            BootError::Reverted,
            BootError::Refused,
            BootError::Flash,
            BootError::Version,
            BootError::Unable,
        ]
        .map(|e| Cause::Boot(e, u32::MAX)),
    );
    let s = session();
    for cause in causes {
        assert!((-4..=-1).contains(&cause.step().code()), "{cause:?}");
        let mut buf = [0; 256];
        let n = s.write(Report::Failure(cause), u16::MAX, &mut buf).unwrap();
        let v: serde_json::Value = serde_json::from_slice(&buf[..n]).unwrap();
        assert_eq!(
            v["params"]["desc"].as_str(),
            Some(cause.to_string().as_str())
        );
        assert_eq!(
            v["params"]["step"].as_str(),
            Some(cause.step().code().to_string().as_str())
        );
    }
}

#[test]
fn it_is_small() {
    let size = core::mem::size_of::<Session<'_>>();
    assert!(size <= 384, "{size}");
}

/// Whatever has happened: one healthy cloud later the device has its update, or is on its way down.
fn recovers(s: &mut Session<'_>, mut now: u64) {
    s.connected(now);
    for round in 0..60 {
        while let Some(a) = s.poll(now) {
            match a {
                Action::Publish { report, token } if report.wants_ack() => {
                    s.acknowledged(now, token)
                }
                Action::Publish {
                    report: Report::FirmwareGet,
                    ..
                } => {
                    s.received(now, Topic::FirmwareGetReply, &push(), &mut Yes(0));
                }
                Action::Confirm => s.confirmed(now),
                Action::StartDownload { .. } => s.download(now, DownloadEvent::Complete),
                Action::Verify => s.verified(now, Ok(())),
                Action::Install => s.installed(now, Ok(())),
                Action::Reboot => return,
                _ => {}
            }
        }
        // Work that was given out before is brought to its end.
        match s.state() {
            State::Idle if round > 3 => {
                s.received(now, Topic::Upgrade, &push(), &mut Yes(0));
            }
            State::Downloading => s.download(now, DownloadEvent::Complete),
            State::Verifying => s.verified(now, Ok(())),
            State::Installing => s.installed(now, Ok(())),
            _ => {}
        }
        match s.next_deadline() {
            Some(t) => now = now.max(t),
            None if s.state() == State::Rebooting => return,
            None => {}
        }
    }
    panic!("wedged in {:?}", s.state());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn arbitrary_sequences_neither_panic_nor_wedge(
        trial in any::<bool>(), failed in any::<bool>(),
        steps in prop::collection::vec((0..TABLE.len(), 0u64..30_000, any::<bool>(), any::<bool>()), 0..60)
    ) {
        let failure = failed.then_some(Cause::Boot(BootError::Reverted, 1));
        let mut s = Session::new(Config::new("1"), StartUp { trial, failure }, 7);
        let mut now = NOW;
        let (mut running, mut verified, mut token) = (false, false, 0);
        for (input, wait, ack, drop_events) in steps {
            let before = s.state();
            let was_verifying = before == State::Verifying && s.todo & super::machine::todo::VERIFY == 0;
            let (name, f, _) = TABLE[input];
            let started = s.todo & super::machine::todo::START == 0;
            f(&mut s);
            if name == "verified" && was_verifying {
                verified = true;
            }
            if before == State::Downloading && s.state() != State::Downloading && s.todo & super::machine::todo::ABORT == 0 {
                running = false;
            }
            if before == State::Downloading && started && matches!(name, "changed" | "undecodable") {
                running = false;
            }
            now += wait;
            if drop_events {
                continue;
            }
            let mut n = 0;
            while let Some(a) = s.poll(now) {
                n += 1;
                prop_assert!(n < 20, "busy");
                match a {
                    Action::AbortDownload => {
                        prop_assert!(running);
                        running = false;
                    }
                    Action::StartDownload { offset, .. } => {
                        prop_assert!(!running && offset <= 1000);
                        running = true;
                    }
                    Action::Install => {
                        prop_assert!(verified, "installed without a check");
                        verified = false;
                    }
                    Action::Publish { report, token: t } => {
                        prop_assert!(t != 0 && t != token);
                        token = t;
                        if let Some(step) = report.step() {
                            prop_assert!(matches!(step.code(), -4..=-1 | 1..=100));
                        }
                        prop_assert!(s.write(report, t, &mut [0; 256]).is_ok());
                        if ack && report.wants_ack() {
                            s.acknowledged(now, t);
                        }
                    }
                    Action::Confirm => prop_assert!(trial),
                    _ => {}
                }
            }
            // No deadline lies in the past: the caller would spin.
            prop_assert!(s.next_deadline().is_none_or(|t| t > now));
        }
        recovers(&mut s, now);
    }
}
