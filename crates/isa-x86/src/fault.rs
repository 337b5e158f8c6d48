//! Exceptions: architectural values, not Rust errors.

use guest_api::Trap;

/// An exception or fault with its error code (SDM 3 6.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    pub vector: u8,
    pub error: Option<u32>,
}

/// An instruction did not complete; [`crate::Cpu::stop`] says why. Nothing architectural was changed but what the
/// manual says is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop;

/// Why an instruction did not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StopReason {
    #[default]
    None,
    /// To be delivered to the guest, RIP at the instruction.
    Exception(Exception),
    /// A fault of a new task before its first instruction, where RIP is: the switch is complete (SDM 3 8.3).
    InNewTask(Exception),
    /// HLT completed: RIP is behind it.
    Halt,
    /// A fault while delivering a double fault (SDM 3 6.15, "Shutdown").
    TripleFault,
    /// The emulator lacks the instruction: the machine stops and says so.
    Unimplemented(&'static str),
}

impl StopReason {
    /// The exception to be delivered.
    pub(crate) fn exception(self) -> Option<Exception> {
        match self {
            StopReason::Exception(e) | StopReason::InNewTask(e) => Some(e),
            _ => None,
        }
    }
    /// Whether an instruction that stopped so counts as executed.
    pub(crate) fn completes(self) -> bool {
        matches!(self, StopReason::Halt | StopReason::InNewTask(_))
    }
}

pub const DE: u8 = 0;
pub const DB: u8 = 1;
pub const NMI: u8 = 2;
pub const BP: u8 = 3;
pub const OF: u8 = 4;
pub const BR: u8 = 5;
pub const UD: u8 = 6;
pub const NM: u8 = 7;
pub const DF: u8 = 8;
pub const TS: u8 = 10;
pub const NP: u8 = 11;
pub const SS: u8 = 12;
pub const GP: u8 = 13;
pub const PF: u8 = 14;
pub const MF: u8 = 16;
pub const AC: u8 = 17;
pub const XM: u8 = 19;

const HAS_ERROR: u32 = 1 << 8;

/// Exceptions as [`Trap`] numbers, for generic semantics: the vector, and an error code of 0 where the vector has one.
pub const TRAP_DE: Trap = Trap(DE as u32);
pub const TRAP_OF: Trap = Trap(OF as u32);
pub const TRAP_BR: Trap = Trap(BR as u32);
pub const TRAP_UD: Trap = Trap(UD as u32);
pub const TRAP_NM: Trap = Trap(NM as u32);
pub const TRAP_XM: Trap = Trap(XM as u32);
pub const TRAP_GP0: Trap = Trap(GP as u32 | HAS_ERROR);
pub const TRAP_SS0: Trap = Trap(SS as u32 | HAS_ERROR);

impl From<Trap> for Exception {
    fn from(t: Trap) -> Exception {
        Exception { vector: t.0 as u8, error: (t.0 & HAS_ERROR != 0).then_some(0) }
    }
}
