# Each task is one command: `just` lists them. The gate, `.ci/run`, calls these.

features := "internal-logs tls gzip-http otlp trace metrics config-file self-metrics relay cli"

_list:
    @just --list --unsorted

# What the gate runs, in its order.
gate: check test platforms

# Of that, what takes none of the tests' servers and tools.
check: fmt lint msrv doc demo

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

# The picture in the README, of a run of that.
picture:
    cargo run --release --locked --no-default-features --features trace --example quickstart | examples/quickstart/picture.py > src/docs/quickstart.new
    mv src/docs/quickstart.new src/docs/quickstart.svg

# Ten services, nginx, two collectors and a database, each of which fails, and what is in the database at the end.
fleet:
    examples/fleet/run.py

# All tests with all features; with none the unit tests that are not long.
test:
    cargo test --locked --all-features
    cargo test --locked -p opentelemetry-spool --no-default-features --lib -- {{ short }}

# All tests that are not long with the default features, and with none at all.
bare:
    cargo test --locked -- {{ short }}
    cargo test --locked --no-default-features -- {{ short }}

short := "--skip the_public_api --skip crash_model --skip disk_faults --skip real_disks --skip power_cut --skip crash_oracle --skip kill_9_at_random --skip soak --skip herd --skip whatever_the_endpoint_does"

# Other platforms: Windows under wine, 64-bit ARM under qemu, musl, macOS without running it.
platforms which="":
    .ci/platforms {{ which }}

# Writes the listing of the public API anew, with which `just test` compares: tests/public-api.txt.
public-api:
    SPOOL_TEST_WRITE_API=1 cargo test --locked --all-features --test public_api

# The names of all tests, one a line, to be compared before and after a change.
names:
    tests/names.sh

# What a release would hold, and whether the registry would take it.
package:
    cargo package --locked -p opentelemetry-spool --list
    cargo publish --locked -p opentelemetry-spool --dry-run

# The servers and tools of the tests that need some.
tools:
    tests/receivers/install.sh

# --- long: before an issue is closed, not in the gate -------------------------------------------------------------------

# All of the long tests.
field: bare kills cuts faults faults-abort damages disks servers clients crashes model herd fuzz soak stress (platforms "all")

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
    SPOOL_TEST_SERVERS=all cargo test --locked --all-features --test it -- real_servers fleet --nocapture

# Real clients of the relay, 1,000 records of each, those versions that the gate leaves out as well.
clients:
    tests/receivers/install.sh clients
    SPOOL_TEST_CLIENTS=all cargo test --locked --all-features --test it -- relay::clients --nocapture --test-threads 1

# States of a disk after power cuts, in a model: so many runs of sixty cuts each.
crashes count="300":
    SPOOL_TEST_CRASH_RUNS={{ count }} cargo test --locked --all-features --lib -- crash_model --nocapture

# This crate beside others that keep records through an outage: lost, repeated, speed, memory, disk. On a quiet machine.
peers rounds="3":
    benches/peers/run.py --rounds {{ rounds }}

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
