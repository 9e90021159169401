//! Transactions: atomic changes, tried again after a conflict.

use xenstore_wire::{ErrorName, Kind, Permission, StorePath};

use crate::{Error, Store};

/// The most tries of a transaction.
const TRIES: u32 = 1000;

/// A node that is written: its path, its value, and its permissions where it has some of its own.
pub type NewNode<'a> = (StorePath, &'a [u8], Option<&'a [Permission]>);

/// An open transaction. It sees a snapshot of the store with its own changes.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Store,
    number: u32,
}

impl Store {
    /// Runs `body` in a transaction and commits it. After a conflict `body` is called again, so it should have no other
    /// effects. If it fails, the transaction is aborted.
    ///
    /// **Errors:** those of `body`; [`Error::Contended`] after too many conflicts.
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
    /// Returns the value of a node.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT` if there is no such node, `EACCES` if it may not be read.
    pub fn read(&mut self, path: &StorePath) -> Result<Vec<u8>, Error> {
        self.store.read_in(self.number, path)
    }

    /// Returns the value of a node as text; invalid UTF-8 is replaced.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn read_text(&mut self, path: &StorePath) -> Result<String, Error> {
        self.read(path).map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// Sets the value of a node. It is created if it does not exist, and so are its missing ancestors.
    ///
    /// **Errors:** [`Error::Refused`] with `EACCES`, or `ENOSPC` if a quota is exceeded.
    pub fn write(&mut self, path: &StorePath, value: &[u8]) -> Result<(), Error> {
        self.store.write_in(self.number, path, value)
    }

    /// Sets the values of nodes as [`Transaction::write`] does, in their order, and the permissions of the ones that have
    /// some of their own. The daemon is sent several of them before it answers, which costs less.
    ///
    /// **Errors:** the first one, as of [`Transaction::write`] and [`Transaction::set_permissions`].
    pub fn write_all(&mut self, nodes: &[NewNode<'_>]) -> Result<(), Error> {
        self.store.write_all_in(self.number, nodes)
    }

    /// Returns whether a node has children; that takes as long whatever their number.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn has_children(&mut self, path: &StorePath) -> Result<bool, Error> {
        self.store.has_children_in(self.number, path)
    }

    /// Creates a node if it does not exist.
    ///
    /// **Errors:** as [`Transaction::write`].
    pub fn make(&mut self, path: &StorePath) -> Result<(), Error> {
        self.store.make_in(self.number, path)
    }

    /// Removes a node and its descendants, if it exists.
    ///
    /// **Errors:** [`Error::Refused`] with `EACCES`.
    pub fn remove(&mut self, path: &StorePath) -> Result<(), Error> {
        self.store.remove_in(self.number, path)
    }

    /// Lists the names of a node's children.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn list(&mut self, path: &StorePath) -> Result<Vec<String>, Error> {
        self.store.list_in(self.number, path)
    }

    /// Returns the permissions of a node.
    ///
    /// **Errors:** as [`Transaction::read`].
    pub fn permissions(&mut self, path: &StorePath) -> Result<Vec<Permission>, Error> {
        self.store.permissions_in(self.number, path)
    }

    /// Sets the permissions of a node. The first entry names its owner.
    ///
    /// **Errors:** [`Error::Refused`] with `ENOENT`, `EACCES`, or `EPERM` if the owner may not be changed.
    pub fn set_permissions(&mut self, path: &StorePath, entries: &[Permission]) -> Result<(), Error> {
        self.store.set_permissions_in(self.number, path, entries)
    }
}
