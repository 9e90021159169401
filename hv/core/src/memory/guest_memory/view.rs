//! Copying from and to a guest's memory (Xen's `copy_from_guest` and `copy_to_guest`).

use super::walk::{Lookups, Wanted, bytes_to_page_end, ram_page, translate};
use crate::memory::physmap::Memory;
use core::ops::Range;
use xen_abi::compat::Wire;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{Gpa, Gva, Machine, PAGE_SIZE, PageWords, PagingRegisters};

/// The layout of structures in the guest that is copied from or to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// That of 64-bit guests.
    Native,
    /// That of 32-bit guests: each structure is translated by its table in `xen_abi`.
    Compat,
}

const EFER_LMA: u64 = 1 << 10;

impl Layout {
    /// Returns the layout for code in this mode: 64-bit code is what runs in long mode with CS.L, all other code is
    /// 32-bit code.
    #[must_use]
    pub const fn of_caller(mode: &PagingRegisters) -> Self {
        if mode.efer & EFER_LMA != 0 && mode.long_code { Self::Native } else { Self::Compat }
    }
}

/// A domain's memory as one of its vCPUs addresses it. Everything is copied, once; no reference into guest memory
/// outlives a call.
pub struct GuestView<'a, M: Machine> {
    memory: Memory<'a, M, M::Space>,
    paging: PagingRegisters,
    layout: Layout,
}

impl<M: Machine> Clone for GuestView<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for GuestView<'_, M> {}

impl<'a, M: Machine> GuestView<'a, M> {
    /// Creates the view of a domain's memory, through the page tables that `paging` names. Accesses are those
    /// of the guest's kernel; structures lie in it as `layout` says.
    #[inline]
    pub const fn new(memory: Memory<'a, M, M::Space>, paging: PagingRegisters, layout: Layout) -> Self {
        Self { memory, paging, layout }
    }

    /// Returns true if a `T` lies in this memory in another form than the hypervisor has it.
    #[inline]
    fn translates<T: Wire>(&self) -> bool {
        self.layout == Layout::Compat && !T::COMPAT.is_same()
    }

    /// Calls `step` for each page that `length` bytes at `at` touch, with the page, the offset in it, the range of the
    /// bytes.
    #[expect(clippy::arithmetic_side_effects, reason = "no part is longer than what is left")]
    fn by_pages(
        &self,
        at: u64,
        length: usize,
        wanted: Wanted,
        mut step: impl FnMut(&PageWords, usize, Range<usize>) -> Option<()>,
    ) -> Result<(), Errno> {
        let mut lookups = Lookups::new(&self.memory);
        let mut done = 0;
        while done < length {
            let here = Gva(at.checked_add(done as u64).ok_or(Errno::EFAULT)?);
            let part = bytes_to_page_end(here).min(length - done);
            let gpa = translate(&mut lookups, &self.paging, here, wanted).map_err(|_| Errno::EFAULT)?;
            let page = lookups.ram_page(gpa, wanted.contains(Wanted::WRITE)).ok_or(Errno::EFAULT)?;
            let end = done + part;
            step(page, gpa.page_offset(), done..end).ok_or(Errno::EFAULT)?;
            done = end;
        }
        Ok(())
    }

    /// Copies bytes from the guest.
    ///
    /// **Errors:** `EFAULT` if a page is not mapped in the guest or is not RAM; what came before it was copied.
    pub fn read_bytes(&self, at: u64, into: &mut [u8]) -> Result<(), Errno> {
        self.by_pages(at, into.len(), Wanted::empty(), |page, offset, range| {
            page.read_bytes(offset, into.get_mut(range)?).then_some(())
        })
    }

    /// Copies bytes to the guest.
    ///
    /// **Errors:** `EFAULT` if a page is not mapped writable in the guest or is not RAM; what came before it was
    /// written.
    pub fn write_bytes(&self, at: u64, from: &[u8]) -> Result<(), Errno> {
        self.by_pages(at, from.len(), Wanted::WRITE, |page, offset, range| {
            page.write_bytes(offset, from.get(range)?).then_some(())
        })
    }

    /// Copies one value from the guest.
    ///
    /// **Errors:** `EFAULT` as [`GuestView::read_bytes`].
    pub fn read<T: Wire>(&self, handle: GuestHandle<T>) -> Result<T, Errno> {
        if self.translates::<T>() {
            return self.read_compat(handle);
        }
        let mut value = T::new_zeroed();
        self.read_bytes(handle.address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies one value from a 32-bit guest. Apart from the fast path, which is 64-bit code's.
    #[cold]
    #[inline(never)]
    fn read_compat<T: Wire>(&self, handle: GuestHandle<T>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        // No form of a 32-bit guest is larger.
        let mut passed = T::new_zeroed();
        let passed = passed.as_mut_bytes().get_mut(..T::COMPAT.size()).ok_or(Errno::EFAULT)?;
        self.read_bytes(handle.address, passed)?;
        T::COMPAT.widen(passed, value.as_mut_bytes());
        Ok(value)
    }

    /// Returns the element of a list at an index.
    ///
    /// **Errors:** `EFAULT` if it lies past the end of the address space.
    pub fn element<T: Wire>(&self, list: GuestHandle<T>, index: u64) -> Result<GuestHandle<T>, Errno> {
        let size = if self.translates::<T>() { T::COMPAT.size() } else { size_of::<T>() };
        let offset = index.checked_mul(size as u64).ok_or(Errno::EFAULT)?;
        Ok(GuestHandle::new(list.address.checked_add(offset).ok_or(Errno::EFAULT)?))
    }

    /// Returns the member of a structure that lies at `offset` in the hypervisor's form of it.
    ///
    /// **Errors:** `EFAULT` if it lies past the end of the address space, or no member begins there.
    pub fn member<T: Wire, F>(&self, at: GuestHandle<T>, offset: usize) -> Result<GuestHandle<F>, Errno> {
        let offset = if self.translates::<T>() { T::COMPAT.offset_of(offset) } else { Some(offset) };
        let address = at.address.checked_add(offset.ok_or(Errno::EFAULT)? as u64).ok_or(Errno::EFAULT)?;
        Ok(GuestHandle::new(address))
    }

    /// Copies the value at an index from the guest.
    ///
    /// **Errors:** `EFAULT` as [`GuestView::read_bytes`], and if the index leads past the address space.
    pub fn read_at<T: Wire>(&self, handle: GuestHandle<T>, index: u64) -> Result<T, Errno> {
        self.read(self.element(handle, index)?)
    }

    /// Copies one value to the guest.
    ///
    /// **Errors:** `EFAULT` as [`GuestView::write_bytes`].
    pub fn write<T: Wire>(&self, handle: GuestHandle<T>, value: &T) -> Result<(), Errno> {
        if self.translates::<T>() {
            return self.write_compat(handle, value);
        }
        self.write_bytes(handle.address, value.as_bytes())
    }

    /// Copies one value to a 32-bit guest.
    #[cold]
    #[inline(never)]
    fn write_compat<T: Wire>(&self, handle: GuestHandle<T>, value: &T) -> Result<(), Errno> {
        let mut passed = T::new_zeroed();
        let passed = passed.as_mut_bytes().get_mut(..T::COMPAT.size()).ok_or(Errno::EFAULT)?;
        T::COMPAT.narrow(value.as_bytes(), passed);
        self.write_bytes(handle.address, passed)
    }

    /// Copies the value at an index to the guest.
    ///
    /// **Errors:** `EFAULT` as [`GuestView::write_bytes`], and if the index leads past the address space.
    pub fn write_at<T: Wire>(&self, handle: GuestHandle<T>, index: u64, value: &T) -> Result<(), Errno> {
        self.write(self.element(handle, index)?, value)
    }

    /// Copies instruction bytes in; returns how many could be read, fewer at the end of what is mapped.
    pub fn fetch(&self, at: u64, into: &mut [u8]) -> usize {
        let mut fetched = 0;
        let wanted = if self.paging.cpl == 3 { Wanted::EXECUTE | Wanted::USER } else { Wanted::EXECUTE };
        let _ = self.by_pages(at, into.len(), wanted, |page, offset, range| {
            let end = range.end;
            page.read_bytes(offset, into.get_mut(range)?).then_some(())?;
            fetched = end;
            Some(())
        });
        fetched
    }

    /// Translates a guest virtual address to a guest physical one.
    ///
    /// **Errors:** `EFAULT` if it is not mapped, or not writable where `write` asks for it.
    pub fn translate(&self, at: u64, write: bool) -> Result<Gpa, Errno> {
        let wanted = if write { Wanted::WRITE } else { Wanted::empty() };
        let mut lookups = Lookups::new(&self.memory);
        translate(&mut lookups, &self.paging, Gva(at), wanted).map_err(|_| Errno::EFAULT)
    }
}

/// Copies bytes to guest physical memory, page by page.
///
/// **Errors:** `EFAULT` when a frame is not mapped writable or is not RAM.
pub fn write_physical<M: Machine>(machine: &M, space: &M::Space, at: Gpa, from: &[u8]) -> Result<(), Errno> {
    let mut at = at;
    let mut rest = from;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.len().min(PAGE_SIZE.saturating_sub(at.page_offset())));
        let page = ram_page(machine, space, at, true).ok_or(Errno::EFAULT)?;
        if !page.write_bytes(at.page_offset(), head) {
            return Err(Errno::EFAULT);
        }
        at = at.checked_add(head.len() as u64).ok_or(Errno::EFAULT)?;
        rest = tail;
    }
    Ok(())
}
