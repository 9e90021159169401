//! The source of rings and events: the hypervisor, or files, to test the daemon on a machine without one.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use hypervisor_access::{EventChannels, Grants, Hypercalls, Mapping};
use xen_abi::domctl::DomainFlags;
use xen_abi::virq::VIRQ_DOM_EXC;

use crate::engine::DomainState;

/// A page that is shared with a domain.
pub type Page = Box<dyn Deref<Target = Mapping> + Send>;

/// Grant reference that the toolstack reserves for xenstore in each domain. **Source:** `grant_table.h`.
const GNTTAB_RESERVED_XENSTORE: u32 = 1;

/// The source of rings and events.
pub trait Machine {
    /// Returns the descriptor that becomes readable when an event arrives.
    fn events(&self) -> BorrowedFd<'_>;

    /// Takes the next port at which an event arrived; None if there is none.
    fn take(&mut self) -> Option<u32>;

    /// Unmasks a port, so that its next event is reported.
    fn unmask(&mut self, port: u32);

    /// Sends an event. A failure is ignored: there is nobody to receive it.
    fn notify(&mut self, port: u32);

    /// Binds to an unbound port of a domain and returns the local port. When this program ends, the port is unbound
    /// again.
    ///
    /// **Errors:** the domain or its port does not exist.
    fn bind(&mut self, domain: u16, port: u32) -> io::Result<u32>;

    /// Closes a port.
    fn unbind(&mut self, port: u32);

    /// Binds `VIRQ_DOM_EXC`, which is raised when a domain shuts down, and returns the port.
    ///
    /// **Errors:** another program has bound it.
    fn bind_ends(&mut self) -> io::Result<u32>;

    /// Maps the xenstore page of a domain.
    ///
    /// **Errors:** the domain does not exist or does not share it.
    fn map(&mut self, domain: u16) -> io::Result<Page>;

    /// Returns the unbound port of dom0's own kernel.
    ///
    /// **Errors:** it has none.
    fn own_port(&mut self) -> io::Result<u32>;

    /// Returns the state of a domain.
    fn state(&mut self, domain: u16) -> DomainState;
}

/// The hypervisor, through Linux's devices.
#[derive(Debug)]
pub struct Xen {
    channels: EventChannels,
    grants: Grants,
    hypercalls: Hypercalls,
}

impl Xen {
    /// Opens the devices.
    ///
    /// **Errors:** a device is missing, or the program may not open it.
    pub fn open() -> io::Result<Self> {
        Ok(Self { channels: EventChannels::open()?, grants: Grants::open()?, hypercalls: Hypercalls::open()? })
    }
}

impl Machine for Xen {
    fn events(&self) -> BorrowedFd<'_> {
        self.channels.as_fd()
    }

    fn take(&mut self) -> Option<u32> {
        self.channels.take().ok().flatten()
    }

    fn unmask(&mut self, port: u32) {
        let _ = self.channels.unmask(port);
    }

    fn notify(&mut self, port: u32) {
        let _ = self.channels.notify(port);
    }

    fn bind(&mut self, domain: u16, port: u32) -> io::Result<u32> {
        self.channels.bind_interdomain(domain, port)
    }

    fn unbind(&mut self, port: u32) {
        let _ = self.channels.unbind(port);
    }

    fn bind_ends(&mut self) -> io::Result<u32> {
        self.channels.bind_virq(VIRQ_DOM_EXC)
    }

    fn map(&mut self, domain: u16) -> io::Result<Page> {
        if domain == 0 {
            let file = std::fs::File::options().read(true).write(true).open("/proc/xen/xsd_kva")?;
            return Ok(Box::new(Box::new(Mapping::of_device(file.as_fd(), 0, 4096)?)));
        }
        Ok(Box::new(self.grants.map(domain, &[GNTTAB_RESERVED_XENSTORE])?))
    }

    fn own_port(&mut self) -> io::Result<u32> {
        number(Path::new("/proc/xen/xsd_port"))
    }

    fn state(&mut self, domain: u16) -> DomainState {
        match self.hypercalls.domain(domain) {
            Ok(Some(info)) if info.flags.contains(DomainFlags::DYING) => DomainState::Gone,
            Ok(Some(info)) if info.flags.contains(DomainFlags::SHUTDOWN) => DomainState::ShutDown,
            Ok(Some(_)) => DomainState::Running,
            Ok(None) => DomainState::Gone,
            // Without an answer nothing is taken from anyone.
            Err(_) => DomainState::Running,
        }
    }
}

fn number(path: &Path) -> io::Result<u32> {
    std::fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)
}

/// Files in a directory, in place of a hypervisor. `ringN` is the page of domain N. A datagram to the socket `events`
/// is an event at the port that it contains as a `u32`. An event to domain N is a datagram to the socket `domN`. The
/// port of domain N is 100 + N, and 99 is `VIRQ_DOM_EXC`; the files `dyingN` and `shutdownN` are the state of domain N.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    socket: UnixDatagram,
}

const FIRST_PORT: u32 = 100;
const ENDS_PORT: u32 = 99;

impl Files {
    /// Creates the socket `events` in a directory.
    ///
    /// **Errors:** the socket cannot be created.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("events");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { directory: directory.to_owned(), socket })
    }

    fn place(&self, what: &str, domain: u16) -> PathBuf {
        self.directory.join(format!("{what}{domain}"))
    }
}

impl Machine for Files {
    fn events(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn take(&mut self) -> Option<u32> {
        let mut port = [0; 4];
        (self.socket.recv(&mut port).ok()? == 4).then(|| u32::from_le_bytes(port))
    }

    fn unmask(&mut self, _: u32) {}

    fn notify(&mut self, port: u32) {
        if let Ok(domain) = u16::try_from(port.wrapping_sub(FIRST_PORT)) {
            let _ = self.socket.send_to(&[1], self.place("dom", domain));
        }
    }

    fn bind(&mut self, domain: u16, _: u32) -> io::Result<u32> {
        Ok(FIRST_PORT.saturating_add(u32::from(domain)))
    }

    fn unbind(&mut self, _: u32) {}

    fn bind_ends(&mut self) -> io::Result<u32> {
        Ok(ENDS_PORT)
    }

    fn map(&mut self, domain: u16) -> io::Result<Page> {
        let file = std::fs::File::options().read(true).write(true).open(self.place("ring", domain))?;
        Ok(Box::new(Box::new(Mapping::of_file(&file, 0, 4096)?)))
    }

    fn own_port(&mut self) -> io::Result<u32> {
        Ok(1)
    }

    fn state(&mut self, domain: u16) -> DomainState {
        if self.place("dying", domain).exists() || !self.place("ring", domain).exists() {
            DomainState::Gone
        } else if self.place("shutdown", domain).exists() {
            DomainState::ShutDown
        } else {
            DomainState::Running
        }
    }
}
