//! Two domains on a machine of vectors: the control domain with two vCPUs, and an ordinary one with one.

use fastrand::Rng;
use xen_abi::hvm_param::{HVMPV_BASE_FREQ, HVMPV_FEATURE_MASK};
use xen_abi::{Gfn, Mfn};
use xenolith_core::x86::viridian;
use xenolith_core::{Domain, Hypervisor};
use xenolith_fake::FakeMachine;
use xenolith_hal::{Machine, NestedSpace, PageWords};
use xenolith_sync::Arc;
use xenolith_world::{Plan, World};

/// Frames of the machine.
pub const MACHINE_PAGES: usize = 512;
/// Frames of each domain, from guest frame 0 on.
pub const GUEST_PAGES: u64 = 24;

const PLAN: Plan = Plan {
    cpus: 2,
    machine_pages: MACHINE_PAGES,
    guest_pages: GUEST_PAGES,
    spare_pages: 16,
    domains: 32,
    long_mode: true,
    hvm: true,
    ..Plan::TESTS
};

/// Makes a hypervisor with both domains.
pub fn hypervisor() -> Hypervisor<FakeMachine> {
    World::planned(PLAN, &[2, 1]).hv
}

/// Gives a domain Microsoft's interface half the time, with some of its features.
pub fn give_viridian(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, domain: &Domain<FakeMachine>) {
    if dice.bool() {
        let features = dice.u64(..=HVMPV_FEATURE_MASK) | HVMPV_BASE_FREQ;
        assert_eq!(viridian::enable(hv, domain, features), Ok(()));
    }
}

/// Returns a domain's page, if something is there.
pub fn page<'m>(
    hv: &'m Hypervisor<FakeMachine>,
    domain: &Arc<Domain<FakeMachine>>,
    gfn: Gfn,
) -> Option<(Mfn, &'m PageWords)> {
    let mapping = domain.space.lookup(gfn)?;
    Some((mapping.mfn, hv.machine.page(mapping.mfn)?))
}
