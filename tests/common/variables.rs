//! The variables `SPOOL_TEST_*`: tests/README.md lists them all.

use std::env;

use proptest::test_runner::{Config, RngSeed};

/// A number from the environment.
pub fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Seeds what this thread draws at random, and with it what a [`Receiver`](crate::Receiver) draws that it starts. The seed is
/// printed, so that who sees a test fail can run it once more.
pub fn seed() {
    let seed = variable("SPOOL_TEST_SEED", fastrand::u64(..));
    println!("SPOOL_TEST_SEED={seed}");
    fastrand::seed(seed);
}

/// How tests by `proptest` run: their seed is printed as well, and nothing is written beside the source.
pub fn proptest_config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if let RngSeed::Random = config.rng_seed {
        config.rng_seed = RngSeed::Fixed(fastrand::u64(..));
    }
    println!("PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}
