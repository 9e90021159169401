//! Requests: about nodes, in a transaction or not; about watches and domains.

use xenstore_wire::{ErrorName, Kind, Permission, StorePath, Strings};

use crate::{Error, Store};

/// Gives how an error names a path.
fn named(path: &StorePath) -> &str {
    path.as_str()
}

/// Joins strings to a body, each ended by a NUL byte.
fn body(strings: &[&str]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.bytes().chain([0])).collect()
}

impl Store {
    pub(crate) fn read_in(&mut self, transaction: u32, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.ask(Kind::Read, transaction, &body(&[path.as_str()]), named(path))
    }

    pub(crate) fn write_in(&mut self, transaction: u32, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        let body = [path.as_bytes(), &[0], value].concat();
        self.ask(Kind::Write, transaction, &body, named(path)).map(drop)
    }

    pub(crate) fn make_in(&mut self, transaction: u32, path: &StorePath) -> Result<(), Error> {
        self.ask(Kind::MakeDirectory, transaction, &body(&[path.as_str()]), named(path)).map(drop)
    }

    /// A node that is not there, nor the one above it, is as wanted too.
    pub(crate) fn remove_in(&mut self, transaction: u32, path: &StorePath) -> Result<(), Error> {
        match self.ask(Kind::Remove, transaction, &body(&[path.as_str()]), named(path)) {
            Err(error) if error.name() == Some(ErrorName::Missing) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    pub(crate) fn list_in(&mut self, transaction: u32, path: &StorePath) -> Result<Vec<String>, Error> {
        let names = match self.ask(Kind::Directory, transaction, &body(&[path.as_str()]), named(path)) {
            Err(error) if error.name() == Some(ErrorName::TooBig) => self.list_in_parts(transaction, path)?,
            outcome => outcome?,
        };
        let names = Strings::all(&names).ok_or(Error::Protocol("names without an end"))?;
        Ok(names.into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Lists what does not fit into one message; from the start again where it changes meanwhile.
    fn list_in_parts(&mut self, transaction: u32, path: &StorePath) -> Result<Vec<u8>, Error> {
        let (mut names, mut generation) = (Vec::new(), Vec::new());
        loop {
            let request = body(&[path.as_str(), &names.len().to_string()]);
            let answer = self.ask(Kind::DirectoryPart, transaction, &request, named(path))?;
            let mut strings = Strings::new(&answer);
            let now = strings.next().ok_or(Error::Protocol("a part of a directory without a generation"))?;
            if !names.is_empty() && now != generation {
                names.clear();
                continue;
            }
            generation = now.to_vec();
            let part = strings.rest();
            // An empty name ends the last part.
            if part == [0] || part.ends_with(&[0, 0]) {
                names.extend_from_slice(part.strip_suffix(&[0]).unwrap_or_default());
                return Ok(names);
            }
            if part.is_empty() {
                return Err(Error::Protocol("an empty part of a directory"));
            }
            names.extend_from_slice(part);
        }
    }

    pub(crate) fn permissions_in(&mut self, transaction: u32, path: &StorePath) -> Result<Vec<Permission>, Error> {
        let answer = self.ask(Kind::GetPermissions, transaction, &body(&[path.as_str()]), named(path))?;
        let entries = Strings::all(&answer).ok_or(Error::Protocol("permissions without an end"))?;
        let entries: Option<Vec<Permission>> = entries.into_iter().map(Permission::parse).collect();
        entries.ok_or(Error::Protocol("permissions that are none"))
    }

    pub(crate) fn set_permissions_in(
        &mut self,
        transaction: u32,
        path: &StorePath,
        entries: &[Permission],
    ) -> Result<(), Error> {
        let spelled: Vec<String> = entries.iter().map(ToString::to_string).collect();
        let strings: Vec<&str> = std::iter::once(path.as_str()).chain(spelled.iter().map(String::as_str)).collect();
        self.ask(Kind::SetPermissions, transaction, &body(&strings), named(path)).map(drop)
    }

    /// Reads the value of a node.
    ///
    /// **Errors:** `ENOENT`, `EACCES`.
    pub fn read(&mut self, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.read_in(0, path)
    }

    /// Reads the value of a node as text; bytes that are no text are replaced.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn read_text(&mut self, path: &StorePath) -> Result<String, Error> {
        self.read(path).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Sets the value of a node; it is made if it is not there, and so are those above it.
    ///
    /// **Errors:** `EACCES`; `ENOSPC` where a limit is reached.
    pub fn write(&mut self, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        self.write_in(0, path, value)
    }

    /// Makes a node if it is not there.
    ///
    /// **Errors:** as [`Store::write`].
    pub fn make(&mut self, path: &StorePath) -> Result<(), Error> {
        self.make_in(0, path)
    }

    /// Removes a node with all below it, if it is there.
    ///
    /// **Errors:** `EACCES`.
    pub fn remove(&mut self, path: &StorePath) -> Result<(), Error> {
        self.remove_in(0, path)
    }

    /// Lists the names of a node's children, however many there are.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn list(&mut self, path: &StorePath) -> Result<Vec<String>, Error> {
        self.list_in(0, path)
    }

    /// Reads the permissions of a node.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn permissions(&mut self, path: &StorePath) -> Result<Vec<Permission>, Error> {
        self.permissions_in(0, path)
    }

    /// Sets the permissions of a node; the first entry names its owner.
    ///
    /// **Errors:** `EACCES`, `EPERM`, `ENOENT`.
    pub fn set_permissions(&mut self, path: &StorePath, entries: &[Permission]) -> Result<(), Error> {
        self.set_permissions_in(0, path, entries)
    }

    /// Watches a path, absolute or relative, or a special name such as `@releaseDomain`. An event comes at once.
    ///
    /// **Errors:** `EEXIST` where path and token are watched already; `E2BIG` where a limit is reached.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.ask(Kind::Watch, 0, &body(&[path, token]), path).map(drop)
    }

    /// Watches it no longer.
    ///
    /// **Errors:** `ENOENT` where it was not watched.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.ask(Kind::Unwatch, 0, &body(&[path, token]), path).map(drop)
    }

    /// Makes a domain's ring known to the daemon: its frame, and the port that the domain offers.
    ///
    /// **Errors:** `ENOENT` where there is no such domain; `EACCES` outside of domain 0.
    pub fn introduce(&mut self, domain: u16, frame: u64, port: u32) -> Result<(), Error> {
        let words = [domain.to_string(), frame.cast_signed().to_string(), port.to_string()];
        let strings = words.each_ref().map(String::as_str);
        self.ask(Kind::Introduce, 0, &body(&strings), &format!("domain {domain}")).map(drop)
    }

    /// Has the daemon let go of a domain.
    ///
    /// **Errors:** `ENOENT` where it does not know it; `EACCES` outside of domain 0.
    pub fn release(&mut self, domain: u16) -> Result<(), Error> {
        self.ask(Kind::Release, 0, &body(&[&domain.to_string()]), &format!("domain {domain}")).map(drop)
    }

    /// Says whether the daemon serves a domain's ring.
    ///
    /// **Errors:** `EACCES` outside of domain 0.
    pub fn is_introduced(&mut self, domain: u16) -> Result<bool, Error> {
        let about = format!("domain {domain}");
        let answer = self.ask(Kind::IsDomainIntroduced, 0, &body(&[&domain.to_string()]), &about)?;
        Ok(answer == b"T\0")
    }

    /// Sends a control command, as `xenstore-control` does, and gives what the daemon says.
    ///
    /// **Errors:** `EINVAL` for one that makes no sense; `EACCES` outside of domain 0.
    pub fn control(&mut self, words: &[&str]) -> Result<String, Error> {
        let answer = self.ask(Kind::Control, 0, &body(words), &words.join(" "))?;
        Ok(String::from_utf8_lossy(&answer).trim_end_matches('\0').to_owned())
    }
}
