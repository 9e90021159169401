//! The HVM parameters of a domain. **Source:** `hvm/params.h`.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use xen_abi::Errno;
use xen_abi::hvm_param::{
    HVM_NR_PARAMS, HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_ALTP2M, HVM_PARAM_BUFIOREQ_EVTCHN,
    HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CALLBACK_IRQ_TYPE_MASK, HVM_PARAM_CALLBACK_TYPE_VECTOR, HVM_PARAM_CONSOLE_EVTCHN,
    HVM_PARAM_CONSOLE_PFN, HVM_PARAM_DM_DOMAIN, HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_MCA_CAP,
    HVM_PARAM_MEMORY_EVENT_CR0, HVM_PARAM_MEMORY_EVENT_CR3, HVM_PARAM_MEMORY_EVENT_CR4, HVM_PARAM_MEMORY_EVENT_INT3,
    HVM_PARAM_MEMORY_EVENT_MSR, HVM_PARAM_MEMORY_EVENT_SINGLE_STEP, HVM_PARAM_NESTEDHVM,
    HVM_PARAM_NR_IOREQ_SERVER_PAGES, HVM_PARAM_PAE_ENABLED, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
    HVM_PARAM_TIMER_MODE, HVM_PARAM_VIRIDIAN, HVM_PARAM_VM_GENERATION_ID_ADDR, HVM_PARAM_VM86_TSS,
    HVM_PARAM_VM86_TSS_SIZED, HVM_PARAM_X87_FIP_WIDTH, HVMPTM_ONE_MISSED_TICK_PENDING, HVMPV_BASE_FREQ,
    HVMPV_FEATURE_MASK,
};

/// Parameters that a domain may set for itself.
const OWN_TO_SET: &[u32] = &[
    HVM_PARAM_CALLBACK_IRQ,
    HVM_PARAM_VM86_TSS,
    HVM_PARAM_VM86_TSS_SIZED,
    HVM_PARAM_ACPI_IOPORTS_LOCATION,
    HVM_PARAM_VM_GENERATION_ID_ADDR,
    HVM_PARAM_STORE_EVTCHN,
    HVM_PARAM_CONSOLE_EVTCHN,
    HVM_PARAM_X87_FIP_WIDTH,
];

/// Obsolete numbers: they can be neither set nor read.
const GONE: &[u32] = &[
    HVM_PARAM_PAE_ENABLED,
    HVM_PARAM_DM_DOMAIN,
    HVM_PARAM_MEMORY_EVENT_CR0,
    HVM_PARAM_MEMORY_EVENT_CR3,
    HVM_PARAM_MEMORY_EVENT_CR4,
    HVM_PARAM_MEMORY_EVENT_INT3,
    HVM_PARAM_NESTEDHVM,
    HVM_PARAM_MEMORY_EVENT_SINGLE_STEP,
    HVM_PARAM_BUFIOREQ_EVTCHN,
    HVM_PARAM_MEMORY_EVENT_MSR,
];

/// Parameters that a domain may read of itself.
const OWN_TO_GET: &[u32] = &[
    HVM_PARAM_CALLBACK_IRQ,
    HVM_PARAM_VM86_TSS,
    HVM_PARAM_VM86_TSS_SIZED,
    HVM_PARAM_ACPI_IOPORTS_LOCATION,
    HVM_PARAM_VM_GENERATION_ID_ADDR,
    HVM_PARAM_STORE_PFN,
    HVM_PARAM_STORE_EVTCHN,
    HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_CONSOLE_EVTCHN,
    HVM_PARAM_ALTP2M,
    HVM_PARAM_X87_FIP_WIDTH,
];

/// Parameters that cannot be changed once they are set.
const SET_ONCE: &[u32] = &[
    HVM_PARAM_VIRIDIAN,
    HVM_PARAM_IOREQ_SERVER_PFN,
    HVM_PARAM_NR_IOREQ_SERVER_PAGES,
    HVM_PARAM_ALTP2M,
    HVM_PARAM_MCA_CAP,
];

/// The most frames for pages of I/O request servers. **Source:** observed of Xen 4.17.
const MOST_SERVER_PAGES: u64 = 64;

/// The values, and what follows from them.
pub struct HvmParams {
    values: [AtomicU64; HVM_NR_PARAMS as usize],
    /// 0 for none.
    callback_vector: AtomicU8,
    /// The domain has a PC's chipset, with a power management block.
    has_platform: AtomicBool,
}

impl Default for HvmParams {
    fn default() -> Self {
        Self {
            values: [const { AtomicU64::new(0) }; HVM_NR_PARAMS as usize],
            callback_vector: AtomicU8::new(0),
            has_platform: AtomicBool::new(false),
        }
    }
}

impl HvmParams {
    fn slot(&self, index: u32) -> Result<&AtomicU64, Errno> {
        if GONE.contains(&index) {
            return Err(Errno::EINVAL);
        }
        self.values.get(index as usize).ok_or(Errno::EINVAL)
    }

    /// Returns the value of a parameter. `own` says that a domain reads its own.
    ///
    /// **Errors:** `EINVAL` for a number that does not exist, `EPERM` for one that the domain may not read.
    pub fn get(&self, index: u32, own: bool) -> Result<u64, Errno> {
        let slot = self.slot(index)?;
        if own && !OWN_TO_GET.contains(&index) {
            return Err(Errno::EPERM);
        }
        Ok(slot.load(Ordering::SeqCst))
    }

    /// Sets a parameter. `own` says that a domain sets its own.
    ///
    /// **Errors:** `EINVAL` for a number that does not exist or a value that it cannot have, `EPERM` for one that the
    /// domain may not set, `EEXIST` for another value of one that can be set once only, `ENODEV` for the place of the
    /// power management block of a guest that has none.
    pub fn set(&self, index: u32, value: u64, own: bool) -> Result<(), Errno> {
        let slot = self.slot(index)?;
        if own && !OWN_TO_SET.contains(&index) {
            return Err(Errno::EPERM);
        }
        if index == HVM_PARAM_ACPI_IOPORTS_LOCATION && !self.has_platform.load(Ordering::Relaxed) {
            return Err(Errno::ENODEV);
        }
        let before = slot.load(Ordering::SeqCst);
        if SET_ONCE.contains(&index) && before != 0 && before != value {
            return Err(Errno::EEXIST);
        }
        let possible = match index {
            HVM_PARAM_TIMER_MODE => value <= HVMPTM_ONE_MISSED_TICK_PENDING,
            HVM_PARAM_VIRIDIAN => value & !HVMPV_FEATURE_MASK == 0 && value & HVMPV_BASE_FREQ != 0,
            HVM_PARAM_X87_FIP_WIDTH => matches!(value, 0 | 4 | 8),
            HVM_PARAM_ACPI_IOPORTS_LOCATION => value <= 1,
            HVM_PARAM_NR_IOREQ_SERVER_PAGES => (1..=MOST_SERVER_PAGES).contains(&value),
            _ => true,
        };
        if !possible {
            return Err(Errno::EINVAL);
        }
        slot.store(value, Ordering::SeqCst);
        let kind = (value & HVM_PARAM_CALLBACK_IRQ_TYPE_MASK) >> HVM_PARAM_CALLBACK_IRQ_TYPE_MASK.trailing_zeros();
        if index == HVM_PARAM_CALLBACK_IRQ {
            if kind == HVM_PARAM_CALLBACK_TYPE_VECTOR {
                self.callback_vector.store(value as u8, Ordering::SeqCst);
            } else if self.has_platform.load(Ordering::Relaxed) {
                self.callback_vector.store(0, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// Gives the parameters those of a domain with a PC's chipset, before it runs.
    pub fn give_platform(&self) {
        self.has_platform.store(true, Ordering::Relaxed);
    }

    /// Returns the vector that events raise on every vCPU, if the guest asked for one. A guest without the legacy
    /// chipset cannot ask for another kind of callback, nor take the vector back: real Xen stores the value, and goes on
    /// as before.
    pub fn callback_vector(&self) -> Option<u8> {
        match self.callback_vector.load(Ordering::SeqCst) {
            0 => None,
            vector => Some(vector),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::hvm_param::HVM_PARAM_IDENT_PT;

    #[test]
    fn a_domain_may_not_change_what_the_toolstack_set() {
        let params = HvmParams::default();
        assert_eq!(params.set(HVM_PARAM_STORE_PFN, 7, false), Ok(()));
        assert_eq!(params.set(HVM_PARAM_STORE_PFN, 8, true), Err(Errno::EPERM));
        assert_eq!(params.get(HVM_PARAM_STORE_PFN, true), Ok(7));
        assert_eq!(params.get(HVM_PARAM_IDENT_PT, true), Err(Errno::EPERM));
    }

    #[test]
    fn the_callback_by_vector_outlives_other_kinds() {
        let params = HvmParams::default();
        let by_vector = |vector| HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | vector;
        assert_eq!(params.set(HVM_PARAM_CALLBACK_IRQ, 1, true), Ok(()));
        assert_eq!(params.callback_vector(), None);
        assert_eq!(params.set(HVM_PARAM_CALLBACK_IRQ, by_vector(0xe3), true), Ok(()));
        assert_eq!(params.set(HVM_PARAM_CALLBACK_IRQ, 0, true), Ok(()));
        assert_eq!(params.callback_vector(), Some(0xe3));
        assert_eq!(params.get(HVM_PARAM_CALLBACK_IRQ, true), Ok(0));
        assert_eq!(params.set(HVM_PARAM_CALLBACK_IRQ, by_vector(0xe4), true), Ok(()));
        assert_eq!(params.callback_vector(), Some(0xe4));
    }

    #[test]
    fn what_is_gone_is_for_nobody() {
        let params = HvmParams::default();
        for index in GONE {
            for own in [false, true] {
                assert_eq!(params.get(*index, own), Err(Errno::EINVAL), "{index}");
                assert_eq!(params.set(*index, 0, own), Err(Errno::EINVAL), "{index}");
            }
        }
    }

    #[test]
    fn other_views_of_memory_can_be_read_of_but_not_set_by_the_domain() {
        let params = HvmParams::default();
        assert_eq!(params.get(HVM_PARAM_ALTP2M, true), Ok(0));
        assert_eq!(params.set(HVM_PARAM_ALTP2M, 0, true), Err(Errno::EPERM));
    }

    #[test]
    fn there_is_no_power_management_block_to_move() {
        let params = HvmParams::default();
        assert_eq!(params.set(HVM_PARAM_ACPI_IOPORTS_LOCATION, 1, true), Err(Errno::ENODEV));
        assert_eq!(params.get(HVM_PARAM_ACPI_IOPORTS_LOCATION, true), Ok(0));
    }

    #[test]
    fn there_are_1_to_64_frames_for_servers() {
        let set = |count| HvmParams::default().set(HVM_PARAM_NR_IOREQ_SERVER_PAGES, count, false);
        assert_eq!([0, 1, 64, 65].map(set), [Err(Errno::EINVAL), Ok(()), Ok(()), Err(Errno::EINVAL)]);
    }

    #[test]
    fn the_power_management_block_of_a_platform_has_two_places() {
        let params = HvmParams::default();
        params.give_platform();
        assert_eq!(params.set(HVM_PARAM_ACPI_IOPORTS_LOCATION, 1, true), Ok(()));
        assert_eq!(params.get(HVM_PARAM_ACPI_IOPORTS_LOCATION, true), Ok(1));
        assert_eq!(params.set(HVM_PARAM_ACPI_IOPORTS_LOCATION, 2, true), Err(Errno::EINVAL));
    }

    #[test]
    fn some_are_set_once() {
        let params = HvmParams::default();
        assert_eq!(params.set(HVM_PARAM_VIRIDIAN, 1, false), Ok(()));
        assert_eq!(params.set(HVM_PARAM_VIRIDIAN, 1, false), Ok(()));
        assert_eq!(params.set(HVM_PARAM_VIRIDIAN, 3, false), Err(Errno::EEXIST));
        assert_eq!(params.set(HVM_NR_PARAMS, 0, false), Err(Errno::EINVAL));
    }
}
