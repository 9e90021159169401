//! The fake machine.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenolith_hal::{
    CpuId, CpuidRegisters, FrameSource, HostEvents, IoSize, LogLevel, Machine, Mfn, PageWords, PowerAction, Time,
    TimeBase, WallClock,
};

use crate::devices::FakeDevices;
use crate::{Disturbance, FakeSpace, FakeVcpu};

/// The rate of every CPU's time stamp counter: one tick per nanosecond.
const TSC_KHZ: u32 = 1_000_000;

/// What one CPU has.
#[derive(Default)]
struct Cpu {
    events: AtomicU32,
    kicks: AtomicU64,
    timer: AtomicU64,
}

/// A machine of ordinary memory. Everything that the core asked of it can be read back.
pub struct FakeMachine {
    pages: Vec<PageWords>,
    cpus: Vec<Cpu>,
    /// CPUs below this number run no guests.
    spared: u32,
    this_cpu: AtomicU32,
    now: AtomicU64,
    /// Nanoseconds that pass with each read of the clock.
    pace_ns: AtomicU64,
    /// How often the caches were written back.
    cache_flushes: AtomicU64,
    /// No IOMMU answers.
    deaf_iommu: AtomicBool,
    /// CPUID says that time stamp counters never stop.
    steady_tsc: AtomicBool,
    console: Mutex<Console>,
    power: Mutex<Option<PowerAction>>,
    pub(crate) devices: FakeDevices,
    /// Changes guest memory while the core reads it.
    pub disturbance: Disturbance,
}

#[derive(Default)]
struct Console {
    written: Vec<u8>,
    /// The length of each part that was written.
    parts: Vec<usize>,
    log: Vec<String>,
    pressed: Vec<u8>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeMachine {
    /// Creates a machine with this many CPUs and pages of RAM, from frame 0 on.
    #[must_use]
    pub fn new(cpus: usize, pages: usize) -> Self {
        Self {
            pages: std::iter::repeat_with(PageWords::new).take(pages).collect(),
            cpus: std::iter::repeat_with(Cpu::default).take(cpus).collect(),
            spared: 0,
            this_cpu: AtomicU32::new(0),
            now: AtomicU64::new(1),
            pace_ns: AtomicU64::new(0),
            cache_flushes: AtomicU64::new(0),
            deaf_iommu: AtomicBool::new(false),
            steady_tsc: AtomicBool::new(false),
            console: Mutex::default(),
            power: Mutex::new(None),
            devices: FakeDevices::default(),
            disturbance: Disturbance::default(),
        }
    }

    /// Lets CPUID say that time stamp counters run at one rate and never stop.
    pub fn set_steady_tsc(&self) {
        self.steady_tsc.store(true, Ordering::SeqCst);
    }

    /// Keeps the first `cpus` CPUs free of guests.
    #[must_use]
    pub fn sparing(mut self, cpus: u32) -> Self {
        self.spared = cpus;
        self
    }

    /// Makes `cpu` the current CPU from now on.
    pub fn go_to(&self, cpu: CpuId) {
        self.this_cpu.store(cpu.0, Ordering::SeqCst);
    }

    /// Makes the IOMMUs answer from now on, or not.
    pub fn let_iommus_answer(&self, answer: bool) {
        self.deaf_iommu.store(!answer, Ordering::SeqCst);
    }

    /// Advances the time.
    pub fn pass_ns(&self, ns: u64) {
        self.now.fetch_add(ns, Ordering::SeqCst);
    }

    /// Lets time pass with each read of the clock, for work that is bounded by time. By default none passes.
    pub fn set_pace(&self, ns_a_look: u64) {
        self.pace_ns.store(ns_a_look, Ordering::SeqCst);
    }

    /// Raises events at a CPU.
    pub fn raise(&self, cpu: CpuId, events: HostEvents) {
        if let Some(cpu) = self.cpus.get(cpu.index()) {
            cpu.events.fetch_or(events.bits(), Ordering::SeqCst);
        }
    }

    /// Returns how often a CPU was kicked.
    #[must_use]
    pub fn kicks(&self, cpu: CpuId) -> u64 {
        self.cpus.get(cpu.index()).map_or(0, |cpu| cpu.kicks.load(Ordering::SeqCst))
    }

    /// Returns the deadline last set at a CPU's timer.
    #[must_use]
    pub fn timer(&self, cpu: CpuId) -> Time {
        Time(self.cpus.get(cpu.index()).map_or(u64::MAX, |cpu| cpu.timer.load(Ordering::SeqCst)))
    }

    /// Returns how often the caches were written back.
    #[must_use]
    pub fn cache_flushes(&self) -> u64 {
        self.cache_flushes.load(Ordering::SeqCst)
    }

    /// Returns what guests wrote to the console.
    #[must_use]
    pub fn console(&self) -> Vec<u8> {
        locked(&self.console).written.clone()
    }

    /// Returns how many bytes were written to the console at a time.
    #[must_use]
    pub fn console_parts(&self) -> Vec<usize> {
        locked(&self.console).parts.clone()
    }

    /// Returns the lines of the log.
    #[must_use]
    pub fn logged(&self) -> Vec<String> {
        locked(&self.console).log.clone()
    }

    /// Returns the debug keys that were pressed.
    #[must_use]
    pub fn pressed(&self) -> Vec<u8> {
        locked(&self.console).pressed.clone()
    }

    /// Clears console and log, which grow otherwise.
    pub fn forget_output(&self) {
        let mut console = locked(&self.console);
        console.written.clear();
        console.parts.clear();
        console.log.clear();
        console.pressed.clear();
    }

    /// Returns how the machine was ended, if it was.
    #[must_use]
    pub fn ended(&self) -> Option<PowerAction> {
        *locked(&self.power)
    }

    fn cpu(&self) -> Option<&Cpu> {
        self.cpus.get(self.this_cpu().index())
    }
}

impl Machine for FakeMachine {
    type Vcpu = FakeVcpu;
    type Space = FakeSpace;

    fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    fn runs_guests(&self, cpu: CpuId) -> bool {
        cpu.0 >= self.spared
    }

    fn this_cpu(&self) -> CpuId {
        CpuId(self.this_cpu.load(Ordering::SeqCst))
    }

    fn kick(&self, cpu: CpuId) {
        self.raise(cpu, HostEvents::KICK);
        if let Some(cpu) = self.cpus.get(cpu.index()) {
            cpu.kicks.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn take_events(&self) -> HostEvents {
        HostEvents::from_bits_truncate(self.cpu().map_or(0, |cpu| cpu.events.swap(0, Ordering::SeqCst)))
    }

    fn idle(&self) {}

    fn flush_devices(&self) -> bool {
        !self.deaf_iommu.load(Ordering::SeqCst)
    }

    fn open_interrupt_window(&self) {}

    fn has_events(&self) -> bool {
        self.cpu().is_some_and(|cpu| cpu.events.load(Ordering::SeqCst) != 0)
    }

    fn now(&self) -> Time {
        Time(self.now.fetch_add(self.pace_ns.load(Ordering::SeqCst), Ordering::SeqCst))
    }

    fn time_base(&self) -> TimeBase {
        let time = self.now();
        TimeBase { tsc: time.0, time, tsc_khz: TSC_KHZ }
    }

    fn wall_clock_at_boot(&self) -> WallClock {
        WallClock { seconds: 1_700_000_000, nanoseconds: 0 }
    }

    fn set_timer(&self, deadline: Time) {
        if let Some(cpu) = self.cpu() {
            cpu.timer.store(deadline.0, Ordering::SeqCst);
        }
    }

    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        let page = self.pages.get(usize::try_from(mfn.0).ok()?)?;
        self.disturbance.look(mfn, page);
        Some(page)
    }

    fn frame_limit(&self) -> Mfn {
        Mfn(self.pages.len() as u64)
    }

    fn new_space(&self, _frames: &mut dyn FrameSource) -> Option<FakeSpace> {
        Some(FakeSpace::default())
    }

    fn new_vcpu(&self, frames: &mut dyn FrameSource) -> Option<FakeVcpu> {
        let first = frames.take()?;
        let Some(second) = frames.take() else {
            frames.give_back(first);
            return None;
        };
        Some(FakeVcpu::with_frames([first, second]))
    }

    fn write_hypercall_page(&self, page: &PageWords) {
        // No processor runs it, so it only has to be told from a page of zeros.
        for (number, stub) in (0_u64..128).zip((0..).step_by(32)) {
            let _ = page.store_u64(stub, number + 1);
        }
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        let mut found = crate::cpuid::read(leaf, subleaf);
        if leaf == 0x8000_0007 && self.steady_tsc.load(Ordering::SeqCst) {
            found.edx |= 1 << 8;
        }
        found
    }

    fn write_back_caches(&self) {
        self.cache_flushes.fetch_add(1, Ordering::SeqCst);
    }

    fn console_write(&self, bytes: &[u8]) {
        let mut console = locked(&self.console);
        console.written.extend_from_slice(bytes);
        console.parts.push(bytes.len());
    }

    /// Reads nothing: nothing is typed on this console.
    fn console_read(&self, _into: &mut [u8]) -> usize {
        0
    }

    fn log(&self, _level: LogLevel, _guest: bool, line: fmt::Arguments<'_>) {
        locked(&self.console).log.push(line.to_string());
    }

    fn read_console_ring(&self, index: u64, into: &mut [u8]) -> (usize, u64) {
        let console = locked(&self.console);
        let from = usize::try_from(index).unwrap_or(usize::MAX).min(console.written.len());
        let rest = console.written.get(from..).unwrap_or_default();
        let count = into.len().min(rest.len());
        into.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        (count, (from + count) as u64)
    }

    fn press_key(&self, key: u8) {
        locked(&self.console).pressed.push(key);
    }

    fn port_read(&self, _port: u16, size: IoSize) -> u32 {
        // What a bus without a device gives.
        size.mask()
    }

    fn port_write(&self, _port: u16, _size: IoSize, _value: u32) {}

    fn power(&self, action: PowerAction) {
        *locked(&self.power) = Some(action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_to_a_cpu_is_taken_once_and_by_that_cpu() {
        let machine = FakeMachine::new(2, 1);
        machine.kick(CpuId(1));
        assert_eq!(machine.take_events(), HostEvents::empty());
        machine.go_to(CpuId(1));
        assert_eq!(machine.take_events(), HostEvents::KICK);
        assert_eq!(machine.take_events(), HostEvents::empty());
        assert_eq!(machine.kicks(CpuId(1)), 1);
    }

    #[test]
    fn there_is_no_page_past_the_last() {
        let machine = FakeMachine::new(1, 2);
        assert!(machine.page(Mfn(1)).is_some());
        assert!(machine.page(Mfn(2)).is_none());
    }

    #[test]
    fn the_console_ring_is_read_from_any_place_in_it() {
        let machine = FakeMachine::new(1, 1);
        machine.console_write(b"hello");
        let mut into = [0; 3];
        assert_eq!(machine.read_console_ring(1, &mut into), (3, 4));
        assert_eq!(&into, b"ell");
        assert_eq!(machine.read_console_ring(99, &mut into), (0, 5));
    }

    #[test]
    fn time_stands_still_until_it_is_moved() {
        let machine = FakeMachine::new(1, 1);
        let before = machine.now();
        assert_eq!(machine.now(), before);
        machine.pass_ns(10);
        assert_eq!(machine.now().since_ns(before), 10);
    }
}
