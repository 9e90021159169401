//! AMD's IOMMU (AMD-Vi): DMA remapping and faults.
//!
//! All devices are the control domain's, so all entries of the one device table point to the same page tables, which
//! follow the domain's p2m. Unmapped pages are flushed from the IOMMUs' TLBs before their frames are used again, many
//! pages at a time ([`forget`]).

mod unit;

use alloc::alloc::{Layout, alloc_zeroed};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_bootinfo::acpi::Iommu;
use xenolith_hal::{IoSize, LogLevel, Mpa, PAGE_SIZE, PageWords, PciFunction};
use xenolith_sync::{SpinLock, rank};

pub use self::unit::REGISTERS_LENGTH;
use self::unit::{SharedPage, Unit, store_device_entry};
use crate::bare::base::{clock, cpu_area};
use crate::bare::console;
use crate::bare::interrupts::vector;
use crate::bare::platform::pci_config;
use crate::guest::amd_vi::tables::TAKEN_AWAY;
use crate::guest::amd_vi::words::{Event, device_entry};
use crate::plain::layout;

/// One entry of 32 bytes for each function that a segment can have.
const DEVICE_TABLE_BYTES: usize = 32 << 16;
/// The tag of the one domain that has devices.
const DOMAIN: u16 = 1;
/// How many events are logged each time.
const SHOWN: usize = 8;

const CAPABILITY_POINTER: u16 = 0x34;
const CAPABILITY_MSI: u32 = 5;
const MSI_64_BIT: u32 = 1 << 23;
const MSI_ENABLE: u32 = 1;
const MESSAGES: u32 = 0xfee0_0000;

static UNITS: SpinLock<Vec<Unit>, rank::Interrupts> = SpinLock::new(Vec::new());
/// How much of [`TAKEN_AWAY`] has been flushed from all IOMMUs.
static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

/// Allocates zeroed words from the heap, page-aligned, never freed.
fn own_words(bytes: usize) -> Option<(&'static [AtomicU64], Mpa)> {
    let layout = Layout::from_size_align(bytes, PAGE_SIZE).ok()?;
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    let at = Mpa(layout::machine_address(start as u64)?);
    // SAFETY: the allocation is this long, aligned, zeroed and never given back; nobody else has it, and all access is
    // by atomics, the IOMMU's aside.
    Some((unsafe { core::slice::from_raw_parts(start.cast(), bytes / 8) }, at))
}

fn own_page() -> Option<SharedPage> {
    let (words, at) = own_words(PAGE_SIZE)?;
    // SAFETY: a page of words is laid out and aligned as `PageWords` is, and lives for ever.
    let page = unsafe { &*words.as_ptr().cast::<PageWords>() };
    Some(SharedPage { page, at })
}

/// Finds the IOMMUs that the IVRS table describes, and disables them.
#[expect(clippy::disallowed_methods, reason = "only at boot")]
pub fn find(described: &[Iommu]) {
    let mut found = Vec::new();
    for iommu in described {
        let unit = own_page().zip(own_page()).zip(own_page());
        match unit.and_then(|((commands, events), done)| Unit::new(*iommu, [commands, events, done])) {
            Some(unit) => {
                crate::log!(Info, "AMD-Vi: IOMMU {:#06x} at {:#x}", iommu.bdf, iommu.registers);
                found.push(unit);
            }
            None => crate::log!(Error, "AMD-Vi: the IOMMU at {:#x} cannot be used", iommu.registers),
        }
    }
    *UNITS.lock() = found;
}

/// Returns whether there is a usable IOMMU.
#[must_use]
pub fn is_there() -> bool {
    !UNITS.lock().is_empty()
}

/// Makes every access of every device go through the page tables at `root` from now on. Returns false if there is no
/// IOMMU, or no memory for the device table.
#[expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]
pub fn confine(root: Mpa) -> bool {
    if UNITS.lock().is_empty() {
        return false;
    }
    let Some((table, at)) = own_words(DEVICE_TABLE_BYTES) else { return false };
    for bdf in 0..=u16::MAX {
        store_device_entry(table, bdf, device_entry(root, DOMAIN));
    }
    let described: Vec<Iommu> = UNITS.lock().iter().map(|unit| unit.described).collect();
    described.iter().for_each(listen);
    for unit in UNITS.lock().iter_mut() {
        unit.enable(table, at);
    }
    crate::log!(Info, "AMD-Vi: devices reach dom0's memory alone");
    true
}

/// Enables an IOMMU's event interrupt, at the boot CPU.
fn listen(iommu: &Iommu) {
    let function = PciFunction { segment: iommu.segment, bdf: iommu.bdf };
    let read = |register| pci_config::read(function, register, IoSize::Dword);
    let mut register = (read(CAPABILITY_POINTER) & 0xfc) as u16;
    for _ in 0..48 {
        let header = read(register);
        if register < 0x40 || header & 0xff == CAPABILITY_MSI {
            break;
        }
        register = (header >> 8 & 0xfc) as u16;
    }
    let header = read(register);
    let target = cpu_area::of(xenolith_hal::CpuId(0)).map_or(0, |area| area.apic_id.load(Ordering::Relaxed));
    if register < 0x40 || header & 0xff != CAPABILITY_MSI || target > 0xfe {
        crate::log!(Warning, "AMD-Vi: the IOMMU cannot interrupt: what it refuses is not shown");
        return;
    }
    let write = |offset: u16, size, value| pci_config::write(function, register.saturating_add(offset), size, value);
    write(4, IoSize::Dword, MESSAGES | target << 12);
    let data = if header & MSI_64_BIT != 0 {
        write(8, IoSize::Dword, 0);
        12
    } else {
        8
    };
    write(data, IoSize::Word, vector::IOMMU.into());
    write(2, IoSize::Word, header >> 16 & !0x70 | MSI_ENABLE);
}

/// Flushes everything unmapped before the call from all IOMMUs' TLBs, and waits for completion; false if an IOMMU does
/// not answer. Does nothing if there was nothing.
pub fn forget() -> bool {
    let taken = TAKEN_AWAY.load(Ordering::SeqCst);
    if FORGOTTEN.load(Ordering::SeqCst) >= taken {
        return true;
    }
    let mut units = UNITS.lock();
    if FORGOTTEN.load(Ordering::SeqCst) >= taken {
        return true;
    }
    // Each is asked, whatever the one before said.
    let all_answered = units.iter_mut().filter_map(|unit| (!unit.forget(DOMAIN)).then_some(())).count() == 0;
    if all_answered {
        FORGOTTEN.store(taken, Ordering::SeqCst);
    }
    all_answered
}

/// Logs the IOMMUs' events, and silences devices that flood them. Called by the interrupt handler.
pub fn report() {
    let mut shown = 0;
    let now = clock::nanoseconds();
    for unit in UNITS.lock().iter_mut() {
        unit.drain_events(now, |event, silenced| {
            shown += 1;
            if shown <= SHOWN || silenced {
                show(event);
            }
            if silenced {
                let line = "AMD-Vi: that is too much of one device, which is not reported until the machine restarts";
                console::log_for_guest(LogLevel::Warning, format_args!("{line}"));
            }
        });
    }
    if shown > SHOWN {
        console::log_for_guest(LogLevel::Warning, format_args!("AMD-Vi: {} more", shown - SHOWN));
    }
}

fn show(event: Event) {
    let name = |bdf: u16| (bdf >> 8, bdf >> 3 & 0x1f, bdf & 7);
    match event {
        Event::PageFault { bdf, address, write } => {
            let (bus, device, function) = name(bdf);
            let what = if write { "write" } else { "read" };
            let line = format_args!("AMD-Vi: {bus:02x}:{device:02x}.{function} may not {what} {address:#x}");
            console::log_for_guest(LogLevel::Warning, line);
        }
        Event::Other { code, bdf, address } => {
            let (bus, device, function) = name(bdf);
            let line = format_args!("AMD-Vi: event {code:#x} of {bus:02x}:{device:02x}.{function} at {address:#x}");
            console::log_for_guest(LogLevel::Warning, line);
        }
    }
}
