//! Requests: on nodes, in a transaction or not; on watches and domains.

use xenstore_wire::{ErrorName, Kind, Permission, StorePath, Strings};

use crate::{Error, NewNode, Store};

/// Returns the name of a path in errors.
fn named(path: &StorePath) -> &str {
    path.as_str()
}

/// Joins strings to a body, each followed by a NUL byte.
fn body(strings: &[&str]) -> Vec<u8> {
    strings.iter().flat_map(|string| string.bytes().chain([0])).collect()
}

fn permissions_body(path: &StorePath, entries: &[Permission]) -> Vec<u8> {
    let spelled: Vec<String> = entries.iter().map(ToString::to_string).collect();
    let strings: Vec<&str> = std::iter::once(path.as_str()).chain(spelled.iter().map(String::as_str)).collect();
    body(&strings)
}

impl Store {
    pub(crate) fn read_in(&mut self, transaction: u32, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.ask(Kind::Read, transaction, &body(&[path.as_str()]), named(path))
    }

    pub(crate) fn write_in(&mut self, transaction: u32, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        let body = [path.as_bytes(), &[0], value].concat();
        self.ask(Kind::Write, transaction, &body, named(path)).map(drop)
    }

    /// Writes nodes, and sets the permissions of the ones that have some of their own.
    pub(crate) fn write_all_in(&mut self, transaction: u32, nodes: &[NewNode<'_>]) -> Result<(), Error> {
        let mut requests = Vec::with_capacity(nodes.len());
        for (path, value, permissions) in nodes {
            requests.push((Kind::Write, [path.as_bytes(), &[0], value].concat(), named(path)));
            if let Some(permissions) = permissions {
                requests.push((Kind::SetPermissions, permissions_body(path, permissions), named(path)));
            }
        }
        self.ask_all(transaction, &requests)
    }

    /// Returns whether a node has children, without taking their names where there are many.
    pub(crate) fn has_children_in(&mut self, transaction: u32, path: &StorePath) -> Result<bool, Error> {
        match self.ask(Kind::Directory, transaction, &body(&[path.as_str()]), named(path)) {
            Err(error) if error.name() == Some(ErrorName::TooBig) => Ok(true),
            outcome => outcome.map(|names| !names.is_empty()),
        }
    }

    pub(crate) fn make_in(&mut self, transaction: u32, path: &StorePath) -> Result<(), Error> {
        self.ask(Kind::MakeDirectory, transaction, &body(&[path.as_str()]), named(path)).map(drop)
    }

    /// Removes a node. A node that does not exist, nor its parent, counts as removed.
    ///
    /// **Errors:** as [`Store::remove`].
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

    /// Lists children that do not fit into one message, in parts; starts over if the list changes meanwhile.
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
        self.ask(Kind::SetPermissions, transaction, &permissions_body(path, entries), named(path)).map(drop)
    }

    /// Returns the value of a node.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT` if there is no such node, `EACCES` if it may not be read.
    pub fn read(&mut self, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.read_in(0, path)
    }

    /// Returns the value of a node as text; invalid UTF-8 is replaced.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn read_text(&mut self, path: &StorePath) -> Result<String, Error> {
        self.read(path).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Sets the value of a node. It is created if it does not exist, and so are its missing ancestors.
    ///
    /// **Errors:** [`Error::Refused`] with `EACCES`, or `ENOSPC` if a quota is exceeded.
    pub fn write(&mut self, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        self.write_in(0, path, value)
    }

    /// Creates a node if it does not exist.
    ///
    /// **Errors:** as [`Store::write`].
    pub fn make(&mut self, path: &StorePath) -> Result<(), Error> {
        self.make_in(0, path)
    }

    /// Removes a node and its descendants, if it exists.
    ///
    /// **Errors:** [`Error::Refused`] with `EACCES`.
    pub fn remove(&mut self, path: &StorePath) -> Result<(), Error> {
        self.remove_in(0, path)
    }

    /// Lists the names of a node's children, in parts if they do not fit into one message.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn list(&mut self, path: &StorePath) -> Result<Vec<String>, Error> {
        self.list_in(0, path)
    }

    /// Returns the permissions of a node.
    ///
    /// **Errors:** as [`Store::read`].
    pub fn permissions(&mut self, path: &StorePath) -> Result<Vec<Permission>, Error> {
        self.permissions_in(0, path)
    }

    /// Sets the permissions of a node. The first entry names its owner.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT`, `EACCES`, or `EPERM` if the owner may not be changed.
    pub fn set_permissions(&mut self, path: &StorePath, entries: &[Permission]) -> Result<(), Error> {
        self.set_permissions_in(0, path, entries)
    }

    /// Sets a watch on a path, absolute or relative, or on a special name such as `@releaseDomain`. A first event comes
    /// at once.
    ///
    /// **Errors:** [`Error::Refused`] with `EEXIST` if the watch exists, `E2BIG` if a quota is exceeded.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.ask(Kind::Watch, 0, &body(&[path, token]), path).map(drop)
    }

    /// Removes a watch.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT` if there is no such watch.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.ask(Kind::Unwatch, 0, &body(&[path, token]), path).map(drop)
    }

    /// Introduces a domain to the daemon: the GFN of its ring, and its unbound event channel port.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT` if there is no such domain, `EACCES` outside of dom0.
    pub fn introduce(&mut self, domain: u16, frame: u64, port: u32) -> Result<(), Error> {
        let words = [domain.to_string(), frame.cast_signed().to_string(), port.to_string()];
        let strings = words.each_ref().map(String::as_str);
        self.ask(Kind::Introduce, 0, &body(&strings), &format!("domain {domain}")).map(drop)
    }

    /// Has the daemon release a domain.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT` if the domain is not introduced, `EACCES` outside of dom0.
    pub fn release(&mut self, domain: u16) -> Result<(), Error> {
        self.ask(Kind::Release, 0, &body(&[&domain.to_string()]), &format!("domain {domain}")).map(drop)
    }

    /// Returns whether a domain is introduced to the daemon.
    ///
    /// **Errors:** [`Error::Refused`] with `EACCES` outside of dom0.
    pub fn is_introduced(&mut self, domain: u16) -> Result<bool, Error> {
        let about = format!("domain {domain}");
        let answer = self.ask(Kind::IsDomainIntroduced, 0, &body(&[&domain.to_string()]), &about)?;
        Ok(answer == b"T\0")
    }

    /// Sends a control command, as `xenstore-control` does, and returns the response.
    ///
    /// **Errors:** [`Error::Refused`] with `EINVAL` if the command is not valid, `EACCES` outside of dom0.
    pub fn control(&mut self, words: &[&str]) -> Result<String, Error> {
        let answer = self.ask(Kind::Control, 0, &body(words), &words.join(" "))?;
        Ok(String::from_utf8_lossy(&answer).trim_end_matches('\0').to_owned())
    }
}
