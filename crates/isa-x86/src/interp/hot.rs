//! The hottest combinations of operation, width and operand form, each an arm of the interpreter's `match` with these facts
//! known to the compiler. They call the same semantic functions as everything else, and refuse what is seldom: an access that misses
//! the TLB, or a fault. The table executes it then: there are no calls here, and what all arms need stays in registers. Where one case
//! is frequent it has an arm to itself ([`Fact`]): a branch within an arm is predicted no better than the one that leads to it. Frequent
//! pairs of instructions have arms together: what interpretation costs is memory that is not in the cache and jumps to arms that the
//! host's processor did not predict. `arms.rs` lists them.

use guest_api::{Cond, Width};

use super::block::Place;
use super::facts::{Fact, is_plain};
use super::links::NO_PLACE;
use super::packed::{Forms, Packed};
use crate::cpu::{BLOCK, CodeSize, Cpu};
use crate::exec::Exec;
use crate::fault::Stop;
use crate::insn::{Insn, Kind, OPERANDS};
use crate::platform::Platform;
use crate::sem::*;
use crate::table::{Op, ends_block, execute};

/// The arm of instructions that have none of their own.
pub(crate) const NO_ARM: u8 = Arm::Other as u8;
/// The arm of the last of a block, where it has none.
pub(super) const LAST: u8 = Arm::Last as u8;

/// The arm for `i`.
pub(super) fn hot_arm(i: &Insn) -> u8 {
    if i.bits() != CodeSize::Bits64 || i.addr_width() != Width::W64 || !Packed::holds(i) {
        return NO_ARM;
    }
    special(arm(i.op, i.width(), i.kinds), i.cc, i.src_width(), is_plain(i))
}

/// How the execution of a block ends.
pub(super) enum End {
    /// By a jump that has an arm. Nothing was raised.
    Jump,
    /// The same, at the fork behind which so many places of the code cache are left; and the block that follows, if the fork knows it, or [`NO_PLACE`].
    Fork(usize, Place),
    /// By another instruction: [`Cpu::attention`] may be raised, or the fetch keys have changed.
    Other,
    /// Behind an instruction, so many places of the code cache left: something was raised. Whether it has come to an end.
    Stopped(usize, Result<(), Stop>),
    /// Before an instruction, behind which so many places are left: its arm has refused it.
    Refused(usize),
}

/// Whether blocks can go on behind what has this arm: a conditional jump, which is never refused.
pub(super) const fn forks(arm: u8) -> bool {
    arm == Arm::JccI64 as u8 || arm == Arm::JzI64 as u8 || arm == Arm::JordI64 as u8
}

/// Attempts `$i` by the arm `$name`. What jumps always is a block's last.
macro_rules! arm {
    ($cpu:ident, $platform:ident, $name:ident, $i:ident, $refused:lifetime, $branch:lifetime) => {
        if arms::$name(&mut Exec::attempt($cpu, $platform), $i).is_err() {
            break $refused;
        }
        if forks(Arm::$name as u8) {
            break $branch $i;
        }
        if arms::ends::$name {
            return End::Jump;
        }
    };
}

/// Executes what has no arm. Marked as seldom, as the call would take registers from the arms; and those that call it ask first whether what they have is
/// kept whole, which it is, as only a branch can have a hint (docs/decisions/107-what-the-hosts-compiler-is-told.md).
#[cold]
#[inline(never)]
fn by_table(cpu: &mut Cpu, platform: &mut dyn Platform, i: &Insn) -> Result<(), Stop> {
    execute(&mut Exec::new(cpu, platform), i)
}

/// The operands of an arm: two, or three.
macro_rules! kinds {
    ($a:ident $b:ident) => {
        kinds!($a $b None)
    };
    ($a:ident $b:ident $c:ident) => {
        [Kind::$a, Kind::$b, Kind::$c]
    };
}

macro_rules! hot {
    (
        { $($name:ident: $op:ident $width:ident $a:ident $b:ident $($c:ident)? => $f:path;)* }
        special { $($special:ident: $of:ident $fact:ident;)* }
        pairs { $($pair:ident: $first:ident $second:ident;)* }
        chains { $($chain:ident: $head:ident $tail:ident = $next:ident $($after:ident)+;)* }
    ) => {
        #[repr(u8)]
        enum Arm { $($name,)* $($special,)* $($pair,)* $($chain,)* Next, Last, Other }

        #[allow(non_snake_case)]
        mod arms {
            use super::*;

            $(#[inline(always)]
            pub fn $name(cx: &mut Exec<'_>, i: &Packed) -> Result<(), Stop> {
                knowing::$name(cx, i, None)
            })*

            $(#[inline(always)]
            pub fn $special(cx: &mut Exec<'_>, i: &Packed) -> Result<(), Stop> {
                cx.ordered = matches!(Fact::$fact, Fact::Ordered);
                knowing::$of(cx, i, Some(Fact::$fact))
            })*

            /// The arms, where a fact may be known too.
            mod knowing {
                use super::*;

                $(#[inline(always)]
                pub fn $name(cx: &mut Exec<'_>, i: &Packed, fact: Option<Fact>) -> Result<(), Stop> {
                    let i = i.known(Op::$op, Width::$width, kinds!($a $b $($c)?));
                    $f(cx, &fact.map_or(i, |fact| fact.told(i)))
                })*
            }

            #[allow(non_upper_case_globals)]
            pub mod ends {
                use super::*;

                $(pub const $name: bool = ends_block(Op::$op);)*
                $(pub const $special: bool = $of;)*
            }
        }

        /// The arm for an operation of 64-bit mode with 64-bit addresses, its width and its operands.
        pub(crate) const fn arm(op: Op, width: Width, kinds: [Kind; OPERANDS]) -> u8 {
            match (op, width, kinds) {
                $((Op::$op, Width::$width, kinds!($a $b $($c)?)) => Arm::$name as u8,)*
                _ => Arm::Other as u8,
            }
        }

        /// The pairs: the arms of the first instruction and of what follows it, and that of both.
        const PAIRS: &[[u8; 3]] = &[
            $([Arm::$first as u8, Arm::$second as u8, Arm::$pair as u8],)*
            $([Arm::$head as u8, Arm::$tail as u8, Arm::$chain as u8],)*
        ];

        /// The arm for an instruction that has the arm `arm`, this condition and width of the source, and a `plain` address or not: that of the
        /// first fact that is one of it.
        pub(crate) const fn special(arm: u8, cc: Cond, src: Width, plain: bool) -> u8 {
            match arm {
                $(_ if arm == Arm::$of as u8 && Fact::$fact.holds(cc, src, plain) => Arm::$special as u8,)*
                _ => arm,
            }
        }

        /// Executes a block from what `insns` begins with on, which is of `forms`. `keys`: the fetch keys.
        #[allow(non_upper_case_globals)]
        #[inline(always)]
        pub(super) fn run(
            cpu: &mut Cpu,
            platform: &mut dyn Platform,
            insns: &mut [Packed],
            forms: &Forms,
            keys: [u32; 2],
        ) -> End {
            $(const $name: u8 = Arm::$name as u8;)*
            $(const $special: u8 = Arm::$special as u8;)*
            $(const $pair: u8 = Arm::$pair as u8;)*
            $(const $chain: u8 = Arm::$chain as u8;)*
            const NEXT: u8 = Arm::Next as u8;
            let mut rest = insns.iter_mut();
            'block: while let Some(i) = rest.next() {
                let jump = 'branch: {
                    'refused: {
                        match i.hot() {
                            $($name => { arm!(cpu, platform, $name, i, 'refused, 'branch); })*
                            $($special => { arm!(cpu, platform, $special, i, 'refused, 'branch); })*
                            $($pair => {
                                arm!(cpu, platform, $first, i, 'refused, 'branch);
                                let Some(second) = rest.next() else { break 'block };
                                arm!(cpu, platform, $second, second, 'refused, 'branch);
                            })*
                            $($chain => {
                                arm!(cpu, platform, $head, i, 'refused, 'branch);
                                let Some(next) = rest.next() else { break 'block };
                                arm!(cpu, platform, $next, next, 'refused, 'branch);
                                $(
                                    let Some(next) = rest.next() else { break 'block };
                                    arm!(cpu, platform, $after, next, 'refused, 'branch);
                                )+
                            })*
                            NEXT => {
                                cpu.rip = cpu.regs[BLOCK as usize].wrapping_add(i.end_off());
                                return End::Other;
                            }
                            NO_ARM => {
                                let Some(i) = forms.whole(i) else { break 'block };
                                let done = by_table(cpu, platform, i);
                                if done.is_err() || cpu.attention || cpu.fetch_keys != keys {
                                    return End::Stopped(rest.len(), done);
                                }
                            }
                            LAST => {
                                let Some(i) = forms.whole(i) else { break 'block };
                                cpu.rip = i.next_pc(cpu.regs[BLOCK as usize]);
                                let done = by_table(cpu, platform, i);
                                return if done.is_ok() { End::Other } else { End::Stopped(rest.len(), done) };
                            }
                            _ => break 'block,
                        }
                        continue 'block;
                    }
                    return End::Refused(rest.len());
                };
                if jump.goes_on() {
                    let Some(fork) = rest.next() else { break 'block };
                    let jumped = cpu.rip != cpu.regs[BLOCK as usize].wrapping_add(jump.next_off());
                    fork.count_way(jumped);
                    if !jumped && !fork.is_closed() {
                        continue 'block;
                    }
                    cpu.insns = cpu.insns.wrapping_sub(fork.behind().into());
                    let to = if jumped { fork.jumps_to() } else { NO_PLACE };
                    return End::Fork(rest.len(), to);
                }
                return End::Jump;
            }
            End::Stopped(0, Ok(()))
        }
    };
}

/// Different arms that are first, and that are second in a pair; at most.
const FIRSTS: usize = 64;
const SECONDS: usize = 32;

/// [`PAIRS`] for looking up: the number of an arm among those that are first and among those that are second in a pair, and by both the
/// pair's arm, with its own number among the second. Number 0 is none of them.
struct Pairs {
    first: [u8; 256],
    second: [u8; 256],
    arms: [[[u8; 2]; SECONDS]; FIRSTS],
}

static PAIR: Pairs = {
    let mut p = Pairs { first: [0; 256], second: [0; 256], arms: [[[NO_ARM, 0]; SECONDS]; FIRSTS] };
    let (mut firsts, mut seconds) = (0, 0);
    let mut k = 0;
    while k < PAIRS.len() {
        let [a, b, _] = PAIRS[k];
        let (first, second) = (&mut p.first[a as usize], &mut p.second[b as usize]);
        if *first == 0 {
            firsts += 1;
            *first = firsts;
        }
        if *second == 0 {
            seconds += 1;
            *second = seconds;
        }
        k += 1;
    }
    k = 0;
    while k < PAIRS.len() {
        let [a, b, both] = PAIRS[k];
        p.arms[p.first[a as usize] as usize][p.second[b as usize] as usize] = [both, p.second[both as usize]];
        k += 1;
    }
    p
};

/// Gives the instructions of a block, which is `bytes` long, arms in pairs, where there are such. What must stand behind them, if their last cannot be
/// the end: whether it `ends` a block.
pub(super) fn fuse(insns: &mut [Packed], ends: bool, bytes: usize) -> Option<Packed> {
    let (last, others) = insns.split_last_mut()?;
    let next = match last.hot() {
        NO_ARM => {
            last.set_hot(LAST);
            None
        }
        _ if ends => None,
        _ => Some(Packed::end(Arm::Next as u8, bytes as u64)),
    };
    // One waits for the other: from a pair to the next only its number is handed on.
    let mut behind = PAIR.second[usize::from(last.hot())];
    for i in others.iter_mut().rev() {
        let own = usize::from(i.hot());
        let [both, number] = PAIR.arms[usize::from(PAIR.first[own]) % FIRSTS][usize::from(behind) % SECONDS];
        behind = PAIR.second[own];
        if both != NO_ARM {
            behind = number;
            i.set_hot(both);
        }
    }
    next
}

arms!(hot);

#[cfg(test)]
mod tests {
    use super::super::decoding::decode_to;
    use super::super::pieces::Budget;
    use super::*;

    #[test]
    fn what_cannot_be_packed_has_no_arm_in_a_pair_either() {
        // cmp qword [rip + distance], 1; jz $ + 2
        let block = |distance: i32| {
            let first = [&[0x48, 0x83, 0x3d][..], &distance.to_le_bytes(), &[1]].concat();
            let mut budget = Budget::new(1 << 20);
            let mut forms = Forms::new(&mut budget);
            assert!(forms.make_room(2, &mut budget));
            let mut insns = [(&first[..], 0), (&[0x74, 0], 8)].map(|(bytes, off)| {
                let mut place = Packed::default();
                decode_to(&mut place, &mut forms, bytes, CodeSize::Bits64, Width::W64, off).unwrap();
                place
            });
            fuse(&mut insns, true, 10);
            insns.map(|i| i.hot())
        };
        assert_eq!(block(0x7fff_fff7), [Arm::CmpMI64Jz as u8, Arm::JzI64 as u8]);
        assert_eq!(block(0x7fff_fff8), [NO_ARM, Arm::JzI64 as u8]);
    }
}
