//! What the agent reports, as log lines an AliOS user knows.

use core::fmt;
use ota_agent::{ConnectFailure, Event, PackageKind};
use ota_proto::session::Received;

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Details.
    Debug,
    /// What happens.
    Info,
    /// Something to know.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The letter in the line.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Debug => 'D',
            Self::Info => 'I',
            Self::Warning => 'W',
            Self::Error => 'E',
        }
    }
}

/// Prints one line, as in `[038200]<I> text`.
pub trait Log {
    /// Prints `text`; control characters are the printer's business.
    fn line(&mut self, level: Level, text: fmt::Arguments<'_>);
}

/// Progress is shown at each tenth.
#[derive(Debug, Default)]
pub struct Reporter {
    tenth: u32,
}

fn percent(done: u32, size: u32) -> u32 {
    // Images are shorter than 4 GiB / 100.
    done.saturating_mul(100).checked_div(size).unwrap_or(100)
}

/// Bytes of a message as text, up to the first that is none.
fn text(bytes: &[u8]) -> &str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => bytes
            .get(..e.valid_up_to())
            .and_then(|good| core::str::from_utf8(good).ok())
            .unwrap_or_default(),
    }
}

impl Reporter {
    /// Prints what an event says.
    pub fn event(&mut self, event: Event<'_>, log: &mut impl Log) {
        use Level::{Debug, Error, Info, Warning};
        match event {
            Event::Connecting { host, port } => {
                log.line(Info, format_args!("mqtt connect {host}:{port}"));
            }
            Event::Unreachable(why) => {
                let what = match why {
                    ConnectFailure::Dns => "mqtt host not found",
                    ConnectFailure::Connect => "mqtt connection failed",
                    ConnectFailure::Tls => "mqtt tls failed",
                };
                log.line(Error, format_args!("{what}"));
            }
            Event::Connected => log.line(Info, format_args!("init mqtt success")),
            Event::Disconnected(None) => log.line(Warning, format_args!("mqtt disconnected")),
            Event::Disconnected(Some(e)) => {
                log.line(Error, format_args!("mqtt disconnected: {e}"));
            }
            Event::Waiting { ms, taken_over } => {
                if taken_over {
                    let what = "another device signs on with the same credentials";
                    log.line(Error, format_args!("{what}"));
                }
                log.line(Info, format_args!("mqtt reconnect in {ms} ms"));
            }
            Event::SubscribeRefused(filter) => {
                log.line(Warning, format_args!("subscribe refused: {filter}"));
            }
            Event::Oversized { size, limit } => {
                let why = format_args!("message of {size} bytes dropped, {limit} fit");
                log.line(Error, why);
            }
            Event::Published { topic, payload } => {
                log.line(Info, format_args!("mqtt pub name:{topic} msg:{payload}"));
            }
            Event::Message { topic, payload } => {
                log.line(Debug, format_args!("upgrade:{topic}"));
                log.line(Info, format_args!("mqtt cb evt:12 {}", text(payload)));
            }
            Event::Offer(received) => offer(received, log),
            Event::PolicyRefused(why) => log.line(Warning, format_args!("policy: {why}")),
            Event::SignatureRefused(why) => log.line(Error, format_args!("digestsign: {why}")),
            Event::Download {
                version,
                offset,
                size,
            } => {
                log.line(Info, format_args!("ota upgrade start: ver:{version}"));
                log.line(Info, format_args!("download file size:{size}"));
                if offset > 0 {
                    log.line(Info, format_args!("download start breakpoint:{offset}"));
                }
                self.tenth = percent(offset, size) / 10;
            }
            Event::Package { kind, kept } => {
                let what = match kind {
                    PackageKind::Plain => "whole image",
                    PackageKind::Nbdiff => "nbdiff patch, for the boot loader",
                    PackageKind::Ptr => "ptr patch, applied while it comes",
                    PackageKind::Xz => ".xz image, decoded while it comes",
                };
                log.line(Info, format_args!("package: {what}"));
                if kept > 0 {
                    log.line(Info, format_args!("image in flash up to:{kept}"));
                }
            }
            Event::Request { host, offset } => {
                log.line(Debug, format_args!("send GET host:{host} from:{offset}"));
            }
            Event::Progress { done, size } => {
                let percent = percent(done, size);
                if percent / 10 > self.tenth {
                    self.tenth = percent / 10;
                    log.line(Info, format_args!("s:{done} per:{percent}"));
                }
            }
            Event::DownloadEnded(Ok(())) => log.line(Info, format_args!("download finish ret:0.")),
            Event::DownloadEnded(Err(e)) => log.line(Warning, format_args!("download ended: {e}")),
            Event::Digest { offered, computed } => {
                log.line(Info, format_args!("hash src={offered} dst={computed}"));
            }
            Event::Verified(image) => {
                let (kind, len) = (image.kind.name(), image.len);
                log.line(Info, format_args!("image magic={kind} size:{len}"));
                log.line(Info, format_args!("OTA image pass."));
            }
            Event::PatchStored(patch) => {
                let (at, len) = (patch.at, patch.image_len);
                let what = format_args!("OTA patch pass, at:{at:#x} makes an image of:{len}");
                log.line(Info, what);
            }
            Event::Failed(cause) => {
                let code = cause.step().code();
                log.line(Error, format_args!("upgrade over err:{code} {cause}"));
            }
            Event::Requested => log.line(Info, format_args!("OTA finish")),
            Event::Confirmed => log.line(Info, format_args!("running image confirmed")),
            Event::TrialExpired => {
                log.line(Error, format_args!("no report got out in time, restart"));
            }
            Event::Rejected => {
                let what = "running image is not the version that was offered, restart";
                log.line(Error, format_args!("{what}"));
            }
            Event::BootState(cause) => log.line(Error, format_args!("boot state: {cause}")),
            Event::Reboot => log.line(Info, format_args!("reboot system")),
            _ => {}
        }
    }
}

fn offer(received: Received, log: &mut impl Log) {
    let what = match received {
        Received::Accepted => "A new OTA update ready, will be enter OTA download.",
        Received::Replaced => "another OTA update takes its place",
        Received::Same => "ota is on going",
        Received::Running => "ota version runs already",
        Received::Deferred => "ota update deferred",
        Received::Nothing => "no ota update",
        Received::NotOurs => return,
        Received::Refused(cause) => {
            let code = cause.step().code();
            log.line(
                Level::Error,
                format_args!("upgrade over err:{code} {cause}"),
            );
            return;
        }
    };
    log.line(Level::Info, format_args!("{what}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Log for Lines {
        fn line(&mut self, level: Level, text: fmt::Arguments<'_>) {
            self.0.push(format!("<{}> {text}", level.letter()));
        }
    }

    #[test]
    fn progress_is_shown_at_each_tenth() {
        let (mut reporter, mut lines) = (Reporter::default(), Lines::default());
        let size = 900_000;
        let begin = Event::Download {
            version: "app-2",
            offset: 100_000,
            size,
        };
        reporter.event(begin, &mut lines);
        for done in (100_000..=size).step_by(1000) {
            reporter.event(Event::Progress { done, size }, &mut lines);
        }
        let lines = lines.0;
        assert_eq!(
            lines[..3],
            [
                "<I> ota upgrade start: ver:app-2",
                "<I> download file size:900000",
                "<I> download start breakpoint:100000"
            ]
        );
        assert_eq!(lines.len(), 3 + 9);
        assert_eq!(lines[3], "<I> s:180000 per:20");
        assert_eq!(lines[11], "<I> s:900000 per:100");
    }

    #[test]
    fn a_refused_offer_shows_the_clouds_code() {
        use ota_proto::session::{Cause, Refusal};
        let mut lines = Lines::default();
        let refused = Received::Refused(Cause::Refused(Refusal::Diff));
        Reporter::default().event(Event::Offer(refused), &mut lines);
        assert!(
            lines.0[0].starts_with("<E> upgrade over err:-1 "),
            "{lines:?}",
            lines = lines.0
        );
    }
}
