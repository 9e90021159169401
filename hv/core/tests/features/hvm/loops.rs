//! Waiting vCPUs in the loop of a CPU: what wakes them, and what becomes of them when their domain ends.

use super::emulator::{Emulator, GUEST, at, destroy};
use crate::domctl::toolstack;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::ioreq::*;
use xen_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION};
use xen_abi::sched::SHUTDOWN_CRASH;
use xen_abi::{DomId, Gfn, GuestHandle, VcpuId};
use xenolith_core::domains::domain::Shutdown;
use xenolith_core::lifecycle::waking::notify;
use xenolith_core::run::CpuLoop;
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, Exit, GuestCpu, IoAccess, IoSize, NestedSpace};

const READ: IoAccess = IoAccess { port: 0x60, size: IoSize::Byte, write: false, string: false, repeat: false };

/// A guest whose vCPU 0 reads a port and then halts, on a CPU's loop.
fn reading() -> (Emulator, CpuLoop<FakeMachine>) {
    let emulator = Emulator::new();
    emulator.core(0, |core| core.hardware.exits.extend([Exit::Io(READ)]));
    let domain = emulator.world.domain(GUEST);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.bring_up();
    emulator.world.hv.scheduler.wake(&emulator.world.hv.machine, &domain, vcpu);
    (emulator, CpuLoop::new(CpuId(0)))
}

fn turns(emulator: &Emulator, cpu: &mut CpuLoop<FakeMachine>, count: usize) {
    for _ in 0..count {
        cpu.turn(&emulator.world.hv);
    }
}

fn runs(emulator: &Emulator) -> u64 {
    emulator.world.domain(GUEST).vcpus[0].with_core(|core| core.hardware.runs()).unwrap()
}

#[test]
fn only_the_answer_wakes_a_vcpu_that_waits() {
    let (emulator, mut cpu) = reading();
    turns(&emulator, &mut cpu, 3);
    let domain = emulator.world.domain(GUEST);
    assert!(emulator.is_waiting(0) && !domain.vcpus[0].is_running());
    assert_eq!(runs(&emulator), 1);
    domain.vcpus[0].requests.post_vector(0x40);
    notify(&emulator.world.hv, &domain, &domain.vcpus[0]);
    turns(&emulator, &mut cpu, 3);
    assert_eq!(runs(&emulator), 1, "an interrupt does not");
    emulator.answer(0, 0x5a);
    turns(&emulator, &mut cpu, 3);
    assert_eq!(emulator.core(0, |core| core.hardware.registers().rax as u8), 0x5a);
    assert!(runs(&emulator) > 1 && domain.vcpus[0].is_blocked(), "it went on, and halts");
}

#[test]
fn an_answer_during_a_pause_is_taken_after_it() {
    let (emulator, mut cpu) = reading();
    turns(&emulator, &mut cpu, 3);
    let domain = emulator.world.domain(GUEST);
    xenolith_core::lifecycle::waking::pause_all(&emulator.world.hv, &domain);
    emulator.answer(0, 0x5a);
    turns(&emulator, &mut cpu, 3);
    assert_eq!(runs(&emulator), 1);
    xenolith_core::lifecycle::waking::unpause_all(&emulator.world.hv, &domain);
    turns(&emulator, &mut cpu, 3);
    assert_eq!(emulator.core(0, |core| core.hardware.registers().rax as u8), 0x5a);
}

#[test]
fn a_scribbled_page_crashes_the_guest_and_nobody_else() {
    let (emulator, mut cpu) = reading();
    turns(&emulator, &mut cpu, 3);
    emulator.synchronous().store_u8(30, 0xf).unwrap();
    emulator.notify(0);
    turns(&emulator, &mut cpu, 3);
    assert_eq!(emulator.world.domain(GUEST).shutdown_reason(), Shutdown(SHUTDOWN_CRASH));
    for other in [0, 2] {
        assert_eq!(emulator.world.domain(other).shutdown_reason(), Shutdown::NONE);
    }
}

#[test]
fn a_server_that_goes_releases_the_vcpu_in_its_loop() {
    let (emulator, mut cpu) = reading();
    turns(&emulator, &mut cpu, 3);
    assert_eq!(destroy(&emulator.world, 0), Ok(0));
    turns(&emulator, &mut cpu, 3);
    assert_eq!(emulator.core(0, |core| core.hardware.registers().rax as u8), 0xff);
    assert!(runs(&emulator) > 1);
}

#[test]
fn a_domain_that_is_destroyed_while_it_waits_leaves_nothing() {
    let (emulator, mut cpu) = reading();
    let world = &emulator.world;
    turns(&emulator, &mut cpu, 3);
    assert_eq!(toolstack::destroy(world, DomId(GUEST)), Ok(0));
    turns(&emulator, &mut cpu, 3);
    // The pages of the server are still mapped by the device model.
    let account = world.hv.frames.account(DomId(GUEST)).unwrap();
    assert_eq!((account.total(), account.shared()), (0, 3));
    for gfn in [0x200, 0x201] {
        let mut op = xen_abi::physmap::RemoveFromPhysmap { domid: DomId(0), pad: [0; 6], gpfn: Gfn(gfn) };
        assert_eq!(world.call_with(0, MEMORY_OP, xen_abi::memory::XENMEM_REMOVE_FROM_PHYSMAP, &mut op), Ok(0));
    }
    toolstack::settle(world);
    assert_eq!(account.shared(), 1, "the shared page, which no test gives to the domain to release");
}

#[test]
fn a_device_model_is_told_that_memory_was_given_back() {
    let (emulator, mut cpu) = reading();
    let world = &emulator.world;
    turns(&emulator, &mut cpu, 3);
    emulator.answer(0, 0);
    turns(&emulator, &mut cpu, 3);
    world.page(GUEST, Gfn(4)).store_u64(0, 9).unwrap();
    let reservation = MemoryReservation {
        extent_start: GuestHandle::new(at(Gfn(4))),
        nr_extents: 1,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    };
    assert_eq!(world.call_with(GUEST, MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut { reservation }), Ok(1));
    assert_eq!(world.domain(GUEST).space.lookup(Gfn(9)), None);
    notify(&world.hv, &world.domain(GUEST), &world.domain(GUEST).vcpus[0]);
    let before = runs(&emulator);
    turns(&emulator, &mut cpu, 3);
    assert!(emulator.is_waiting(0));
    assert_eq!((emulator.asked(0).kind, emulator.asked(0).data), (IOREQ_TYPE_INVALIDATE, u64::MAX));
    assert_eq!(runs(&emulator), before, "it runs no guest code before");
    emulator.answer(0, 0);
    turns(&emulator, &mut cpu, 3);
    assert!(!emulator.is_waiting(0) && runs(&emulator) > before);
}
