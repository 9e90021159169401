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
const OTHERS: [(Code, Code, Class); 34] = [
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
    WITH_CONSTANT.iter().find_map(|(first, widths)| BASIC.get(after(*first)?.checked_div(*widths)?).copied())
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
        let registers = ["Inc_r", "Dec_r", "Xchg_r", "Mov_r8_imm", "Mov_r16_imm", "Mov_r32_imm", "Mov_r64_imm"];
        let accumulators = ["_AL_imm8", "_AX_imm16", "_EAX_imm32", "_RAX_imm32"];
        let special = ["_cr", "_dr", "_tr", "Sreg", "Mov_cr", "Mov_dr", "Mov_tr", "xmm", "Cmpxchg486"];
        (registers.iter().any(|start| name.starts_with(start)) && !name.contains("_rm"))
            || accumulators.iter().any(|end| name.ends_with(end))
            || special.iter().any(|part| name.contains(part))
    }

    #[test]
    fn each_number_has_the_class_of_its_name() {
        let all = [BASIC.to_vec(), OTHERS.iter().map(|(_, _, class)| *class).collect()].concat();
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
