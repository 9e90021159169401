//! What an instruction is, by the decoder's number of it. These numbers stand in the order of opcodes, so a range of them is
//! one instruction in its widths; the decoder's own table of names would be larger than all that is emulated.

use iced_x86::Code;

use super::arithmetic::Operation;

/// An instruction that is emulated where one of its operands is a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// MOV, and MOVNTI, which differs from it for caches alone.
    Move,
    MoveZeroExtended,
    MoveSignExtended,
    Exchange,
    /// XADD.
    ExchangeAdd,
    CompareExchange,
    /// STOS, MOVS, LODS and SCAS.
    StoreString,
    MoveString,
    LoadString,
    ScanString,
    /// CMPS.
    CompareStrings,
    /// MOVBE.
    MoveSwapped,
    /// PUSH and POP.
    Push,
    Pop,
    /// SHLD and SHRD.
    ShiftDouble {
        left: bool,
    },
    /// MUL and IMUL of one operand.
    Multiply {
        signed: bool,
    },
    /// CMPXCHG8B and CMPXCHG16B.
    CompareExchangePair,
    /// MOV of a segment's selector to memory.
    StoreSelector,
    /// Between memory and an XMM register: a whole one, or its lower part, where a load clears the rest.
    MoveVector,
    /// Between memory and the lower or the upper half of an XMM register, where a load keeps the other half.
    MoveHalf {
        upper: bool,
    },
    /// The result is kept.
    Compute(Operation),
    /// Only the flags are.
    Compare(Operation),
}

/// The operations in the order of their opcodes.
const BASIC: [Class; 8] = [
    Class::Compute(Operation::Add),
    Class::Compute(Operation::Or),
    Class::Compute(Operation::AddWithCarry),
    Class::Compute(Operation::SubtractWithBorrow),
    Class::Compute(Operation::And),
    Class::Compute(Operation::Subtract),
    Class::Compute(Operation::Xor),
    Class::Compare(Operation::Subtract),
];

/// Shifts and rotations in the order of their opcodes.
const SHIFTS: [Class; 8] = [
    Class::Compute(Operation::RotateLeft),
    Class::Compute(Operation::RotateRight),
    Class::Compute(Operation::RotateLeftThroughCarry),
    Class::Compute(Operation::RotateRightThroughCarry),
    Class::Compute(Operation::ShiftLeft),
    Class::Compute(Operation::ShiftRight),
    Class::Compute(Operation::ShiftLeft),
    Class::Compute(Operation::ShiftRightSigned),
];

/// Where the eight of [`SHIFTS`] follow each other, and in how many widths each.
const BY_COUNT: [(Code, usize); 6] = [
    (Code::Rol_rm8_imm8, 1),
    (Code::Rol_rm16_imm8, 3),
    (Code::Rol_rm8_1, 1),
    (Code::Rol_rm16_1, 3),
    (Code::Rol_rm8_CL, 1),
    (Code::Rol_rm16_CL, 3),
];

/// Where the eight of [`BASIC`] follow each other with a constant, and in how many widths each.
const WITH_CONSTANT: [(Code, usize); 4] =
    [(Code::Add_rm8_imm8, 1), (Code::Add_rm16_imm16, 3), (Code::Add_rm8_imm8_82, 1), (Code::Add_rm16_imm8, 3)];

/// Where each of [`BASIC`] begins with a register: two directions in four widths.
const WITH_REGISTER: [Code; 8] = [
    Code::Add_rm8_r8,
    Code::Or_rm8_r8,
    Code::Adc_rm8_r8,
    Code::Sbb_rm8_r8,
    Code::And_rm8_r8,
    Code::Sub_rm8_r8,
    Code::Xor_rm8_r8,
    Code::Cmp_rm8_r8,
];

/// The first and the last number of all others; the most frequent come first.
const OTHERS: [(Code, Code, Class); 88] = [
    (Code::Mov_rm8_r8, Code::Mov_r64_rm64, Class::Move),
    (Code::Mov_rm8_imm8, Code::Mov_rm8_imm8, Class::Move),
    (Code::Mov_rm16_imm16, Code::Mov_rm64_imm32, Class::Move),
    (Code::Mov_AL_moffs8, Code::Mov_moffs64_RAX, Class::Move),
    (Code::Movzx_r16_rm8, Code::Movzx_r64_rm16, Class::MoveZeroExtended),
    (Code::Stosb_m8_AL, Code::Stosq_m64_RAX, Class::StoreString),
    (Code::Movsb_m8_m8, Code::Movsq_m64_m64, Class::MoveString),
    (Code::Movsx_r16_rm8, Code::Movsx_r64_rm16, Class::MoveSignExtended),
    (Code::Movsxd_r16_rm16, Code::Movsxd_r64_rm32, Class::MoveSignExtended),
    (Code::Movnti_m32_r32, Code::Movnti_m64_r64, Class::Move),
    (Code::Lodsb_AL_m8, Code::Lodsq_RAX_m64, Class::LoadString),
    (Code::Scasb_AL_m8, Code::Scasq_RAX_m64, Class::ScanString),
    (Code::Xchg_rm8_r8, Code::Xchg_rm64_r64, Class::Exchange),
    (Code::Xadd_rm8_r8, Code::Xadd_rm64_r64, Class::ExchangeAdd),
    (Code::Cmpxchg_rm8_r8, Code::Cmpxchg_rm64_r64, Class::CompareExchange),
    (Code::Test_rm8_r8, Code::Test_rm64_r64, Class::Compare(Operation::And)),
    (Code::Test_rm8_imm8, Code::Test_rm8_imm8_F6r1, Class::Compare(Operation::And)),
    (Code::Test_rm16_imm16, Code::Test_rm64_imm32_F7r1, Class::Compare(Operation::And)),
    (Code::Inc_rm8, Code::Inc_rm8, Class::Compute(Operation::Increment)),
    (Code::Inc_rm16, Code::Inc_rm64, Class::Compute(Operation::Increment)),
    (Code::Dec_rm8, Code::Dec_rm8, Class::Compute(Operation::Decrement)),
    (Code::Dec_rm16, Code::Dec_rm64, Class::Compute(Operation::Decrement)),
    (Code::Not_rm8, Code::Not_rm8, Class::Compute(Operation::Not)),
    (Code::Not_rm16, Code::Not_rm64, Class::Compute(Operation::Not)),
    (Code::Neg_rm8, Code::Neg_rm8, Class::Compute(Operation::Negate)),
    (Code::Neg_rm16, Code::Neg_rm64, Class::Compute(Operation::Negate)),
    (Code::Bt_rm16_r16, Code::Bt_rm64_r64, Class::Compare(Operation::BitTest)),
    (Code::Bt_rm16_imm8, Code::Bt_rm64_imm8, Class::Compare(Operation::BitTest)),
    (Code::Bts_rm16_r16, Code::Bts_rm64_r64, Class::Compute(Operation::BitSet)),
    (Code::Bts_rm16_imm8, Code::Bts_rm64_imm8, Class::Compute(Operation::BitSet)),
    (Code::Btr_rm16_r16, Code::Btr_rm64_r64, Class::Compute(Operation::BitReset)),
    (Code::Btr_rm16_imm8, Code::Btr_rm64_imm8, Class::Compute(Operation::BitReset)),
    (Code::Btc_rm16_r16, Code::Btc_rm64_r64, Class::Compute(Operation::BitComplement)),
    (Code::Btc_rm16_imm8, Code::Btc_rm64_imm8, Class::Compute(Operation::BitComplement)),
    (Code::Cmpsb_m8_m8, Code::Cmpsq_m64_m64, Class::CompareStrings),
    (Code::Movbe_r16_m16, Code::Movbe_r64_m64, Class::MoveSwapped),
    (Code::Movbe_m16_r16, Code::Movbe_m64_r64, Class::MoveSwapped),
    (Code::Push_rm16, Code::Push_rm64, Class::Push),
    (Code::Pop_rm16, Code::Pop_rm64, Class::Pop),
    (Code::Shld_rm16_r16_imm8, Code::Shld_rm64_r64_CL, Class::ShiftDouble { left: true }),
    (Code::Shrd_rm16_r16_imm8, Code::Shrd_rm64_r64_CL, Class::ShiftDouble { left: false }),
    (Code::Imul_r16_rm16_imm16, Code::Imul_r64_rm64_imm32, Class::Compute(Operation::Multiply)),
    (Code::Imul_r16_rm16_imm8, Code::Imul_r64_rm64_imm8, Class::Compute(Operation::Multiply)),
    (Code::Imul_r16_rm16, Code::Imul_r64_rm64, Class::Compute(Operation::Multiply)),
    (Code::Mul_rm8, Code::Mul_rm8, Class::Multiply { signed: false }),
    (Code::Mul_rm16, Code::Mul_rm64, Class::Multiply { signed: false }),
    (Code::Imul_rm8, Code::Imul_rm8, Class::Multiply { signed: true }),
    (Code::Imul_rm16, Code::Imul_rm64, Class::Multiply { signed: true }),
    (Code::Popcnt_r16_rm16, Code::Popcnt_r64_rm64, Class::Compute(Operation::CountBits)),
    (Code::Bsf_r16_rm16, Code::Bsf_r64_rm64, Class::Compute(Operation::LowestBit)),
    (Code::Tzcnt_r16_rm16, Code::Tzcnt_r64_rm64, Class::Compute(Operation::ZerosBelow)),
    (Code::Bsr_r16_rm16, Code::Bsr_r64_rm64, Class::Compute(Operation::HighestBit)),
    (Code::Lzcnt_r16_rm16, Code::Lzcnt_r64_rm64, Class::Compute(Operation::ZerosAbove)),
    (Code::Cmpxchg8b_m64, Code::Cmpxchg16b_m128, Class::CompareExchangePair),
    (Code::Mov_rm16_Sreg, Code::Mov_r64m16_Sreg, Class::StoreSelector),
    (Code::Movups_xmm_xmmm128, Code::Movups_xmm_xmmm128, Class::MoveVector),
    (Code::Movupd_xmm_xmmm128, Code::Movupd_xmm_xmmm128, Class::MoveVector),
    (Code::Movss_xmm_xmmm32, Code::Movss_xmm_xmmm32, Class::MoveVector),
    (Code::Movsd_xmm_xmmm64, Code::Movsd_xmm_xmmm64, Class::MoveVector),
    (Code::Movups_xmmm128_xmm, Code::Movups_xmmm128_xmm, Class::MoveVector),
    (Code::Movupd_xmmm128_xmm, Code::Movupd_xmmm128_xmm, Class::MoveVector),
    (Code::Movss_xmmm32_xmm, Code::Movss_xmmm32_xmm, Class::MoveVector),
    (Code::Movsd_xmmm64_xmm, Code::Movsd_xmmm64_xmm, Class::MoveVector),
    (Code::Movaps_xmm_xmmm128, Code::Movaps_xmm_xmmm128, Class::MoveVector),
    (Code::Movapd_xmm_xmmm128, Code::Movapd_xmm_xmmm128, Class::MoveVector),
    (Code::Movaps_xmmm128_xmm, Code::Movaps_xmmm128_xmm, Class::MoveVector),
    (Code::Movapd_xmmm128_xmm, Code::Movapd_xmmm128_xmm, Class::MoveVector),
    (Code::Movntps_m128_xmm, Code::Movntps_m128_xmm, Class::MoveVector),
    (Code::Movntpd_m128_xmm, Code::Movntpd_m128_xmm, Class::MoveVector),
    (Code::Movd_xmm_rm32, Code::Movq_xmm_rm64, Class::MoveVector),
    (Code::Movd_rm32_xmm, Code::Movq_rm64_xmm, Class::MoveVector),
    (Code::Movdqa_xmm_xmmm128, Code::Movdqa_xmm_xmmm128, Class::MoveVector),
    (Code::Movdqu_xmm_xmmm128, Code::Movdqu_xmm_xmmm128, Class::MoveVector),
    (Code::Movq_xmm_xmmm64, Code::Movq_xmm_xmmm64, Class::MoveVector),
    (Code::Movdqa_xmmm128_xmm, Code::Movdqa_xmmm128_xmm, Class::MoveVector),
    (Code::Movdqu_xmmm128_xmm, Code::Movdqu_xmmm128_xmm, Class::MoveVector),
    (Code::Movq_xmmm64_xmm, Code::Movq_xmmm64_xmm, Class::MoveVector),
    (Code::Movntdq_m128_xmm, Code::Movntdq_m128_xmm, Class::MoveVector),
    (Code::Lddqu_xmm_m128, Code::Lddqu_xmm_m128, Class::MoveVector),
    (Code::Movntdqa_xmm_m128, Code::Movntdqa_xmm_m128, Class::MoveVector),
    (Code::Movlps_xmm_m64, Code::Movlps_xmm_m64, Class::MoveHalf { upper: false }),
    (Code::Movlpd_xmm_m64, Code::Movlpd_xmm_m64, Class::MoveHalf { upper: false }),
    (Code::Movlps_m64_xmm, Code::Movlps_m64_xmm, Class::MoveHalf { upper: false }),
    (Code::Movlpd_m64_xmm, Code::Movlpd_m64_xmm, Class::MoveHalf { upper: false }),
    (Code::Movhps_xmm_m64, Code::Movhps_xmm_m64, Class::MoveHalf { upper: true }),
    (Code::Movhpd_xmm_m64, Code::Movhpd_xmm_m64, Class::MoveHalf { upper: true }),
    (Code::Movhps_m64_xmm, Code::Movhps_m64_xmm, Class::MoveHalf { upper: true }),
    (Code::Movhpd_m64_xmm, Code::Movhpd_m64_xmm, Class::MoveHalf { upper: true }),
];

/// Returns what an instruction is; None for one that is not emulated.
pub(super) fn of(code: Code) -> Option<Class> {
    let is_in = |first: Code, last: Code| (first as usize..=last as usize).contains(&(code as usize));
    if let Some((_, _, class)) = OTHERS.iter().find(|(first, last, _)| is_in(*first, *last)) {
        return Some(*class);
    }
    let after = |first: Code| (code as usize).checked_sub(first as usize);
    let by_register = BASIC.iter().zip(WITH_REGISTER).find(|(_, first)| after(*first).is_some_and(|after| after < 8));
    if let Some((class, _)) = by_register {
        return Some(*class);
    }
    let among = |starts: &[(Code, usize)], classes: &[Class; 8]| {
        starts.iter().find_map(|(first, widths)| classes.get(after(*first)?.checked_div(*widths)?).copied())
    };
    among(&WITH_CONSTANT, &BASIC).or_else(|| among(&BY_COUNT, &SHIFTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use iced_x86::Mnemonic as M;

    fn mnemonics(class: Class) -> &'static [M] {
        match class {
            Class::Move => &[M::Mov, M::Movnti],
            Class::MoveZeroExtended => &[M::Movzx],
            Class::MoveSignExtended => &[M::Movsx, M::Movsxd],
            Class::Exchange => &[M::Xchg],
            Class::ExchangeAdd => &[M::Xadd],
            Class::CompareExchange => &[M::Cmpxchg],
            Class::StoreString => &[M::Stosb, M::Stosw, M::Stosd, M::Stosq],
            Class::MoveString => &[M::Movsb, M::Movsw, M::Movsd, M::Movsq],
            Class::LoadString => &[M::Lodsb, M::Lodsw, M::Lodsd, M::Lodsq],
            Class::ScanString => &[M::Scasb, M::Scasw, M::Scasd, M::Scasq],
            Class::CompareStrings => &[M::Cmpsb, M::Cmpsw, M::Cmpsd, M::Cmpsq],
            Class::MoveSwapped => &[M::Movbe],
            Class::Push => &[M::Push],
            Class::Pop => &[M::Pop],
            Class::ShiftDouble { left: true } => &[M::Shld],
            Class::ShiftDouble { left: false } => &[M::Shrd],
            Class::Multiply { signed: false } => &[M::Mul],
            Class::Multiply { signed: true } => &[M::Imul],
            Class::CompareExchangePair => &[M::Cmpxchg8b, M::Cmpxchg16b],
            Class::StoreSelector => &[M::Mov],
            Class::MoveVector => &[
                M::Movups,
                M::Movupd,
                M::Movaps,
                M::Movapd,
                M::Movss,
                M::Movsd,
                M::Movd,
                M::Movq,
                M::Movdqa,
                M::Movdqu,
                M::Movntps,
                M::Movntpd,
                M::Movntdq,
                M::Movntdqa,
                M::Lddqu,
            ],
            Class::MoveHalf { upper: false } => &[M::Movlps, M::Movlpd],
            Class::MoveHalf { upper: true } => &[M::Movhps, M::Movhpd],
            Class::Compute(operation) => match operation {
                Operation::And => &[M::And],
                Operation::Or => &[M::Or],
                Operation::Xor => &[M::Xor],
                Operation::Add => &[M::Add],
                Operation::AddWithCarry => &[M::Adc],
                Operation::Subtract => &[M::Sub],
                Operation::SubtractWithBorrow => &[M::Sbb],
                Operation::Increment => &[M::Inc],
                Operation::Decrement => &[M::Dec],
                Operation::Not => &[M::Not],
                Operation::Negate => &[M::Neg],
                Operation::BitTest => &[],
                Operation::BitSet => &[M::Bts],
                Operation::BitReset => &[M::Btr],
                Operation::BitComplement => &[M::Btc],
                Operation::RotateLeft => &[M::Rol],
                Operation::RotateRight => &[M::Ror],
                Operation::RotateLeftThroughCarry => &[M::Rcl],
                Operation::RotateRightThroughCarry => &[M::Rcr],
                Operation::ShiftLeft => &[M::Shl, M::Sal],
                Operation::ShiftRight => &[M::Shr],
                Operation::ShiftRightSigned => &[M::Sar],
                Operation::Multiply => &[M::Imul],
                Operation::LowestBit => &[M::Bsf],
                Operation::HighestBit => &[M::Bsr],
                Operation::ZerosBelow => &[M::Tzcnt],
                Operation::ZerosAbove => &[M::Lzcnt],
                Operation::CountBits => &[M::Popcnt],
            },
            Class::Compare(Operation::And) => &[M::Test],
            Class::Compare(Operation::BitTest) => &[M::Bt],
            Class::Compare(_) => &[M::Cmp],
        }
    }

    /// Forms whose operands are registers and constants, or control and segment registers, and what has the name of an
    /// instruction that it is not.
    fn has_no_general_form(code: Code) -> bool {
        let name = format!("{code:?}");
        let registers =
            ["Inc_r", "Dec_r", "Xchg_r", "Push", "Pop", "Mov_r8_imm", "Mov_r16_imm", "Mov_r32_imm", "Mov_r64_imm"];
        let accumulators = ["_AL_imm8", "_AX_imm16", "_EAX_imm32", "_RAX_imm32"];
        let special =
            ["_cr", "_dr", "_tr", "Mov_Sreg", "_mm", "KNC", "Mov_cr", "Mov_dr", "Mov_tr", "xmm", "Cmpxchg486"];
        (registers.iter().any(|start| name.starts_with(start)) && !name.contains("_rm"))
            || accumulators.iter().any(|end| name.ends_with(end))
            || special.iter().any(|part| name.contains(part))
    }

    #[test]
    fn each_number_has_the_class_of_its_name() {
        let all = [BASIC.to_vec(), SHIFTS.to_vec(), OTHERS.iter().map(|(_, _, class)| *class).collect()].concat();
        for code in Code::values() {
            match of(code) {
                Some(class) => assert!(mnemonics(class).contains(&code.mnemonic()), "{code:?} as {class:?}"),
                None => {
                    let is_named = all.iter().any(|class| mnemonics(*class).contains(&code.mnemonic()));
                    assert!(!is_named || has_no_general_form(code), "{code:?} is missing");
                }
            }
        }
    }
}
