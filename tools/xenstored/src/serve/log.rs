//! The log file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Length in bytes at which a bounded log begins anew. Domains cause lines, and the file may lie in memory.
const LENGTH_MAX: u64 = 256 << 10;

/// The log.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    /// Where a bounded log lies, and how long it is.
    bounded: Option<(PathBuf, u64)>,
    /// Whether every request is logged too.
    pub verbose: bool,
}

impl Log {
    /// Switches to a log file; lines are appended to it.
    ///
    /// **Errors:** it cannot be opened.
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(File::options().append(true).create(true).open(path)?);
        self.bounded = None;
        Ok(())
    }

    /// The same with a file that is bounded: when it is long, it gets the ending `.old`, and another begins.
    ///
    /// **Errors:** it cannot be opened.
    pub fn open_bounded(&mut self, path: &Path) -> io::Result<()> {
        self.open(path)?;
        let length = fs::metadata(path)?.len();
        self.bounded = Some((path.to_owned(), length));
        Ok(())
    }

    /// Writes a line; without a file, to the standard error.
    pub fn line(&mut self, line: &str) {
        // A log that cannot be written stops nothing.
        let _ = match &mut self.file {
            Some(file) => writeln!(file, "{line}"),
            None => writeln!(io::stderr(), "xenstored: {line}"),
        };
        let Some((path, length)) = &mut self.bounded else { return };
        *length = length.saturating_add(line.len() as u64 + 1);
        if *length > LENGTH_MAX {
            let path = path.clone();
            let _ = fs::rename(&path, path.with_extension("old")).and_then(|()| self.open_bounded(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_log_keeps_the_last_lines_and_never_more_than_two_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::default();
        log.open_bounded(&path).unwrap();
        for number in 0..100_000 {
            log.line(&format!("line {number} of a domain that breaks the rules of its ring time and again"));
        }
        let files: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
        let length: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        assert!(files.len() == 2 && length < 2 * LENGTH_MAX + 200, "{} files of {length} bytes", files.len());
        let last = fs::read_to_string(&path).unwrap() + &fs::read_to_string(path.with_extension("old")).unwrap();
        assert!(last.contains("line 99999 "));
    }

    #[test]
    fn what_stands_in_the_file_already_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, vec![b'x'; LENGTH_MAX as usize]).unwrap();
        let mut log = Log::default();
        log.open_bounded(&path).unwrap();
        log.line("one more");
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
