//! Generated code against the interpreter, in a real WebAssembly engine.
//!
//! This is a module for the runner `run.mjs`, which gives it what the page gives `engine.wasm`: modules beside its own, and the function table. [`ops`] has
//! random sequences of vector operations; [`insns`] has random x86 code.
#![cfg(target_arch = "wasm32")]

mod asm;
mod host;
mod insns;
mod kept;
mod life;
mod ops;
mod programs;
mod returns;
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
    /// Notes a failure; only the first ones are told.
    pub fn fail(&mut self, what: core::fmt::Arguments<'_>) {
        self.failures += 1;
        if self.failures <= 12 {
            self.line(format_args!("FAILED: {what}"));
        }
    }
}

/// Runs `count` cases of part `part` (0: operations, 1: instructions, 2: speed) from `seed`; the number of failures.
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
        _ => speed::run(&mut report),
    }
    host::say(report.text.trim_end());
    report.failures
}
