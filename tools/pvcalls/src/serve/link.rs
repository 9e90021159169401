//! What the daemon needs of a guest besides its engine: event channels, and the device's nodes in xenstore.

use std::os::fd::BorrowedFd;

use anyhow::{Context, Result};
use xenstore::{ErrorName, StorePath};

use crate::Guest;
pub use xenstore::Store;

/// The way to one guest.
pub trait Link {
    type Guest: Guest;

    /// Returns a handle for an engine.
    fn guest(&self) -> Self::Guest;

    /// Returns the descriptor that becomes readable when an event has come.
    fn watched(&self) -> BorrowedFd<'_>;

    /// Takes a local port at which an event has come, and lets the next one come.
    fn take(&mut self) -> Option<u32>;
}

/// States of a device. **Source:** Xen's `io/xenbus.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The node is not there, or is no state.
    Unknown,
    Initialising,
    InitWait,
    Initialised,
    Connected,
    Closing,
    Closed,
}

/// The nodes of a device.
#[derive(Debug)]
pub struct Nodes {
    pub back: StorePath,
    front: StorePath,
}

impl Nodes {
    pub fn new(domain: u16) -> Result<Self> {
        let back = StorePath::absolute(format!("/local/domain/0/backend/pvcalls/{domain}/0").as_bytes())?;
        // The node `frontend` says the same; what the guest may not change is not asked for.
        let front = StorePath::of_domain(domain).join("device/pvcalls/0")?;
        Ok(Self { back, front })
    }

    pub fn watched(&self) -> [String; 2] {
        [self.back.as_str().to_owned(), self.front.as_str().to_owned()]
    }

    pub fn back(&self, store: &mut Store, name: &str) -> Result<Option<String>> {
        read(store, &self.back.child(name)?)
    }

    pub fn front_state(&self, store: &mut Store) -> Result<State> {
        Ok(state(read(store, &self.front.child("state")?)?.as_deref()))
    }

    pub fn back_state(&self, store: &mut Store) -> Result<State> {
        Ok(state(self.back(store, "state")?.as_deref()))
    }

    /// Announces what is offered, and that the front end may connect.
    pub fn announce(&self, store: &mut Store, order: u32) -> Result<()> {
        let order = order.to_string();
        let nodes = [
            ("versions", "1"),
            ("max-page-order", order.as_str()),
            ("function-calls", "1"),
            ("networking", "1"),
            ("state", "2"),
        ];
        store.transaction(|transaction| {
            nodes.iter().try_for_each(|(name, value)| transaction.write(&self.back.child(name)?, value.as_bytes()))
        })?;
        Ok(())
    }

    /// Sets the state. A device that the toolstack has removed is not made anew.
    pub fn set_state(&self, store: &mut Store, state: State) -> Result<()> {
        store.transaction(|transaction| {
            let node = self.back.child("state")?;
            match transaction.read(&node) {
                Err(error) if error.name() == Some(ErrorName::Missing) => Ok(()),
                Err(error) => Err(error),
                Ok(_) => transaction.write(&node, (state as u8).to_string().as_bytes()),
            }
        })?;
        Ok(())
    }

    /// Reads what the front end offers: the grant of the ring of commands, and the port of its event channel.
    pub fn offered(&self, store: &mut Store) -> Result<(u32, u32)> {
        let mut number = |name: &str| -> Result<u32> {
            let text = read(store, &self.front.child(name)?)?.with_context(|| format!("the guest wrote no {name}"))?;
            text.trim().parse().with_context(|| format!("the guest's {name} is no number"))
        };
        anyhow::ensure!(number("version")? == 1, "the guest speaks another version than 1");
        Ok((number("ring-ref")?, number("port")?))
    }
}

pub fn read(store: &mut Store, path: &StorePath) -> Result<Option<String>> {
    match store.read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.name() == Some(ErrorName::Missing) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn state(text: Option<&str>) -> State {
    use State::{Closed, Closing, Connected, InitWait, Initialised, Initialising, Unknown};
    let known = [Initialising, InitWait, Initialised, Connected, Closing, Closed];
    let number = text.and_then(|text| text.trim().parse::<u8>().ok());
    known.into_iter().find(|state| Some(*state as u8) == number).unwrap_or(Unknown)
}
