//! An access of a vCPU that waits for a server, and where its outcome goes.

use super::request::{Request, State};
use super::server::Server;
use xenolith_devices::mmio_decode::{MmioInstruction, Place};
use xenolith_devices::string_io::{Batch, StringIo};
use xenolith_hal::{Gpa, IoAccess};
use xenolith_sync::Arc;

/// A request that a server has not answered yet.
pub struct Unfinished {
    pub server: Arc<Server>,
    pub request: Request,
    /// The state of the request when it was read last.
    pub seen: State,
    pub then: Then,
}

/// What is done with the outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// IN or OUT: RAX gets what was read.
    Port(IoAccess),
    /// INS or OUTS whose data the server moved itself.
    StringPort { instruction: StringIo, batch: Batch },
    /// One element of INS: the memory gets what was read.
    StringIn { instruction: StringIo, batch: Batch },
    /// An instruction that reads a device.
    Read(MmioInstruction),
    /// One that reads a device and then writes it.
    Modify { instruction: MmioInstruction, at: Gpa },
    /// That many elements, or the whole of another instruction, are written.
    Written { instruction: MmioInstruction, elements: u32 },
    /// The write of [`Then::Modify`] is done; its registers were changed before.
    Modified,
    /// One element of MOVS: the memory, which is not for a server to reach, gets what was read.
    CopyToMemory { instruction: MmioInstruction, batch: Batch },
    /// One element of MOVS between two devices: the other device gets what was read.
    CopyToDevice { instruction: MmioInstruction, to: Gpa },
    /// One access of several.
    Part(Progress),
    /// Nothing: a hypercall told servers that pages have left. Those below this number are still to be told.
    Told { below: usize },
}

/// How far an instruction is that is done in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub instruction: MmioInstruction,
    pub place: Place,
    /// What was read of its operands.
    pub values: [[u8; 16]; 2],
    /// How many bytes were read and written, in the order of the operands.
    pub done: u32,
}
