//! The log of calls: lines of JSON, of which one guest cannot write more than it may.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Length at which a log file begins anew.
const LENGTH_MAX: u64 = 16 << 20;

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    /// None for the standard output.
    file: Option<(File, PathBuf, u64)>,
    /// Lines in a second, and how many may be written now.
    rate: u32,
    left: u32,
    second: u64,
}

impl Log {
    /// Opens a log; without a path it is the standard output.
    ///
    /// **Errors:** the file cannot be opened.
    pub fn open(path: Option<&Path>, rate: u32) -> io::Result<Self> {
        let mut log = Self { file: None, rate, left: rate, second: 0 };
        if let Some(path) = path {
            log.open_file(path)?;
        }
        Ok(log)
    }

    fn open_file(&mut self, path: &Path) -> io::Result<()> {
        let file = File::options().append(true).create(true).open(path)?;
        let length = file.metadata()?.len();
        self.file = Some((file, path.to_owned(), length));
        Ok(())
    }

    /// Writes a line, and returns whether it may. `now` is since 1970.
    pub fn line(&mut self, now: Duration, line: &str) -> bool {
        if now.as_secs() != self.second {
            (self.second, self.left) = (now.as_secs(), self.rate);
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        // A log that cannot be written stops nothing.
        let Some((file, path, length)) = &mut self.file else {
            let _ = writeln!(io::stdout(), "{line}");
            return true;
        };
        let _ = writeln!(file, "{line}");
        *length = length.saturating_add(line.len() as u64).saturating_add(1);
        if *length > LENGTH_MAX {
            let path = path.clone();
            let mut old = path.clone().into_os_string();
            old.push(".old");
            let _ = fs::rename(&path, old).and_then(|()| self.open_file(&path));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_calls_without_end_fills_neither_a_second_nor_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::open(Some(&path), 1000).unwrap();
        let line = "x".repeat(1000);
        for second in 0..50 {
            let written = (0..1500).filter(|_| log.line(Duration::from_secs(second + 1), &line)).count();
            assert_eq!(written, 1000);
        }
        let files: Vec<u64> =
            fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
        assert!(files.len() == 2 && files.iter().all(|length| *length < LENGTH_MAX + 2000), "{files:?}");
    }
}
