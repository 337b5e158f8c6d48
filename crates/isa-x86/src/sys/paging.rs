//! Address translation (SDM 3 chapter 4): 32-bit, PAE and 4-level paging, and the address spaces of the TLB.

use guest_api::Space;
use mem::Access;

use crate::cpu::{Cpu, LAST_FLUSH, cr0, cr4, efer, rflags};
use crate::exec::Exec;
use crate::fault::{AC, GP, PF, SS, Stop};
use crate::insn::STACK;

/// MAXPHYADDR, bits (CPUID 80000008H:EAX[7:0]).
pub const PHYSICAL_BITS: u32 = 40;
/// Bits of a linear address (CPUID 80000008H:EAX[15:8]).
pub const LINEAR_BITS: u32 = 48;

/// Bits of paging-structure entries (SDM 3 tables 4-4 to 4-20).
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
/// Physical address bits of a 64-bit entry.
const ADDRESS: u64 = (1 << PHYSICAL_BITS) - 0x1000;
/// Bits 51:MAXPHYADDR: reserved in every 64-bit entry.
const BEYOND: u64 = (1 << 52) - (1 << PHYSICAL_BITS);

/// Page-fault error code (SDM 3 4.7).
const CODE_PRESENT: u32 = 1 << 0;
const CODE_WRITE: u32 = 1 << 1;
const CODE_USER: u32 = 1 << 2;
const CODE_RESERVED: u32 = 1 << 3;
const CODE_FETCH: u32 = 1 << 4;

/// The bits of the TLB's context that are the privilege mode; the others are the address space.
const MODE_BITS: u64 = 3;
const MODE_USER: u64 = 0;
const MODE_SUPERVISOR: u64 = 1;
/// Supervisor with SMAP suspended by RFLAGS.AC.
const MODE_SUPERVISOR_AC: u64 = 2;
/// User with alignment checks: never in the TLB, each access is looked at.
const MODE_USER_ALIGNED: u64 = 3;

/// Address-space numbers: the TLB's 12 context bits less two for the mode, less the all-ones context of empty entries.
const LAST_ASN: u16 = (1 << 10) - 2;

/// Which address-space number stands for which PCID, so that a change of address space flushes nothing (SDM 3 4.10.1).
///
/// To flush an address space is to give it a number not used yet; when they run out the TLB is flushed and numbering starts anew.
pub(crate) struct AddressSpaces {
    /// Number of the current address space.
    current: u16,
    last_given: u16,
    /// By PCID; 0: none.
    by_pcid: Box<[u16; 4096]>,
    /// Large pages whose pieces may be in the TLB: a bit for each hash of a 2 MiB and of a 1 GiB region.
    large: [u64; 64],
    huge: [u64; 64],
    /// Pages that code was fetched from: a bit for each hash of one.
    code: Box<[u64; 1024]>,
    /// Code was fetched in the upper half by a translation that is not global: the jump cache must not share it. Where all is global,
    /// as in a kernel's half, a change of address space keeps the kernel's jumps.
    upper_private: bool,
}

impl AddressSpaces {
    pub(crate) fn new() -> AddressSpaces {
        AddressSpaces {
            current: 1,
            last_given: 1,
            by_pcid: Box::new([0; 4096]),
            large: [0; 64],
            huge: [0; 64],
            code: Box::new([0; 1024]),
            upper_private: false,
        }
    }
    /// The TLB is empty.
    pub(crate) fn flushed(&mut self) {
        (self.large, self.huge, self.upper_private) = ([0; 64], [0; 64], false);
        self.code.fill(0);
    }
    fn note_code(&mut self, va: u64) {
        let (word, bit) = hash_bit(va >> 12, 16);
        self.code[word & 1023] |= bit;
    }
    /// Whether the page of `va` may be found by the interpreter's jump cache.
    pub(crate) fn may_have_code(&self, va: u64) -> bool {
        let (word, bit) = hash_bit(va >> 12, 16);
        self.code[word & 1023] & bit != 0
    }
    fn note_large(&mut self, va: u64, shift: u32) {
        let (word, bit) = large_bit(va >> 21);
        self.large[word] |= bit;
        match shift {
            // A 4 MiB page is two regions.
            22 => {
                let (word, bit) = large_bit(va >> 21 ^ 1);
                self.large[word] |= bit;
            }
            30 => {
                let (word, bit) = large_bit(va >> 30);
                self.huge[word] |= bit;
            }
            _ => {}
        }
    }
    fn may_be_large(&self, va: u64) -> bool {
        let ((word, bit), (huge, huge_bit)) = (large_bit(va >> 21), large_bit(va >> 30));
        self.large[word] & bit != 0 || self.huge[huge] & huge_bit != 0
    }
}

/// Word and bit that stand for region `n`.
fn large_bit(n: u64) -> (usize, u64) {
    let (word, bit) = hash_bit(n, 12);
    (word & 63, bit)
}

/// Word and bit that stand for `n` among `1 << bits` (Fibonacci hashing).
fn hash_bit(n: u64, bits: u32) -> (usize, u64) {
    let h = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits);
    ((h >> 6) as usize, 1 << (h & 63))
}

impl Exec<'_> {
    /// Whether translations of code may be dropped here: the jump caches are found stale, as they are once in a while, by the interpreter only.
    pub(crate) fn can_forget_jumps(&mut self) -> Result<(), Stop> {
        if self.cpu.translated && self.cpu.flushes + 1 == LAST_FLUSH { Err(Stop) } else { Ok(()) }
    }
}

impl Cpu {
    /// Recomputes the TLB context (address space, privilege, SMAP) and the mode that code is decoded in, after any of CPL, CS, SS,
    /// CR0, CR3, CR4, EFER or RFLAGS.AC changed.
    pub fn update_context(&mut self) {
        self.update_data_context();
        // SMAP and alignment do not apply to fetches: STAC must not lose the jump cache.
        let mode = if self.cpl == 3 { MODE_USER } else { MODE_SUPERVISOR } as u32
            | (self.code_size() as u32) << 12
            | (self.stack_width() as u32) << 14;
        let mode = mode | u32::from(self.flushes) << 16;
        let own = u32::from(self.spaces.current) << 2 | mode;
        // Number 0 is given to no address space: it stands for all.
        self.fetch_keys = [own, if self.spaces.upper_private { own } else { mode }];
    }

    /// The part of [`Cpu::update_context`] that data accesses have, which follows address space, CPL and RFLAGS.AC.
    #[inline]
    pub(crate) fn update_data_context(&mut self) {
        let asn = u64::from(self.spaces.current) << 2;
        let ac = self.rflags_rest() & rflags::AC != 0;
        let mode = if self.cpl == 3 {
            if ac && self.cr0 & cr0::AM != 0 { MODE_USER_ALIGNED } else { MODE_USER }
        } else if ac && self.cr4 & cr4::SMAP != 0 {
            MODE_SUPERVISOR_AC
        } else {
            MODE_SUPERVISOR
        };
        self.mem.set_context(asn | mode);
    }

    /// Enters the address space of `pcid` (0 where CR4.PCIDE is clear), with its cached translations or, where `flush`, without.
    pub(crate) fn enter_address_space(&mut self, pcid: u16, flush: bool) {
        let known = self.spaces.by_pcid[usize::from(pcid & 0xfff)];
        self.spaces.current = if flush || known == 0 { self.new_asn(pcid) } else { known };
        self.update_context();
    }

    /// Drops the translations of `pcid`.
    pub(crate) fn flush_pcid(&mut self, pcid: u16) {
        if pcid == self.pcid() {
            self.enter_address_space(pcid, true);
        } else {
            self.spaces.by_pcid[usize::from(pcid & 0xfff)] = 0;
        }
    }

    /// The current process-context identifier.
    pub fn pcid(&self) -> u16 {
        if self.cr4 & cr4::PCIDE != 0 { (self.cr3 & 0xfff) as u16 } else { 0 }
    }

    /// Whether the page that `leaf` maps is global (SDM 3 4.10.2.4).
    fn is_global(&self, leaf: u64) -> bool {
        leaf & GLOBAL != 0 && self.cr4 & cr4::PGE != 0
    }

    /// Notes that code is fetched from `va`, which `leaf` maps.
    fn note_fetch(&mut self, va: u64, leaf: u64) {
        self.spaces.note_code(va);
        if va >> 63 != 0 && !self.is_global(leaf) && !self.spaces.upper_private {
            self.spaces.upper_private = true;
            self.update_context();
        }
    }

    fn new_asn(&mut self, pcid: u16) -> u16 {
        if self.spaces.last_given == LAST_ASN {
            self.flush_tlb();
            self.spaces.by_pcid.fill(0);
            self.spaces.last_given = 0;
        }
        self.spaces.last_given += 1;
        self.spaces.by_pcid[usize::from(pcid & 0xfff)] = self.spaces.last_given;
        self.spaces.last_given
    }

    /// INVLPG: drops the translations of the page of `va` in all address spaces, all pieces of it where it may be a large page.
    pub(crate) fn invalidate_page(&mut self, va: u64) {
        if self.spaces.may_be_large(va) { self.flush_tlb() } else { self.flush_page(va) }
    }
}

/// Enters a data translation in the TLB, unless each access to the page must be looked at: alignment checks, watchpoints.
pub(crate) fn enter(cx: &mut Exec<'_>, access: Access, va: u64, pa: u64) {
    if !checks_alignment(cx.cpu) && !super::debug::watches_page(cx.cpu, va) {
        cx.cpu.mem.insert(access, va, pa);
    }
}

/// Whether each data access must be looked at for its alignment.
pub(crate) fn checks_alignment(cpu: &Cpu) -> bool {
    cpu.mem.context() & MODE_BITS == MODE_USER_ALIGNED
}

/// What a data access of `n` bytes that is not served by the TLB meets behind translation: #AC (SDM 3 6.15,
/// "Interrupt 17"), data breakpoints.
pub(crate) fn check_access(cx: &mut Exec<'_>, va: u64, n: u32, access: Access) -> Result<(), Stop> {
    if checks_alignment(cx.cpu) && va & u64::from(n - 1) != 0 {
        return Err(cx.fault(AC, Some(0)));
    }
    super::debug::data_access(cx.cpu, va, n, access);
    Ok(())
}

/// Whether the address is canonical (SDM 1 3.3.7.1).
#[inline(always)]
pub const fn canonical(va: u64) -> bool {
    const SHIFT: u32 = 64 - LINEAR_BITS;
    ((va << SHIFT) as i64 >> SHIFT) as u64 == va
}

/// Does `f` with the data access rights of privilege level `cpl`; `ac`: RFLAGS.AC suspends SMAP as it does for explicit accesses.
pub(crate) fn with_privilege<R>(cx: &mut Exec<'_>, cpl: u8, ac: bool, f: impl FnOnce(&mut Exec<'_>) -> R) -> R {
    let (old_cpl, old_flags) = (cx.cpu.cpl, cx.cpu.rflags_rest());
    if cpl == old_cpl && (ac || old_flags & rflags::AC == 0) {
        return f(cx);
    }
    cx.cpu.cpl = cpl;
    if !ac {
        *cx.cpu.rflags_rest_mut() &= !rflags::AC;
    }
    cx.cpu.update_data_context();
    let r = f(cx);
    cx.cpu.cpl = old_cpl;
    *cx.cpu.rflags_rest_mut() = old_flags;
    cx.cpu.update_data_context();
    r
}

/// Does `f` as the processor accesses its own tables (GDT, LDT, IDT, TSS): as supervisor, whatever CPL is, under SMAP whatever AC is
/// (SDM 3 4.6.1, "implicit supervisor-mode accesses").
pub(crate) fn as_system<R>(cx: &mut Exec<'_>, f: impl FnOnce(&mut Exec<'_>) -> R) -> R {
    with_privilege(cx, 0, false, f)
}

/// Physical address of linear address `va` for `access` at the current privilege; raises #PF, or #GP/#SS for a
/// non-canonical address. Sets accessed and dirty bits.
pub fn translate(cx: &mut Exec<'_>, va: u64, access: Access, s: Space) -> Result<u64, Stop> {
    cx.cpu.tlb_misses += 1;
    let long = cx.cpu.long_mode();
    if long && !canonical(va) {
        return Err(cx.fault(if s == STACK { SS } else { GP }, Some(0)));
    }
    let va = if long { va } else { va & 0xffff_ffff };
    if cx.cpu.cr0 & cr0::PG == 0 {
        cx.cpu.mem.next_is_global(false);
        return Ok(va);
    }
    // Global translations are of no address space: they come along when they are needed.
    if let Some(pa) = cx.cpu.mem.adopt_global(access, va, !MODE_BITS) {
        cx.cpu.mem.next_is_global(true);
        return Ok(pa);
    }
    if let Some(pa) = short_walk(cx.cpu, va, access) {
        return Ok(pa);
    }
    match walk(cx, va, access, true) {
        Ok(pa) => Ok(pa),
        Err(code) => {
            cx.cpu.cr2 = va;
            Err(cx.fault(PF, Some(code)))
        }
    }
}

/// Physical address of `va` as seen now, changing nothing: for debuggers and reports.
pub fn peek(cx: &mut Exec<'_>, va: u64) -> Option<u64> {
    if cx.cpu.cr0 & cr0::PG == 0 {
        return Some(va & 0xffff_ffff);
    }
    if cx.cpu.long_mode() && !canonical(va) {
        return None;
    }
    with_privilege(cx, 0, false, |cx| {
        let cr4 = core::mem::replace(&mut cx.cpu.cr4, 0);
        cx.cpu.cr4 = cr4 & !(cr4::SMAP | cr4::SMEP);
        let pa = walk(cx, va, Access::Read, false).ok();
        cx.cpu.cr4 = cr4;
        pa
    })
}

/// [`walk`] where it is plain: 4-level paging, tables in RAM, nothing to be marked or refused. `None`: [`walk`] shall see.
fn short_walk(cpu: &mut Cpu, va: u64, access: Access) -> Option<u64> {
    if !cpu.long_mode() {
        return None;
    }
    let mut table = cpu.cr3 & ADDRESS;
    let mut shift = 39;
    let mut granted = WRITABLE | USER;
    let mut no_execute = 0;
    let leaf = loop {
        if !cpu.mem.is_ram(table) {
            return None;
        }
        let entry = cpu.mem.ram.read::<u64>(table | (va >> shift & 0x1ff) << 3)?;
        if entry & (PRESENT | ACCESSED | BEYOND) != PRESENT | ACCESSED {
            return None;
        }
        granted &= entry;
        no_execute |= entry;
        table = entry & ADDRESS;
        if shift == 12 {
            break entry;
        }
        if entry & LARGE != 0 {
            // Bit 12 is the page's PAT, those between it and the page's address must be 0.
            if shift == 39 || entry & ((1 << shift) - 0x2000) != 0 {
                return None;
            }
            table &= !((1 << shift) - 1);
            cpu.spaces.note_large(va, shift);
            break entry;
        }
        shift -= 9;
    };
    let write = access == Access::Write;
    let user_page = granted & USER != 0;
    let user = cpu.cpl == 3;
    let guarded = cpu.cr4 & if access == Access::Execute { cr4::SMEP } else { cr4::SMAP } != 0;
    let suspended = access != Access::Execute && cpu.rflags_rest() & rflags::AC != 0;
    let refused = (user && !user_page)
        || (!user && user_page && guarded && !suspended)
        || (write && (granted & WRITABLE == 0 || leaf & DIRTY == 0))
        || (no_execute & NO_EXECUTE != 0 && (access == Access::Execute || cpu.msr.efer & efer::NXE == 0));
    if refused {
        return None;
    }
    cpu.mem.next_is_global(cpu.is_global(leaf));
    if access == Access::Execute {
        cpu.note_fetch(va, leaf);
    }
    Some(table | va & ((1 << shift) - 1))
}

/// Physical address of the code at linear `pc`, which is in the TLB from now on; raises the faults of an instruction fetch.
pub(crate) fn fetch_address(cx: &mut Exec<'_>, pc: u64) -> Result<u64, Stop> {
    if let Some(pa) = cx.cpu.mem.lookup(Access::Execute, pc) {
        return Ok(pa);
    }
    let pa = translate(cx, pc, Access::Execute, Space::FLAT)?;
    cx.cpu.mem.insert(Access::Execute, pc, pa);
    Ok(pa)
}

/// Physical address of code at linear `va` in 64-bit mode, if fetching it would neither fault nor mark anything.
pub(crate) fn code_address(cpu: &mut Cpu, va: u64) -> Option<u64> {
    if !canonical(va) {
        return None;
    }
    cpu.mem.lookup(Access::Execute, va).or_else(|| short_walk(cpu, va, Access::Execute))
}

/// An entry on the way of a walk.
#[derive(Clone, Copy, Default)]
struct Step {
    pa: u64,
    entry: u64,
}

/// Walks the page tables; `Err` is the page-fault error code. `mark`: sets accessed and dirty bits.
fn walk(cx: &mut Exec<'_>, va: u64, access: Access, mark: bool) -> Result<u64, u32> {
    let cpu = &*cx.cpu;
    let (cr3, cr4, nxe) = (cpu.cr3, cpu.cr4, cpu.msr.efer & efer::NXE != 0);
    let pae = cr4 & cr4::PAE != 0;
    let user = cpu.cpl == 3;
    let (write, fetch) = (access == Access::Write, access == Access::Execute);
    // Bit 4 is 0 where neither NX nor SMEP exists (SDM 3 4.7).
    let code = if write { CODE_WRITE } else { 0 }
        | if user { CODE_USER } else { 0 }
        | if fetch && ((pae && nxe) || cr4 & cr4::SMEP != 0) { CODE_FETCH } else { 0 };
    let reserved_error = code | CODE_PRESENT | CODE_RESERVED;

    let mut steps = [Step::default(); 4];
    let mut n = 0;
    // Rights so far: R/W and U/S are granted by all entries, NX by any.
    let mut rights = WRITABLE | USER;
    let mut no_execute = false;
    let wide = pae;
    // The bit of the linear address below the current level's index.
    let mut shift;
    let mut table;
    if cpu.long_mode() {
        (shift, table) = (39, cr3 & ADDRESS);
    } else if pae {
        // The four PDPTEs are registers, loaded and checked with CR3 (SDM 3 4.4.1).
        let pdpte = cpu.pdpte[(va >> 30) as usize & 3];
        if pdpte & PRESENT == 0 {
            return Err(code);
        }
        (shift, table) = (21, pdpte & ADDRESS);
    } else {
        (shift, table) = (22, cr3 & 0xffff_f000);
    }
    let (base, size) = loop {
        let (pa, entry) = if wide {
            let pa = table | (va >> shift & 0x1ff) << 3;
            (pa, cx.read_physical(pa, 8))
        } else {
            let pa = table | (va >> shift & 0x3ff) << 2;
            (pa, cx.read_physical(pa, 4))
        };
        if entry & PRESENT == 0 {
            return Err(code);
        }
        let leaf = shift == 12
            || (entry & LARGE != 0
                && match shift {
                    21 | 30 => true,
                    22 => cr4 & cr4::PSE != 0,
                    _ => false,
                });
        if wide {
            // What must be 0: bits beyond the physical width, NX where not enabled, bit 7 of a PML4E, the low address bits of a
            // large page (but 12, its PAT bit), and in PAE paging bits 62:52 (SDM 3 tables 4-8 to 4-20).
            let reserved = BEYOND
                | if nxe { 0 } else { NO_EXECUTE }
                | if shift == 39 { LARGE } else { 0 }
                | if leaf && shift > 12 { (1 << shift) - 0x2000 } else { 0 }
                | if cx.cpu.long_mode() { 0 } else { 0x7ff << 52 };
            if entry & reserved != 0 {
                return Err(reserved_error);
            }
            no_execute |= entry & NO_EXECUTE != 0;
        } else if leaf && shift == 22 && entry & 1 << 21 != 0 {
            return Err(reserved_error);
        }
        rights &= entry;
        steps[n] = Step { pa, entry };
        n += 1;
        if leaf {
            let page = match shift {
                // PSE-36: bits 20:13 are bits 39:32 of the address (SDM 3 table 4-4).
                22 => entry & 0xffc0_0000 | (entry & 0x1f_e000) << 19,
                12 if !wide => entry & 0xffff_f000,
                _ => entry & ADDRESS & !((1 << shift) - 1),
            };
            break (page, shift);
        }
        table = if wide { entry & ADDRESS } else { entry & 0xffff_f000 };
        shift = if wide { shift - 9 } else { 12 };
    };

    // Access rights (SDM 3 4.6.1).
    let user_page = rights & USER != 0;
    let denied = if user {
        !user_page || (write && rights & WRITABLE == 0)
    } else {
        (write && rights & WRITABLE == 0 && cx.cpu.cr0 & cr0::WP != 0)
            || (user_page
                && if fetch {
                    cr4 & cr4::SMEP != 0
                } else {
                    cr4 & cr4::SMAP != 0 && cx.cpu.rflags_rest() & rflags::AC == 0
                })
    };
    if denied || (fetch && no_execute) {
        return Err(code | CODE_PRESENT);
    }

    if mark {
        for (k, s) in steps[..n].iter().enumerate() {
            let set = s.entry | ACCESSED | if write && k + 1 == n { DIRTY } else { 0 };
            if set != s.entry {
                cx.write_physical(s.pa, if wide { 8 } else { 4 }, set);
            }
        }
        if size > 12 {
            cx.cpu.spaces.note_large(va, size);
        }
        let global = cx.cpu.is_global(steps[n - 1].entry);
        cx.cpu.mem.next_is_global(global);
        if fetch {
            cx.cpu.note_fetch(va, steps[n - 1].entry);
        }
    }
    Ok(base | va & ((1 << size) - 1))
}

/// The PDPTE registers as CR3 `cr3` would load them; `None` where one has a reserved bit set (#GP; SDM 3 4.4.1).
pub(crate) fn load_pdptes(cx: &mut Exec<'_>, cr3: u64) -> Option<[u64; 4]> {
    const RESERVED: u64 = !(ADDRESS | 0xe19);
    let table = cr3 & 0xffff_ffe0;
    let mut entries = [0; 4];
    for (k, e) in entries.iter_mut().enumerate() {
        *e = cx.read_physical(table + 8 * k as u64, 8);
        if *e & PRESENT != 0 && *e & RESERVED != 0 {
            return None;
        }
    }
    Some(entries)
}
