//! Facts, as lines for people or as one JSON object.

use std::io::{ErrorKind, Write};

use serde_json::{Map, Value};

use crate::Failure;

/// Prints a line on standard output. A command whose facts nobody can read has
/// failed, and does nothing more.
#[macro_export]
macro_rules! out {
    ($($arg:tt)*) => { $crate::print_line(format_args!($($arg)*)) };
}

/// What [`out!`] does. Ends the process with exit status 1 when standard output
/// does not take the line, in silence when its reader is gone.
pub fn print_line(line: std::fmt::Arguments<'_>) {
    if let Err(e) = writeln!(std::io::stdout(), "{line}") {
        if e.kind() != ErrorKind::BrokenPipe {
            let _ = Failure::new(format!("cannot write: {e}"))
                .at("standard output")
                .print();
        }
        std::process::exit(1);
    }
}

/// Facts in the order they were added.
#[derive(Debug, Default)]
pub struct Report {
    facts: Vec<(&'static str, Value)>,
}

impl Report {
    /// No facts yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact; `_` in its name is a blank in the lines. `null` is left out of
    /// the lines, and kept in the JSON.
    pub fn add(&mut self, name: &'static str, value: impl Into<Value>) -> &mut Self {
        self.facts.push((name, value.into()));
        self
    }

    /// Prints on standard output.
    pub fn print(self, json: bool) {
        self.print_beside(json, false);
    }

    /// Prints, on standard error when `stdout_is_data` (which excludes `json`).
    pub fn print_beside(self, json: bool, stdout_is_data: bool) {
        if json {
            let object: Map<String, Value> = self
                .facts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            crate::out!("{}", Value::Object(object));
            return;
        }
        let width = self
            .facts
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0)
            + 1;
        for (name, value) in &self.facts {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Array(items) => {
                    let items: Vec<_> = items
                        .iter()
                        .map(|i| i.as_str().map_or(i.to_string(), str::to_owned))
                        .collect();
                    items.join("; ")
                }
                other => other.to_string(),
            };
            let line = format!("{:width$} {text}", format!("{}:", name.replace('_', " ")));
            if stdout_is_data {
                eprintln!("{line}")
            } else {
                crate::out!("{line}")
            }
        }
    }
}
