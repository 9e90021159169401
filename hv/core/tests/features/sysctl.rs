//! `sysctl` as the toolstack makes it.

use xen_abi::cpu_features::FEATURESET_WORDS;
use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::{DomainFlags, DomctlGetdomaininfo, XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2};
use xen_abi::hypercall::{CtlBitmap, SYSCTL};
use xen_abi::physdev::PhysdevPciDevice;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::lifecycle::waking;
use xenolith_hal::{CpuId, Machine, PAGE_SIZE, Time};
use xenolith_world::{Answer, GUEST_PAGES, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the structure lies, and two buffers; the guests' paging is off, so addresses are physical.
const STRUCTURE: u64 = 0x3000;
const BUFFER: Gfn = Gfn(10);
const SECOND: Gfn = Gfn(14);
const NOWHERE: u64 = 0x100_0000;

const fn address(gfn: Gfn) -> u64 {
    gfn.0 * PAGE_SIZE as u64
}

/// Makes a call of a domain; the structure comes back as the call left it.
fn sysctl_by(world: &World, caller: u16, op: &mut Sysctl) -> Answer {
    let page = world.page(caller, Gfn(STRUCTURE / PAGE_SIZE as u64));
    assert!(page.write_bytes(0, op.as_bytes()));
    let answer = world.call(caller, SYSCTL, [STRUCTURE, 0, 0, 0, 0, 0]);
    assert!(page.read_bytes(0, op.as_mut_bytes()));
    answer
}

fn empty(cmd: u32) -> Sysctl {
    Sysctl { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Sysctl::default() }
}

/// Makes a call of the control domain with a member of the union, which comes back too.
fn sysctl<T: FromBytes + IntoBytes + Immutable>(world: &World, cmd: u32, member: &mut T) -> Answer {
    let mut op = empty(cmd);
    op.u.0[..size_of::<T>()].copy_from_slice(member.as_bytes());
    let answer = sysctl_by(world, 0, &mut op);
    member.as_mut_bytes().copy_from_slice(&op.u.0[..size_of::<T>()]);
    answer
}

fn read<T: FromBytes + IntoBytes + Clone>(world: &World, gfn: Gfn, count: usize) -> Vec<T> {
    let mut values = vec![T::new_zeroed(); count];
    for (index, value) in values.iter_mut().enumerate() {
        for (n, byte) in value.as_mut_bytes().iter_mut().enumerate() {
            let at = index * size_of::<T>() + n;
            *byte = world.page(0, Gfn(gfn.0 + (at / PAGE_SIZE) as u64)).load_u8(at % PAGE_SIZE).unwrap();
        }
    }
    values
}

fn bitmap(nr_bits: u32) -> CtlBitmap {
    CtlBitmap { bitmap: GuestHandle::new(address(BUFFER)), nr_bits, ..CtlBitmap::default() }
}

#[test]
fn the_version_is_checked_before_the_caller_and_the_pointer_before_both() {
    let world = World::new(&[1, 1]);
    let mut op = empty(XEN_SYSCTL_PHYSINFO);
    assert_eq!(sysctl_by(&world, 1, &mut op), Err(Errno::EPERM));
    op.interface_version = 0x14;
    assert_eq!(sysctl_by(&world, 1, &mut op), Err(Errno::EACCES));
    assert_eq!(sysctl_by(&world, 0, &mut op), Err(Errno::EACCES));
    assert_eq!(world.call(1, SYSCTL, [NOWHERE, 0, 0, 0, 0, 0]), Err(Errno::EFAULT));
}

#[test]
fn what_is_not_there_is_refused_as_xen_does() {
    let world = World::new(&[1]);
    let refusals = [
        (XEN_SYSCTL_PSR_CMT_OP, Errno::ENODEV),
        (XEN_SYSCTL_PSR_ALLOC, Errno::ENODEV),
        (XEN_SYSCTL_PM_OP, Errno::EINVAL),
        (XEN_SYSCTL_COVERAGE_OP, Errno::EOPNOTSUPP),
        (XEN_SYSCTL_PERFC_OP, Errno::ENOSYS),
        (XEN_SYSCTL_LOCKPROF_OP, Errno::ENOSYS),
        (XEN_SYSCTL_LIVEPATCH_OP, Errno::ENOSYS),
        (0, Errno::ENOSYS),
        (13, Errno::ENOSYS),
        (u32::MAX, Errno::ENOSYS),
    ];
    for (cmd, errno) in refusals {
        assert_eq!(sysctl_by(&world, 0, &mut empty(cmd)), Err(errno), "{cmd}");
    }
    let mut statistics = SysctlGetPmstat { kind: PMSTAT_GET_MAX_CX, ..SysctlGetPmstat::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_PMSTAT, &mut statistics), Err(Errno::ENODEV));
    statistics.cpuid = 1;
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_PMSTAT, &mut statistics), Err(Errno::EINVAL));
    let mut hotplug = SysctlCpuHotplug { op: XEN_SYSCTL_CPU_HOTPLUG_OFFLINE, ..SysctlCpuHotplug::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPU_HOTPLUG, &mut hotplug), Err(Errno::EOPNOTSUPP));
}

#[test]
fn physinfo_counts_what_there_is() {
    let world = World::new(&[1, 1]);
    let mut info = SysctlPhysinfo::default();
    assert_eq!(sysctl(&world, XEN_SYSCTL_PHYSINFO, &mut info), Ok(0));
    assert_eq!((info.nr_cpus, info.max_cpu_id, info.nr_nodes, info.max_node_id), (1, 0, 1, 0));
    assert_eq!((info.threads_per_core, info.cores_per_socket, info.cpu_khz), (1, 1, 1_000_000));
    assert!(info.capabilities.contains(PhysCapabilities::HVM | PhysCapabilities::HAP));
    assert!(!info.capabilities.contains(PhysCapabilities::PV));
    assert_eq!((info.total_pages, info.free_pages), (1024, world.hv.frames.free_pages()));
    assert_eq!((info.outstanding_pages, info.max_mfn), (0, 1023));
    assert_eq!(info.hw_cap[..2], [0x078b_fbfd, 0x8020_2001]);
    world.hv.frames.account(DomId(1)).unwrap().set_max(500);
    assert_eq!(world.hv.frames.claim(DomId(1), 100), Ok(()));
    assert_eq!(sysctl(&world, XEN_SYSCTL_PHYSINFO, &mut info), Ok(0));
    assert_eq!(info.outstanding_pages, 100 - GUEST_PAGES);
}

#[test]
fn a_cpu_that_runs_no_guests_is_in_no_pool() {
    let world = World::sparing_cpu0(3, &[1]);
    let mut info = SysctlPhysinfo::default();
    assert_eq!(sysctl(&world, XEN_SYSCTL_PHYSINFO, &mut info), Ok(0));
    assert_eq!((info.nr_cpus, info.max_cpu_id, info.cores_per_socket), (2, 2, 2), "one socket with what can be used");
    let mut pool = SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_INFO, cpumap: bitmap(8), ..SysctlCpupoolOp::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut pool), Ok(0));
    assert_eq!(read::<u8>(&world, BUFFER, 1), [0b110]);
}

fn read_console(world: &World, ask: SysctlReadconsole) -> (String, SysctlReadconsole) {
    let mut op = SysctlReadconsole { buffer: GuestHandle::new(address(BUFFER)), ..ask };
    assert_eq!(sysctl(world, XEN_SYSCTL_READCONSOLE, &mut op), Ok(0));
    (String::from_utf8(read(world, BUFFER, op.count as usize)).unwrap(), op)
}

#[test]
fn the_log_is_read_from_its_beginning_or_from_where_an_earlier_call_ended() {
    let world = World::new(&[1]);
    world.hv.machine.console_write(b"first line\nsecond line\n");
    let all = SysctlReadconsole { count: 100, ..SysctlReadconsole::default() };
    let (text, end) = read_console(&world, all);
    assert_eq!((text.as_str(), end.index, end.count), ("first line\nsecond line\n", 23, 23));
    let (text, part) = read_console(&world, SysctlReadconsole { count: 11, ..all });
    assert_eq!((text.as_str(), part.index), ("first line\n", 11));
    world.hv.machine.console_write(b"third\n");
    let (text, _) = read_console(&world, SysctlReadconsole { incremental: 1, index: end.index, ..all });
    assert_eq!(text, "third\n");
    let (text, _) = read_console(&world, SysctlReadconsole { incremental: 1, index: u32::MAX, ..all });
    assert_eq!(text.len(), 29, "an index before the beginning is the beginning");
}

#[test]
fn a_log_that_was_cleared_begins_anew() {
    let world = World::new(&[1]);
    world.hv.machine.console_write(b"old\n");
    let clear = SysctlReadconsole { clear: 1, count: 100, ..SysctlReadconsole::default() };
    assert_eq!(read_console(&world, clear).0, "old\n");
    assert_eq!(read_console(&world, clear).0, "");
    world.hv.machine.console_write(b"new\n");
    assert_eq!(read_console(&world, SysctlReadconsole { clear: 0, ..clear }).0, "new\n");
    let mut op = SysctlReadconsole { buffer: GuestHandle::new(NOWHERE), count: 4, ..clear };
    assert_eq!(sysctl(&world, XEN_SYSCTL_READCONSOLE, &mut op), Err(Errno::EFAULT));
    assert_eq!(read_console(&world, clear).0, "new\n", "nothing is lost that could not be copied");
}

#[test]
fn debug_keys_are_pressed() {
    let world = World::new(&[1]);
    assert!(world.page(0, BUFFER).write_bytes(0, b"hc"));
    let mut op = SysctlDebugKeys { keys: GuestHandle::new(address(BUFFER)), nr_keys: 2, ..SysctlDebugKeys::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_DEBUG_KEYS, &mut op), Ok(0));
    assert_eq!(world.hv.machine.pressed(), b"hc");
    op.nr_keys = u32::MAX;
    assert_eq!(sysctl(&world, XEN_SYSCTL_DEBUG_KEYS, &mut op), Err(Errno::E2BIG));
    op = SysctlDebugKeys { keys: GuestHandle::new(NOWHERE), nr_keys: 1, ..op };
    assert_eq!(sysctl(&world, XEN_SYSCTL_DEBUG_KEYS, &mut op), Err(Errno::EFAULT));
}

#[test]
fn the_key_for_memory_tells_how_much_is_free() {
    let world = World::new(&[1]);
    assert!(world.page(0, BUFFER).write_bytes(0, b"m"));
    let mut op = SysctlDebugKeys { keys: GuestHandle::new(address(BUFFER)), nr_keys: 1, ..SysctlDebugKeys::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_DEBUG_KEYS, &mut op), Ok(0));
    let free = format!("frames: {} free,", world.hv.frames.free_pages());
    assert!(world.hv.machine.logged().iter().any(|line| line.starts_with(&free)), "{free}");
}

#[test]
fn there_is_one_pool_with_every_cpu_and_every_domain() {
    let world = World::new(&[1, 1, 1]);
    assert!(world.page(0, BUFFER).write_bytes(0, &[0xff; 4]));
    let info = SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_INFO, cpumap: bitmap(12), ..SysctlCpupoolOp::default() };
    let mut op = info;
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut op), Ok(0));
    assert_eq!((op.cpupool_id, op.sched_id, op.n_dom), (0, XEN_SCHEDULER_CREDIT2, 3));
    assert_eq!(read::<u8>(&world, BUFFER, 3), [1, 0, 0xff], "no byte past the bitmap is touched");
    op = SysctlCpupoolOp { cpupool_id: 1, ..info };
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut op), Err(Errno::ENOENT), "the list ends");
    op = SysctlCpupoolOp { op: XEN_SYSCTL_CPUPOOL_OP_FREEINFO, ..info };
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut op), Ok(0));
    assert_eq!(read::<u8>(&world, BUFFER, 1), [0]);
    op.cpumap.bitmap = GuestHandle::new(NOWHERE);
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut op), Err(Errno::EFAULT));
    op.cpumap.nr_bits = u32::MAX;
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut op), Err(Errno::E2BIG));
}

#[test]
fn the_pool_cannot_be_changed() {
    let world = World::new(&[1, 1]);
    let try_op = |op: u32, cpupool_id: u32, sched_id: u32, cpu: u32, domid: u32| {
        let mut arguments = SysctlCpupoolOp { op, cpupool_id, sched_id, cpu, domid, ..SysctlCpupoolOp::default() };
        sysctl(&world, XEN_SYSCTL_CPUPOOL_OP, &mut arguments)
    };
    let any = XEN_SYSCTL_CPUPOOL_PAR_ANY;
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_CREATE, any, XEN_SCHEDULER_CREDIT, 0, 0), Err(Errno::ENOENT));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_CREATE, any, XEN_SCHEDULER_CREDIT2, 0, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 0, 0, 0, 0), Err(Errno::EBUSY));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_DESTROY, 5, 0, 0, 0), Err(Errno::ENOENT));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 0, 0, 0), Err(Errno::ENODEV));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_ADDCPU, 0, 0, 9, 0), Err(Errno::EINVAL));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 0, any, 0), Err(Errno::EBUSY));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_RMCPU, 0, 0, 9, 0), Err(Errno::EINVAL));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, 0, 1), Ok(0), "it is there already");
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 1, 0, 0, 1), Err(Errno::ENOENT));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, 0, 0), Err(Errno::EPERM));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, 0, 9), Err(Errno::ESRCH));
    assert_eq!(try_op(XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN, 0, 0, 0, 0x1_0001), Err(Errno::ESRCH));
    assert_eq!(try_op(0, 0, 0, 0, 0), Err(Errno::ENOSYS));
}

#[test]
fn the_schedulers_setting_is_kept_within_its_range() {
    let world = World::new(&[1]);
    let mut id = SysctlSchedId::default();
    assert_eq!(sysctl(&world, XEN_SYSCTL_SCHED_ID, &mut id), Ok(0));
    assert_eq!(id.sched_id, XEN_SCHEDULER_CREDIT2);
    let call = |cmd: u32, cpupool_id: u32, sched_id: u32, ratelimit_us: u32| {
        let mut op = SysctlSchedulerOp { cpupool_id, sched_id, cmd, ..SysctlSchedulerOp::default() };
        op.set_credit2(SysctlCredit2Schedule { ratelimit_us });
        sysctl(&world, XEN_SYSCTL_SCHEDULER_OP, &mut op).map(|_| op.credit2().ratelimit_us)
    };
    let (put, get, credit2) = (XEN_SYSCTL_SCHEDOP_PUTINFO, XEN_SYSCTL_SCHEDOP_GETINFO, XEN_SCHEDULER_CREDIT2);
    assert_eq!(call(get, 0, credit2, 0), Ok(1000));
    assert_eq!(call(put, 0, credit2, 5000), Ok(5000));
    assert_eq!(call(put, 0, credit2, 99), Err(Errno::EINVAL));
    assert_eq!(call(put, 0, credit2, 500_001), Err(Errno::EINVAL));
    assert_eq!(call(get, 0, credit2, 0), Ok(5000));
    assert_eq!(call(put, 0, credit2, 0), Ok(0));
    assert_eq!(call(get, 0, XEN_SCHEDULER_CREDIT, 0), Err(Errno::EINVAL));
    assert_eq!(call(get, 1, credit2, 0), Err(Errno::ESRCH));
    assert_eq!(call(2, 0, credit2, 0), Err(Errno::EINVAL));
}

#[test]
fn domains_are_listed_from_the_one_that_is_asked_for() {
    let world = World::new(&[1, 2, 1]);
    world.domain(1).vcpu(VcpuId(0)).unwrap().bring_up();
    let list = |first: u16, max_domains: u32| {
        let buffer = GuestHandle::new(address(BUFFER));
        let pad0 = [0; 2];
        let mut op = SysctlGetdomaininfolist {
            first_domain: DomId(first),
            pad0,
            max_domains,
            buffer,
            ..SysctlGetdomaininfolist::default()
        };
        assert_eq!(sysctl(&world, XEN_SYSCTL_GETDOMAININFOLIST, &mut op), Ok(0));
        read::<DomctlGetdomaininfo>(&world, BUFFER, op.num_domains as usize)
    };
    let ids = |list: &[DomctlGetdomaininfo]| list.iter().map(|info| info.domain.0).collect::<Vec<_>>();
    assert_eq!(ids(&list(0, 1024)), [0, 1, 2]);
    assert_eq!(ids(&list(1, 1)), [1]);
    assert_eq!(ids(&list(3, 4)), [0; 0]);
    let info = list(1, 1)[0];
    assert_eq!((info.nr_online_vcpus, info.max_vcpu_id), (1, 1));
    assert_eq!((info.tot_pages, info.max_pages), (GUEST_PAGES, GUEST_PAGES));
    let kinds = DomainFlags::HVM_GUEST | DomainFlags::HAP;
    assert!(info.flags.contains(kinds));
    assert!(!info.flags.intersects(DomainFlags::SHUTDOWN | DomainFlags::DYING | DomainFlags::BLOCKED));
    waking::shut_down(&world.hv, &world.domain(1), 3);
    world.domain(1).vcpu(VcpuId(0)).unwrap().block();
    let info = list(1, 1)[0];
    assert!(info.flags.contains(DomainFlags::SHUTDOWN | DomainFlags::BLOCKED));
    assert_eq!(info.flags.shutdown_reason(), 3);
    let mut op = SysctlGetdomaininfolist { max_domains: 1, ..SysctlGetdomaininfolist::default() };
    op.buffer = GuestHandle::new(NOWHERE);
    assert_eq!(sysctl(&world, XEN_SYSCTL_GETDOMAININFOLIST, &mut op), Err(Errno::EFAULT));
}

#[test]
fn topologies_are_told_with_and_without_lists() {
    let world = World::new(&[1]);
    let mut cpus = SysctlCputopoinfo::default();
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUTOPOINFO, &mut cpus), Ok(0));
    assert_eq!(cpus.num_cpus, 1);
    cpus = SysctlCputopoinfo { num_cpus: 8, cputopo: GuestHandle::new(address(BUFFER)), ..cpus };
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUTOPOINFO, &mut cpus), Ok(0));
    assert_eq!(cpus.num_cpus, 1);
    assert_eq!(read::<SysctlCputopo>(&world, BUFFER, 1), [SysctlCputopo { core: 0, socket: 0, node: 0 }]);
    cpus.cputopo = GuestHandle::new(NOWHERE);
    assert_eq!(sysctl(&world, XEN_SYSCTL_CPUTOPOINFO, &mut cpus), Err(Errno::EFAULT));

    let mut nodes = SysctlNumainfo::default();
    assert_eq!(sysctl(&world, XEN_SYSCTL_NUMAINFO, &mut nodes), Ok(0));
    assert_eq!(nodes.num_nodes, 1);
    nodes.num_nodes = 64;
    (nodes.meminfo, nodes.distance) = (GuestHandle::new(address(BUFFER)), GuestHandle::new(address(SECOND)));
    assert_eq!(sysctl(&world, XEN_SYSCTL_NUMAINFO, &mut nodes), Ok(0));
    assert_eq!(nodes.num_nodes, 1);
    let memfree = world.hv.frames.free_pages() << 12;
    assert_eq!(read::<SysctlMeminfo>(&world, BUFFER, 1), [SysctlMeminfo { memsize: 1024 << 12, memfree }]);
    assert_eq!(read::<u32>(&world, SECOND, 2), [10, 0]);
}

#[test]
fn no_device_has_a_node_and_long_lists_are_done_in_parts() {
    let world = World::new(&[1]);
    let mut op = SysctlPcitopoinfo {
        num_devs: 300,
        devs: GuestHandle::<PhysdevPciDevice>::new(address(BUFFER)),
        nodes: GuestHandle::new(address(SECOND)),
        ..SysctlPcitopoinfo::default()
    };
    assert_eq!(sysctl(&world, XEN_SYSCTL_PCITOPOINFO, &mut op), Ok(0));
    assert_eq!(op.num_devs, 256);
    assert_eq!(read::<u32>(&world, SECOND, 256), [XEN_INVALID_NODE_ID; 256]);
    op.nodes = GuestHandle::NULL;
    assert_eq!(sysctl(&world, XEN_SYSCTL_PCITOPOINFO, &mut op), Err(Errno::EINVAL));
}

#[test]
fn idle_time_and_free_memory_are_told() {
    let world = World::new(&[1]);
    world.hv.scheduler.idle_begins(CpuId(0), Time(1));
    world.hv.machine.pass_ns(500);
    let mut op = SysctlGetcpuinfo { max_cpus: 8, info: GuestHandle::new(address(BUFFER)), ..Default::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GETCPUINFO, &mut op), Ok(0));
    assert_eq!(op.nr_cpus, 1);
    assert_eq!(read::<SysctlCpuinfo>(&world, BUFFER, 1), [SysctlCpuinfo { idletime: 500 }]);
    let mut heap = SysctlAvailheap { node: -1, ..SysctlAvailheap::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_AVAILHEAP, &mut heap), Ok(0));
    assert_eq!(heap.avail_bytes, world.hv.frames.free_pages() << 12);
    heap.node = 1;
    assert_eq!(sysctl(&world, XEN_SYSCTL_AVAILHEAP, &mut heap), Ok(0));
    assert_eq!(heap.avail_bytes, 0);
}

#[test]
fn feature_words_come_whole_or_with_a_word_that_there_are_more() {
    let world = World::new(&[1]);
    let mut op = SysctlCpuFeatureset { index: 77, ..SysctlCpuFeatureset::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_FEATURESET, &mut op), Ok(0), "how many there are");
    assert_eq!(op.nr_features as usize, FEATURESET_WORDS);
    op = SysctlCpuFeatureset { index: 1, nr_features: 40, features: GuestHandle::new(address(BUFFER)) };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_FEATURESET, &mut op), Ok(0));
    assert_eq!(op.nr_features as usize, FEATURESET_WORDS);
    assert_eq!(read::<u32>(&world, BUFFER, 4), [0x078b_fbfd, 0x8020_2001, 0x2193_fbfd, 5]);
    op = SysctlCpuFeatureset { index: XEN_SYSCTL_CPU_FEATURESET_HVM, nr_features: 4, ..op };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_FEATURESET, &mut op), Err(Errno::ENOBUFS));
    assert_eq!(op.nr_features, 4);
    assert_eq!(read::<u32>(&world, BUFFER, 4)[3], 1, "no SVM for guests");
    for index in [XEN_SYSCTL_CPU_FEATURESET_PV, XEN_SYSCTL_CPU_FEATURESET_PV_MAX, 6] {
        op = SysctlCpuFeatureset { index, ..op };
        assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_FEATURESET, &mut op), Err(Errno::EINVAL));
    }
}

#[test]
fn policies_are_as_long_as_debians_tools_found_them() {
    let world = World::new(&[1]);
    let mut op = SysctlCpuPolicy { index: XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT, ..SysctlCpuPolicy::default() };
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Ok(0));
    assert_eq!((op.nr_leaves, op.nr_msrs), (0x78, 2));
    op.leaves = GuestHandle::new(address(BUFFER));
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Ok(0));
    assert_eq!((op.nr_leaves, op.nr_msrs), (0x33, 2));
    let leaves = read::<CpuidLeaf>(&world, BUFFER, 0x33);
    assert_eq!(leaves[0], CpuidLeaf { leaf: 0, subleaf: !0, a: 0xd, b: 0x6874_7541, c: 0x444d_4163, d: 0x6974_6e65 });
    assert_eq!((leaves[4].leaf, leaves[4].subleaf), (4, 0));
    assert_eq!((leaves[14].leaf, leaves[14].subleaf), (0xd, 1));
    assert_eq!((leaves[15].leaf, leaves[16].leaf, leaves[17].leaf), (0x4000_0000, 0x4000_0100, 0x8000_0000));
    assert_eq!(leaves[50].leaf, 0x8000_0021);
    op.nr_leaves = 0x32;
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Err(Errno::ENOBUFS));
    op.nr_leaves = 0x78;
    (op.msrs, op.nr_msrs) = (GuestHandle::new(address(SECOND)), 1);
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Err(Errno::ENOBUFS));
    op.nr_msrs = 2;
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Ok(0));
    assert_eq!(read::<MsrEntry>(&world, SECOND, 1), [MsrEntry { idx: 0xce, flags: 0, val: 1 << 31 }]);
    let refusals = [(XEN_SYSCTL_CPU_POLICY_PV_MAX, Errno::EOPNOTSUPP), (6, Errno::EINVAL)];
    for (index, errno) in refusals {
        op.index = index;
        assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Err(errno));
    }
    (op.index, op.reserved) = (0, 1);
    assert_eq!(sysctl(&world, XEN_SYSCTL_GET_CPU_POLICY, &mut op), Err(Errno::EINVAL));
}
