//! What the commands print: for people, or as JSON.

use ota_cloud::{Cloud, Device, Firmware, Format, Job, Product, Task};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where facts go.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    pub json: bool,
}

impl Out {
    /// Prints `value` as JSON, or lets `human` print it.
    fn print<T: Serialize>(self, value: &T, human: impl FnOnce()) {
        if self.json {
            crate::out!("{}", serde_json::to_string(value).unwrap_or_default());
        } else {
            human();
        }
    }

    /// Something a person may want to know; goes to standard error.
    pub fn hint(self, text: &str) {
        if !self.json {
            eprintln!("note: {text}");
        }
    }

    pub fn product(self, p: &Product) {
        self.print(p, || {
            crate::out!("product          {}", p.pk);
            crate::out!("product secret   {}", p.ps);
            let on = if p.secure_upgrade { "on" } else { "off" };
            crate::out!("secure upgrade   {on}");
        });
    }

    pub fn device(self, d: &Device) {
        self.print(d, || {
            crate::out!("product key      {}", d.pk);
            crate::out!("device name      {}", d.dn);
            crate::out!("device secret    {}", d.ds);
            crate::out!("product secret   {}", d.ps);
            crate::out!("state            {}", presence(d));
            for v in &d.versions {
                crate::out!(
                    "version          {} ({}, {})",
                    v.version,
                    v.module,
                    ago(v.at)
                );
            }
        });
    }

    pub fn devices(self, devices: &[Device]) {
        self.print(&devices, || {
            crate::out!("{:<32}  {:<24}  state", "device", "version");
            for d in devices {
                let version = d.version().unwrap_or("never reported");
                crate::out!("{:<32}  {version:<24}  {}", d.dn, presence(d));
            }
        });
    }

    pub fn firmware(self, f: &Firmware) {
        self.print(f, || {
            crate::out!("firmware {}: {} {}", f.id, f.pk, f.version);
            crate::out!("{}, {} bytes, {}", f.file, f.size, f.method.as_str());
        });
        if let Some(inside) = f.image_version.as_ref().filter(|v| **v != f.version) {
            self.hint(&format!(
                "the image itself is version {inside}: devices will report that one, \
                 and the update will never count as a success"
            ));
        }
        if !f.has_trailer && f.module == "default" {
            self.hint(
                "the file does not end in an image trailer: devices will refuse it \
                 (make it with `ota image pack`)",
            );
        }
        self.hint(&format!(
            "next: ota cloud firmware validate {} --mode full --device DN",
            f.id
        ));
    }

    pub fn started(self, cloud: &Cloud, job: &Job) {
        self.job(job);
        if !cloud.is_served() {
            self.hint("no cloud is serving now: devices get it when `ota cloud serve` runs");
        }
        if !job.is_over() {
            self.hint(&format!("follow it: ota cloud job watch {}", job.id));
        }
    }

    pub fn job(self, job: &Job) {
        self.print(job, || {
            crate::out!(
                "job {}: {} {} ({})",
                job.id,
                job.pk,
                job.version,
                job.mode.as_str()
            );
            for t in &job.tasks {
                crate::out!("  {:<32}  {}", t.dn, task(t));
            }
            for (format, size, devices) in packages(job) {
                crate::out!("  {}", saved(format, size, job.full_size, devices));
            }
        });
    }
}

/// Each package of a job, with the number of devices it is for.
fn packages(job: &Job) -> Vec<(Format, u64, usize)> {
    let mut all = BTreeMap::new();
    for t in &job.tasks {
        all.entry(t.package).or_insert((t.format, t.size, 0)).2 += 1;
    }
    all.into_values().collect()
}

fn saved(format: Format, size: u64, full: u64, devices: usize) -> String {
    let mut text = format!("package: {}, {size} bytes", format.as_str());
    if size < full {
        let percent = (full - size) as f64 * 100.0 / full as f64;
        text += &format!(", {} saved ({percent:.1} %)", full - size);
    } else if size > full && format != Format::Plain {
        text += &format!(", {} more than the file itself", size - full);
    }
    if devices > 1 {
        text += &format!(", for {devices} devices");
    }
    text
}

/// State, step and words of one device's update.
pub fn task(t: &Task) -> String {
    let mut text = t.state.to_string();
    match t.step {
        Some(step) if step < 0 => text += &format!(" ({step})"),
        Some(step) if t.state.is_active() => text += &format!(" {step} %"),
        _ => {}
    }
    if !t.desc.is_empty() {
        text += &format!(": {}", printable(&t.desc));
    }
    text
}

/// A device's words without anything that could move the cursor.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn presence(d: &Device) -> String {
    match (d.online, d.last_seen) {
        (true, _) => "online".into(),
        (false, Some(at)) => format!("offline, last seen {}", ago(at)),
        (false, None) => "never seen".into(),
    }
}

fn ago(at: i64) -> String {
    let then = UNIX_EPOCH + Duration::from_millis(at.unsigned_abs());
    let past = SystemTime::now().duration_since(then).unwrap_or_default();
    match past.as_secs() {
        0 => "just now".into(),
        s @ 1..=119 => format!("{s} s ago"),
        s @ 120..=7199 => format!("{} min ago", s / 60),
        s => format!("{} h ago", s / 3600),
    }
}
