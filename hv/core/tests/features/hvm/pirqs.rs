//! Interrupts of a device model's devices that the guest has as events.

use super::emulator::{GUEST, dm_op, request, world};
use xen_abi::dm_op::*;
use xen_abi::event_channel::{EVTCHNOP_BIND_PIRQ, EvtchnBindPirq};
use xen_abi::hvm_op::{HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::HVM_PARAM_CALLBACK_IRQ;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, HVM_OP, PHYSDEV_OP};
use xen_abi::physdev::*;
use xen_abi::shared_info::SHARED_INFO_EVTCHN_PENDING;
use xen_abi::{DomId, Errno, Port};
use xenolith_world::{Answer, SHARED_INFO, World};

/// Events come by vector 0xf3.
const BY_VECTOR: u64 = 2 << 56 | 0xf3;

fn set_callback(world: &World, value: u64) {
    let mut op = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_CALLBACK_IRQ, value };
    assert_eq!(world.call_with(GUEST, HVM_OP, HVMOP_SET_PARAM, &mut op), Ok(0));
}

fn map(world: &World, gsi: i32, pirq: i32) -> Result<i32, Errno> {
    let mut op = PhysdevMapPirq { domid: DomId::SELF, kind: MAP_PIRQ_TYPE_GSI, index: gsi, pirq, ..Default::default() };
    world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_MAP_PIRQ, &mut op).map(|_| op.pirq)
}

fn bind(world: &World, pirq: u32) -> Port {
    let mut op = EvtchnBindPirq { pirq, ..EvtchnBindPirq::default() };
    assert_eq!(world.call_with(GUEST, EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, &mut op), Ok(0));
    op.port
}

fn end(world: &World, irq: u32) -> Answer {
    world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_EOI, &mut PhysdevEoi { irq })
}

/// Sets the interrupt pin of device 1, which is pin 20 of the I/O APIC.
fn set_pin(world: &World, level: u8) {
    let pin = DmOpSetPciIntxLevel { device: 1, level, ..Default::default() };
    assert_eq!(request(world, &mut dm_op(XEN_DMOP_SET_PCI_INTX_LEVEL, |op| op.set_pci_intx_level(pin))), Ok(0));
}

fn send_message(world: &World, addr: u64, data: u32) -> Answer {
    let message = DmOpInjectMsi { data, pad: 0, addr };
    request(world, &mut dm_op(XEN_DMOP_INJECT_MSI, |op| op.set_inject_msi(message)))
}

/// Returns whether a port was pending, and makes it not so.
fn take(world: &World, port: Port) -> bool {
    let (page, bit) = (world.page(GUEST, SHARED_INFO), 1_u64 << port.0);
    let pending = page.load_u64(SHARED_INFO_EVTCHN_PENDING).unwrap();
    page.store_u64(SHARED_INFO_EVTCHN_PENDING, pending & !bit).unwrap();
    pending & bit != 0
}

fn has_interrupt(world: &World) -> bool {
    world.domain(GUEST).vcpus[0].requests.pending()
}

#[test]
fn a_level_is_an_event_until_its_device_is_done() {
    let world = world();
    assert_eq!(map(&world, 20, -1), Err(Errno::EINVAL), "events must come by a vector");
    set_callback(&world, BY_VECTOR);
    assert_eq!(map(&world, 20, -1), Ok(16));
    let port = bind(&world, 16);
    assert!(!take(&world, port));
    set_pin(&world, 1);
    assert!(take(&world, port));
    assert_eq!(end(&world, 16), Ok(0));
    assert!(take(&world, port), "its device still asks");
    set_pin(&world, 0);
    assert_eq!(end(&world, 16), Ok(0));
    assert!(!take(&world, port));
    let mut asked = PhysdevIrqStatusQuery { irq: 16, ..Default::default() };
    assert_eq!(world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_IRQ_STATUS_QUERY, &mut asked), Ok(0));
    assert_eq!(asked.flags, IrqStatus::NEEDS_EOI);
}

#[test]
fn without_a_port_the_io_apic_has_it() {
    let world = world();
    set_callback(&world, BY_VECTOR);
    assert_eq!(map(&world, 20, 5), Ok(5));
    let _ = xenolith_core::x86::chipset::with(&world.hv, &world.domain(GUEST), |platform, _| {
        platform.write_io_apic(0, 0x10 + 20 * 2);
        platform.write_io_apic(0x10, 0x8044);
    });
    assert!(!has_interrupt(&world));
    set_pin(&world, 1);
    assert!(has_interrupt(&world));
}

#[test]
fn a_message_without_a_vector_is_an_event() {
    let world = world();
    set_callback(&world, BY_VECTOR);
    let mut op = PhysdevGetFreePirq { kind: MAP_PIRQ_TYPE_MSI, ..Default::default() };
    assert_eq!(world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_GET_FREE_PIRQ, &mut op), Ok(0));
    let port = bind(&world, op.pirq);
    assert_eq!(send_message(&world, 0xfee0_0000 | u64::from(op.pirq) << 12, 0), Ok(0));
    assert!(take(&world, port));
    assert_eq!(send_message(&world, 0xfee0_0000, 0), Err(Errno::ERANGE));
    assert_eq!(send_message(&world, 1 << 40 | 0xfee0_1000, 0), Err(Errno::EINVAL));
    assert_eq!(end(&world, op.pirq), Ok(0));
}

#[test]
fn others_and_wrong_numbers_are_refused() {
    let world = world();
    set_callback(&world, BY_VECTOR);
    let mut op = PhysdevMapPirq { kind: MAP_PIRQ_TYPE_GSI, index: 9, pirq: -1, ..Default::default() };
    for (domid, kind, errno) in [
        (DomId(GUEST), MAP_PIRQ_TYPE_GSI, Errno::EPERM),
        (DomId(0), MAP_PIRQ_TYPE_GSI, Errno::EPERM),
        (DomId::SELF, MAP_PIRQ_TYPE_MSI, Errno::EINVAL),
    ] {
        (op.domid, op.kind) = (domid, kind);
        assert_eq!(world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_MAP_PIRQ, &mut op), Err(errno));
    }
    let mut op = PhysdevUnmapPirq { domid: DomId(0), ..Default::default() };
    assert_eq!(world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_UNMAP_PIRQ, &mut op), Err(Errno::EPERM));
    op.domid = DomId::SELF;
    assert_eq!(world.call_with(GUEST, PHYSDEV_OP, PHYSDEVOP_UNMAP_PIRQ, &mut op), Ok(0));
    assert_eq!(end(&world, 16), Err(Errno::EINVAL));
    bind(&world, 16);
    assert_eq!((end(&world, 16), end(&world, 56)), (Ok(0), Err(Errno::EINVAL)));
    for number in [PHYSDEVOP_MAP_PIRQ, PHYSDEVOP_EOI, PHYSDEVOP_GET_FREE_PIRQ] {
        assert_eq!(world.call(0, PHYSDEV_OP, [number.into(), 0, 0, 0, 0, 0]), Err(Errno::ENOSYS), "of a PVH guest");
    }
    assert_eq!(world.call(GUEST, PHYSDEV_OP, [PHYSDEVOP_PCI_DEVICE_ADD.into(), 0, 0, 0, 0, 0]), Err(Errno::ENOSYS));
}
