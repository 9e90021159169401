//! What making and ending domains needs of the hypervisor: a trait, so that all of it is tested without one.

use std::io;

use hypervisor_access::{CpuPolicy, Hypercalls, Resource};
use xen_abi::domctl::{DomctlCreatedomain, DomctlGetdomaininfo, DomctlTscInfo};
use xen_abi::grant_entry::GrantEntryV1;
use xen_abi::memory_map::MemmapEntry;
use zerocopy::IntoBytes;

use crate::layout::PAGE;

/// How many frames are mapped at a time.
const WINDOW: u64 = 512;

/// How many domains are asked for at a time.
const LISTED: u32 = 256;

/// The hypervisor, for a toolstack. Errors are those of the calls.
pub trait Hypervisor {
    /// Creates a domain, paused, and returns its ID.
    fn create(&self, settings: DomctlCreatedomain) -> io::Result<u16>;
    /// Destroys a domain and frees its memory.
    fn destroy(&self, domain: u16) -> io::Result<()>;
    /// Pauses a domain, or unpauses it.
    fn pause(&self, domain: u16, stands: bool) -> io::Result<()>;
    /// Returns all domains, in rising order.
    fn domains(&self) -> io::Result<Vec<DomctlGetdomaininfo>>;
    /// Returns one domain; None if there is no such domain.
    fn domain(&self, domain: u16) -> io::Result<Option<DomctlGetdomaininfo>>;
    /// Creates the vCPUs of a new domain.
    fn set_max_vcpus(&self, domain: u16, vcpus: u32) -> io::Result<()>;
    /// Sets how much memory a domain may have, in KiB.
    fn set_max_memory(&self, domain: u16, kib: u64) -> io::Result<()>;
    /// Sets the size of the pool of page tables, in bytes.
    fn set_paging_pool(&self, domain: u16, bytes: u64) -> io::Result<()>;
    /// Sets how the time stamp counter works.
    fn set_tsc_mode(&self, domain: u16, mode: u32) -> io::Result<()>;
    /// Returns the CPU policy of a domain.
    fn cpu_policy(&self, domain: u16) -> io::Result<CpuPolicy>;
    /// Sets leaves of it.
    fn set_cpu_policy(&self, domain: u16, policy: &CpuPolicy) -> io::Result<()>;
    /// Allocates `2^order` pages at each frame, and returns at how many of them that was possible.
    fn populate(&self, domain: u16, order: u32, frames: &[u64]) -> io::Result<usize>;
    /// Sets the memory map that the domain is told when it asks.
    fn set_memory_map(&self, domain: u16, map: &[MemmapEntry]) -> io::Result<()>;
    /// Copies bytes to a guest physical address.
    fn write(&self, domain: u16, address: u64, bytes: &[u8]) -> io::Result<()>;
    /// Clears bytes from a guest physical address on.
    fn clear(&self, domain: u16, address: u64, length: u64) -> io::Result<()>;
    /// Sets a parameter, an `HVM_PARAM_*`.
    fn set_parameter(&self, domain: u16, index: u32, value: u64) -> io::Result<()>;
    /// Allocates a port to which `remote` may bind.
    fn allocate_port(&self, domain: u16, remote: u16) -> io::Result<u32>;
    /// Writes the first entries of the grant table.
    fn seed_grants(&self, domain: u16, entries: &[GrantEntryV1]) -> io::Result<()>;
    /// Returns the saved state.
    fn context(&self, domain: u16) -> io::Result<Vec<u8>>;
    /// Loads records into the state.
    fn set_context(&self, domain: u16, records: &[u8]) -> io::Result<()>;
    /// Returns the highest frame at which there may be a page.
    fn maximum_frame(&self, domain: u16) -> io::Result<u64>;
    /// Returns of each frame whether there is a page.
    fn has_pages(&self, domain: u16, frames: &[u64]) -> io::Result<Vec<bool>>;
    /// Copies whole pages, one after another, into `to`.
    fn read_pages(&self, domain: u16, frames: &[u64], to: &mut Vec<u8>) -> io::Result<()>;
    /// Copies a page to each frame.
    fn write_pages(&self, domain: u16, frames: &[u64], pages: &[&[u8]]) -> io::Result<()>;
    /// Returns a parameter, an `HVM_PARAM_*`.
    fn parameter(&self, domain: u16, index: u32) -> io::Result<u64>;
    /// Returns how the time stamp counter works, and how far it is.
    fn tsc_info(&self, domain: u16) -> io::Result<DomctlTscInfo>;
    /// Lets the time stamp counter go on from where it was.
    fn set_tsc_info(&self, domain: u16, info: DomctlTscInfo) -> io::Result<()>;
    /// Lets a domain go on that has suspended itself.
    fn resume(&self, domain: u16) -> io::Result<()>;
}

impl Hypervisor for Hypercalls {
    fn create(&self, settings: DomctlCreatedomain) -> io::Result<u16> {
        self.create_domain(settings)
    }

    fn destroy(&self, domain: u16) -> io::Result<()> {
        self.destroy_domain(domain)
    }

    fn pause(&self, domain: u16, stands: bool) -> io::Result<()> {
        Self::pause(self, domain, stands)
    }

    fn domains(&self) -> io::Result<Vec<DomctlGetdomaininfo>> {
        let mut all: Vec<DomctlGetdomaininfo> = Vec::new();
        loop {
            let first = all.last().map_or(0, |last| last.domain.0.saturating_add(1));
            let found = Self::domains(self, first, LISTED)?;
            if found.is_empty() {
                return Ok(all);
            }
            all.extend(found);
        }
    }

    fn domain(&self, domain: u16) -> io::Result<Option<DomctlGetdomaininfo>> {
        Self::domain(self, domain)
    }

    fn set_max_vcpus(&self, domain: u16, vcpus: u32) -> io::Result<()> {
        Self::set_max_vcpus(self, domain, vcpus)
    }

    fn set_max_memory(&self, domain: u16, kib: u64) -> io::Result<()> {
        Self::set_max_memory(self, domain, kib)
    }

    fn set_paging_pool(&self, domain: u16, bytes: u64) -> io::Result<()> {
        Self::set_paging_pool(self, domain, bytes)
    }

    fn set_tsc_mode(&self, domain: u16, mode: u32) -> io::Result<()> {
        Self::set_tsc_mode(self, domain, mode)
    }

    fn cpu_policy(&self, domain: u16) -> io::Result<CpuPolicy> {
        Self::cpu_policy(self, domain)
    }

    fn set_cpu_policy(&self, domain: u16, policy: &CpuPolicy) -> io::Result<()> {
        Self::set_cpu_policy(self, domain, policy)
    }

    fn populate(&self, domain: u16, order: u32, frames: &[u64]) -> io::Result<usize> {
        Self::populate(self, domain, order, frames)
    }

    fn set_memory_map(&self, domain: u16, map: &[MemmapEntry]) -> io::Result<()> {
        Self::set_memory_map(self, domain, map)
    }

    fn write(&self, domain: u16, address: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut address, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let inside = address % PAGE;
            let room = usize::try_from((WINDOW * PAGE).saturating_sub(inside)).map_err(io::Error::other)?;
            let (now, later) = rest.split_at(rest.len().min(room));
            let first = address / PAGE;
            let pages = inside.saturating_add(now.len() as u64).div_ceil(PAGE);
            let frames: Vec<u64> = (first..first.saturating_add(pages)).collect();
            let offset = usize::try_from(inside).map_err(io::Error::other)?;
            self.map_foreign(domain, &frames)?.write(offset, now);
            (address, rest) = (address.saturating_add(now.len() as u64), later);
        }
        Ok(())
    }

    fn clear(&self, domain: u16, address: u64, length: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(length.min(WINDOW * PAGE)).map_err(io::Error::other)?];
        let (mut address, mut left) = (address, length);
        while left > 0 {
            let now = zeros.get(..usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len())).unwrap_or(&zeros);
            Hypervisor::write(self, domain, address, now)?;
            (address, left) = (address.saturating_add(now.len() as u64), left.saturating_sub(now.len() as u64));
        }
        Ok(())
    }

    fn set_parameter(&self, domain: u16, index: u32, value: u64) -> io::Result<()> {
        Self::set_parameter(self, domain, index, value)
    }

    fn allocate_port(&self, domain: u16, remote: u16) -> io::Result<u32> {
        Self::allocate_port(self, domain, remote)
    }

    fn seed_grants(&self, domain: u16, entries: &[GrantEntryV1]) -> io::Result<()> {
        let table = self.map_resource(domain, Resource::GrantTable, 0, 1)?;
        table.write(0, entries.as_bytes());
        Ok(())
    }

    fn context(&self, domain: u16) -> io::Result<Vec<u8>> {
        Self::context(self, domain)
    }

    fn set_context(&self, domain: u16, records: &[u8]) -> io::Result<()> {
        Self::set_context(self, domain, records)
    }

    fn maximum_frame(&self, domain: u16) -> io::Result<u64> {
        Self::maximum_frame(self, domain)
    }

    fn has_pages(&self, domain: u16, frames: &[u64]) -> io::Result<Vec<bool>> {
        Self::has_pages(self, domain, frames)
    }

    fn read_pages(&self, domain: u16, frames: &[u64], to: &mut Vec<u8>) -> io::Result<()> {
        let mapping = self.map_foreign(domain, frames)?;
        to.resize(mapping.length(), 0);
        mapping.read(0, to);
        Ok(())
    }

    fn write_pages(&self, domain: u16, frames: &[u64], pages: &[&[u8]]) -> io::Result<()> {
        let mapping = self.map_foreign(domain, frames)?;
        let mut offset = 0_usize;
        for page in pages {
            mapping.write(offset, page);
            offset = offset.saturating_add(page.len());
        }
        Ok(())
    }

    fn parameter(&self, domain: u16, index: u32) -> io::Result<u64> {
        Self::parameter(self, domain, index)
    }

    fn tsc_info(&self, domain: u16) -> io::Result<DomctlTscInfo> {
        Self::tsc_info(self, domain)
    }

    fn set_tsc_info(&self, domain: u16, info: DomctlTscInfo) -> io::Result<()> {
        Self::set_tsc_info(self, domain, info)
    }

    fn resume(&self, domain: u16) -> io::Result<()> {
        Self::resume(self, domain)
    }
}
