//! Address translation (SDM 3 chapter 4).

use guest_api::Space;
use mem::Access;

use crate::cpu::{Cpu, cr0};
use crate::exec::Exec;
use crate::fault::Stop;

impl Cpu {
    /// Recomputes the TLB context (address space, privilege, SMAP) and the mode that code is decoded in, after any of CPL, CS, SS,
    /// CR0, CR3, CR4, EFER or RFLAGS.AC changed.
    pub fn update_context(&mut self) {
        let user = u64::from(self.cpl == 3);
        self.mem.set_context(user);
        self.fetch_key = self.mem.context() | (self.code_size() as u64) << 12 | (self.stack_width() as u64) << 14;
    }
}

/// Physical address of linear address `va` for `access` at the current privilege; raises #PF, or #GP/#SS for a
/// non-canonical address. Sets accessed and dirty bits.
pub fn translate(cx: &mut Exec<'_>, va: u64, _access: Access, _s: Space) -> Result<u64, Stop> {
    if cx.cpu.cr0 & cr0::PG == 0 {
        return Ok(va & 0xffff_ffff);
    }
    Err(cx.unimplemented("paging"))
}
