//! An event on its way into a guest.

/// What kind of event it is, which says how the CPU delivers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// An interrupt from an interrupt controller.
    Interrupt,
    Nmi,
    Exception,
    /// The INT instruction.
    SoftwareInterrupt,
}

/// An event whose delivery began and did not end, because the guest was left meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventInFlight {
    pub vector: u8,
    pub kind: EventKind,
    /// What the CPU pushes besides, for the exceptions that have one.
    pub error_code: Option<u32>,
}
