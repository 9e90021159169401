//! The serial line of a machine, as it is written: kept, logged, shown, and searched line by line.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No sound machine writes more than this to its serial line, in bytes.
const FLOOD: usize = 32 << 20;

#[derive(Default)]
struct State {
    text: Vec<u8>,
    closed: bool,
    flooded: bool,
    shown: bool,
}

/// What came of waiting for a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The line came.
    Line(String),
    /// The serial line was closed, or flooded, before it came.
    Closed,
    /// The time was up.
    TimedOut,
}

/// The serial line of a machine. Clones share it.
#[derive(Clone, Default)]
pub struct Console {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Console {
    /// Reads `source` to its end into the console, the log, and (with `echo`) the standard output.
    pub fn fill_from(&self, mut source: impl Read, mut log: File, echo: bool) {
        let mut piece = [0u8; 4096];
        self.state().shown |= echo;
        while let Ok(count @ 1..) = source.read(&mut piece) {
            let bytes = piece.get(..count).unwrap_or_default();
            // A full disk must not stop the machine: what came is kept in memory all the same.
            let _ = log.write_all(bytes);
            if !self.append(bytes) {
                break;
            }
        }
        self.state().closed = true;
        self.shared.1.notify_all();
    }

    /// Adds bytes; false once there are too many.
    fn append(&self, bytes: &[u8]) -> bool {
        let mut state = self.state();
        state.text.extend_from_slice(bytes);
        state.flooded = state.text.len() > FLOOD;
        if state.shown {
            show(bytes);
        }
        self.shared.1.notify_all();
        !state.flooded
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows on the standard output what was written from byte `from` on, and all that will be.
    pub fn show_from(&self, from: usize) {
        let mut state = self.state();
        show(state.text.get(from..).unwrap_or_default());
        state.shown = true;
    }

    /// Returns true once the serial line is closed: nothing more will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Returns true once more was written than any sound machine writes.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.state().flooded
    }

    /// Returns all that was written so far; carriage returns are left out, bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().text).replace('\r', "")
    }

    /// Returns the last `count` lines that hold anything.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
    }

    /// Waits until a *complete* line that holds `wanted` stands on the console, from its beginning on.
    #[must_use]
    pub fn wait_for(&self, wanted: &str, until: Instant) -> Wait {
        self.wait_for_after(wanted, 0, until).0
    }

    /// Returns the same from byte `from` on; also returns where the line ends, to wait for a later one from there.
    #[must_use]
    pub fn wait_for_after(&self, wanted: &str, from: usize, until: Instant) -> (Wait, usize) {
        let mut searched = from;
        let mut state = self.state();
        loop {
            while let Some(line) = complete_line(&state.text, searched) {
                searched = searched.saturating_add(line.len()).saturating_add(1);
                let line = String::from_utf8_lossy(line);
                if line.contains(wanted) {
                    return (Wait::Line(line.trim_end_matches('\r').to_owned()), searched);
                }
            }
            if state.closed {
                return (Wait::Closed, searched);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return (Wait::TimedOut, searched);
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns how many bytes were written so far: a place to wait from.
    #[must_use]
    pub fn position(&self) -> usize {
        self.state().text.len()
    }
}

/// Writes to the standard output. A closed terminal must not stop the machine: what came is kept all the same.
fn show(bytes: &[u8]) {
    let mut out = std::io::stdout();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Returns the line that begins at byte `from`, if its line feed has come.
fn complete_line(text: &[u8], from: usize) -> Option<&[u8]> {
    let rest = text.get(from..)?;
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &[u8]) -> Console {
        let console = Console::default();
        console.append(text);
        console
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[test]
    fn a_line_without_its_end_is_not_a_line_yet() {
        let console = console(b"one\r\ntwo");
        assert_eq!(console.wait_for("one", soon()), Wait::Line("one".into()));
        assert_eq!(console.wait_for("two", soon()), Wait::TimedOut);
        console.append(b"\n");
        assert_eq!(console.wait_for("two", soon()), Wait::Line("two".into()));
    }

    #[test]
    fn waiting_ends_when_the_line_is_closed() {
        let console = console(b"");
        console.state().closed = true;
        assert_eq!(console.wait_for("never", Instant::now() + Duration::from_secs(60)), Wait::Closed);
    }

    #[test]
    fn a_later_line_is_found_from_where_the_earlier_one_ended() {
        let console = console(b"tick\ntock\ntick 2\n");
        let (_, after) = console.wait_for_after("tick", 0, soon());
        assert_eq!(console.wait_for_after("tick", after, soon()).0, Wait::Line("tick 2".into()));
    }

    #[test]
    fn a_flood_is_noticed() {
        let console = Console::default();
        assert!(!console.append(&vec![b'x'; FLOOD + 1]));
        assert!(console.is_flooded());
    }

    #[test]
    fn the_tail_holds_the_last_lines_that_say_anything() {
        assert_eq!(console(b"a\nb\n\nc\n").tail(2), "b\nc");
    }
}
