//! Physical devices and the platform, as domain 0 asks about them.

use xen_abi::hypercall::*;
use xen_abi::physdev::*;
use xen_abi::platform::*;
use xen_abi::{DomId, GuestHandle};
use xenolith_guest_kit::pages;

use crate::calls::{Plain, call, operation};
use crate::runner::{Report, Runner};

fn physdev<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(PHYSDEV_OP, number, value)
}

/// Returns a platform operation whose arguments are `value`, put at the start of the union.
fn platform<T: Plain>(cmd: u32, value: &mut T) -> i64 {
    let mut a = PlatformOp { cmd, interface_version: XENPF_INTERFACE_VERSION, ..PlatformOp::default() };
    a.u.write(*value);
    let result = operation_of_one_argument(&mut a);
    *value = a.u.read();
    result
}

/// Platform operations take the pointer as their first argument.
fn operation_of_one_argument(a: &mut PlatformOp) -> i64 {
    let page = pages::take();
    page.write(0, *a);
    let result = call(PLATFORM_OP, [page.address()]);
    *a = page.read(0);
    result
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    devices(t);
    lines(t);
    platform_cases(t);
}

fn devices(t: &mut Runner) {
    for (name, seg, bus, devfn, flags) in [
        ("host-bridge", 0, 0, 0, 0),
        ("host-bridge-again", 0, 0, 0, 0),
        ("no-such-device", 0, 0, 30 << 3, 0),
        ("unknown-flags", 0, 0, 0, 0x80),
        ("segment-1", 1, 0, 0, 0),
        ("extended-function", 0, 0, 0, 1),
    ] {
        t.case_of(format_args!("physdev/pci-device-add/{name}"), |r| {
            let mut a =
                PhysdevPciDeviceAdd { seg, bus, devfn, flags: PciDeviceFlags(flags), ..PhysdevPciDeviceAdd::default() };
            r.result(physdev(PHYSDEVOP_PCI_DEVICE_ADD, &mut a));
        });
    }
    for (name, seg, devfn) in [("no-such-device", 0, 30 << 3), ("segment-1", 1, 0)] {
        t.case_of(format_args!("physdev/prepare-msix/{name}"), |r| {
            let mut a = PhysdevPciDevice { seg, bus: 0, devfn };
            r.result(physdev(PHYSDEVOP_PREPARE_MSIX, &mut a)).result(physdev(PHYSDEVOP_RELEASE_MSIX, &mut a));
        });
    }
    for (name, address, segment, start_bus, end_bus, flags) in [
        ("as-acpi-says", 0xb000_0000, 0, 0, 255, XEN_PCI_MMCFG_RESERVED),
        ("not-reserved", 0xb000_0000, 0, 0, 255, 0),
        ("another-address", 0xa000_0000, 0, 0, 255, XEN_PCI_MMCFG_RESERVED),
        ("segment-1", 0xb000_0000, 1, 0, 255, XEN_PCI_MMCFG_RESERVED),
        ("half-of-the-buses", 0xb000_0000, 0, 0, 127, XEN_PCI_MMCFG_RESERVED),
        ("unknown-flags", 0xb000_0000, 0, 0, 255, 2),
    ] {
        t.case_of(format_args!("physdev/mmcfg-reserved/{name}"), |r| {
            let mut a = PhysdevPciMmcfgReserved { address, segment, start_bus, end_bus, flags };
            r.result(physdev(PHYSDEVOP_PCI_MMCFG_RESERVED, &mut a));
        });
    }
}

fn lines(t: &mut Runner) {
    for number in (0_u64..=4).chain(5..=12).chain([14, 17, 18, 19, 20, 22, 23, 27, 28, 29, 32, 33, 100, 0xffff_ffff]) {
        t.case_of(format_args!("physdev/operation-{number:#x}-of-zeroes"), |r| {
            r.result(call(PHYSDEV_OP, [number, pages::take().address()]));
        });
    }
    for (name, domid, kind, index, pirq) in [
        ("gsi-9", DomId::SELF, MAP_PIRQ_TYPE_GSI, 9, 9),
        ("gsi-any-number", DomId::SELF, MAP_PIRQ_TYPE_GSI, 9, -1),
        ("gsi-of-nobody", DomId(77), MAP_PIRQ_TYPE_GSI, 9, -1),
        ("gsi-5000", DomId::SELF, MAP_PIRQ_TYPE_GSI, 5000, -1),
        ("msi-of-no-device", DomId::SELF, MAP_PIRQ_TYPE_MSI, -1, -1),
        ("unknown-kind", DomId::SELF, 99, 0, -1),
    ] {
        t.case_of(format_args!("physdev/map-pirq/{name}"), |r| {
            let mut a = PhysdevMapPirq { domid, kind, index, pirq, bus: 0, ..PhysdevMapPirq::default() };
            r.result(physdev(PHYSDEVOP_MAP_PIRQ, &mut a));
        });
    }
    t.case("physdev/setup-gsi/9", |r| {
        let mut a = PhysdevSetupGsi { gsi: 9, triggering: 1, polarity: 0, pad: [0; 2] };
        r.result(physdev(PHYSDEVOP_SETUP_GSI, &mut a));
    });
    t.case("physdev/old-call", |r| {
        r.result(call(PHYSDEV_OP_COMPAT, [pages::take().address()]));
    });
}

fn say_cpu(r: &mut Report, xen_cpuid: u32) {
    let mut a = XenpfPcpuinfo { xen_cpuid, ..XenpfPcpuinfo::default() };
    r.result(platform(XENPF_GET_CPUINFO, &mut a)).named("most", a.max_present).hex(a.flags.0.into());
    r.named("apic", a.apic_id).named("acpi", a.acpi_id);
}

fn platform_cases(t: &mut Runner) {
    for cpu in [0, 1, 2, 1000, u32::MAX] {
        t.case_of(format_args!("platform/cpu-info/{cpu:#x}"), |r| say_cpu(r, cpu));
        t.case_of(format_args!("platform/cpu-version/{cpu:#x}"), |r| {
            let mut a = XenpfPcpuVersion { xen_cpuid: cpu, ..XenpfPcpuVersion::default() };
            r.result(platform(XENPF_GET_CPU_VERSION, &mut a)).named("most", a.max_present);
            r.named("family", a.family).named("model", a.model).named("stepping", a.stepping);
        });
    }
    for (name, mbz, ns, secs) in
        [("good", 0, 5, 1_800_000_000), ("reserved-set", 1, 5, 1_800_000_000), ("nanoseconds", 0, 2_000_000_000, 1)]
    {
        t.case_of(format_args!("platform/set-time/{name}"), |r| {
            let system_time = crate::domain::now();
            let mut a = XenpfSettime64 { secs, nsecs: ns, mbz, system_time };
            let before: u32 = crate::domain::shared(xen_abi::shared_info::SHARED_INFO_WC_VERSION);
            r.result(platform(XENPF_SETTIME64, &mut a));
            let after: u32 = crate::domain::shared(xen_abi::shared_info::SHARED_INFO_WC_VERSION);
            r.named("version-steps", after.wrapping_sub(before));
        });
    }
    t.case("platform/set-time/changes-the-wall-clock", |r| {
        let system_time = crate::domain::now();
        let mut a = XenpfSettime64 { secs: 1_800_000_000, nsecs: 5, mbz: 0, system_time };
        r.result(platform(XENPF_SETTIME64, &mut a));
        let at_zero = 1_800_000_000 - system_time / 1_000_000_000;
        let seconds: u32 = crate::domain::shared(xen_abi::shared_info::SHARED_INFO_WC_SEC);
        r.holds("about", at_zero.abs_diff(seconds.into()) <= 1);
    });
    for kind in [XEN_FW_DISK_INFO, XEN_FW_DISK_MBR_SIGNATURE, XEN_FW_EFI_INFO, 0, 6, 100] {
        t.case_of(format_args!("platform/firmware-info/kind-{kind}-index-99"), |r| {
            let mut a = XenpfFirmwareInfo { kind, index: 99, ..XenpfFirmwareInfo::default() };
            r.result(platform(XENPF_FIRMWARE_INFO, &mut a));
        });
    }
    t.case("platform/idle-time/no-bits", |r| {
        let mut a = XenpfGetidletime {
            cpumap_bitmap: GuestHandle::new(pages::take().address()),
            idletime: GuestHandle::new(pages::take().address()),
            ..XenpfGetidletime::default()
        };
        r.result(platform(XENPF_GETIDLETIME, &mut a)).holds("now", a.now != 0);
    });
    for (name, cmd) in [("cpu-online-5", XENPF_CPU_ONLINE), ("cpu-offline-5", XENPF_CPU_OFFLINE)] {
        t.case_of(format_args!("platform/{name}"), |r| {
            r.result(platform(cmd, &mut XenpfCpuOl { cpuid: 5 }));
        });
    }
    t.case("platform/resource-op/none", |r| {
        r.result(platform(XENPF_RESOURCE_OP, &mut XenpfResourceOp::default()));
    });
    t.case("platform/resource-op/unknown-cpu", |r| {
        let mut a = XenpfResourceOp { nr_entries: 1, cpu: 99, entries: GuestHandle::new(pages::take().address()) };
        r.result(platform(XENPF_RESOURCE_OP, &mut a));
    });
    t.case("platform/core-parking/get", |r| {
        let mut a = XenpfCoreParking { kind: XEN_CORE_PARKING_GET, idle_nums: 9 };
        r.result(platform(XENPF_CORE_PARKING, &mut a)).named("parked", a.idle_nums);
    });
    t.case("platform/dom0-console", |r| {
        r.result(platform(XENPF_GET_DOM0_CONSOLE, &mut [0_u8; 8]));
    });
    for cmd in [0_u32, 1, 16, 18, 40, 65, 100, u32::MAX] {
        t.case_of(format_args!("platform/unknown-operation/{cmd:#x}"), |r| {
            r.result(platform(cmd, &mut 0_u64));
        });
    }
    t.case("platform/wrong-interface-version", |r| {
        let mut a = PlatformOp { cmd: XENPF_GET_CPUINFO, interface_version: 0x0300_0000, ..PlatformOp::default() };
        r.result(operation_of_one_argument(&mut a));
        a.interface_version = 0;
        r.result(operation_of_one_argument(&mut a));
    });
    t.case("platform/bad-pointer", |r| {
        r.result(call(PLATFORM_OP, [pages::unmap(10)]));
    });
}
