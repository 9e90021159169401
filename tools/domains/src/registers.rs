//! The state in which the vCPUs start: memory types of all, and the registers of the first as PVH wants them.

use xen_abi::hvm_save::{HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_END, HVM_SAVE_CODE_HEADER, HVM_SAVE_CODE_MTRR};
use xen_abi::hvm_save::{HvmHwMtrr, HvmSaveDescriptor, HvmSaveHeader};
use xen_abi::hvm_save_cpu::HvmHwCpu;
use zerocopy::{FromBytes, IntoBytes};

/// MTRRs are on (bit 11), and memory is write-back (6) where no range says otherwise.
const WRITE_BACK: u64 = 1 << 11 | 6;

/// Access words of flat 32-bit segments: code, data, and the task segment that a processor must have.
const CODE: u32 = 0xc9b;
const DATA: u32 = 0xc93;
const TASK: u32 = 0x8b;
const TASK_LIMIT: u32 = 0x67;

/// CR0: protected mode, and the coprocessor's type as every processor has it.
const PROTECTED: u64 = 1 | 1 << 4;
/// What the debug registers hold after a reset.
const DR6: u64 = 0xffff_0ff0;
const DR7: u64 = 0x400;

/// Returns the body of the first record of a type; None if there is none.
fn body(records: &[u8], typecode: u16) -> Option<&[u8]> {
    let mut rest = records;
    loop {
        let (descriptor, after) = HvmSaveDescriptor::read_from_prefix(rest).ok()?;
        let (body, next) = after.split_at_checked(descriptor.length as usize)?;
        match descriptor.typecode {
            found if found == typecode => return Some(body),
            HVM_SAVE_CODE_END => return None,
            _ => rest = next,
        }
    }
}

fn record(typecode: u16, instance: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [HvmSaveDescriptor { typecode, instance, length }.as_bytes(), body].concat()
}

/// Returns the records that set vCPUs up to start, in the order in which they are to be loaded, each with the header and
/// the end that a saved state has; None if `saved`, the state of the new domain, lacks the records that they build on.
#[must_use]
pub fn start(saved: &[u8], vcpus: u32, entry: u32, start_info: u64) -> Option<Vec<Vec<u8>>> {
    let header = body(saved, HVM_SAVE_CODE_HEADER)?;
    HvmSaveHeader::read_from_bytes(header).ok()?;
    let whole = |typecode, instance, body: &[u8]| {
        let header = record(HVM_SAVE_CODE_HEADER, 0, header);
        [header, record(typecode, instance, body), record(HVM_SAVE_CODE_END, 0, &[])].concat()
    };
    let (mtrr, _) = HvmHwMtrr::read_from_prefix(body(saved, HVM_SAVE_CODE_MTRR)?).ok()?;
    let mtrr = HvmHwMtrr { msr_mtrr_def_type: WRITE_BACK, ..mtrr };
    let instances = (0..u16::try_from(vcpus).ok()?).map(|vcpu| whole(HVM_SAVE_CODE_MTRR, vcpu, mtrr.as_bytes()));
    let first = whole(HVM_SAVE_CODE_CPU, 0, first(entry, start_info).as_bytes());
    Some(instances.chain([first]).collect())
}

/// Returns the record by which the first vCPU's call that suspended the domain returns `result`, with the header and the end
/// that a saved state has; None if `saved` has no such vCPU.
#[must_use]
pub fn with_result(saved: &[u8], result: u64) -> Option<Vec<u8>> {
    let header = record(HVM_SAVE_CODE_HEADER, 0, body(saved, HVM_SAVE_CODE_HEADER)?);
    let cpu = HvmHwCpu::read_from_bytes(body(saved, HVM_SAVE_CODE_CPU)?).ok()?;
    let cpu = record(HVM_SAVE_CODE_CPU, 0, HvmHwCpu { rax: result, ..cpu }.as_bytes());
    Some([header, cpu, record(HVM_SAVE_CODE_END, 0, &[])].concat())
}

/// Returns the registers of the first vCPU: flat 32-bit segments, paging off, EBX at the start information.
/// **Source:** Xen's `docs/misc/pvh.pandoc`.
fn first(entry: u32, start_info: u64) -> HvmHwCpu {
    HvmHwCpu {
        rip: u64::from(entry),
        rbx: start_info,
        rflags: 2,
        cr0: PROTECTED,
        dr6: DR6,
        dr7: DR7,
        cs_limit: u32::MAX,
        ds_limit: u32::MAX,
        es_limit: u32::MAX,
        ss_limit: u32::MAX,
        tr_limit: TASK_LIMIT,
        cs_arbytes: CODE,
        ds_arbytes: DATA,
        es_arbytes: DATA,
        ss_arbytes: DATA,
        tr_arbytes: TASK,
        ..HvmHwCpu::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Vec<u8> {
        let mtrr = HvmHwMtrr { msr_pat_cr: 0x7_0406, msr_mtrr_cap: 0x508, ..HvmHwMtrr::default() };
        let header = HvmSaveHeader { gtsc_khz: 5, ..HvmSaveHeader::default() };
        [
            record(HVM_SAVE_CODE_HEADER, 0, header.as_bytes()),
            record(HVM_SAVE_CODE_MTRR, 0, mtrr.as_bytes()),
            record(HVM_SAVE_CODE_END, 0, &[]),
        ]
        .concat()
    }

    #[test]
    fn every_vcpu_gets_its_memory_types_and_the_first_its_registers_last() {
        let loads = start(&saved(), 2, 0x100_0850, 0x191_c000).unwrap();
        assert_eq!(loads.iter().map(Vec::len).collect::<Vec<_>>(), [0x120, 0x120, 32 + 8 + 1032 + 8]);
        for load in &loads {
            let header = HvmSaveHeader::read_from_bytes(body(load, HVM_SAVE_CODE_HEADER).unwrap()).unwrap();
            assert_eq!(header.gtsc_khz, 5);
        }
        let mtrr = HvmHwMtrr::read_from_bytes(body(&loads[1], HVM_SAVE_CODE_MTRR).unwrap()).unwrap();
        assert_eq!((mtrr.msr_mtrr_def_type, mtrr.msr_pat_cr, mtrr.msr_mtrr_cap), (0x806, 0x7_0406, 0x508));
        assert_eq!(loads[1][34..36], [1, 0], "the record is that of vCPU 1");
        let cpu = HvmHwCpu::read_from_bytes(body(&loads[2], HVM_SAVE_CODE_CPU).unwrap()).unwrap();
        assert_eq!((cpu.rip, cpu.rbx, cpu.cr0, cpu.msr_efer), (0x100_0850, 0x191_c000, 0x11, 0));
    }

    #[test]
    fn a_state_that_lacks_a_record_or_lies_about_a_length_is_none() {
        assert_eq!(start(&[], 1, 0, 0), None);
        assert_eq!(start(&record(HVM_SAVE_CODE_HEADER, 0, &[0; 24]), 1, 0, 0), None);
        let mut lies = saved();
        lies[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(start(&lies, 1, 0, 0), None);
        let short = [record(HVM_SAVE_CODE_HEADER, 0, &[0; 24]), record(HVM_SAVE_CODE_MTRR, 0, &[0; 8])].concat();
        assert_eq!(start(&short, 1, 0, 0), None);
    }
}
