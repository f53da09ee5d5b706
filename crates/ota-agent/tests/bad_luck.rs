//! Bad luck on the way: the network, the broker, power and the user.

mod common;

use common::broker::When;
use common::server::Fault;
use common::*;
use ota_agent::{ConnectFailure, Security};
use ota_bootlib::BootState;

/// Program unit of the flash.
const UNIT: usize = 32;

struct Images {
    old: Vec<u8>,
    new: Vec<u8>,
    next: Vec<u8>,
}

fn images() -> Images {
    Images {
        old: image("1.0.0", 20_000, None),
        new: image("2.0.0", 21_000, None),
        next: image("3.0.0", 19_000, None),
    }
}

fn push(version: &str, file: &[u8]) -> Vec<u8> {
    let url = format!("http://files.example/{version}.bin");
    offer(version, file, &url).to_string().into_bytes()
}

/// The next good offer works.
fn goes_on(w: &World, next: &[u8], name: &str) {
    w.publish("3.0.0", next);
    assert_eq!(w.live(40 * MINUTE), Stop::Idle, "{name}");
    assert!(w.runs(next) && w.is_settled(), "{name}: {}", w.tail());
}

#[test]
fn the_broker_says_no_at_first() {
    let i = images();
    for code in 1..=5 {
        let w = World::new(&i.old, 8);
        w.net.broker.borrow_mut().connack = [code; 6].into();
        w.publish("2.0.0", &i.new);
        w.live(30 * MINUTE);
        assert!(w.runs(&i.new) && w.is_settled(), "{code}: {}", w.tail());
        assert!(w.saw("Disconnected(Some(Refused("), "{code}");
        let times = w.net.broker.borrow().sign_on_times.clone();
        let waits: Vec<u64> = times.windows(2).map(|t| t[1] - t[0]).collect();
        // 1, 2, 4, 8, 16 s at least.
        for (n, wait) in waits.iter().take(5).enumerate() {
            assert!(*wait >= 1000 << n, "{code}: {waits:?}");
        }
    }
}

#[test]
fn a_refused_subscription_is_no_failure() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.net.broker.borrow_mut().refuse_subscriptions = true;
    w.publish("2.0.0", &i.new);
    w.live(30 * MINUTE);
    assert!(w.runs(&i.new) && w.saw("SubscribeRefused"), "{}", w.tail());
}

#[test]
fn a_second_device_with_the_same_credentials() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.net.broker.borrow_mut().kicks = Some((3_000, 6));
    w.live(60 * MINUTE);
    assert!(w.saw("taken_over: true"), "{}", w.tail());
    let times = w.net.broker.borrow().sign_on_times.clone();
    let waits: Vec<u64> = times.windows(2).map(|t| t[1] - t[0]).collect();
    assert!(waits[2] >= 60_000 && waits[3] >= 120_000, "{waits:?}");
    goes_on(&w, &i.next, "taken over");
}

#[test]
fn no_broker_for_minutes() {
    let i = images();
    for failure in [
        ConnectFailure::Dns,
        ConnectFailure::Connect,
        ConnectFailure::Tls,
    ] {
        let w = World::new(&i.old, 8);
        w.net.no_broker.replace([failure; 12].into());
        w.publish("2.0.0", &i.new);
        w.live(60 * MINUTE);
        assert!(w.saw(&format!("Unreachable({failure:?})")));
        assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    }
}

#[test]
fn a_broker_that_never_answers() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.net.broker.borrow_mut().silent = true;
    assert_eq!(w.live(10 * MINUTE), Stop::Idle);
    assert!(w.saw("TimedOut(ConnAck)"), "{}", w.tail());
    w.net.broker.borrow_mut().silent = false;
    goes_on(&w, &i.next, "silent");
}

#[test]
fn the_cloud_is_gone_while_the_download_goes_on() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    // Twenty seconds for the whole.
    w.net.server.borrow_mut().always = Some(Fault::Slow(1));
    w.net.broker.borrow_mut().kicks = Some((2_000, 1));
    w.net.no_broker_after.set(1);
    w.net.no_broker.replace([ConnectFailure::Connect; 2].into());
    assert_eq!(w.power(30 * MINUTE), Stop::Reboot, "{}", w.tail());
    w.net.server.borrow_mut().always = None;
    w.live(30 * MINUTE);
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    assert_eq!(
        w.asked(),
        1,
        "one request: the loss of the broker is none of the download"
    );
    let broker = w.net.broker.borrow();
    assert_eq!((broker.sign_ons, broker.failures()), (3, vec![]));
}

#[test]
fn erases_do_not_starve_the_keep_alive() {
    let i = images();
    let mut w = World::new(&i.old, 8);
    // Five sectors are erased before the first byte is asked for: two minutes.
    w.erase_ms = 25_000;
    w.publish("2.0.0", &i.new);
    w.live(30 * MINUTE);
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    let broker = w.net.broker.borrow();
    assert_eq!((broker.sign_ons, broker.starved), (2, 0), "{}", w.tail());
    assert!(broker.pings > 0);
}

#[test]
fn one_offer_that_comes_twice_is_one_update() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    let again = push("2.0.0", &i.new);
    w.net.broker.borrow_mut().extra =
        vec![(When::Inform(1), again.clone()), (When::Percent(50), again)];
    w.net.server.borrow_mut().always = Some(Fault::Slow(100));
    w.live(30 * MINUTE);
    assert!(w.runs(&i.new) && w.saw("Offer(Same)"), "{}", w.tail());
    assert_eq!(w.asked(), 1);
}

#[test]
fn a_newer_offer_takes_the_place_of_the_older_one() {
    let i = images();
    // In the middle of the download; and right behind it, before anything began.
    for when in [When::Percent(30), When::Percent(1), When::Inform(1)] {
        for pace in [50, 100_000] {
            let w = World::new(&i.old, 8);
            w.publish("3.0.0", &i.next);
            w.publish("2.0.0", &i.new);
            let mut broker = w.net.broker.borrow_mut();
            broker.pushes = false;
            let first = (When::Inform(1), push("2.0.0", &i.new));
            broker.extra = vec![first, (when, push("3.0.0", &i.next))];
            drop(broker);
            w.net.server.borrow_mut().always = Some(Fault::Slow(pace));
            w.live(30 * MINUTE);
            let name = format!("{when:?}, {pace}: {}", w.tail());
            let took_second = w.runs(&i.next);
            // A push that comes when all bytes are there has to wait.
            let late = pace > 1000 && when != When::Inform(1);
            assert!(took_second || late && w.runs(&i.new), "{name}");
            assert!(w.is_settled(), "{name}");
            assert_eq!(w.net.broker.borrow().failures(), [], "{name}");
            if !late {
                assert!(w.saw("Offer(Replaced)"), "{name}");
                assert_eq!(w.net.broker.borrow().versions, ["1.0.0", "3.0.0"], "{name}");
            }
        }
    }
}

#[test]
fn an_offer_in_the_trial_waits_for_its_end() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot);
    // The new version runs, its report is not acknowledged, and there is an offer.
    let asked = w.asked();
    w.publish("3.0.0", &i.next);
    w.net.broker.borrow_mut().no_ack_for = Some("\"2.0.0\"".into());
    assert_eq!(w.power(5 * MINUTE), Stop::Idle);
    assert!(
        w.saw("Offer(Deferred)") && w.asked() == asked,
        "{}",
        w.tail()
    );
    assert!(w.journal(|j| matches!(j.boot_state(), BootState::Trial { .. })));
    // Now it is.
    w.net.broker.borrow_mut().no_ack_for = None;
    w.net.broker.borrow_mut().pushes = false;
    w.live(30 * MINUTE);
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    goes_on(&w, &i.next, "after the trial");
}

#[test]
fn an_offer_deferred_in_the_trial_is_asked_for_after_it() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot);
    w.publish("3.0.0", &i.next);
    let mut broker = w.net.broker.borrow_mut();
    // Pushed before the acknowledgement of the inform.
    broker.push_first = true;
    drop(broker);
    w.live(30 * MINUTE);
    assert!(
        w.saw("Offer(Deferred)") && w.net.broker.borrow().gets == 1,
        "{}",
        w.tail()
    );
    assert!(w.runs(&i.next) && w.is_settled(), "{}", w.tail());
}

#[test]
fn cancel_at_every_state() {
    let i = images();
    for (at, cancelled) in [
        ("Connecting", false),
        ("Connected", false),
        ("Offer(Accepted)", true),
        ("Download {", true),
        ("Request {", true),
        ("Progress { done: 9", true),
        ("DownloadEnded", true),
        ("Digest {", true),
        ("Verified", true),
        ("Requested", false),
        ("Reboot", false),
    ] {
        let w = World::new(&i.old, 8);
        w.publish("2.0.0", &i.new);
        w.net.server.borrow_mut().always = Some(Fault::Slow(1_000));
        w.cancel_at.replace(Some(at.into()));
        assert_eq!(w.live(30 * MINUTE), Stop::Idle, "{at}");
        assert!(w.cancel_at.borrow().is_none(), "{at}: {}", w.tail());
        let failures = w.net.broker.borrow().failures();
        if cancelled {
            assert_eq!(failures, [(-1, "cancelled".into())], "{at}: {}", w.tail());
            assert!(w.runs(&i.old) && w.is_settled(), "{at}");
            // Not permanent.
            w.live(30 * MINUTE);
        } else {
            assert_eq!(failures, [], "{at}");
        }
        assert!(w.runs(&i.new) && w.is_settled(), "{at}: {}", w.tail());
        goes_on(&w, &i.next, at);
    }
}

#[test]
fn check_asks_the_cloud_and_stop_ends_the_run() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    w.net.broker.borrow_mut().pushes = false;
    w.control.check();
    w.live(10 * MINUTE);
    assert!(
        w.runs(&i.new) && w.net.broker.borrow().gets >= 1,
        "{}",
        w.tail()
    );
    w.control.stop();
    let before = w.net.broker.borrow().disconnects;
    assert_eq!(w.power(MINUTE), Stop::Stopped);
    assert_eq!(
        w.net.broker.borrow().disconnects,
        before,
        "there was no connection yet"
    );
}

#[test]
fn servers_with_whims() {
    let i = images();
    let file = "/2.0.0.bin".to_string();
    let size = i.new.len();
    // Faults of the first answers, the rest of the answers, window, bytes more than the file.
    type Case = (&'static str, Vec<Option<Fault>>, Option<Fault>, u32, usize);
    let cases: Vec<Case> = vec![
        ("range ignored", vec![], Some(Fault::RangeIgnored), 0, 0),
        (
            "range ignored, windows",
            vec![],
            Some(Fault::RangeIgnored),
            8192,
            0,
        ),
        (
            "range ignored after a reset",
            vec![Some(Fault::Reset(9_000)), Some(Fault::RangeIgnored)],
            None,
            0,
            size,
        ),
        (
            "wrong Content-Range once",
            vec![Some(Fault::WrongRange)],
            None,
            0,
            size,
        ),
        (
            "short body",
            vec![Some(Fault::Short(5_000)), Some(Fault::Short(5_000))],
            None,
            0,
            300,
        ),
        (
            "reset in mid-body",
            vec![Some(Fault::Reset(5_000)), Some(Fault::Reset(1)), None],
            None,
            0,
            300,
        ),
        (
            "reset again and again",
            vec![],
            Some(Fault::Reset(1_500)),
            0,
            300,
        ),
        ("stall", vec![Some(Fault::Stall(5_000))], None, 0, 300),
        (
            "stall in a window",
            vec![None, Some(Fault::Stall(100))],
            None,
            8192,
            300,
        ),
        (
            "another file in mid download",
            vec![None, Some(Fault::OtherFile(vec![1; size]))],
            None,
            8192,
            2 * size,
        ),
        (
            "another file after a reset",
            vec![
                Some(Fault::Reset(9_000)),
                Some(Fault::OtherFile(vec![1; size])),
            ],
            None,
            0,
            size,
        ),
        ("spoilt once", vec![Some(Fault::Spoilt)], None, 0, size),
        (
            "busy",
            vec![Some(Fault::Status(503)), Some(Fault::Status(429))],
            None,
            0,
            0,
        ),
        ("expired", vec![Some(Fault::Status(403))], None, 0, 0),
        (
            "expired in mid download",
            vec![None, Some(Fault::Status(403))],
            None,
            8192,
            0,
        ),
        ("chunked", vec![], Some(Fault::Chunked), 0, 0),
        ("chunked windows", vec![], Some(Fault::Chunked), 4096, 0),
        (
            "closes idle connections",
            vec![],
            Some(Fault::CloseAfter),
            4096,
            0,
        ),
        (
            "says that it closes",
            vec![],
            Some(Fault::SayClose),
            4096,
            0,
        ),
        ("small windows", vec![], None, 1000, 0),
        (
            "redirects",
            vec![Some(Fault::Redirect(format!("//mirror.example{file}")))],
            None,
            0,
            0,
        ),
        (
            "redirects on the same host",
            vec![
                Some(Fault::Redirect(file.clone())),
                Some(Fault::Redirect("./2.0.0.bin".into())),
            ],
            None,
            0,
            0,
        ),
        (
            "redirects in a window",
            vec![
                None,
                Some(Fault::Redirect(format!("http://mirror.example:8080{file}"))),
            ],
            None,
            8192,
            0,
        ),
        (
            "five redirects",
            vec![Some(Fault::Redirect(file.clone())); 5],
            None,
            0,
            0,
        ),
    ];
    for (name, faults, always, window, more) in cases {
        for piece in [0, 1] {
            let mut w = World::new(&i.old, 8);
            w.window = window;
            w.net.piece.set(piece);
            w.publish("2.0.0", &i.new);
            {
                let mut server = w.net.server.borrow_mut();
                (server.faults, server.always) = (faults.clone().into(), always.clone());
            }
            w.live(60 * MINUTE);
            assert!(w.runs(&i.new) && w.is_settled(), "{name}: {}", w.tail());
            assert_eq!(w.net.broker.borrow().failures(), [], "{name}");
            let faults_left = w.net.server.borrow().faults.len();
            assert_eq!(faults_left, 0, "{name}");
            let taken = w.net.server.borrow().sent;
            let bound = if always == Some(Fault::RangeIgnored) {
                usize::MAX
            } else {
                size + more
            };
            // Bytes that a reset has lost on the way are no fault of the device.
            let lost = if matches!(always, Some(Fault::Reset(_))) {
                20 * 1_500
            } else {
                0
            };
            assert!(
                taken <= bound.saturating_add(lost),
                "{name}: {taken} of {size}"
            );
            if name.starts_with("expired") {
                assert_eq!(w.net.broker.borrow().gets, 1, "{name}");
            }
            if name.contains("mirror") {
                assert!(
                    w.net
                        .opened
                        .borrow()
                        .iter()
                        .any(|o| o.0 == "mirror.example"),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn plain_instead_of_tls_only_by_policy() {
    let i = images();
    let old = image("1.0.0", 20_000, Some(&key()));
    let new = image("2.0.0", 21_000, Some(&key()));
    let mut w = World::new(&old, 8);
    w.keys = vec![key().public().clone()];
    w.policy.image_signature = ota_verify::Requirement::Required;
    w.policy.allow_plain_download = true;
    let push = offer("2.0.0", &new, "https://files.example/2.0.0.bin");
    w.publish_as("2.0.0", &new, push.clone());
    w.live(30 * MINUTE);
    assert!(w.runs(&new), "{}", w.tail());
    let opened = |w: &World| {
        let opened = w.net.opened.borrow();
        opened
            .iter()
            .find(|o| o.0 == "files.example")
            .cloned()
            .map(|o| (o.1, o.2))
    };
    assert_eq!(opened(&w), Some((80, Security::Plain)));
    // With TLS it is used, and never left.
    let w = World::new(&i.old, 8);
    w.net.tls.set(true);
    w.publish_as("2.0.0", &new, push);
    let down = "http://files.example/2.0.0.bin".to_string();
    w.net.server.borrow_mut().faults = [Some(Fault::Redirect(down))].into();
    w.live(5 * MINUTE);
    assert_eq!(opened(&w), Some((443, Security::Tls)));
    let failures = w.net.broker.borrow().failures();
    assert!(
        failures[0].0 == -2 && failures[0].1.contains("https to http"),
        "{failures:?}"
    );
    assert!(w.runs(&i.old));
}

/// `http://files.example/2.0.0.bin` with a query, `len` bytes in all.
fn long_url(version: &str, len: usize) -> (String, String) {
    let path = format!("/{version}.bin?Signature=");
    let start = format!("http://files.example{path}");
    let fill = "s".repeat(len - start.len());
    (start + &fill, path + &fill)
}

#[test]
fn long_messages_and_urls() {
    let i = images();
    let w = World::new(&i.old, 8);
    let (url, path) = long_url("2.0.0", 2048);
    let (next_url, next_path) = long_url("3.0.0", 2048);
    let mut first = offer("2.0.0", &i.new, &url);
    // Payloads of 4,096 bytes.
    let pad = 4096 - first.to_string().len() - r#","extData":"""#.len();
    first["extData"] = "x".repeat(pad).into();
    let first = first.to_string().into_bytes();
    assert_eq!(first.len(), 4096);
    // A longer one than fits beside the URL of the first, in mid download.
    let mut second = offer("3.0.0", &i.next, &next_url);
    second["extData"] = "y".repeat(pad).into();
    let second = second.to_string().into_bytes();
    let mut server = w.net.server.borrow_mut();
    server.files.insert(path, i.new.clone());
    server.files.insert(next_path, i.next.clone());
    // It leads elsewhere first, with a long name too.
    let (_, mirror) = long_url("2.0.0", 1800);
    server.files.insert(mirror.clone(), i.new.clone());
    let to = format!("http://mirror.example{mirror}");
    server.faults = [Some(Fault::Redirect(to)), Some(Fault::Slow(100))].into();
    drop(server);
    let mut broker = w.net.broker.borrow_mut();
    broker.extra = vec![
        (When::Inform(1), first),
        (When::Percent(20), second.clone()),
    ];
    broker.offer = Some(("3.0.0".into(), second));
    drop(broker);
    w.live(30 * MINUTE);
    // The first is installed; the second, which was dropped, is asked for after
    // a cancel, or pushed when the new version reports.
    assert!(
        w.saw("Oversized") && w.saw("mirror.example"),
        "{}",
        w.tail()
    );
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    w.net.broker.borrow_mut().pushes = true;
    w.live(30 * MINUTE);
    assert!(w.runs(&i.next) && w.is_settled(), "{}", w.tail());
}

#[test]
fn what_was_dropped_during_a_download_is_asked_for_after_it() {
    let i = images();
    let w = World::new(&i.old, 8);
    let (url, path) = long_url("3.0.0", 2048);
    let mut second = offer("3.0.0", &i.next, &url);
    second["extData"] = "y".repeat(1500).into();
    let second = second.to_string().into_bytes();
    let (first_url, first_path) = long_url("2.0.0", 2048);
    let first = offer("2.0.0", &i.new, &first_url).to_string().into_bytes();
    let mut server = w.net.server.borrow_mut();
    server.files.insert(path, i.next.clone());
    server.files.insert(first_path, i.new.clone());
    server.faults = [Some(Fault::Slow(100))].into();
    drop(server);
    let mut broker = w.net.broker.borrow_mut();
    broker.extra = vec![(When::Inform(1), first), (When::Percent(5), second.clone())];
    broker.offer = Some(("3.0.0".into(), second));
    drop(broker);
    // The user does not want the first one.
    w.cancel_at.replace(Some("Progress { done: 4009".into()));
    w.live(30 * MINUTE);
    assert!(
        w.saw("Oversized") && w.net.broker.borrow().gets == 1,
        "{}",
        w.tail()
    );
    assert!(w.runs(&i.next) && w.is_settled(), "{}", w.tail());
}

#[test]
fn an_image_that_does_not_live_is_reverted_and_not_taken_again() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    w.app_hangs.set(true);
    w.live(30 * MINUTE);
    w.app_hangs.set(false);
    assert!(w.runs(&i.old) && w.is_settled(), "{}", w.tail());
    let asked = w.asked();
    let failures = w.net.broker.borrow().failures();
    // The reason alone, though the package was offered again before it was told.
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        failures[0].0 == -1 && failures[0].1.contains("reverted"),
        "{failures:?}"
    );
    // Nor after another start.
    w.live(30 * MINUTE);
    let last = w.net.broker.borrow().failures().pop();
    assert_eq!(last, Some((-1, "package failed before".into())));
    assert_eq!((w.asked(), asked), (1, 1));
    goes_on(&w, &i.next, "reverted");
}

#[test]
fn a_version_that_never_reaches_the_cloud_gives_up_its_turns() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot);
    w.net
        .no_broker
        .replace(std::iter::repeat_n(ConnectFailure::Connect, 10_000).collect());
    let mut turns = 0;
    while w.power(60 * MINUTE) == Stop::Reboot {
        turns += 1;
        assert!(turns < 5);
    }
    assert!(turns == 3 && w.saw("TrialExpired"), "{turns}: {}", w.tail());
    assert!(w.runs(&i.old));
    w.net.no_broker.borrow_mut().clear();
    goes_on(&w, &i.next, "expired");
    let failures = w.net.broker.borrow().failures();
    assert!(failures[0].1.contains("reverted"), "{failures:?}");
}

#[test]
fn the_image_changes_before_the_loader_sees_it() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot);
    w.flash
        .borrow_mut()
        .flip(w.active * SECTOR as u32 + 9_000, 4);
    w.live(30 * MINUTE);
    assert!(w.runs(&i.old) && w.is_settled(), "{}", w.tail());
    let failures = w.net.broker.borrow().failures();
    assert!(
        failures[0].0 == -3 && failures[0].1.contains("refused image"),
        "{failures:?}"
    );
    assert_eq!(w.asked(), 1, "the same package is not fetched again");
    goes_on(&w, &i.next, "refused by the loader");
}

#[test]
fn an_image_that_informs_another_version_than_offered_rejects_itself() {
    let i = images();
    let w = World::new(&i.old, 8);
    assert_eq!(w.power(MINUTE), Stop::Idle);
    w.says
        .replace(Some(ota_verify::Version::new("2.0.1").unwrap()));
    w.publish("2.0.0", &i.new);
    w.live(30 * MINUTE);
    w.says.replace(None);
    assert!(
        w.saw("Rejected") && w.runs(&i.old) && w.is_settled(),
        "{}",
        w.tail()
    );
    let versions = w.net.broker.borrow().versions.clone();
    assert!(
        w.asked() == 1 && versions.iter().all(|v| v == "1.0.0"),
        "{versions:?}"
    );
    let failures = w.net.broker.borrow().failures();
    assert!(
        failures[0].0 == -1 && failures[0].1.contains("reverted"),
        "{failures:?}"
    );
    goes_on(&w, &i.next, "another version");
}

#[test]
fn the_last_report_is_never_acknowledged() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    w.net.broker.borrow_mut().no_ack_for = Some("\"100\"".into());
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot, "{}", w.tail());
    let took = ota_agent::Clock::now_ms(&w.time);
    assert!(took < 10_000, "restarts after {took} ms");
    assert_eq!(w.net.broker.borrow().disconnects, 1);
    w.net.broker.borrow_mut().no_ack_for = None;
    w.live(10 * MINUTE);
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
}

#[test]
fn failures_are_reported_until_they_are_acknowledged() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    w.net.server.borrow_mut().always = Some(Fault::Gzip);
    w.net.broker.borrow_mut().no_ack_for = Some("\"-2\"".into());
    assert_eq!(w.power(3 * MINUTE), Stop::Idle);
    {
        let broker = w.net.broker.borrow();
        assert!(broker.failures().len() > 2, "{}", w.tail());
        // A broker that acknowledges nothing any more is left.
        assert!(
            broker.sign_ons > 1 && w.saw("TimedOut(PubAck)"),
            "{}",
            w.tail()
        );
    }
    w.net.broker.borrow_mut().no_ack_for = None;
    w.net.server.borrow_mut().always = None;
    goes_on(&w, &i.next, "reported");
}

#[test]
fn power_goes_after_the_new_version_runs_and_before_its_report() {
    let i = images();
    let w = World::new(&i.old, 8);
    w.publish("2.0.0", &i.new);
    assert_eq!(w.power(10 * MINUTE), Stop::Reboot);
    for _ in 0..2 {
        // Not long enough to reach the broker.
        w.net.no_broker.replace([ConnectFailure::Connect].into());
        assert_eq!(w.power(500), Stop::Idle);
        assert!(w.runs(&i.new));
    }
    w.live(10 * MINUTE);
    assert!(w.runs(&i.new) && w.is_settled(), "{}", w.tail());
    assert_eq!(w.net.broker.borrow().failures(), []);
}

/// The file on the server is another one than was offered. Power fails between the
/// two downloads that prove it.
#[test]
fn a_wrong_digest_is_counted_over_resets() {
    let Images { old, new, .. } = images();
    for cut in [false, true] {
        let w = World::new(&old, 8);
        w.publish("2.0.0", &new);
        w.net.server.borrow_mut().always = Some(Fault::Spoilt);
        if cut {
            w.off_at.replace(Some(("Download {".into(), 2)));
            assert_eq!(w.power(5 * MINUTE), Stop::Cut);
            assert_eq!(w.net.server.borrow().sent, new.len());
            w.off_at.replace(None);
        }
        w.live(5 * MINUTE);
        assert!(w.runs(&old), "{}", w.tail());
        // Two full downloads, not one more for the reset.
        assert_eq!(w.net.server.borrow().sent, 2 * new.len(), "{}", w.tail());
        let failures = w.net.broker.borrow().failures();
        assert_eq!(failures.last(), Some(&(-3, "digest mismatch".to_owned())));
        // And it stays refused.
        w.live(5 * MINUTE);
        assert_eq!(w.net.server.borrow().sent, 2 * new.len(), "{}", w.tail());
    }
}
