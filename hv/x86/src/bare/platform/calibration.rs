//! Calibration of the time stamp counter against a clock of known rate.
//!
//! **Source:** the HPET specification 1.0a, 2.3; ACPI 6.5, 4.8.2.1 (PM timer).

use x86_64::instructions::port::PortReadOnly;
use xenolith_bootinfo::acpi::AcpiTables;

use crate::bare::base::clock;
use crate::bare::memory::device_registers::DeviceRegisters;

const PM_TIMER_HZ: u64 = 3_579_545;
const PM_TIMER_MASK: u64 = 0x00ff_ffff;
const FEMTOSECONDS_PER_SECOND: u64 = 1_000_000_000_000_000;
const HPET_CAPABILITIES: u64 = 0x00;
const HPET_CONFIGURATION: u64 = 0x10;
const HPET_COUNTER: u64 = 0xf0;
/// The slowest counter that the specification allows, in femtoseconds.
const HPET_LONGEST_PERIOD: u64 = 100_000_000;
/// How long one measurement takes, as a part of a second.
const PART_OF_SECOND: u64 = 50;
/// How often the two counters are read for one sample.
const ATTEMPTS: usize = 8;
/// How many are made; the one in the middle counts.
const MEASUREMENTS: usize = 3;

/// A counter of known speed.
enum Reference {
    Hpet(DeviceRegisters, u64),
    PmTimer(u16),
}

impl Reference {
    /// Returns the best reference, started.
    fn find(tables: &AcpiTables) -> Option<Self> {
        if let Some(hpet) = tables.hpet.and_then(Self::hpet) {
            return Some(hpet);
        }
        let port = tables.fixed.and_then(|fixed| fixed.pm_timer)?;
        Some(Self::PmTimer(port))
    }

    fn hpet(address: u64) -> Option<Self> {
        // SAFETY: it is where the firmware says the HPET is.
        let registers = unsafe { DeviceRegisters::map(address, 0x100) }?;
        let period = registers.read_wide(HPET_CAPABILITIES) >> 32;
        if period == 0 || period > HPET_LONGEST_PERIOD {
            return None;
        }
        registers.write(HPET_CONFIGURATION, registers.read(HPET_CONFIGURATION) | 1);
        Some(Self::Hpet(registers, FEMTOSECONDS_PER_SECOND / period))
    }

    fn hz(&self) -> u64 {
        match self {
            Self::Hpet(_, hz) => *hz,
            Self::PmTimer(_) => PM_TIMER_HZ,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Hpet(..) => "HPET",
            Self::PmTimer(_) => "PM timer",
        }
    }

    fn read(&self) -> u64 {
        match self {
            // The low half is enough: it wraps after minutes.
            Self::Hpet(registers, _) => registers.read(HPET_COUNTER).into(),
            // SAFETY: reading the timer has no effect.
            Self::PmTimer(port) => u64::from(unsafe { PortReadOnly::<u32>::new(*port).read() }) & PM_TIMER_MASK,
        }
    }

    /// Counts from `earlier` to `later`, over one wrap at most.
    fn elapsed(&self, earlier: u64, later: u64) -> u64 {
        let mask = match self {
            Self::Hpet(..) => u64::from(u32::MAX),
            Self::PmTimer(_) => PM_TIMER_MASK,
        };
        later.wrapping_sub(earlier) & mask
    }

    /// Returns the reference and the time stamp counter, read together: the closest of a few attempts, since anything
    /// may come between the two instructions.
    fn sample(&self) -> (u64, u64) {
        let attempt = || {
            let before = clock::ticks();
            let counts = self.read();
            let apart = clock::ticks().saturating_sub(before);
            (apart, counts, before.saturating_add(apart / 2))
        };
        let best = (0..ATTEMPTS).map(|_| attempt()).min_by_key(|(apart, ..)| *apart);
        best.map_or((0, 0), |(_, counts, ticks)| (counts, ticks))
    }

    /// Returns the counter's speed in kHz by one measurement; none when the reference stands still.
    fn measure(&self) -> Option<u64> {
        let wanted = self.hz() / PART_OF_SECOND;
        let (start, first) = self.sample();
        for _ in 0..50_000_000_u32 {
            if self.elapsed(start, self.read()) >= wanted {
                let (end, last) = self.sample();
                let ticks = u128::from(last.saturating_sub(first));
                let counts = u128::from(self.elapsed(start, end));
                let khz = ticks.checked_mul(self.hz().into())?.checked_div(counts * 1000)?;
                return u64::try_from(khz).ok().filter(|khz| *khz > 0);
            }
        }
        None
    }
}

/// Returns the rate that the CPU itself reports, in kHz: under Xen, which measured it, or by a CPU that knows its
/// crystal.
///
/// **Source:** `arch-x86/cpuid.h` (leaf 3, sub-leaf 0); Intel SDM volume 2, CPUID leaf 0x15.
fn told_khz() -> Option<u64> {
    const XEN: u32 = 0x4000_0000;
    let hypervisor = core::arch::x86_64::__cpuid(XEN);
    let name = [hypervisor.ebx, hypervisor.ecx, hypervisor.edx].map(u32::to_le_bytes);
    if name.as_flattened() == b"XenVMMXenVMM" && hypervisor.eax >= XEN + 3 {
        return Some(core::arch::x86_64::__cpuid_count(XEN + 3, 0).ecx.into()).filter(|khz| *khz > 0);
    }
    if core::arch::x86_64::__cpuid(0).eax < 0x15 {
        return None;
    }
    let crystal = core::arch::x86_64::__cpuid(0x15);
    let hz = u64::from(crystal.ecx).checked_mul(crystal.ebx.into())?.checked_div(crystal.eax.into())?;
    Some(hz / 1000).filter(|khz| *khz > 0)
}

/// Calibrates the time stamp counter and starts the clock. Returns false if there is no reference.
pub fn run(tables: &AcpiTables) -> bool {
    let Some(khz) = Reference::find(tables).and_then(|reference| measured_khz(&reference)).or_else(told_khz) else {
        return false;
    };
    clock::set_khz(khz);
    crate::print!("Detected {}.{:03} MHz processor.", khz / 1000, khz % 1000);
    true
}

fn measured_khz(reference: &Reference) -> Option<u64> {
    let mut results = [0; MEASUREMENTS];
    for result in &mut results {
        *result = reference.measure().unwrap_or(0);
    }
    results.sort_unstable();
    let [_, middle, _] = results;
    let khz = reference.hz() / 1000;
    crate::log!(Info, "Platform timer is {}.{:03}MHz {}", khz / 1000, khz % 1000, reference.name());
    Some(middle).filter(|middle| *middle > 0)
}
