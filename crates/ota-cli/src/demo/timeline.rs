//! Where the virtual time of an update goes.

use hal_mk3060::PARTITIONS;
use hal_mk3060::memory::SECTOR_LEN;
use mk3060_sim::{FlashCounts, Time};
use ota_flash::PartitionId;

/// A moment, and what the flash chip had done by then.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: Time,
    flash: FlashCounts,
}

/// From one mark to the next.
struct Span {
    time: Time,
    erase: Time,
    program: Time,
    sectors: u64,
}

impl Mark {
    fn until(self, end: Self) -> Span {
        Span {
            time: end.at.since(self.at),
            erase: end.flash.erase_time.since(self.flash.erase_time),
            program: end.flash.program_time.since(self.flash.program_time),
            sectors: end.flash.erases - self.flash.erases,
        }
    }
}

/// The steps of one update, as seen from outside: on the console and at the
/// flash chip.
#[derive(Debug, Default)]
pub struct Timeline {
    package: u32,
    /// Sectors the new image covers.
    sectors: u32,
    push: Mark,
    download: Option<Mark>,
    downloaded: Option<Mark>,
    requested: Option<Mark>,
    reset: Option<Mark>,
    swap: Option<Mark>,
    swapped: Option<Mark>,
    started: Option<Mark>,
    end: Mark,
    shown: u32,
}

impl Timeline {
    /// Of an update to an image of `len` bytes.
    pub fn new(len: usize) -> Self {
        Self {
            sectors: (len as u32).div_ceil(SECTOR_LEN),
            ..Self::default()
        }
    }

    /// The cloud has pushed.
    pub fn push(&mut self, at: Time, flash: FlashCounts) {
        *self = Self {
            sectors: self.sectors,
            push: Mark { at, flash },
            ..Self::default()
        };
    }

    /// The cloud says success.
    pub fn end(&mut self, at: Time, flash: FlashCounts) {
        self.end = Mark { at, flash };
    }

    /// A line on the console.
    pub fn line(&mut self, at: Time, text: &str, flash: FlashCounts) {
        let mark = Some(Mark { at, flash });
        if let Some((_, size)) = text.split_once("download file size:") {
            self.package = size.parse().unwrap_or(0);
            self.download = self.download.or(mark);
        } else if text.contains("download finish ret:0") {
            self.downloaded = mark;
        } else if text.contains("OTA finish") {
            self.requested = mark;
        } else if text.contains("Hello OTA") && self.swapped.is_some() {
            self.started = self.started.or(mark);
        }
    }

    /// The chip was reset.
    pub fn reset(&mut self, at: Time, flash: FlashCounts) {
        if self.requested.is_some() {
            self.reset = self.reset.or(Some(Mark { at, flash }));
        }
    }

    /// An operation of the flash chip; a text when the loader has got further.
    pub fn flash(
        &mut self,
        at: Time,
        offset: u32,
        erase: bool,
        flash: FlashCounts,
    ) -> Option<String> {
        let within = |id| {
            let part = PARTITIONS.get(id)?;
            (part.start()..part.start() + part.len())
                .contains(&offset)
                .then(|| (offset - part.start()) / SECTOR_LEN)
        };
        let active = within(PartitionId::Application);
        if self.reset.is_none()
            || self.started.is_some()
            || active.or(within(PartitionId::OtaTemp)).is_none()
        {
            return None;
        }
        self.swap = self.swap.or(Some(Mark { at, flash }));
        self.swapped = Some(Mark { at, flash });
        active.filter(|_| erase)?;
        self.shown += 1;
        let quarter = self.sectors.div_ceil(4);
        let tell = self.shown.is_multiple_of(quarter) || self.shown == self.sectors;
        tell.then(|| format!("sector {} of {}", self.shown, self.sectors))
    }

    /// Bytes downloaded, and seconds: from push to success, of the download, in
    /// the loader.
    pub fn figures(&self) -> (u32, [f64; 3]) {
        let between = |from: Option<Mark>, to: Option<Mark>| match (from, to) {
            (Some(from), Some(to)) => from.until(to).time.as_secs_f64(),
            _ => 0.0,
        };
        let all = self.push.until(self.end).time.as_secs_f64();
        let download = between(self.download, self.downloaded);
        let loader = between(self.reset, self.started);
        (self.package, [all, download, loader])
    }

    /// The figures, step by step.
    pub fn report(&self) -> Vec<String> {
        let or = |mark: Option<Mark>, before: Mark| mark.unwrap_or(before);
        let download = or(self.download, self.push);
        let downloaded = or(self.downloaded, download);
        let requested = or(self.requested, downloaded);
        let reset = or(self.reset, requested);
        let swap = or(self.swap, reset);
        let swapped = or(self.swapped, swap);
        let started = or(self.started, swapped);
        let parts = [
            ("offer", self.push.until(download)),
            ("download", download.until(downloaded)),
            ("check and request (otaapp)", downloaded.until(requested)),
            ("last report, restart", requested.until(reset)),
            ("check before (boot2)", reset.until(swap)),
            ("swap (boot2)", swap.until(swapped)),
            ("check after (boot2), start", swapped.until(started)),
            ("sign-on, report, confirm", started.until(self.end)),
        ];
        let mut out = vec![format!(
            "== virtual time from push to success: {:.3} s, {} bytes downloaded",
            self.push.until(self.end).time.as_secs_f64(),
            self.package
        )];
        for (name, span) in &parts {
            let mut text = format!("   {name:<27} {:>8.3} s", span.time.as_secs_f64());
            if span.sectors > 0 {
                text += &format!(
                    "   of it erase {:.3} s ({} sectors), program {:.3} s",
                    span.erase.as_secs_f64(),
                    span.sectors,
                    span.program.as_secs_f64()
                );
            }
            out.push(text);
        }
        let all = self.push.until(self.end);
        let [_, load, check, _, before, swap, after, _] = &parts;
        // Whatever the checks do that is not flash work is hashing what lies there.
        let hash: f64 = [check, before, after]
            .map(|(_, span)| span.time.since(span.erase + span.program).as_secs_f64())
            .iter()
            .sum();
        out.push(format!(
            "   in all: download {:.3} s, erase {:.3} s, program {:.3} s, hash {hash:.3} s, swap {:.3} s",
            load.1.time.as_secs_f64(),
            all.erase.as_secs_f64(),
            all.program.as_secs_f64(),
            swap.1.time.as_secs_f64(),
        ));
        out
    }
}
