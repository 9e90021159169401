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

#[test]
fn no_register_is_free_to_be_read() {
    let world = world();
    let list = world.page(0, LIST);
    let ask = |nr_entries, entry: XenpfResourceEntry| {
        assert!(list.write_bytes(0, entry.as_bytes()));
        let entries = GuestHandle::new(LIST.0 * PAGE_SIZE as u64);
        let answer = platform(&world, XENPF_RESOURCE_OP, &mut XenpfResourceOp { nr_entries, cpu: 9, entries });
        (answer, list.load_u32(0).unwrap().cast_signed())
    };
    let read = XenpfResourceEntry { idx: 0x10, ..XenpfResourceEntry::default() };
    assert_eq!(ask(0, read), (Ok(0), 0));
    assert_eq!(ask(1, read), (Ok(0), -(Errno::EACCES as i32)));
    assert_eq!(ask(2, XenpfResourceEntry { idx: 1 << 32, ..read }), (Ok(0), -(Errno::EINVAL as i32)));
    assert_eq!(ask(1, XenpfResourceEntry { cmd: 2, ..read }), (Ok(0), -(Errno::EOPNOTSUPP as i32)));
    assert_eq!(ask(3, read).0, Err(Errno::EINVAL));
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
