//! INIT and start-up IPIs, as a vCPU takes them.

use std::sync::atomic::Ordering;
use xen_abi::VcpuId;
use xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING;
use xenolith_core::run::CpuLoop;
use xenolith_core::x86::interrupts::take_requests;
use xenolith_hal::{CpuId, Exit, TimeBase};
use xenolith_world::{World, vectors};

const UPCALL: u8 = 0xf3;
/// The spurious vector register, whose bit 8 turns the local APIC on.
const SPURIOUS: u32 = 0xf0;

/// The highest vector that waits once the guest has turned its local APIC on.
fn pending_after(waits_for_startup: bool, ask: impl Fn(&World)) -> (Option<u8>, bool) {
    let world = World::new(&[2]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(1)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    core.waits_for_startup = waits_for_startup;
    ask(&world);
    take_requests(vcpu, &mut core);
    let _ = core.lapic.write_page(SPURIOUS, 4, 0x1ff, TimeBase::default());
    let found = (core.lapic.highest_pending(), core.waits_for_startup);
    vcpu.put_core(core);
    found
}

fn raise(world: &World) {
    world.domain(0).vcpu(VcpuId(1)).unwrap().requests.post_vector(UPCALL);
}

fn init(world: &World) {
    world.domain(0).vcpu(VcpuId(1)).unwrap().requests.post_init();
}

fn start(world: &World) {
    world.domain(0).vcpu(VcpuId(1)).unwrap().requests.post_sipi(0x98);
}

#[test]
fn what_is_raised_before_the_first_start_is_still_there_afterwards() {
    let ask = |world: &World| {
        raise(world);
        init(world);
        start(world);
    };
    assert_eq!(pending_after(true, ask), (Some(UPCALL), false));
}

#[test]
fn init_makes_a_vcpu_that_ran_wait_for_its_start() {
    assert_eq!(pending_after(false, init), (None, true));
    let ask = |world: &World| {
        init(world);
        start(world);
    };
    assert_eq!(pending_after(false, ask), (None, false));
}

#[test]
fn init_forgets_what_the_local_apic_had() {
    let world = World::new(&[2]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(1)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    raise(&world);
    take_requests(vcpu, &mut core);
    init(&world);
    take_requests(vcpu, &mut core);
    let _ = core.lapic.write_page(SPURIOUS, 4, 0x1ff, TimeBase::default());
    assert_eq!(core.lapic.highest_pending(), None);
    vcpu.put_core(core);
}

/// Lets the first vCPU, whose local APIC is off, be sent an upcall, turn its local APIC on, and halt. Gives the
/// vector that it was offered last.
fn offered_after_turning_on(pending: bool) -> Option<u8> {
    let world = World::new(&[1]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.upcall_vector.store(UPCALL, Ordering::SeqCst);
    vcpu.requests.post_vector(UPCALL);
    if pending {
        let (page, offset) = vcpu.info(&world.hv.machine).unwrap();
        page.store_u8(offset + VCPU_INFO_UPCALL_PENDING, 1).unwrap();
    }
    vcpu.with_core(|core| {
        let x2apic = Exit::WriteMsr { msr: 0x1b, value: 0xfee0_0d00 };
        let on = Exit::WriteMsr { msr: 0x80f, value: 0x1ff };
        core.hardware.exits.extend([x2apic, on, Exit::Interrupted]);
    });
    vcpu.bring_up();
    world.hv.scheduler.wake(&world.hv.machine, &domain, vcpu);
    let mut cpu = CpuLoop::new(CpuId(0));
    cpu.turn(&world.hv);
    vcpu.pause();
    cpu.turn(&world.hv);
    vcpu.with_core(|core| core.hardware.offered.interrupt).unwrap()
}

#[test]
fn a_local_apic_that_is_off_takes_an_upcall_when_it_is_turned_on() {
    assert_eq!(offered_after_turning_on(true), Some(UPCALL));
    assert_eq!(offered_after_turning_on(false), None);
}

#[test]
fn every_vector_that_was_asked_for_is_raised_once() {
    let world = World::new(&[1]);
    let domain = world.domain(0);
    let requests = &domain.vcpu(VcpuId(0)).unwrap().requests;
    for vector in [0x10, 0x3f, 0x40, 0xf3, 0xff, 0x40] {
        requests.post_vector(vector);
    }
    assert_eq!(vectors(requests.take()), [0x10, 0x3f, 0x40, 0xf3, 0xff]);
    assert_eq!(vectors(requests.take()), [0_u8; 0]);
}
