//! Accesses that the nested page tables forbade when the guest was left, and that are allowed by now: another vCPU, the
//! guest's balloon or the toolstack has mapped the page since. The guest simply tries again.
use xen_abi::{Gfn, VcpuId};
use xenolith_core::components::devices::{AddressRange, DevicePlan, HostDevices};
use xenolith_core::domains::running::Running;
use xenolith_core::outcome::{After, CrashReason};
use xenolith_core::x86::mmio;
use xenolith_devices::pci::Ecam;
use xenolith_fake::FakeFunction;
use xenolith_hal::{
    Access, CpuState, FrameSource, Gpa, GuestCpu, IoApicPlace, Machine, Mapping, Mfn, Mpa, NestedSpace, PageKind,
    PageOrder, Registers, Rights,
};
use xenolith_world::World;

const READ: Access = Access { write: false, execute: false, present: false, page_walk: false };
const WRITE: Access = Access { write: true, ..READ };
const EXECUTE: Access = Access { execute: true, ..READ };
const WALK: Access = Access { page_walk: true, ..READ };
/// `mov eax, [ebx]`
const LOAD: [u8; 2] = [0x8b, 0x03];
/// Where that stands.
const RIP: u64 = 0x2000;

/// A vCPU that stands at a load instruction faulted at an address: what comes of it, and its registers then.
fn fault(world: &World, id: u16, number: u32, at: u64, access: Access) -> (After, Registers) {
    assert!(world.page(id, Gfn(RIP >> 12)).write_bytes(0, &LOAD));
    let domain = world.domain(id);
    let vcpu = domain.vcpu(VcpuId(number)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    core.hardware.set_state(&CpuState::at_pvh_entry(RIP as u32, 0)).unwrap();
    let after = mmio::access(&mut Running { hv: &world.hv, domain: &domain, vcpu, core: &mut core }, Gpa(at), access);
    let registers = *core.hardware.registers();
    vcpu.put_core(core);
    (after, registers)
}

/// Page tables of these tests take no frames.
struct NoTables;

impl FrameSource for NoTables {
    fn take(&mut self) -> Option<Mfn> {
        None
    }

    fn give_back(&mut self, _: Mfn) {}
}

/// Lets domain 1 see one of its pages at frame 0x100 too, by these rights.
fn see_again(world: &World, rights: Rights, kind: PageKind) -> u64 {
    let space = &world.domain(1).space;
    let mfn = space.lookup(Gfn(7)).unwrap().mfn;
    space.map(Gfn(0x100), Mapping { mfn, order: PageOrder::SIZE_4K, rights, kind }, &mut NoTables).unwrap();
    0x10_0000
}

#[test]
fn an_access_to_a_page_that_is_there_by_now_is_simply_tried_again() {
    let world = World::new(&[1, 1]);
    world.page(1, Gfn(7)).store_u64(0, 0x1234_5678).unwrap();
    for access in [READ, WRITE, EXECUTE, WALK, Access { write: true, ..WALK }] {
        let (after, registers) = fault(&world, 1, 0, 0x7000, access);
        assert_eq!((after, registers.rip), (After::Resume, RIP), "{access:?}: EAX is {:#x}", registers.rax);
    }
    assert_eq!(world.page(1, Gfn(7)).load_u64(0), Some(0x1234_5678));
}

#[test]
fn what_the_rights_of_a_page_forbid_is_not_tried_again() {
    let world = World::new(&[1, 1]);
    let at = see_again(&world, Rights::READ, PageKind::Grant);
    let present = |access| Access { present: true, ..access };
    assert_eq!(fault(&world, 1, 0, at, READ).1.rip, RIP, "it may read");
    let (after, _) = fault(&world, 1, 0, at, present(WRITE));
    assert_eq!(after, After::Resume);
    assert!(world.domain(1).vcpu(VcpuId(0)).unwrap().with_core(|core| core.hardware.injected.is_some()).unwrap());
    assert_eq!(fault(&world, 1, 0, at, present(EXECUTE)).0, After::Crash(CrashReason::BadAccess));
    assert_eq!(fault(&world, 1, 0, at, present(WALK)).0, After::Crash(CrashReason::BadAccess), "a walk writes marks");
}

#[test]
fn where_nothing_is_nobody_answers() {
    let world = World::new(&[1, 1]);
    let (after, registers) = fault(&world, 1, 0, 0x10_0000, READ);
    assert_eq!((after, registers.rax, registers.rip), (After::Resume, 0xffff_ffff, RIP + 2));
    assert_eq!(fault(&world, 1, 0, 0x10_0000, WALK).0, After::Crash(CrashReason::BadAccess));
}

#[test]
fn the_second_vcpu_to_touch_a_device_reaches_the_device() {
    const BAR0: u64 = 0xfeb0_0000;
    let world = World::new(&[2]);
    let mut card = FakeFunction::new(0x8086, 0x10d3);
    card.set(4, 0x0010_0002, 0x0407);
    card.set(0x08, 0x0200_0000, 0);
    card.set(0x10, BAR0 as u32, 0xfffe_0000);
    world.hv.machine.plug(0x10, card);
    let plan = DevicePlan {
        io_apics: &[IoApicPlace { id: 0, address: Mpa(0xfec0_0000), first_line: 0, pins: 24 }],
        configuration: &[Ecam { base: Gpa(0xb000_0000), segment: 0, first_bus: 0, last_bus: 1 }],
        kept: &[AddressRange { start: 0, end: 0x8000_0000 }],
    };
    assert!(world.domain(0).devices.set(HostDevices::new(&world.hv.machine, &plan)).is_ok());
    for vcpu in 0..2 {
        let (after, registers) = fault(&world, 0, vcpu, BAR0, READ);
        assert_eq!((after, registers.rip), (After::Resume, RIP), "vCPU {vcpu} read {:#x} from nobody", registers.rax);
        assert!(world.domain(0).space.lookup(Gfn(BAR0 >> 12)).is_some());
    }
    let _ = world.hv.machine.now();
}
