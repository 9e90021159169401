//! The chipset of an HVM guest: accesses of the guest, calls of its device model and records of a hostile stream.

use fastrand::Rng;
use xen_abi::hvm_save::{
    HvmHwHpet, HvmHwIsaIrqs, HvmHwPciIrqs, HvmHwPciLink, HvmHwPit, HvmHwPmtimer, HvmHwRtc, HvmHwVioapic, HvmHwVpic,
};
use xenolith_devices::interrupt::Delivery;
use xenolith_devices::platform::{
    HPET_BYTES, IntxPin, MissedTicks, Moment, Platform, PlatformRecord, PlatformRecords, PowerEvent,
};
use xenolith_hal::{IoSize, Time, WallClock};
use zerocopy::FromBytes;

use super::{ACCESSES, value};

/// Runs accesses, events and records, and checks what must hold after each.
pub(super) fn run(dice: &mut Rng) {
    let mut clock = FuzzClock { ns: 0, wall: dice.u64(..1 << 33) };
    let mut platform = Platform::new(clock.now(dice));
    if dice.bool() {
        start_like_firmware(&mut platform, clock.now(dice));
    }
    for _ in 0..ACCESSES {
        let now = clock.now(dice);
        match dice.u8(..24) {
            0..8 => access_port(&mut platform, now, dice),
            8..12 => access_memory(&mut platform, now, dice),
            12..15 => change_lines(&mut platform, dice),
            15..18 => take_interrupts(&mut platform, dice),
            18 => configure(&mut platform, now, dice),
            19 if dice.u8(..8) == 0 => load_anything(&mut platform, now, dice),
            20 => check_saved(&mut platform, now),
            _ => {
                platform.advance(now);
                check_deadline(&platform, now);
            }
        }
    }
    check_saved(&mut platform, clock.now(dice));
    release_lines(&mut platform, clock.now(dice));
}

/// The time of the accesses: it goes on, but the wall clock may be set.
struct FuzzClock {
    ns: u64,
    wall: u64,
}

impl FuzzClock {
    fn now(&mut self, dice: &mut Rng) -> Moment {
        let step = match dice.u8(..64) {
            0 => dice.u64(..),
            1..8 => dice.u64(..1 << 40),
            8..24 => dice.u64(..100_000_000),
            _ => dice.u64(..100_000),
        };
        self.ns = self.ns.saturating_add(step);
        let time = Time(self.ns);
        if dice.u8(..32) == 0 {
            self.wall = value(dice);
        }
        let seconds = self.wall.saturating_add(time.0 / 1_000_000_000);
        Moment { time, wall: WallClock { seconds, nanoseconds: (time.0 % 1_000_000_000) as u32 } }
    }
}

/// The words that firmware writes first, so that interrupts come.
fn start_like_firmware(platform: &mut Platform, now: Moment) {
    let pics = [(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0xa0, 0x11), (0xa1, 0x70), (0xa1, 2), (0xa1, 1)];
    let timers = [(0x43, 0x34), (0x40, 0), (0x40, 0x10), (0x70, 0xb), (0x71, 0x72)];
    for (port, value) in pics.into_iter().chain(timers) {
        assert!(platform.write(port, IoSize::Byte, value, now).is_some());
    }
}

fn port(dice: &mut Rng) -> u16 {
    match dice.u8(..8) {
        0 => dice.choice([0x20, 0x21, 0xa0, 0xa1]).unwrap_or(0x20),
        1 => 0x4d0 + dice.u16(..2),
        2 => 0x61,
        3 => 0x40 + dice.u16(..4),
        4 | 5 => 0x70 + dice.u16(..2),
        6 => dice.choice([0xb000, 0x1f40]).unwrap_or(0xb000) + dice.u16(..13),
        _ => dice.u16(..),
    }
}

fn access_port(platform: &mut Platform, now: Moment, dice: &mut Rng) {
    let port = port(dice);
    let wide = dice.choice([IoSize::Byte, IoSize::Word, IoSize::Dword]).unwrap_or(IoSize::Byte);
    let size = if dice.bool() { IoSize::Byte } else { wide };
    if dice.bool() {
        let before = platform.clock_offset();
        let moved = platform.write(port, size, value(dice) as u32, now).map_or(0, |written| written.clock_moved);
        assert_eq!(platform.clock_offset(), before.saturating_add(moved), "a clock that moved in silence");
    } else if let Some(read) = platform.read(port, size, now) {
        assert_eq!(read & !size.mask(), 0, "more bits than the access has");
    }
}

fn access_memory(platform: &mut Platform, now: Moment, dice: &mut Rng) {
    let bytes = dice.choice([1, 2, 4, 8, 3]).unwrap_or(4);
    let timer = 0x100 + dice.u32(..4) * 0x20 + dice.u32(..2) * 8;
    let any = dice.u32(..HPET_BYTES + 8);
    let hpet = dice.choice([0x10, 0x20, 0xf0, timer, timer, any]).unwrap_or(0);
    match dice.u8(..6) {
        0 => {
            let read = platform.read_hpet(hpet, bytes, now);
            assert!(bytes >= 8 || read >> (bytes * 8) == 0, "more bits than the access has");
        }
        1 | 2 => platform.write_hpet(hpet, bytes, value(dice), now),
        3 => drop(platform.read_io_apic(dice.u32(..0x50))),
        4 => platform.write_io_apic(dice.u32(..0x50), value(dice) as u32),
        _ => {
            platform.write_io_apic(0, 0x10 + dice.u32(..96));
            platform.write_io_apic(0x10, value(dice) as u32 & 0xa7ff | 0x10);
        }
    }
}

fn change_lines(platform: &mut Platform, dice: &mut Rng) {
    let (number, active) = (dice.u8(..20), dice.bool());
    match dice.u8(..4) {
        0 => assert_eq!(platform.set_isa_line(number, active), number < 16),
        1 => assert_eq!(platform.set_link_route(number & 7, number), number & 7 < 4 && number < 16),
        _ => {
            if let Some(pin) = IntxPin::new(dice.u8(..34), dice.u8(..5)) {
                platform.set_intx(pin, active);
            }
        }
    }
}

fn take_interrupts(platform: &mut Platform, dice: &mut Rng) {
    if platform.requests_interrupt() || dice.u8(..16) == 0 {
        let is_spurious = !platform.requests_interrupt();
        let acknowledged = platform.acknowledge();
        let line = acknowledged.line.unwrap_or(7);
        assert_eq!(line & 7, acknowledged.vector & 7);
        assert!(!is_spurious || acknowledged.line.is_none());
    }
    let vector = take_messages(platform);
    if let Some(vector) = vector.filter(|_| dice.bool()) {
        platform.interrupt_taken(vector);
        platform.end_of_interrupt(vector);
    }
    let awaited = platform.awaited_vectors();
    assert!(!platform.awaits_interrupt() || awaited != [0; 4], "what is waited for has a vector");
    if let Some(vector) = (0..=255u8).find(|vector| awaited[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0) {
        platform.interrupt_taken(vector);
    } else {
        let before = platform.clone();
        platform.interrupt_taken(dice.u8(..));
        assert!(*platform == before, "a tick that nobody waits for");
    }
    if dice.bool() {
        platform.end_of_interrupt(dice.u8(..));
    }
    let _ = platform.external_destination();
}

/// Takes all messages; returns the vector of the last.
fn take_messages(platform: &mut Platform) -> Option<u8> {
    let mut last = None;
    for _ in 0..48 {
        let is_there = platform.has_message();
        let message = platform.take_message();
        assert_eq!(message.is_some(), is_there);
        if let Some(Delivery::Fixed(vector) | Delivery::LowestPriority(vector)) =
            message.map(|message| message.delivery)
        {
            last = Some(vector);
        }
    }
    assert!(!platform.has_message(), "more than one for each pin");
    last
}

fn configure(platform: &mut Platform, now: Moment, dice: &mut Rng) {
    let event = dice.choice([PowerEvent::PowerButton, PowerEvent::SleepButton, PowerEvent::GlobalLock]);
    match (dice.u8(..5), event) {
        (0, _) => platform.set_missed_ticks(MissedTicks::from_param(dice.u64(..6)).unwrap_or_default()),
        (1, _) => assert!(platform.set_acpi_location(dice.u64(..2))),
        (2, _) => platform.set_clock_offset(value(dice) as i64, now),
        (3, _) if dice.u8(..8) == 0 => platform.reset(now),
        (_, Some(event)) => platform.note_power_event(event),
        _ => {}
    }
}

fn check_deadline(platform: &Platform, now: Moment) {
    let deadline = platform.next_deadline(now);
    assert!(deadline > now.time || deadline == Time::NEVER, "a deadline that has passed");
}

/// Makes a structure of random bytes, of which half of the time most are 0.
fn anything<T: FromBytes>(dice: &mut Rng) -> T {
    let sparse = dice.bool();
    let bytes: Vec<u8> =
        (0..size_of::<T>()).map(|_| if sparse && dice.u8(..8) != 0 { 0 } else { dice.u8(..) }).collect();
    T::read_from_bytes(&bytes).unwrap_or_else(|_| unreachable!("as many bytes as it has"))
}

fn load_anything(platform: &mut Platform, now: Moment, dice: &mut Rng) {
    let (pic, links): (HvmHwVpic, HvmHwPciLink) = (anything(dice), anything(dice));
    let instance = dice.u16(..3);
    assert_eq!(platform.load(PlatformRecord::Pic(instance, &pic), now).is_ok(), instance < 2);
    let is_sound = links.route.iter().all(|line| *line < 16);
    assert_eq!(platform.load(PlatformRecord::Links(&links), now).is_ok(), is_sound);
    let loaded = match dice.u8(..7) {
        0 => platform.load(PlatformRecord::IoApic(&anything::<HvmHwVioapic>(dice)), now),
        1 => platform.load(PlatformRecord::PciLines(&anything::<HvmHwPciIrqs>(dice)), now),
        2 => platform.load(PlatformRecord::IsaLines(&anything::<HvmHwIsaIrqs>(dice)), now),
        3 => platform.load(PlatformRecord::Timer(&anything::<HvmHwPit>(dice)), now),
        4 => platform.load(PlatformRecord::Clock(&anything::<HvmHwRtc>(dice)), now),
        5 => platform.load(PlatformRecord::Hpet(&anything::<HvmHwHpet>(dice)), now),
        _ => platform.load(PlatformRecord::Power(&anything::<HvmHwPmtimer>(dice)), now),
    };
    assert!(loaded.is_ok());
    platform.advance(now);
    check_deadline(platform, now);
}

/// Saves it, and what is restored from that; both are the same.
fn check_saved(platform: &mut Platform, now: Moment) {
    platform.advance(now);
    let _ = take_messages(platform);
    let records = platform.save(now);
    check_records(&records);
    let mut restored = Platform::new(now);
    for record in records.each() {
        assert!(restored.load(record, now).is_ok());
    }
    assert_eq!(restored.save(now), records, "what was restored is something else");
    assert_eq!(take_messages(&mut restored), None, "a restored line interrupts twice");
}

/// Checks that each controller sees the lines that devices assert.
fn check_records(records: &PlatformRecords) {
    let [low, high] = records.pci_lines.lines;
    let pins = (0..128).filter(|pin| if *pin < 64 { low >> pin & 1 != 0 } else { high >> (pin - 64) & 1 != 0 });
    let links = pins.map(|pin| (pin / 4 + pin % 4) % 4).fold(0u8, |links, link| links | 1 << link);
    let routed = (0..4).filter(|link| links >> link & 1 != 0).map(|link| records.links.route[link]);
    let lines = routed.filter(|line| *line != 0).fold(records.isa_lines.lines, |lines, line| lines | 1 << line);
    assert_eq!(records.isa_lines.lines >> 16, 0);
    for (chip, (lines, cascade)) in records.pics.iter().zip([(lines & 0xff, 4), (lines >> 8, 0)]) {
        let levels = chip.elcr & !cascade;
        assert_eq!(chip.irr & levels, lines as u8 & levels, "a level that is not its line");
        assert_eq!(chip.irq_base & 7, 0, "a vector of another line");
    }
}

/// Deasserts everything; nothing is left.
fn release_lines(platform: &mut Platform, now: Moment) {
    for number in 0..128 {
        if let Some(pin) = IntxPin::new(number / 4, number % 4) {
            platform.set_intx(pin, false);
        }
    }
    for line in 0..16 {
        assert!(platform.set_isa_line(line, false));
    }
    platform.write_hpet(0x10, 8, 0, now);
    for base in [0x1f40, 0xb000] {
        let _ = platform.write(base + 2, IoSize::Word, 0, now);
    }
    let records = platform.save(now);
    assert_eq!((records.isa_lines.lines, records.pci_lines.lines), (0, [0, 0]), "a line that nobody asserts");
}
