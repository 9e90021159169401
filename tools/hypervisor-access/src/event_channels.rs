//! Event channels, through `/dev/xen/evtchn`. The device is a file that becomes readable when an event arrives, and reading
//! it never waits: so it goes into `poll`, and, by its descriptor, into any executor (tokio's `AsyncFd`, for one).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::ioctl;

/// The event channels of one open file. They are closed with its last descriptor.
#[derive(Debug)]
pub struct EventChannels {
    device: File,
}

impl EventChannels {
    /// Opens the device, with no port bound.
    ///
    /// **Errors:** `ENOENT` if the device is missing, `EACCES` if the program may not open it.
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

    /// Restricts the file to one domain: from now on it binds to ports of that one alone. This cannot be taken back.
    ///
    /// **Errors:** `EACCES` if it is restricted to another domain.
    pub fn restrict(&self, domain: u16) -> io::Result<()> {
        let mut argument = domain;
        // SAFETY: the call takes the number of a domain, of 16 bits, and reads it.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'E', 6, 2), &raw mut argument) }.map(drop)
    }

    /// Binds a VIRQ (virtual interrupt) and returns its port.
    ///
    /// **Errors:** `EEXIST` if it is bound already.
    pub fn bind_virq(&self, virq: u32) -> io::Result<u32> {
        self.call(0, [virq])
    }

    /// Binds to an unbound port of another domain and returns the local port.
    ///
    /// **Errors:** `ESRCH` if there is no such domain, `EINVAL` if the port is not unbound and reserved for this
    /// domain.
    pub fn bind_interdomain(&self, domain: u16, port: u32) -> io::Result<u32> {
        self.call(1, [u32::from(domain), port])
    }

    /// Allocates an unbound port to which `domain` may bind, and returns it.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn offer(&self, domain: u16) -> io::Result<u32> {
        self.call(2, [u32::from(domain)])
    }

    /// Closes a port.
    ///
    /// **Errors:** `ENOTCONN` if it is not bound by this file.
    pub fn unbind(&self, port: u32) -> io::Result<()> {
        self.call(3, [port]).map(drop)
    }

    /// Sends an event through a port.
    ///
    /// **Errors:** `ENOTCONN` if the port is not bound by this file.
    pub fn notify(&self, port: u32) -> io::Result<()> {
        self.call(4, [port]).map(drop)
    }

    /// Takes the next port at which an event arrived; None if there is none. The port is masked until
    /// [`EventChannels::unmask`].
    ///
    /// **Errors:** `EFBIG` if events were lost; otherwise those of `read`.
    pub fn take(&self) -> io::Result<Option<u32>> {
        let mut port = [0; 4];
        match (&self.device).read(&mut port) {
            Ok(4) => Ok(Some(u32::from_ne_bytes(port))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Unmasks a port, so that its next event is reported.
    ///
    /// **Errors:** those of `write`.
    pub fn unmask(&self, port: u32) -> io::Result<()> {
        (&self.device).write_all(&port.to_ne_bytes())
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for EventChannels {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn ports_are_taken_one_by_one_and_nothing_waits_where_there_is_none() {
        // A socket in the place of the device: it has whole ports, and says that there is none.
        let (device, mut linux) = UnixStream::pair().unwrap();
        device.set_nonblocking(true).unwrap();
        let channels = EventChannels { device: File::from(OwnedFd::from(device)) };
        assert_eq!(channels.take().unwrap(), None);
        linux.write_all(&[5_u32, 7].map(u32::to_ne_bytes).concat()).unwrap();
        assert_eq!(
            [channels.take().unwrap(), channels.take().unwrap(), channels.take().unwrap()],
            [Some(5), Some(7), None]
        );
        channels.unmask(7).unwrap();
        let mut port = [0; 4];
        linux.read_exact(&mut port).unwrap();
        assert_eq!(u32::from_ne_bytes(port), 7);
        assert_eq!(channels.as_raw_fd(), channels.as_fd().as_raw_fd());
    }
}
