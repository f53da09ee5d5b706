//! What happened, in order: for progress bars, demos and tests.

use crate::store::now_ms;
use crate::{Cloud, Error, Result};
use rusqlite::{Row, params};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Kind of an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A device has signed on.
    Connected,
    /// A connection has ended; `text` says how.
    Disconnected,
    /// A sign-on was refused; `text` says why.
    Refused,
    /// A device has informed its version (`text`).
    Inform,
    /// An upgrade message was sent and acknowledged; `text` is the target version.
    Pushed,
    /// A device has asked for its upgrade itself (`firmware/get` or the older `request`).
    Asked,
    /// A device reports progress: `step`, and its words in `text`.
    Progress,
    /// The update of a device has changed its state; `text` is the new state.
    State,
    /// A download request was answered; `text` tells status and range.
    Download,
    /// A message was not understood or not allowed; `text` says why.
    Ignored,
}

impl EventKind {
    const ALL: [Self; 10] = [
        Self::Connected,
        Self::Disconnected,
        Self::Refused,
        Self::Inform,
        Self::Pushed,
        Self::Asked,
        Self::Progress,
        Self::State,
        Self::Download,
        Self::Ignored,
    ];

    /// The name in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Refused => "refused",
            Self::Inform => "inform",
            Self::Pushed => "pushed",
            Self::Asked => "asked",
            Self::Progress => "progress",
            Self::State => "state",
            Self::Download => "download",
            Self::Ignored => "ignored",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Number, ascending in time.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What.
    pub kind: EventKind,
    /// ProductKey of the device (as claimed, for a refused sign-on).
    pub pk: String,
    /// DeviceName of the device (as claimed, for a refused sign-on).
    pub dn: String,
    /// Job it belongs to.
    pub job: Option<i64>,
    /// Step of a progress report: 0 to 100, or a negative error code.
    pub step: Option<i32>,
    /// Details.
    pub text: String,
}

/// How often a wait looks into the database.
const POLL: Duration = Duration::from_millis(25);

impl Cloud {
    /// Number of the newest event, 0 when there is none.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub fn last_event(&self) -> Result<i64> {
        Ok(self
            .db()
            .query_row("SELECT COALESCE(MAX(id), 0) FROM events", [], |r| r.get(0))?)
    }

    /// Events after number `after`, oldest first, at most 1000.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub fn events_after(&self, after: i64) -> Result<Vec<Event>> {
        let db = self.db();
        let mut query = db.prepare_cached(
            "SELECT id, at, kind, pk, dn, job, step, text FROM events WHERE id>?1 \
             ORDER BY id LIMIT 1000",
        )?;
        let rows = query.query_map([after], event_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Events of a job, oldest first.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub fn job_events(&self, job: i64) -> Result<Vec<Event>> {
        let db = self.db();
        let mut query = db.prepare_cached(
            "SELECT id, at, kind, pk, dn, job, step, text FROM events WHERE job=?1 ORDER BY id",
        )?;
        let rows = query.query_map([job], event_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Waits for the first event after number `after` that `wanted` accepts.
    ///
    /// # Errors
    /// [`Error::Timeout`] names `what`.
    pub fn wait_event(
        &self,
        after: i64,
        timeout: Duration,
        what: &str,
        mut wanted: impl FnMut(&Event) -> bool,
    ) -> Result<Event> {
        let start = Instant::now();
        let mut seen = after;
        loop {
            for e in self.events_after(seen)? {
                seen = e.id;
                if wanted(&e) {
                    return Ok(e);
                }
            }
            if start.elapsed() >= timeout {
                return Err(Error::Timeout(what.into()));
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn note(
        &self,
        kind: EventKind,
        (pk, dn): (&str, &str),
        job: Option<i64>,
        step: Option<i32>,
        text: &str,
    ) -> Result<()> {
        log::info!("{} {pk}/{dn} {}", kind.as_str(), text);
        self.db()
            .prepare_cached(
                "INSERT INTO events(at, kind, pk, dn, job, step, text) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![now_ms(), kind.as_str(), pk, dn, job, step, text])?;
        Ok(())
    }
}

fn event_row(r: &Row<'_>) -> rusqlite::Result<Event> {
    let kind: String = r.get(2)?;
    Ok(Event {
        id: r.get(0)?,
        at: r.get(1)?,
        kind: EventKind::ALL
            .into_iter()
            .find(|k| k.as_str() == kind)
            .unwrap_or(EventKind::Ignored),
        pk: r.get(3)?,
        dn: r.get(4)?,
        job: r.get(5)?,
        step: r.get(6)?,
        text: r.get(7)?,
    })
}
