//! What the hypervisor keeps for itself, in bytes.

use xen_abi::DomId;
use xen_abi::domctl::{Domctl, DomctlCreatedomain, DomctlMaxVcpus, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_MAX_VCPUS};
use xen_abi::hypercall::{SCHED_OP, SYSCTL};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::sysctl::{Sysctl, XEN_SYSCTL_INTERFACE_VERSION, XEN_SYSCTL_PHYSINFO};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::alloc_unbound;
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::toolstack::{checked, domctl, info, options, set};

use crate::bench::{Bench, Row};
use crate::heap;
use crate::life::{create, end};

/// How many domains, and how many vCPUs of one, are made to see what one of them takes.
const DOMAINS: usize = 32;
const VCPUS: u32 = 64;
/// How many domains get ports, and how many each.
const WITH_PORTS: usize = 8;
const PORTS: u32 = 1000;
/// How often to yield between two looks at whether memory is still becoming free.
const SETTLING: u32 = 16;

/// What the hypervisor has at the moment at which this kernel begins.
pub struct AtBoot {
    /// All that is neither free nor this domain's.
    taken: Row,
    /// The same without what the hypervisor's heap has free.
    in_use: Row,
}

impl AtBoot {
    /// To be called first of all: what a row makes the hypervisor allocate may stay.
    pub fn read() -> Self {
        let own = || {
            let (result, own) = info(DomId::DOM0);
            checked(result).map(|()| (own.tot_pages << 12).cast_signed())
        };
        let pages = || taken().map(u64::cast_signed);
        Self {
            taken: pages().and_then(|taken| Ok(taken - own()?)),
            in_use: pages().and_then(|taken| Ok(taken - own()? - heap::free_bytes().cast_signed())),
        }
    }

    /// What all CPUs of the machine take together with all that is there once: the row of one of them is the difference
    /// between machines.
    pub fn row_of_cpus(&self, b: &mut Bench<'_>) {
        b.row("memory/per-cpu", |_| self.in_use);
    }
}

/// Takes the rows.
pub fn run(b: &mut Bench<'_>, at_boot: &AtBoot) {
    b.row("memory/hypervisor-after-boot", |_| at_boot.taken);
    at_boot.row_of_cpus(b);
    b.row("memory/per-empty-domain", |_| empty_domains(pages::take()));
    b.row("memory/per-vcpu", |_| vcpus());
    b.row("memory/per-1000-ports", |_| ports(pages::take()));
}

/// Returns bytes of the machine that are not free.
fn taken() -> Result<u64, i64> {
    static STRUCTURE: Page = Page::new();
    let wanted =
        Sysctl { cmd: XEN_SYSCTL_PHYSINFO, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Sysctl::default() };
    STRUCTURE.write(0, wanted);
    checked(call(SYSCTL, [STRUCTURE.address()]))?;
    let told = STRUCTURE.read::<Sysctl>(0).physinfo();
    Ok((told.total_pages - told.free_pages) << 12)
}

/// Returns the same without what the hypervisor's heap has free, once nothing waits to be freed any more.
fn in_use() -> Result<u64, i64> {
    let mut before = taken()?;
    loop {
        (0..SETTLING).for_each(|_| {
            call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
        });
        let now = taken()?;
        if now == before {
            return Ok(now.saturating_sub(heap::free_bytes()));
        }
        before = now;
    }
}

/// Returns what `make` makes the hypervisor keep, in bytes, for each of as many as it makes.
fn kept(count: usize, make: impl FnOnce() -> Result<(), i64>) -> Row {
    let before = in_use()?;
    make()?;
    Ok(in_use()?.wrapping_sub(before).cast_signed() / count as i64)
}

fn empty_domains(list: &'static Page) -> Row {
    let kept =
        kept(DOMAINS, || (0..DOMAINS).try_for_each(|index| create().map(|id| list.write(index * 8, u64::from(id.0)))));
    (0..DOMAINS).try_for_each(|index| end(DomId(list.read::<u64>(index * 8) as u16)))?;
    kept
}

/// Returns a domain other than those of [`options`] only in what `change` changes.
///
/// **Errors:** what the call gave.
pub fn special(change: impl FnOnce(&mut DomctlCreatedomain)) -> Result<DomId, i64> {
    let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
    let mut wanted = options();
    change(&mut wanted);
    op.set_createdomain(wanted);
    checked(domctl(&mut op)).map(|()| op.domain)
}

fn vcpus() -> Row {
    let id = special(|options| options.max_vcpus = VCPUS)?;
    let kept =
        kept(VCPUS as usize, || set(id, XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: VCPUS })));
    end(id)?;
    kept
}

/// Of domains whose tables of ports are as they come: that of this one has grown before.
fn ports(list: &'static Page) -> Row {
    let id = |index: usize| DomId(list.read(index * 2));
    for index in 0..WITH_PORTS {
        list.write(index * 2, create()?.0);
    }
    let kept = kept(WITH_PORTS, || {
        (0..WITH_PORTS)
            .try_for_each(|index| (0..PORTS).try_for_each(|_| checked(alloc_unbound(id(index), DomId::DOM0).0)))
    });
    (0..WITH_PORTS).try_for_each(|index| end(id(index)))?;
    kept
}
