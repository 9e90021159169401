//! The machine as the core sees it: the implementation of `xenolith_hal`.

pub mod devices;

use core::fmt;
use core::sync::atomic::Ordering;

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use xenolith_hal::{
    CpuId, CpuidRegisters, FrameSource, HostEvents, IoSize, LogLevel, Machine, Mfn, PageOrder, PageWords, PowerAction,
    Time, TimeBase, Unconfined, WallClock,
};

use crate::bare::base::{clock, cpu_area};
use crate::bare::console;
use crate::bare::crash::{self, reboot};
use crate::bare::interrupts::calls::{self, Work};
use crate::bare::interrupts::{idle, timer};
use crate::bare::memory::{heap, ram};
use crate::bare::platform::{amd_vi, keys, pci_config, power, spare_cpu, wall_clock};
use crate::bare::svm;
use crate::guest::svm::hypercall_page;

/// The x86-64 machine that the hypervisor runs on. There is one; its parts are found without going through this.
#[derive(Debug, Clone, Copy, Default)]
pub struct X86Machine;

/// How many ports a UART has.
const UART_PORTS: u16 = 8;

/// The address port of PCI configuration.
const PCI_ADDRESS: core::ops::RangeInclusive<u16> = 0xcf8..=0xcfb;

/// Returns true for ports whose devices are the hypervisor's own, whatever dom0 says: the 8259s, the interval timer's
/// channels and the console.
fn is_own_port(port: u16) -> bool {
    matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x40..=0x43)
        || console::ports().iter().any(|serial| port.wrapping_sub(serial.base()) < UART_PORTS)
}

/// Writes back and invalidates this CPU's caches; the argument says nothing.
fn write_back_own_caches(_: u64) {
    // SAFETY: memory holds afterwards what the caches held.
    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
}

impl Machine for X86Machine {
    type Vcpu = svm::Vcpu;
    type Space = svm::Space;

    fn cpu_count(&self) -> usize {
        cpu_area::count()
    }

    fn runs_guests(&self, cpu: CpuId) -> bool {
        (cpu != CpuId(0) || !spare_cpu::is_kept()) && svm::has_started(cpu)
    }

    fn this_cpu(&self) -> CpuId {
        cpu_area::this_cpu()
    }

    fn end_for_stuck_cpu(&self, cpu: CpuId) {
        crash::stuck(cpu)
    }

    fn kick(&self, cpu: CpuId) {
        calls::kick(cpu);
    }

    fn take_events(&self) -> HostEvents {
        timer::check();
        HostEvents::from_bits_truncate(cpu_area::this().events.swap(0, Ordering::Acquire))
    }

    fn idle(&self) {
        idle::wait();
    }

    fn write_back_caches(&self) {
        write_back_own_caches(0);
        calls::on_all_others(Work::Call(write_back_own_caches, 0));
    }

    fn open_interrupt_window(&self) {
        idle::open_interrupt_window();
    }

    fn has_events(&self) -> bool {
        idle::open_interrupt_window();
        idle::has_events()
    }

    fn now(&self) -> Time {
        Time(clock::nanoseconds())
    }

    fn time_base(&self) -> TimeBase {
        let tsc = clock::ticks();
        let tsc_khz = u32::try_from(clock::khz()).unwrap_or(u32::MAX);
        TimeBase { tsc, time: Time(clock::nanoseconds_at(tsc)), tsc_khz }
    }

    fn wall_clock_at_boot(&self) -> WallClock {
        let (seconds, nanoseconds) = wall_clock::at_boot();
        WallClock { seconds, nanoseconds }
    }

    #[inline]
    fn set_timer(&self, deadline: Time) {
        timer::set(deadline);
    }

    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        ram::page(mfn)
    }

    fn frame_limit(&self) -> Mfn {
        ram::limit()
    }

    fn new_space(&self, frames: &mut dyn FrameSource) -> Option<Self::Space> {
        svm::new_space(frames)
    }

    fn confine_devices(&self, space: &Self::Space, frames: &mut dyn FrameSource) -> Result<(), Unconfined> {
        devices::confine(space, frames)
    }

    fn flush_devices(&self) -> bool {
        amd_vi::forget()
    }

    fn heap_is_low(&self) -> bool {
        heap::is_low()
    }

    fn grow_heap(&self, block: Mfn, order: PageOrder) {
        // SAFETY: the core has allocated the block and gives it away with this call, as it gives frames for page tables.
        unsafe { heap::grow(block, order) };
    }

    fn new_vcpu(&self, frames: &mut dyn FrameSource) -> Option<Self::Vcpu> {
        svm::new_vcpu(frames)
    }

    fn write_hypercall_page(&self, page: &PageWords) {
        hypercall_page::write(page);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        let out = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        CpuidRegisters { eax: out.eax, ebx: out.ebx, ecx: out.ecx, edx: out.edx }
    }

    fn console_write(&self, bytes: &[u8]) {
        console::write_raw(bytes);
    }

    fn console_read(&self, into: &mut [u8]) -> usize {
        console::input::take(into)
    }

    fn log(&self, level: LogLevel, guest: bool, line: fmt::Arguments<'_>) {
        if guest {
            console::log_for_guest(level, line);
        } else {
            console::log(level, line);
        }
    }

    fn read_console_ring(&self, index: u64, into: &mut [u8]) -> (usize, u64) {
        console::copy_from_ring(index, into)
    }

    fn press_key(&self, key: u8) {
        keys::press_own(key);
    }

    #[inline]
    fn port_read(&self, port: u16, size: IoSize) -> u32 {
        if is_own_port(port) {
            return size.mask();
        }
        // SAFETY: ports reach devices and not memory of ours; the core lets dom0 alone use them, whose devices they
        // are.
        unsafe {
            match size {
                IoSize::Byte => PortReadOnly::<u8>::new(port).read().into(),
                IoSize::Word => PortReadOnly::<u16>::new(port).read().into(),
                IoSize::Dword => PortReadOnly::<u32>::new(port).read(),
            }
        }
    }

    fn port_write(&self, port: u16, size: IoSize, value: u32) {
        if is_own_port(port) {
            return;
        }
        // SAFETY: as in `port_read`. That a device told to do so may write to memory is what the IOMMU is for; without
        // one, dom0 is trusted with its devices.
        unsafe {
            match size {
                IoSize::Byte => PortWriteOnly::<u8>::new(port).write(value as u8),
                IoSize::Word => PortWriteOnly::<u16>::new(port).write(value as u16),
                IoSize::Dword => PortWriteOnly::<u32>::new(port).write(value),
            }
        }
    }

    fn open_ports(&self, wanted: &dyn Fn(u16) -> bool) {
        let shared = |port| PCI_ADDRESS.contains(&port) && !pci_config::leaves_ports();
        svm::open_ports(|port| wanted(port) && !is_own_port(port) && !shared(port));
    }

    fn power(&self, action: PowerAction) {
        match action {
            PowerAction::Halt => {
                console::drain();
                reboot::leave_emulator(0);
                crash::halt()
            }
            PowerAction::Reboot { delay_ms } => {
                console::drain();
                reboot::leave_emulator(0);
                clock::wait_microseconds(u64::from(delay_ms).saturating_mul(1000));
                reboot::now()
            }
            PowerAction::PowerOff => power::off(),
        }
    }
}
