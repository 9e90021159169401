//! Making domains and ending them: the calls by which a toolstack builds a PVH domain.

use std::io;

use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::{
    Domctl, DomctlCpuPolicy, DomctlCreatedomain, DomctlHvmcontext, DomctlMaxMem, DomctlMaxVcpus, DomctlPagingMempool,
    DomctlTscInfo, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GET_CPU_POLICY,
    XEN_DOMCTL_GETHVMCONTEXT, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_SET_CPU_POLICY,
    XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, XEN_DOMCTL_SETHVMCONTEXT, XEN_DOMCTL_SETTSCINFO,
};
use xen_abi::event_channel::{EVTCHNOP_ALLOC_UNBOUND, EvtchnAllocUnbound};
use xen_abi::hvm_op::{HVMOP_SET_PARAM, HvmParam};
use xen_abi::hypercall as number;
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP, XENMEM_SET_MEMORY_MAP};
use xen_abi::memory_map::{ForeignMemoryMap, MemmapEntry, MemoryMap};
use xen_abi::{DomId, GuestHandle};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Buffer, Hypercalls};

/// The most that one call of [`Hypercalls::context`] may answer, in bytes; the saved state of 128 vCPUs is half of it.
const CONTEXT_MAX: u32 = 1 << 20;

/// The most leaves and the most MSRs that a CPU policy may have; Xen 4.17's have 120 and 2.
const POLICY_MAX: u32 = 4096;

/// What CPUID and MSRs tell a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuPolicy {
    pub leaves: Vec<CpuidLeaf>,
    pub msrs: Vec<MsrEntry>,
}

impl Hypercalls {
    /// Copies values into a new buffer, one after another.
    fn listed<T: IntoBytes + Immutable>(&self, values: &[T]) -> io::Result<Buffer> {
        let buffer = self.buffer(size_of_val(values))?;
        values.iter().enumerate().for_each(|(at, value)| buffer.put(at.saturating_mul(size_of::<T>()), value));
        Ok(buffer)
    }

    /// Creates a domain without vCPUs and memory, paused, and returns its ID.
    ///
    /// **Errors:** those of `XEN_DOMCTL_createdomain`: `EINVAL` for settings that the hypervisor does not take, `ENOMEM`.
    pub fn create_domain(&self, settings: DomctlCreatedomain) -> io::Result<u16> {
        let mut operation = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
        operation.set_createdomain(settings);
        self.domctl(&mut operation)?;
        Ok(operation.domain.0)
    }

    /// Destroys a domain and frees its memory. Pages that others have mapped stay until they are unmapped.
    ///
    /// **Errors:** `ESRCH` if there is no such domain, `EINVAL` for domain 0.
    pub fn destroy_domain(&self, domain: u16) -> io::Result<()> {
        loop {
            match self.on_domain(domain, XEN_DOMCTL_DESTROYDOMAIN, |_| ()) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Makes a domctl for a domain, with what `fill` sets, and returns it as the hypervisor left it.
    pub(crate) fn on_domain(&self, domain: u16, cmd: u32, fill: impl FnOnce(&mut Domctl)) -> io::Result<Domctl> {
        let mut operation = Domctl { cmd, domain: DomId(domain), ..Domctl::default() };
        fill(&mut operation);
        self.domctl(&mut operation)?;
        Ok(operation)
    }

    /// Creates the vCPUs of a new domain, all of them down.
    ///
    /// **Errors:** those of `XEN_DOMCTL_max_vcpus`; `EINVAL` for another number than the domain was created with.
    pub fn set_max_vcpus(&self, domain: u16, vcpus: u32) -> io::Result<()> {
        self.on_domain(domain, XEN_DOMCTL_MAX_VCPUS, |domctl| domctl.set_max_vcpus(DomctlMaxVcpus { max: vcpus }))
            .map(drop)
    }

    /// Sets how much memory a domain may have, in KiB.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn set_max_memory(&self, domain: u16, kib: u64) -> io::Result<()> {
        self.on_domain(domain, XEN_DOMCTL_MAX_MEM, |domctl| domctl.set_max_mem(DomctlMaxMem { max_memkb: kib }))
            .map(drop)
    }

    /// Sets the size of the pool from which a domain's page tables come, in bytes; a multiple of the page size.
    ///
    /// **Errors:** `ENOMEM` if the machine has not that much memory free.
    pub fn set_paging_pool(&self, domain: u16, bytes: u64) -> io::Result<()> {
        let pool = DomctlPagingMempool { size: bytes };
        loop {
            let set = |domctl: &mut Domctl| domctl.set_paging_mempool(pool);
            match self.on_domain(domain, XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, set) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Sets how the time stamp counter of a domain works: 0 the hypervisor chooses, 1 always emulated, 2 native.
    ///
    /// **Errors:** `EINVAL` for another mode.
    pub fn set_tsc_mode(&self, domain: u16, mode: u32) -> io::Result<()> {
        let info = DomctlTscInfo { tsc_mode: mode, ..DomctlTscInfo::default() };
        self.on_domain(domain, XEN_DOMCTL_SETTSCINFO, |domctl| domctl.set_tsc_info(info)).map(drop)
    }

    /// Returns the CPU policy of a domain.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn cpu_policy(&self, domain: u16) -> io::Result<CpuPolicy> {
        let ask = |policy: DomctlCpuPolicy| {
            self.on_domain(domain, XEN_DOMCTL_GET_CPU_POLICY, |domctl| domctl.set_cpu_policy(policy))
                .map(|domctl| domctl.cpu_policy())
        };
        // Without lists it tells how long they are.
        let sizes = ask(DomctlCpuPolicy::default())?;
        let (nr_leaves, nr_msrs) = (sizes.nr_leaves.min(POLICY_MAX), sizes.nr_msrs.min(POLICY_MAX));
        let leaves = self.buffer(size_of::<CpuidLeaf>().saturating_mul(nr_leaves as usize))?;
        let msrs = self.buffer(size_of::<MsrEntry>().saturating_mul(nr_msrs as usize))?;
        let (leaf_list, msr_list) = (leaves.handle(), msrs.handle());
        let found = ask(DomctlCpuPolicy {
            nr_leaves,
            nr_msrs,
            leaves: leaf_list,
            msrs: msr_list,
            ..DomctlCpuPolicy::default()
        })?;
        Ok(CpuPolicy {
            leaves: taken(&leaves, found.nr_leaves.min(nr_leaves)),
            msrs: taken(&msrs, found.nr_msrs.min(nr_msrs)),
        })
    }

    /// Sets leaves and MSRs of a domain's CPU policy; what is not listed stays.
    ///
    /// **Errors:** `EINVAL` if a leaf or an MSR is not one that the machine can give, and nothing was changed.
    pub fn set_cpu_policy(&self, domain: u16, policy: &CpuPolicy) -> io::Result<()> {
        let (leaves, msrs) = (self.listed(&policy.leaves)?, self.listed(&policy.msrs)?);
        let operation = DomctlCpuPolicy {
            nr_leaves: u32::try_from(policy.leaves.len()).map_err(io::Error::other)?,
            nr_msrs: u32::try_from(policy.msrs.len()).map_err(io::Error::other)?,
            leaves: leaves.handle(),
            msrs: msrs.handle(),
            ..DomctlCpuPolicy::default()
        };
        self.on_domain(domain, XEN_DOMCTL_SET_CPU_POLICY, |domctl| domctl.set_cpu_policy(operation)).map(drop)
    }

    /// Returns the saved state of a domain: records, as [`xen_abi::hvm_save`] describes them.
    ///
    /// **Errors:** `ESRCH` if there is no such domain.
    pub fn context(&self, domain: u16) -> io::Result<Vec<u8>> {
        let ask = |size: u32, buffer: GuestHandle| {
            let context = DomctlHvmcontext { size, buffer, ..DomctlHvmcontext::default() };
            self.on_domain(domain, XEN_DOMCTL_GETHVMCONTEXT, |domctl| domctl.set_hvmcontext(context))
                .map(|domctl| domctl.hvmcontext().size)
        };
        let room = ask(0, GuestHandle::NULL)?.min(CONTEXT_MAX);
        let buffer = self.buffer(room as usize)?;
        let length = ask(room, buffer.handle())?.min(room);
        let mut records = vec![0; length as usize];
        buffer.read(0, &mut records);
        Ok(records)
    }

    /// Loads records into a domain's state; what they do not hold stays.
    ///
    /// **Errors:** `EINVAL` if a record is not valid.
    pub fn set_context(&self, domain: u16, records: &[u8]) -> io::Result<()> {
        let buffer = self.buffer(records.len())?;
        buffer.write(0, records);
        let size = u32::try_from(records.len()).map_err(io::Error::other)?;
        let context = DomctlHvmcontext { size, buffer: buffer.handle(), ..DomctlHvmcontext::default() };
        self.on_domain(domain, XEN_DOMCTL_SETHVMCONTEXT, |domctl| domctl.set_hvmcontext(context)).map(drop)
    }

    /// Allocates memory at `frames` of a domain, `2^order` pages at each, and returns how many extents were allocated.
    /// The first that is missing could not be had.
    ///
    /// **Errors:** `ENOMEM` or `EINVAL` if not even the first could be had.
    pub fn populate(&self, domain: u16, order: u32, frames: &[u64]) -> io::Result<usize> {
        let list = self.listed(frames)?;
        let mut reservation = MemoryReservation {
            extent_start: list.handle(),
            nr_extents: frames.len() as u64,
            extent_order: order,
            domid: DomId(domain),
            ..MemoryReservation::default()
        };
        let done = self.with_structure(number::MEMORY_OP, Some(XENMEM_POPULATE_PHYSMAP), &mut reservation)?;
        usize::try_from(done).map_err(io::Error::other)
    }

    /// Sets the memory map that a domain is told when it asks.
    ///
    /// **Errors:** `EINVAL` for more entries than the hypervisor takes.
    pub fn set_memory_map(&self, domain: u16, entries: &[MemmapEntry]) -> io::Result<()> {
        let list = self.listed(entries)?;
        let nr_entries = u32::try_from(entries.len()).map_err(io::Error::other)?;
        let map = MemoryMap { nr_entries, buffer: list.handle(), ..MemoryMap::default() };
        let mut operation = ForeignMemoryMap { domid: DomId(domain), map, ..ForeignMemoryMap::default() };
        self.with_structure(number::MEMORY_OP, Some(XENMEM_SET_MEMORY_MAP), &mut operation).map(drop)
    }

    /// Sets a parameter of a domain, an `HVM_PARAM_*`.
    ///
    /// **Errors:** `EINVAL` for a parameter or a value that there is not.
    pub fn set_parameter(&self, domain: u16, index: u32, value: u64) -> io::Result<()> {
        let mut parameter = HvmParam { domid: DomId(domain), index, value, ..HvmParam::default() };
        self.with_structure(number::HVM_OP, Some(HVMOP_SET_PARAM), &mut parameter).map(drop)
    }

    /// Allocates an unbound port of `domain`, to which `remote` may bind, and returns it.
    ///
    /// **Errors:** `ESRCH` if there is no such domain, `ENOSPC` if it has no port left.
    pub fn allocate_port(&self, domain: u16, remote: u16) -> io::Result<u32> {
        let mut operation =
            EvtchnAllocUnbound { dom: DomId(domain), remote_dom: DomId(remote), ..EvtchnAllocUnbound::default() };
        self.with_structure(number::EVENT_CHANNEL_OP, Some(EVTCHNOP_ALLOC_UNBOUND), &mut operation)?;
        Ok(operation.port.0)
    }
}

/// Reads the first `count` values of a list.
fn taken<T: FromBytes + IntoBytes>(list: &Buffer, count: u32) -> Vec<T> {
    (0..count as usize).map(|at| list.get(at.saturating_mul(size_of::<T>()))).collect()
}
