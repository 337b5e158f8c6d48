use super::{
    Rtc,
    calendar::Fields,
    spec::{Flags, RAM, RegisterA, RegisterB},
};
use bus::{RestoreError, Snapshot};
use serde::{Deserialize, Serialize};

/// Version 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub index: u8,
    pub nmi_masked: bool,
    /// 128 bytes.
    pub ram: Vec<u8>,
    pub a: RegisterA,
    pub b: RegisterB,
    pub flags: Flags,
    pub base: i64,
    pub phase: u32,
    pub weekday_shift: u8,
    pub held: Option<Fields>,
    pub seen: u64,
}

impl Snapshot for Rtc {
    const NAME: &'static str = "rtc";
    const VERSION: u16 = 1;
    type State = State;

    fn save(&self) -> State {
        State {
            index: self.index,
            nmi_masked: self.nmi_masked,
            ram: self.ram.to_vec(),
            a: self.a,
            b: self.b,
            flags: self.flags,
            base: self.base,
            phase: self.phase,
            weekday_shift: self.weekday_shift,
            held: self.held,
            seen: self.seen,
        }
    }

    fn restore(&mut self, s: State) -> Result<(), RestoreError> {
        let damaged = |what| RestoreError::Damaged { chip: Self::NAME, what };
        let ram: [u8; RAM] = s.ram.try_into().map_err(|_| damaged("size of RAM"))?;
        if s.phase >= bus::NS_PER_SEC as u32 || s.weekday_shift > 6 || s.base.unsigned_abs() > 1 << 40 {
            return Err(damaged("time out of range"));
        }
        *self = Self {
            line: self.line,
            index: s.index & 0x7f,
            nmi_masked: s.nmi_masked,
            ram,
            a: s.a,
            b: s.b,
            flags: s.flags,
            base: s.base,
            phase: s.phase,
            weekday_shift: s.weekday_shift,
            held: s.held,
            seen: s.seen,
        };
        Ok(())
    }
}
