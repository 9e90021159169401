//! Making domains and their vCPUs.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_core::settings::GrantBounds;
use xenolith_world::World;

#[test]
fn a_new_domain_is_paused_and_has_nothing() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert_eq!(id, DomId(1));
    let info = info(&world, id).unwrap();
    let flags = DomainFlags::HVM_GUEST | DomainFlags::HAP | DomainFlags::PAUSED;
    assert_eq!(info.flags, DomainFlags(flags.0 | 0xffff_0000));
    assert_eq!((info.tot_pages, info.max_pages, info.nr_online_vcpus), (0, 0, 0));
    assert_eq!((info.max_vcpu_id, info.handle, info.cpupool), (XEN_INVALID_MAX_VCPU_ID, [7; 16], 0));
    assert_eq!(info.arch_config.emulation_flags, EmulationFlags::LAPIC);
}

#[test]
fn numbers_are_given_out_in_turn_and_not_again_at_once() {
    let world = World::new(&[1]);
    let first = create(&world);
    assert_eq!(destroy(&world, first), Ok(0));
    assert_eq!(create(&world), DomId(first.0 + 1));
    assert_eq!(create_with(&world, DomId(3), options()), Ok(DomId(3)));
    assert_eq!(create(&world), DomId(4));
}

#[test]
fn a_number_that_is_taken_is_refused() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert_eq!(create_with(&world, id, options()), Err(Errno::EEXIST));
}

/// Asserts what becomes of options that differ from accepted ones.
fn refused(change: impl Fn(&mut DomctlCreatedomain)) -> Option<Errno> {
    let world = World::new(&[1]);
    let mut options = options();
    change(&mut options);
    let free = world.hv.frames.free_pages();
    let errno = create_with(&world, DomId(0), options).err();
    if errno.is_some() {
        assert_eq!(world.hv.frames.free_pages(), free);
        assert_eq!(info(&world, DomId(1)), Err(Errno::ESRCH));
    }
    errno
}

#[test]
fn options_without_meaning_are_refused() {
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|options| options.flags |= CreateFlags(1 << 8)), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.flags = CreateFlags::HAP), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_vcpus = 0), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_vcpus = 129), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_vcpus = u32::MAX), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.iommu_opts = IommuOptions(1)), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.vmtrace_size = 4096), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.arch.misc_flags = MiscFlags(2)), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.arch.misc_flags = MiscFlags::MSR_RELAXED), None);
    assert_eq!(refused(|options| options.arch.emulation_flags = EmulationFlags(1 << 30)), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.cpupool_id = 5), Some(Errno::ESRCH));
}

#[test]
fn a_domain_gets_as_many_vcpus_as_xl_allows() {
    let world = World::new(&[1]);
    let id = create_with(&world, DomId(0), DomctlCreatedomain { max_vcpus: 128, ..options() }).unwrap();
    assert_eq!(give_vcpus(&world, id, 128), Ok(0));
    assert_eq!(info(&world, id).unwrap().max_vcpu_id, 127);
    let mut pool = domctl(XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, id);
    assert_eq!(call(&world, &mut pool), Ok(0));
    assert_eq!(pool.paging_mempool().size, 1 << 20, "the pool has the size that Xen gives it");
}

#[test]
fn what_is_refused_for_want_of_a_feature_is_said_in_the_log() {
    let said = |change: fn(&mut DomctlCreatedomain)| {
        let world = World::new(&[1]);
        let mut options = options();
        change(&mut options);
        assert_eq!(create_with(&world, DomId(0), options), Err(Errno::EINVAL));
        world.hv.machine.logged().join("|")
    };
    for (line, word) in [
        (said(|options| options.flags = CreateFlags::empty()), "PV guests"),
        (said(|options| options.flags = CreateFlags::HVM), "shadow page tables"),
        (said(|options| options.flags |= CreateFlags::NESTED_VIRT), "nested virtualisation"),
        (said(|options| options.flags |= CreateFlags::IOMMU), "devices of the machine"),
        (said(|options| options.flags |= CreateFlags::VPMU), "performance counters"),
    ] {
        assert!(line.starts_with("createdomain is refused: ") && line.contains(word), "{line}");
    }
    assert_eq!(said(|options| options.max_vcpus = 129), "", "a mistake is xl's to tell");
}

#[test]
fn what_is_not_to_be_had_is_refused() {
    assert_eq!(refused(|options| options.flags = CreateFlags::empty()), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.flags = CreateFlags::HVM), Some(Errno::EINVAL));
    for flag in [CreateFlags::IOMMU, CreateFlags::NESTED_VIRT, CreateFlags::VPMU, CreateFlags::S3_INTEGRITY] {
        assert_eq!(refused(|options| options.flags |= flag), Some(Errno::EINVAL));
    }
    for flags in [0x1ff, 0x7ff, 0, 0x3fe] {
        assert_eq!(refused(|options| options.arch.emulation_flags = EmulationFlags(flags)), Some(Errno::EOPNOTSUPP));
    }
    assert_eq!(refused(|options| options.arch.emulation_flags = EmulationFlags(0x800)), Some(Errno::EINVAL));
}

#[test]
fn an_hvm_guest_has_a_platform_and_a_pvh_guest_has_none() {
    let world = World::new(&[1]);
    let hvm = ArchDomainconfig { emulation_flags: EmulationFlags(0x3ff), ..ArchDomainconfig::default() };
    let id = create_with(&world, DomId(0), DomctlCreatedomain { arch: hvm, ..options() }).unwrap();
    assert_eq!(info(&world, id).unwrap().arch_config.emulation_flags, EmulationFlags(0x3ff));
    let other = create(&world);
    let has_platform = |id| domain(&world, id).device_model.get().is_some();
    assert!(has_platform(id) && !has_platform(other));
}

#[test]
fn the_grant_table_keeps_within_what_the_machine_allows() {
    assert_eq!(refused(|options| options.grant_opts = 0), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.grant_opts = 3), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.grant_opts = 0x12), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_grant_frames = 0), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_grant_frames = 65), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_maptrack_frames = 1025), Some(Errno::EINVAL));
    assert_eq!(refused(|options| options.max_grant_frames = i32::MIN), None);
    let world = World::new(&[1]);
    let wanted = DomctlCreatedomain { max_grant_frames: 3, max_maptrack_frames: 0, grant_opts: 1, ..options() };
    let limits = domain(&world, create_with(&world, DomId(0), wanted).unwrap()).grants.limits();
    assert_eq!((limits.frames, limits.maptrack_frames, limits.version), (3, 0, 1));
}

#[test]
fn the_bounds_of_the_grant_table_are_the_boot_options() {
    let mut world = World::new(&[1]);
    world.hv.settings.grants = GrantBounds { frames: 256, maptrack_frames: 2048, version: 1 };
    let made = |wanted| create_with(&world, DomId(0), wanted);
    let wanted = DomctlCreatedomain { max_grant_frames: 256, max_maptrack_frames: 2048, grant_opts: 1, ..options() };
    let limits = domain(&world, made(wanted).unwrap()).grants.limits();
    assert_eq!((limits.frames, limits.maptrack_frames, limits.version), (256, 2048, 1));
    assert_eq!(made(DomctlCreatedomain { max_grant_frames: 257, ..wanted }), Err(Errno::EINVAL));
    assert_eq!(made(DomctlCreatedomain { grant_opts: 2, ..wanted }), Err(Errno::EINVAL));
    // What is not said is what the machine allows.
    let unsaid = DomctlCreatedomain { max_grant_frames: -1, max_maptrack_frames: -1, ..wanted };
    assert_eq!(domain(&world, made(unsaid).unwrap()).grants.limits().frames, 256);
}

#[test]
fn vcpus_are_made_once_and_as_many_as_was_said() {
    let world = World::new(&[1]);
    let id = create(&world);
    for wrong in [0, 1, 3, u32::MAX] {
        assert_eq!(give_vcpus(&world, id, wrong), Err(Errno::EINVAL));
    }
    assert_eq!(give_vcpus(&world, DomId(0), 1), Err(Errno::EINVAL));
    assert_eq!(give_vcpus(&world, id, 2), Ok(0));
    assert_eq!(give_vcpus(&world, id, 2), Ok(0));
    let info = info(&world, id).unwrap();
    assert_eq!((info.max_vcpu_id, info.nr_online_vcpus), (1, 0));
    let domain = domain(&world, id);
    assert!(domain.vcpus.iter().all(|vcpu| !vcpu.is_up() && vcpu.is_paused()));
    assert_eq!(domain.vcpu(VcpuId(1)).unwrap().lapic_identity(), domain.vcpus[1].lapic_identity());
}

#[test]
fn vcpus_that_are_made_late_are_as_paused_as_their_domain() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, id), Ok(0));
    assert_eq!(give_vcpus(&world, id, 2), Ok(0));
    for paused in [true, false] {
        assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id), Ok(0));
        assert_eq!(domain(&world, id).vcpus.iter().all(xenolith_core::domains::vcpu::Vcpu::is_paused), paused);
    }
}

#[test]
fn a_machine_without_frames_makes_no_domain_and_loses_none() {
    let world = World::new(&[1]);
    let mut held = Vec::new();
    while let Some(frame) = world.hv.frames.take(
        &world.hv.machine,
        xenolith_hal::PageOrder::SIZE_4K,
        xenolith_core::memory::frames::ANYWHERE,
    ) {
        held.push(frame);
    }
    for missing in 0..2 {
        assert_eq!(create_with(&world, DomId(0), options()), Err(Errno::ENOMEM), "with {missing} frames");
        assert_eq!(settle(&world), missing);
        world.hv.frames.give_back(held.pop().unwrap());
    }
}

#[test]
fn vcpus_that_do_not_fit_into_the_pool_are_not_made_and_leave_nothing() {
    let world = World::new(&[1]);
    let id = create(&world);
    let mut op = domctl(XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, id);
    for (pages, answer) in [(3, Err(Errno::ENOMEM)), (4, Ok(0))] {
        op.set_paging_mempool(DomctlPagingMempool { size: pages << 12 });
        assert_eq!(call(&world, &mut op), Ok(0));
        assert_eq!(give_vcpus(&world, id, 2), answer);
    }
    assert_eq!(domain(&world, id).physmap.with_pool(|pool| pool.used()), 4);
}
