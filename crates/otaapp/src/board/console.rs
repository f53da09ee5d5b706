//! The console: log lines between what is being typed.

use super::hardware::{self, Millis};
use super::line::{LineEditor, Typed};
use super::log::{Level, Log};
use core::cell::RefCell;
use core::fmt::{self, Write};
use heapless::String;
use ota_agent::Clock;

/// Longest line: `ota_app` with the longest arguments.
pub const LINE: usize = 320;
const PROMPT: &[u8] = b"# ";

/// The console on UART1.
pub struct Console {
    editor: RefCell<LineEditor<LINE>>,
}

/// The wire as a place to format to. Control characters in what comes from
/// outside do not move the cursor.
struct Shown;

impl Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let harmless = byte == b'\r' || byte == b'\n' || byte >= b' ' && byte != 0x7F;
            hardware::show(&[if harmless { byte } else { b'?' }]);
        }
        Ok(())
    }
}

impl Console {
    pub const fn new() -> Self {
        Self {
            editor: RefCell::new(LineEditor::new()),
        }
    }

    /// Shows the prompt, and what is being typed.
    pub fn prompt(&self) {
        hardware::show(PROMPT);
        hardware::show(self.editor.borrow().pending().as_bytes());
    }

    /// A line of a command's answer.
    pub fn answer(&self, text: fmt::Arguments<'_>) {
        // Writing to the wire does not fail.
        let _ = Shown.write_fmt(text);
        hardware::show(b"\r\n");
    }

    /// The next line that was typed, if one is complete.
    pub fn next_line(&self) -> Option<String<LINE>> {
        while let Some(byte) = hardware::typed() {
            let mut editor = self.editor.borrow_mut();
            match editor.feed(byte, hardware::show) {
                Some(Typed::Line) => return String::try_from(editor.line()).ok(),
                Some(Typed::Cancelled) => hardware::show(PROMPT),
                None => {}
            }
        }
        None
    }
}

impl Log for &Console {
    /// Takes the place of the line being typed, which is shown again below.
    fn line(&mut self, level: Level, text: fmt::Arguments<'_>) {
        hardware::show(b"\r\x1b[K");
        let (ms, letter) = (Millis.now_ms(), level.letter());
        self.answer(format_args!("[{ms:06}]<{letter}> {text}"));
        self.prompt();
    }
}

/// What is left to show when nothing else works.
pub fn last_words(text: fmt::Arguments<'_>) {
    hardware::show(b"\r\n");
    let _ = Shown.write_fmt(text);
    hardware::show(b"\r\n");
}
