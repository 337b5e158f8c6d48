//! `diff [--count N] [--seed S] [--bits 16|32|64] [--only MNEMONIC,..] [--except MNEMONIC,..]`: random instructions against this machine's CPU.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> std::process::ExitCode {
    let mut count = 100_000;
    let mut bits = None;
    let mut seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let (mut only, mut except) = (Vec::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    let names = |v: String| v.split(',').map(str::to_ascii_lowercase).collect::<Vec<_>>();
    while let Some(a) = args.next() {
        let v = args.next();
        let number = |v: &str| match v.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => v.parse::<u64>().ok(),
        };
        match (a.as_str(), v) {
            ("--count", Some(v)) if number(&v).is_some() => count = number(&v).unwrap_or(0),
            ("--seed", Some(v)) if number(&v).is_some() => seed = number(&v).unwrap_or(0),
            ("--bits", Some(v)) if matches!(v.as_str(), "16" | "32" | "64") => bits = number(&v).map(|b| b as u32),
            ("--only", Some(v)) => only = names(v),
            ("--except", Some(v)) => except = names(v),
            _ => {
                eprintln!(
                    "diff [--count N] [--seed S] [--bits 16|32|64] [--only MNEMONIC,..] [--except MNEMONIC,..]: bad argument {a}"
                );
                return 2.into();
            }
        }
    }
    println!("seed {seed:#x}");
    let report = diff::run(seed, count, bits, &|m| {
        let name = format!("{m:?}").to_ascii_lowercase();
        (only.is_empty() || only.contains(&name)) && !except.contains(&name)
    });
    print!("{report}");
    u8::from(!report.failures.is_empty()).into()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() {
    eprintln!("diff: this machine has no CPU to compare with");
}
