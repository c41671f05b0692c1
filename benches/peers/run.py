#!/usr/bin/env python3
"""This crate beside others that keep records while their endpoint is away: what each loses and repeats, and what it costs.

In each scenario the endpoint is down while records are logged. Then
  outage   it comes back;
  kill     it comes back, stores the first request and does not answer, and whoever keeps the records is killed with -9;
  power    the same, but the power of that process and its disk is cut.
Whoever keeps the records is the process that logs or an agent; an agent's client goes on. What was accepted and is not at the endpoint in
the end is lost, what is there more than once repeated.

Peers that are not installed are left out, and named.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "examples/fleet"))
sys.dont_write_bytecode = True

import sandbox
from otlp import Otlp
from receiver import Receiver
from relay import Relay
from rotel_agent import Rotel
from rsyslog import Rsyslog
from sandbox import Disk
from spool import Spool, SpoolUnsynced
from syslog_ng import SyslogNg

PEERS = [Spool, SpoolUnsynced, Relay, Otlp, Rotel, Rsyslog, SyslogNg]
NAMES = [peer.__name__.lower() for peer in PEERS]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
ENDPOINT = ("127.0.0.1", 4318)
STEP = 100
# Each peer is told to try again every second where it can be told; what has not moved for so long does not come.
PATIENCE = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="records of an outage, logged as fast as they are accepted")
    parser.add_argument("--at-risk", type=int, default=1_500, help="records before a kill or a power cut, 1,000 a second")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, of which medians and extremes are shown")
    parser.add_argument("--peers", help=f"those to run, with commas, of {', '.join(NAMES)} (all)")
    parser.add_argument("--client", type=pathlib.Path, help="the program of benches/peers/client.rs (built)")
    parser.add_argument("--tool", type=pathlib.Path, help="the program otel-spool (built)")
    parser.add_argument("--inside", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.peers = args.peers.lower().split(",") if args.peers else NAMES
    if unknown := set(args.peers) - set(NAMES):
        parser.error(f"--peers: there is no {', '.join(unknown)}; allowed are {', '.join(NAMES)}")
    sys.path += map(str, TARGET.glob("receivers/rotel/lib/*/site-packages"))
    if args.inside:
        return inside(args)
    if not sandbox.available():
        print("nothing was started: this takes root, and unshare of util-linux", file=sys.stderr)
        return 2
    if not (args.client and args.tool):
        build = ["cargo", "build", "--locked", "--release", "-p", "benches", "-p", "opentelemetry-spool"]
        subprocess.run([*build, "--features", "opentelemetry-spool/cli", "--bin", "peers-client", "--bin", "otel-spool"],
                       cwd=HERE, check=True)
    client, tool = args.client or TARGET / "release/peers-client", args.tool or TARGET / "release/otel-spool"
    return sandbox.run_inside(__file__, [*sys.argv[1:], "--client", client.resolve(), "--tool", tool.resolve()])


class Run:
    """One scenario of one peer."""

    def __init__(self, args, peer, scenario, work):
        self.args, self.peer, self.scenario, self.work = args, peer, scenario, work
        work.mkdir()
        self.disk = Disk(work)
        self.receiver = Receiver(ENDPOINT)

    def start(self):
        self.peer.start(self.args, self.work, self.disk.path, "{}:{}".format(*ENDPOINT))

    def measure(self):
        self.start()
        outage = self.scenario == "outage"
        records = self.args.records if outage else self.args.at_risk
        figures = self.log(records, pause=0 if outage else STEP / 1000)
        figures["memory"], figures["disk"] = self.memory(), self.used() / records
        begun = time.monotonic()
        if outage:
            self.receiver.up()
        else:
            self.fail()
        self.settle(records)
        arrived = self.receiver.arrived
        figures["recovery"] = self.receiver.moved - begun
        figures["lost"], figures["repeated"] = records - len(arrived), sum(arrived.values()) - len(arrived)
        self.peer.keeper.kill()
        self.receiver.down()
        self.disk.unmount()
        return figures

    def log(self, records, pause):
        waits, begun = [], time.monotonic()
        for first in range(0, records, STEP):
            before = time.monotonic()
            self.peer.send(first, STEP)
            waits.append(time.monotonic() - before)
            time.sleep(pause)
        took = time.monotonic() - begun
        p99 = statistics.quantiles(waits, n=100)[98] if self.peer.says_when_safe and len(waits) > 1 else None
        return {"rate": records / took, "p99": p99 and 1000 * p99}

    def fail(self):
        """Ends whoever keeps the records while its first request is stored and not answered."""
        self.receiver.answers.clear()
        self.receiver.up()
        deadline = time.monotonic() + PATIENCE
        while not self.receiver.arrived and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.scenario == "power":
            self.disk.cut_power(self.peer.keeper)
        else:
            self.peer.keeper.kill()
        self.receiver.answers.set()
        self.start()

    def settle(self, records):
        self.receiver.moved = max(self.receiver.moved, time.monotonic())
        while len(self.receiver.arrived) < records and time.monotonic() < self.receiver.moved + PATIENCE:
            time.sleep(0.01)
        if self.scenario != "outage":
            # What comes twice comes at once.
            time.sleep(2)

    def memory(self):
        status = pathlib.Path(f"/proc/{self.peer.keeper.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def used(self):
        return sum(file.stat().st_blocks * 512 for file in self.disk.path.rglob("*") if file.is_file())


def inside(args):
    sandbox.loopback_up()
    os.environ["OTEL_EXPORTER_SPOOL_RETRY_MAX_DELAY"] = "1000"
    chosen = [peer for peer, name in zip(PEERS, NAMES) if name in args.peers]
    peers = [peer for peer in chosen if not peer.needs or peer.is_there()]
    figures = {}
    for number in range(args.rounds):
        for scenario in ("outage", "kill", "power"):
            for peer in peers:
                print(f"\r{number + 1}/{args.rounds} {scenario:<8}{peer.name:<24}", end="", file=sys.stderr, flush=True)
                run = Run(args, peer(), scenario, args.inside / f"{number}-{scenario}-{peer.__name__}")
                try:
                    figures.setdefault((peer, scenario), []).append(run.measure())
                except Exception:
                    print(f"\n{peer.name}:\n{(run.work / 'log').read_text()[-2000:]}", file=sys.stderr)
                    raise
                shutil.rmtree(run.work)
    print(file=sys.stderr)
    show(args, peers, figures)
    for peer in chosen:
        if peer not in peers:
            print(f"left out, {peer.needs}")


def show(args, peers, figures):
    def cell(peer, scenario, name, form="{:,.0f}"):
        values = sorted(run[name] for run in figures[peer, scenario] if run[name] is not None)
        if not values:
            return "-"
        least, median, most = (form.format(value) for value in (values[0], statistics.median(values), values[-1]))
        return median if least == most else f"{median} ({least} to {most})"

    tables = [
        (f"{args.records:,} records in an outage; {args.at_risk:,} at risk in a kill and a power cut", [
            ("lost: outage", "outage", "lost"), ("kill", "kill", "lost"), ("power cut", "power", "lost"),
            ("repeated: kill", "kill", "repeated"), ("power cut", "power", "repeated"),
        ]),
        ("in the outage", [
            ("bytes on disk", "outage", "disk"), ("records/s", "outage", "rate"),
            ("p99 until safe, ms", "outage", "p99"), ("memory, MB", "outage", "memory"), ("recovery, s", "outage", "recovery"),
        ]),
    ]
    forms = {"p99": "{:.1f}", "recovery": "{:.1f}"}
    for title, columns in tables:
        rows = [["", *(head for head, _, _ in columns)]]
        rows += [[peer.name, *(cell(peer, *column[1:], forms.get(column[2], "{:,.0f}")) for column in columns)] for peer in peers]
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        print(f"\n{title}; medians of {args.rounds}, with the extremes\n")
        for row in rows:
            print(f"{row[0]:<{widths[0]}}" + "".join(f"  {value:>{width}}" for value, width in zip(row[1:], widths[1:])))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
