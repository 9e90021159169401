//! Event channels, by `/dev/xen/evtchn`. The device is a file: waiting for it to become readable is waiting for events.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::ioctl;

/// The event channels of one open file. They are closed with its last descriptor.
#[derive(Debug)]
pub struct EventChannels {
    device: File,
}

impl EventChannels {
    /// Opens the device; nothing is bound.
    ///
    /// **Errors:** it is not there, or this program may not use it.
    pub fn open() -> io::Result<Self> {
        let mut options = File::options();
        let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/xen/evtchn")?;
        Ok(Self { device })
    }

    fn call<const N: usize>(&self, call: u8, mut words: [u32; N]) -> io::Result<u32> {
        let number = ioctl::number(b'E', call, size_of::<[u32; N]>());
        // SAFETY: every call made below takes as many words, none of which is an address.
        let answer = unsafe { ioctl::call(self.device.as_fd(), number, &raw mut words) }?;
        u32::try_from(answer).map_err(io::Error::other)
    }

    /// Binds a virtual interrupt and gives its port.
    ///
    /// **Errors:** `EEXIST` where it is bound already.
    pub fn bind_virq(&self, virq: u32) -> io::Result<u32> {
        self.call(0, [virq])
    }

    /// Connects to a port that another domain offers, and gives the port here.
    ///
    /// **Errors:** `ESRCH` for a domain that is not there, `EINVAL` for a port that is not offered.
    pub fn bind_interdomain(&self, domain: u16, port: u32) -> io::Result<u32> {
        self.call(1, [u32::from(domain), port])
    }

    /// Offers a port to another domain and gives it.
    ///
    /// **Errors:** `ESRCH` for a domain that is not there.
    pub fn offer(&self, domain: u16) -> io::Result<u32> {
        self.call(2, [u32::from(domain)])
    }

    /// Closes a port.
    ///
    /// **Errors:** `ENOTCONN` for one that is not bound here.
    pub fn unbind(&self, port: u32) -> io::Result<()> {
        self.call(3, [port]).map(drop)
    }

    /// Sends an event.
    ///
    /// **Errors:** `ENOTCONN` for a port that is not bound here.
    pub fn notify(&self, port: u32) -> io::Result<()> {
        self.call(4, [port]).map(drop)
    }

    /// Takes the next port at which an event arrived, if there is one. No more are told of until [`EventChannels::unmask`].
    ///
    /// **Errors:** what the system says; `EFBIG` where events were lost.
    pub fn take(&self) -> io::Result<Option<u32>> {
        let mut port = [0; 4];
        match (&self.device).read(&mut port) {
            Ok(4) => Ok(Some(u32::from_ne_bytes(port))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lets events at a port be told of again.
    ///
    /// **Errors:** what the system says.
    pub fn unmask(&self, port: u32) -> io::Result<()> {
        (&self.device).write_all(&port.to_ne_bytes())
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
