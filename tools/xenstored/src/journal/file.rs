//! Journal files. When a file has grown, a new one is started with a snapshot of the state (log compaction).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Record;
use crate::store::Change;

/// Start of each file; the boot ID of the machine follows.
const MAGIC: &str = "xenstore journal, form 1\n";
/// Length in bytes beyond which a file is compacted, if it is also more than [`TIMES`] as long as its snapshot.
const LENGTH_AT_LEAST: u64 = 4 << 20;
const TIMES: u64 = 4;
/// Number of changes in one record of a snapshot.
const TOGETHER: usize = 256;
/// Length of the longest record, in bytes; a greater length is corruption.
const RECORD_MAX: u32 = 64 << 20;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    number: u64,
    file: File,
    length: u64,
    /// Length of the snapshot with which the current file starts, in bytes.
    first_length: u64,
    /// Boot ID of the machine.
    boot: String,
}

impl Journal {
    /// Opens the journal of `directory` and returns its records. A journal of an earlier boot of the machine is
    /// dropped, and so is an incomplete last record, which was never acknowledged.
    ///
    /// **Errors:** a file cannot be read, created or removed.
    pub fn open(directory: &Path) -> io::Result<(Self, Vec<Record>)> {
        fs::create_dir_all(directory)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let mut numbers = numbers(directory)?;
        numbers.sort_unstable();
        let last = numbers.pop();
        for number in numbers {
            fs::remove_file(place(directory, number))?;
        }
        let _ = fs::remove_file(directory.join("journal.new"));
        if let Some(number) = last {
            let path = place(directory, number);
            if let Some((records, length)) = read(&path, &boot)? {
                let file = File::options().append(true).open(&path)?;
                file.set_len(length)?;
                let journal =
                    Self { directory: directory.to_owned(), number, file, length, first_length: length / TIMES, boot };
                return Ok((journal, records));
            }
            fs::remove_file(path)?;
        }
        let number = last.map_or(0, |last| last.wrapping_add(1));
        let (file, length) = begin(directory, number, &boot, &[])?;
        let journal = Self { directory: directory.to_owned(), number, file, length, first_length: length, boot };
        Ok((journal, Vec::new()))
    }

    /// Appends a record. When this returns, the record survives the end of this program.
    ///
    /// **Errors:** `ENOSPC` if the memory file system is full.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = framed(record);
        if let Err(error) = self.file.write_all(&bytes) {
            // What was written of it must not stand before the next.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Returns whether compaction is due.
    #[must_use]
    pub const fn has_grown(&self) -> bool {
        self.length > LENGTH_AT_LEAST && self.length > self.first_length.saturating_mul(TIMES)
    }

    /// Starts a new file with these changes, a snapshot of the state.
    ///
    /// **Errors:** the file cannot be created; the old one stays in use.
    pub fn begin_anew(&mut self, changes: &[Change]) -> io::Result<()> {
        let number = self.number.wrapping_add(1);
        let (file, length) = begin(&self.directory, number, &self.boot, changes)?;
        let old = place(&self.directory, self.number);
        (self.file, self.length, self.first_length, self.number) = (file, length, length, number);
        fs::remove_file(old)
    }
}

fn place(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("journal-{number}"))
}

fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let names = fs::read_dir(directory)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_prefix("journal-")?.parse().ok()).collect())
}

/// Creates a file under a temporary name and renames it, so that it is complete or absent.
fn begin(directory: &Path, number: u64, boot: &str, changes: &[Change]) -> io::Result<(File, u64)> {
    let new = directory.join("journal.new");
    let mut bytes = [MAGIC, boot].concat().into_bytes();
    for some in changes.chunks(TOGETHER) {
        bytes.extend(framed(&Record { changes: some.to_vec(), ..Record::default() }));
    }
    let mut file = File::options().append(true).create(true).open(&new)?;
    file.set_len(0)?;
    file.write_all(&bytes)?;
    fs::rename(&new, place(directory, number))?;
    Ok((file, bytes.len() as u64))
}

fn framed(record: &Record) -> Vec<u8> {
    let payload = record.to_bytes();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(&payload);
    [&length.to_le_bytes()[..], &sum.to_le_bytes(), &payload].concat()
}

/// Reads the complete records of a file, and where they end; None if the file is of an earlier boot.
fn read(path: &Path, boot: &str) -> io::Result<Option<(Vec<Record>, u64)>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let beginning = [MAGIC, boot].concat();
    let Some(mut left) = bytes.strip_prefix(beginning.as_bytes()) else { return Ok(None) };
    let mut records = Vec::new();
    while let Some((record, after)) = next(left) {
        records.push(record);
        left = after;
    }
    Ok(Some((records, bytes.len().saturating_sub(left.len()) as u64)))
}

fn next(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let (payload, after) = rest.split_at_checked(usize::try_from(length.min(RECORD_MAX)).ok()?)?;
    let record = (crc32fast::hash(payload) == u32::from_le_bytes(*sum)).then(|| Record::from_bytes(payload))??;
    Some((record, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: u64) -> Record {
        Record { connection: 5, serial, answer: vec![7; 10], changes: vec![Change::Connected { connection: 70_000 }] }
    }

    #[test]
    fn what_was_written_is_there_again_and_a_torn_end_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, records) = Journal::open(directory.path()).unwrap();
        assert!(records.is_empty());
        (1..=3).for_each(|serial| journal.append(&record(serial)).unwrap());
        let path = place(directory.path(), 0);
        let whole = fs::read(&path).unwrap();
        for cut in 0..=framed(&record(3)).len() {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (mut journal, records) = Journal::open(directory.path()).unwrap();
            let expected = if cut == 0 { 3 } else { 2 };
            assert_eq!(records, (1..=expected).map(record).collect::<Vec<_>>());
            // What comes after a torn end is found.
            journal.append(&record(9)).unwrap();
            assert_eq!(Journal::open(directory.path()).unwrap().1.last(), Some(&record(9)));
        }
    }

    #[test]
    fn a_new_file_holds_what_counts_and_takes_the_place_of_the_old() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        while !journal.has_grown() {
            journal.append(&Record { answer: vec![0; 4000], ..record(1) }).unwrap();
        }
        let counts = vec![Change::Connected { connection: 70_001 }; 600];
        journal.begin_anew(&counts).unwrap();
        assert!(!journal.has_grown());
        journal.append(&record(2)).unwrap();
        let (_, records) = Journal::open(directory.path()).unwrap();
        let changes: Vec<Change> = records.iter().flat_map(|record| record.changes.clone()).collect();
        assert_eq!((changes.len(), records.last()), (601, Some(&record(2))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_another_start_of_the_machine_wrote_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(place(directory.path(), 4), [MAGIC.as_bytes(), b"another\n", &framed(&record(1))].concat()).unwrap();
        assert!(Journal::open(directory.path()).unwrap().1.is_empty());
    }
}
