//! The order in which locks may be taken.
//!
//! A CPU that holds a lock may take only locks that stand *further down* in the list below. Two locks of one rank are
//! taken together, by [`SpinLock::lock_pair`](crate::SpinLock::lock_pair), which orders them by address. A new lock
//! gets a new line here, with the reason for its place.

/// The place of a lock in the order.
pub trait Rank {
    /// The place: a CPU takes locks in rising order. Below [`COUNT`].
    const LEVEL: u8;
    /// The name for the message of a broken order.
    const NAME: &'static str;
}

macro_rules! ranks {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[repr(u8)]
        enum Level { $($name,)* }

        $(
            $(#[$doc])*
            pub struct $name;

            impl Rank for $name {
                const LEVEL: u8 = Level::$name as u8;
                const NAME: &'static str = stringify!($name);
            }
        )*

        /// How many ranks there are.
        pub const COUNT: usize = [$(Level::$name as u8,)*].len();

        /// The names in order, for messages.
        pub(crate) const NAMES: [&str; COUNT] = [$(stringify!($name),)*];
    };
}

ranks! {
    /// The control operations of one domain: held while the domain is changed as a whole.
    DomainControl,
    /// One vCPU brought up, taken down, or its registers set from outside.
    VcpuControl,
    /// A virtual device that the vCPUs of a domain share (I/O APIC, PCI configuration). Its work raises interrupts.
    Device,
    /// One I/O request server: its pages, or its ring. Its pages are frames, which may leave the guest's p2m.
    IoreqServer,
    /// A grant table: its shape and its mappings. Looking up a granted frame takes [`P2m`] below it.
    GrantTable,
    /// One mapping handle of a grant table.
    GrantMapping,
    /// The event channels of a domain: binding and closing. Closing an interdomain channel takes a pair.
    EventPorts,
    /// One queue of a FIFO event array.
    EventQueue,
    /// The nested page tables of a domain. May allocate and may drop page references.
    P2m,
    /// The device's view of a domain's memory, which follows the nested page tables.
    Iommu,
    /// The list of pages that a domain owns.
    DomainPages,
    /// The pool that pays for a domain's bookkeeping.
    PagingPool,
    /// The hypervisor's heap. It takes more memory from [`Frames`].
    Heap,
    /// The allocator of machine frames.
    Frames,
    /// The hypervisor's own page tables. Mapping a device or a stack takes memory from the heap.
    HostPageTables,
    /// A run queue. Sending an event wakes a vCPU, so it stands below the event channels.
    RunQueue,
    /// A vCPU's pending interrupts and its block-and-wake state.
    VcpuState,
    /// The timers of one CPU. The scheduler sets them.
    Timers,
    /// The routing of machine interrupts.
    Interrupts,
    /// A request to other CPUs (function call, TLB shoot-down).
    CrossCall,
    /// What the console has been sent.
    ConsoleInput,
    /// The ring of console output that the control domain reads.
    ConsoleRing,
    /// The serial line: last of all, since a line is written from anywhere.
    Console,
}
