//! Line editing on a serial console.

/// What a byte led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// The line is complete: [`LineEditor::line`].
    Line,
    /// Ctrl-C: the line was given up. Show a new prompt.
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Bracket,
}

/// Edits one line of at most `N` bytes, and remembers the one before.
///
/// Backspace (or Delete), Ctrl-U (clear), Ctrl-C (give up), cursor up (the line
/// before), cursor down (an empty line), CR, LF or CR LF. UTF-8 is passed
/// through, and taken back a character at a time.
pub struct LineEditor<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// The line that was given out is shown until the next byte comes.
    done: bool,
    before: [u8; N],
    before_len: usize,
    escape: Escape,
    was_cr: bool,
}

impl<const N: usize> Default for LineEditor<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> LineEditor<N> {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            done: false,
            before: [0; N],
            before_len: 0,
            escape: Escape::None,
            was_cr: false,
        }
    }

    /// The line as it stands; after [`Typed::Line`] the complete one. Bytes that
    /// are no UTF-8 end it.
    pub fn line(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => bytes
                .get(..e.valid_up_to())
                .and_then(|good| core::str::from_utf8(good).ok())
                .unwrap_or_default(),
        }
    }

    /// What is being typed, to show it again behind other output.
    pub fn pending(&self) -> &str {
        if self.done { "" } else { self.line() }
    }

    /// Takes a byte; what the terminal is to show goes to `echo`.
    pub fn feed(&mut self, byte: u8, mut echo: impl FnMut(&[u8])) -> Option<Typed> {
        if self.done {
            self.done = false;
            self.len = 0;
        }
        let after_cr = core::mem::take(&mut self.was_cr);
        match core::mem::replace(&mut self.escape, Escape::None) {
            Escape::Begun if byte == b'[' => {
                self.escape = Escape::Bracket;
                return None;
            }
            Escape::Bracket => {
                self.cursor(byte, &mut echo);
                return None;
            }
            _ => {}
        }
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                self.was_cr = byte == b'\r';
                echo(b"\r\n");
                if self.len > 0 {
                    self.before = self.bytes;
                    self.before_len = self.len;
                }
                self.done = true;
                return Some(Typed::Line);
            }
            0x08 | 0x7F => self.back(&mut echo),
            0x03 => {
                self.len = 0;
                echo(b"^C\r\n");
                return Some(Typed::Cancelled);
            }
            0x15 => self.clear(&mut echo),
            0x1B => self.escape = Escape::Begun,
            b' '.. => match self.bytes.get_mut(self.len) {
                Some(place) => {
                    *place = byte;
                    self.len += 1;
                    echo(&[byte]);
                }
                None => echo(b"\x07"),
            },
            _ => {}
        }
        None
    }

    /// The end of `ESC [ ...`.
    fn cursor(&mut self, byte: u8, echo: &mut impl FnMut(&[u8])) {
        match byte {
            b'A' => {
                self.clear(echo);
                self.bytes = self.before;
                self.len = self.before_len;
                echo(self.bytes.get(..self.len).unwrap_or_default());
            }
            b'B' => self.clear(echo),
            // Parameters of a longer sequence.
            b'0'..=b'9' | b';' => self.escape = Escape::Bracket,
            _ => {}
        }
    }

    fn clear(&mut self, echo: &mut impl FnMut(&[u8])) {
        while self.len > 0 {
            self.back(echo);
        }
    }

    /// Takes back one character.
    fn back(&mut self, echo: &mut impl FnMut(&[u8])) {
        while let Some(last) = self.len.checked_sub(1) {
            self.len = last;
            let byte = self.bytes.get(last).copied().unwrap_or_default();
            // Continuation bytes go with their character.
            if byte & 0xC0 != 0x80 {
                echo(b"\x08 \x08");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types `keys`; lines that came out, and what the terminal was sent.
    fn typing<const N: usize>(editor: &mut LineEditor<N>, keys: &[u8]) -> (Vec<String>, Vec<u8>) {
        let (mut lines, mut shown) = (Vec::new(), Vec::new());
        for key in keys {
            match editor.feed(*key, |e| shown.extend_from_slice(e)) {
                Some(Typed::Line) => lines.push(editor.line().to_string()),
                Some(Typed::Cancelled) => lines.push("^C".into()),
                None => {}
            }
        }
        (lines, shown)
    }

    /// What a terminal shows on its last row.
    fn row(shown: &[u8]) -> String {
        let (mut row, mut at) = (Vec::new(), 0usize);
        for &byte in shown {
            match byte {
                b'\r' => at = 0,
                b'\n' => row.clear(),
                0x08 => at = at.saturating_sub(1),
                0x07 => {}
                _ => {
                    row.truncate(row.len().max(at));
                    if at < row.len() {
                        row[at] = byte;
                    } else {
                        row.push(byte);
                    }
                    at += 1;
                }
            }
        }
        String::from_utf8(row).unwrap().trim_end().to_string()
    }

    #[test]
    fn lines_end_with_cr_lf_or_both() {
        let mut editor = LineEditor::<16>::new();
        let (lines, _) = typing(&mut editor, b"one\rtwo\nthree\r\nfour\n\n");
        assert_eq!(lines, ["one", "two", "three", "four", ""]);
    }

    #[test]
    fn mistakes_are_taken_back() {
        let mut editor = LineEditor::<16>::new();
        let (_, shown) = typing(&mut editor, b"helo\x08\x7flp");
        assert_eq!(row(&shown), "help");
        let (lines, _) = typing(&mut editor, b"\r");
        assert_eq!(lines, ["help"]);
        assert_eq!(typing(&mut editor, b"wrong\x15right\r").0, ["right"]);
        assert_eq!(typing(&mut editor, b"wrong\x03right\r").0, ["^C", "right"]);
        assert_eq!(typing(&mut editor, b"\x08\x08a\r").0, ["a"]);
        // One character of two bytes.
        assert_eq!(typing(&mut editor, "aü\x08b\r".as_bytes()).0, ["ab"]);
    }

    #[test]
    fn the_line_before_comes_back() {
        let mut editor = LineEditor::<16>::new();
        typing(&mut editor, b"reboot\r\r");
        assert_eq!(typing(&mut editor, b"x\x1b[A\r").0, ["reboot"]);
        let (lines, shown) = typing(&mut editor, b"\x1b[A\x08\x08\x08\x08");
        assert!(lines.is_empty());
        assert_eq!(row(&shown), "re");
        assert_eq!(editor.pending(), "re");
        assert_eq!(typing(&mut editor, b"\x1b[Bhelp\x1b[1;5C\r").0, ["help"]);
        assert_eq!(editor.pending(), "");
    }

    #[test]
    fn a_line_that_is_too_long_is_held_not_cut_silently() {
        let mut editor = LineEditor::<4>::new();
        let (_, shown) = typing(&mut editor, b"abcdef");
        assert!(shown.ends_with(b"\x07\x07"));
        assert_eq!(typing(&mut editor, b"\r").0, ["abcd"]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_keep_screen_and_line_together(keys in proptest::collection::vec(0u8..0x7F, 0..200)) {
            let mut editor = LineEditor::<32>::new();
            let (_, shown) = typing(&mut editor, &keys);
            proptest::prop_assert_eq!(row(&shown), editor.pending().trim_end());
        }
    }
}
