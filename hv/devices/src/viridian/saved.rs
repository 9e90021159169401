//! Saved state: the records of the domain and of its vCPUs. **Source:** `arch-x86/hvm/save.h`.

use super::Viridian;
use super::processor::Processor;
use crate::lapic::InvalidRecord;
use xen_abi::VcpuId;
use xen_abi::hvm_save::{HvmViridianDomainContext, HvmViridianVcpuContext};

impl Viridian {
    /// Returns the record of the domain when the machine's time stamp counter is `tsc`.
    #[must_use]
    #[inline(never)]
    pub fn save(&self, tsc: u64) -> HvmViridianDomainContext {
        HvmViridianDomainContext {
            hypercall_gpa: self.hypercall,
            guest_os_id: self.os_id,
            time_ref_count: self.count(tsc),
            reference_tsc: self.reference_tsc,
        }
    }

    /// Takes over the record of the domain: its time goes on from where it was.
    #[inline(never)]
    pub fn load(&mut self, record: &HvmViridianDomainContext, tsc: u64) {
        self.hypercall = record.hypercall_gpa;
        self.os_id = record.guest_os_id;
        self.reference_tsc = record.reference_tsc;
        self.count_offset = record.time_ref_count.wrapping_sub(self.scale.counts(tsc));
    }

    /// Returns the record of a vCPU.
    #[must_use]
    #[inline(never)]
    pub fn save_vcpu(&self, vcpu: VcpuId) -> HvmViridianVcpuContext {
        let mut record = HvmViridianVcpuContext::default();
        if let Some(own) = self.processors.get(vcpu.0 as usize) {
            record.vp_assist_msr = own.assist;
            record.apic_assist_pending = own.assisted.into();
            record.simp_msr = own.message_page;
            record.sint_msr = own.sources;
            record.stimer_config_msr = own.timers.map(|timer| timer.saved_config());
            record.stimer_count_msr = own.timers.map(|timer| timer.count());
        }
        record
    }

    /// Takes over the record of a vCPU.
    ///
    /// **Errors:** [`InvalidRecord`] for interrupt sources that cannot be; nothing was changed then.
    #[inline(never)]
    pub fn load_vcpu(&mut self, vcpu: VcpuId, record: &HvmViridianVcpuContext, tsc: u64) -> Result<(), InvalidRecord> {
        let now = self.count(tsc);
        let own = self.processor(vcpu).ok_or(InvalidRecord)?;
        let mut new = Processor { assist: record.vp_assist_msr, message_page: record.simp_msr, ..Processor::default() };
        new.assisted = record.apic_assist_pending != 0;
        for (index, source) in record.sint_msr.into_iter().enumerate() {
            if !new.set_source(index, source) {
                return Err(InvalidRecord);
            }
        }
        for (timer, (config, count)) in
            new.timers.iter_mut().zip(record.stimer_config_msr.into_iter().zip(record.stimer_count_msr))
        {
            // The count first: it would enable the timer.
            timer.set_count(count, now);
            timer.set_config(config, now);
        }
        *own = new;
        Ok(())
    }
}
