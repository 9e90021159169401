//! The chipset of an HVM guest: what it answers before its device model, and how its interrupts reach the vCPUs.

use super::emulator::{Emulator, GUEST, dm_op, request};
use crate::domctl::toolstack::{call, domctl};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use xen_abi::dm_op::*;
use xen_abi::domctl::{
    DomctlSendtrigger, DomctlSettimeoffset, XEN_DOMCTL_SENDTRIGGER, XEN_DOMCTL_SENDTRIGGER_POWER,
    XEN_DOMCTL_SETTIMEOFFSET,
};
use xen_abi::hvm_op::{HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::{HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_HPET_ENABLED};
use xen_abi::hvm_save::HVM_SAVE_CODE_PCI_IRQ;
use xen_abi::hypercall::HVM_OP;
use xen_abi::ioreq::IOREQ_TYPE_TIMEOFFSET;
use xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING;
use xen_abi::{DomId, VcpuId};
use xenolith_core::components::chipset::Callback;
use xenolith_core::outcome::After;
use xenolith_core::run::CpuLoop;
use xenolith_core::x86::hvm_context;
use xenolith_devices::ioapic;
use xenolith_devices::platform::{HPET_PAGE, IntxPin, Platform};
use xenolith_fake::{FakeEntry, FakeGuest, FakeMachine};
use xenolith_hal::{CpuId, CpuState, Exit, GuestCpu, IoAccess, IoSize, Machine};
use xenolith_world::vectors;

/// `mov eax, [ebx]` and `mov [ebx], eax`.
const LOAD: &[u8] = &[0x8b, 0x03];
const STORE: &[u8] = &[0x89, 0x03];
const RFLAGS_IF: u64 = 1 << 9;
const TICK_NS: u64 = 54_925_402;
/// Gives the 8259A pair vectors 0x28 to 0x37, and masks no line.
const START_PICS: [(u16, u8); 8] =
    [(0x20, 0x11), (0x21, 0x28), (0x21, 4), (0x21, 1), (0xa0, 0x11), (0xa1, 0x30), (0xa1, 2), (0xa1, 1)];
/// Lets the interval timer tick at its slowest.
const START_TIMER: [(u16, u8); 3] = [(0x43, 0x36), (0x40, 0), (0x40, 0)];
const END: (u16, u8) = (0x20, 0x20);
/// The local APIC's pin LINT0 as an external interrupt, and the register that turns it on.
const LOGICAL_ID: u64 = 0xfee0_00d0;
const LVT_TIMER: u64 = 0xfee0_0320;
const LVT_LINT0: u64 = 0xfee0_0350;
const SPURIOUS: u64 = 0xfee0_00f0;

/// A guest that writes ports and halts with interrupts enabled, and ends each interrupt of the master.
#[derive(Debug, Default)]
struct Legacy {
    writes: VecDeque<(u16, u8)>,
    /// Vectors that were taken, and whether they came from an 8259.
    taken: Arc<Mutex<Vec<(u8, bool)>>>,
}

impl FakeGuest for Legacy {
    fn play(&mut self, entry: &FakeEntry, state: &mut CpuState) -> Exit {
        if let Some(vector) = entry.control.interrupt {
            self.taken.lock().unwrap().push((vector, entry.control.is_from_8259()));
            if entry.control.is_from_8259() {
                self.writes.push_back(END);
            }
        }
        let Some((port, value)) = self.writes.pop_front() else { return Exit::Halt { interrupts_enabled: true } };
        state.registers.rax = value.into();
        Exit::Io(IoAccess { port, size: IoSize::Byte, write: true, string: false, repeat: false })
    }
}

/// The vectors that the guest took, and whether each came from an 8259.
type Offers = Arc<Mutex<Vec<(u8, bool)>>>;

/// A guest on a CPU that has written ports and halted, and what it took.
fn halted(writes: &[(u16, u8)]) -> (Emulator, CpuLoop<FakeMachine>, Offers) {
    let emulator = Emulator::new();
    let guest = Legacy { writes: writes.iter().copied().collect(), ..Legacy::default() };
    let taken = guest.taken.clone();
    store(&emulator, SPURIOUS, 0x1ff);
    store(&emulator, LVT_LINT0, 0x700);
    emulator.core(0, |core| {
        core.hardware.registers_mut().rflags |= RFLAGS_IF;
        core.hardware.guest = Some(Box::new(guest));
    });
    let domain = emulator.world.domain(GUEST);
    domain.vcpus[0].bring_up();
    emulator.world.hv.scheduler.wake(&emulator.world.hv.machine, &domain, &domain.vcpus[0]);
    let mut cpu = CpuLoop::new(CpuId(0));
    turns(&emulator, &mut cpu, 4);
    assert!(domain.vcpus[0].is_blocked());
    (emulator, cpu, taken)
}

fn turns(emulator: &Emulator, cpu: &mut CpuLoop<FakeMachine>, count: usize) {
    for _ in 0..count {
        cpu.turn(&emulator.world.hv);
    }
}

/// Lets vCPU 0 write 4 bytes of memory.
fn store(emulator: &Emulator, at: u64, value: u32) {
    emulator.stand_at(STORE, |state| state.registers.rax = value.into());
    assert_eq!(emulator.fault(at, true), After::Resume);
}

/// Lets vCPU 0 read 4 bytes of memory.
fn load(emulator: &Emulator, at: u64) -> u32 {
    emulator.stand_at(LOAD, |_| {});
    assert_eq!(emulator.fault(at, false), After::Resume);
    emulator.core(0, |core| core.hardware.registers().rax as u32)
}

fn set_isa(emulator: &Emulator, isa_irq: u8, level: u8) {
    let wanted = DmOpSetIsaIrqLevel { isa_irq, level };
    let mut op = dm_op(XEN_DMOP_SET_ISA_IRQ_LEVEL, |op| op.set_isa_irq_level(wanted));
    assert_eq!(request(&emulator.world, &mut op), Ok(0));
}

/// Programs an entry of the I/O APIC.
fn route(emulator: &Emulator, pin: u32, entry: u32) {
    route_to(emulator, pin, entry, 0);
}

fn route_to(emulator: &Emulator, pin: u32, entry: u32, destination: u32) {
    for (register, value) in [(0x11 + 2 * pin, destination), (0x10 + 2 * pin, entry)] {
        store(emulator, ioapic::PAGE.0, register);
        store(emulator, ioapic::PAGE.0 + 0x10, value);
    }
}

fn posted(emulator: &Emulator) -> Vec<u8> {
    vectors(emulator.world.domain(GUEST).vcpus[0].requests.take())
}

#[test]
fn ticks_of_the_interval_timer_wake_a_vcpu_that_halts() {
    let (emulator, mut cpu, taken) = halted(&[&START_PICS[..], &START_TIMER[..]].concat());
    assert!(taken.lock().unwrap().is_empty());
    for ticks in 1..4 {
        emulator.world.hv.machine.pass_ns(TICK_NS);
        turns(&emulator, &mut cpu, 4);
        assert_eq!(*taken.lock().unwrap(), vec![(0x28, true); ticks]);
    }
    assert!(emulator.world.hv.machine.timer(CpuId(0)).0 <= 4 * TICK_NS + 1_000_000, "the next one is waited for");
}

#[test]
fn ticks_that_were_missed_come_late_one_after_the_other() {
    let (emulator, mut cpu, taken) = halted(&[&START_PICS[..], &START_TIMER[..]].concat());
    emulator.world.hv.machine.pass_ns(3 * TICK_NS);
    turns(&emulator, &mut cpu, 12);
    assert_eq!(*taken.lock().unwrap(), [(0x28, true); 3]);
}

#[test]
fn a_line_of_the_device_model_wakes_a_vcpu_that_halts() {
    let (emulator, mut cpu, taken) = halted(&START_PICS);
    set_isa(&emulator, 4, 1);
    assert!(!emulator.world.domain(GUEST).vcpus[0].is_blocked());
    turns(&emulator, &mut cpu, 4);
    assert_eq!(*taken.lock().unwrap(), [(0x2c, true)]);
    set_isa(&emulator, 4, 0);
    set_isa(&emulator, 4, 1);
    turns(&emulator, &mut cpu, 4);
    assert_eq!(*taken.lock().unwrap(), [(0x2c, true); 2]);
}

#[test]
fn an_8259_does_not_pass_a_masked_pin_of_the_local_apic() {
    let (emulator, mut cpu, taken) = halted(&START_PICS);
    store(&emulator, LVT_LINT0, 0x1_0700);
    set_isa(&emulator, 4, 1);
    turns(&emulator, &mut cpu, 4);
    assert!(taken.lock().unwrap().is_empty());
    // Pin 0 of the I/O APIC can lead it there as well.
    route(&emulator, 0, 0x700);
    emulator.core(0, |core| core.hardware.registers_mut().rflags |= RFLAGS_IF);
    set_isa(&emulator, 4, 0);
    let domain = emulator.world.domain(GUEST);
    xenolith_core::lifecycle::waking::notify(&emulator.world.hv, &domain, &domain.vcpus[0]);
    turns(&emulator, &mut cpu, 4);
    assert_eq!(*taken.lock().unwrap(), [(0x2c, true)], "the edge was kept");
}

#[test]
fn levels_of_pci_devices_interrupt_until_they_are_ended() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    route(&emulator, 28, 0xa041);
    let wanted = DmOpSetPciIntxLevel { device: 3, level: 1, ..Default::default() };
    let mut op = dm_op(XEN_DMOP_SET_PCI_INTX_LEVEL, |op| op.set_pci_intx_level(wanted));
    assert_eq!(request(&emulator.world, &mut op), Ok(0));
    assert_eq!(posted(&emulator), [0x41]);
    let end = || {
        let domain = emulator.world.domain(GUEST);
        xenolith_core::x86::interrupts::end_of_interrupt(&emulator.world.hv, &domain, 0x41);
    };
    end();
    assert_eq!(posted(&emulator), [0x41], "it is asserted still");
    op.set_pci_intx_level(DmOpSetPciIntxLevel { level: 0, ..wanted });
    assert_eq!(request(&emulator.world, &mut op), Ok(0));
    end();
    assert_eq!(posted(&emulator), []);
}

#[test]
fn the_chipset_answers_before_the_device_model() {
    let emulator = Emulator::new();
    // The tick counter of the power-management timer at its first place.
    emulator.world.hv.machine.pass_ns(1_000_000_000);
    assert_eq!(emulator.port(0x1f48, IoSize::Dword, false, 0), After::Resume);
    assert!(emulator.core(0, |core| core.hardware.registers().rax) >= 3_579_545);
    for (port, value) in [(0x70, 0x0b), (0x21, 0xfe)] {
        assert_eq!(emulator.port(port, IoSize::Byte, true, value), After::Resume);
    }
    assert_eq!(emulator.port(0x21, IoSize::Byte, false, 0), After::Resume);
    assert_eq!(emulator.core(0, |core| core.hardware.registers().rax), 0xfe);
    assert_eq!(load(&emulator, ioapic::PAGE.0), 0, "the index of the I/O APIC");
    assert!(!emulator.is_waiting(0));
}

#[test]
fn the_hpet_is_there_if_the_toolstack_says_so() {
    let emulator = Emulator::new();
    assert_eq!(load(&emulator, HPET_PAGE.0), u32::MAX);
    emulator.world.domain(GUEST).params.set(HVM_PARAM_HPET_ENABLED, 1, false).unwrap();
    assert_eq!(load(&emulator, HPET_PAGE.0) >> 16, 0x8086);
}

#[test]
fn an_ordinary_guest_has_no_chipset() {
    let emulator = Emulator::new();
    let dom0 = emulator.world.domain(0);
    assert!(dom0.chipset.get().is_none() && !xenolith_core::x86::chipset::has(&dom0, ioapic::PAGE));
}

#[test]
fn a_guest_that_sets_its_clock_moves_its_time_and_tells_the_device_model() {
    let emulator = Emulator::new();
    // 24 hours, by binary numbers; then the second of the 7th of January 1970, an hour later in the day.
    for (index, value) in [(0x0b, 0x06), (9, 70), (8, 1), (7, 7), (4, 1)] {
        for (port, value) in [(0x70, index), (0x71, value)] {
            assert_eq!(emulator.port(port, IoSize::Byte, true, value), After::Resume);
        }
    }
    let domain = emulator.world.domain(GUEST);
    let offset = domain.time_offset_seconds.load(Ordering::SeqCst).cast_signed();
    assert_ne!(offset, 0);
    assert_eq!(domain.chipset.get().unwrap().look(Platform::clock_offset), offset);
    assert!(emulator.was_notified(emulator.ports[2]));
    let kind = |slot: usize| emulator.buffered().load_u8(8 + 8 * slot);
    assert_eq!(kind(0), Some(IOREQ_TYPE_TIMEOFFSET));
}

fn set_callback(emulator: &Emulator, value: u64) {
    let mut op = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_CALLBACK_IRQ, value };
    assert_eq!(emulator.world.call_with(GUEST, HVM_OP, HVMOP_SET_PARAM, &mut op), Ok(0));
}

/// Makes an event pending on vCPU 0, or ends it as the guest does.
fn set_pending(emulator: &Emulator, pending: bool) {
    let domain = emulator.world.domain(GUEST);
    let (page, offset) = domain.vcpus[0].info(&emulator.world.hv.machine).unwrap();
    page.store_u8(offset + VCPU_INFO_UPCALL_PENDING, pending.into()).unwrap();
    xenolith_core::lifecycle::waking::notify(&emulator.world.hv, &domain, &domain.vcpus[0]);
}

#[test]
fn events_interrupt_by_a_line_while_one_is_pending() {
    let (emulator, mut cpu, taken) = halted(&START_PICS);
    set_callback(&emulator, 11);
    set_pending(&emulator, true);
    turns(&emulator, &mut cpu, 4);
    assert_eq!(*taken.lock().unwrap(), [(0x33, true)]);
    set_pending(&emulator, false);
    turns(&emulator, &mut cpu, 4);
    assert!(!emulator.world.domain(GUEST).chipset.get().unwrap().has_event());
    assert_eq!(taken.lock().unwrap().len(), 1);
}

#[test]
fn events_interrupt_by_a_pin_of_a_pci_device_until_they_are_handled() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    route(&emulator, 28, 0xa041);
    set_callback(&emulator, 1 << 56 | 3 << 11);
    set_pending(&emulator, true);
    let domain = emulator.world.domain(GUEST);
    let follow = || xenolith_core::x86::chipset::follow_events(&emulator.world.hv, &domain);
    follow();
    assert_eq!(posted(&emulator), [0x41]);
    let end = || xenolith_core::x86::interrupts::end_of_interrupt(&emulator.world.hv, &domain, 0x41);
    end();
    assert_eq!(posted(&emulator), [0x41], "one is pending still");
    set_pending(&emulator, false);
    end();
    assert_eq!(posted(&emulator), []);
    // A vector instead: the line is left.
    set_pending(&emulator, true);
    set_callback(&emulator, 2 << 56 | 0xf3);
    follow();
    assert_eq!(domain.callback_vector(), Some(0xf3));
    assert_eq!(posted(&emulator), []);
    set_callback(&emulator, 0);
    assert_eq!(domain.callback_vector(), None, "a guest with a chipset takes it back");
}

/// The pin of device 3 as the line of events.
const PIN: u64 = 1 << 56 | 3 << 11;

/// Returns whether the I/O APIC still asks for an interrupt of the pin of device 3 when its last one ends, in a guest that
/// was restored from this record and has no event.
fn asks_after_restore(saved: &[u8]) -> bool {
    let emulator = Emulator::new();
    let domain = emulator.world.domain(GUEST);
    // The order of libxc: parameters, then the records.
    set_callback(&emulator, PIN);
    hvm_context::load(&emulator.world.hv, &domain, saved).unwrap();
    let _from_before = posted(&emulator);
    xenolith_core::x86::chipset::follow_events(&emulator.world.hv, &domain);
    xenolith_core::x86::interrupts::end_of_interrupt(&emulator.world.hv, &domain, 0x41);
    !posted(&emulator).is_empty()
}

#[test]
fn the_line_of_events_is_not_saved_as_one_of_a_device() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    route(&emulator, 28, 0xa041);
    set_callback(&emulator, PIN);
    set_pending(&emulator, true);
    let domain = emulator.world.domain(GUEST);
    xenolith_core::x86::chipset::follow_events(&emulator.world.hv, &domain);
    assert!(domain.chipset.get().unwrap().has_event());
    let saved = hvm_context::save(&emulator.world.hv, &domain).unwrap();
    let lines = hvm_context::save_one(&emulator.world.hv, &domain, HVM_SAVE_CODE_PCI_IRQ.into(), 0).unwrap();
    assert_eq!(lines, [0; 16]);
    assert!(!asks_after_restore(&saved), "nobody would ever deassert it");
    assert!(domain.chipset.get().unwrap().has_event(), "it is asserted in the guest that was saved");
}

#[test]
fn a_record_that_asserts_the_line_of_events_does_not_keep_it_asserted() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    route(&emulator, 28, 0xa041);
    let wanted = DmOpSetPciIntxLevel { device: 3, level: 1, ..Default::default() };
    let mut op = dm_op(XEN_DMOP_SET_PCI_INTX_LEVEL, |op| op.set_pci_intx_level(wanted));
    assert_eq!(request(&emulator.world, &mut op), Ok(0));
    let saved = hvm_context::save(&emulator.world.hv, &emulator.world.domain(GUEST)).unwrap();
    assert!(!asks_after_restore(&saved));
}

#[test]
fn lines_of_callbacks_that_do_not_exist_are_none() {
    for value in [0, 48, 2 << 56 | 0x30, 3 << 56] {
        assert_eq!(Callback::from_param(value), None, "{value:#x}");
    }
    assert_eq!(Callback::from_param(47), Some(Callback::Gsi(47)));
    assert_eq!(Callback::from_param(1 << 56 | 31 << 11 | 3), IntxPin::new(31, 3).map(Callback::Pin));
}

#[test]
fn the_toolstack_presses_buttons_and_sets_the_clock() {
    let emulator = Emulator::new();
    let mut op = domctl(XEN_DOMCTL_SENDTRIGGER, DomId(GUEST));
    op.set_sendtrigger(DomctlSendtrigger { trigger: XEN_DOMCTL_SENDTRIGGER_POWER, vcpu: VcpuId(0) });
    assert_eq!(call(&emulator.world, &mut op), Ok(0));
    let mut moved = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_ACPI_IOPORTS_LOCATION, value: 1 };
    assert_eq!(emulator.world.call_with(GUEST, HVM_OP, HVMOP_SET_PARAM, &mut moved), Ok(0));
    assert_eq!(emulator.port(0xb000, IoSize::Word, false, 0), After::Resume);
    assert_eq!(emulator.core(0, |core| core.hardware.registers().rax), 1 << 8);
    let mut op = domctl(XEN_DOMCTL_SETTIMEOFFSET, DomId(GUEST));
    op.set_settimeoffset(DomctlSettimeoffset { time_offset_seconds: -3600 });
    assert_eq!(call(&emulator.world, &mut op), Ok(0));
    let offset = emulator.world.domain(GUEST).chipset.get().unwrap().look(Platform::clock_offset);
    assert_eq!(offset, -3600);
}

#[test]
fn an_event_before_the_records_are_loaded_interrupts_once_they_are() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    store(&emulator, LOGICAL_ID, 0x0200_0000);
    route_to(&emulator, 28, 0xa841, 0x0200_0000);
    let saved = hvm_context::save(&emulator.world.hv, &emulator.world.domain(GUEST)).unwrap();
    // What dom0 sends meanwhile asserts the line; the new local APIC has no logical name yet.
    let other = Emulator::new();
    set_pending(&other, true);
    set_callback(&other, PIN);
    let domain = other.world.domain(GUEST);
    hvm_context::load(&other.world.hv, &domain, &saved).unwrap();
    xenolith_core::x86::chipset::follow_events(&other.world.hv, &domain);
    assert_eq!(posted(&other), [0x41]);
}

#[test]
fn a_local_apic_goes_on_as_it_was_saved() {
    let emulator = Emulator::new();
    store(&emulator, SPURIOUS, 0x1ff);
    store(&emulator, LVT_LINT0, 0x700);
    store(&emulator, LVT_TIMER, 0x4_00ec);
    let now = emulator.world.hv.machine.time_base();
    emulator.core(0, |core| core.lapic.set_tsc_deadline(now.tsc + 1_000_000_000, now));
    let records = |emulator: &Emulator| emulator.core(0, |core| core.lapic.save(emulator.world.hv.machine.time_base()));
    let (state, registers) = records(&emulator);
    assert_eq!((state.disabled, state.tdt_msr), (0, now.tsc + 1_000_000_000));
    let saved = hvm_context::save(&emulator.world.hv, &emulator.world.domain(GUEST)).unwrap();
    let other = Emulator::new();
    hvm_context::load(&other.world.hv, &other.world.domain(GUEST), &saved).unwrap();
    let (loaded, page) = records(&other);
    assert_eq!((loaded.disabled, loaded.tdt_msr, page.data), (state.disabled, state.tdt_msr, registers.data));
}
