//! The chipset as records of a saved domain. **Source:** `arch-x86/hvm/save.h`.
//!
//! Each record is taken over by itself, in any order, and the lines of the controllers follow from what is there then: no
//! record can make them differ from what devices assert.

use xen_abi::hvm_save::{
    HvmHwHpet, HvmHwIsaIrqs, HvmHwPciIrqs, HvmHwPciLink, HvmHwPit, HvmHwPmtimer, HvmHwRtc, HvmHwVioapic, HvmHwVpic,
};

use super::clock::Clock;
use super::hpet::Hpet;
use super::interval_timer::IntervalTimer;
use super::{Moment, Platform};
use crate::ioapic::IoApic;

/// All records of the chipset, in the order of their types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlatformRecords {
    /// The first 8259A (instance 0) and the second (instance 1).
    pub pics: [HvmHwVpic; 2],
    pub io_apic: HvmHwVioapic,
    pub pci_lines: HvmHwPciIrqs,
    pub isa_lines: HvmHwIsaIrqs,
    pub links: HvmHwPciLink,
    pub timer: HvmHwPit,
    pub clock: HvmHwRtc,
    pub hpet: HvmHwHpet,
    pub power: HvmHwPmtimer,
}

/// One record to be taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlatformRecord<'a> {
    /// With its instance.
    Pic(u16, &'a HvmHwVpic),
    IoApic(&'a HvmHwVioapic),
    PciLines(&'a HvmHwPciIrqs),
    IsaLines(&'a HvmHwIsaIrqs),
    Links(&'a HvmHwPciLink),
    Timer(&'a HvmHwPit),
    Clock(&'a HvmHwRtc),
    Hpet(&'a HvmHwHpet),
    Power(&'a HvmHwPmtimer),
}

/// A record of a chip that is not there, or of a state that it cannot reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidRecord;

impl PlatformRecords {
    /// Returns the records one by one, in the order of their types.
    pub fn each(&self) -> impl Iterator<Item = PlatformRecord<'_>> {
        let [first, second] = &self.pics;
        [
            PlatformRecord::Pic(0, first),
            PlatformRecord::Pic(1, second),
            PlatformRecord::IoApic(&self.io_apic),
            PlatformRecord::PciLines(&self.pci_lines),
            PlatformRecord::IsaLines(&self.isa_lines),
            PlatformRecord::Links(&self.links),
            PlatformRecord::Timer(&self.timer),
            PlatformRecord::Clock(&self.clock),
            PlatformRecord::Hpet(&self.hpet),
            PlatformRecord::Power(&self.power),
        ]
        .into_iter()
    }
}

impl Platform {
    /// Builds the records. What is due is handled first; messages must have been taken before, or they are lost.
    pub fn save(&mut self, now: Moment) -> PlatformRecords {
        self.advance(now);
        PlatformRecords {
            pics: self.pics.save(),
            io_apic: self.io_apic.save(),
            pci_lines: self.wires.save_pci(),
            isa_lines: self.wires.save_isa(),
            links: self.wires.save_links(),
            timer: self.timer.save(),
            clock: self.clock.save(now),
            hpet: self.hpet.save(now.time),
            power: self.power.save(now.time),
        }
    }

    /// Takes over a record, which is not trusted: values that a guest cannot set are dropped.
    ///
    /// **Errors:** [`InvalidRecord`], and nothing was changed, for a third 8259A and for a link of the interrupt router
    /// that leads to a line above 15.
    pub fn load(&mut self, record: PlatformRecord<'_>, now: Moment) -> Result<(), InvalidRecord> {
        let is_sound = match record {
            PlatformRecord::Pic(instance, record) => self.pics.load(instance, record),
            PlatformRecord::Links(record) => self.wires.load_links(record),
            _ => {
                self.take_over(record, now);
                true
            }
        };
        if !is_sound {
            return Err(InvalidRecord);
        }
        self.restore_lines();
        Ok(())
    }

    fn take_over(&mut self, record: PlatformRecord<'_>, now: Moment) {
        match record {
            PlatformRecord::Pic(..) | PlatformRecord::Links(_) => {}
            PlatformRecord::IoApic(record) => self.io_apic = IoApic::load(record),
            PlatformRecord::PciLines(record) => self.wires.load_pci(record),
            PlatformRecord::IsaLines(record) => self.wires.load_isa(record),
            PlatformRecord::Timer(record) => self.timer = IntervalTimer::load(record, now.time),
            PlatformRecord::Clock(record) => self.clock = Clock::load(record, now),
            PlatformRecord::Hpet(record) => self.hpet = Hpet::load(record, now.time),
            PlatformRecord::Power(record) => self.power.load(record, now.time),
        }
    }
}
