//! Tests of what instructions do that are no assembly programs: random ones, and those that need a model, a device or an event.
//!
//! They run on any [`Tier`]: `isa-x86` runs them interpreted and evaluated, `tests/tiers` as generated code. Each brings processors to a state again and
//! again, so that what was seen once is then translated, and panics where they do not come to what they should.

mod events;
mod sse;
mod strings;
mod writes;
mod x87;

use core::cell::Cell;

use bare::CODE;
use guest_api::Tier;
use isa_x86::{CpuExit, Platform, Vcpu};

pub use writes::FORKS;

/// How often a state is gone through: in the first turn code is seen.
const TURNS: u32 = 4;
/// More than any code here executes that comes to an end.
const LIMIT: u64 = 100_000;
/// Where there is data: RAM that is mapped and holds no code.
const DATA: u64 = 0x30_0000;
/// A page table beside those of [`bare::long_mode`].
const TABLE: u64 = bare::TABLES + 0x3000;

/// A test.
pub struct Test<T> {
    pub name: &'static str,
    run: fn(&On<T>),
    /// Of its instructions those that a second tier must have executed, in percent.
    pub least: u64,
}

impl<T> Test<T> {
    /// Runs the test on `on`. What was executed, and of that by the tier.
    pub fn run(&self, on: &On<T>) -> Share {
        on.share.take();
        (self.run)(on);
        on.share.get()
    }
}

/// Instructions that were executed, and those of them that the second tier has executed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Share {
    pub executed: u64,
    pub translated: u64,
}

/// What tests run on.
pub struct On<T> {
    new: fn() -> T,
    between: fn(&mut T),
    share: Cell<Share>,
}

impl<T: Tier> On<T> {
    /// Each processor has a tier that `new` makes, and to which `between` is done when a run is over.
    pub fn new(new: fn() -> T, between: fn(&mut T)) -> On<T> {
        On { new, between, share: Cell::default() }
    }

    /// A processor in 64-bit mode, before `code`: see [`bare::long_mode`].
    fn machine(&self, code: &[u8]) -> Machine<'_, T> {
        Machine { v: bare::long_mode(code), tier: (self.new)(), on: self }
    }
}

/// A processor and its second tier.
struct Machine<'a, T: Tier> {
    v: Vcpu,
    tier: T,
    on: &'a On<T>,
}

impl<T: Tier> Machine<'_, T> {
    /// As [`Vcpu::run`].
    fn run(&mut self, platform: &mut dyn Platform, insns: u64) -> CpuExit {
        let exit = self.v.run_with(platform, &mut self.tier, insns);
        (self.on.between)(&mut self.tier);
        exit
    }

    /// Runs code without devices from `pc` to its end.
    fn run_from(&mut self, pc: u64) -> CpuExit {
        (self.v.cpu.rip, self.v.cpu.halted) = (pc, false);
        self.run(&mut bare::Bare::default(), LIMIT)
    }

    /// Makes what is at [`CODE`] `code`. What is so already stays translated.
    fn load(&mut self, code: &[u8]) {
        self.load_at(CODE, code);
    }
    fn load_at(&mut self, at: u64, code: &[u8]) {
        let mem = &mut self.v.cpu.mem;
        if mem.ram.slice(at, code.len()) != Some(code) {
            assert!(mem.dma_write(at, code));
        }
    }
}

impl<T: Tier> Drop for Machine<'_, T> {
    fn drop(&mut self) {
        self.tier.drop_all();
        let share = self.on.share.get();
        let (executed, translated) = (share.executed + self.v.cpu.insns, share.translated + self.v.translated);
        self.on.share.set(Share { executed, translated });
    }
}

macro_rules! tests {
    ($($module:ident::$name:ident $least:literal,)*) => {
        /// All tests.
        pub fn tests<T: Tier>() -> Vec<Test<T>> {
            vec![$(Test { name: stringify!($name), run: $module::$name, least: $least }),*]
        }
    };
}

// What is not translated is seen for the first time, left to the interpreter (OUT, HLT, the x87, some immediates of PCMPISTRx, stores to code), or faults.
tests! {
    events::an_interrupt_waits_for_if_and_for_the_instruction_behind_sti 30,
    events::sti_with_if_set_holds_nothing_off 15,
    events::of_a_sequence_of_sti_only_the_first_holds_off 20,
    events::what_arises_behind_sti_is_taken_behind_the_instruction_that_raised_it 25,
    events::flags_that_are_loaded_let_a_waiting_interrupt_in_at_once 30,
    events::mov_ss_holds_an_interrupt_off 10,
    events::hlt_ends_with_an_interrupt_and_only_then 15,
    events::an_nmi_ignores_if_and_waits_for_iret 30,
    events::an_iret_that_faults_has_let_nmis_in 0,
    events::a_fault_loop_returns_to_the_host 0,
    sse::a_load_that_crosses_a_page_faults_as_one 40,
    sse::the_index_of_a_string_comparison_is_that_of_its_mask 20,
    strings::bulk_is_the_iteration_repeated 95,
    strings::a_page_is_filled_in_two_steps 40,
    strings::code_that_a_string_overwrites_is_seen 10,
    writes::a_loop_counts_exactly 95,
    writes::code_that_writes_itself_is_seen_at_the_next_instruction 10,
    writes::an_instruction_in_two_pages_is_seen_to_be_overwritten_in_either 15,
    writes::the_second_of_a_pair_runs_though_the_first_has_written_code 25,
    writes::a_fault_of_the_second_of_a_pair_is_its_own 30,
    writes::code_of_a_page_that_moved_is_not_taken_for_that_of_the_other 60,
    writes::a_block_that_has_followed_often_is_seen_to_be_overwritten 50,
    writes::what_was_written_before_a_part_of_a_block_is_seen 25,
    writes::what_stops_behind_jumps_that_are_not_taken_counts_exactly 80,
    writes::what_is_written_behind_a_jump_that_is_not_taken_is_seen 15,
    x87::reporting_by_an_external_interrupt_is_named_as_lacking 30,
}
