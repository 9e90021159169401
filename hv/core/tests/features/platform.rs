//! `platform_op` and `physdev_op`, from the caller's registers to what it finds afterwards.

use xen_abi::hypercall::{PHYSDEV_OP, PLATFORM_OP};
use xen_abi::physdev::*;
use xen_abi::platform::*;
use xen_abi::{Errno, Gfn, GuestHandle};
use xenolith_core::components::devices::{DevicePlan, HostDevices};
use xenolith_devices::pci::Ecam;
use xenolith_fake::FakeFunction;
use xenolith_hal::{Gpa, PAGE_SIZE};
use xenolith_world::{Answer, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const ARGUMENT: Gfn = Gfn(5);
const LIST: Gfn = Gfn(6);
const ECAM: u64 = 0xb000_0000;
/// Device 2, function 0 of bus 0.
const CARD: u16 = 0x10;

fn platform<T: FromBytes + IntoBytes + Immutable + Copy>(world: &World, cmd: u32, value: &mut T) -> Answer {
    let mut op = PlatformOp { cmd, interface_version: XENPF_INTERFACE_VERSION, ..PlatformOp::default() };
    op.u.write(*value);
    let page = world.page(0, ARGUMENT);
    assert!(page.write_bytes(0, op.as_bytes()));
    let answer = world.call(0, PLATFORM_OP, [ARGUMENT.0 * PAGE_SIZE as u64, 0, 0, 0, 0, 0]);
    assert!(page.read_bytes(0, op.as_mut_bytes()));
    *value = op.u.read();
    answer
}

fn physdev<T: FromBytes + IntoBytes + Immutable>(world: &World, op: u32, mut value: T) -> Answer {
    world.call_with(0, PHYSDEV_OP, op, &mut value)
}

/// A control domain with one device, and PCI configuration in memory for two buses.
fn world() -> World {
    let world = World::new(&[1]);
    world.hv.machine.plug(CARD, FakeFunction::new(0x8086, 0x10d3));
    let configuration = [Ecam { base: Gpa(ECAM), segment: 0, first_bus: 0, last_bus: 1 }];
    let plan = DevicePlan { configuration: &configuration, ..DevicePlan::default() };
    assert!(world.domain(0).devices.set(HostDevices::new(&world.hv.machine, &plan)).is_ok());
    world
}

#[test]
fn a_cpu_that_is_not_there_is_of_no_kind_and_none_is_turned_off() {
    let world = world();
    let mut version = XenpfPcpuVersion { xen_cpuid: 7, family: 9, ..XenpfPcpuVersion::default() };
    assert_eq!(platform(&world, XENPF_GET_CPU_VERSION, &mut version), Ok(0));
    assert_eq!((version.xen_cpuid, version.max_present, version.family), (7, 0, 0));
    assert_eq!(platform(&world, XENPF_CPU_ONLINE, &mut XenpfCpuOl { cpuid: 0 }), Ok(0));
    assert_eq!(platform(&world, XENPF_CPU_ONLINE, &mut XenpfCpuOl { cpuid: 1 }), Err(Errno::EINVAL));
    assert_eq!(platform(&world, XENPF_CPU_OFFLINE, &mut XenpfCpuOl { cpuid: 0 }), Err(Errno::EOPNOTSUPP));
    assert_eq!(platform(&world, XENPF_CPU_OFFLINE, &mut XenpfCpuOl { cpuid: 1 }), Err(Errno::EINVAL));
    let mut parking = XenpfCoreParking { kind: XEN_CORE_PARKING_GET, idle_nums: 9 };
    assert_eq!((platform(&world, XENPF_CORE_PARKING, &mut parking), parking.idle_nums), (Ok(0), 0));
    parking.kind = 3;
    assert_eq!(platform(&world, XENPF_CORE_PARKING, &mut parking), Err(Errno::EINVAL));
}

#[test]
fn firmware_has_said_nothing() {
    let world = world();
    let ask =
        |kind| platform(&world, XENPF_FIRMWARE_INFO, &mut XenpfFirmwareInfo { kind, ..XenpfFirmwareInfo::default() });
    assert_eq!((ask(XEN_FW_DISK_INFO), ask(XEN_FW_DISK_MBR_SIGNATURE)), (Err(Errno::ESRCH), Err(Errno::ESRCH)));
    assert_eq!((ask(XEN_FW_EFI_INFO), ask(0), ask(6)), (Err(Errno::ENOSYS), Err(Errno::EINVAL), Err(Errno::EINVAL)));
}

/// Asks for accesses to registers of a CPU; returns the answer and the entries afterwards.
fn resources(world: &World, cpu: u32, entries: &[XenpfResourceEntry]) -> (Answer, Vec<XenpfResourceEntry>) {
    let list = world.page(0, LIST);
    assert!(list.write_bytes(0, entries.as_bytes()));
    let at = GuestHandle::new(LIST.0 * PAGE_SIZE as u64);
    let asked = &mut XenpfResourceOp { nr_entries: entries.len() as u32, cpu, entries: at };
    let answer = platform(world, XENPF_RESOURCE_OP, asked);
    let mut after = entries.to_vec();
    assert!(list.read_bytes(0, after.as_mut_bytes()));
    (answer, after)
}

fn msr_read(idx: u64) -> XenpfResourceEntry {
    XenpfResourceEntry { idx, ..XenpfResourceEntry::default() }
}

#[test]
fn the_time_of_a_cpu_can_be_read_as_its_counter() {
    let world = world();
    world.hv.machine.pass_ns(77_000);
    let (answer, entries) = resources(&world, 0, &[msr_read(0x10), msr_read(0x10), msr_read(0x10)]);
    assert_eq!(answer, Ok(3));
    assert!(entries.iter().all(|entry| entry.cmd == 0 && entry.val >= 77_000), "{entries:?}");
    assert_eq!(resources(&world, 0, &[]).0, Ok(0));
    assert_eq!(resources(&world, 0, &[msr_read(0x10); 4]).0, Err(Errno::EINVAL));
    assert_eq!(resources(&world, 99, &[msr_read(0x10)]).0, Err(Errno::ENODEV));
}

#[test]
fn a_register_that_cannot_be_accessed_says_why_in_its_entry() {
    let world = world();
    let first = |entry: XenpfResourceEntry, cpu| {
        let (answer, entries) = resources(&world, cpu, &[entry, msr_read(0x10)]);
        assert_eq!(entries[1], msr_read(0x10), "nothing is done after the first failure");
        (answer, entries[0].cmd.cast_signed())
    };
    let errno = |errno: Errno| (Ok(0), -(errno as i32));
    let write = |idx| XenpfResourceEntry { cmd: XEN_RESOURCE_OP_MSR_WRITE, ..msr_read(idx) };
    assert_eq!(first(msr_read(0x10f), 0), errno(Errno::EPERM), "the CPU does not have it");
    assert_eq!(first(write(0x10), 0), errno(Errno::EPERM));
    assert_eq!(first(msr_read(0x1b), 99), errno(Errno::EACCES), "whatever the CPU");
    assert_eq!(first(msr_read(1 << 32), 99), errno(Errno::EINVAL));
    assert_eq!(first(XenpfResourceEntry { cmd: 2, ..msr_read(0x10) }, 99), errno(Errno::EOPNOTSUPP));
}

#[test]
fn accesses_end_at_the_first_that_fails() {
    let world = world();
    let (answer, entries) = resources(&world, 0, &[msr_read(0x10), msr_read(0x1b), msr_read(0x10)]);
    assert_eq!(answer, Ok(1));
    assert_eq!(entries[1].cmd.cast_signed(), -(Errno::EACCES as i32));
    assert_eq!(entries[2], msr_read(0x10));
}

#[test]
fn a_window_of_configuration_is_known_by_its_buses_and_its_place() {
    let world = world();
    let good = PhysdevPciMmcfgReserved { address: ECAM, segment: 0, start_bus: 0, end_bus: 1, flags: 1 };
    let say = |window| physdev(&world, PHYSDEVOP_PCI_MMCFG_RESERVED, window);
    assert_eq!(say(good), Ok(0));
    assert_eq!(say(PhysdevPciMmcfgReserved { flags: 0, ..good }), Ok(0));
    assert_eq!(say(PhysdevPciMmcfgReserved { flags: 2, ..good }), Err(Errno::EINVAL));
    assert_eq!(say(PhysdevPciMmcfgReserved { segment: 1, ..good }), Err(Errno::ENODEV));
    assert_eq!(say(PhysdevPciMmcfgReserved { end_bus: 0, ..good }), Err(Errno::ENODEV));
    assert_eq!(say(PhysdevPciMmcfgReserved { address: 0, ..good }), Err(Errno::EIO));
}

#[test]
fn only_a_device_that_answers_can_be_found() {
    let world = world();
    let add = |seg, devfn, flags| {
        let found = PhysdevPciDeviceAdd { seg, bus: 0, devfn, flags, ..PhysdevPciDeviceAdd::default() };
        physdev(&world, PHYSDEVOP_PCI_DEVICE_ADD, found)
    };
    assert_eq!(add(0, CARD as u8, PciDeviceFlags::empty()), Ok(0));
    assert_eq!(add(0, 0xf0, PciDeviceFlags::empty()), Err(Errno::EOPNOTSUPP));
    assert_eq!(add(0, 0xf0, PciDeviceFlags::VIRTFN), Ok(0), "it has no vendor of its own");
    assert_eq!(physdev(&world, PHYSDEVOP_DBGP_OP, PhysdevDbgpOp::default()), Ok(0));
}
