//! A sample of random instructions against this machine's CPU; `cargo xtask test --long` runs millions.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[test]
fn random_instructions_do_what_the_cpu_does() {
    // The same cases each time, so that a failure is the change's; new ones are the long run's.
    for seed in [1, 2] {
        let report = diff::run(seed, 40_000, None, &|_| true);
        assert!(report.failures.is_empty(), "seed {seed:#x}\n{report}");
        for mode in ["16 bits", "32 bits"] {
            assert!(report.seen.keys().any(|k| k.contains(mode)), "no code of {mode}\n{report}");
        }
        assert!(report.seen.len() > 20 && report.faults > 100, "the generator makes no good cases\n{report}");
        // Of the cases that are 64-bit code and do not fault nearly three quarters.
        assert!(report.evaluated > 13_000, "only the interpreter knows the instructions\n{report}");
    }
}
