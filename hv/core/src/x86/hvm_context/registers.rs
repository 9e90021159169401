//! The record of a vCPU's registers.

use xen_abi::Errno;
use xen_abi::hvm_save_cpu::{HvmCpuFlags, HvmHwCpu};
use xenolith_hal::{CpuState, DescriptorTable, EventInFlight, EventKind, Registers, Segment, SegmentAttributes};

/// CR0: PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG. **Source:** AMD manual volume 2, 3.1.1.
const CR0_KNOWN: u64 = 0xe005_003f;
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EVENT_VALID: u32 = 1 << 31;
const EVENT_HAS_ERROR_CODE: u32 = 1 << 11;
/// Reserved bits of an event.
const EVENT_RESERVED: u32 = 0x7fff_f000;
/// The kinds of events in bits 8 to 10. **Source:** AMD manual volume 2, 15.20.
const EVENT_KINDS: [(u32, EventKind); 4] =
    [(0, EventKind::Interrupt), (2, EventKind::Nmi), (3, EventKind::Exception), (4, EventKind::SoftwareInterrupt)];
const EVENT_KIND_SHIFT: u32 = 8;

/// Converts an access word from the format of Xen before 4.9 (Intel's) to that of AMD's, in which the
/// descriptor's bits lie one behind the other.
const fn attributes(word: u32) -> SegmentAttributes {
    let word = if word & 0xf000 != 0 && word & 0xf00 == 0 { (word & 0xff) | ((word >> 4) & 0xf00) } else { word };
    SegmentAttributes::from_bits_truncate(word as u16)
}

const fn segment(selector: u32, limit: u32, base: u64, access: u32) -> Segment {
    Segment { selector: selector as u16, attributes: attributes(access), limit, base }
}

const fn table(limit: u32, base: u64) -> DescriptorTable {
    DescriptorTable { limit: limit as u16, base }
}

/// Builds the record of a CPU state. The caller adds floating point, debug addresses, the time stamp counter and
/// pending events.
pub fn record(state: &CpuState) -> HvmHwCpu {
    let mut record = HvmHwCpu::default();
    general(&mut record, &state.registers);
    control(&mut record, state);
    let words =
        |segment: &Segment| (segment.selector.into(), segment.limit, segment.base, segment.attributes.bits().into());
    (record.cs_sel, record.cs_limit, record.cs_base, record.cs_arbytes) = words(&state.cs);
    (record.ds_sel, record.ds_limit, record.ds_base, record.ds_arbytes) = words(&state.ds);
    (record.es_sel, record.es_limit, record.es_base, record.es_arbytes) = words(&state.es);
    (record.fs_sel, record.fs_limit, record.fs_base, record.fs_arbytes) = words(&state.fs);
    (record.gs_sel, record.gs_limit, record.gs_base, record.gs_arbytes) = words(&state.gs);
    (record.ss_sel, record.ss_limit, record.ss_base, record.ss_arbytes) = words(&state.ss);
    (record.tr_sel, record.tr_limit, record.tr_base, record.tr_arbytes) = words(&state.tr);
    (record.ldtr_sel, record.ldtr_limit, record.ldtr_base, record.ldtr_arbytes) = words(&state.ldtr);
    (record.idtr_limit, record.idtr_base) = (state.idtr.limit.into(), state.idtr.base);
    (record.gdtr_limit, record.gdtr_base) = (state.gdtr.limit.into(), state.gdtr.base);
    record
}

fn general(record: &mut HvmHwCpu, r: &Registers) {
    (record.rax, record.rbx, record.rcx, record.rdx) = (r.rax, r.rbx, r.rcx, r.rdx);
    (record.rbp, record.rsi, record.rdi, record.rsp) = (r.rbp, r.rsi, r.rdi, r.rsp);
    (record.r8, record.r9, record.r10, record.r11) = (r.r8, r.r9, r.r10, r.r11);
    (record.r12, record.r13, record.r14, record.r15) = (r.r12, r.r13, r.r14, r.r15);
    (record.rip, record.rflags) = (r.rip, r.rflags);
}

fn control(record: &mut HvmHwCpu, state: &CpuState) {
    (record.cr0, record.cr2, record.cr3, record.cr4) = (state.cr0, state.cr2, state.cr3, state.cr4);
    (record.dr6, record.dr7, record.msr_efer) = (state.dr6, state.dr7, state.efer);
    (record.sysenter_cs, record.sysenter_esp, record.sysenter_eip) =
        (state.sysenter_cs, state.sysenter_esp, state.sysenter_eip);
    (record.shadow_gs, record.msr_star, record.msr_lstar) = (state.kernel_gs_base, state.star, state.lstar);
    (record.msr_cstar, record.msr_syscall_mask) = (state.cstar, state.sfmask);
}

/// Builds the CPU state of a record. `pat`, which the record does not have, is taken as it is.
pub fn state(record: &HvmHwCpu, pat: u64) -> CpuState {
    let r = record;
    CpuState {
        registers: Registers {
            rax: r.rax,
            rbx: r.rbx,
            rcx: r.rcx,
            rdx: r.rdx,
            rsi: r.rsi,
            rdi: r.rdi,
            rbp: r.rbp,
            rsp: r.rsp,
            r8: r.r8,
            r9: r.r9,
            r10: r.r10,
            r11: r.r11,
            r12: r.r12,
            r13: r.r13,
            r14: r.r14,
            r15: r.r15,
            rip: r.rip,
            rflags: r.rflags,
        },
        cr0: r.cr0,
        cr2: r.cr2,
        cr3: r.cr3,
        cr4: r.cr4,
        efer: r.msr_efer,
        dr6: r.dr6,
        dr7: r.dr7,
        cs: segment(r.cs_sel, r.cs_limit, r.cs_base, r.cs_arbytes),
        ss: segment(r.ss_sel, r.ss_limit, r.ss_base, r.ss_arbytes),
        ds: segment(r.ds_sel, r.ds_limit, r.ds_base, r.ds_arbytes),
        es: segment(r.es_sel, r.es_limit, r.es_base, r.es_arbytes),
        fs: segment(r.fs_sel, r.fs_limit, r.fs_base, r.fs_arbytes),
        gs: segment(r.gs_sel, r.gs_limit, r.gs_base, r.gs_arbytes),
        tr: segment(r.tr_sel, r.tr_limit, r.tr_base, r.tr_arbytes),
        ldtr: segment(r.ldtr_sel, r.ldtr_limit, r.ldtr_base, r.ldtr_arbytes),
        gdtr: table(r.gdtr_limit, r.gdtr_base),
        idtr: table(r.idtr_limit, r.idtr_base),
        star: r.msr_star,
        lstar: r.msr_lstar,
        cstar: r.msr_cstar,
        sfmask: r.msr_syscall_mask,
        kernel_gs_base: r.shadow_gs,
        sysenter_cs: r.sysenter_cs,
        sysenter_esp: r.sysenter_esp,
        sysenter_eip: r.sysenter_eip,
        pat,
    }
}

fn event_kind(word: u32) -> Option<EventKind> {
    let number = word >> EVENT_KIND_SHIFT & 7;
    EVENT_KINDS.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
}

/// Reads the event of a record that [`check`] let pass; none if it has none.
pub fn event(record: &HvmHwCpu) -> Option<EventInFlight> {
    let word = record.pending_event;
    let kind = event_kind(word).filter(|_| word & EVENT_VALID != 0)?;
    let error_code = (word & EVENT_HAS_ERROR_CODE != 0).then_some(record.error_code);
    Some(EventInFlight { vector: word as u8, kind, error_code })
}

/// Gives a record's `pending_event` and `error_code`.
pub fn event_words(event: Option<EventInFlight>) -> (u32, u32) {
    let Some(EventInFlight { vector, kind, error_code }) = event else { return (0, 0) };
    let number = EVENT_KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| *number);
    let has_code = if error_code.is_some() { EVENT_HAS_ERROR_CODE } else { 0 };
    (EVENT_VALID | has_code | number << EVENT_KIND_SHIFT | u32::from(vector), error_code.unwrap_or(0))
}

/// Checks a record as far as the machine is not needed for it. The machine refuses what only some processors have.
///
/// **Errors:** `EINVAL`. **Source:** Xen 4.17, what `XEN_DOMCTL_sethvmcontext` refuses.
pub fn check(record: &HvmHwCpu) -> Result<(), Errno> {
    let (cr0, efer) = (record.cr0, record.msr_efer);
    let paging = cr0 & CR0_PG != 0;
    let event = record.pending_event;
    let kind = event_kind(event);
    let vector = event & 0xff;
    let vector_fits = match kind {
        Some(EventKind::Nmi) => vector == 2,
        Some(EventKind::Exception) => vector < 32 && vector != 2,
        Some(_) => true,
        None => false,
    };
    let event_fits = event & EVENT_VALID == 0 || (event & EVENT_RESERVED == 0 && vector_fits);
    let sound = record.pad0 == 0
        && cr0 & !CR0_KNOWN == 0
        && cr0 & CR0_ET != 0
        && (!paging || cr0 & CR0_PE != 0)
        && (efer & EFER_LMA == 0 || (efer & EFER_LME != 0 && paging))
        && record.flags.difference(HvmCpuFlags::FPU_INITIALISED).is_empty()
        && u32::try_from(record.msr_tsc_aux).is_ok()
        && event_fits;
    if sound { Ok(()) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_its_record_says() {
        let mut before = CpuState::at_pvh_entry(0x10_0000, 0x2000);
        before.registers.r13 = 13;
        (before.lstar, before.kernel_gs_base, before.gdtr.limit) = (0x77, 0x99, 0x7f);
        let record = record(&before);
        assert_eq!((record.cs_arbytes, record.rbx, check(&record)), (0xc9b, 0x2000, Ok(())));
        assert_eq!(state(&record, before.pat), before);
    }

    #[test]
    fn access_words_of_intels_hardware_are_understood() {
        assert_eq!(attributes(0xc09b).bits(), 0xc9b);
        assert_eq!(attributes(0xc9b).bits(), 0xc9b);
        assert_eq!(attributes(0x8b).bits(), 0x8b);
        assert_eq!(attributes(0x1_0000).bits(), 0);
    }

    #[test]
    fn an_event_comes_back_from_its_record() {
        for (pending_event, error_code) in
            [(0, 0), (0x8000_0202, 0), (0x8000_0b0d, 5), (0x8000_0480, 0), (0x8000_00f3, 0)]
        {
            let record = HvmHwCpu { pending_event, error_code, ..HvmHwCpu::default() };
            assert_eq!(event_words(event(&record)), (pending_event, error_code));
        }
        let stray = HvmHwCpu { pending_event: 0x8000_0202, error_code: 5, ..HvmHwCpu::default() };
        assert_eq!(event_words(event(&stray)), (0x8000_0202, 0), "a code that the event does not have");
        let not_valid = HvmHwCpu { pending_event: 0x0202, ..HvmHwCpu::default() };
        assert_eq!(event(&not_valid), None);
    }

    #[test]
    fn what_no_processor_holds_is_refused() {
        let good = record(&CpuState::at_pvh_entry(0, 0));
        let refused = |change: fn(&mut HvmHwCpu)| {
            let mut record = good;
            change(&mut record);
            check(&record) == Err(Errno::EINVAL)
        };
        assert!(refused(|record| record.pad0 = 1));
        assert!(refused(|record| record.cr0 = 1));
        assert!(refused(|record| record.cr0 = CR0_ET | CR0_PG));
        assert!(refused(|record| record.cr0 |= 1 << 32));
        assert!(refused(|record| record.msr_efer = EFER_LMA));
        assert!(refused(|record| record.msr_efer = EFER_LMA | EFER_LME));
        assert!(refused(|record| record.flags = HvmCpuFlags(2)));
        assert!(refused(|record| record.msr_tsc_aux = 1 << 32));
        assert!(refused(|record| record.pending_event = EVENT_VALID | 1 << 8));
        assert!(refused(|record| record.pending_event = EVENT_VALID | 1 << 12));
    }
}
