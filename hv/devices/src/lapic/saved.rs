//! A local APIC as records of a saved domain. **Source:** `arch-x86/hvm/save.h`, `hvm_hw_lapic` and
//! `hvm_hw_lapic_regs`.

use xen_abi::VcpuId;
use xen_abi::hvm_save::{HvmHwLapic, HvmHwLapicRegs};
use xenolith_hal::TimeBase;

use super::base::is_valid_base;
use super::register::{COMMAND_PENDING, DIVIDE_MASK, LVT_MASKED, Lvt, SPURIOUS_ENABLE, SPURIOUS_MASK};
use super::timer::{Timer, TimerMode};
use super::{Lapic, VERSION, VectorSet};

/// Real Xen believes its flag and not the base MSR: a vCPU that is marked as off by the MSR gets no interrupt any more, whatever
/// it writes. Linux turns its local APIC off by software while it is suspended.
const DISABLED_BY_MSR: u32 = 1;
const DISABLED_BY_SOFTWARE: u32 = 2;

/// A record of a state that a local APIC cannot reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidRecord;

/// The registers of the xAPIC page as bytes.
struct Page([u8; 1024]);

impl Page {
    fn set(&mut self, offset: usize, value: u32) {
        if let Some(bytes) = self.0.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = value.to_le_bytes();
        }
    }

    fn get(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn set_vectors(&mut self, offset: usize, vectors: &VectorSet) {
        for (offset, word) in places(offset).zip(vectors.words()) {
            self.set(offset, *word);
        }
    }

    fn vectors(&self, offset: usize) -> VectorSet {
        let mut words = [0; 8];
        for (offset, word) in places(offset).zip(&mut words) {
            *word = self.get(offset);
        }
        // Exceptions are never requested of a local APIC.
        let [first, ..] = &mut words;
        *first &= 0xffff_0000;
        VectorSet::from_words(words)
    }
}

/// The offsets of consecutive registers.
fn places(first: usize) -> impl Iterator<Item = usize> {
    (first..).step_by(16)
}

/// The LVT entries in the order of their registers, which begin at 0x320.
const LVTS: [Lvt; 6] = [Lvt::Timer, Lvt::Thermal, Lvt::Performance, Lvt::Lint0, Lvt::Lint1, Lvt::Error];
const LVT_OFFSET: usize = 0x320;

impl Lapic {
    /// Builds the two records. `now` pairs the guest's time stamp counter with the time.
    #[must_use]
    pub fn save(&self, now: TimeBase) -> (HvmHwLapic, HvmHwLapicRegs) {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let state = HvmHwLapic {
            apic_base_msr: self.base,
            disabled: flag(!self.is_software_enabled(), DISABLED_BY_SOFTWARE)
                | flag(!self.is_hardware_enabled(), DISABLED_BY_MSR),
            timer_divisor: self.timer.divisor(),
            tdt_msr: self.timer.tsc_deadline(),
        };
        let mut page = Page([0; 1024]);
        let (id, logical) = if self.is_x2apic() {
            (self.apic_id(), self.x2apic_logical_id())
        } else {
            (self.id, self.logical_destination)
        };
        let mode = TimerMode::from_lvt(self.lvt(Lvt::Timer));
        for (offset, value) in [
            (0x20, id),
            (0x30, VERSION),
            (0x80, u32::from(self.task_priority)),
            (0xa0, u32::from(self.processor_priority())),
            (0xd0, logical),
            (0xe0, self.destination_format),
            (0xf0, self.spurious),
            (0x280, self.error_status),
            (0x300, self.command_low),
            (0x310, self.command_high),
            (0x380, self.timer.initial_count()),
            (0x390, self.timer.current_count(now.time, mode)),
            (0x3e0, self.timer.divide()),
        ] {
            page.set(offset, value);
        }
        page.set_vectors(0x100, &self.in_service);
        page.set_vectors(0x180, &self.trigger_mode);
        page.set_vectors(0x200, &self.request);
        for (offset, entry) in places(LVT_OFFSET).zip(LVTS) {
            page.set(offset, self.lvt(entry));
        }
        (state, HvmHwLapicRegs { data: page.0 })
    }

    /// Builds a local APIC from its two records, which are not trusted. Reserved bits are dropped; a timer goes on with
    /// the counts that were left.
    ///
    /// **Errors:** [`InvalidRecord`] for a base MSR that a guest could not have set.
    pub fn load(
        vcpu: VcpuId,
        state: &HvmHwLapic,
        registers: &HvmHwLapicRegs,
        now: TimeBase,
    ) -> Result<Self, InvalidRecord> {
        if !is_valid_base(state.apic_base_msr) {
            return Err(InvalidRecord);
        }
        let page = Page(registers.data);
        let mut lapic = Self::blank(vcpu, state.apic_base_msr, 0);
        lapic.id = if lapic.is_x2apic() { lapic.apic_id() << 24 } else { page.get(0x20) & 0xff00_0000 };
        if !lapic.is_x2apic() {
            lapic.logical_destination = page.get(0xd0) & 0xff00_0000;
        }
        lapic.task_priority = (page.get(0x80) & 0xff) as u8;
        lapic.destination_format = page.get(0xe0) | 0x0fff_ffff;
        lapic.spurious = page.get(0xf0) & SPURIOUS_MASK;
        if state.disabled & DISABLED_BY_SOFTWARE != 0 {
            lapic.spurious &= !SPURIOUS_ENABLE;
        }
        lapic.in_service = page.vectors(0x100);
        lapic.trigger_mode = page.vectors(0x180);
        lapic.request = page.vectors(0x200);
        lapic.error_status = page.get(0x280);
        lapic.command_low = page.get(0x300) & !COMMAND_PENDING;
        lapic.command_high = page.get(0x310);
        let force = if lapic.is_software_enabled() { 0 } else { LVT_MASKED };
        for (offset, entry) in places(LVT_OFFSET).zip(LVTS) {
            lapic.set_lvt(entry, (page.get(offset) & entry.mask()) | force);
        }
        let mode = TimerMode::from_lvt(lapic.lvt(Lvt::Timer));
        lapic.timer = Timer::resume(page.get(0x380), page.get(0x390), page.get(0x3e0) & DIVIDE_MASK, now.time, mode);
        lapic.timer.set_tsc_deadline(state.tdt_msr, now, mode);
        Ok(lapic)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xenolith_hal::Time;

    use super::*;
    use crate::interrupt::Trigger;

    fn at(ns: u64) -> TimeBase {
        TimeBase { tsc: ns * 2, time: Time(ns), tsc_khz: 2_000_000 }
    }

    fn busy(x2apic: bool) -> Lapic {
        let mut lapic = Lapic::new(VcpuId(3));
        if !x2apic {
            lapic.write_page(0xd0, 4, 0x0800_0000, at(0));
        }
        lapic.write_page(0xf0, 4, 0x1ff, at(0));
        lapic.write_page(0x320, 4, 0x2_00ec, at(0));
        lapic.write_page(0x3e0, 4, 0xb, at(0));
        lapic.write_page(0x380, 4, 1000, at(0));
        lapic.write_page(0x360, 4, 0x400, at(0));
        lapic.raise(0x41, Trigger::Level);
        lapic.accept(0x41);
        lapic.raise(0xf3, Trigger::Edge);
        if x2apic {
            lapic.write_base_msr(0xfee0_0c00).unwrap();
        }
        lapic
    }

    #[test]
    fn what_was_saved_goes_on_where_it_was() {
        for x2apic in [false, true] {
            let lapic = busy(x2apic);
            let (state, registers) = lapic.save(at(4_000));
            assert_eq!((state.disabled, state.timer_divisor), (0, 1));
            let loaded = Lapic::load(VcpuId(3), &state, &registers, at(4_000)).unwrap();
            assert_eq!(loaded, lapic);
            // Later, and with another time: what was left is left still.
            let moved = Lapic::load(VcpuId(3), &state, &registers, at(1_000_000)).unwrap();
            assert_eq!(moved.deadline(), Time(1_006_000));
        }
    }

    #[test]
    fn the_registers_lie_where_the_page_has_them() {
        let (_, registers) = busy(true).save(at(0));
        let page = Page(registers.data);
        assert_eq!((page.get(0x20), page.get(0x30), page.get(0xd0)), (6, VERSION, 1 << 6));
        assert_eq!((page.get(0x120), page.get(0x270), page.get(0x360)), (2, 1 << 19, 0x400));
    }

    #[test]
    fn a_deadline_of_the_counter_is_kept() {
        let mut lapic = busy(false);
        lapic.write_page(0x320, 4, 0x4_00ec, at(0));
        lapic.set_tsc_deadline(20_000, at(0));
        let (state, registers) = lapic.save(at(0));
        assert_eq!(Lapic::load(VcpuId(3), &state, &registers, at(0)), Ok(lapic));
    }

    #[test]
    fn one_that_is_off_is_marked_as_real_xen_marks_it() {
        let mut lapic = busy(false);
        lapic.write_page(0xf0, 4, 0xff, at(0));
        assert_eq!(lapic.save(at(0)).0.disabled, 2);
        lapic.write_base_msr(0xfee0_0100).unwrap();
        assert_eq!(lapic.save(at(0)).0.disabled & 1, 1);
    }

    #[test]
    fn an_impossible_base_is_refused() {
        let (state, registers) = busy(false).save(at(0));
        for base in [0xfee0_0400, 0xfee0_0801, 1 << 52] {
            let state = HvmHwLapic { apic_base_msr: base, ..state };
            assert_eq!(Lapic::load(VcpuId(3), &state, &registers, at(0)), Err(InvalidRecord));
        }
    }

    proptest! {
        /// A record of random bytes leaves a local APIC that obeys a guest's rules.
        #[test]
        fn a_record_of_anything_gives_a_sound_local_apic(
            bytes in proptest::collection::vec(any::<u8>(), 1024),
            disabled: u32,
            tdt_msr: u64,
            enabled: bool,
        ) {
            let mut data = [0; 1024];
            data.copy_from_slice(&bytes);
            let apic_base_msr = if enabled { 0xfee0_0900 } else { 0xfee0_0100 };
            let state = HvmHwLapic { apic_base_msr, disabled, timer_divisor: disabled, tdt_msr };
            let mut lapic = Lapic::load(VcpuId(0), &state, &HvmHwLapicRegs { data }, at(5)).unwrap();
            if let Some(vector) = lapic.highest_pending() {
                prop_assert!(enabled && vector >= 16);
            }
            let later = at(1 << 40);
            lapic.advance(later.time);
            let (state, registers) = lapic.save(later);
            let again = Lapic::load(VcpuId(0), &state, &registers, later).unwrap();
            prop_assert_eq!(again.save(later), (state, registers));
        }
    }
}
