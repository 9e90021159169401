//! The machine of the guests: the control domain has a network card with message interrupts, an I/O APIC, and the
//! machine's ports.

use fastrand::Rng;
use xen_abi::Gfn;
use xenolith_core::Hypervisor;
use xenolith_core::components::devices::{AddressRange, DevicePlan, HostDevices};
use xenolith_devices::pci::Ecam;
use xenolith_fake::{FakeFunction, FakeMachine};
use xenolith_hal::{GuestCpu, IoApicPlace, Mpa};
use xenolith_world::{Plan, World};

use super::guest::{Player, Shared};
use crate::guests;
use crate::sequences::stage::Guest;

/// The card: bus 0, device 2; registers of 128 KiB, a table of message interrupts, MSI and MSI-X.
pub const CARD: u16 = 0x10;
pub const REGISTERS: u64 = 0xfeb0_0000;
pub const TABLE: u64 = 0xfeb4_0000;
pub const CONFIGURATION: u64 = 0xb000_0000;
pub const IO_APIC: u64 = 0xfec0_0000;
pub const LOCAL_APIC: u64 = 0xfee0_0000;
const MSI: u16 = 0xd0;
const MSIX: u16 = 0xa0;

/// Guest frame with code that accesses devices, one instruction every [`SLOT`] bytes.
pub const CODE: u64 = 5;
pub const SLOT: usize = 16;
pub const SLOTS: usize = 4096 / SLOT;

/// Instructions that access memory; what stands behind opcode and operands is random.
const ACCESSES: &[&[u8]] = &[
    &[0x8b, 0x06],                // mov eax, [rsi]
    &[0x89, 0x06],                // mov [rsi], eax
    &[0x48, 0x8b, 0x06],          // mov rax, [rsi]
    &[0x66, 0x89, 0x1e],          // mov [rsi], bx
    &[0x88, 0x0e],                // mov [rsi], cl
    &[0x0f, 0xb6, 0x06],          // movzx eax, byte [rsi]
    &[0xc7, 0x06, 0x11, 0, 0, 0], // mov dword [rsi], 0x11
    &[0xa4],                      // movsb
    &[0xf3, 0xab],                // rep stosd
    &[0xf0, 0x0f, 0xba, 0x2e, 3], // lock bts dword [rsi], 3
    &[0x87, 0x06],                // xchg [rsi], eax
    &[0x0f, 0xb1, 0x0e],          // cmpxchg [rsi], ecx
    &[0x83, 0x0e, 1],             // or dword [rsi], 1
    &[0x84, 0x06],                // test [rsi], al
];
/// INS and OUTS of all sizes, with and without prefixes.
const STRINGS: &[&[u8]] = &[
    &[0x6c],
    &[0x6e],
    &[0xf3, 0x6c],
    &[0xf3, 0x6e],
    &[0xf3, 0x66, 0x6d],
    &[0xf3, 0x66, 0x6f],
    &[0xf3, 0x6d],
    &[0xf3, 0x6f],
    &[0x6d],
    &[0x6f],
];

const PLAN: Plan = Plan {
    cpus: 2,
    machine_pages: guests::MACHINE_PAGES,
    guest_pages: guests::GUEST_PAGES,
    spare_pages: 16,
    domains: 32,
    machine_ports: true,
    long_mode: true,
    ..Plan::TESTS
};

fn card() -> FakeFunction {
    let mut card = FakeFunction::new(0x8086, 0x10d3);
    card.set(4, 0x0010_0002, 0x0407);
    card.set(0x08, 0x0200_0000, 0);
    card.set(0x10, REGISTERS as u32, 0xfffe_0000);
    card.set(0x1c, TABLE as u32, 0xffff_c000);
    card.set(0x34, u32::from(MSI), 0);
    card.set(MSI, 0x0080_a005, 0x0071_0000);
    card.set(MSI + 4, 0, !3);
    card.set(MSI + 8, 0, u32::MAX);
    card.set(MSI + 12, 0, 0xffff);
    card.set(MSIX, 0x0004_0011, 0xc000_0000);
    card.set(MSIX + 4, 3, 0);
    card.set(MSIX + 8, 0x2003, 0);
    card
}

/// Makes a hypervisor with both domains: the control domain with two vCPUs and a device, and an ordinary one.
pub fn hypervisor() -> Hypervisor<FakeMachine> {
    let world = World::planned(PLAN, &[2, 1]);
    world.hv.machine.plug(CARD, card());
    let plan = DevicePlan {
        io_apics: &[IoApicPlace { id: 0, address: Mpa(IO_APIC), first_line: 0, pins: 24 }],
        configuration: &[Ecam { base: xenolith_hal::Gpa(CONFIGURATION), segment: 0, first_bus: 0, last_bus: 1 }],
        kept: &[AddressRange { start: 0, end: 0x8000_0000 }],
    };
    let devices = HostDevices::new(&world.hv.machine, &plan);
    assert!(world.domain(0).devices.set(devices).is_ok());
    world.hv
}

/// Gives the vCPUs of a domain guests that play.
pub fn prepare(hv: &Hypervisor<FakeMachine>, domain: &Guest, shared: &Shared, dice: &mut Rng) {
    write_code(dice, hv, domain, Gfn(CODE));
    let careful = domain.privileged && dice.u8(..16) > 0;
    if !domain.privileged {
        guests::give_viridian(dice, hv, domain);
    }
    for vcpu in &domain.vcpus {
        let player = Player::new(domain.id, vcpu.id, careful, shared.clone(), dice.fork());
        let given = vcpu.with_core(|core| core.hardware.guest = Some(Box::new(player)));
        assert!(given.is_some());
        // Wherever its code wants to go, it begins where there is some.
        vcpu.with_core(|core| core.hardware.registers_mut().rip = CODE << 12);
        hv.scheduler.wake(&hv.machine, domain, vcpu);
    }
}

/// Fills a page with instructions.
pub fn write_code(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, domain: &Guest, gfn: Gfn) {
    let Some((_, page)) = guests::page(hv, domain, gfn) else { return };
    for slot in 0..SLOTS {
        let mut bytes: [u8; SLOT] = std::array::from_fn(|_| dice.u8(..));
        let code = if is_string(slot) { STRINGS[slot / 4 % STRINGS.len()] } else { ACCESSES[slot % ACCESSES.len()] };
        if dice.u8(..32) > 0 {
            bytes.iter_mut().zip(code).for_each(|(byte, new)| *byte = *new);
        }
        assert!(page.write_bytes(slot * SLOT, &bytes));
    }
}

/// Returns true for a slot that holds INS or OUTS.
pub const fn is_string(slot: usize) -> bool {
    slot.is_multiple_of(4)
}

/// Returns a slot with the string instruction that a port access is of, where there is one, and the size of its elements.
pub fn string_slot(dice: &mut Rng) -> (usize, bool, bool, u32) {
    let slot = dice.usize(..SLOTS / 4) * 4;
    let code = STRINGS[slot / 4 % STRINGS.len()];
    let opcode = code.last().copied().unwrap_or(0x6c);
    let bytes = match opcode {
        0x6c | 0x6e => 1,
        _ if code.contains(&0x66) => 2,
        _ => 4,
    };
    (slot, opcode >= 0x6e, code.contains(&0xf3), bytes)
}
