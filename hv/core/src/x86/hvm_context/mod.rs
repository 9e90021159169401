//! The HVM context of a domain: the state of its vCPUs and devices as records, which the toolstack reads to save a
//! domain, and writes to restore one or to start a new one.
//!
//! The records, their order and the errors are those of Xen 4.17 for a PVH or an HVM domain. Nothing in a record is trusted.
//! **Source:** `hvm/save.h`, `arch-x86/hvm/save.h`.

mod device_records;
mod registers;
mod stream;
mod vcpu_records;
mod viridian_records;

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::x86::interrupts::take_requests;
use alloc::vec::Vec;
use device_records::{CHIPS, CHIPS_BYTES, LINES, LINES_BYTES};
use stream::{Reader, Writer};
use vcpu_records::{BODY_BYTES, TYPES};
use viridian_records::TYPES as VIRIDIAN;
use xen_abi::hvm_save::{
    HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, HVM_SAVE_CODE_HEADER, HVM_SAVE_CODE_MAX,
    HvmSaveDescriptor, HvmSaveHeader,
};
use xen_abi::{Errno, VcpuId};
use xenolith_hal::{LogLevel, Machine};

/// The number past the types that Xen counts on, among them the MSRs, which come last.
const TYPECODES: core::ops::RangeInclusive<u16> = HVM_SAVE_CODE_HEADER..=HVM_SAVE_CODE_MAX;

/// Whose records those of a type are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Vcpus,
    Devices,
    Viridian,
}

/// Returns a bit for each of these types.
#[expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "worked out when it is compiled")]
const fn mask<const COUNT: usize>(types: &[u16; COUNT]) -> u64 {
    let (mut mask, mut index) = (0, 0);
    while index < COUNT {
        mask |= 1 << types[index];
        index += 1;
    }
    mask
}

/// Returns whose records those of a type are; None for a type that a domain does not have.
fn whose<M: Machine>(domain: &Domain<M>, typecode: u16) -> Option<Whose> {
    const VCPUS: u64 = mask(&TYPES);
    const ALL_LINES: u64 = mask(&LINES);
    const ALL_CHIPS: u64 = mask(&CHIPS);
    const ALL_VIRIDIAN: u64 = mask(&VIRIDIAN);
    let is_in = |mask: u64| mask & 1u64.checked_shl(typecode.into()).unwrap_or(0) != 0;
    if is_in(VCPUS) {
        Some(Whose::Vcpus)
    } else if is_in(ALL_LINES) || is_in(ALL_CHIPS) && domain.chipset.get().is_some() {
        Some(Whose::Devices)
    } else if is_in(ALL_VIRIDIAN) && domain.viridian.get().is_some() {
        Some(Whose::Viridian)
    } else {
        None
    }
}

/// Returns the longest context that the domain can have, in bytes.
pub fn size<M: Machine>(domain: &Domain<M>) -> usize {
    const DESCRIPTOR: usize = size_of::<HvmSaveDescriptor>();
    const EACH: usize = BODY_BYTES + TYPES.len() * DESCRIPTOR;
    const WHOLE: usize = size_of::<HvmSaveHeader>() + LINES_BYTES + 2 * DESCRIPTOR;
    let chips = if domain.chipset.get().is_some() { CHIPS_BYTES } else { 0 };
    let viridian = if domain.viridian.get().is_some() { viridian_records::size(domain) } else { 0 };
    domain.vcpus.len().saturating_mul(EACH).saturating_add(WHOLE).saturating_add(chips).saturating_add(viridian)
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
    let chips = device_records::of_chipset(hv, domain);
    take_in(domain)?;
    for typecode in TYPECODES {
        match whose(domain, typecode) {
            Some(Whose::Vcpus) => save_of_each(hv, domain, typecode, &mut writer)?,
            Some(Whose::Devices) => device_records::save(chips.as_ref(), typecode, &mut writer)?,
            Some(Whose::Viridian) => viridian_records::save(hv, domain, typecode, &mut writer)?,
            None => {}
        }
    }
    writer.record(HVM_SAVE_CODE_END, 0, &())?;
    Ok(writer.into_bytes())
}

/// Brings interrupts that were sent into the local APICs, whose records have them then.
fn take_in<M: Machine>(domain: &Domain<M>) -> Result<(), Errno> {
    for vcpu in &domain.vcpus {
        vcpu.with_core_apart(|core| take_requests(vcpu, core))?;
    }
    Ok(())
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
    let typecode = u16::try_from(typecode).map_err(|_| Errno::EINVAL)?;
    let mut writer = Writer::default();
    match whose(domain, typecode).ok_or(Errno::EINVAL)? {
        Whose::Devices => device_records::save(device_records::of_chipset(hv, domain).as_ref(), typecode, &mut writer)?,
        Whose::Viridian => viridian_records::save(hv, domain, typecode, &mut writer)?,
        Whose::Vcpus => {
            let vcpu = domain.vcpu(VcpuId(instance)).ok_or(Errno::ENOENT)?;
            vcpu.with_core_apart(|core| vcpu_records::save(hv, vcpu, core, typecode, &mut writer))??;
        }
    }
    let bytes = writer.into_bytes();
    let mut reader = Reader::of(&bytes);
    let mut record = reader.next()?;
    while u32::from(record.instance) != instance {
        record = reader.next().map_err(|_| Errno::ENOENT)?;
    }
    let mut body = Vec::new();
    body.try_reserve_exact(record.body.len()).map_err(|_| Errno::ENOMEM)?;
    body.extend_from_slice(record.body);
    Ok(body)
}

/// Loads a context into a paused domain: all vCPUs are down afterwards except the ones whose registers are in it.
///
/// Records before one that is refused were loaded. The log says which one that was.
///
/// **Errors:** `EINVAL` for a domain that is dying, a header that is not one, a type that does not exist, and a record
/// that makes no sense; `ENODATA` for a context without a header or an end; `ENODEV` for a device that the domain does
/// not have; and as `vcpu_records::load`.
pub fn load<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, bytes: &[u8]) -> Result<(), Errno> {
    let mut reader = Reader::of(bytes);
    let loaded = load_all(hv, domain, &mut reader);
    match loaded {
        // It is tried again.
        Ok(()) | Err(Errno::EAGAIN) => {}
        Err(errno) => tell_refused(hv, domain, reader.began, errno),
    }
    loaded
}

#[cold]
fn tell_refused<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, (typecode, instance): (u16, u16), errno: Errno) {
    let line =
        format_args!("HVM{} restore: failed to load entry {typecode}/{instance} rc -{}", domain.id, errno.number());
    hv.machine.log(LogLevel::Error, true, line);
}

fn load_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, reader: &mut Reader<'_>) -> Result<(), Errno> {
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
    let all = reader.clone();
    loop {
        let record = reader.next()?;
        match record.typecode {
            HVM_SAVE_CODE_END => break,
            typecode if LINES.contains(&typecode) || CHIPS.contains(&typecode) => {
                device_records::load(hv, domain, &record)?;
            }
            typecode if whose(domain, typecode) == Some(Whose::Viridian) => {
                viridian_records::load(hv, domain, &record)?;
            }
            HVM_SAVE_CODE_HEADER | HVM_SAVE_CODE_MAX.. if record.typecode != HVM_SAVE_CODE_MAX => {
                return Err(Errno::EINVAL);
            }
            _ => {
                vcpu_records::load(hv, domain, &record, &all)?;
                if record.typecode == HVM_SAVE_CODE_CPU && record.instance == 0 {
                    follow_first(domain);
                }
            }
        }
    }
    Ok(())
}

/// Sets the time stamp counter of vCPUs that are not started yet to the first one's.
fn follow_first<M: Machine>(domain: &Domain<M>) {
    let Some(offset) = domain.vcpu(VcpuId(0)).and_then(|first| first.with_core(|core| core.tsc_offset)) else { return };
    for vcpu in domain.vcpus.iter().filter(|vcpu| !vcpu.is_up()) {
        vcpu.with_core(|core| core.shift_tsc(offset.wrapping_sub(core.tsc_offset)));
    }
}
