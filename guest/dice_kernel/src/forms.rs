//! The forms of instructions that are tried, by opcode.

/// Arithmetic flags.
pub mod flag {
    pub const CARRY: u64 = 1;
    pub const PARITY: u64 = 1 << 2;
    pub const ADJUST: u64 = 1 << 4;
    pub const ZERO: u64 = 1 << 6;
    pub const SIGN: u64 = 1 << 7;
    pub const DIRECTION: u64 = 1 << 10;
    pub const OVERFLOW: u64 = 1 << 11;
    pub const ARITHMETIC: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;
}

/// What follows the opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operands {
    /// ModRM with memory; the other field is a register.
    Register,
    /// The same, and the register field is part of the opcode.
    Digit(u8),
    /// An address of the address size.
    Offset,
    /// Nothing: the source at RSI, the destination at RDI.
    String { source: bool, destination: bool },
}

/// How wide the operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// One byte.
    Byte,
    /// 16, 32 or 64 bits by prefixes and code size.
    Prefixes,
    /// One byte or, with the opcode after this one, by prefixes.
    Either,
}

/// A constant after the operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constant {
    None,
    Byte,
    /// As wide as the operation, 32 bits for one of 64.
    Full,
}

/// Which flags come out of an instruction undefined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undefined {
    These(u64),
    /// By the count of a shift, in a constant, in CL, or 1.
    Shift(Count),
    /// The same of a rotation.
    Rotate(Count),
}

/// Where the count of a shift is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    One,
    Cl,
    Constant,
}

/// Whether the emulator must know a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    Must,
    /// A refusal, an invalid opcode, is counted by name.
    May,
}

/// What the registers of a form are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registers {
    General,
    /// XMM0 to XMM15, or MM0 to MM7.
    Vector,
}

/// A form.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub name: &'static str,
    /// The bytes of the opcode, the last one lowest.
    pub opcode: u32,
    pub operands: Operands,
    pub width: Width,
    pub constant: Constant,
    /// How many bytes of memory the operand has; 0: as many as the operation is wide.
    pub memory: u64,
    /// The prefix that is a part of the opcode; with it, or with [`Form::plain`], no other is added.
    pub prefix: Option<u8>,
    /// Prefixes 66, F2 and F3 would make another instruction of it.
    pub plain: bool,
    pub lock: bool,
    pub duty: Duty,
    pub undefined: Undefined,
    pub registers: Registers,
    /// It is there in 64-bit code: alone, or not at all.
    pub long: Option<bool>,
    /// RSP points to memory that holds or gets a value.
    pub stack: bool,
    /// The bit offset in the register is small.
    pub bits: bool,
    /// RCX holds a count.
    pub counts: bool,
    /// The operand is twice as wide as the operation, RDX and RAX with it.
    pub pair: bool,
    /// The count of bits to shift must be below the width.
    pub short: bool,
    /// QEMU takes the width from prefix 66 alone: 16 bits with it and 32 without, unless REX widens it.
    pub by_prefix: bool,
    /// How many digits from the first one on.
    pub digits: u8,
    /// How many opcodes from the first one on.
    pub opcodes: u8,
}

impl Form {
    const fn new(name: &'static str, opcode: u32, operands: Operands, width: Width) -> Self {
        Self {
            name,
            opcode,
            operands,
            width,
            constant: Constant::None,
            memory: 0,
            prefix: None,
            plain: false,
            lock: false,
            duty: Duty::Must,
            undefined: Undefined::These(0),
            registers: Registers::General,
            long: None,
            stack: false,
            bits: false,
            counts: false,
            pair: false,
            short: false,
            by_prefix: false,
            digits: 1,
            opcodes: 1,
        }
    }

    const fn byte(self) -> Self {
        Self { constant: Constant::Byte, ..self }
    }

    const fn full(self) -> Self {
        Self { constant: Constant::Full, ..self }
    }

    const fn lock(self) -> Self {
        Self { lock: true, ..self }
    }

    const fn may(self) -> Self {
        Self { duty: Duty::May, ..self }
    }

    const fn leaves(self, undefined: u64) -> Self {
        Self { undefined: Undefined::These(undefined), ..self }
    }

    const fn memory(self, bytes: u64) -> Self {
        Self { memory: bytes, ..self }
    }

    const fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    const fn prefix(self, prefix: u8) -> Self {
        Self { prefix: Some(prefix), plain: true, ..self }
    }

    const fn long(self, only: bool) -> Self {
        Self { long: Some(only), ..self }
    }

    const fn bits(self) -> Self {
        Self { bits: true, ..self }
    }

    const fn digits(self, count: u8) -> Self {
        Self { digits: count, ..self }
    }

    const fn opcodes(self, count: u8) -> Self {
        Self { opcodes: count, ..self }
    }

    const fn undefined(self, undefined: Undefined) -> Self {
        Self { undefined, ..self }
    }

    const fn stack(self) -> Self {
        Self { stack: true, ..self }
    }

    const fn pair(self) -> Self {
        Self { pair: true, ..self }
    }

    const fn by_prefix(self) -> Self {
        Self { by_prefix: true, ..self }
    }

    const fn short(self) -> Self {
        Self { short: true, ..self }
    }
}

const fn register(name: &'static str, opcode: u32, width: Width) -> Form {
    Form::new(name, opcode, Operands::Register, width)
}

const fn digit(name: &'static str, opcode: u32, digit: u8, width: Width) -> Form {
    Form::new(name, opcode, Operands::Digit(digit), width)
}

const fn offset(name: &'static str, opcode: u32) -> Form {
    Form::new(name, opcode, Operands::Offset, Width::Either)
}

const fn string(name: &'static str, opcode: u32, source: bool, destination: bool) -> Form {
    Form { counts: true, ..Form::new(name, opcode, Operands::String { source, destination }, Width::Either) }
}

/// A move between memory and a register of vectors.
const fn vector(name: &'static str, prefix: Option<u8>, opcode: u32, memory: u64) -> Form {
    let form = register(name, opcode, Width::Prefixes);
    Form { prefix, memory, registers: Registers::Vector, ..form.plain() }
}

use Width::{Byte, Either, Prefixes};
use flag::{ADJUST, ARITHMETIC, CARRY, OVERFLOW, PARITY, SIGN, ZERO};

/// What a bit test leaves undefined.
const NOT_CARRY: u64 = OVERFLOW | SIGN | ADJUST | PARITY;
/// What a multiplication leaves undefined.
const NOT_CARRIES: u64 = SIGN | ZERO | ADJUST | PARITY;

/// The forms. The first eight operations of arithmetic stand in one row each with their other directions.
pub const FORMS: &[Form] = &[
    register("MOV m,r", 0x88, Either),
    register("MOV r,m", 0x8a, Either),
    digit("MOV m,i", 0xc6, 0, Either).full(),
    offset("MOV a,moffs", 0xa0),
    offset("MOV moffs,a", 0xa2),
    register("ADD m,r", 0x00, Either).lock(),
    register("ADD r,m", 0x02, Either),
    register("OR m,r", 0x08, Either).lock().leaves(ADJUST),
    register("OR r,m", 0x0a, Either).leaves(ADJUST),
    register("ADC m,r", 0x10, Either).lock(),
    register("ADC r,m", 0x12, Either),
    register("SBB m,r", 0x18, Either).lock(),
    register("SBB r,m", 0x1a, Either),
    register("AND m,r", 0x20, Either).lock().leaves(ADJUST),
    register("AND r,m", 0x22, Either).leaves(ADJUST),
    register("SUB m,r", 0x28, Either).lock(),
    register("SUB r,m", 0x2a, Either),
    register("XOR m,r", 0x30, Either).lock().leaves(ADJUST),
    register("XOR r,m", 0x32, Either).leaves(ADJUST),
    register("CMP m,r", 0x38, Either),
    register("CMP r,m", 0x3a, Either),
    digit("ADD..XOR m,i", 0x80, 0, Either).full().digits(7).lock().leaves(ADJUST),
    digit("CMP m,i", 0x80, 7, Either).full(),
    digit("ADD..XOR m8,i (82)", 0x82, 0, Byte).byte().digits(7).lock().long(false).leaves(ADJUST),
    digit("CMP m8,i (82)", 0x82, 7, Byte).byte().long(false),
    digit("ADD..XOR m,i8", 0x83, 0, Prefixes).byte().digits(7).lock().leaves(ADJUST),
    digit("CMP m,i8", 0x83, 7, Prefixes).byte(),
    register("MOVZX r,m8", 0x0fb6, Prefixes).memory(1),
    register("MOVZX r,m16", 0x0fb7, Prefixes).memory(2),
    register("MOVSX r,m8", 0x0fbe, Prefixes).memory(1),
    register("MOVSX r,m16", 0x0fbf, Prefixes).memory(2),
    register("MOVSXD r,m32", 0x63, Prefixes).memory(4).long(true),
    string("STOS", 0xaa, false, true),
    string("MOVS", 0xa4, true, true),
    string("LODS", 0xac, true, false),
    string("SCAS", 0xae, false, true),
    register("MOVNTI m,r", 0x0fc3, Prefixes).plain(),
    register("XCHG m,r", 0x86, Either).lock(),
    register("XADD m,r", 0x0fc0, Either).lock(),
    register("CMPXCHG m,r", 0x0fb0, Either).lock(),
    register("TEST m,r", 0x84, Either).leaves(ADJUST),
    // There is another by digit 1, which QEMU does not know.
    digit("TEST m,i", 0xf6, 0, Either).full().leaves(ADJUST),
    digit("INC m", 0xfe, 0, Either).lock(),
    digit("DEC m", 0xfe, 1, Either).lock(),
    digit("NOT m", 0xf6, 2, Either).lock(),
    digit("NEG m", 0xf6, 3, Either).lock(),
    register("BT m,r", 0x0fa3, Prefixes).bits().leaves(NOT_CARRY),
    register("BTS m,r", 0x0fab, Prefixes).bits().lock().leaves(NOT_CARRY),
    register("BTR m,r", 0x0fb3, Prefixes).bits().lock().leaves(NOT_CARRY),
    register("BTC m,r", 0x0fbb, Prefixes).bits().lock().leaves(NOT_CARRY),
    digit("BT m,i8", 0x0fba, 4, Prefixes).byte().leaves(NOT_CARRY),
    digit("BTS..BTC m,i8", 0x0fba, 5, Prefixes).byte().digits(3).lock().leaves(NOT_CARRY),
    digit("SETcc m", 0x0f90, 0, Byte).opcodes(16).digits(8),
    register("CMOVcc r,m", 0x0f40, Prefixes).opcodes(16),
    string("CMPS", 0xa6, true, true),
    register("MOVBE r,m", 0x0f_38f0, Prefixes).by_prefix(),
    register("MOVBE m,r", 0x0f_38f1, Prefixes).by_prefix(),
    digit("MOV m,Sreg", 0x8c, 0, Prefixes).digits(6).memory(2),
    digit("PUSH m", 0xff, 6, Prefixes).stack(),
    digit("POP m", 0x8f, 0, Prefixes).stack(),
    digit("MUL, IMUL m", 0xf6, 4, Either).digits(2).leaves(NOT_CARRIES),
    digit("DIV, IDIV m", 0xf6, 6, Either).digits(2).leaves(ARITHMETIC).may(),
    register("IMUL r,m", 0x0faf, Prefixes).leaves(NOT_CARRIES),
    register("IMUL r,m,i", 0x69, Prefixes).full().leaves(NOT_CARRIES),
    register("IMUL r,m,i8", 0x6b, Prefixes).byte().leaves(NOT_CARRIES),
    digit("ROL..RCR m,i8", 0xc0, 0, Either).byte().digits(4).undefined(Undefined::Rotate(Count::Constant)),
    digit("ROL..RCR m,1", 0xd0, 0, Either).digits(4).undefined(Undefined::Rotate(Count::One)),
    digit("ROL..RCR m,CL", 0xd2, 0, Either).digits(4).undefined(Undefined::Rotate(Count::Cl)),
    digit("SHL..SAR m,i8", 0xc0, 4, Either).byte().digits(4).undefined(Undefined::Shift(Count::Constant)),
    digit("SHL..SAR m,1", 0xd0, 4, Either).digits(4).undefined(Undefined::Shift(Count::One)),
    digit("SHL..SAR m,CL", 0xd2, 4, Either).digits(4).undefined(Undefined::Shift(Count::Cl)),
    register("SHLD m,r,i8", 0x0fa4, Prefixes).byte().short().undefined(Undefined::Shift(Count::Constant)),
    register("SHLD m,r,CL", 0x0fa5, Prefixes).short().undefined(Undefined::Shift(Count::Cl)),
    register("SHRD m,r,i8", 0x0fac, Prefixes).byte().short().undefined(Undefined::Shift(Count::Constant)),
    register("SHRD m,r,CL", 0x0fad, Prefixes).short().undefined(Undefined::Shift(Count::Cl)),
    register("BSF r,m", 0x0fbc, Prefixes).leaves(NOT_CARRY | CARRY),
    register("BSR r,m", 0x0fbd, Prefixes).leaves(NOT_CARRY | CARRY),
    register("POPCNT r,m", 0x0fb8, Prefixes).prefix(0xf3),
    register("TZCNT r,m", 0x0fbc, Prefixes).prefix(0xf3).leaves(NOT_CARRY),
    register("LZCNT r,m", 0x0fbd, Prefixes).prefix(0xf3).leaves(NOT_CARRY),
    digit("CMPXCHG8B, 16B m", 0x0fc7, 1, Prefixes).plain().pair().lock(),
    vector("MOVUPS x,m", None, 0x0f10, 16),
    vector("MOVUPS m,x", None, 0x0f11, 16),
    vector("MOVUPD x,m", Some(0x66), 0x0f10, 16),
    vector("MOVUPD m,x", Some(0x66), 0x0f11, 16),
    vector("MOVSS x,m", Some(0xf3), 0x0f10, 4),
    vector("MOVSS m,x", Some(0xf3), 0x0f11, 4),
    vector("MOVSD x,m", Some(0xf2), 0x0f10, 8),
    vector("MOVSD m,x", Some(0xf2), 0x0f11, 8),
    vector("MOVLPS x,m", None, 0x0f12, 8),
    vector("MOVLPS m,x", None, 0x0f13, 8),
    vector("MOVLPD x,m", Some(0x66), 0x0f12, 8),
    vector("MOVLPD m,x", Some(0x66), 0x0f13, 8),
    vector("MOVHPS x,m", None, 0x0f16, 8),
    vector("MOVHPS m,x", None, 0x0f17, 8),
    vector("MOVHPD x,m", Some(0x66), 0x0f16, 8),
    vector("MOVHPD m,x", Some(0x66), 0x0f17, 8),
    vector("MOVAPS x,m", None, 0x0f28, 16),
    vector("MOVAPS m,x", None, 0x0f29, 16),
    vector("MOVAPD x,m", Some(0x66), 0x0f28, 16),
    vector("MOVAPD m,x", Some(0x66), 0x0f29, 16),
    vector("MOVNTPS m,x", None, 0x0f2b, 16),
    vector("MOVNTPD m,x", Some(0x66), 0x0f2b, 16),
    vector("MOVD, MOVQ x,m", Some(0x66), 0x0f6e, 0),
    vector("MOVD, MOVQ m,x", Some(0x66), 0x0f7e, 0),
    vector("MOVD, MOVQ mm,m", None, 0x0f6e, 0).may(),
    vector("MOVD, MOVQ m,mm", None, 0x0f7e, 0).may(),
    vector("MOVQ x,m", Some(0xf3), 0x0f7e, 8),
    vector("MOVQ m,x", Some(0x66), 0x0fd6, 8),
    vector("MOVQ mm,m", None, 0x0f6f, 8).may(),
    vector("MOVQ m,mm", None, 0x0f7f, 8).may(),
    vector("MOVDQA x,m", Some(0x66), 0x0f6f, 16),
    vector("MOVDQA m,x", Some(0x66), 0x0f7f, 16),
    vector("MOVDQU x,m", Some(0xf3), 0x0f6f, 16),
    vector("MOVDQU m,x", Some(0xf3), 0x0f7f, 16),
    vector("MOVNTDQ m,x", Some(0x66), 0x0fe7, 16),
    vector("MOVNTQ m,mm", None, 0x0fe7, 8).may(),
];
