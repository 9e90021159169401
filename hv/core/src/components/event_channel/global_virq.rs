//! Global VIRQs, and the domain that handles each.

use super::is_global;
use core::sync::atomic::{AtomicU16, Ordering};
use xen_abi::virq::NR_VIRQS;
use xen_abi::{DomId, Errno};

/// The domain that handles each global VIRQ: the control domain unless the toolstack chose another one.
#[derive(Debug)]
pub struct GlobalVirqs([AtomicU16; NR_VIRQS as usize]);

impl Default for GlobalVirqs {
    fn default() -> Self {
        Self(core::array::from_fn(|_| AtomicU16::new(DomId::DOM0.0)))
    }
}

impl GlobalVirqs {
    /// Returns the domain that handles a VIRQ.
    pub fn handler(&self, virq: u32) -> DomId {
        self.0.get(virq as usize).map_or(DomId::DOM0, |handler| DomId(handler.load(Ordering::Acquire)))
    }

    /// Sets the domain that handles a VIRQ from now on. An event that is pending at the previous one stays there.
    ///
    /// **Errors:** `EINVAL` for a number that is no VIRQ, and for a per-vCPU one.
    pub fn set_handler(&self, virq: u32, domain: DomId) -> Result<(), Errno> {
        let handler = self.0.get(virq as usize).filter(|_| is_global(virq)).ok_or(Errno::EINVAL)?;
        handler.store(domain.0, Ordering::Release);
        Ok(())
    }

    /// Returns the VIRQs of a dying domain to the control domain.
    pub fn forget(&self, domain: DomId) {
        for handler in &self.0 {
            let _ = handler.compare_exchange(domain.0, DomId::DOM0.0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::virq::{VIRQ_CON_RING, VIRQ_CONSOLE, VIRQ_TIMER};

    #[test]
    fn only_interrupts_of_the_machine_have_a_handler_that_can_be_chosen() {
        let virqs = GlobalVirqs::default();
        assert_eq!(virqs.set_handler(VIRQ_TIMER, DomId(3)), Err(Errno::EINVAL));
        assert_eq!(virqs.set_handler(NR_VIRQS, DomId(3)), Err(Errno::EINVAL));
        assert_eq!(virqs.set_handler(VIRQ_CON_RING, DomId(3)), Ok(()));
        assert_eq!((virqs.handler(VIRQ_CON_RING), virqs.handler(VIRQ_CONSOLE)), (DomId(3), DomId::DOM0));
    }

    #[test]
    fn what_a_domain_handled_falls_back_to_the_control_domain_when_it_ends() {
        let virqs = GlobalVirqs::default();
        assert_eq!(virqs.set_handler(VIRQ_CON_RING, DomId(3)), Ok(()));
        assert_eq!(virqs.set_handler(VIRQ_CONSOLE, DomId(4)), Ok(()));
        virqs.forget(DomId(3));
        assert_eq!((virqs.handler(VIRQ_CON_RING), virqs.handler(VIRQ_CONSOLE)), (DomId::DOM0, DomId(4)));
    }
}
