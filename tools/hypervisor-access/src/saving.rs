//! What a domain is saved and restored by, beside its memory and its saved state.

use std::io;

use xen_abi::DomId;
use xen_abi::domctl::{
    DomctlGetpageframeinfo3, DomctlTscInfo, XEN_DOMCTL_GETPAGEFRAMEINFO3, XEN_DOMCTL_GETTSCINFO,
    XEN_DOMCTL_PFINFO_NOTAB, XEN_DOMCTL_RESUMEDOMAIN, XEN_DOMCTL_SETTSCINFO,
};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HvmParam};
use xen_abi::hypercall as number;
use xen_abi::memory::XENMEM_MAXIMUM_GPFN;
use zerocopy::IntoBytes;

use crate::Hypercalls;

impl Hypercalls {
    /// Returns the highest frame at which a domain has had a page.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn maximum_frame(&self, domain: u16) -> io::Result<u64> {
        let mut domain = DomId(domain);
        let frame = self.with_structure(number::MEMORY_OP, Some(XENMEM_MAXIMUM_GPFN), &mut domain)?;
        u64::try_from(frame).map_err(io::Error::other)
    }

    /// Returns of each frame whether the domain has a page of its own there, which can be mapped; at most 1024 frames.
    ///
    /// **Errors:** `E2BIG` for more frames than the hypervisor takes.
    pub fn has_pages(&self, domain: u16, frames: &[u64]) -> io::Result<Vec<bool>> {
        let list = self.buffer(size_of_val(frames))?;
        list.write(0, frames.as_bytes());
        let told = DomctlGetpageframeinfo3 { num: frames.len() as u64, array: list.handle() };
        self.on_domain(domain, XEN_DOMCTL_GETPAGEFRAMEINFO3, |domctl| domctl.set_getpageframeinfo3(told))?;
        // The kinds stand where the frames were, from bit 28 on; an HVM domain has no page tables that count.
        let kind = |index: usize| list.get::<u64>(index.saturating_mul(8)) == u64::from(XEN_DOMCTL_PFINFO_NOTAB);
        Ok((0..frames.len()).map(kind).collect())
    }

    /// Returns a parameter of a domain, an `HVM_PARAM_*`.
    ///
    /// **Errors:** `EINVAL` for a parameter that there is not.
    pub fn parameter(&self, domain: u16, index: u32) -> io::Result<u64> {
        let mut parameter = HvmParam { domid: DomId(domain), index, ..HvmParam::default() };
        self.with_structure(number::HVM_OP, Some(HVMOP_GET_PARAM), &mut parameter)?;
        Ok(parameter.value)
    }

    /// Returns how the time stamp counter of a domain works, and how far it is.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn tsc_info(&self, domain: u16) -> io::Result<DomctlTscInfo> {
        self.on_domain(domain, XEN_DOMCTL_GETTSCINFO, |_| ()).map(|domctl| domctl.tsc_info())
    }

    /// Lets the time stamp counter of a domain go on from where it was.
    ///
    /// **Errors:** `EINVAL` for a mode that there is not.
    pub fn set_tsc_info(&self, domain: u16, info: DomctlTscInfo) -> io::Result<()> {
        self.on_domain(domain, XEN_DOMCTL_SETTSCINFO, |domctl| domctl.set_tsc_info(info)).map(drop)
    }

    /// Lets a domain go on that has suspended itself.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn resume(&self, domain: u16) -> io::Result<()> {
        self.on_domain(domain, XEN_DOMCTL_RESUMEDOMAIN, |_| ()).map(drop)
    }
}
