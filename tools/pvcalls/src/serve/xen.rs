//! The way to a guest of a hypervisor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use hypervisor_access::{EventChannels, GrantMapping, Grants};
use rustix::io::Errno;

use super::Link;
use crate::Guest;

/// Grants and event channels of one domain.
#[derive(Clone, Debug)]
pub struct Xen {
    domain: u16,
    grants: Grants,
    channels: Rc<EventChannels>,
}

impl Xen {
    /// Opens the devices, and has the event channels reach no other domain.
    ///
    /// **Errors:** a device is missing, or may not be opened.
    pub fn open(domain: u16) -> io::Result<Self> {
        let channels = EventChannels::open()?;
        channels.restrict(domain)?;
        Ok(Self { domain, grants: Grants::open()?, channels: Rc::new(channels) })
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Guest for Xen {
    type Memory = GrantMapping;

    fn map(&mut self, grants: &[u32]) -> Result<GrantMapping, Errno> {
        self.grants.map(self.domain, grants).map_err(|error| errno(&error))
    }

    fn bind(&mut self, port: u32) -> Result<u32, Errno> {
        self.channels.bind_interdomain(self.domain, port).map_err(|error| errno(&error))
    }

    fn unbind(&mut self, port: u32) {
        // A guest that is gone has closed it already.
        let _ = self.channels.unbind(port);
    }

    fn notify(&mut self, port: u32) {
        let _ = self.channels.notify(port);
    }
}

impl Link for Xen {
    type Guest = Self;

    fn guest(&self) -> Self {
        self.clone()
    }

    fn watched(&self) -> BorrowedFd<'_> {
        self.channels.as_fd()
    }

    fn take(&mut self) -> Option<u32> {
        let port = self.channels.take().ok().flatten()?;
        // The rings are looked at after this, so no event is lost.
        let _ = self.channels.unmask(port);
        Some(port)
    }
}
