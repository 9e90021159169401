//! Which names are taken, known without asking for the name of every domain.
//!
//! A directory has a file for each name, with the ID and the UUID of the domain that has it or gets it. Other toolstacks know
//! nothing of it, but they write a file about each domain that they make, rename or end, next to ours. So the directory of
//! those files has a new time of change, and then all names are asked for anew. What another toolstack does in the very
//! instant in which this one writes there is seen at its next such change.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::nodes::home;
use crate::records::{self, Places};
use crate::registry::{DOMAINS, Registry, RegistryError};
use crate::uuid::Uuid;

/// What is no name of a domain, as those do not begin with a point.
const LOCK: &str = ".lock";
const STAMP: &str = ".stamp";

/// The names, locked against other programs of ours.
#[derive(Debug)]
pub struct Names<'a> {
    places: &'a Places,
    _lock: File,
}

/// Who has a name, or gets it: then the ID is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    domain: u16,
    uuid: Uuid,
}

/// Why a name is not had.
#[derive(Debug)]
pub enum NameError {
    /// Another domain has it, or, where no ID is given, gets it just now.
    Taken(Option<u16>),
    Registry(RegistryError),
    Files(io::Error),
}

impl From<RegistryError> for NameError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl From<io::Error> for NameError {
    fn from(error: io::Error) -> Self {
        Self::Files(error)
    }
}

/// Returns what an outcome is where no such file is no error.
fn if_there<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

impl<'a> Names<'a> {
    /// Waits until no other program of ours changes names.
    ///
    /// **Errors:** those of the file system.
    pub fn lock(places: &'a Places) -> io::Result<Self> {
        fs::create_dir_all(&places.names)?;
        let lock = File::options().create(true).truncate(false).write(true).open(places.names.join(LOCK))?;
        lock.lock()?;
        Ok(Self { places, _lock: lock })
    }

    /// Takes a name for a domain that is about to be made, whose record is there.
    ///
    /// **Errors:** [`NameError`].
    pub fn claim(&self, registry: &mut impl Registry, name: &str, uuid: Uuid) -> Result<(), NameError> {
        if self.stamp()? != self.changed()? {
            self.ask_anew(registry)?;
        }
        if let Some(holder) = self.holder(name)? {
            let called = registry.read(&format!("{}/name", home(holder.domain)))?;
            if holder.domain != 0 && called.as_deref() == Some(name) {
                return Err(NameError::Taken(Some(holder.domain)));
            }
            if holder.uuid != uuid && records::is_under_way(self.places, holder.uuid)? {
                return Err(NameError::Taken(None));
            }
        }
        Ok(self.hold(name, Holder { domain: 0, uuid })?)
    }

    /// Writes down that a domain has its name now; `write` writes the file about it that other toolstacks read.
    ///
    /// **Errors:** those of the file system.
    pub fn give(&self, name: &str, domain: u16, uuid: Uuid, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.unseen(write)?;
        self.hold(name, Holder { domain, uuid })
    }

    /// Lets go of a name, where this domain has it; `remove` removes the files about it.
    ///
    /// **Errors:** those of the file system.
    pub fn drop(&self, name: Option<&str>, uuid: Uuid, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.unseen(remove)?;
        match name {
            Some(name) if self.holder(name)?.is_some_and(|holder| holder.uuid == uuid) => {
                if_there(fs::remove_file(self.places.names.join(name))).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Changes the files of other toolstacks' directory, without taking that for a change of theirs.
    fn unseen(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let seen_all = self.stamp()? == self.changed()?;
        change()?;
        if seen_all { self.set_stamp(self.changed()?) } else { Ok(()) }
    }

    /// Returns the time at which a file about a domain came, went or was replaced.
    fn changed(&self) -> io::Result<Option<(i64, i64)>> {
        let found = if_there(fs::metadata(&self.places.configs))?;
        Ok(found.map(|found| (found.mtime(), found.mtime_nsec())))
    }

    fn stamp(&self) -> io::Result<Option<(i64, i64)>> {
        let text = if_there(fs::read_to_string(self.places.names.join(STAMP)))?.unwrap_or_default();
        let (seconds, nanoseconds) = text.split_once(' ').unwrap_or_default();
        Ok(seconds.parse().ok().zip(nanoseconds.parse().ok()))
    }

    fn set_stamp(&self, at: Option<(i64, i64)>) -> io::Result<()> {
        let text = at.map_or_else(String::new, |(seconds, nanoseconds)| format!("{seconds} {nanoseconds}"));
        fs::write(self.places.names.join(STAMP), text)
    }

    fn holder(&self, name: &str) -> io::Result<Option<Holder>> {
        let text = if_there(fs::read_to_string(self.places.names.join(name)))?.unwrap_or_default();
        // A file that was cut off by a kill holds nobody.
        Ok(text
            .split_once(' ')
            .and_then(|(id, uuid)| Some(Holder { domain: id.parse().ok()?, uuid: uuid.parse().ok()? })))
    }

    fn hold(&self, name: &str, holder: Holder) -> io::Result<()> {
        fs::write(self.places.names.join(name), format!("{} {}", holder.domain, holder.uuid))
    }

    /// Asks for the names of all domains, and forgets the ones that nobody has or gets.
    fn ask_anew(&self, registry: &mut impl Registry) -> Result<(), NameError> {
        let changed = self.changed()?;
        for path in records::files(&self.places.names)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            let gets_it = match self.holder(name)? {
                Some(holder) => records::is_under_way(self.places, holder.uuid)?,
                None => false,
            };
            if !gets_it {
                fs::remove_file(&path)?;
            }
        }
        for id in registry.list(DOMAINS)? {
            let Ok(domain) = id.parse::<u16>() else { continue };
            let Some(name) = registry.read(&format!("{DOMAINS}/{id}/name"))? else { continue };
            // What is no name of ours cannot be asked for either, and may be no name of a file.
            if domain == 0 || crate::config::check_name(&name).is_err() {
                continue;
            }
            let vm = registry.read(&format!("{DOMAINS}/{id}/vm"))?.unwrap_or_default();
            let uuid = vm.strip_prefix("/vm/").and_then(|uuid| uuid.parse().ok()).unwrap_or(Uuid([0; 16]));
            self.hold(&name, Holder { domain, uuid })?;
        }
        Ok(self.set_stamp(changed)?)
    }
}

/// Where the names are kept, beside the records.
pub fn usual_place() -> PathBuf {
    "/run/xenolith-names".into()
}
