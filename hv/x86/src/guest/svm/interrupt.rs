//! Event injection: how interrupts, NMIs and exceptions enter a guest, and what becomes of one whose delivery was
//! interrupted by an exit.
//!
//! **Source:** AMD manual volume 2, 15.20 (event injection), 15.21 (virtual interrupts), 15.7.2 (EXITINTINFO).

use xenolith_hal::{EventInFlight, EventKind, Exception, RunControl};

const V_TPR: u64 = 0xf;
const V_IRQ: u64 = 1 << 8;
const V_PRIORITY_SHIFT: u32 = 16;
const V_IGNORE_TPR: u64 = 1 << 20;
/// Host interrupts obey the host's flags, the guest's its own.
const V_INTR_MASKING: u64 = 1 << 24;
const V_VECTOR_SHIFT: u32 = 32;

const VALID: u64 = 1 << 31;
const HAS_ERROR_CODE: u64 = 1 << 11;
const TYPE_SHIFT: u32 = 8;
const TYPE_INTERRUPT: u64 = 0;
const TYPE_NMI: u64 = 2;
const TYPE_EXCEPTION: u64 = 3;
const TYPE_SOFTWARE: u64 = 4;

/// The first vector that cannot be an exception's.
const FIRST_INTERRUPT: u8 = 32;
/// Breakpoint and overflow: raised by instructions, which raise them again when they run again.
const BY_INSTRUCTION: [u8; 2] = [3, 4];

/// Returns the virtual interrupt word for an entry. The CPU compares the vector's upper half with V_TPR, so an
/// interrupt that the task priority forbids waits inside the guest until it lowers it, with no exit. Vectors below 16
/// come from an 8259 always.
pub(super) fn virtual_interrupt(control: RunControl) -> u64 {
    let word = V_INTR_MASKING | (u64::from(control.task_priority) & V_TPR);
    let Some(vector) = control.interrupt else { return word };
    let priority = u64::from(vector >> 4);
    let ignore = if priority == 0 || control.is_from_8259() { V_IGNORE_TPR } else { 0 };
    word | V_IRQ | ignore | (priority << V_PRIORITY_SHIFT) | (u64::from(vector) << V_VECTOR_SHIFT)
}

/// Returns the task priority that the guest has set.
pub(super) const fn task_priority(word: u64) -> u8 {
    (word & V_TPR) as u8
}

/// Returns the word with another task priority, as when the guest sets it.
pub(super) const fn with_task_priority(word: u64, priority: u8) -> u64 {
    (word & !V_TPR) | (priority as u64 & V_TPR)
}

/// Returns true while the offered interrupt was not taken.
pub(super) const fn still_offered(word: u64) -> bool {
    word & V_IRQ != 0
}

/// Returns false if the word is not what the CPU leaves there on the way out of a guest.
pub(super) const fn is_sound(word: u64) -> bool {
    word & V_INTR_MASKING != 0
}

/// EVENTINJ for an NMI.
pub(super) const NMI: u64 = VALID | (TYPE_NMI << TYPE_SHIFT) | 2;

/// Returns EVENTINJ for an exception. In real mode no exception has an error code.
pub(super) fn exception(exception: &Exception, protected_mode: bool) -> u64 {
    let error = match exception.error_code {
        Some(code) if protected_mode => HAS_ERROR_CODE | (u64::from(code) << 32),
        _ => 0,
    };
    VALID | (TYPE_EXCEPTION << TYPE_SHIFT) | u64::from(exception.vector) | error
}

/// Returns the EVENTINJ of an event that came from outside.
pub(super) fn inject(event: EventInFlight) -> u64 {
    let kind = match event.kind {
        EventKind::Interrupt => TYPE_INTERRUPT,
        EventKind::Nmi => TYPE_NMI,
        EventKind::Exception => TYPE_EXCEPTION,
        EventKind::SoftwareInterrupt => TYPE_SOFTWARE,
    };
    let error = event.error_code.map_or(0, |code| HAS_ERROR_CODE | (u64::from(code) << 32));
    VALID | (kind << TYPE_SHIFT) | u64::from(event.vector) | error
}

/// Returns the event behind an EVENTINJ; none for 0.
pub(super) fn in_flight(word: u64) -> Option<EventInFlight> {
    let kind = match (word >> TYPE_SHIFT) & 7 {
        _ if word & VALID == 0 => return None,
        TYPE_INTERRUPT => EventKind::Interrupt,
        TYPE_NMI => EventKind::Nmi,
        TYPE_EXCEPTION => EventKind::Exception,
        TYPE_SOFTWARE => EventKind::SoftwareInterrupt,
        _ => return None,
    };
    let error_code = (word & HAS_ERROR_CODE != 0).then_some((word >> 32) as u32);
    Some(EventInFlight { vector: word as u8, kind, error_code })
}

/// The fate of an event whose delivery an exit interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CutShort {
    /// There was none, or it comes again by itself when its instruction runs again.
    Nothing,
    /// EVENTINJ for the next entry.
    Inject(u64),
    /// The external interrupt: it was not taken after all.
    Interrupt,
}

/// Returns whether EXITINTINFO says that an exit interrupted a delivery.
#[inline]
pub(super) const fn was_cut_short(info: u64) -> bool {
    info & VALID != 0
}

/// Decodes EXITINTINFO.
///
/// QEMU's emulator reports an external interrupt as an exception with the interrupt's vector; no real exception has
/// one as high.
pub(super) fn cut_short(info: u64) -> CutShort {
    if !was_cut_short(info) {
        return CutShort::Nothing;
    }
    let vector = info as u8;
    match (info >> TYPE_SHIFT) & 7 {
        TYPE_INTERRUPT => CutShort::Interrupt,
        TYPE_NMI => CutShort::Inject(NMI),
        TYPE_EXCEPTION if vector >= FIRST_INTERRUPT => CutShort::Interrupt,
        TYPE_EXCEPTION if !BY_INSTRUCTION.contains(&vector) => CutShort::Inject(info),
        _ => CutShort::Nothing,
    }
}

/// Returns whether an EVENTINJ is an external interrupt, and the one whose delivery an exit interrupted.
pub(super) const fn is_interrupt(event: u64, interrupted: u64) -> bool {
    event & VALID != 0 && (event >> TYPE_SHIFT) & 7 == TYPE_INTERRUPT && event as u8 == interrupted as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_is_offered_with_the_priority_of_its_vector() {
        let word = virtual_interrupt(RunControl { interrupt: Some(0xf3), task_priority: 5, ..RunControl::default() });
        assert_eq!(word, 0xf3_010f_0105);
        assert!(still_offered(word));
        assert_eq!(task_priority(word), 5);
    }

    #[test]
    fn without_an_interrupt_nothing_is_offered() {
        let word = virtual_interrupt(RunControl { task_priority: 0xff, ..RunControl::default() });
        assert_eq!(word, V_INTR_MASKING | 0xf);
        assert!(!still_offered(word));
    }

    #[test]
    fn what_comes_from_an_8259_ignores_the_task_priority() {
        let control = RunControl { interrupt: Some(0x30), task_priority: 5, ..RunControl::default() };
        assert_eq!(virtual_interrupt(control) & V_IGNORE_TPR, 0);
        assert_ne!(
            virtual_interrupt(RunControl { task_priority: 5 | RunControl::FROM_8259, ..control }) & V_IGNORE_TPR,
            0
        );
    }

    #[test]
    fn a_low_vector_ignores_the_task_priority() {
        let word = virtual_interrupt(RunControl { interrupt: Some(8), ..RunControl::default() });
        assert_ne!(word & V_IGNORE_TPR, 0);
    }

    #[test]
    fn exceptions_carry_their_error_code_only_in_protected_mode() {
        assert_eq!(exception(&Exception::GENERAL_PROTECTION, true), 0x8000_0b0d);
        assert_eq!(exception(&Exception::GENERAL_PROTECTION, false), 0x8000_030d);
        assert_eq!(exception(&Exception::INVALID_OPCODE, true), 0x8000_0306);
        let fault = Exception { vector: 14, error_code: Some(7), address: Some(1) };
        assert_eq!(exception(&fault, true), 0x7_8000_0b0e);
    }

    #[test]
    fn a_cut_short_exception_or_nmi_is_injected_again() {
        assert_eq!(cut_short(0x7_8000_0b0e), CutShort::Inject(0x7_8000_0b0e));
        assert_eq!(cut_short(0x8000_0202), CutShort::Inject(NMI));
    }

    #[test]
    fn an_event_in_flight_is_the_same_after_a_round_by_the_block() {
        for word in [0x8000_0030, 0x8000_0202, 0x7_8000_0b0e, 0x8000_0480] {
            assert_eq!(in_flight(word).map(inject), Some(word));
        }
        assert_eq!(in_flight(0x30), None);
    }

    #[test]
    fn a_cut_short_interrupt_counts_as_not_taken() {
        assert_eq!(cut_short(0x8000_00f3), CutShort::Interrupt);
        assert_eq!(cut_short(0x8000_03f3), CutShort::Interrupt);
    }

    #[test]
    fn what_an_instruction_raised_comes_again_with_the_instruction() {
        for info in [0, 0xf3, 0x8000_0303, 0x8000_0304, 0x8000_0480] {
            assert_eq!(cut_short(info), CutShort::Nothing);
        }
    }
}
