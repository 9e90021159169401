//! Options of domain 0.

use crate::option_values::VcpuCount;
use crate::option_word::{Refusal, Word};
use crate::options::Options;

impl Options {
    /// Takes one option of dom0's.
    pub(crate) fn take_dom0<'a>(
        &mut self,
        word: Word<'a>,
        refuse: &mut dyn FnMut(&'a str, Refusal),
    ) -> Result<(), Refusal> {
        const COUNT: &str = "<number>, <min>-<max>, <min>- or -<max>";
        match word.name {
            "dom0_mem" => self.dom0_memory.take(word, refuse)?,
            "dom0_max_vcpus" => self.dom0_vcpus = Some(word.value(COUNT, VcpuCount::parse)?),
            "dom0_vcpus_pin" => self.dom0_vcpus_pinned = word.boolean()?,
            "dom0" => {
                const ALLOWED: &str = "a list of pvh and verbose";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    self.take_dom0_part(Word::new(part), ALLOWED).unwrap_or_else(|refusal| refuse(part, refusal));
                }
            }
            "dom0-iommu" => {
                const ALLOWED: &str = "a list of none, passthrough and strict";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    self.take_dom0_iommu_part(Word::new(part), ALLOWED).unwrap_or_else(|refusal| refuse(part, refusal));
                }
            }
            _ => return Err(Refusal::Unknown),
        }
        Ok(())
    }

    fn take_dom0_part(&mut self, part: Word<'_>, allowed: &'static str) -> Result<(), Refusal> {
        match part.name {
            "pvh" => part.must_be(true),
            "pv" | "shadow" | "msr-relaxed" => part.must_be(false),
            // For PV alone, where it is so unless this says otherwise.
            "cpuid-faulting" => Err(Refusal::NotBuilt),
            "verbose" => {
                self.dom0_verbose = part.boolean()?;
                Ok(())
            }
            _ => Err(Refusal::BadValue(allowed)),
        }
    }

    fn take_dom0_iommu_part(&mut self, part: Word<'_>, allowed: &'static str) -> Result<(), Refusal> {
        match part.name {
            "none" => self.dom0_iommu.none = part.boolean()?,
            "passthrough" => self.dom0_iommu.passthrough = part.boolean()?,
            // Devices of a PVH dom0 reach its own memory, and what the firmware's IVMD entries name.
            "strict" => return part.must_be(true),
            "map-reserved" | "map-inclusive" => return part.must_be(false),
            _ => return Err(Refusal::BadValue(allowed)),
        }
        Ok(())
    }
}
