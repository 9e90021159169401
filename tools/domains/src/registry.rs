//! What making and ending domains needs of xenstore: a trait, so that all of it is tested without a daemon.

use std::fmt;
use std::time::{Duration, Instant};

use xenstore::{Access, ErrorName, Permission, Store, StorePath, Transaction};

use crate::nodes::Node;

/// Where every domain has its directory.
pub const DOMAINS: &str = "/local/domain";

/// Why xenstore did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// The daemon's words, or why it was not reached.
    Failed(String),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed(cause) = self;
        f.write_str(cause)
    }
}

impl From<xenstore::Error> for RegistryError {
    fn from(error: xenstore::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<xenstore::BadPath> for RegistryError {
    fn from(error: xenstore::BadPath) -> Self {
        Self::Failed(error.to_string())
    }
}

/// xenstore, for a toolstack.
pub trait Registry {
    /// Returns the value of a node; None if there is no such node.
    ///
    /// **Errors:** [`RegistryError::Failed`], here and below.
    fn read(&mut self, path: &str) -> Result<Option<String>, RegistryError>;
    /// Returns the names of the children of a node; none if there is no such node.
    fn list(&mut self, path: &str) -> Result<Vec<String>, RegistryError>;
    /// Sets the value of a node, if the node is there. Returns whether it is.
    fn set(&mut self, path: &str, value: &str) -> Result<bool, RegistryError>;
    /// Sets the value of a node, which is made where it is not there.
    fn write(&mut self, path: &str, value: &str) -> Result<(), RegistryError>;
    /// Writes the nodes of a domain, all or none.
    fn register(&mut self, nodes: &[Node]) -> Result<(), RegistryError>;
    /// Removes nodes with what is below them, and each parent (of at most `parents` levels) that is empty then; all or
    /// none.
    fn remove(&mut self, paths: &[String], parents: usize) -> Result<(), RegistryError>;
    /// Introduces a domain to the daemon.
    fn introduce(&mut self, domain: u16, frame: u64, port: u32) -> Result<(), RegistryError>;
    /// Waits until a node holds one of some values, or, where `or_gone`, is not there. Returns whether it came to that
    /// within the limit.
    fn wait(&mut self, path: &str, values: &[&str], or_gone: bool, limit: Duration) -> Result<bool, RegistryError>;
}

/// Returns the domain that has a name; None if there is none.
///
/// **Errors:** [`RegistryError::Failed`].
pub fn named(registry: &mut impl Registry, name: &str) -> Result<Option<u16>, RegistryError> {
    for id in registry.list(DOMAINS)? {
        let Ok(domain) = id.parse() else { continue };
        if registry.read(&format!("{DOMAINS}/{id}/name"))?.as_deref() == Some(name) {
            return Ok(Some(domain));
        }
    }
    Ok(None)
}

/// Returns the value of an outcome, and None where there was no such node.
fn if_there<T>(outcome: Result<T, xenstore::Error>) -> Result<Option<T>, xenstore::Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.name() == Some(ErrorName::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_in(transaction: &mut Transaction<'_>, path: &str, parents: usize) -> Result<(), xenstore::Error> {
    let mut path: StorePath = path.parse()?;
    transaction.remove(&path)?;
    for _ in 0..parents {
        let Some(parent) = path.parent() else { break };
        match if_there(transaction.has_children(&parent))? {
            Some(true) => break,
            Some(false) => transaction.remove(&parent)?,
            None => {}
        }
        path = parent;
    }
    Ok(())
}

impl Registry for Store {
    fn read(&mut self, path: &str) -> Result<Option<String>, RegistryError> {
        Ok(if_there(self.read_text(&path.parse()?))?)
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>, RegistryError> {
        Ok(if_there(Self::list(self, &path.parse()?))?.unwrap_or_default())
    }

    fn set(&mut self, path: &str, value: &str) -> Result<bool, RegistryError> {
        let path = path.parse()?;
        Ok(self.transaction(|transaction| match if_there(transaction.read(&path))? {
            Some(_) => transaction.write(&path, value.as_bytes()).map(|()| true),
            None => Ok(false),
        })?)
    }

    fn write(&mut self, path: &str, value: &str) -> Result<(), RegistryError> {
        Ok(Self::write(self, &path.parse()?, value.as_bytes())?)
    }

    fn register(&mut self, nodes: &[Node]) -> Result<(), RegistryError> {
        let mut all = Vec::with_capacity(nodes.len());
        for node in nodes {
            all.push((node.path.parse()?, node.value.as_bytes(), node.rights.as_deref()));
        }
        Ok(self.transaction(|transaction| transaction.write_all(&all))?)
    }

    fn remove(&mut self, paths: &[String], parents: usize) -> Result<(), RegistryError> {
        let all =
            |transaction: &mut Transaction<'_>| paths.iter().try_for_each(|path| remove_in(transaction, path, parents));
        Ok(self.transaction(all)?)
    }

    fn introduce(&mut self, domain: u16, frame: u64, port: u32) -> Result<(), RegistryError> {
        Ok(Self::introduce(self, domain, frame, port)?)
    }

    fn wait(&mut self, path: &str, values: &[&str], or_gone: bool, limit: Duration) -> Result<bool, RegistryError> {
        const TOKEN: &str = "wait";
        let until = Instant::now() + limit;
        self.watch(path, TOKEN)?;
        let mut fits = false;
        while !fits {
            fits = match Registry::read(self, path)? {
                Some(value) => values.contains(&value.as_str()),
                None => or_gone,
            };
            let left = until.saturating_duration_since(Instant::now());
            if !fits && (left.is_zero() || self.next_event(Some(left))?.is_none()) {
                break;
            }
        }
        self.unwatch(path, TOKEN)?;
        Ok(fits)
    }
}

/// Rights of a node that a domain reads and domain 0 writes.
#[must_use]
pub fn read_by(domain: u16) -> Vec<Permission> {
    vec![Permission { access: Access::None, domain: 0 }, Permission { access: Access::Read, domain }]
}

/// Rights of a node that a domain owns, and domain 0 reads as it may read everything.
#[must_use]
pub fn owned_by(domain: u16) -> Vec<Permission> {
    vec![Permission { access: Access::None, domain }]
}

/// Rights of a node that a domain owns, and that domain 0's back ends read.
#[must_use]
pub fn shared_by(domain: u16) -> Vec<Permission> {
    vec![Permission { access: Access::None, domain }, Permission { access: Access::Read, domain: 0 }]
}
