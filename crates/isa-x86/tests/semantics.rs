//! The tests of crate `semantics`, interpreted, and recorded as `ir` and evaluated. `tests/tiers` runs them as generated code.

use evaluator::Evaluator;
use guest_api::{NoTier, Tier};
use semantics::{On, Share};

fn run<T: Tier>(on: &On<T>, expected: impl Fn(Share, u64) -> bool) {
    for test in semantics::tests() {
        // Where it fails, this tells which it was.
        println!("{}", test.name);
        let share = test.run(on);
        assert!(expected(share, test.least), "{share:?}");
    }
}

#[test]
fn interpreted() {
    run(&On::new(|| NoTier, |_| {}), |share, _| share.translated == 0);
}

#[test]
fn evaluated() {
    let on = On::new(|| Evaluator::new(isa_x86::tier::layout()), |_| {});
    run(&on, |share, least| share.translated * 100 >= share.executed * least);
}
