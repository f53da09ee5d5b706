//! Log lines as AliOS devices print them, and a progress bar.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ota_agent::{Event, PackageKind};
use ota_proto::session::Received;
use ota_verify::Digest;

use super::device::{Note, Watch};
use super::help::Topic;

/// Prints what a device does: `[038200]<I> text`, milliseconds since power-on of
/// the process in front. The progress bar shows on a terminal only.
pub struct Console {
    begin: Instant,
    bar: ProgressBar,
    tenth: u32,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Prints on standard output.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::hidden();
        let style = "{msg:16} [{bar:40}] {bytes:>10} of {total_bytes}  {bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            begin: Instant::now(),
            bar,
            tenth: 0,
        }
    }

    /// One line, above the progress bar. A device works on when nobody reads it.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{text}");
        });
    }

    fn log(&self, level: char, text: &str) {
        let ms = self.begin.elapsed().as_millis();
        // A message from outside must not move the cursor.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        self.line(&format!("[{ms:06}]<{level}> {text}"));
    }

    fn info(&self, text: &str) {
        self.log('I', text);
    }

    fn error(&self, text: &str, topic: Topic) {
        self.log('E', &format!("{text}; see {topic}"));
    }

    fn download(&mut self, version: &str, offset: u32, size: u32) {
        self.info(&format!("ota upgrade start: ver:{version}"));
        self.info(&format!("download file size:{size}"));
        if offset > 0 {
            self.info(&format!("download start breakpoint:{offset}"));
        }
        self.tenth = percent(offset, size) / 10;
        if std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.reset();
        self.bar.set_message(version.to_owned());
        self.bar.set_length(size.into());
        self.bar.set_position(offset.into());
    }

    fn kind(&self, kind: PackageKind, kept: u32) {
        let what = match kind {
            PackageKind::Plain => return,
            PackageKind::Nbdiff => "nbdiff patch, for the boot loader",
            PackageKind::Ptr => "ptr patch, applied while it comes",
            PackageKind::Xz => ".xz image, decoded while it comes",
        };
        self.info(&format!("package: {what}"));
        if kept > 0 {
            self.info(&format!("image in flash up to:{kept}"));
        }
    }

    fn progress(&mut self, done: u32, size: u32) {
        self.bar.set_position(done.into());
        let percent = percent(done, size);
        if percent / 10 > self.tenth {
            self.tenth = percent / 10;
            if self.bar.is_hidden() {
                self.info(&format!("s:{done} per:{percent}"));
            }
        }
    }

    fn bar_ends(&self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn agent(&mut self, event: Event<'_>) {
        match event {
            Event::Connecting { host, port } => self.info(&format!("mqtt connect {host}:{port}")),
            Event::Unreachable(why) => {
                let text = match why {
                    ota_agent::ConnectFailure::Dns => "mqtt host not found",
                    ota_agent::ConnectFailure::Connect => "mqtt connection failed",
                    ota_agent::ConnectFailure::Tls => "mqtt tls failed",
                };
                self.error(text, Topic::of_connect(why));
            }
            Event::Connected => self.info("init mqtt success"),
            Event::Disconnected(None) => self.log('W', "mqtt disconnected"),
            Event::Disconnected(Some(e)) => {
                self.error(&format!("mqtt disconnected: {e}"), Topic::of_mqtt(&e));
            }
            Event::Waiting { ms, taken_over } => {
                if taken_over {
                    let text = "another device signs on with the same credentials";
                    self.error(text, Topic::SignOn);
                }
                self.info(&format!("mqtt reconnect in {ms} ms"));
            }
            Event::SubscribeRefused(filter) => {
                self.log('W', &format!("subscribe refused: {filter}"));
            }
            Event::Oversized { size, limit } => self.error(
                &format!("message of {size} bytes dropped, {limit} fit"),
                Topic::Offer,
            ),
            Event::Published { topic, payload } => {
                self.info(&format!("mqtt pub name:{topic} msg:{payload}"));
            }
            Event::Acknowledged => self.log('D', "mqtt pub acked"),
            Event::Message { topic, payload } => {
                self.log('D', &format!("upgrade:{topic}"));
                let text = String::from_utf8_lossy(payload);
                self.info(&format!("mqtt cb evt:12 {text}"));
            }
            Event::Offer(received) => self.offer(received),
            Event::PolicyRefused(why) => self.log('W', &format!("policy: {why}")),
            Event::SignatureRefused(why) => {
                self.error(&format!("digestsign: {why}"), Topic::Signature);
            }
            Event::Download {
                version,
                offset,
                size,
            } => self.download(version, offset, size),
            Event::Package { kind, kept } => self.kind(kind, kept),
            Event::Request { host, offset } => {
                self.log('D', &format!("send GET host:{host} from:{offset}"));
            }
            Event::Progress { done, size } => self.progress(done, size),
            Event::DownloadEnded(result) => {
                self.bar_ends();
                match result {
                    Ok(()) => self.info("download finish ret:0."),
                    Err(e) => self.log('W', &format!("download ended: {e}")),
                }
            }
            Event::Digest { offered, computed } => {
                self.info(&format!("hash src={offered} dst={computed}"));
            }
            Event::Verified(image) => {
                self.info(&format!(
                    "image magic={} size:{} md5:{} signature:{}",
                    image.kind.name(),
                    image.len,
                    Digest::Md5(image.md5),
                    image.signature
                ));
                self.info("OTA image pass.");
            }
            Event::PatchStored(patch) => self.info(&format!(
                "OTA patch pass, at:{:#x} makes an image of:{}",
                patch.at, patch.image_len
            )),
            Event::Failed(cause) => {
                let text = format!("upgrade over err:{} {cause}", cause.step().code());
                self.error(&text, Topic::of_cause(&cause));
            }
            Event::Requested => self.info("OTA finish"),
            Event::Confirmed => self.info("running image confirmed"),
            Event::TrialExpired => {
                self.error("no report got out in time, restart", Topic::Confirm);
            }
            Event::Rejected => self.error(
                "running image is not the version that was offered, restart",
                Topic::Version,
            ),
            Event::BootState(cause) => {
                self.error(&format!("boot state: {cause}"), Topic::of_cause(&cause));
            }
            Event::Reboot => self.info("reboot system"),
            _ => {}
        }
    }

    fn offer(&self, received: Received) {
        match received {
            Received::Accepted => {
                self.info("A new OTA update ready, will be enter OTA download.");
            }
            Received::Replaced => self.info("another OTA update takes its place"),
            Received::Same => self.info("ota is on going"),
            Received::Running => self.info("ota version runs already"),
            Received::Deferred => self.info("ota update deferred"),
            Received::Nothing => self.info("no ota update"),
            Received::NotOurs => {}
            Received::Refused(cause) => {
                let text = format!("upgrade over err:{} {cause}", cause.step().code());
                self.error(&text, Topic::of_cause(&cause));
            }
        }
    }
}

fn percent(done: u32, size: u32) -> u32 {
    (u64::from(done) * 100)
        .checked_div(u64::from(size))
        .map_or(100, |p| p as u32)
}

impl Watch for Console {
    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::PowerOn => self.info("power on, boot loader"),
            Note::Start {
                version,
                trial,
                failure,
            } => {
                if let Some(cause) = failure {
                    let text = format!("last update: {cause}");
                    self.error(&text, Topic::of_cause(&cause));
                }
                let state = if trial { "on trial" } else { "confirmed" };
                self.info(&format!("start {version} ({state})"));
                self.info("Hello OTA.");
                self.info(&format!("app_version: {version}"));
            }
            Note::PowerCut { operation } => {
                self.bar_ends();
                self.line(&format!(
                    "*** power cut fired at flash operation {operation} ***"
                ));
            }
            Note::PowerOff { operations } => {
                self.log('D', &format!("{operations} flash operations so far"));
            }
            Note::FlashFault(why) => self.error(&format!("flash: {why}"), Topic::Flash),
            Note::Network(why) => self.log('W', &format!("network: {why}")),
            Note::Agent(event) => self.agent(event),
        }
    }
}
