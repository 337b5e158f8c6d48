//! Intel SDM volume 3A, chapter 11 "Advanced Programmable Interrupt Controller".

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

/// Address after reset (11.4.1).
pub const BASE: u64 = 0xfee0_0000;
/// Bytes of address space that it occupies.
pub const SIZE: u64 = 0x1000;

pub const IA32_APIC_BASE: u32 = 0x1b;
pub const IA32_TSC_DEADLINE: u32 = 0x6e0;
/// MSR of x2APIC register 0 (11.12.1.2); the range has 256 MSRs.
pub const X2APIC_MSR: u32 = 0x800;

/// Version register (11.4.8): integrated APIC, [`Lvt::COUNT`] local vectors, no EOI-broadcast suppression.
pub const VERSION: u32 = (Lvt::COUNT as u32 - 1) << 16 | 0x14;

/// Register numbers: the memory-mapped offset divided by 16, and the x2APIC MSR less 0x800 (tables 11-1 and 11-6).
pub mod reg {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TPR: u32 = 0x08;
    pub const APR: u32 = 0x09;
    pub const PPR: u32 = 0x0a;
    pub const EOI: u32 = 0x0b;
    pub const RRD: u32 = 0x0c;
    pub const LDR: u32 = 0x0d;
    pub const DFR: u32 = 0x0e;
    pub const SVR: u32 = 0x0f;
    pub const ISR: u32 = 0x10;
    pub const TMR: u32 = 0x18;
    pub const IRR: u32 = 0x20;
    pub const IRR_END: u32 = 0x28;
    pub const ESR: u32 = 0x28;
    pub const ICR: u32 = 0x30;
    pub const ICR_HIGH: u32 = 0x31;
    pub const LVT: u32 = 0x32;
    pub const LVT_END: u32 = LVT + super::Lvt::COUNT as u32;
    pub const INITIAL_COUNT: u32 = 0x38;
    pub const CURRENT_COUNT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// IA32_APIC_BASE (11.4.3 and 11.12.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct ApicBase {
    __: u8,
    pub bootstrap: bool,
    __: bool,
    pub x2apic: bool,
    pub enable: bool,
    /// Physical page number.
    #[bits(40)]
    pub page: u64,
    #[bits(12)]
    __: u64,
}

/// Reserved bits of IA32_APIC_BASE, for 52-bit physical addresses; the CPU checks its own MAXPHYADDR.
pub const APIC_BASE_RESERVED: u64 = 0xfff0_0000_0000_02ff;

/// Spurious-interrupt vector register (11.9).
#[bitfield(u32)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Spurious {
    pub vector: u8,
    pub enable: bool,
    #[bits(23)]
    __: u32,
}

/// SVR bits that exist: vector, enable. (Focus checking and EOI-broadcast suppression are not there.)
pub const SVR_WRITABLE: u32 = 0x1ff;

/// Delivery modes (11.5.1, 11.6.1).
pub mod delivery {
    pub const FIXED: u8 = 0;
    pub const LOWEST_PRIORITY: u8 = 1;
    pub const SMI: u8 = 2;
    pub const NMI: u8 = 4;
    pub const INIT: u8 = 5;
    pub const STARTUP: u8 = 6;
    pub const EXT_INT: u8 = 7;
}

/// Local vectors, in the order of their registers (11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lvt {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

impl Lvt {
    pub const COUNT: usize = 6;
    /// Bits of each register that a guest may write (figure 11-8).
    pub const WRITABLE: [u32; Self::COUNT] =
        [0x0007_00ff, 0x0001_07ff, 0x0001_07ff, 0x0001_a7ff, 0x0001_a7ff, 0x0001_00ff];
}

/// A local vector table register (figure 11-8).
#[bitfield(u32)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct LvtEntry {
    pub vector: u8,
    #[bits(3)]
    pub delivery_mode: u8,
    __: bool,
    pub delivery_pending: bool,
    pub active_low: bool,
    pub remote_irr: bool,
    pub level: bool,
    pub masked: bool,
    /// Timer only.
    #[bits(2)]
    pub timer_mode: u8,
    #[bits(13)]
    __: u32,
}

/// Timer modes (11.5.1, bits 18:17).
pub mod timer_mode {
    pub const ONE_SHOT: u8 = 0;
    pub const PERIODIC: u8 = 1;
    pub const TSC_DEADLINE: u8 = 2;
}

/// Interrupt command register (11.6.1; figure 11-28 in x2APIC mode). The destination is as x2APIC has it; xAPIC's
/// eight bits are its low ones.
#[bitfield(u64)]
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Icr {
    pub vector: u8,
    #[bits(3)]
    pub delivery_mode: u8,
    pub logical: bool,
    pub delivery_pending: bool,
    __: bool,
    pub assert: bool,
    pub level: bool,
    #[bits(2)]
    __: u8,
    #[bits(2)]
    pub shorthand: u8,
    #[bits(12)]
    __: u16,
    pub destination: u32,
}

/// Bits 31:0 of ICR that a guest may write.
pub const ICR_WRITABLE: u64 = 0x000c_cfff;

/// Destination shorthands (11.6.1).
pub mod shorthand {
    pub const NONE: u8 = 0;
    pub const SELF: u8 = 1;
    pub const ALL: u8 = 2;
    pub const OTHERS: u8 = 3;
}

bitflags::bitflags! {
    /// Error status register (11.5.3).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Errors: u32 {
        const SEND_ILLEGAL_VECTOR = 1 << 5;
        const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
        const ILLEGAL_REGISTER = 1 << 7;
    }
}

/// Vectors below are reserved and cannot be sent or received (11.5.2).
pub const FIRST_VECTOR: u8 = 16;

/// DFR models (11.6.2.2, figure 11-14), bits 31:28; the other bits read as ones.
pub const DFR_FLAT: u32 = 0xf;
pub const DFR_CLUSTER: u32 = 0x0;

/// Message address and data (11.11): the fields used here.
pub mod msi {
    /// Bits 31:20 of the address.
    pub const ADDRESS: u64 = 0xfee;
    pub const LOGICAL: u64 = 1 << 2;
    pub const LEVEL: u32 = 1 << 15;
}
