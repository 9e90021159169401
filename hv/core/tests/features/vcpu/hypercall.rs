//! `vcpu_op` and other small hypercalls, from the caller's registers to what it finds afterwards.

use crate::call_lists::{LIST, SLOW, address, looks, write_list};
use xen_abi::console_io::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use xen_abi::event_channel::{EVTCHNOP_BIND_VIRQ, EvtchnBindVirq};
use xen_abi::hvm_op::{HVMMEM_MMIO_DM, HVMMEM_RAM_RW, HVMOP_GET_MEM_TYPE, HVMOP_XENTRACE, HvmGetMemType, HvmXentrace};
use xen_abi::hvm_vcpu::*;
use xen_abi::hypercall::*;
use xen_abi::sched::{SCHEDOP_WATCHDOG, SchedWatchdog};
use xen_abi::shared_info::{SHARED_INFO_EVTCHN_PENDING, TIME_TSC_TIMESTAMP, VCPU_INFO_TIME};
use xen_abi::vcpu::*;
use xen_abi::version::{XENVER_BUILD_ID, XENVER_COMMANDLINE, XENVER_PAGESIZE};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Errno, Gfn, Port, VcpuId};
use xenolith_core::components::vcpu_timers::Timer;
use xenolith_core::domains::running::Running;
use xenolith_core::x86::guest_msr;
use xenolith_hal::{GuestCpu, PAGE_SIZE, Time};
use xenolith_world::{Answer, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the structure of a call lies; the guests' paging is off.
const ARGUMENT: Gfn = Gfn(5);

fn vcpu_op<T: FromBytes + IntoBytes + Immutable>(world: &World, op: u32, vcpu: u32, value: &mut T) -> Answer {
    let page = world.page(1, ARGUMENT);
    assert!(page.write_bytes(0, value.as_bytes()));
    world.call(1, VCPU_OP, [op.into(), vcpu.into(), ARGUMENT.0 * PAGE_SIZE as u64, 0, 0, 0])
}

fn plain(world: &World, op: u32, vcpu: u32) -> Answer {
    world.call(1, VCPU_OP, [op.into(), vcpu.into(), 0, 0, 0, 0])
}

fn timer_port(world: &World) -> Port {
    let mut op = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: VcpuId(0), port: Port(0) };
    assert_eq!(world.call_with(1, EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut op), Ok(0));
    op.port
}

fn is_pending(world: &World, port: Port) -> bool {
    let pending = world.page(1, xenolith_world::SHARED_INFO).load_u64(SHARED_INFO_EVTCHN_PENDING).unwrap();
    pending >> port.0 & 1 != 0
}

fn deadline(world: &World) -> Time {
    world.domain(1).vcpu(VcpuId(0)).unwrap().timers.get(Timer::OneShot)
}

/// Registers that every processor takes: 64-bit mode.
fn long_mode() -> VcpuHvmX8664 {
    VcpuHvmX8664 { rip: 0x1234, rbx: 77, cr0: 0x8000_0011, cr4: 0x20, efer: 0x100, ..VcpuHvmX8664::default() }
}

fn context(registers: VcpuHvmX8664) -> VcpuHvmContext {
    let mut context = VcpuHvmContext { mode: VCPU_HVM_MODE_64B, ..VcpuHvmContext::default() };
    context.set_x86_64(registers);
    context
}

fn protected_mode() -> VcpuHvmX8632 {
    VcpuHvmX8632 {
        eip: 0x1000,
        cr0: 0x11,
        cs_limit: u32::MAX,
        ss_limit: u32::MAX,
        cs_ar: 0xc9b,
        ss_ar: 0xc93,
        tr_ar: 0x8b,
        ..VcpuHvmX8632::default()
    }
}

fn context_32(registers: VcpuHvmX8632) -> VcpuHvmContext {
    let mut context = VcpuHvmContext::default();
    context.set_x86_32(registers);
    context
}

#[test]
fn a_vcpu_that_does_not_exist_is_looked_at_before_the_operation() {
    let world = World::new(&[1, 2]);
    for op in [0, 3, 12, 13, 14, 100, u32::MAX] {
        assert_eq!(plain(&world, op, 2), Err(Errno::ENOENT), "{op}");
    }
    assert_eq!(plain(&world, 14, 1), Err(Errno::ENOSYS));
}

#[test]
fn the_control_domain_is_told_the_processor_of_a_vcpu_that_can_run_on_no_other() {
    let ask = |world: &World, dom: u16| {
        let page = world.page(dom, ARGUMENT);
        assert!(page.write_bytes(0, &[0x55; 8]));
        let at = ARGUMENT.0 * PAGE_SIZE as u64;
        (world.call(dom, VCPU_OP, [VCPUOP_GET_PHYSID.into(), 0, at, 0, 0, 0]), page.load_u64(0).unwrap())
    };
    let refused = (Err(Errno::EINVAL), 0x5555_5555_5555_5555);
    let world = World::new(&[1, 1]);
    assert_eq!((ask(&world, 0), ask(&world, 1)), ((Ok(0), 0), refused));
    assert_eq!(ask(&World::on_cpus(2, &[1]), 0), refused);
    assert_eq!(ask(&World::sparing_cpu0(2, &[1]), 0), (Ok(0), 0x1_0000_0001));
}

#[test]
fn a_vcpu_gets_its_first_registers_once_and_runs_when_it_is_brought_up() {
    let world = World::new(&[1, 2]);
    let domain = world.domain(1);
    let second = domain.vcpu(VcpuId(1)).unwrap();
    assert_eq!(plain(&world, VCPUOP_UP, 1), Err(Errno::EINVAL), "it has nothing to run");
    assert_eq!(vcpu_op(&world, VCPUOP_INITIALISE, 1, &mut context(long_mode())), Ok(0));
    assert!(!second.is_up());
    let (registers, paging) =
        second.with_core(|core| (*core.hardware.registers_mut(), core.hardware.paging())).unwrap();
    assert_eq!((registers.rip, registers.rbx, registers.rflags), (0x1234, 77, 2));
    assert_eq!((paging.efer, paging.long_code), (0x500, true));
    assert_eq!(vcpu_op(&world, VCPUOP_INITIALISE, 1, &mut context(long_mode())), Err(Errno::EEXIST));
    assert_eq!(plain(&world, VCPUOP_UP, 1), Ok(0));
    assert_eq!(plain(&world, VCPUOP_IS_UP, 1), Ok(1));
}

#[test]
fn registers_that_no_processor_takes_are_refused() {
    let world = World::new(&[1, 2]);
    let good = long_mode();
    let bad = [
        VcpuHvmContext { mode: 2, ..context(good) },
        VcpuHvmContext { pad: 1, ..context(good) },
        context(VcpuHvmX8664 { rip: 1 << 47, ..good }),
        context(VcpuHvmX8664 { cr0: 0x11, ..good }),
        context(VcpuHvmX8664 { cr4: 0, ..good }),
        context(VcpuHvmX8664 { efer: 0, ..good }),
        VcpuHvmContext::default(),
        context_32(VcpuHvmX8632 { pad1: 1, ..protected_mode() }),
        context_32(VcpuHvmX8632 { efer: 0x400, ..protected_mode() }),
        context_32(VcpuHvmX8632 { cs_ar: 0xc93, ..protected_mode() }),
        context_32(VcpuHvmX8632 { ss_ar: 0xc91, ..protected_mode() }),
        context_32(VcpuHvmX8632 { ss_ar: 0xcf3, ..protected_mode() }),
        context_32(VcpuHvmX8632 { ds_ar: 0x13, ..protected_mode() }),
        context_32(VcpuHvmX8632 { ds_ar: 0xcf3, ds_limit: u32::MAX, ..protected_mode() }),
        context_32(VcpuHvmX8632 { tr_ar: 0x82, ..protected_mode() }),
        context_32(VcpuHvmX8632 { tr_ar: 0, ..protected_mode() }),
        context_32(VcpuHvmX8632 { cs_limit: 0xfff, cs_ar: 0x49b, ..protected_mode() }),
    ];
    for (index, mut context) in bad.into_iter().enumerate() {
        assert_eq!(vcpu_op(&world, VCPUOP_INITIALISE, 1, &mut context), Err(Errno::EINVAL), "{index}");
    }
    assert_eq!(plain(&world, VCPUOP_UP, 1), Err(Errno::EINVAL));
    assert_eq!(vcpu_op(&world, VCPUOP_INITIALISE, 1, &mut context_32(protected_mode())), Ok(0));
}

#[test]
fn a_vcpu_that_went_down_comes_back_up_but_not_after_init() {
    let world = World::new(&[1, 2]);
    let domain = world.domain(1);
    let second = domain.vcpu(VcpuId(1)).unwrap();
    domain.vcpu(VcpuId(0)).unwrap().bring_up();
    second.bring_up();
    assert_eq!(plain(&world, VCPUOP_DOWN, 1), Ok(0));
    assert_eq!(plain(&world, VCPUOP_UP, 1), Ok(0));
    assert!(second.is_up());
    second.block();
    assert_eq!(plain(&world, VCPUOP_DOWN, 1), Ok(0));
    assert_eq!(plain(&world, VCPUOP_UP, 1), Ok(0));
    assert!(second.is_blocked(), "it still waits for its event");
    second.reset();
    assert_eq!(plain(&world, VCPUOP_UP, 1), Err(Errno::EINVAL));
}

#[test]
fn a_one_shot_timer_for_a_moment_that_is_over_fires_at_once() {
    let world = World::new(&[1, 1]);
    world.hv.machine.set_pace(1_000_000);
    for timeout_abs_ns in [0, 1, u64::MAX, 1 << 63] {
        let port = timer_port(&world);
        let mut past = VcpuSetSingleshotTimer { timeout_abs_ns, flags: SingleshotFlags::FUTURE, ..Default::default() };
        assert_eq!(vcpu_op(&world, VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut past), Ok(0));
        assert!(is_pending(&world, port), "{timeout_abs_ns:#x}");
        assert_eq!(deadline(&world), Time::NEVER);
        world.page(1, xenolith_world::SHARED_INFO).store_u64(SHARED_INFO_EVTCHN_PENDING, 0).unwrap();
        let mut close = xen_abi::event_channel::EvtchnClose { port };
        assert_eq!(world.call_with(1, EVENT_CHANNEL_OP, xen_abi::event_channel::EVTCHNOP_CLOSE, &mut close), Ok(0));
    }
}

#[test]
fn the_old_timer_call_takes_far_and_negative_moments_for_soon() {
    let world = World::new(&[1, 1]);
    let set = |moment: u64| world.call(1, SET_TIMER_OP, [moment, 0, 0, 0, 0, 0]);
    assert_eq!(set(1 << 49), Ok(0));
    assert_eq!(deadline(&world), Time(1 << 49));
    assert_eq!(set(0), Ok(0));
    assert_eq!(deadline(&world), Time::NEVER);
    for far in [1 << 51, 1 << 63, u64::MAX] {
        assert_eq!(set(far), Ok(0));
        assert!(deadline(&world) < Time(1 << 30), "{far:#x}");
    }
}

#[test]
fn a_vcpu_that_moves_its_counter_still_reads_the_time_by_it() {
    const TSC: u32 = 0x10;
    const AHEAD: u64 = 1 << 40;
    let world = World::new(&[1, 1]);
    let domain = world.domain(1);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    let running = &mut Running { hv: &world.hv, domain: &domain, vcpu, core: &mut core };
    let before = guest_msr::read(running, TSC).unwrap();
    guest_msr::write(running, TSC, before + AHEAD).unwrap();
    let stamp = || {
        let page = world.page(1, xenolith_world::SHARED_INFO);
        page.load_u64(VCPU_INFO_TIME + TIME_TSC_TIMESTAMP).unwrap()
    };
    let soon = AHEAD..AHEAD + AHEAD / 2;
    assert!(soon.contains(&stamp()), "{:#x}", stamp());
    vcpu.put_core(core);
    let mut place = VcpuRegisterVcpuInfo { gfn: Gfn(7), offset: 0, reserved: 0 };
    assert_eq!(vcpu_op(&world, VCPUOP_REGISTER_VCPU_INFO, 0, &mut place), Ok(0));
    let moved = world.page(1, Gfn(7)).load_u64(VCPU_INFO_TIME + TIME_TSC_TIMESTAMP).unwrap();
    assert!(soon.contains(&moved), "{moved:#x}");
}

#[test]
fn periods_of_146_years_are_refused() {
    let world = World::new(&[1, 1]);
    let set = |period_ns| vcpu_op(&world, VCPUOP_SET_PERIODIC_TIMER, 0, &mut VcpuSetPeriodicTimer { period_ns });
    assert_eq!(set((1 << 62) - 1), Ok(0));
    assert_eq!(set(1 << 62), Err(Errno::EINVAL));
    assert_eq!(set(999_999), Err(Errno::EINVAL));
}

#[test]
fn vcpu_info_must_fit_its_page() {
    let world = World::new(&[1, 2]);
    for offset in [1, 4096 - 63, 4096, u32::MAX] {
        let mut place = VcpuRegisterVcpuInfo { gfn: Gfn(7), offset, reserved: 0 };
        assert_eq!(vcpu_op(&world, VCPUOP_REGISTER_VCPU_INFO, 1, &mut place), Err(Errno::ENXIO));
        assert_eq!(vcpu_op(&world, VCPUOP_REGISTER_VCPU_INFO, 2, &mut place), Err(Errno::ENOENT));
    }
}

#[test]
fn a_console_text_longer_than_memory_is_written_up_to_its_end() {
    let world = World::new(&[1, 1]);
    let nowhere = 0x1000_0000;
    let io = |op: u32, count: u64, at: u64| world.call(0, CONSOLE_IO, [op.into(), count, at, 0, 0, 0]);
    assert_eq!(io(CONSOLEIO_WRITE, 0xffff_ffff, nowhere), Err(Errno::EFAULT));
    assert_eq!(io(CONSOLEIO_READ, 0xffff_ffff, nowhere), Err(Errno::E2BIG));
    assert_eq!(io(CONSOLEIO_READ, 0x7fff_ffff, nowhere), Ok(0));
}

#[test]
fn a_console_text_is_written_by_lines_with_interrupts_between_them_where_the_port_is_slow() {
    let lines = [vec![b'a'; 79], vec![b'b'; 300], Vec::new(), vec![b'c'; 7]].map(|line| [line, vec![b'\n']].concat());
    let text = lines.concat();
    for pace in [1, SLOW] {
        let world = World::new(&[1]);
        write_list(&world, 0, LIST, &text);
        world.hv.machine.set_pace(pace);
        let args = [CONSOLEIO_WRITE.into(), text.len() as u64, address(LIST), 0, 0, 0];
        assert_eq!(world.call(0, CONSOLE_IO, args), Ok(0));
        assert_eq!(world.hv.machine.console(), text);
        assert_eq!(world.hv.machine.console_parts(), [80, 128, 128, 45, 1, 8]);
        // The clock is looked at when the call begins or goes on, and after each part but the last.
        assert!(pace == 1 || looks(&world) == 6 + 5, "a new start for each part");
    }
}

#[test]
fn a_third_watchdog_gets_the_error_number_in_32_bits() {
    let world = World::new(&[1, 1]);
    let set = |id, timeout| world.call_with(1, SCHED_OP, SCHEDOP_WATCHDOG, &mut SchedWatchdog { id, timeout });
    assert_eq!((set(0, 9), set(0, 9), set(0, 9)), (Ok(1), Ok(2), Ok(0xffff_ffe4)));
    assert_eq!((set(1, 0), set(1, 9)), (Ok(0), Err(Errno::EINVAL)));
}

#[test]
fn what_is_for_domain_0_alone_is_refused_as_real_xen_refuses_it() {
    let world = World::new(&[1, 1]);
    let call = |number, a, b, c| world.call(1, number, [a, b, c, 0, 0, 0]);
    let nowhere = 0x1000_0000;
    assert_eq!(call(CONSOLE_IO, 99, 0, 0), Err(Errno::EPERM), "before the operation is looked for");
    assert_eq!(call(HYPFS_OP, 0, 0, 0), Err(Errno::EPERM));
    assert_eq!(call(PHYSDEV_OP, 25, 0, 0), Err(Errno::ENOSYS), "PHYSDEVOP_pci_device_add");
    assert_eq!(call(PLATFORM_OP, nowhere, 0, 0), Err(Errno::EFAULT));
    assert_eq!(call(PLATFORM_OP, 0, 0, 0), Err(Errno::EACCES), "the version of zeroes");
    assert_eq!(call(DM_OP, DomId::SELF.0.into(), 1, 0), Err(Errno::ESRCH));
    assert_eq!(call(DM_OP, 9, 1, nowhere), Err(Errno::EFAULT));
}

#[test]
fn calls_for_other_kinds_of_domain_say_what_real_xen_says() {
    let world = World::new(&[1, 1]);
    let call = |caller, number, a, b, d| world.call(caller, number, [a, b, 0, d, 0, 0]);
    assert_eq!(call(0, DM_OP, 1, 0, 0), Err(Errno::ENODATA));
    assert_eq!(call(0, DM_OP, 1, 3, 0), Err(Errno::E2BIG));
    assert_eq!(call(0, DM_OP, 9, 1, 0), Err(Errno::ESRCH));
    assert_eq!(call(0, DM_OP, 0, 1, 0), Err(Errno::EPERM));
    assert_eq!(call(1, DM_OP, 0, 1, 0), Err(Errno::EPERM));
    assert_eq!(call(0, DM_OP, 1, 1, 0), Err(Errno::EFAULT), "the first buffer is empty");
    assert_eq!(call(0, MMUEXT_OP, 0, 1, 0), Err(Errno::ESRCH), "by its own number");
    assert_eq!(call(0, MMUEXT_OP, 0, 1, 9), Err(Errno::ESRCH));
    assert_eq!(call(0, MMUEXT_OP, 0, 1, 1), Err(Errno::EINVAL));
    assert_eq!(call(0, MMUEXT_OP, 0, 1, DomId::SELF.0.into()), Err(Errno::EINVAL));
    assert_eq!(call(0, HYPFS_OP, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(call(0, ARCH_1, 0, 0, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(call(0, XEN_VERSION, XENVER_PAGESIZE.into(), 0x1000, 0), Err(Errno::EINVAL));
    assert_eq!(call(0, XEN_VERSION, XENVER_PAGESIZE.into(), 0, 0), Ok(4096));
}

#[test]
fn a_domain_asks_for_the_kind_of_its_own_memory() {
    let world = World::new(&[1, 1, 1]);
    let kind = |domid, pfn| {
        let mut asked = HvmGetMemType { domid, mem_type: 0x55, pad: [0; 2], pfn };
        world.call_with(1, HVM_OP, HVMOP_GET_MEM_TYPE, &mut asked).map(|_| u32::from(asked.mem_type))
    };
    assert_eq!(kind(DomId::SELF, Gfn(3)), Ok(u32::from(HVMMEM_RAM_RW)));
    assert_eq!(kind(DomId(1), Gfn(0x1000)), Ok(u32::from(HVMMEM_MMIO_DM)));
    assert_eq!(kind(DomId(2), Gfn(3)), Err(Errno::EPERM));
    assert_eq!(kind(DomId(9), Gfn(3)), Err(Errno::ESRCH));
}

#[test]
fn an_event_for_the_trace_that_nobody_takes_is_looked_at() {
    let world = World::new(&[1, 1]);
    let trace = |event, extra_bytes| {
        world.call_with(1, HVM_OP, HVMOP_XENTRACE, &mut HvmXentrace { event, extra_bytes, extra: [0; 28] })
    };
    assert_eq!(trace(1, 28), Ok(0));
    assert_eq!(trace(1, 29), Err(Errno::EINVAL));
    assert_eq!(trace(0x1000, 4), Err(Errno::EINVAL));
}

#[test]
fn how_the_hypervisor_was_started_and_built_is_for_the_control_domain() {
    let world = World::new(&[1, 1]);
    let ask = |id, number: u32, text: &mut [u8; 1024]| world.call_with(id, XEN_VERSION, number, text);
    let mut line = [0x55; 1024];
    assert_eq!(ask(1, XENVER_COMMANDLINE, &mut line), Ok(0));
    assert_eq!(&line[..9], b"<denied>\0");
    assert!(line[9..].iter().all(|byte| *byte == 0x55), "nothing else was written");
    let mut line = [0x55; 1024];
    assert_eq!(ask(0, XENVER_COMMANDLINE, &mut line), Ok(0));
    let shown = world.hv.settings.command_line.as_bytes();
    assert_eq!(line.split_at(shown.len()), (shown, &vec![0; 1024 - shown.len()][..]));
    assert_eq!(world.call(1, XEN_VERSION, [XENVER_BUILD_ID.into(), 0, 0, 0, 0, 0]), Err(Errno::EPERM));
    assert_eq!(world.call(0, XEN_VERSION, [XENVER_BUILD_ID.into(), 0, 0, 0, 0, 0]), Ok(20));
}
