//! The tests of crate `semantics`: what code comes to when it is seen, and from the second turn on, when it is translated. One that is not as it
//! should be panics, by which the module ends.

use jit::Jit;
use semantics::{On, Share};

use crate::Report;
use crate::host::Runner;

/// Translates what it sees.
fn eager() -> Jit<Runner> {
    let mut tier = Jit::new(Runner, isa_x86::tier::layout(), 1 << 20);
    (tier.hot, tier.warm) = (1, 1);
    tier
}

pub fn run(report: &mut Report) {
    let on = On::new(eager, Jit::flush);
    let (tests, mut all) = (semantics::tests(), Share::default());
    for test in &tests {
        let Share { executed, translated } = test.run(&on);
        report.translated(test.name, translated, executed, test.least);
        all = Share { executed: all.executed + executed, translated: all.translated + translated };
    }
    report.line(format_args!("{} tests; {} of {} instructions translated", tests.len(), all.translated, all.executed));
}
