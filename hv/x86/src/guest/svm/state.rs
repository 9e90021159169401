//! A guest's CPU state: consistency checks, and its format in the VMCB.

use super::features::Features;
use super::vmcb::{Field, Vmcb};
use xenolith_hal::{CpuState, InvalidState, Registers, Segment, SegmentAttributes};

/// EFER bits. **Source:** AMD manual volume 2, 3.1.7.
pub(super) mod efer {
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    /// Must be set while a guest runs; the guest does not see it.
    pub const SVME: u64 = 1 << 12;
}

/// CR0 bits. **Source:** AMD manual volume 2, 3.1.1.
pub(super) mod cr0 {
    pub const PE: u64 = 1;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    /// PE MP EM TS ET NE, WP, AM, NW CD PG.
    pub const KNOWN: u64 = 0x3f | 1 << 16 | 1 << 18 | NW | CD | PG;
}

const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
const RFLAGS_FIXED: u64 = 2;
const RFLAGS_KNOWN: u64 = 0x003f_7fd7;
const RFLAGS_VM: u64 = 1 << 17;
/// Bits of DR6 and DR7 that read as 1, and bits that read as 0.
const DR6_ONES: u64 = 0xffff_0ff0;
const DR6_ZEROS: u64 = 1 << 12;
const DR7_ONES: u64 = 1 << 10;
const DR7_ZEROS: u64 = 0xd000;

/// Returns EFER with LMA as it follows from EFER.LME and CR0.PG. Bochs 2.7 clears the block's LMA before it notices that
/// the write of CR0 which ends paging is intercepted, so that long mode seems to have ended already.
pub(super) fn efer_now(vmcb: Vmcb) -> u64 {
    let stored = vmcb.get(Field::EFER) & !efer::LMA;
    if stored & efer::LME != 0 && vmcb.get(Field::CR0) & cr0::PG != 0 { stored | efer::LMA } else { stored }
}

pub(super) const fn canonical(address: u64) -> bool {
    let top = (address as i64) >> 47;
    top == 0 || top == -1
}

/// Returns true for a PAT that the CPU accepts: each byte one of the types 0, 1, 4 to 7.
pub(super) fn pat_is_valid(pat: u64) -> bool {
    pat.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7))
}

const fn require(condition: bool) -> Result<(), InvalidState> {
    if condition { Ok(()) } else { Err(InvalidState) }
}

/// Returns the state as the CPU would hold it: fixed bits have their values.
fn with_fixed_bits(state: &CpuState) -> CpuState {
    let mut state = *state;
    state.registers.rflags |= RFLAGS_FIXED;
    state.cr0 |= cr0::ET;
    state.dr6 = (state.dr6 | DR6_ONES) & !DR6_ZEROS;
    state.dr7 = (state.dr7 | DR7_ONES) & !DR7_ZEROS;
    state.efer &= !(efer::LMA | efer::SVME);
    if state.efer & efer::LME != 0 && state.cr0 & cr0::PG != 0 {
        state.efer |= efer::LMA;
    }
    state
}

fn check_control_registers(state: &CpuState, features: &Features) -> Result<(), InvalidState> {
    let (cr0, cr4) = (state.cr0, state.cr4);
    let paging = cr0 & cr0::PG != 0;
    let long = state.efer & efer::LMA != 0;
    require(cr0 & !cr0::KNOWN == 0)?;
    require(cr0 & cr0::NW == 0 || cr0 & cr0::CD != 0)?;
    require(!paging || cr0 & cr0::PE != 0)?;
    require(cr4 & !features.cr4 == 0)?;
    require(state.efer & !features.efer == 0)?;
    require(!long || cr4 & CR4_PAE != 0)?;
    require(cr4 & CR4_PCIDE == 0 || long)?;
    let address_bits = u32::from(features.address_bits.clamp(32, 52));
    require(state.cr3 >> if long { address_bits } else { 32 } == 0)?;
    let both = SegmentAttributes::LONG.union(SegmentAttributes::DEFAULT_SIZE);
    require(!long || !state.cs.attributes.contains(both))
}

fn check_addresses(state: &CpuState) -> Result<(), InvalidState> {
    let addresses = [
        state.fs.base,
        state.gs.base,
        state.tr.base,
        state.ldtr.base,
        state.gdtr.base,
        state.idtr.base,
        state.lstar,
        state.cstar,
        state.kernel_gs_base,
        state.sysenter_esp,
        state.sysenter_eip,
    ];
    require(addresses.into_iter().all(canonical))?;
    let long_code = state.efer & efer::LMA != 0 && state.cs.attributes.contains(SegmentAttributes::LONG);
    let rip = state.registers.rip;
    require(if long_code { canonical(rip) } else { rip >> 32 == 0 })?;
    // Outside 64-bit mode these bases have 32 bits.
    require([state.cs, state.ss, state.ds, state.es].iter().all(|segment| segment.base >> 32 == 0))
}

/// Checks a state from outside; returns it with fixed bits corrected.
///
/// **Errors:** [`InvalidState`] for what VMRUN would refuse (reserved bits, combinations that do not exist), and for
/// what no running CPU can hold.
///
/// **Source:** AMD manual volume 2, 15.5.1, "Canonicalization and Consistency Checks".
pub(super) fn checked(state: &CpuState, features: &Features) -> Result<CpuState, InvalidState> {
    require(state.dr6 >> 32 == 0 && state.dr7 >> 32 == 0)?;
    let state = with_fixed_bits(state);
    require(state.registers.rflags & !RFLAGS_KNOWN == 0)?;
    let protected = state.cr0 & cr0::PE != 0;
    require(state.registers.rflags & RFLAGS_VM == 0 || (protected && state.efer & efer::LMA == 0))?;
    check_control_registers(&state, features)?;
    check_addresses(&state)?;
    require(pat_is_valid(state.pat))?;
    Ok(state)
}

/// Returns the privilege level (CPL): that of the stack segment, except in modes in which segments have none.
fn privilege_level(state: &CpuState) -> u64 {
    if state.cr0 & cr0::PE == 0 {
        0
    } else if state.registers.rflags & RFLAGS_VM != 0 {
        3
    } else {
        state.ss.attributes.privilege().into()
    }
}

const SEGMENTS: usize = 8;

fn segments(state: &CpuState) -> [(Field, Segment); SEGMENTS] {
    [
        (Field::ES, state.es),
        (Field::CS, state.cs),
        (Field::SS, state.ss),
        (Field::DS, state.ds),
        (Field::FS, state.fs),
        (Field::GS, state.gs),
        (Field::LDTR, state.ldtr),
        (Field::TR, state.tr),
    ]
}

const WORDS: usize = 17;

fn words(state: &CpuState) -> [(Field, u64); WORDS] {
    [
        (Field::CR0, state.cr0),
        (Field::CR2, state.cr2),
        (Field::CR3, state.cr3),
        (Field::CR4, state.cr4),
        (Field::EFER, state.efer | efer::SVME),
        (Field::DR6, state.dr6),
        (Field::DR7, state.dr7),
        (Field::STAR, state.star),
        (Field::LSTAR, state.lstar),
        (Field::CSTAR, state.cstar),
        (Field::SFMASK, state.sfmask),
        (Field::KERNEL_GS_BASE, state.kernel_gs_base),
        (Field::SYSENTER_CS, state.sysenter_cs),
        (Field::SYSENTER_ESP, state.sysenter_esp),
        (Field::SYSENTER_EIP, state.sysenter_eip),
        (Field::G_PAT, state.pat),
        (Field::CPL, privilege_level(state) << 24),
    ]
}

/// Writes all but the general registers, RIP and RFLAGS, which are written at each entry.
pub(super) fn store(vmcb: Vmcb, state: &CpuState) {
    for (field, segment) in segments(state) {
        vmcb.set_segment(field, &segment);
    }
    vmcb.set_table(Field::GDTR, &state.gdtr);
    vmcb.set_table(Field::IDTR, &state.idtr);
    for (field, value) in words(state) {
        vmcb.set(field, value);
    }
}

/// Reads what [`store`] writes; the general registers are passed in.
pub(super) fn load(vmcb: Vmcb, registers: &Registers) -> CpuState {
    CpuState {
        registers: *registers,
        cr0: vmcb.get(Field::CR0),
        cr2: vmcb.get(Field::CR2),
        cr3: vmcb.get(Field::CR3),
        cr4: vmcb.get(Field::CR4),
        efer: vmcb.get(Field::EFER) & !efer::SVME,
        dr6: vmcb.get(Field::DR6),
        dr7: vmcb.get(Field::DR7),
        cs: vmcb.segment(Field::CS),
        ss: vmcb.segment(Field::SS),
        ds: vmcb.segment(Field::DS),
        es: vmcb.segment(Field::ES),
        fs: vmcb.segment(Field::FS),
        gs: vmcb.segment(Field::GS),
        tr: vmcb.segment(Field::TR),
        ldtr: vmcb.segment(Field::LDTR),
        gdtr: vmcb.table(Field::GDTR),
        idtr: vmcb.table(Field::IDTR),
        star: vmcb.get(Field::STAR),
        lstar: vmcb.get(Field::LSTAR),
        cstar: vmcb.get(Field::CSTAR),
        sfmask: vmcb.get(Field::SFMASK),
        kernel_gs_base: vmcb.get(Field::KERNEL_GS_BASE),
        sysenter_cs: vmcb.get(Field::SYSENTER_CS),
        sysenter_esp: vmcb.get(Field::SYSENTER_ESP),
        sysenter_eip: vmcb.get(Field::SYSENTER_EIP),
        pat: vmcb.get(Field::G_PAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use proptest::prelude::*;
    use xenolith_hal::PageWords;

    const FEATURES: Features = Features {
        asids: 16,
        next_rip: true,
        decode_assists: false,
        flush_by_asid: false,
        clean_bits: true,
        cr4: 0x7ff | CR4_PCIDE,
        efer: 0xd01,
        address_bits: 40,
        huge_pages: true,
        fpu_pointers: false,
        misaligned_sse: false,
        xcr0: 0,
        virtual_machine: false,
    };

    fn long_mode() -> CpuState {
        let mut state = CpuState::at_pvh_entry(0x10_0000, 0x1000);
        state.cr0 |= cr0::PG;
        state.cr4 = CR4_PAE;
        state.efer = efer::LME;
        state.cs.attributes = SegmentAttributes::from_bits_truncate(0xa9b);
        state
    }

    fn refused(change: impl Fn(&mut CpuState)) -> bool {
        let mut state = long_mode();
        assert!(checked(&state, &FEATURES).is_ok());
        change(&mut state);
        checked(&state, &FEATURES) == Err(InvalidState)
    }

    #[test]
    fn the_states_in_which_cpus_start_are_accepted() {
        for state in [CpuState::after_init(), CpuState::after_startup_ipi(0x9a), CpuState::at_pvh_entry(1, 2)] {
            assert_eq!(checked(&state, &FEATURES), Ok(state));
        }
    }

    #[test]
    fn paging_with_lme_is_long_mode() {
        assert_eq!(checked(&long_mode(), &FEATURES).unwrap().efer, efer::LME | efer::LMA);
        let mut state = long_mode();
        state.efer = efer::LMA;
        assert_eq!(checked(&state, &FEATURES).unwrap().efer, 0);
    }

    #[test]
    fn reserved_bits_are_refused() {
        assert!(refused(|state| state.cr0 |= 1 << 32));
        assert!(refused(|state| state.cr0 |= 1 << 6));
        assert!(refused(|state| state.cr3 = 1 << 40));
        assert!(refused(|state| state.cr4 |= 1 << 11));
        assert!(refused(|state| state.efer |= 1 << 13));
        assert!(refused(|state| state.dr6 |= 1 << 32));
        assert!(refused(|state| state.dr7 |= 1 << 63));
        assert!(refused(|state| state.registers.rflags |= 1 << 22));
        assert!(refused(|state| state.pat = 2));
    }

    #[test]
    fn impossible_combinations_are_refused() {
        assert!(refused(|state| state.cr0 &= !cr0::PE));
        assert!(refused(|state| state.cr4 = 0));
        assert!(refused(|state| state.cr0 |= cr0::NW));
        assert!(refused(|state| state.cs.attributes |= SegmentAttributes::DEFAULT_SIZE));
        assert!(refused(|state| state.registers.rflags |= RFLAGS_VM));
        assert!(refused(|state| {
            state.efer = 0;
            state.cr4 |= CR4_PCIDE;
        }));
    }

    #[test]
    fn addresses_outside_the_address_space_are_refused() {
        const ODD: u64 = 0x8000_0000_0000;
        assert!(refused(|state| state.registers.rip = ODD));
        assert!(refused(|state| state.lstar = ODD));
        assert!(refused(|state| state.kernel_gs_base = ODD));
        assert!(refused(|state| state.gdtr.base = ODD));
        assert!(refused(|state| state.tr.base = ODD));
        assert!(refused(|state| state.cs.base = 1 << 32));
    }

    fn segment() -> impl Strategy<Value = Segment> {
        (any::<u16>(), 0u16..0x1000, any::<u32>(), any::<u32>()).prop_map(|(selector, attributes, limit, base)| {
            let attributes = SegmentAttributes::from_bits_truncate(attributes);
            Segment { selector, attributes, limit, base: u64::from(base) }
        })
    }

    proptest! {
        #[test]
        fn a_stored_state_is_read_back_as_it_was(
            all in prop::collection::vec(segment(), 8),
            words in prop::array::uniform16(0u64..1 << 47),
        ) {
            let mut state = long_mode();
            [state.cs, state.ss, state.ds, state.es, state.fs, state.gs, state.tr, state.ldtr] =
                core::array::from_fn(|index| all[index]);
            [state.cr2, state.star, state.lstar, state.cstar, state.sfmask, state.kernel_gs_base, state.sysenter_cs,
             state.sysenter_esp, state.sysenter_eip, state.cr3, state.registers.rax, state.gdtr.base, state.idtr.base,
             _, _, _] = words;
            let vmcb = Vmcb::new(Box::leak(Box::new(PageWords::new())));
            store(vmcb, &state);
            prop_assert_eq!(load(vmcb, &state.registers), state);
        }

        #[test]
        fn what_is_accepted_once_is_accepted_unchanged_again(
            (cr0, cr4, efer) in (any::<u32>(), any::<u32>(), any::<u32>()),
            rflags in any::<u32>(),
        ) {
            let mut state = long_mode();
            state.cr0 = u64::from(cr0) & cr0::KNOWN;
            state.cr4 = u64::from(cr4) & FEATURES.cr4;
            state.efer = u64::from(efer) & FEATURES.efer;
            state.registers.rflags = u64::from(rflags) & RFLAGS_KNOWN;
            if let Ok(accepted) = checked(&state, &FEATURES) {
                prop_assert_eq!(checked(&accepted, &FEATURES), Ok(accepted));
            }
        }
    }
}
