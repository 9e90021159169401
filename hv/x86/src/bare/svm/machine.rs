//! Creation of nested page tables and vCPUs for the core; and SVM on each CPU.

use super::hardware::{Hardware, enable_cpu, features, permission_maps};
use crate::bare::base::cpu_area;
use crate::bare::memory::ram::{self, DirectMap};
use crate::guest::nested::{NestedTables, TableLimits};
use crate::guest::svm::exit_counts::ExitCounts;
use crate::guest::svm::features::Unfit;
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::vcpu::{Frame, SvmVcpu};
use crate::plain::layout::{self, PAGE};
use alloc::alloc::{Layout, alloc_zeroed};
use alloc::boxed::Box;
use xenolith_hal::{CpuId, FrameSource, Mpa, PageWords};

/// The translation of a domain.
pub type Space = NestedTables<DirectMap>;
/// A virtual CPU.
pub type Vcpu = SvmVcpu<Hardware, DirectMap>;

/// Allocates a zeroed page from the heap, never freed.
#[inline]
fn own_page() -> Option<Mpa> {
    let layout = Layout::from_size_align(PAGE as usize, PAGE as usize).ok()?;
    // SAFETY: the layout is not empty.
    let page = unsafe { alloc_zeroed(layout) };
    if page.is_null() { None } else { layout::machine_address(page as u64).map(Mpa) }
}

/// Returns true if [`start_this_cpu`] succeeded on a CPU: on others no vCPU can run.
pub fn has_started(cpu: CpuId) -> bool {
    CpuData::of(cpu).is_some_and(CpuData::has_started)
}

/// Enables SVM on the calling CPU. Each CPU does so once, before it runs its first guest.
///
/// **Errors:** see [`Unfit`]. No guest can run on this CPU then.
#[expect(clippy::disallowed_methods, reason = "only at boot, as each CPU comes up")]
pub fn start_this_cpu() -> Result<(), Unfit> {
    let (save, host) = own_page().zip(own_page()).ok_or(Unfit::OutOfRange)?;
    // SAFETY: this CPU got its descriptors and its area before it came to any code that can call this, and keeps
    // them; the pages are zero and belong to nobody else.
    unsafe { enable_cpu(cpu_area::this_cpu(), save, host) }?;
    if let Some(data) = CpuData::of(cpu_area::this_cpu()) {
        data.count_in(ExitCounts::new(Box::leak(Box::new(PageWords::new()))));
    }
    Ok(())
}

/// Creates empty nested page tables; None if memory is short or no CPU has SVM.
pub fn new_space(frames: &mut dyn FrameSource) -> Option<Space> {
    let features = features()?;
    let limits = TableLimits { address_bits: features.address_bits, huge_pages: features.huge_pages };
    NestedTables::new(DirectMap, limits, cpu_area::count(), frames)
}

#[inline]
fn frame(frames: &mut dyn FrameSource) -> Option<Frame> {
    let mfn = frames.take()?;
    let page = ram::page(mfn);
    if page.is_none() {
        frames.give_back(mfn);
    }
    Some((mfn, page?))
}

/// Creates a vCPU in the state after INIT; None if memory is short or no CPU has SVM.
pub fn new_vcpu(frames: &mut dyn FrameSource) -> Option<Vcpu> {
    features()?;
    let maps = permission_maps()?;
    let block = frame(frames)?;
    let Some(fpu) = frame(frames) else {
        frames.give_back(block.0);
        return None;
    };
    // SAFETY: a source of frames gives frames of zeros that nobody else has, until they are given back, which
    // `tear_down` does; `ram::page` leads to the memory of the very frame. The maps are parts of the image.
    Some(unsafe { SvmVcpu::new(block, fpu, maps) })
}
