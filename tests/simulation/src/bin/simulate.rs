//! Tries the delivery promise with many seeds; prints what was tried, and the first that fails.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use pvewatch_collector::rules::RuleSet;
use pvewatch_simulation::tally::Tally;
use pvewatch_simulation::{Verdict, collector, try_seed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tries the delivery promise under every fault.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 20_000, conflicts_with_all = ["hours", "seed"])]
    seeds: u64,
    /// For how long instead.
    #[arg(long, conflicts_with = "seed")]
    hours: Option<f64>,
    /// Only this seed, with its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed; 1, or with --hours a random one.
    #[arg(long)]
    first: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return one(seed);
    }
    let begun = now();
    // Hours that begin where the last ones began try nothing new.
    let anew = || arguments.hours.map_or(1, |_| fastrand::u64(1..1 << 40));
    let first = arguments.first.unwrap_or_else(anew);
    println!("seeds from {first} on");
    let last = match arguments.hours {
        Some(_) => u64::MAX,
        None => first.saturating_add(arguments.seeds),
    };
    let until = arguments.hours.map(|hours| begun + Duration::from_secs_f64(hours * 3600.0));
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let found = Mutex::new((Tally::default(), Vec::<u64>::new()));
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                // Its own: what all threads share, each would wait for.
                let rules = collector::rules();
                let mut tally = Tally::default();
                let mut bad = None;
                while !failed.load(Ordering::Relaxed) && until.is_none_or(|until| now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    let Verdict { tally: of_seed, wrong, .. } = judge(seed, &rules, false);
                    tally.add(&of_seed);
                    if !wrong.is_empty() {
                        failed.store(true, Ordering::Relaxed);
                        bad = Some(seed);
                    }
                }
                if let Ok(mut found) = found.lock() {
                    found.0.add(&tally);
                    found.1.extend(bad);
                }
            });
        }
    });
    let (tally, mut bad) = found.into_inner().unwrap_or_default();
    bad.sort_unstable();
    let tried = next.into_inner().min(last) - first;
    println!("{tally}");
    println!("{tried} seeds in {:.1} s", begun.elapsed().as_secs_f64());
    match bad.first() {
        Some(seed) => {
            println!("seed {seed} FAILS, after {} seeds:", seed - first + 1);
            one(*seed)
        }
        None => {
            println!("every event was applied once and in order, or its loss was declared");
            ExitCode::SUCCESS
        }
    }
}

fn one(seed: u64) -> ExitCode {
    let Verdict { trace, wrong, .. } = judge(seed, &collector::rules(), true);
    for line in &trace {
        println!("{line}");
    }
    if wrong.is_empty() {
        println!("seed {seed}: all holds");
        return ExitCode::SUCCESS;
    }
    println!("seed {seed} fails:");
    for line in wrong.iter().take(20) {
        println!("  {line}");
    }
    ExitCode::FAILURE
}

/// Tries a seed; code that panics keeps no promise.
fn judge(seed: u64, rules: &RuleSet, with_trace: bool) -> Verdict {
    let tried = panic::catch_unwind(AssertUnwindSafe(|| try_seed(seed, rules, now(), with_trace)));
    tried.unwrap_or_else(|_| Verdict {
        tally: Tally::default(),
        wrong: vec!["it panics".to_owned()],
        trace: Vec::new(),
    })
}

#[expect(clippy::disallowed_methods, reason = "the world's clock begins somewhere")]
fn now() -> Instant {
    Instant::now()
}
