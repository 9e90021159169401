//! What the hypervisor keeps for itself, in bytes.

use xen_abi::domctl::{Domctl, DomctlCreatedomain, DomctlMaxVcpus, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_MAX_VCPUS};
use xen_abi::hypercall::SYSCTL;
use xen_abi::sysctl::{Sysctl, XEN_SYSCTL_INTERFACE_VERSION, XEN_SYSCTL_PHYSINFO};
use xen_abi::{DomId, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::{alloc_unbound, close};
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::toolstack::{checked, domctl, info, options, set};

use crate::bench::{Bench, Row};
use crate::life::{create, end};

/// How many domains, and how many vCPUs of one, are made to see what one of them takes.
const DOMAINS: usize = 32;
const VCPUS: u32 = 64;
const PORTS: usize = 1000;

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    b.row("memory/hypervisor-after-boot", |_| {
        let (total, free) = machine()?;
        let (result, own) = info(DomId::DOM0);
        checked(result)?;
        bytes(total - free - own.tot_pages, 1)
    });
    b.row("memory/empty-domain", |_| empty_domains(pages::take()));
    b.row("memory/vcpu", |_| vcpus());
    b.row("memory/1000-ports", |_| ports(pages::take()));
}

fn bytes(pages: u64, of: u64) -> Row {
    Ok((pages * 4096 / of).cast_signed())
}

/// How many pages the machine has, and how many are free.
fn machine() -> Result<(u64, u64), i64> {
    static STRUCTURE: Page = Page::new();
    let wanted =
        Sysctl { cmd: XEN_SYSCTL_PHYSINFO, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Sysctl::default() };
    STRUCTURE.write(0, wanted);
    checked(call(SYSCTL, [STRUCTURE.address()]))?;
    let told = STRUCTURE.read::<Sysctl>(0).physinfo();
    Ok((told.total_pages, told.free_pages))
}

fn empty_domains(list: &'static Page) -> Row {
    let before = machine()?.1;
    for index in 0..DOMAINS {
        list.write(index * 8, u64::from(create()?.0));
    }
    let after = machine()?.1;
    (0..DOMAINS).try_for_each(|index| end(DomId(list.read::<u64>(index * 8) as u16)))?;
    bytes(before.saturating_sub(after), DOMAINS as u64)
}

fn vcpus() -> Row {
    let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
    op.set_createdomain(DomctlCreatedomain { max_vcpus: VCPUS, ..options() });
    checked(domctl(&mut op))?;
    let before = machine()?.1;
    let made = set(op.domain, XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: VCPUS }));
    let after = machine()?.1;
    end(op.domain)?;
    made?;
    bytes(before.saturating_sub(after), VCPUS.into())
}

fn ports(list: &'static Page) -> Row {
    let before = machine()?.1;
    for index in 0..PORTS {
        let (result, port) = alloc_unbound(DomId::SELF, DomId::DOM0);
        checked(result)?;
        list.write(index * 4, port);
    }
    let after = machine()?.1;
    (0..PORTS).for_each(|index| {
        close(list.read::<Port>(index * 4));
    });
    bytes(before.saturating_sub(after), 1)
}
