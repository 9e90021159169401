//! Pausing, letting go, buttons, and what is told of vCPUs.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::guest_context::{GuestContextFlags, VcpuGuestContext};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_SUSPEND};
use xen_abi::{DomId, Errno, GuestHandle, VcpuId};
use xenolith_core::domains::domain::Shutdown;
use xenolith_core::domains::scheduler::{Do, Wish};
use xenolith_core::domains::vcpu::Vcpu;
use xenolith_core::lifecycle::power::domain_shutdown;
use xenolith_core::lifecycle::waking;
use xenolith_hal::{CpuId, EventInFlight, EventKind, GuestCpu, Machine};
use xenolith_world::{Answer, World};
use zerocopy::{FromZeros, IntoBytes};

fn world() -> (World, DomId) {
    let world = World::new(&[1]);
    let id = create(&world);
    give_vcpus(&world, id, 2).unwrap();
    (world, id)
}

#[test]
fn a_domain_runs_when_it_was_let_go_as_often_as_it_was_paused() {
    let (world, id) = world();
    assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, id), Ok(0));
    assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id), Ok(0));
    assert!(flags(&world, id).contains(DomainFlags::PAUSED));
    assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id), Ok(0));
    assert!(!flags(&world, id).contains(DomainFlags::PAUSED));
    assert!(!domain(&world, id).vcpus.iter().any(Vcpu::is_paused));
    assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id), Err(Errno::EINVAL));
    assert!(!domain(&world, id).vcpus.iter().any(Vcpu::is_paused));
}

#[test]
fn a_domain_is_paused_so_often_and_no_more() {
    let (world, id) = world();
    for _ in 1..255 {
        assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, id), Ok(0));
    }
    assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, id), Err(Errno::EOVERFLOW));
    assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, DomId(0)), Err(Errno::EINVAL));
}

/// The vCPU that a CPU would run next.
fn next(world: &World) -> Option<VcpuId> {
    match world.hv.scheduler.choose(CpuId(0), world.hv.machine.now(), Wish::Leave).next {
        Do::Switch(entry) => entry.vcpu().filter(|vcpu| vcpu.is_runnable()).map(|vcpu| vcpu.id),
        Do::Keep | Do::Idle => None,
    }
}

#[test]
fn a_vcpu_that_is_up_runs_as_soon_as_its_domain_is_let_go() {
    let (world, id) = world();
    let domain = domain(&world, id);
    domain.vcpus[0].bring_up();
    world.hv.scheduler.wake(&world.hv.machine, &domain, &domain.vcpus[0]);
    assert_eq!(next(&world), None);
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    assert_eq!(next(&world), Some(VcpuId(0)));
    // The other one is down.
    assert_eq!(next(&world), None);
}

#[test]
fn an_event_wakes_a_paused_vcpu_only_when_its_domain_is_let_go() {
    let (world, id) = world();
    let domain = domain(&world, id);
    let vcpu = &domain.vcpus[0];
    vcpu.bring_up();
    vcpu.block();
    waking::notify_number(&world.hv, &domain, VcpuId(0));
    assert!(!vcpu.is_blocked() && next(&world).is_none());
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    assert_eq!(next(&world), Some(VcpuId(0)));
}

#[test]
fn the_flags_say_what_the_vcpus_do() {
    let (world, id) = world();
    let domain = domain(&world, id);
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    let base = DomainFlags::HVM_GUEST | DomainFlags::HAP;
    assert_eq!(flags(&world, id), base);
    domain.vcpus[0].bring_up();
    domain.vcpus[0].block();
    assert_eq!(flags(&world, id), base | DomainFlags::BLOCKED);
    domain.vcpus[1].bring_up();
    assert_eq!(flags(&world, id), base);
    let core = domain.vcpus[1].take_core().unwrap();
    assert_eq!(flags(&world, id), base | DomainFlags::RUNNING);
    domain.vcpus[1].put_core(core);
    assert_eq!(info(&world, id).unwrap().nr_online_vcpus, 2);
}

#[test]
fn a_shutdown_shows_with_its_reason_and_can_be_taken_back() {
    let (world, id) = world();
    let domain = domain(&world, id);
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    domain_shutdown(&world.hv, &domain, SHUTDOWN_SUSPEND);
    domain_shutdown(&world.hv, &domain, SHUTDOWN_CRASH);
    let told = info(&world, id).unwrap().flags;
    assert!(told.contains(DomainFlags::SHUTDOWN) && told.shutdown_reason() == SHUTDOWN_SUSPEND);
    assert!(domain.vcpus.iter().all(Vcpu::is_paused));
    assert_eq!(plain(&world, XEN_DOMCTL_RESUMEDOMAIN, id), Ok(0));
    assert!(!flags(&world, id).contains(DomainFlags::SHUTDOWN) && domain.shutdown_reason() == Shutdown::NONE);
    assert!(!domain.vcpus.iter().any(Vcpu::is_paused));
    assert_eq!(plain(&world, XEN_DOMCTL_RESUMEDOMAIN, id), Ok(0));
    assert!(!domain.vcpus.iter().any(Vcpu::is_paused));
    assert_eq!(plain(&world, XEN_DOMCTL_RESUMEDOMAIN, DomId(0)), Err(Errno::EINVAL));
}

fn trigger(world: &World, id: DomId, trigger: u32, vcpu: u32) -> Result<u64, Errno> {
    let mut op = domctl(XEN_DOMCTL_SENDTRIGGER, id);
    op.set_sendtrigger(DomctlSendtrigger { trigger, vcpu: VcpuId(vcpu) });
    call(world, &mut op)
}

#[test]
fn an_nmi_is_sent_and_other_buttons_do_nothing() {
    let (world, id) = world();
    let domain = domain(&world, id);
    assert_eq!(trigger(&world, id, XEN_DOMCTL_SENDTRIGGER_POWER, 0), Ok(0));
    assert_eq!(trigger(&world, id, XEN_DOMCTL_SENDTRIGGER_SLEEP, 0), Ok(0));
    assert!(!domain.vcpus[0].requests.pending());
    assert_eq!(trigger(&world, id, XEN_DOMCTL_SENDTRIGGER_NMI, 0), Ok(0));
    assert!(domain.vcpus[0].requests.pending());
    for button in [XEN_DOMCTL_SENDTRIGGER_RESET, XEN_DOMCTL_SENDTRIGGER_INIT, 5, u32::MAX] {
        assert_eq!(trigger(&world, id, button, 0), Err(Errno::ENOSYS));
    }
    assert_eq!(trigger(&world, id, XEN_DOMCTL_SENDTRIGGER_NMI, 2), Err(Errno::ESRCH));
}

#[test]
fn what_a_vcpu_does_is_told() {
    let (world, id) = world();
    let get = |vcpu| {
        let mut op = domctl(XEN_DOMCTL_GETVCPUINFO, id);
        op.set_getvcpuinfo(DomctlGetvcpuinfo { vcpu: VcpuId(vcpu), ..DomctlGetvcpuinfo::default() });
        call(&world, &mut op).map(|_| op.getvcpuinfo())
    };
    let domain = domain(&world, id);
    domain.vcpus[1].bring_up();
    domain.vcpus[1].block();
    let told = get(1).unwrap();
    assert_eq!((told.online, told.blocked, told.running, told.cpu), (1, 1, 0, 0));
    assert_eq!(get(0).map(|told| told.online), Ok(0));
    assert_eq!(get(2), Err(Errno::EINVAL));
    let unmade = create(&world);
    let mut op = domctl(XEN_DOMCTL_GETVCPUINFO, unmade);
    assert_eq!(call(&world, &mut op), Err(Errno::ESRCH));
}

/// Asks for a vCPU's registers, or sets them, by `cmd`.
fn vcpu_context(world: &World, cmd: u32, domain: DomId, vcpu: u32, at: u64) -> Answer {
    let mut op = domctl(cmd, domain);
    let ctxt = GuestHandle::new(at);
    op.set_vcpucontext(DomctlVcpucontext { vcpu: VcpuId(vcpu), ctxt, ..DomctlVcpucontext::default() });
    call(world, &mut op)
}

/// The registers that the toolstack has before it.
fn context(world: &World) -> VcpuGuestContext {
    let mut context = VcpuGuestContext::new_zeroed();
    let (first, second) = context.as_mut_bytes().split_at_mut(4096);
    assert!(world.page(0, FIRST_BUFFER).read_bytes(0, first));
    assert!(world.page(0, SECOND_BUFFER).read_bytes(0, second));
    context
}

fn set_context(world: &World, domain: DomId, vcpu: u32, context: &VcpuGuestContext) -> Answer {
    let (first, second) = context.as_bytes().split_at(4096);
    assert!(world.page(0, FIRST_BUFFER).write_bytes(0, first));
    assert!(world.page(0, SECOND_BUFFER).write_bytes(0, second));
    vcpu_context(world, XEN_DOMCTL_SETVCPUCONTEXT, domain, vcpu, address(FIRST_BUFFER))
}

#[test]
fn registers_are_told_of_a_vcpu_that_was_started() {
    let (world, id) = world();
    let get = |domain, vcpu, at| vcpu_context(&world, XEN_DOMCTL_GETVCPUCONTEXT, domain, vcpu, at);
    let buffer = address(FIRST_BUFFER);
    assert_eq!(get(id, 0, buffer), Err(Errno::ENODATA));
    let domain = domain(&world, id);
    domain.vcpus[0].bring_up();
    domain.vcpus[0].with_core(|core| {
        core.hardware.registers_mut().rip = 0x1234;
        core.hardware.registers_mut().r15 = 15;
    });
    assert_eq!(get(id, 0, buffer), Ok(0));
    let context = context(&world);
    assert_eq!((context.user_regs.rip, context.user_regs.r15), (0x1234, 15));
    assert!(context.flags.contains(GuestContextFlags::ONLINE));
    assert_eq!(context.ctrlreg[0], domain.vcpus[0].with_core(|core| core.hardware.state().cr0).unwrap());
    assert_eq!(get(id, 0, NOWHERE), Err(Errno::EFAULT));
    assert_eq!(get(id, 2, buffer), Err(Errno::EINVAL));
    assert_eq!(get(DomId(0), 0, buffer), Err(Errno::EINVAL), "the caller itself");
    assert!(!domain.vcpus[0].is_runnable(), "still as paused as before");
}

/// A breakpoint's exception on its way into the guest.
const EVENT: EventInFlight = EventInFlight { vector: 3, kind: EventKind::Exception, error_code: None };

#[test]
fn a_suspended_domain_goes_on_with_another_answer_when_the_toolstack_lets_it() {
    let (world, id) = world();
    let domain = domain(&world, id);
    domain.vcpus[0].bring_up();
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    let before = domain.vcpus[0].with_core(|core| {
        core.hardware.registers_mut().rip = 0x1234;
        core.hardware.set_fpu_image(Some(&[5; 512]));
        core.hardware.set_debug_addresses([1, 2, 3, 4]);
        core.hardware.set_undelivered_event(Some(EVENT));
        core.hardware.state()
    });
    assert!(waking::shut_down(&world.hv, &domain, SHUTDOWN_SUSPEND));
    assert_eq!(vcpu_context(&world, XEN_DOMCTL_GETVCPUCONTEXT, id, 0, address(FIRST_BUFFER)), Ok(0));
    let mut told = context(&world);
    told.user_regs.rax = 1;
    assert_eq!(set_context(&world, id, 0, &told), Ok(0));
    assert!(!domain.vcpus[0].is_runnable(), "not before it is let go");
    assert_eq!(plain(&world, XEN_DOMCTL_RESUMEDOMAIN, id), Ok(0));
    assert!(domain.vcpus[0].is_runnable() && !domain.vcpus[1].is_up());
    let mut expected = before.unwrap();
    expected.registers.rax = 1;
    let kept = domain.vcpus[0].with_core(|core| {
        let hardware = &core.hardware;
        (hardware.state(), hardware.fpu_image(), hardware.debug_addresses(), hardware.undelivered_event())
    });
    assert_eq!(kept, Some((expected, [5; 512], [1, 2, 3, 4], Some(EVENT))));
}

#[test]
fn registers_that_are_set_say_whether_the_vcpu_is_up() {
    let (world, id) = world();
    let vcpu = &domain(&world, id).vcpus[1];
    let mut wanted = VcpuGuestContext::new_zeroed();
    wanted.flags = GuestContextFlags::ONLINE | GuestContextFlags::I387_VALID;
    (wanted.user_regs.rip, wanted.debugreg[7], wanted.fpu_ctxt[0]) = (0x5678, 0x400, 9);
    assert_eq!(set_context(&world, id, 1, &wanted), Ok(0));
    assert!(vcpu.is_up());
    let (state, fpu) = vcpu.with_core(|core| (core.hardware.state(), core.hardware.fpu_image())).unwrap();
    assert_eq!((state.registers.rip, state.dr7, fpu[0]), (0x5678, 0x400, 9));
    wanted.flags = GuestContextFlags::empty();
    assert_eq!(set_context(&world, id, 1, &wanted), Ok(0));
    assert!(!vcpu.is_up());
    assert_eq!(vcpu.with_core(|core| core.hardware.fpu_image()[0]), Some(0), "as after a reset");
}

#[test]
fn registers_are_set_neither_of_the_caller_nor_of_a_vcpu_that_is_not_there() {
    let (world, id) = world();
    let set = |domain, vcpu, at| vcpu_context(&world, XEN_DOMCTL_SETVCPUCONTEXT, domain, vcpu, at);
    assert_eq!(set(DomId(0), 0, address(FIRST_BUFFER)), Err(Errno::EINVAL));
    assert_eq!(set(id, 2, address(FIRST_BUFFER)), Err(Errno::EINVAL));
    assert_eq!(set(id, 0, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(set(id, 0, NOWHERE), Err(Errno::EFAULT));
    assert!(!domain(&world, id).vcpus[0].is_up());
}
