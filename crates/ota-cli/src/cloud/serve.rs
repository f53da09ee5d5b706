//! `ota cloud serve`.

use super::show::{Out, printable};
use ota_cloud::{Cloud, Config, Error, Event, EventKind, TlsFiles};
use std::path::Path;
use std::time::Duration;

/// Serves until interrupted and prints what happens.
pub fn run(data: &Path, args: &super::Serve, out: Out) -> Result<(), Error> {
    let mut config = Config::new(data);
    config.mqtt = args.mqtt;
    config.http = args.http;
    config.public_url.clone_from(&args.public_url);
    config.url_ttl = Duration::from_secs(args.url_ttl);
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        config.tls = Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
        });
    }
    let server = Cloud::start(config)?;
    let mut seen = server.last_event()?;
    if out.json {
        let facts = serde_json::json!({"mqtt": server.mqtt_addr(), "http": server.http_addr()});
        crate::out!("{facts}");
    } else {
        crate::out!("devices sign on at   {}", server.mqtt_addr());
        crate::out!("files are served at  {}", server.http_addr());
        crate::out!("data directory       {}", data.display());
    }
    loop {
        for event in server.events_after(seen)? {
            seen = event.id;
            if out.json {
                crate::out!("{}", serde_json::to_string(&event).unwrap_or_default());
            } else {
                crate::out!("{}", line(&event));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One event in words.
pub fn line(e: &Event) -> String {
    let text = printable(&e.text);
    let what = match (e.kind, e.step) {
        (EventKind::Inform, _) => format!("runs version {text}"),
        (EventKind::Pushed, _) => format!("has been offered {text}"),
        (EventKind::Asked, _) => format!("asks for its upgrade: {text}"),
        (EventKind::Progress, Some(s)) if s < 0 => format!("reports failure {s} {text}"),
        (EventKind::Progress, Some(s)) => format!("{s} % {text}"),
        (EventKind::State, _) => text,
        (kind, _) => format!("{} {text}", kind.as_str()),
    };
    let job = e.job.map_or(String::new(), |j| format!(" [job {j}]"));
    format!("{}/{}{job} {}", e.pk, e.dn, what.trim_end())
}
