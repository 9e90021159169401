//! Hypercalls, through `/dev/xen/privcmd`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;

use xen_abi::DomId;
use xen_abi::domctl::{
    Domctl, DomctlGetdomaininfo, XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN,
};
use xen_abi::hypercall as number;
use xen_abi::sysctl::{Sysctl, SysctlGetdomaininfolist, XEN_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_INTERFACE_VERSION};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Buffer, ioctl};

/// The hypercall devices, opened.
#[derive(Debug)]
pub struct Hypercalls {
    pub(crate) device: File,
    buffers: File,
    /// The buffer of the last call with one structure, which the next one takes: to map one costs more than most calls.
    spare: Mutex<Option<Buffer>>,
}

impl Hypercalls {
    /// Opens the devices.
    ///
    /// **Errors:** `ENOENT` if a device is missing (is this dom0, with the module `xen-privcmd`?), `EACCES` if the
    /// program may not open it.
    pub fn open() -> io::Result<Self> {
        let open = |path| File::options().read(true).write(true).open(path);
        Ok(Self { device: open("/dev/xen/privcmd")?, buffers: open("/dev/xen/hypercall")?, spare: Mutex::new(None) })
    }

    /// Allocates a hypercall buffer of at least `length` bytes, all zero.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn buffer(&self, length: usize) -> io::Result<Buffer> {
        Buffer::new(&self.buffers, length)
    }

    /// Makes a hypercall. Addresses in its arguments must be those of [`Buffer`]s.
    ///
    /// **Errors:** those of the hypercall.
    pub(crate) fn call(&self, operation: u32, arguments: [u64; 5]) -> io::Result<i64> {
        let [a, b, c, d, e] = arguments;
        let mut words = [u64::from(operation), a, b, c, d, e];
        // SAFETY: `struct privcmd_hypercall` is a number and five arguments. All callers in this crate pass addresses of
        // buffers alone, which they hold until this returns, and the hypervisor stays within what it is told of them.
        let answer = unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'P', 0, 48), words.as_mut_ptr()) }?;
        Ok(answer)
    }

    /// Makes a hypercall with a command and a pointer to one structure, which the hypervisor may change.
    ///
    /// **Errors:** those of the hypercall.
    pub(crate) fn with_structure<T: FromBytes + IntoBytes + Immutable>(
        &self,
        operation: u32,
        command: Option<u32>,
        structure: &mut T,
    ) -> io::Result<i64> {
        // Each call has a buffer of its own: calls of other threads, and calls within calls, map another one.
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.take());
        let buffer = match spare.filter(|spare| size_of::<T>() <= spare.length()) {
            Some(spare) => spare,
            None => self.buffer(size_of::<T>())?,
        };
        buffer.put(0, structure);
        let address = buffer.handle::<T>().address;
        let arguments = command.map_or([address, 0, 0, 0, 0], |command| [u64::from(command), address, 0, 0, 0]);
        let answer = self.call(operation, arguments);
        *structure = buffer.get(0);
        if let Ok(mut spare) = self.spare.try_lock() {
            *spare = Some(buffer);
        }
        answer
    }

    /// Makes a domctl. Handles in it must be those of buffers that the caller holds, so it is not public.
    ///
    /// **Errors:** those of the hypercall.
    pub(crate) fn domctl(&self, operation: &mut Domctl) -> io::Result<()> {
        operation.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        self.with_structure(number::DOMCTL, None, operation).map(drop)
    }

    /// Makes a sysctl. Handles in it must be those of buffers that the caller holds, so it is not public.
    ///
    /// **Errors:** those of the hypercall.
    fn sysctl(&self, operation: &mut Sysctl) -> io::Result<()> {
        operation.interface_version = XEN_SYSCTL_INTERFACE_VERSION;
        self.with_structure(number::SYSCTL, None, operation).map(drop)
    }

    /// Lists domains in rising order of their IDs, from `first` on, at most `most` of them.
    ///
    /// **Errors:** those of `XEN_SYSCTL_getdomaininfolist`.
    pub fn domains(&self, first: u16, most: u32) -> io::Result<Vec<DomctlGetdomaininfo>> {
        let size = size_of::<DomctlGetdomaininfo>();
        let buffer = self.buffer(size.saturating_mul(most as usize))?;
        let mut operation = Sysctl { cmd: XEN_SYSCTL_GETDOMAININFOLIST, ..Sysctl::default() };
        operation.set_getdomaininfolist(SysctlGetdomaininfolist {
            first_domain: DomId(first),
            max_domains: most,
            buffer: buffer.handle(),
            ..SysctlGetdomaininfolist::default()
        });
        self.sysctl(&mut operation)?;
        let found = operation.getdomaininfolist().num_domains.min(most) as usize;
        Ok((0..found).map(|at| buffer.get(at.saturating_mul(size))).collect())
    }

    /// Pauses a domain, or unpauses it.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn pause(&self, domain: u16, stands: bool) -> io::Result<()> {
        let cmd = if stands { XEN_DOMCTL_PAUSEDOMAIN } else { XEN_DOMCTL_UNPAUSEDOMAIN };
        self.domctl(&mut Domctl { cmd, domain: DomId(domain), ..Domctl::default() })
    }

    /// Returns the state of a domain; None if there is no such domain.
    ///
    /// **Errors:** those of `XEN_SYSCTL_getdomaininfolist`.
    pub fn domain(&self, domain: u16) -> io::Result<Option<DomctlGetdomaininfo>> {
        let found = self.domains(domain, 1)?.into_iter().next();
        Ok(found.filter(|found| found.domain.0 == domain))
    }
}
