//! What the twin tells domain 0: a page that both see, and a port whose reading hands it over.

use core::arch::asm;
use core::fmt::{Arguments, Write};

use xenolith_guest_kit::console::Line;
use xenolith_guest_kit::pages::{Page, read_at};
use zerocopy::{Immutable, IntoBytes};

/// The port, which answers what to do next.
pub const PORT: u64 = 0x310;

/// What a letter is.
pub mod kind {
    /// A line of text.
    pub const LINE: u32 = 1;
    /// How many cases are done.
    pub const PROGRESS: u32 = 2;
    /// The twin has come to its end.
    pub const END: u32 = 3;
}

/// An answer: go on.
pub const GO_ON: u32 = 0;
/// An answer: come to the end.
pub const STOP: u32 = 1;

const KIND: usize = 0;
const LENGTH: usize = 4;
const CASES: usize = 8;
const DIFFERING: usize = 16;
const TEXT: usize = 64;

/// The page.
pub static MAIL: Page = Page::new();

/// A letter, as domain 0 reads it.
pub struct Letter {
    pub kind: u32,
    pub cases: u64,
    pub differing: u64,
    pub text: Line,
}

impl Letter {
    /// Reads it from the page, which is seen at `at`.
    pub fn read(at: u64) -> Self {
        let mut text = Line::new();
        for offset in 0..u64::from(read_at::<u32>(at + LENGTH as u64)).min(3072) {
            // A line that is too long is cut.
            let _ = text.write_char(char::from(read_at::<u8>(at + TEXT as u64 + offset)));
        }
        Self {
            kind: read_at(at + KIND as u64),
            cases: read_at(at + CASES as u64),
            differing: read_at(at + DIFFERING as u64),
            text,
        }
    }
}

fn put<T: IntoBytes + Immutable + Copy>(at: usize, value: T) {
    MAIL.write(at, value);
}

/// Sends a letter, and returns the answer.
fn send(kind: u32, text: &str) -> u32 {
    put(KIND, kind);
    put(LENGTH, text.len() as u32);
    (TEXT..).zip(text.bytes()).for_each(|(at, byte)| put(at, byte));
    let answer: u32;
    // SAFETY: the port is domain 0's, which reads the page alone.
    unsafe { asm!("in eax, dx", in("dx") PORT as u16, out("eax") answer, options(nostack)) };
    answer
}

/// Sends a line.
pub fn line(arguments: Arguments<'_>) {
    let mut line = Line::new();
    // A line that is too long is cut.
    let _ = line.write_fmt(arguments);
    send(kind::LINE, line.text());
}

/// Sends how many cases are done and how many of them differ; returns whether to go on.
pub fn progress(cases: u64, differing: u64) -> bool {
    put(CASES, cases);
    put(DIFFERING, differing);
    send(kind::PROGRESS, "") == GO_ON
}

/// Sends the same for the last time.
pub fn end(cases: u64, differing: u64) {
    put(CASES, cases);
    put(DIFFERING, differing);
    send(kind::END, "");
}
