//! The log file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    /// Whether every request is logged too.
    pub verbose: bool,
}

impl Log {
    /// Switches to a log file; lines are appended to it.
    ///
    /// **Errors:** it cannot be opened.
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(File::options().append(true).create(true).open(path)?);
        Ok(())
    }

    /// Writes a line; without a file, to the standard error.
    pub fn line(&mut self, line: &str) {
        // A log that cannot be written stops nothing.
        let _ = match &mut self.file {
            Some(file) => writeln!(file, "{line}"),
            None => writeln!(io::stderr(), "xenstored: {line}"),
        };
    }
}
