//! How the update of one device moves on. Pure: facts in, state out.

use serde::Serialize;
use std::fmt;

/// Where the update of one device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Not pushed yet: the device is offline, or the push is on its way.
    Queued,
    /// Pushed, and the device has acknowledged the message.
    Notified,
    /// The device reports progress.
    InProgress,
    /// The device has informed the target version.
    Succeeded,
    /// The device has reported a failure, or runs another version again after a success.
    Failed,
    /// The job was canceled before this device had ended.
    Canceled,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact<'a> {
    /// The device has acknowledged the upgrade message, or has asked for it itself.
    Pushed,
    /// The device reports a step: 0 to 100 percent, or a negative error code.
    Progress(i32),
    /// The device informs the version it runs.
    Inform(&'a str),
    /// The job is canceled.
    Cancel,
}

impl TaskState {
    /// All states, for tables.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Notified,
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::Canceled,
    ];

    /// Whether the update may still be pushed.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Notified | Self::InProgress)
    }

    /// The state after `fact`, for an update to version `target`.
    ///
    /// Only the informed version makes a success, whatever the steps said. A
    /// device that retries by itself after a reported failure is in progress
    /// again; one that falls back after a success has failed.
    pub fn next(self, target: &str, fact: Fact<'_>) -> Self {
        use TaskState::*;
        match (self, fact) {
            (Canceled, _) => Canceled,
            (Queued, Fact::Pushed) => Notified,
            (s, Fact::Pushed) => s,
            (_, Fact::Progress(step)) if step < 0 => Failed,
            (Succeeded, Fact::Progress(_)) => Succeeded,
            (_, Fact::Progress(_)) => InProgress,
            (_, Fact::Inform(v)) if v == target => Succeeded,
            (Succeeded, Fact::Inform(_)) => Failed,
            (s, Fact::Inform(_)) => s,
            (s, Fact::Cancel) if s.is_active() => Canceled,
            (s, Fact::Cancel) => s,
        }
    }

    /// The name in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Notified => "NOTIFIED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{TaskState::*, *};

    #[test]
    fn only_the_informed_version_makes_a_success() {
        for s in TaskState::ALL {
            assert_eq!(
                s.next("2", Fact::Inform("2")) == Succeeded,
                s != Canceled,
                "{s}"
            );
            assert_eq!(
                s.next("2", Fact::Progress(100)) == Succeeded,
                s == Succeeded,
                "{s}"
            );
            assert_eq!(
                s.next("2", Fact::Pushed) == Succeeded,
                s == Succeeded,
                "{s}"
            );
        }
    }

    #[test]
    fn the_usual_way() {
        let mut s = Queued;
        for (fact, want) in [
            (Fact::Inform("1"), Queued),
            (Fact::Pushed, Notified),
            (Fact::Pushed, Notified),
            (Fact::Progress(0), InProgress),
            (Fact::Progress(100), InProgress),
            (Fact::Inform("1"), InProgress),
            (Fact::Inform("2"), Succeeded),
        ] {
            s = s.next("2", fact);
            assert_eq!(s, want, "{fact:?}");
        }
    }

    #[test]
    fn every_error_code_fails_and_a_retry_is_progress_again() {
        for code in [-1, -2, -3, -4, -15, i32::MIN] {
            let s = InProgress.next("2", Fact::Progress(code));
            assert_eq!(s, Failed);
            assert_eq!(s.next("2", Fact::Progress(10)), InProgress);
            assert_eq!(s.next("2", Fact::Inform("2")), Succeeded);
            assert_eq!(s.next("2", Fact::Inform("1")), Failed);
        }
    }

    #[test]
    fn falling_back_after_a_success_is_a_failure() {
        assert_eq!(Succeeded.next("2", Fact::Inform("1")), Failed);
        assert_eq!(Succeeded.next("2", Fact::Progress(-1)), Failed);
    }

    #[test]
    fn canceled_is_final_and_only_open_updates_are_canceled() {
        for s in TaskState::ALL {
            let want = if s.is_active() { Canceled } else { s };
            assert_eq!(s.next("2", Fact::Cancel), want);
        }
        for f in [
            Fact::Pushed,
            Fact::Progress(5),
            Fact::Progress(-1),
            Fact::Inform("2"),
        ] {
            assert_eq!(Canceled.next("2", f), Canceled);
        }
    }

    #[test]
    fn names_round_trip() {
        for s in TaskState::ALL {
            assert_eq!(TaskState::parse(s.as_str()), Some(s));
        }
        assert_eq!(TaskState::parse("DONE"), None);
    }
}
