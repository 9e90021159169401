//! Transactions: all of it counts or nothing, and it is tried again where others get in the way.

use xenstore_wire::{ErrorName, Kind, Permission, StorePath};

use crate::{Error, Store};

/// How often a transaction is tried.
const TRIES: u32 = 1000;

/// An open transaction. It sees the store as it was at one moment, with its own changes.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Store,
    number: u32,
}

impl Store {
    /// Does what `body` does as one change. It is called again where others got in the way, so it should change nothing
    /// else. Where it fails, nothing is changed.
    ///
    /// **Errors:** those of `body`; [`Error::Contended`] where others get in the way time and again.
    pub fn transaction<T>(
        &mut self,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let answer = self.ask(Kind::TransactionStart, 0, b"\0", "a transaction")?;
            let number = std::str::from_utf8(&answer).ok().and_then(|text| text.trim_end_matches('\0').parse().ok());
            let number = number.ok_or(Error::Protocol("a transaction without a number"))?;
            let outcome = body(&mut Transaction { store: self, number });
            let ending: &[u8] = if outcome.is_ok() { b"T\0" } else { b"F\0" };
            match (outcome, self.ask(Kind::TransactionEnd, number, ending, "a transaction")) {
                // The error may come of what others did meanwhile; only the end would have told. It is told as it is.
                (Err(error), _) => return Err(error),
                (Ok(value), Ok(_)) => return Ok(value),
                (Ok(_), Err(error)) if error.name() == Some(ErrorName::Again) => {}
                (Ok(_), Err(error)) => return Err(error),
            }
        }
        Err(Error::Contended)
    }
}

impl Transaction<'_> {
    /// Reads the value of a node.
    ///
    /// **Errors:** `ENOENT`, `EACCES`.
    pub fn read(&mut self, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.store.read_in(self.number, path)
    }

    /// Reads the value of a node as text; bytes that are no text are replaced.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn read_text(&mut self, path: &StorePath) -> Result<String, Error> {
        self.read(path).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Sets the value of a node; it is made if it is not there, and so are those above it.
    ///
    /// **Errors:** `EACCES`; `ENOSPC` where a limit is reached.
    pub fn write(&mut self, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        self.store.write_in(self.number, path, value)
    }

    /// Makes a node if it is not there.
    ///
    /// **Errors:** as [`Transaction::write`].
    pub fn make(&mut self, path: &StorePath) -> Result<(), Error> {
        self.store.make_in(self.number, path)
    }

    /// Removes a node with all below it, if it is there.
    ///
    /// **Errors:** `EACCES`.
    pub fn remove(&mut self, path: &StorePath) -> Result<(), Error> {
        self.store.remove_in(self.number, path)
    }

    /// Lists the names of a node's children.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn list(&mut self, path: &StorePath) -> Result<Vec<String>, Error> {
        self.store.list_in(self.number, path)
    }

    /// Reads the permissions of a node.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn permissions(&mut self, path: &StorePath) -> Result<Vec<Permission>, Error> {
        self.store.permissions_in(self.number, path)
    }

    /// Sets the permissions of a node; the first entry names its owner.
    ///
    /// **Errors:** `EACCES`, `EPERM`, `ENOENT`.
    pub fn set_permissions(&mut self, path: &StorePath, entries: &[Permission]) -> Result<(), Error> {
        self.store.set_permissions_in(self.number, path, entries)
    }
}
