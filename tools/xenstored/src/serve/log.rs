//! The log: lines in a file, where one was named.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    /// Every request is logged too.
    pub verbose: bool,
}

impl Log {
    /// Logs to this file from now on, behind what stands there.
    ///
    /// **Errors:** it cannot be opened.
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(File::options().append(true).create(true).open(path)?);
        Ok(())
    }

    /// Writes a line. Without a file it goes to the standard error stream.
    pub fn line(&mut self, line: &str) {
        // A log that cannot be written stops nothing.
        let _ = match &mut self.file {
            Some(file) => writeln!(file, "{line}"),
            None => writeln!(io::stderr(), "xenstored: {line}"),
        };
    }
}
