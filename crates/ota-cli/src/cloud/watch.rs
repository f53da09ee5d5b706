//! `ota cloud job watch`: one bar per device.

use super::show::{Out, printable, task};
use crate::{Failure, Outcome};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ota_cloud::{Cloud, Event, EventKind};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

/// Follows a job to its end.
pub fn run(cloud: &Cloud, id: i64, timeout: Duration, out: Out) -> Outcome {
    let job = cloud.job(id)?;
    let mut bars = None;
    if !out.json {
        crate::out!("job {id}: {} {}", job.pk, job.version);
        if !cloud.is_served() {
            out.hint("no cloud is serving this directory now; start `ota cloud serve`");
        }
        if std::io::stderr().is_terminal() {
            bars = Some(Bars::new(job.tasks.iter().map(|t| t.dn.as_str())));
        }
    }
    let job = cloud.wait_job(id, timeout, |e| match &bars {
        _ if out.json => crate::out!("{}", serde_json::to_string(e).unwrap_or_default()),
        Some(bars) => bars.show(e),
        None => crate::out!("{}", super::serve::line(e)),
    })?;
    if let Some(bars) = bars {
        bars.finish();
    }
    if out.json {
        crate::out!("{}", serde_json::to_string(&job).unwrap_or_default());
    } else {
        for t in &job.tasks {
            crate::out!("{:<32}  {}", t.dn, task(t));
        }
    }
    if job.succeeded() {
        Ok(())
    } else {
        Err(
            Failure::new(format!("job {id} has not succeeded on every device"))
                .help("the reason each device gave stands behind its state"),
        )
    }
}

struct Bars(BTreeMap<String, ProgressBar>);

impl Bars {
    fn new<'a>(devices: impl Iterator<Item = &'a str>) -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:16} [{bar:40}] {pos:>3} % {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = |dn: &str| {
            let bar = all.add(ProgressBar::new(100).with_style(style.clone()));
            bar.set_prefix(dn.to_string());
            bar.set_message("waiting");
            (dn.to_string(), bar)
        };
        Self(devices.map(bar).collect())
    }

    fn show(&self, e: &Event) {
        let Some(bar) = self.0.get(&e.dn) else { return };
        match (e.kind, e.step) {
            (EventKind::Progress, Some(s)) if s >= 0 => {
                bar.set_position(u64::from(s.unsigned_abs()));
                bar.set_message(printable(&e.text));
            }
            (EventKind::State | EventKind::Progress, _) => bar.set_message(printable(&e.text)),
            _ => {}
        }
    }

    fn finish(&self) {
        for bar in self.0.values() {
            bar.abandon();
        }
    }
}
