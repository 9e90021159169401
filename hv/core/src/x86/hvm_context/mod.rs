//! The HVM context of a domain: the state of its vCPUs and devices as records, which the toolstack reads to save a
//! domain, and writes to restore one or to start a new one.
//!
//! The records, their order and the errors are those of Xen 4.17 for a PVH domain. Nothing in a record is trusted.
//! **Source:** `hvm/save.h`, `arch-x86/hvm/save.h`.

mod registers;
mod stream;
mod vcpu_records;

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use alloc::vec::Vec;
use stream::{Reader, Record, Writer};
use vcpu_records::{AFTER_DEVICES, BEFORE_DEVICES, BODY_BYTES};
use xen_abi::hvm_save::{
    HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, HVM_SAVE_CODE_HEADER, HVM_SAVE_CODE_HPET,
    HVM_SAVE_CODE_IOAPIC, HVM_SAVE_CODE_ISA_IRQ, HVM_SAVE_CODE_MAX, HVM_SAVE_CODE_PCI_IRQ, HVM_SAVE_CODE_PCI_LINK,
    HVM_SAVE_CODE_PIC, HVM_SAVE_CODE_PIT, HVM_SAVE_CODE_PMTIMER, HVM_SAVE_CODE_RTC, HvmHwIsaIrqs, HvmHwPciIrqs,
    HvmHwPciLink, HvmSaveDescriptor, HvmSaveHeader,
};
use xen_abi::{Errno, VcpuId};
use xenolith_hal::Machine;

/// The records of the domain as a whole: interrupt lines to which no device is connected.
const DEVICES: [u16; 3] = [HVM_SAVE_CODE_PCI_IRQ, HVM_SAVE_CODE_ISA_IRQ, HVM_SAVE_CODE_PCI_LINK];

/// Returns whether a record of this type can be read.
fn is_saved(typecode: u16) -> bool {
    [BEFORE_DEVICES.as_slice(), &DEVICES, &AFTER_DEVICES].iter().any(|codes| codes.contains(&typecode))
}

/// Returns the longest context that the domain can have, in bytes.
pub fn size<M: Machine>(domain: &Domain<M>) -> usize {
    const DESCRIPTOR: usize = size_of::<HvmSaveDescriptor>();
    const EACH: usize = BODY_BYTES + (BEFORE_DEVICES.len() + AFTER_DEVICES.len()) * DESCRIPTOR;
    const LINES: usize = size_of::<HvmHwPciIrqs>() + size_of::<HvmHwIsaIrqs>() + size_of::<HvmHwPciLink>();
    const WHOLE: usize = size_of::<HvmSaveHeader>() + LINES + (DEVICES.len() + 2) * DESCRIPTOR;
    domain.vcpus.len().saturating_mul(EACH).saturating_add(WHOLE)
}

/// Saves the whole context of a paused domain.
///
/// **Errors:** `ENOMEM`; `EAGAIN` for a domain that is not paused.
pub fn save<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> Result<Vec<u8>, Errno> {
    let mut writer = Writer::default();
    let header = HvmSaveHeader {
        magic: HVM_FILE_MAGIC,
        version: HVM_FILE_VERSION,
        changeset: u64::MAX,
        cpuid: hv.machine.cpuid(1, 0).eax,
        gtsc_khz: hv.settings.tsc_khz,
    };
    writer.record(HVM_SAVE_CODE_HEADER, 0, &header)?;
    for typecode in BEFORE_DEVICES {
        save_of_each(hv, domain, typecode, &mut writer)?;
    }
    for typecode in DEVICES {
        save_device(typecode, &mut writer)?;
    }
    for typecode in AFTER_DEVICES {
        save_of_each(hv, domain, typecode, &mut writer)?;
    }
    writer.record(HVM_SAVE_CODE_END, 0, &())?;
    Ok(writer.into_bytes())
}

fn save_of_each<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    typecode: u16,
    writer: &mut Writer,
) -> Result<(), Errno> {
    for vcpu in &domain.vcpus {
        vcpu.with_core_apart(|core| vcpu_records::save(hv, vcpu, core, typecode, writer))??;
    }
    Ok(())
}

fn save_device(typecode: u16, writer: &mut Writer) -> Result<(), Errno> {
    match typecode {
        HVM_SAVE_CODE_PCI_IRQ => writer.record(typecode, 0, &HvmHwPciIrqs::default()),
        HVM_SAVE_CODE_ISA_IRQ => writer.record(typecode, 0, &HvmHwIsaIrqs::default()),
        HVM_SAVE_CODE_PCI_LINK => writer.record(typecode, 0, &HvmHwPciLink::default()),
        _ => Ok(()),
    }
}

/// Saves the body of one record of a paused domain.
///
/// **Errors:** `EINVAL` for a type that is not saved; `ENOENT` for a vCPU or a device that does not exist; `ENODATA`
/// for a vCPU that has no such record; `EAGAIN`, `ENOMEM`.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub fn save_one<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    typecode: u32,
    instance: u32,
) -> Result<Vec<u8>, Errno> {
    let typecode = u16::try_from(typecode).ok().filter(|typecode| is_saved(*typecode)).ok_or(Errno::EINVAL)?;
    let mut writer = Writer::default();
    if DEVICES.contains(&typecode) {
        save_device(typecode, &mut writer)?;
    } else {
        let vcpu = domain.vcpu(VcpuId(instance)).ok_or(Errno::ENOENT)?;
        vcpu.with_core_apart(|core| vcpu_records::save(hv, vcpu, core, typecode, &mut writer))??;
    }
    let bytes = writer.into_bytes();
    let record = Reader(&bytes).next()?;
    if u32::from(record.instance) != instance {
        return Err(Errno::ENOENT);
    }
    let mut body = Vec::new();
    body.try_reserve_exact(record.body.len()).map_err(|_| Errno::ENOMEM)?;
    body.extend_from_slice(record.body);
    Ok(body)
}

/// Loads a context into a paused domain: all vCPUs are down afterwards except the ones whose registers are in it.
///
/// Records before one that is refused were loaded.
///
/// **Errors:** `EINVAL` for a domain that is dying, a header that is not one, a type that does not exist, and a record
/// that makes no sense; `ENODATA` for a context without a header or an end; `ENODEV` for a device that the domain does
/// not have; and as `vcpu_records::load`.
pub fn load<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, bytes: &[u8]) -> Result<(), Errno> {
    let mut reader = Reader(bytes);
    let first = reader.next().map_err(|_| Errno::ENODATA)?;
    let header: HvmSaveHeader = if first.typecode == HVM_SAVE_CODE_HEADER {
        first.read().map_err(|_| Errno::ENODATA)?
    } else {
        return Err(Errno::ENODATA);
    };
    if header.magic != HVM_FILE_MAGIC || header.version != HVM_FILE_VERSION {
        return Err(Errno::EINVAL);
    }
    for vcpu in &domain.vcpus {
        vcpu.take_down();
    }
    loop {
        let record = reader.next()?;
        match record.typecode {
            HVM_SAVE_CODE_END => break,
            typecode if DEVICES.contains(&typecode) => load_device(&record)?,
            HVM_SAVE_CODE_PIC
            | HVM_SAVE_CODE_IOAPIC
            | HVM_SAVE_CODE_PIT
            | HVM_SAVE_CODE_RTC
            | HVM_SAVE_CODE_HPET
            | HVM_SAVE_CODE_PMTIMER => return Err(Errno::ENODEV),
            HVM_SAVE_CODE_HEADER | HVM_SAVE_CODE_MAX.. if record.typecode != HVM_SAVE_CODE_MAX => {
                return Err(Errno::EINVAL);
            }
            _ => {
                vcpu_records::load(hv, domain, &record)?;
                if record.typecode == HVM_SAVE_CODE_CPU && record.instance == 0 {
                    follow_first(domain);
                }
            }
        }
    }
    Ok(())
}

/// Checks the interrupt lines of a domain that has no devices: their values are ignored.
fn load_device(record: &Record<'_>) -> Result<(), Errno> {
    match record.typecode {
        HVM_SAVE_CODE_PCI_IRQ => record.read::<HvmHwPciIrqs>().map(|_| ()),
        HVM_SAVE_CODE_ISA_IRQ => record.read::<HvmHwIsaIrqs>().map(|_| ()),
        _ => record.read::<HvmHwPciLink>().map(|_| ()),
    }
}

/// Sets the time stamp counter of vCPUs that are not started yet to the first one's.
fn follow_first<M: Machine>(domain: &Domain<M>) {
    let Some(offset) = domain.vcpu(VcpuId(0)).and_then(|first| first.with_core(|core| core.tsc_offset)) else { return };
    for vcpu in domain.vcpus.iter().filter(|vcpu| !vcpu.is_up()) {
        vcpu.with_core(|core| core.shift_tsc(offset.wrapping_sub(core.tsc_offset)));
    }
}
