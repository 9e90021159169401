//! Devices in the hands of the control domain, over a machine of numbers.

use xenolith_core::components::devices::{AddressRange, DevicePlan, HostDevices};
use xenolith_core::x86::interrupts::{end_of_interrupt, interrupts_arrived, with_owner, write_device};
use xenolith_devices::interrupt::Trigger;
use xenolith_devices::pci::Ecam;
use xenolith_fake::{FakeFunction, FakeMachine};
use xenolith_hal::{
    CpuId, Devices, Gfn, Gpa, IoAccess, IoApicPlace, IoSize, Machine, MessageAddress, Mpa, NestedSpace, PageKind,
    VcpuId,
};
use xenolith_world::World;

/// A network card: registers at 0xfeb00000 (128 KiB), a table of message interrupts at 0xfeb40000, MSI at 0xd0.
const CARD: u16 = 0x10;
const BAR0: u64 = 0xfeb0_0000;
const TABLE: u64 = 0xfeb4_0000;
const MSI: u16 = 0xd0;
const MSIX: u16 = 0xa0;
const ECAM: u64 = 0xb000_0000;
const IO_APIC: u64 = 0xfec0_0000;

fn card() -> FakeFunction {
    let mut card = FakeFunction::new(0x8086, 0x10d3);
    card.set(4, 0x0010_0002, 0x0407);
    card.set(0x08, 0x0200_0000, 0);
    card.set(0x10, BAR0 as u32, 0xfffe_0000);
    card.set(0x1c, TABLE as u32, 0xffff_c000);
    card.set(0x30, 0, 0xfffc_0001);
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

struct Dom0 {
    world: World,
}

impl Dom0 {
    fn new() -> Self {
        let world = World::new(&[2]);
        world.hv.machine.plug(CARD, card());
        let plan = DevicePlan {
            io_apics: &[IoApicPlace { id: 0, address: Mpa(IO_APIC), first_line: 0, pins: 24 }],
            configuration: &[Ecam { base: Gpa(ECAM), segment: 0, first_bus: 0, last_bus: 1 }],
            kept: &[AddressRange { start: 0, end: 0x8000_0000 }],
        };
        let devices = HostDevices::new(&world.hv.machine, &plan);
        assert_eq!(devices.function_count(), 1);
        assert!(world.domain(0).devices.set(devices).is_ok());
        Self { world }
    }

    fn machine(&self) -> &FakeMachine {
        &self.world.hv.machine
    }

    fn with<T>(&self, work: impl FnOnce(&HostDevices) -> T) -> T {
        work(self.world.domain(0).devices.get().unwrap())
    }

    fn port(&self, port: u16, size: IoSize, write: Option<u32>) -> Option<u32> {
        let access = IoAccess { port, size, write: write.is_some(), string: false, repeat: false };
        let domain = self.world.domain(0);
        let Some(value) = write else { return domain.devices.get().unwrap().read_port(self.machine(), access) };
        let written = with_owner(&self.world.hv, &domain, |devices, owner| devices.write_port(owner, access, value));
        written.unwrap().then_some(value)
    }

    fn select(&self, register: u16) {
        let address = 0x8000_0000 | u32::from(CARD) << 8 | u32::from(register & !3);
        self.port(0xcf8, IoSize::Dword, Some(address));
    }

    fn config(&self, register: u16) -> u32 {
        self.select(register);
        self.port(0xcfc, IoSize::Dword, None).unwrap()
    }

    fn set_config(&self, register: u16, size: IoSize, value: u32) {
        self.select(register);
        self.port(0xcfc | register & 3, size, Some(value));
    }

    fn read(&self, at: u64, bytes: u32) -> Option<u64> {
        self.with(|devices| devices.read(&self.world.hv.machine, Gpa(at), bytes))
    }

    fn write(&self, at: u64, bytes: u32, value: u64) {
        let domain = self.world.domain(0);
        write_device(&self.world.hv, &domain, Gpa(at), bytes, value);
    }

    /// Sets up a pin of the I/O APIC.
    fn pin(&self, number: u64, low: u64) {
        self.write(IO_APIC, 4, 0x10 + number * 2);
        self.write(IO_APIC + 0x10, 4, low);
    }

    fn show(&self, at: u64) -> bool {
        let domain = self.world.domain(0);
        with_owner(&self.world.hv, &domain, |devices, owner| devices.show(owner, Gpa(at).gfn())).unwrap()
    }

    fn kind_at(&self, at: u64) -> Option<PageKind> {
        self.world.domain(0).space.lookup(Gpa(at).gfn()).map(|there| there.kind)
    }

    /// What the first vCPU was sent.
    fn received(&self) -> Vec<(u8, Trigger)> {
        interrupts_arrived(&self.world.hv);
        let mut received = Vec::new();
        self.world
            .domain(0)
            .vcpu(VcpuId(0))
            .unwrap()
            .requests
            .take()
            .for_each_vector(|vector, trigger| received.push((vector, trigger)));
        received
    }

    fn end(&self, vector: u8) {
        let domain = self.world.domain(0);
        end_of_interrupt(&self.world.hv, &domain, vector);
    }

    /// What the card was told to send by MSI.
    fn card_message(&self) -> MessageAddress {
        let word = |offset| self.machine().config(CARD, MSI + offset);
        MessageAddress { address: u64::from(word(8)) << 32 | u64::from(word(4)), data: word(12) }
    }

    fn table_word(&self, offset: u64) -> u32 {
        self.machine().device_read(Mpa(TABLE + offset), IoSize::Dword)
    }
}

#[test]
fn a_level_line_comes_again_only_after_its_end() {
    let dom0 = Dom0::new();
    dom0.pin(20, 0xa031);
    let line = dom0.machine().line(20).unwrap();
    assert!(line.mode.level && line.mode.active_low && !line.masked);
    assert!(dom0.machine().raise_line(20));
    assert_eq!(dom0.received(), [(0x31, Trigger::Level)]);
    assert!(!dom0.machine().raise_line(20), "nothing heard until the guest ends it");
    dom0.end(0x30);
    assert!(!dom0.machine().raise_line(20));
    dom0.end(0x31);
    assert!(dom0.machine().raise_line(20));
    assert_eq!(dom0.received(), [(0x31, Trigger::Level)]);
}

#[test]
fn a_pin_that_is_masked_and_let_through_while_served_stays_quiet_until_the_end() {
    let dom0 = Dom0::new();
    dom0.pin(20, 0xa031);
    dom0.machine().raise_line(20);
    assert_eq!(dom0.received().len(), 1);
    dom0.pin(20, 0x1_a031);
    dom0.pin(20, 0xa031);
    assert!(dom0.machine().line(20).unwrap().masked);
    dom0.end(0x31);
    assert!(!dom0.machine().line(20).unwrap().masked);
}

#[test]
fn a_level_that_came_while_its_pin_was_masked_is_delivered_later() {
    let dom0 = Dom0::new();
    dom0.pin(20, 0xa031);
    dom0.machine().raise_line(20);
    dom0.pin(20, 0x1_a031);
    assert_eq!(dom0.received(), []);
    dom0.pin(20, 0xa031);
    assert_eq!(dom0.received(), [(0x31, Trigger::Level)]);
    assert!(dom0.machine().line(20).unwrap().masked);
    dom0.end(0x31);
    assert!(!dom0.machine().line(20).unwrap().masked);
}

#[test]
fn an_edge_is_delivered_each_time() {
    let dom0 = Dom0::new();
    dom0.pin(1, 0x21);
    for _ in 0..2 {
        assert!(dom0.machine().raise_line(1));
        assert_eq!(dom0.received(), [(0x21, Trigger::Edge)]);
    }
    dom0.pin(1, 0x1_0021);
    assert!(!dom0.machine().raise_line(1));
}

#[test]
fn another_way_to_signal_binds_the_line_anew() {
    let dom0 = Dom0::new();
    dom0.pin(9, 0x29);
    assert!(!dom0.machine().line(9).unwrap().mode.level);
    dom0.pin(9, 0x1_8029);
    dom0.pin(9, 0x8029);
    assert!(dom0.machine().line(9).unwrap().mode.level);
    dom0.machine().raise_line(9);
    assert_eq!(dom0.received(), [(0x29, Trigger::Level)]);
}

#[test]
fn a_line_of_the_hypervisor_is_not_bound() {
    let dom0 = Dom0::new();
    dom0.pin(4, 0x24);
    assert_eq!(dom0.machine().line(4), None);
    assert!(dom0.machine().logged().iter().any(|line| line.contains("line 4")));
}

#[test]
fn an_msi_is_translated_and_the_guest_reads_what_it_wrote() {
    let dom0 = Dom0::new();
    dom0.set_config(MSI + 4, IoSize::Dword, 0xfee0_0000);
    dom0.set_config(MSI + 12, IoSize::Word, 0x35);
    assert_eq!(dom0.machine().message_count(), 0);
    dom0.set_config(MSI + 2, IoSize::Word, 0x81);
    assert_eq!(dom0.machine().config(CARD, MSI) >> 16 & 1, 1);
    assert_eq!(dom0.config(MSI), 0x0081_a005);
    assert_eq!((dom0.config(MSI + 4), dom0.config(MSI + 12)), (0xfee0_0000, 0x35));
    assert_ne!(dom0.card_message().data, 0x35);
    assert!(dom0.machine().raise_message(dom0.card_message()));
    assert_eq!(dom0.received(), [(0x35, Trigger::Edge)]);
    dom0.set_config(MSI + 12, IoSize::Word, 0x36);
    assert!(dom0.machine().raise_message(dom0.card_message()));
    assert_eq!(dom0.received(), [(0x36, Trigger::Edge)]);
    dom0.set_config(MSI + 2, IoSize::Word, 0x80);
    assert_eq!((dom0.machine().message_count(), dom0.machine().config(CARD, MSI) >> 16 & 1), (0, 0));
}

#[test]
fn a_device_with_several_vectors_is_shown_with_one() {
    let world = World::new(&[1]);
    let mut card = card();
    card.set(MSI, 0x008a_a005, 0x0071_0000);
    world.hv.machine.plug(CARD, card);
    let plan = DevicePlan {
        configuration: &[Ecam { base: Gpa(ECAM), segment: 0, first_bus: 0, last_bus: 0 }],
        ..DevicePlan::default()
    };
    let devices = HostDevices::new(&world.hv.machine, &plan);
    let at = ECAM + (u64::from(CARD) << 12) + u64::from(MSI);
    assert_eq!(devices.read(&world.hv.machine, Gpa(at), 4), Some(0x0080_a005));
}

#[test]
fn an_entry_of_the_table_is_translated_when_it_is_let_through() {
    let dom0 = Dom0::new();
    dom0.set_config(MSIX + 2, IoSize::Word, 0xc000);
    for (offset, value) in [(0x10, 0xfee0_0000), (0x14, 0), (0x18, 0x41)] {
        dom0.write(TABLE + offset, 4, value);
    }
    assert_eq!((dom0.machine().message_count(), dom0.table_word(0x1c)), (0, 1));
    dom0.write(TABLE + 0x1c, 4, 0);
    dom0.set_config(MSIX + 2, IoSize::Word, 0x8000);
    assert_eq!((dom0.machine().message_count(), dom0.table_word(0x1c)), (1, 0));
    assert_eq!(dom0.machine().config(CARD, MSIX) >> 30, 0b10);
    let message = MessageAddress { address: dom0.table_word(0x10).into(), data: dom0.table_word(0x18) };
    assert!(dom0.machine().raise_message(message));
    assert_eq!(dom0.received(), [(0x41, Trigger::Edge)]);
    assert_eq!(dom0.read(TABLE + 0x18, 4), Some(0x41));
    dom0.write(TABLE + 0x1c, 4, 1);
    assert_eq!(dom0.table_word(0x1c), 1, "the device holds it back");
    dom0.set_config(MSIX + 2, IoSize::Word, 0);
    assert_eq!(dom0.machine().message_count(), 0);
}

#[test]
fn what_shares_a_page_with_the_table_is_the_device_itself() {
    let dom0 = Dom0::new();
    dom0.write(TABLE + 0x800, 4, 0x1234_5678);
    assert_eq!(dom0.table_word(0x800), 0x1234_5678);
    assert_eq!((dom0.read(TABLE + 0x800, 2), dom0.read(TABLE + 0x800, 8)), (Some(0x5678), Some(0x1234_5678)));
}

#[test]
fn a_device_whose_interrupts_are_used_up_stays_masked() {
    let dom0 = Dom0::new();
    while dom0.machine().bind_message(CpuId(0)).is_some() {}
    dom0.set_config(MSIX + 2, IoSize::Word, 0x8000);
    dom0.write(TABLE, 8, 0xfee0_0000);
    dom0.write(TABLE + 8, 8, 0x41);
    assert_eq!(dom0.table_word(0xc), 1);
    assert!(dom0.machine().logged().iter().any(|line| line.contains("no interrupt is left")));
}

#[test]
fn registers_are_mapped_when_touched_and_the_table_never() {
    let dom0 = Dom0::new();
    assert!(dom0.show(BAR0 + 0x5008));
    assert_eq!(dom0.kind_at(BAR0 + 0x5000), Some(PageKind::Mmio));
    assert!(!dom0.show(TABLE));
    assert!(dom0.show(TABLE + 0x2000), "only the pages of the table are withheld");
    assert!(!dom0.show(BAR0 + 0x2_0000));
    let answers = |at| dom0.with(|devices| devices.answers(Gpa(at)));
    for at in [TABLE + 0xffc, ECAM, ECAM + 0x1f_ffff, IO_APIC + 0x20] {
        assert!(answers(at), "{at:#x}");
    }
    assert!(!answers(BAR0) && !answers(TABLE + 0x1000) && !answers(ECAM + 0x20_0000));
    for withheld in [IO_APIC, ECAM, ECAM + 0x1f_f000, 0x1000] {
        assert!(!dom0.show(withheld));
    }
}

#[test]
fn nothing_is_mapped_while_memory_decoding_is_off() {
    let dom0 = Dom0::new();
    dom0.set_config(4, IoSize::Word, 0x0404);
    assert_eq!(dom0.machine().config(CARD, 4) & 0xffff, 0x0404);
    assert!(!dom0.show(BAR0));
    dom0.set_config(4, IoSize::Byte, 6);
    assert!(dom0.show(BAR0));
}

#[test]
fn a_register_that_moves_takes_its_pages_along() {
    let dom0 = Dom0::new();
    assert!(dom0.show(BAR0));
    dom0.set_config(4, IoSize::Word, 0);
    dom0.set_config(0x10, IoSize::Dword, u32::MAX);
    assert_eq!(dom0.config(0x10), 0xfffe_0000, "the guest asks for the size");
    dom0.set_config(0x10, IoSize::Dword, 0xfea0_0000);
    dom0.set_config(4, IoSize::Word, 2);
    assert_eq!(dom0.kind_at(BAR0), None);
    assert!(dom0.show(0xfea1_f000) && !dom0.show(BAR0));
    assert_eq!(dom0.machine().config(CARD, 0x10), 0xfea0_0000);
}

#[test]
fn a_register_cannot_be_moved_over_memory() {
    let dom0 = Dom0::new();
    dom0.set_config(0x10, IoSize::Dword, 0x10_0000);
    assert!(!dom0.show(0x10_0000));
    dom0.set_config(0x10, IoSize::Dword, IO_APIC as u32);
    assert!(!dom0.show(IO_APIC));
}

#[test]
fn the_table_moves_with_its_register_and_is_withheld_there() {
    let dom0 = Dom0::new();
    dom0.set_config(0x1c, IoSize::Dword, (BAR0 + 0x2_0000) as u32);
    assert!(!dom0.show(BAR0 + 0x2_0000));
    dom0.set_config(0x10, IoSize::Dword, 0xfe00_0000);
    assert!(dom0.show(0xfe00_0000));
    dom0.set_config(0x1c, IoSize::Dword, 0xfe00_0000);
    assert_eq!(dom0.kind_at(0xfe00_0000), None, "a table over what was mapped before");
    assert!(!dom0.show(0xfe00_0000));
}

#[test]
fn the_rom_is_mapped_while_it_is_enabled() {
    let dom0 = Dom0::new();
    dom0.set_config(0x30, IoSize::Dword, 0xfe80_0000);
    assert!(!dom0.show(0xfe80_0000));
    dom0.set_config(0x30, IoSize::Dword, 0xfe80_0001);
    assert!(dom0.show(0xfe83_f000));
}

#[test]
fn configuration_is_reached_by_memory_too_and_beyond_the_ports() {
    let dom0 = Dom0::new();
    let at = ECAM + (u64::from(CARD) << 12);
    assert_eq!(dom0.read(at, 4), Some(0x10d3_8086));
    assert_eq!(dom0.read(at + 2, 2), Some(0x10d3));
    assert_eq!(dom0.read(at + 0x100, 4), Some(0));
    assert_eq!(dom0.read(at, 8), Some(0x0010_0002_10d3_8086));
    assert_eq!(dom0.read(at + 0x1000, 4), Some(u32::MAX.into()), "nobody is there");
    assert_eq!(dom0.read(0xfed0_0000, 4), None);
    dom0.write(at + 0x3c, 1, 5);
}

#[test]
fn functions_that_come_later_are_found() {
    let dom0 = Dom0::new();
    let mut late = FakeFunction::new(0x1af4, 0x1041);
    late.set(4, 0, 7);
    late.set(0x10, 0xfe90_0000, 0xffff_f000);
    dom0.machine().plug(0x100, late);
    let at = ECAM + (0x100 << 12);
    assert_eq!(dom0.read(at, 4), Some(0x1041_1af4));
    dom0.write(at + 4, 2, 2);
    assert!(dom0.show(0xfe90_0000));
}

#[test]
fn an_iommu_is_looked_at_only() {
    let world = World::new(&[1]);
    let mut iommu = FakeFunction::new(0x1022, 0x10);
    iommu.set(8, 0x0806_0000, 0);
    iommu.set(0x44, 0, u32::MAX);
    world.hv.machine.plug(CARD, iommu);
    let area = Ecam { base: Gpa(ECAM), segment: 0, first_bus: 0, last_bus: 0 };
    let devices = HostDevices::new(&world.hv.machine, &DevicePlan { configuration: &[area], ..DevicePlan::default() });
    let domain = world.domain(0);
    assert!(domain.devices.set(devices).is_ok());
    write_device(&world.hv, &domain, Gpa(ECAM + (u64::from(CARD) << 12) + 0x44), 4, 1);
    assert_eq!(world.hv.machine.config(CARD, 0x44), 0);
}

#[test]
fn finding_sizes_leaves_the_registers_as_they_were() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.machine().config(CARD, 0x10), BAR0 as u32);
    assert_eq!(dom0.machine().config(CARD, 4) & 0xffff, 2);
    assert_eq!(dom0.machine().config(CARD, 0x30), 0);
}

#[test]
fn the_chip_sets_ports_between_are_not_configuration() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.port(0xcf9, IoSize::Byte, None), None);
    assert_eq!(dom0.port(0xcf8, IoSize::Dword, None), Some(0));
    assert_eq!(dom0.port(0xcfc, IoSize::Dword, None), Some(u32::MAX), "no function is selected");
}

#[test]
fn what_the_guest_wrote_to_an_address_port_of_its_own_chooses_the_register() {
    let dom0 = Dom0::new();
    let vendor = dom0.config(0);
    dom0.select(4);
    let machine = &dom0.world.hv.machine;
    machine.choose(0x8000_0000 | u32::from(CARD) << 8);
    assert_eq!(dom0.port(0xcfc, IoSize::Dword, None), Some(vendor), "not the register that an exit chose before");
    machine.choose(0x8000_0000 | u32::from(CARD) << 8 | 0x4);
    assert_eq!(dom0.port(0xcfc, IoSize::Dword, None), Some(machine.config(CARD, 4)));
    machine.choose(0x8000_ff00);
    assert_eq!(dom0.port(0xcfc, IoSize::Dword, None), Some(u32::MAX), "nothing is there");
    machine.choose(0);
    assert_eq!(dom0.port(0xcfc, IoSize::Dword, None), Some(u32::MAX), "nothing is chosen");
}

#[test]
fn a_domain_without_devices_has_none() {
    let world = World::new(&[1, 1]);
    assert!(world.domain(1).devices.get().is_none());
    assert_eq!(world.domain(1).space.lookup(Gfn(IO_APIC >> 12)), None);
    assert_eq!(world.hv.machine.cpu_count(), 1);
}
