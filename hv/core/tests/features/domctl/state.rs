//! Saved states: what is read, what is taken, and what is refused.

use super::toolstack::*;
use proptest::prelude::*;
use xen_abi::domctl::*;
use xen_abi::hvm_save::*;
use xen_abi::hvm_save_cpu::{HvmCpuFlags, HvmHwCpu};
use xen_abi::{DomId, Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::x86::{chipset, hvm_context};
use xenolith_devices::platform::{Moment, Platform};
use xenolith_hal::{CpuState, GuestCpu, HardwareMsr, IoSize, PAGE_SIZE};
use xenolith_world::World;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Guest frames for a state: from here on, as many as there are.
const STATE: Gfn = Gfn(8);

fn world() -> (World, DomId) {
    let world = World::new(&[1]);
    let id = create(&world);
    give_vcpus(&world, id, 2).unwrap();
    (world, id)
}

fn write_state(world: &World, bytes: &[u8]) {
    for (gfn, part) in (STATE.0..).zip(bytes.chunks(PAGE_SIZE)) {
        assert!(world.page(0, Gfn(gfn)).write_bytes(0, part));
    }
}

fn set(world: &World, id: DomId, bytes: &[u8]) -> Result<u64, Errno> {
    write_state(world, bytes);
    let mut op = domctl(XEN_DOMCTL_SETHVMCONTEXT, id);
    let size = bytes.len() as u32;
    op.set_hvmcontext(DomctlHvmcontext {
        size,
        buffer: GuestHandle::new(address(STATE)),
        ..DomctlHvmcontext::default()
    });
    call(world, &mut op)
}

fn get_to(world: &World, id: DomId, size: u32, at: u64) -> Result<u32, Errno> {
    let mut op = domctl(XEN_DOMCTL_GETHVMCONTEXT, id);
    op.set_hvmcontext(DomctlHvmcontext { size, buffer: GuestHandle::new(at), ..DomctlHvmcontext::default() });
    call(world, &mut op).map(|_| op.hvmcontext().size)
}

fn get(world: &World, id: DomId) -> Vec<u8> {
    let longest = get_to(world, id, 0, 0).unwrap();
    let length = get_to(world, id, longest, address(STATE)).unwrap();
    let mut bytes = vec![0; length as usize];
    for (gfn, part) in (STATE.0..).zip(bytes.chunks_mut(PAGE_SIZE)) {
        assert!(world.page(0, Gfn(gfn)).read_bytes(0, part));
    }
    bytes
}

/// Every record as type, instance and body.
fn records(mut bytes: &[u8]) -> Vec<(u16, u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Ok((descriptor, rest)) = HvmSaveDescriptor::read_from_prefix(bytes) {
        let (body, rest) = rest.split_at(descriptor.length as usize);
        all.push((descriptor.typecode, descriptor.instance, body.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    all
}

fn add<T: IntoBytes + Immutable>(bytes: &mut Vec<u8>, typecode: u16, instance: u16, body: &T) {
    let length = body.as_bytes().len() as u32;
    bytes.extend_from_slice(HvmSaveDescriptor { typecode, instance, length }.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
}

const HEADER: HvmSaveHeader =
    HvmSaveHeader { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION, changeset: u64::MAX, cpuid: 0, gtsc_khz: 0 };

/// A state of one record.
fn one<T: IntoBytes + Immutable>(typecode: u16, instance: u16, body: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    add(&mut bytes, HVM_SAVE_CODE_HEADER, 0, &HEADER);
    add(&mut bytes, typecode, instance, body);
    add(&mut bytes, HVM_SAVE_CODE_END, 0, &());
    bytes
}

/// What `xl` sends for vCPU 0 of a PVH guest.
fn start_at(rip: u64, rbx: u64) -> HvmHwCpu {
    let flat = (0, u32::MAX, 0, 0xc93);
    let mut cpu = HvmHwCpu { rip, rbx, cr0: 0x11, dr6: 0xffff_0ff0, dr7: 0x400, ..HvmHwCpu::new_zeroed() };
    (cpu.ds_sel, cpu.ds_limit, cpu.ds_base, cpu.ds_arbytes) = flat;
    (cpu.es_sel, cpu.es_limit, cpu.es_base, cpu.es_arbytes) = flat;
    (cpu.ss_sel, cpu.ss_limit, cpu.ss_base, cpu.ss_arbytes) = flat;
    (cpu.cs_limit, cpu.cs_arbytes, cpu.tr_limit, cpu.tr_arbytes) = (u32::MAX, 0xc9b, 0x67, 0x8b);
    cpu
}

#[test]
fn a_first_vcpu_starts_where_the_toolstack_says() {
    let (world, id) = world();
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_CPU, 0, &start_at(0x100_0850, 0x4a0_0000))), Ok(0));
    let domain = domain(&world, id);
    assert!(domain.vcpus[0].is_up() && !domain.vcpus[1].is_up() && !domain.vcpus[0].is_runnable());
    let state = domain.vcpus[0].with_core(|core| core.hardware.state()).unwrap();
    let expected = CpuState::at_pvh_entry(0x100_0850, 0x4a0_0000);
    assert_eq!((state.registers.rip, state.registers.rbx), (expected.registers.rip, expected.registers.rbx));
    assert_eq!((state.cs, state.ds, state.ss, state.tr), (expected.cs, expected.ds, expected.ss, expected.tr));
    assert_eq!((state.cr0, state.pat), (expected.cr0, expected.pat));
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    assert!(domain.vcpus[0].is_runnable());
}

#[test]
fn a_state_of_one_vcpu_has_the_records_and_the_length_that_real_xen_gives() {
    let world = World::new(&[1]);
    let id = create_with(&world, DomId(0), DomctlCreatedomain { max_vcpus: 1, ..options() }).unwrap();
    give_vcpus(&world, id, 1).unwrap();
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 0, &start_at(0, 0))).unwrap();
    let bytes = get(&world, id);
    assert_eq!(bytes.len(), 0x9c8);
    let types: Vec<u16> = records(&bytes).iter().map(|record| record.0).collect();
    assert_eq!(types, [1, 2, 5, 6, 7, 8, 9, 14, 18, 19, 0]);
}

#[test]
fn a_record_that_is_refused_is_named_in_the_log() {
    let (world, id) = world();
    let good = one(HVM_SAVE_CODE_CPU, 1, &start_at(0, 0));
    let bad = one(HVM_SAVE_CODE_CPU, 1, &HvmHwCpu { cr0: 1 << 63, ..start_at(0, 0) });
    let end = good.len() - size_of::<HvmSaveDescriptor>();
    for (bytes, errno, entry) in [
        (&bad[..], Errno::EINVAL, "2/1 rc -22"),
        (&good[..end - 1], Errno::EINVAL, "2/1 rc -22"),
        (&good[..end], Errno::ENODATA, "0/0 rc -61"),
        (&one(25, 3, &0_u64), Errno::EINVAL, "25/3 rc -22"),
        (&one(HVM_SAVE_CODE_PIT, 0, &0_u64), Errno::ENODEV, "10/0 rc -19"),
    ] {
        assert_eq!(set(&world, id, bytes), Err(errno));
        let line = format!("HVM{id} restore: failed to load entry {entry}");
        assert_eq!(world.hv.machine.logged().last(), Some(&line));
    }
    let lines = world.hv.machine.logged().len();
    assert_eq!(set(&world, id, &good), Ok(0));
    assert_eq!(world.hv.machine.logged().len(), lines);
}

#[test]
fn a_vcpu_that_is_down_has_no_registers_to_save() {
    let (world, id) = world();
    let found = records(&get(&world, id));
    assert!(!found.iter().any(|record| record.0 == HVM_SAVE_CODE_CPU));
    let mtrrs: Vec<u16> = found.iter().filter(|r| r.0 == HVM_SAVE_CODE_MTRR).map(|r| r.1).collect();
    assert_eq!(mtrrs, [0, 1]);
}

#[test]
fn what_was_saved_is_the_same_after_it_was_loaded() {
    let (world, id) = world();
    let mut cpu = start_at(0x1234, 0x5678);
    cpu.fpu_regs[..4].copy_from_slice(&[1, 2, 3, 4]);
    (cpu.flags, cpu.dr1, cpu.r15) = (HvmCpuFlags::FPU_INITIALISED, 0x77, 15);
    (cpu.pending_event, cpu.error_code, cpu.tsc) = (0x8000_0b0d, 5, 0x1_0000);
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 1, &cpu)).unwrap();
    let saved = get(&world, id);
    let other = create(&world);
    give_vcpus(&world, other, 2).unwrap();
    assert_eq!(set(&world, other, &saved), Ok(0));
    assert_eq!(get(&world, other), saved);
    assert!(!domain(&world, other).vcpus[0].is_up() && domain(&world, other).vcpus[1].is_up());
    let (_, _, body) = records(&saved).into_iter().find(|record| record.0 == HVM_SAVE_CODE_CPU).unwrap();
    let loaded = HvmHwCpu::read_from_bytes(&body).unwrap();
    assert_eq!(loaded, HvmHwCpu { rflags: loaded.rflags, ..cpu });
}

#[test]
fn a_guest_whose_users_may_not_run_cpuid_is_the_same_after_a_restore() {
    const MISC_FEATURES_ENABLES: u32 = 0x140;
    let (world, id) = world();
    assert_eq!(partial(&world, id, CPU_MSR_CODE, 0, 0), Err(Errno::ENODATA));
    let list = |count: u32, msrs: &[HvmOneMsr]| {
        let mut body = HvmMsrs { count, pad: 0 }.as_bytes().to_vec();
        body.extend_from_slice(msrs.as_bytes());
        let mut bytes = one(HVM_SAVE_CODE_PCI_LINK, 0, &0_u64);
        bytes.truncate(bytes.len() - size_of::<HvmSaveDescriptor>());
        let length = body.len() as u32;
        bytes.extend_from_slice(HvmSaveDescriptor { typecode: CPU_MSR_CODE, instance: 1, length }.as_bytes());
        bytes.extend_from_slice(&body);
        add(&mut bytes, HVM_SAVE_CODE_END, 0, &());
        bytes
    };
    let msr = HvmOneMsr { index: MISC_FEATURES_ENABLES, reserved: 0, val: 1 };
    for (wrong, errno) in [
        (list(0, &[]), Errno::EINVAL),
        (list(2, &[msr]), Errno::EOPNOTSUPP),
        (list(u32::MAX, &[msr]), Errno::EOPNOTSUPP),
        (list(1, &[HvmOneMsr { reserved: 1, ..msr }]), Errno::EOPNOTSUPP),
        (list(1, &[HvmOneMsr { val: 2, ..msr }]), Errno::ENXIO),
        (list(1, &[HvmOneMsr { index: 0x48, ..msr }]), Errno::ENXIO),
    ] {
        assert_eq!(set(&world, id, &wrong), Err(errno));
    }
    assert_eq!(set(&world, id, &list(1, &[msr])), Ok(0));
    let faults = |id| {
        [0, 1].map(|vcpu| domain(&world, id).vcpus[vcpu].with_core(|core| core.msrs.cpuid_faults_for_users()).unwrap())
    };
    assert_eq!(faults(id), [false, true]);
    let saved = get(&world, id);
    let other = create(&world);
    give_vcpus(&world, other, 2).unwrap();
    assert_eq!(set(&world, other, &saved), Ok(0));
    assert_eq!(faults(other), [false, true]);
}

#[test]
fn vcpus_that_start_later_share_the_first_ones_counter() {
    let (world, id) = world();
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 0, &HvmHwCpu { tsc: 5_000_000, ..start_at(0, 0) })).unwrap();
    let domain = domain(&world, id);
    let [first, second] = [0, 1].map(|vcpu| domain.vcpus[vcpu].with_core(|core| core.tsc_offset).unwrap());
    assert_eq!(first, second);
    assert_ne!(first, 0);
}

#[test]
fn memory_types_are_loaded_without_starting_anything() {
    let (world, id) = world();
    let record = |world: &World| {
        let found = records(&get(world, id)).into_iter().find(|r| r.0 == HVM_SAVE_CODE_MTRR && r.1 == 1).unwrap();
        HvmHwMtrr::read_from_bytes(&found.2).unwrap()
    };
    let wanted = HvmHwMtrr { msr_mtrr_def_type: 0x806, msr_pat_cr: 0x0606_0606_0606_0606, ..record(&world) };
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_MTRR, 1, &wanted)), Ok(0));
    assert_eq!(record(&world), wanted);
    let domain = domain(&world, id);
    assert!(!domain.vcpus[1].is_up());
    // The registers that come afterwards leave the PAT alone.
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 1, &start_at(0, 0))).unwrap();
    let pat = domain.vcpus[1].with_core(|core| core.hardware.msr(HardwareMsr::Pat));
    assert_eq!(pat, Some(wanted.msr_pat_cr));
    for wrong in [HvmHwMtrr { msr_mtrr_def_type: 2, ..wanted }, HvmHwMtrr { msr_mtrr_cap: 9, ..wanted }] {
        assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_MTRR, 1, &wrong)), Err(Errno::EINVAL));
    }
}

#[test]
fn a_state_without_header_or_end_is_no_state() {
    let (world, id) = world();
    let good = one(HVM_SAVE_CODE_CPU, 0, &start_at(0, 0));
    assert_eq!(set(&world, id, &[]), Err(Errno::ENODATA));
    assert_eq!(set(&world, id, &good[32..]), Err(Errno::ENODATA));
    assert_eq!(set(&world, id, &good[..good.len() - 8]), Err(Errno::ENODATA));
    assert_eq!(set(&world, id, &good[..good.len() - 9]), Err(Errno::EINVAL));
    for header in [HvmSaveHeader { magic: 0, ..HEADER }, HvmSaveHeader { version: 2, ..HEADER }] {
        let mut bytes = Vec::new();
        add(&mut bytes, HVM_SAVE_CODE_HEADER, 0, &header);
        assert_eq!(set(&world, id, &bytes), Err(Errno::EINVAL));
    }
}

#[test]
fn records_of_what_is_not_there_are_refused() {
    let (world, id) = world();
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_CPU, 2, &start_at(0, 0))), Err(Errno::EINVAL));
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_IOAPIC, 0, &0_u64)), Err(Errno::ENODEV));
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_PCI_IRQ, 0, &[0_u64; 2])), Ok(0));
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_PCI_IRQ, 0, &0_u64)), Err(Errno::EINVAL));
    for typecode in [HVM_SAVE_CODE_HEADER, 13, 21, 100, u16::MAX] {
        let errno = set(&world, id, &one(typecode, 0, &0_u64)).err();
        assert!(matches!(errno, Some(Errno::EINVAL | Errno::ENODEV)), "{typecode} {errno:?}");
    }
}

#[test]
fn registers_that_no_processor_holds_are_refused_and_the_vcpu_stays_down() {
    let (world, id) = world();
    let good = start_at(0, 0);
    for wrong in [
        HvmHwCpu { cr0: 0x8000_0010, ..good },
        HvmHwCpu { cr0: 1, ..good },
        HvmHwCpu { msr_efer: 1 << 10, ..good },
        HvmHwCpu { pad0: 1, ..good },
        HvmHwCpu { flags: HvmCpuFlags(8), ..good },
    ] {
        assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_CPU, 0, &wrong)), Err(Errno::EINVAL));
        assert!(!domain(&world, id).vcpus[0].is_up());
    }
}

#[test]
fn a_buffer_must_be_there_and_long_enough() {
    let (world, id) = world();
    let longest = get_to(&world, id, 0, 0).unwrap();
    assert_eq!(get_to(&world, id, longest - 1, address(STATE)), Err(Errno::ENOSPC));
    assert_eq!(get_to(&world, id, longest, NOWHERE), Err(Errno::EFAULT));
    assert_eq!(get_to(&world, DomId(0), longest, address(STATE)), Err(Errno::EINVAL));
    let mut op = domctl(XEN_DOMCTL_SETHVMCONTEXT, id);
    for (size, errno) in [(64, Errno::EFAULT), (u32::MAX, Errno::ENOMEM)] {
        op.set_hvmcontext(DomctlHvmcontext { size, buffer: GuestHandle::new(NOWHERE), ..DomctlHvmcontext::default() });
        assert_eq!(call(&world, &mut op), Err(errno));
    }
    assert_eq!(plain(&world, XEN_DOMCTL_SETHVMCONTEXT, DomId(0)), Err(Errno::EINVAL));
}

fn partial(world: &World, id: DomId, kind: u16, instance: u32, bufsz: u64) -> Result<u64, Errno> {
    let mut op = domctl(XEN_DOMCTL_GETHVMCONTEXT_PARTIAL, id);
    let buffer = if bufsz == 0 { GuestHandle::NULL } else { GuestHandle::new(address(STATE)) };
    op.set_hvmcontext_partial(DomctlHvmcontextPartial { kind: kind.into(), instance, bufsz, buffer });
    call(world, &mut op).map(|_| op.hvmcontext_partial().bufsz)
}

#[test]
fn one_record_can_be_read_alone() {
    let (world, id) = world();
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 1, &start_at(0x77, 0))).unwrap();
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_CPU, 1, 0), Ok(1032));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_CPU, 1, 4096), Ok(1032));
    let cpu: HvmHwCpu = {
        let mut cpu = HvmHwCpu::new_zeroed();
        assert!(world.page(0, STATE).read_bytes(0, cpu.as_mut_bytes()));
        cpu
    };
    assert_eq!(cpu.rip, 0x77);
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_CPU, 1, 1031), Err(Errno::ENOBUFS));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_CPU, 0, 0), Err(Errno::ENODATA));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_CPU, 2, 0), Err(Errno::ENOENT));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_PCI_LINK, 0, 0), Ok(8));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_PCI_LINK, 1, 0), Err(Errno::ENOENT));
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_HEADER, 0, 0), Err(Errno::EINVAL));
    assert_eq!(partial(&world, id, u16::MAX, 0, 0), Err(Errno::EINVAL));
}

#[test]
fn a_vcpu_that_does_not_stop_is_waited_for_by_calling_again() {
    let (world, id) = world();
    let domain = domain(&world, id);
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    domain.vcpus[0].bring_up();
    let core = domain.vcpus[0].take_core().unwrap();
    assert_eq!(hvm_context::save(&world.hv, &domain), Err(Errno::EAGAIN));
    let kicks = world.hv.machine.kicks(domain.vcpus[0].processor());
    let stopped = xenolith_core::lifecycle::stopped::with_domain_stopped(&world.hv, &domain, || Ok(()));
    assert_eq!(stopped, Err(Errno::EAGAIN));
    assert!(world.hv.machine.kicks(domain.vcpus[0].processor()) > kicks);
    domain.vcpus[0].put_core(core);
    assert!(hvm_context::save(&world.hv, &domain).is_ok());
    assert_eq!(domain.vcpu(VcpuId(0)).map(|vcpu| vcpu.is_runnable()), Some(true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a toolstack hands in, there is an answer; and what was taken is read back in the same form.
    #[test]
    fn a_state_of_anything_is_taken_or_refused(
        typecode in 0u16..24,
        instance in 0u16..3,
        body in prop::collection::vec(any::<u8>(), 0..1100),
        full in any::<bool>(),
    ) {
        let (world, id) = world();
        let length = if full { [24, 1032, 0, 0, 24, 1024, 16, 8, 8].get(usize::from(typecode).saturating_sub(1)) } else { None };
        let mut body = body;
        if let Some(length) = length {
            body.resize(*length, 0);
        }
        let mut bytes = Vec::new();
        add(&mut bytes, HVM_SAVE_CODE_HEADER, 0, &HEADER);
        let descriptor = HvmSaveDescriptor { typecode, instance, length: body.len() as u32 };
        bytes.extend_from_slice(descriptor.as_bytes());
        bytes.extend_from_slice(&body);
        add(&mut bytes, HVM_SAVE_CODE_END, 0, &());
        if set(&world, id, &bytes).is_ok() {
            let saved = get(&world, id);
            prop_assert_eq!(set(&world, id, &saved), Ok(0));
            prop_assert_eq!(get(&world, id), saved);
        }
    }
}

fn hvm_world() -> (World, DomId) {
    let world = World::new(&[1]);
    let mut wanted = DomctlCreatedomain { max_vcpus: 1, ..options() };
    wanted.arch.emulation_flags = EmulationFlags::all().difference(EmulationFlags::VPCI);
    let id = create_with(&world, DomId(0), wanted).unwrap();
    give_vcpus(&world, id, 1).unwrap();
    (world, id)
}

#[test]
fn an_hvm_guests_state_has_the_records_and_the_length_that_real_xen_gives() {
    let (world, id) = hvm_world();
    set(&world, id, &one(HVM_SAVE_CODE_CPU, 0, &start_at(0, 0))).unwrap();
    let bytes = get(&world, id);
    assert_eq!(bytes.len(), 4112);
    let types: Vec<(u16, u16)> = records(&bytes).iter().map(|record| (record.0, record.1)).collect();
    let once = |code: u16| (code, 0);
    let expected = [1, 2, 3].map(once).into_iter().chain([(3, 1)]).chain((4..15).map(once));
    assert!(types.iter().copied().eq(expected.chain([18, 19, 0].map(once))), "{types:?}");
}

#[test]
fn a_chipset_is_the_same_after_it_was_loaded() {
    let (world, id) = hvm_world();
    let change = |work: &dyn Fn(&mut Platform, Moment)| {
        chipset::with(&world.hv, &domain(&world, id), |platform, now| work(platform, now)).unwrap();
    };
    change(&|platform, now| {
        let writes = [(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x43, 0x36), (0x40, 0), (0x40, 0), (0x70, 0x0b)];
        writes.iter().for_each(|(port, value)| assert!(platform.write(*port, IoSize::Byte, *value, now).is_some()));
        assert!(platform.set_isa_line(4, true) && platform.set_link_route(2, 11));
        platform.write_io_apic(0, 0x14);
        platform.write_io_apic(0x10, 0x41);
    });
    let saved = get(&world, id);
    let (other, copy) = hvm_world();
    set(&other, copy, &saved).unwrap();
    assert_eq!(records(&get(&other, copy)), records(&saved));
    let asks = domain(&other, copy).chipset.get().unwrap().requests();
    assert!(asks, "the line that asked before");
    let pic = partial(&world, id, HVM_SAVE_CODE_PIC, 1, 4096);
    assert!(pic.is_ok());
    assert_eq!(partial(&world, id, HVM_SAVE_CODE_PIC, 2, 4096), Err(Errno::ENOENT));
}

#[test]
fn records_of_chips_that_make_no_sense_are_refused() {
    let (world, id) = hvm_world();
    let refused = |bytes: &[u8]| assert_eq!(set(&world, id, bytes), Err(Errno::EINVAL));
    refused(&one(HVM_SAVE_CODE_PIC, 2, &HvmHwVpic::new_zeroed()));
    refused(&one(HVM_SAVE_CODE_PCI_LINK, 0, &HvmHwPciLink { route: [0, 0, 16, 0], pad0: [0; 4] }));
    refused(&one(HVM_SAVE_CODE_IOAPIC, 0, &0_u64));
    assert_eq!(set(&world, id, &one(HVM_SAVE_CODE_RTC, 0, &[0_u8; 16])), Ok(0), "an older one is shorter");
}
