//! Checks of the loader's tables against each other and the hypervisor's image.

use crate::fault::BootFault;
use crate::info::BootInfo;
use crate::range::MachineRange;

/// Checks that the image and all modules lie in RAM, and that none lies on another.
///
/// **Errors:** `ImageOutsideRam`, `ModuleOnImage`, `ModuleOutsideRam`, `ModuleOverlap`.
pub fn validate(info: &BootInfo, image: MachineRange) -> Result<(), BootFault> {
    if !info.memory.is_ram(image) {
        return Err(BootFault::ImageOutsideRam { image });
    }
    for (index, module) in info.modules().iter().enumerate() {
        let range = module.range;
        if range.overlaps(image) {
            return Err(BootFault::ModuleOnImage { index, range, image });
        }
        if !info.memory.is_ram(range) {
            return Err(BootFault::ModuleOutsideRam { index, range });
        }
        let earlier = info.modules().iter().take(index);
        if let Some(first) = earlier.into_iter().position(|other| other.range.overlaps(range)) {
            return Err(BootFault::ModuleOverlap { first, second: index });
        }
    }
    Ok(())
}
