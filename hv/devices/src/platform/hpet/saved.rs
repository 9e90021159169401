//! The HPET as a record of a saved domain. **Source:** `arch-x86/hvm/save.h`, `hvm_hw_hpet`.

use xen_abi::hvm_save::HvmHwHpet;
use xenolith_hal::Time;

use super::timer::{LEVEL, Start, Timer};
use super::{CAPABILITY, CONFIG_ENABLED, CONFIG_LEGACY, Hpet};

impl Hpet {
    /// Builds the record, after [`Hpet::advance`].
    pub(in crate::platform) fn save(&self, now: Time) -> HvmHwHpet {
        HvmHwHpet {
            capability: CAPABILITY,
            config: self.config,
            isr: self.status.into(),
            mc64: self.counter(now),
            timers: self.timers.map(|timer| [timer.config, timer.comparator, 0, 0]),
            period: self.timers.map(|timer| timer.period),
            ..HvmHwHpet::default()
        }
    }

    /// Builds an HPET from its record, which is not trusted. The counter goes on from what the record says; ticks that the
    /// guest missed before are forgotten.
    pub(in crate::platform) fn load(record: &HvmHwHpet, now: Time) -> Self {
        let [first, second, third] = record.timers;
        let [first_period, second_period, third_period] = record.period;
        let timer = |[config, comparator, ..]: [u64; 4], period: u64| Timer::load(config, comparator, period);
        let timers = [timer(first, first_period), timer(second, second_period), timer(third, third_period)];
        let levels = timers.iter().rev().fold(0, |levels, timer| levels << 1 | u8::from(timer.has(LEVEL)));
        let config = record.config & (CONFIG_ENABLED | CONFIG_LEGACY);
        let mut hpet = Self { config, status: record.isr as u8 & levels, base: 0, since: now, timers };
        hpet.set_counter(record.mc64, now, Start::Restored);
        hpet
    }
}
