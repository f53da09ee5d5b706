//! How a command ends when it does not succeed.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// An error as the user reads it: what went wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    place: Option<String>,
    help: Option<String>,
    status: u8,
}

impl Failure {
    /// Something that was tried and did not work (exit status 1).
    #[must_use]
    pub fn new(what: impl Display) -> Self {
        Self {
            what: what.to_string(),
            place: None,
            help: None,
            status: 1,
        }
    }

    /// Arguments that cannot be meant (exit status 2).
    #[must_use]
    pub fn usage(what: impl Display) -> Self {
        Self {
            status: 2,
            ..Self::new(what)
        }
    }

    /// The file or argument it is about.
    #[must_use]
    pub fn at(mut self, place: impl Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// What the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Prints `error: what (where)` and `help: what to do`; returns the exit status.
    #[must_use]
    pub fn print(&self) -> ExitCode {
        let mut text = format!("error: {}", self.what);
        if let Some(place) = &self.place {
            text += &format!(" ({place})");
        }
        if let Some(help) = &self.help {
            text += &format!("\nhelp: {help}");
        }
        // The exit status says it too.
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(self.status)
    }
}
