//! Generated code against the interpreter, in a real WebAssembly engine.
//!
//! This is a module for the runner `run.mjs`, which gives it what the page gives `engine.wasm`: modules beside its own, and the function table.
//!
//! - [`ops`]: random sequences of vector operations;
//! - [`insns`]: random user code, loops of few blocks, from the same state;
//! - [`programs`]: random programs of the system's, under stress and as code becomes hot;
//! - [`asm`]: the programs of `isa-x86`'s tests, under stress;
//! - [`rust`]: those of its tests that are none, of crate `semantics`;
//! - [`life`], [`returns`], [`kept`]: how regions come, go, and are entered: churn, refusals, mappings that change, IRETQ, pages kept by loops;
//! - [`speed`]: no test.
#![cfg(target_arch = "wasm32")]

mod asm;
mod host;
mod insns;
mod kept;
mod life;
mod ops;
mod programs;
mod returns;
mod rust;
mod speed;

use std::fmt::Write;

/// What a run found.
#[derive(Default)]
pub struct Report {
    pub text: String,
    pub failures: u32,
}

impl Report {
    pub fn line(&mut self, line: core::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }
    /// Notes how many of `insns` instructions of `what` were translated, and as a failure that it is less than `least` percent.
    pub fn translated(&mut self, what: &str, translated: u64, insns: u64, least: u64) {
        if translated * 100 < insns * least {
            self.fail(format_args!("{what}: {translated} of {insns} instructions translated"));
        }
    }
    /// Notes a failure; only the first ones are told.
    pub fn fail(&mut self, what: core::fmt::Arguments<'_>) {
        self.failures += 1;
        if self.failures <= 12 {
            self.line(format_args!("FAILED: {what}"));
        }
    }
}

/// Runs `count` cases of part number `part` of `PARTS` in `core.mjs` from `seed`; the number of failures.
#[unsafe(no_mangle)]
pub extern "C" fn run(part: u32, seed: u64, count: u32) -> u32 {
    std::panic::set_hook(Box::new(|p| host::say(&format!("panic: {p}"))));
    let mut report = Report::default();
    match part {
        0 => ops::run(seed, count, &mut report),
        1 => insns::run(seed, count, &mut report),
        3 => programs::run(seed, count / 2, &mut report),
        4 => asm::run(seed, &mut report),
        5 => {
            life::run(count / 8, &mut report);
            returns::run(&mut report);
            kept::run(&mut report);
        }
        6 => rust::run(&mut report),
        _ => speed::run(&mut report),
    }
    host::say(report.text.trim_end());
    report.failures
}
