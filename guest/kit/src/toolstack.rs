//! What a toolstack does, in small: makes a domain, puts code into it, lets it run, and ends it.

use xen_abi::domctl::*;
use xen_abi::hvm_save::*;
use xen_abi::hvm_save_cpu::HvmHwCpu;
use xen_abi::hypercall::DOMCTL;
use xen_abi::memory::{MemFlags, MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::{DomId, Gfn, GuestHandle};
use zerocopy::IntoBytes;

use crate::calls::{call, memory};
use crate::domain::{SPARE, address, after};
use crate::foreign;
use crate::pages::{Page, write_at};

/// Pages of a small domain, from its frame 0 on.
pub const PAGES: u64 = 8;
/// Where its code lies, and where it leaves what it found out.
pub const CODE: u64 = 0x1000;
pub const RESULTS: u64 = 0x5000;
/// Its page tables, which map the first 2 MiB one to one.
const TABLES: [u64; 3] = [0x2000, 0x3000, 0x4000];
const PRESENT_WRITABLE: u64 = 3;
const LARGE: u64 = 1 << 7;

/// How a vCPU begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As a PVH kernel: 32 bits, flat, without paging.
    Flat,
    /// 64 bits, with the domain's page tables.
    Long,
}

/// A domain, and pages to talk about it.
pub struct SmallDomain {
    pub id: DomId,
    list: &'static Page,
}

/// Makes a call of `domctl`; the structure comes back changed.
pub fn domctl(op: &mut Domctl) -> i64 {
    static STRUCTURE: Page = Page::new();
    op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    STRUCTURE.write(0, *op);
    let result = call(DOMCTL, [STRUCTURE.address()]);
    *op = STRUCTURE.read(0);
    result
}

/// Returns an operation without arguments.
pub fn plain(cmd: u32, domain: DomId) -> i64 {
    domctl(&mut Domctl { cmd, domain, ..Domctl::default() })
}

/// Returns what is told of the first domain with this number or a higher one.
pub fn info(domain: DomId) -> (i64, DomctlGetdomaininfo) {
    let mut op = Domctl { cmd: XEN_DOMCTL_GETDOMAININFO, domain, ..Domctl::default() };
    (domctl(&mut op), op.getdomaininfo())
}

/// Returns what xl asks for a PVH guest with one vCPU.
pub fn options() -> DomctlCreatedomain {
    DomctlCreatedomain {
        flags: CreateFlags::HVM | CreateFlags::HAP,
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 2,
        arch: ArchDomainconfig { emulation_flags: EmulationFlags::LAPIC, ..ArchDomainconfig::default() },
        ..DomctlCreatedomain::default()
    }
}

impl SmallDomain {
    /// Creates a domain with a vCPU and memory, paused, in which nothing stands yet.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn new(list: &'static Page) -> Result<Self, i64> {
        Self::with(options(), list)
    }

    /// The same for one with other options.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn with(options: DomctlCreatedomain, list: &'static Page) -> Result<Self, i64> {
        let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
        op.set_createdomain(options);
        checked(domctl(&mut op))?;
        let small = Self { id: op.domain, list };
        small.set(XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: 1 }))?;
        small.set(XEN_DOMCTL_MAX_MEM, |op| op.set_max_mem(DomctlMaxMem { max_memkb: PAGES * 4 }))?;
        for frame in 0..PAGES {
            list.write(frame as usize * 8, frame);
        }
        let mut wanted = MemoryReservation {
            extent_start: GuestHandle::new(list.address()),
            nr_extents: PAGES,
            mem_flags: MemFlags::default(),
            domid: small.id,
            ..MemoryReservation::default()
        };
        let done = memory(XENMEM_POPULATE_PHYSMAP, &mut wanted);
        if done == PAGES as i64 { Ok(small) } else { Err(done) }
    }

    fn set(&self, cmd: u32, arguments: impl FnOnce(&mut Domctl)) -> Result<(), i64> {
        set(self.id, cmd, arguments)
    }

    /// Maps one of its pages at a spare frame; returns the address.
    ///
    /// **Errors:** the result of the call that failed.
    pub fn see(&self, gfn: u64) -> Result<u64, i64> {
        let at = after(SPARE, gfn);
        foreign::map(self.list, self.id, Gfn(gfn), at)?;
        Ok(address(at))
    }

    /// Unmaps it.
    pub fn unsee(&self, gfn: u64) -> i64 {
        foreign::unmap(after(SPARE, gfn))
    }

    /// Loads code and page tables, and sets where the vCPU begins.
    ///
    /// **Errors:** the result of the call that failed.
    pub fn load(&self, code: &[u8], mode: Mode) -> Result<(), i64> {
        let at = self.see(CODE >> 12)?;
        for (offset, byte) in (0..).zip(code) {
            write_at(at + offset, *byte);
        }
        self.unsee(CODE >> 12);
        let [root, middle, low] = TABLES;
        for (table, entry) in [(root, middle | PRESENT_WRITABLE), (middle, low | PRESENT_WRITABLE), (low, LARGE | 3)] {
            write_at(self.see(table >> 12)?, entry);
            self.unsee(table >> 12);
        }
        self.start(mode)
    }

    fn start(&self, mode: Mode) -> Result<(), i64> {
        set_registers(self.id, self.list.address() + 2048, &registers(mode))
    }

    /// Lets it run.
    pub fn unpause(&self) -> i64 {
        plain(XEN_DOMCTL_UNPAUSEDOMAIN, self.id)
    }

    /// Stops it.
    pub fn pause(&self) -> i64 {
        plain(XEN_DOMCTL_PAUSEDOMAIN, self.id)
    }

    /// Ends it.
    pub fn destroy(&self) -> i64 {
        plain(XEN_DOMCTL_DESTROYDOMAIN, self.id)
    }

    /// Returns how it shut down; none if it did not.
    pub fn shutdown(&self) -> Option<u32> {
        shutdown_reason(self.id)
    }

    /// Returns true if nothing is left of it.
    pub fn is_gone(&self) -> bool {
        is_gone(self.id)
    }
}

/// Returns how a domain shut down; none if it did not.
#[must_use]
pub fn shutdown_reason(domain: DomId) -> Option<u32> {
    let (result, info) = info(domain);
    let down = result == 0 && info.domain == domain && info.flags.contains(DomainFlags::SHUTDOWN);
    down.then(|| info.flags.shutdown_reason())
}

/// Returns true if nothing is left of a domain.
#[must_use]
pub fn is_gone(domain: DomId) -> bool {
    let (result, info) = info(domain);
    result != 0 || info.domain != domain
}

/// Returns an operation with arguments.
///
/// **Errors:** what the call gave.
pub fn set(domain: DomId, cmd: u32, arguments: impl FnOnce(&mut Domctl)) -> Result<(), i64> {
    let mut op = Domctl { cmd, domain, ..Domctl::default() };
    arguments(&mut op);
    checked(domctl(&mut op))
}

/// Sets the registers of a domain's vCPU 0. The record is put together at `buffer`, which holds 2 KiB.
///
/// **Errors:** what the call gave.
pub fn set_registers(domain: DomId, buffer: u64, registers: &HvmHwCpu) -> Result<(), i64> {
    let header = HvmSaveHeader { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION, ..HvmSaveHeader::default() };
    let mut length = 0;
    let mut put = |typecode: u16, body: &[u8]| {
        let descriptor = HvmSaveDescriptor { typecode, instance: 0, length: body.len() as u32 };
        for byte in descriptor.as_bytes().iter().chain(body) {
            write_at(buffer + u64::from(length), *byte);
            length += 1;
        }
    };
    put(HVM_SAVE_CODE_HEADER, header.as_bytes());
    put(HVM_SAVE_CODE_CPU, registers.as_bytes());
    put(HVM_SAVE_CODE_END, &[]);
    let context = DomctlHvmcontext { size: length, buffer: GuestHandle::new(buffer), ..DomctlHvmcontext::default() };
    set(domain, XEN_DOMCTL_SETHVMCONTEXT, |op| op.set_hvmcontext(context))
}

/// Returns the result of a call that gives 0 when it went well.
///
/// **Errors:** any other result.
pub fn checked(result: i64) -> Result<(), i64> {
    if result == 0 { Ok(()) } else { Err(result) }
}

/// Registers with which a vCPU begins at [`CODE`].
#[must_use]
pub fn registers(mode: Mode) -> HvmHwCpu {
    let long = mode == Mode::Long;
    let mut cpu = HvmHwCpu {
        rip: CODE,
        rsp: RESULTS,
        cr0: if long { 0x8000_0011 } else { 0x11 },
        cr3: if long { TABLES[0] } else { 0 },
        cr4: if long { 0x20 } else { 0 },
        msr_efer: if long { 0x500 } else { 0 },
        dr6: 0xffff_0ff0,
        dr7: 0x400,
        cs_limit: u32::MAX,
        cs_arbytes: if long { 0xa9b } else { 0xc9b },
        tr_limit: 0x67,
        tr_arbytes: 0x8b,
        ..HvmHwCpu::default()
    };
    (cpu.ds_limit, cpu.ds_arbytes) = (u32::MAX, 0xc93);
    (cpu.es_limit, cpu.es_arbytes) = (u32::MAX, 0xc93);
    (cpu.ss_limit, cpu.ss_arbytes) = (u32::MAX, 0xc93);
    cpu
}
