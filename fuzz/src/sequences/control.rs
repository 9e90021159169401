//! What a toolstack does: domains made, stopped, saved, restored and ended.

use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::*;
use xen_abi::hypercall::{DOMCTL, PLATFORM_OP, SYSCTL};
use xen_abi::platform::XENPF_INTERFACE_VERSION;
use xen_abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;
use xen_abi::{DomId, GuestHandle};
use zerocopy::IntoBytes;

use super::stage::{ARGUMENT, BUFFER, Guest, LIST, Stage};

/// Domains that are made at most at a time.
const MOST_MADE: usize = 3;
/// KiB that a made domain may have.
const MOST_KIB: u64 = 4 * 24;
/// Bytes of a buffer for a saved context.
const CONTEXT_BYTES: u32 = 8192;
/// Leaves and MSRs of a buffer for a CPU policy: more than there are.
const LEAVES: u32 = 200;
const MSRS: u32 = 16;

impl Stage<'_> {
    fn domctl(&mut self, guest: &Guest, op: &Domctl) -> Option<(i64, Domctl)> {
        self.write(guest, ARGUMENT, op.as_bytes());
        let result = self.call(guest, DOMCTL, [ARGUMENT, 0, 0, 0, 0, 0])?;
        Some((result, self.read(guest, ARGUMENT).unwrap_or_default()))
    }

    fn make(&mut self, guest: &Guest, mut wanted: Domctl) -> Option<()> {
        (wanted.cmd, wanted.domain) = (XEN_DOMCTL_CREATEDOMAIN, DomId(0));
        let max_vcpus = self.dice.u32(1..3);
        let emulation_flags = if self.dice.bool() { EmulationFlags::LAPIC } else { EmulationFlags(0x3ff) };
        wanted.set_createdomain(DomctlCreatedomain {
            flags: CreateFlags::HVM | CreateFlags::HAP,
            max_vcpus,
            max_evtchn_port: 1023,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
            grant_opts: 2,
            arch: ArchDomainconfig { emulation_flags, ..ArchDomainconfig::default() },
            ..DomctlCreatedomain::default()
        });
        let (result, told) = self.domctl(guest, &wanted)?;
        if result != 0 {
            return Some(());
        }
        self.made.push(told.domain);
        let mut more = Domctl { cmd: XEN_DOMCTL_MAX_MEM, domain: told.domain, ..wanted };
        more.set_max_mem(DomctlMaxMem { max_memkb: MOST_KIB });
        self.domctl(guest, &more)?;
        more.cmd = XEN_DOMCTL_MAX_VCPUS;
        more.set_max_vcpus(DomctlMaxVcpus { max: max_vcpus });
        self.domctl(guest, &more).map(drop)
    }

    fn end(&mut self, guest: &Guest, mut wanted: Domctl) -> Option<()> {
        wanted.cmd = XEN_DOMCTL_DESTROYDOMAIN;
        if wanted.domain == DomId(1) && self.dice.u8(..64) > 0 {
            return Some(());
        }
        let (result, _) = self.domctl(guest, &wanted)?;
        if result == 0 {
            self.made.retain(|id| *id != wanted.domain);
        }
        Some(())
    }

    /// Reads the registers of vCPU 0 and writes them back.
    fn move_registers(&mut self, guest: &Guest, mut wanted: Domctl) -> Option<()> {
        wanted.cmd = XEN_DOMCTL_GETVCPUCONTEXT;
        wanted.set_vcpucontext(DomctlVcpucontext { ctxt: GuestHandle::new(BUFFER), ..DomctlVcpucontext::default() });
        self.domctl(guest, &wanted)?;
        wanted.cmd = XEN_DOMCTL_SETVCPUCONTEXT;
        self.domctl(guest, &wanted).map(drop)
    }

    /// Saves a domain's context and restores it, damaged in half of the cases.
    fn save_and_restore(&mut self, guest: &Guest, mut wanted: Domctl) -> Option<()> {
        wanted.cmd = XEN_DOMCTL_GETHVMCONTEXT;
        let buffer = GuestHandle::new(BUFFER);
        wanted.set_hvmcontext(DomctlHvmcontext { size: CONTEXT_BYTES, buffer, ..DomctlHvmcontext::default() });
        let (result, told) = self.domctl(guest, &wanted)?;
        if result != 0 {
            return Some(());
        }
        let size = told.hvmcontext().size;
        if self.dice.bool() {
            let at = BUFFER + self.dice.u64(..u64::from(size).max(1));
            let byte = self.dice.u8(..);
            self.write(guest, at, &[byte]);
        }
        wanted.cmd = XEN_DOMCTL_SETHVMCONTEXT;
        wanted.set_hvmcontext(DomctlHvmcontext { size, ..wanted.hvmcontext() });
        self.domctl(guest, &wanted).map(drop)
    }

    /// Reads a domain's CPU policy and sets it, damaged in half of the cases.
    fn move_policy(&mut self, guest: &Guest, mut wanted: Domctl) -> Option<()> {
        wanted.cmd = XEN_DOMCTL_GET_CPU_POLICY;
        let bytes = u64::from(LEAVES) * size_of::<CpuidLeaf>() as u64;
        let (leaves, msrs) = (GuestHandle::new(BUFFER), GuestHandle::new(BUFFER + bytes));
        let room = DomctlCpuPolicy { nr_leaves: LEAVES, nr_msrs: MSRS, leaves, msrs, ..DomctlCpuPolicy::default() };
        wanted.set_cpu_policy(room);
        let (result, told) = self.domctl(guest, &wanted)?;
        if result != 0 {
            return Some(());
        }
        let DomctlCpuPolicy { nr_leaves, nr_msrs, .. } = told.cpu_policy();
        if self.dice.bool() {
            let used = u64::from(nr_leaves) * size_of::<CpuidLeaf>() as u64;
            let in_msrs = u64::from(nr_msrs) * size_of::<MsrEntry>() as u64;
            let (from, length) = if self.dice.bool() { (BUFFER, used) } else { (BUFFER + bytes, in_msrs) };
            let at = from + self.dice.u64(..length.max(1));
            let byte = self.dice.u8(..);
            self.write(guest, at, &[byte]);
        }
        wanted.cmd = XEN_DOMCTL_SET_CPU_POLICY;
        wanted.set_cpu_policy(DomctlCpuPolicy { nr_leaves, nr_msrs, ..room });
        self.domctl(guest, &wanted).map(drop)
    }

    fn use_machine(&mut self, guest: &Guest) -> Option<()> {
        let (number, version, most) = match self.dice.bool() {
            true => (SYSCTL, XEN_SYSCTL_INTERFACE_VERSION, 30),
            false => (PLATFORM_OP, XENPF_INTERFACE_VERSION, 66),
        };
        let command = self.dice.u32(1..most);
        self.write(guest, ARGUMENT, &command.to_le_bytes());
        self.write(guest, ARGUMENT + 4, &version.to_le_bytes());
        for word in 1..6 {
            let value = [LIST, 1, 2, BUFFER, u64::MAX].get(self.dice.usize(..5)).copied().unwrap_or(0);
            self.write(guest, ARGUMENT + word * 8, &value.to_le_bytes());
        }
        self.call(guest, number, [ARGUMENT, 0, 0, 0, 0, 0]).map(drop)
    }

    /// Makes one step of a toolstack; none where the vCPU makes calls no more.
    pub fn use_control(&mut self, guest: &Guest) -> Option<()> {
        let domain = self.domain();
        let mut wanted = Domctl { interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Domctl::default() };
        match self.dice.u8(..9) {
            0 | 1 if self.made.len() < MOST_MADE => self.make(guest, wanted),
            0..=2 => self.end(guest, wanted),
            3 => {
                let commands = [XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN];
                wanted.cmd = commands.get(self.dice.usize(..3)).copied().unwrap_or(0);
                self.domctl(guest, &wanted).map(drop)
            }
            4 => self.move_registers(guest, wanted),
            5 => self.save_and_restore(guest, wanted),
            6 => self.move_policy(guest, wanted),
            _ => self.use_machine(guest),
        }
    }
}
