# Each task is one command: `just` lists them. The gate, `.ci/run`, calls these.

features := "internal-logs tls gzip-http otlp trace metrics config-file self-metrics relay cli"

_list:
    @just --list --unsorted

# What the gate runs, in its order.
gate: fmt lint msrv doc demo test platforms

# Formatting.
fmt:
    cargo fmt --all --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml

# Lints, with all features, with none, and the library with each one alone.
lint:
    cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    for feature in {{ features }}; do \
        cargo clippy --locked -p opentelemetry-spool --no-default-features --features $feature -- -D warnings || exit; \
    done

# Documentation: every link leads somewhere.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --document-private-items -p opentelemetry-spool

# The oldest compiler that is promised, where it can be had; else a look at what the standard library has had since then.
msrv:
    .ci/msrv

# What the README begins with.
demo:
    cargo run --locked --no-default-features --features trace --example quickstart

# All tests with all features; with the default ones and with none those that are not long.
test:
    cargo test --locked --all-features
    cargo test --locked -- {{ short }}
    cargo test --locked --no-default-features -- {{ short }}

short := "--skip disk_faults --skip real_disks --skip power_cut --skip crash_oracle --skip kill_9_at_random --skip soak --skip herd --skip whatever_the_endpoint_does"

# Other platforms: Windows under wine, 64-bit ARM under qemu, musl, macOS without running it.
platforms which="":
    .ci/platforms {{ which }}

# The names of all tests, one a line, to be compared before and after a change.
names:
    tests/names.sh

# The servers and tools of the tests that need some.
tools:
    tests/receivers/install.sh

# --- long: before an issue is closed, not in the gate -------------------------------------------------------------------

# All of the long tests.
field: kills cuts faults faults-abort damages disks servers clients crashes model herd fuzz soak stress (platforms "all")

# A thousand kills, beside an endpoint that breaks in every way.
kills count="1000":
    SPOOL_TEST_KILLS={{ count }} cargo test --locked --all-features --test it -- kill_9_at_random crash_oracle whatever_the_relay_is_killed_in

# A hundred power cuts, on each kind of file system.
cuts count="100":
    SPOOL_TEST_CUTS={{ count }} cargo test --locked --all-features --test it -- power_cut

# System calls that fail, each of the first twelve of a kind.
faults count="12":
    SPOOL_TEST_FAULTS={{ count }} cargo test --locked --all-features --test it -- disk_faults

# The same in a host that is built with `panic = "abort"`.
faults-abort count="3":
    cargo build --locked -p tests --bin spool-test-child --profile abort
    SPOOL_TEST_CHILD="$(realpath "${CARGO_TARGET_DIR:-target}")/abort/spool-test-child" SPOOL_TEST_FAULTS={{ count }} \
        cargo test --locked --all-features --test it -- disk_faults

# Three hundred damages to the files of a stopped spool.
damages count="300":
    SPOOL_TEST_DAMAGES={{ count }} cargo test --locked --all-features --test it -- damages --nocapture

# Full, copied, stacked and failing file systems: so many starts and copies.
disks count="20":
    SPOOL_TEST_STARTS={{ count }} SPOOL_TEST_COPIES={{ count }} cargo test --locked --all-features --test it -- real_disks

# Real servers and proxies, those that the gate leaves out as well.
servers:
    tests/receivers/install.sh servers
    SPOOL_TEST_SERVERS=all cargo test --locked --all-features --test it -- real_servers --nocapture

# Real clients of the relay, 1,000 records of each, those versions that the gate leaves out as well.
clients:
    tests/receivers/install.sh clients
    SPOOL_TEST_CLIENTS=all cargo test --locked --all-features --test it -- relay::clients --nocapture --test-threads 1

# States of a disk after power cuts, in a model: so many runs of sixty cuts each.
crashes count="300":
    SPOOL_TEST_CRASH_RUNS={{ count }} cargo test --locked --all-features --lib -- crash_model --nocapture

# The models of delivery and of the state.
model count="20000":
    PROPTEST_CASES={{ count }} cargo test --locked --release --all-features --lib -- model

# An outage ends for so many spools.
herd count="10000":
    SPOOL_TEST_HERD={{ count }} cargo test --locked --release --all-features --lib -- herd --nocapture

# Every fuzz target, ten minutes each.
fuzz seconds="600":
    .ci/fuzz {{ seconds }}

# Half an hour in bad weather.
soak seconds="1800":
    SPOOL_TEST_SOAK_SECONDS={{ seconds }} cargo test --locked --all-features --test it -- soak --nocapture

# All tests three times, beside eight processes that take the machine's time.
stress times="3":
    .ci/stress {{ times }}
