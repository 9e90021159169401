//! A second domain that runs this same kernel, for what takes two: made by domain 0 from its own image in memory.
//!
//! What lies in the image lies at the same address in both, so a static [`Page`] is where they can find each other.

use core::fmt::Write;

use xen_abi::domctl::*;
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::{DomId, Gfn, GuestHandle};

use crate::calls::memory;
use crate::console::Line;
use crate::domain::{SPARE, address, after};
use crate::foreign;
use crate::pages::{Page, read_at, write_at};
use crate::start_info::MAGIC;
use crate::toolstack::{Mode, checked, domctl, is_gone, options, plain, registers, set, set_registers};

/// Where the twin's start information and command line lie.
const START_INFO: u64 = 0x1_0000;
const COMMAND_LINE: u64 = 0x1_0100;
/// The word on its command line that tells the twin its own number.
pub const DOMID: &str = "domid";
/// Pages of 2 MiB, in 4 KiB ones, and as the order of an extent.
const LARGE: u64 = 512;
const LARGE_ORDER: u32 = 9;
/// The counter's frequency is the machine's own.
const TSC_NATIVE: u32 = 2;

unsafe extern "C" {
    static kit_image_begin: u8;
    static kit_image_filled: u8;
    static kit_image_end: u8;
    static kit_pvh_entry: u8;
}

/// A domain with this kernel in it.
pub struct Twin {
    pub id: DomId,
    scratch: &'static Page,
}

impl Twin {
    /// Makes it, with `vcpus` vCPUs and `words` on its command line, paused. `scratch` is needed for as long as the twin is.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn new(scratch: &'static Page, words: &str, vcpus: u32) -> Result<Self, i64> {
        Self::with(options(), scratch, words, vcpus)
    }

    /// Makes it with one vCPU and the devices of an HVM guest: accesses to other ones go to device models.
    ///
    /// **Errors:** as of [`Twin::new`].
    pub fn with_platform(scratch: &'static Page, words: &str) -> Result<Self, i64> {
        let mut wanted = options();
        wanted.arch.emulation_flags = EmulationFlags::all().difference(EmulationFlags::VPCI);
        Self::with(wanted, scratch, words, 1)
    }

    /// Makes one with these options.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn with(options: DomctlCreatedomain, scratch: &'static Page, words: &str, vcpus: u32) -> Result<Self, i64> {
        let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
        op.set_createdomain(DomctlCreatedomain { max_vcpus: vcpus, max_evtchn_port: 4095, ..options });
        checked(domctl(&mut op))?;
        let twin = Self { id: op.domain, scratch };
        twin.fill(words, vcpus).inspect_err(|_| {
            twin.destroy();
        })?;
        Ok(twin)
    }

    fn fill(&self, words: &str, vcpus: u32) -> Result<(), i64> {
        let begin = &raw const kit_image_begin as u64;
        let filled = (&raw const kit_image_filled as u64).next_multiple_of(4096);
        let end = (&raw const kit_image_end as u64).next_multiple_of(LARGE << 12);
        let large = (end - begin) >> 21;
        set(self.id, XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: vcpus }))?;
        set(self.id, XEN_DOMCTL_MAX_MEM, |op| op.set_max_mem(DomctlMaxMem { max_memkb: (large + 2) * 2048 }))?;
        let tsc = DomctlTscInfo { tsc_mode: TSC_NATIVE, ..DomctlTscInfo::default() };
        set(self.id, XEN_DOMCTL_SETTSCINFO, |op| op.set_tsc_info(tsc))?;
        self.populate(0)?;
        (0..large).try_for_each(|index| self.populate((begin >> 12) + index * LARGE))?;
        for page in (begin..filled).step_by(4096) {
            let at = self.see(Gfn(page >> 12), 0)?;
            (0..4096).step_by(8).for_each(|offset| write_at(at + offset, read_at::<u64>(page + offset)));
            self.unsee(0);
        }
        let at = self.see(Gfn(START_INFO >> 12), 0)?;
        write_at(at, MAGIC);
        write_at(at + 24, COMMAND_LINE);
        let mut line = Line::new();
        // Words that are too long are cut; the twin says then that it does not know them.
        let _ = write!(line, "{DOMID}={} {words}", self.id.0);
        (COMMAND_LINE & 0xfff..).zip(line.text().bytes()).for_each(|(offset, byte)| write_at(at + offset, byte));
        self.unsee(0);
        let mut start = registers(Mode::Flat);
        (start.rip, start.rbx) = (&raw const kit_pvh_entry as u64, START_INFO);
        set_registers(self.id, self.scratch.address() + 2048, &start)
    }

    fn populate(&self, gfn: u64) -> Result<(), i64> {
        self.scratch.write(0, gfn);
        let mut wanted = MemoryReservation {
            extent_start: GuestHandle::new(self.scratch.address()),
            nr_extents: 1,
            extent_order: LARGE_ORDER,
            domid: self.id,
            ..MemoryReservation::default()
        };
        let done = memory(XENMEM_POPULATE_PHYSMAP, &mut wanted);
        if done == 1 { Ok(()) } else { Err(if done == 0 { -12 } else { done }) }
    }

    /// Sees one of its pages at the spare frame `slot`, from now on; gives the address.
    ///
    /// **Errors:** what the call gave.
    pub fn see(&self, gfn: Gfn, slot: u64) -> Result<u64, i64> {
        let at = after(SPARE, slot);
        foreign::map(self.scratch, self.id, gfn, at)?;
        Ok(address(at))
    }

    /// Sees the spare frame `slot` no longer.
    pub fn unsee(&self, slot: u64) -> i64 {
        foreign::unmap(after(SPARE, slot))
    }

    /// Lets it run.
    pub fn unpause(&self) -> i64 {
        plain(XEN_DOMCTL_UNPAUSEDOMAIN, self.id)
    }

    /// Ends it.
    pub fn destroy(&self) -> i64 {
        plain(XEN_DOMCTL_DESTROYDOMAIN, self.id)
    }

    /// Returns true if nothing is left of it.
    pub fn is_gone(&self) -> bool {
        is_gone(self.id)
    }
}
