//! The vCPUs of a domain.

use crate::domains::vcpu::Vcpu;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Deref;
use core::slice::Iter;
use xenolith_hal::Machine;
use xenolith_sync::Once;

/// The vCPUs of a domain by number: none until they are created, which happens once and for all of them.
pub struct Vcpus<M: Machine>(Once<Box<[Vcpu<M>]>>);

impl<M: Machine> Vcpus<M> {
    /// Creates the list with these vCPUs; an empty one can be set later.
    pub fn new(vcpus: Vec<Vcpu<M>>) -> Self {
        let made = Once::new();
        if !vcpus.is_empty() {
            let _ = made.set(vcpus.into_boxed_slice());
        }
        Self(made)
    }

    /// Sets the domain's vCPUs.
    ///
    /// **Errors:** the vCPUs, if it has some already.
    pub(crate) fn set(&self, vcpus: Vec<Vcpu<M>>) -> Result<(), Vec<Vcpu<M>>> {
        self.0.set(vcpus.into_boxed_slice()).map(|_| ()).map_err(Vec::from)
    }
}

impl<M: Machine> Deref for Vcpus<M> {
    type Target = [Vcpu<M>];

    fn deref(&self) -> &[Vcpu<M>] {
        self.0.get().map_or(&[], |vcpus| vcpus)
    }
}

impl<'a, M: Machine> IntoIterator for &'a Vcpus<M> {
    type Item = &'a Vcpu<M>;
    type IntoIter = Iter<'a, Vcpu<M>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
