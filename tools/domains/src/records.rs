//! Files about domains: which are being made or ended, so that what a program leaves that was interrupted is found; and
//! the configurations that `xl` reads.
//!
//! A record's file is locked for as long as its program lives. When it can be locked by another, the program is gone
//! without having removed it, so it was interrupted. The record is there before the domain, and names it by its UUID,
//! which the hypervisor keeps from its first moment on.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::names;
use crate::uuid::Uuid;

/// Where the files lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The records, on a file system that a restart of domain 0 empties.
    pub records: PathBuf,
    /// Where `xl` keeps what it knows of domains.
    pub configs: PathBuf,
    /// Which names are taken; as short-lived as the records.
    pub names: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { records: "/run/xenolith-domain".into(), configs: "/var/lib/xen".into(), names: names::usual_place() }
    }
}

/// What a record's name begins with while it is being made.
const NEW: &str = ".new-";

/// How `xl` calls files about domains, before the kind of file and a point.
const CONFIG: &str = "userdata-";

/// The record of a create or destroy that is under way. Where it is not [finished](Record::finish), it stays.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    _locked: File,
}

/// The record of a create or destroy that was interrupted.
#[derive(Debug)]
pub struct Interrupted {
    /// The domain that was being made or ended.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    record: Record,
}

impl Record {
    /// Begins a record, or goes on with one that was left.
    ///
    /// **Errors:** those of the file system; `EEXIST` if a program that lives has one of this UUID.
    pub fn begin(places: &Places, uuid: Uuid, name: &str) -> io::Result<Self> {
        fs::create_dir_all(&places.records)?;
        let (new, path) = (places.records.join(format!("{NEW}{uuid}")), places.records.join(uuid.to_string()));
        let mut file = File::options().write(true).create_new(true).open(&new)?;
        file.lock()?;
        file.write_all(name.as_bytes())?;
        // It has its name only when it is locked, or it would look like one that was left.
        match rustix::fs::renameat_with(CWD, &new, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Self { path, _locked: file }),
            Err(Errno::EXIST) => {
                fs::remove_file(&new)?;
                let left = locked(&path)?.ok_or(io::ErrorKind::AlreadyExists)?;
                Ok(Self { path, _locked: left })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the record: the domain is as it is to be, or nothing of it is left.
    ///
    /// **Errors:** those of the file system.
    pub fn finish(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Interrupted {
    /// Removes the record: nothing of the domain is left.
    ///
    /// **Errors:** those of the file system.
    pub fn finish(self) -> io::Result<()> {
        self.record.finish()
    }
}

/// Returns a record's file, locked; None if it is gone, or its program lives.
fn locked(path: &Path) -> io::Result<Option<File>> {
    let file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome?,
    };
    match file.try_lock() {
        // It may have been finished between the opening and the locking.
        Ok(()) => Ok(path.exists().then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Returns what was interrupted. Each record stays locked for as long as its value lives.
///
/// **Errors:** those of the file system, but for a directory that is not there.
pub fn interrupted(places: &Places) -> io::Result<Vec<Interrupted>> {
    let mut found = Vec::new();
    for path in files(&places.records)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(uuid) = name.strip_prefix(NEW).unwrap_or(&name).parse::<Uuid>() else { continue };
        let Some(file) = locked(&path)? else { continue };
        let name = fs::read_to_string(&path).unwrap_or_default();
        found.push(Interrupted { uuid, name, record: Record { path, _locked: file } });
    }
    found.sort_by_key(|found| found.uuid);
    Ok(found)
}

/// Returns whether there is a record of a domain, of a program that lives or not.
#[must_use]
pub fn has(places: &Places, uuid: Uuid) -> bool {
    places.records.join(uuid.to_string()).exists()
}

/// Returns whether a program that lives makes or ends a domain.
///
/// **Errors:** those of the file system.
pub fn is_under_way(places: &Places, uuid: Uuid) -> io::Result<bool> {
    Ok(has(places, uuid) && locked(&places.records.join(uuid.to_string()))?.is_none())
}

/// Returns the files of a directory, which need not be there.
///
/// **Errors:** those of the file system.
pub fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

/// Writes the configuration of a domain where `xl` looks for it.
///
/// **Errors:** those of the file system.
pub fn keep_config(places: &Places, domain: u16, uuid: Uuid, config: &str) -> io::Result<()> {
    fs::create_dir_all(&places.configs)?;
    let path = places.configs.join(format!("{CONFIG}d.{domain}.{uuid}.libxl-json"));
    let new = path.with_extension("libxl-json-new");
    fs::write(&new, config)?;
    fs::rename(&new, &path)
}

/// Reads the configuration of a domain that [`keep_config`] or `xl` wrote.
///
/// **Errors:** those of the file system.
pub fn read_config(places: &Places, domain: u16, uuid: Uuid) -> io::Result<Vec<u8>> {
    fs::read(places.configs.join(format!("{CONFIG}d.{domain}.{uuid}.libxl-json")))
}

/// Returns the files about domains, each with the UUID of its domain.
///
/// **Errors:** those of the file system.
pub fn configs(places: &Places) -> io::Result<Vec<(Uuid, PathBuf)>> {
    let parsed = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(CONFIG)?;
        let uuid: Uuid = name.split('.').nth(2)?.parse().ok()?;
        Some((uuid, path))
    };
    Ok(files(&places.configs)?.into_iter().filter_map(parsed).collect())
}

/// The files about a domain that there may be: the kind before its ID, and the use behind its UUID. The directory is not
/// searched for others: that would take as long as there are domains.
const USES: [(&str, &str); 4] =
    [("d", "libxl-json"), ("d", "libxl-json-new"), ("d", "xl"), ("l", "domain-userdata-lock")];

/// Removes the files about a domain.
///
/// **Errors:** those of the file system.
pub fn remove_configs(places: &Places, domain: u16, uuid: Uuid) -> io::Result<()> {
    for (kind, what) in USES {
        match fs::remove_file(places.configs.join(format!("{CONFIG}{kind}.{domain}.{uuid}.{what}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> (tempfile::TempDir, Places) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| directory.path().join(name);
        let places = Places { records: at("run"), configs: at("lib"), names: at("names") };
        (directory, places)
    }

    #[test]
    fn a_record_is_found_only_when_its_program_is_gone_and_only_until_it_is_finished() {
        let (_directory, places) = places();
        let uuid = Uuid([7; 16]);
        assert!(interrupted(&places).unwrap().is_empty());
        let record = Record::begin(&places, uuid, "web").unwrap();
        assert!(interrupted(&places).unwrap().is_empty(), "its program lives");
        drop(record);
        let mut found = interrupted(&places).unwrap();
        assert_eq!((found.len(), found[0].uuid, found[0].name.as_str()), (1, uuid, "web"));
        assert!(interrupted(&places).unwrap().is_empty(), "another looks after it");
        found.remove(0).finish().unwrap();
        assert!(interrupted(&places).unwrap().is_empty());
        Record::begin(&places, uuid, "web").unwrap().finish().unwrap();
        assert_eq!(fs::read_dir(&places.records).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_was_left_is_gone_on_with_and_one_of_a_program_that_lives_is_not() {
        let (_directory, places) = places();
        let uuid = Uuid([7; 16]);
        let record = Record::begin(&places, uuid, "web").unwrap();
        assert_eq!(Record::begin(&places, uuid, "web").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(record);
        Record::begin(&places, uuid, "web").unwrap().finish().unwrap();
        assert_eq!(fs::read_dir(&places.records).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_has_no_name_yet_is_found_and_other_files_are_left_alone() {
        let (_directory, places) = places();
        fs::create_dir_all(&places.records).unwrap();
        fs::write(places.records.join(format!("{NEW}{}", Uuid([1; 16]))), "").unwrap();
        fs::write(places.records.join("notes"), "").unwrap();
        let found = interrupted(&places).unwrap();
        assert_eq!(found.iter().map(|found| found.uuid).collect::<Vec<_>>(), [Uuid([1; 16])]);
    }

    #[test]
    fn configurations_are_found_by_uuid() {
        let (_directory, places) = places();
        let (one, other) = (Uuid([1; 16]), Uuid([2; 16]));
        keep_config(&places, 3, one, "{}").unwrap();
        keep_config(&places, 4, other, "{}").unwrap();
        fs::write(places.configs.join("notes"), "").unwrap();
        let mut all: Vec<Uuid> = configs(&places).unwrap().into_iter().map(|(uuid, _)| uuid).collect();
        all.sort();
        assert_eq!(all, [one, other]);
        remove_configs(&places, 3, one).unwrap();
        assert_eq!(configs(&places).unwrap().len(), 1);
        let path = places.configs.join(format!("userdata-d.4.{other}.libxl-json"));
        assert_eq!(fs::read_to_string(path).unwrap(), "{}");
    }
}
