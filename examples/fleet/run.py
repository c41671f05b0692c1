#!/usr/bin/env python3
"""A fleet in front of a database: ten services log through their spools while everything behind them fails in turn. What is in the
database at the end is counted by SQL, and compared with what the services say they have accepted.

    10 services ── a spool each ──> nginx ──> 2 collectors ──> ClickHouse (chDB)

The database stops for a while, one collector is killed meanwhile, and one host loses power. Three setups go through that: rotel as the
collectors, which keeps in memory what it has answered for; `otel-spool relay` as the collectors, which answers when a request is on
disk; and no collector, where the database answers.

All runs in namespaces of its own, on a loopback of its own. Nothing of it outlives the command.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
import sandbox
from sandbox import Disk, Program, listens, rotel_agent, wait_for, which

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
BUILD = ["cargo", "build", "--locked", "--features", "cli", "--example", "fleet_service", "--bin", "otel-spool"]
HOSTS = range(1, 11)
COLLECTORS = ["127.0.0.2", "127.0.0.3"]
DATABASE = "127.0.0.4:8123"
# A batch is known to ClickHouse by its id, which a table with a window for such ids remembers.
INSERT = "/?query=INSERT%20INTO%20otel.otel_logs%20FORMAT%20JSONEachRow&insert_deduplication_token={batch_id}"
TABLES = [
    "CREATE DATABASE otel",
    """CREATE TABLE otel.otel_logs (
        Timestamp DateTime64(9), TraceId String, SpanId String, TraceFlags UInt8,
        SeverityText LowCardinality(String), SeverityNumber UInt8, ServiceName LowCardinality(String), Body String,
        ResourceSchemaUrl String, ResourceAttributes Map(LowCardinality(String), String),
        ScopeSchemaUrl String, ScopeName String, ScopeVersion String, ScopeAttributes Map(LowCardinality(String), String),
        LogAttributes Map(LowCardinality(String), String), EventName String
    ) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, Timestamp)
    SETTINGS non_replicated_deduplication_window = 10000""",
    # What the services say they have accepted: the records 1 to so many of each run.
    "CREATE TABLE otel.accepted (host UInt16, run UInt16, records UInt32) ENGINE = MergeTree ORDER BY (host, run)",
]
COUNT = """
    WITH stored AS (SELECT LogAttributes['log.record.uid'] AS uid, count() AS times FROM otel.otel_logs GROUP BY uid),
    accepted AS (
        SELECT concat(toString(host), '-', toString(run), '-', toString(number)) AS uid
        FROM otel.accepted ARRAY JOIN range(1, records + 1) AS number
    )
    SELECT (SELECT count() FROM accepted) AS accepted,
           (SELECT sum(times) FROM stored) AS rows,
           (SELECT count() FROM stored) AS records,
           (SELECT count() FROM accepted WHERE uid NOT IN (SELECT uid FROM stored)) AS missing
    FORMAT JSONEachRow"""
# rotel's longest delay between two tries: a collector that has delivered nothing for so long has nothing any more.
PATIENCE = 30


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each thing takes (3)")
    parser.add_argument("--setups", default=",".join(SETUPS), help="those to go through, of rotel, relay and none (all)")
    parser.add_argument("--service", type=pathlib.Path, help="the program of examples/fleet/service.rs (built)")
    parser.add_argument("--tool", type=pathlib.Path, help="the program otel-spool (built)")
    parser.add_argument("--inside", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.setups = args.setups.split(",")
    if unknown := set(args.setups) - set(SETUPS):
        parser.error(f"--setups: there is no {', '.join(unknown)}; allowed are {', '.join(SETUPS)}")
    packages = [str(path) for name in ("rotel", "chdb") for path in TARGET.glob(f"receivers/{name}/lib/*/site-packages")]
    sys.path += packages
    if args.inside:
        os.environ["PYTHONPATH"] = os.pathsep.join(packages)
        return inside(args)
    lacks = missing(args.setups)
    if not lacks and not (args.service and args.tool) and shutil.which("cargo"):
        subprocess.run(BUILD, cwd=HERE, check=True)
    args.service, args.tool = args.service or TARGET / "debug/examples/fleet_service", args.tool or TARGET / "debug/otel-spool"
    if not (args.service.exists() and args.tool.exists()):
        lacks.append(f"{args.service}, {args.tool}: {' '.join(BUILD)}")
    if lacks:
        print("nothing was started, since this is missing:", *lacks, sep="\n  ", file=sys.stderr)
        return 2
    return sandbox.run_inside(__file__, [*sys.argv[1:], "--service", args.service.resolve(), "--tool", args.tool.resolve()])


def missing(setups):
    wanted = [
        (sandbox.available(), "namespaces: be root, with unshare of util-linux"),
        (which("nginx"), "nginx: apt-get install nginx-light"),
        (importlib.util.find_spec("chdb"), "chDB: pip install --no-deps chdb-core==26.9.0, or tests/receivers/install.sh"),
        ("rotel" not in setups or rotel_agent(), sandbox.ROTEL_NEEDS),
    ]
    return [what for there, what in wanted if not there]


def rotel(fleet, host):
    return [
        rotel_agent(), "start", "--pid-file", fleet.work / f"{host}.pid",
        "--otlp-http-endpoint", f"{host}:4318", "--otlp-grpc-endpoint", f"{host}:4317",
        "--exporter", "clickhouse", "--clickhouse-exporter-endpoint", f"http://{DATABASE}",
        "--clickhouse-exporter-compression", "none", "--clickhouse-exporter-async-insert", "false",
    ]


def relay(fleet, host):
    to = ["--to", f"http://{DATABASE}{INSERT}", "--format", "clickhouse"]
    # nginx calls it by the name of its upstream.
    return [fleet.args.tool, "relay", fleet.work / f"relay-{host}", "--otlp", f"{host}:4318", "--host", "collectors", *to]


# How a collector is started.
SETUPS = {"rotel": rotel, "relay": relay, "none": None}


class Service(Program):
    """A run of a host's service, on the spool that the run before has left."""

    def __init__(self, fleet, host, run):
        self.host, self.run = host, run
        spool = (fleet.disk.path if fleet.disk and host == 1 else fleet.work) / f"spool-{host}"
        super().__init__(fleet.work / "services.log", fleet.args.service, host, run, fleet.endpoint, spool)

    def accepted(self):
        numbers = [line.split()[1] for line in self.lines if line.startswith("accepted")]
        return {"host": self.host, "run": self.run, "records": int(numbers[-1]) if numbers else 0}


class Fleet:
    """Everything that runs in one setup."""

    def __init__(self, args, setup, work):
        self.args, self.setup, self.work = args, setup, work
        (work / "nginx").mkdir(parents=True)
        self.start_database()
        for statement in TABLES:
            self.ask(statement)
        self.collectors = [self.start_collector(host) for host in COLLECTORS if SETUPS[setup]]
        self.endpoint = "http://127.0.0.1:4318/v1/logs" if self.collectors else f"http://127.0.0.1:8123{INSERT}"
        self.nginx = Program(work / "nginx.log", which("nginx"), "-p", work, "-e", "stderr", "-c", HERE / "nginx.conf")
        wait_for("nginx", lambda: listens("127.0.0.1:4318"))
        try:
            self.disk, self.no_disk = Disk(work), None
        except (OSError, subprocess.CalledProcessError) as why:
            self.disk, self.no_disk = None, why
        self.services = [Service(self, host, 1) for host in HOSTS]
        wait_for("record of each service", lambda: all(service.lines for service in self.services))

    def start_database(self):
        engine = [sys.executable, "-B", HERE / "engine.py", self.work / "database", DATABASE]
        self.database = Program(self.work / "database.log", *engine)
        wait_for("database", lambda: self.database.lines)

    def ask(self, query, data=b""):
        url = f"http://{DATABASE}/?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(urllib.request.Request(url, data, method="POST")) as answer:
            return answer.read()

    def count(self):
        return {name: int(value) for name, value in json.loads(self.ask(COUNT)).items()}

    def start_collector(self, host):
        collector = Program(self.work / "collectors.log", *SETUPS[self.setup](self, host))
        wait_for("collector", lambda: listens(f"{host}:4318"))
        return collector

    def cut_power(self, service):
        """Of a host, whose service then starts again."""
        if self.disk:
            self.disk.cut_power(service)
        else:
            service.kill()
        self.services.append(Service(self, service.host, service.run + 1))

    def finish(self):
        """Has the services deliver what they hold, and counts what is there."""
        running = [service for service in self.services if service.process.poll() is None]
        for service in running:
            service.process.stdin.close()
        wait_for("end of the services", lambda: all(service.process.poll() is not None for service in running), self.count)
        for service in running:
            service.reader.join()
            if service.process.returncode:
                raise RuntimeError(f"host {service.host}: {(self.work / 'services.log').read_text()[-2000:]}")
        accepted = (json.dumps(service.accepted()) for service in self.services)
        self.ask("INSERT INTO otel.accepted FORMAT JSONEachRow", "\n".join(accepted).encode())
        # All of that was answered with a success by now. What a collector still holds arrives, or never will.
        counts, since = self.count(), time.monotonic()
        while counts["missing"] and time.monotonic() < since + PATIENCE:
            time.sleep(0.1)
            if (now := self.count()) != counts:
                counts, since = now, time.monotonic()
        return counts

    def end(self):
        for program in [*self.services, *self.collectors, self.nginx, self.database]:
            program.kill()


def go_through(args, setup):
    fleet = Fleet(args, setup, args.inside / setup)

    def meanwhile(what):
        print(f"{NAMES[setup]:<14}{what}", flush=True)
        time.sleep(args.seconds)

    meanwhile(f"{len(HOSTS)} services log, 200 records/s each")
    fleet.database.kill()
    meanwhile("the database stops")
    if fleet.collectors:
        fleet.collectors[0].kill()
        meanwhile("one of two collectors is killed")
        fleet.collectors[0] = fleet.start_collector(COLLECTORS[0])
    fleet.start_database()
    meanwhile("the database is back, and the collector" if fleet.collectors else "the database is back")
    fleet.cut_power(fleet.services[0])
    meanwhile("host 1 loses power, and starts again" if fleet.disk else f"host 1 is killed; no power to cut: {fleet.no_disk}")
    counts = fleet.finish()
    fleet.end()
    return counts


NAMES = {"rotel": "rotel", "relay": "relay", "none": "no collector"}
ROWS = {
    "accepted": "accepted by the services",
    "rows": "rows in ClickHouse",
    "records": "records in ClickHouse, without repeats",
    "missing": "accepted, and not in ClickHouse",
}


def inside(args):
    sandbox.loopback_up()
    try:
        counts = {setup: go_through(args, setup) for setup in args.setups}
    except Exception:
        for log in sorted(args.inside.glob("*/*.log")):
            print(f"--- {log.name}", log.read_text()[-2000:], sep="\n", file=sys.stderr)
        raise
    print("\n" + " " * 40 + "".join(f"{NAMES[setup]:>13}" for setup in counts))
    for row, name in ROWS.items():
        print(f"{name:<40}" + "".join(f"{count[row]:>13,}" for count in counts.values()))
    if counts.get("rotel", {}).get("missing"):
        print("\nrotel answers before it has delivered. What it held when it was killed, the spools had\n"
              "deleted by then: after a 200 a record is as safe as whoever said it keeps it.")
    return int(any(count["missing"] for setup, count in counts.items() if setup != "rotel"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
