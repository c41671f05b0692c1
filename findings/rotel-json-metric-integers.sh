#!/usr/bin/env bash
# rotel answers 200 to metrics in OTLP/JSON, and forgets every integer in them that is spelt as OTLP/JSON spells it.
#
# Tool:     rotel 0.0.1a15 (PyPI), its OTLP/HTTP receiver.
# Expected: OTLP/JSON is protobuf's JSON mapping: a 64-bit integer is written as a string, and a reader takes a number as well.
#           rotel reads the times of a point as strings. So a sum with "asInt":"5" and a histogram with "count":"2" arrive, or
#           the request is refused.
# Instead:  It answers 200. The point of the sum goes on without a value, and the histogram without its count and its buckets:
#           only what is a JSON number, or a double, is read. Nothing in its answer tells.
# Output:   integers as strings:  200, sum without a value, histogram without a count
#           integers as numbers:  200, sum 5, histogram of 2
#           doubles:              200, sum 5.0
# Matters:  An exporter that follows the specification delivers its metrics in JSON to a receiver that says yes and stores
#           nothing of counters and histograms. Protobuf, the default of OTLP over HTTP, is not affected.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15 opentelemetry-proto==1.45.2

cat >"$dir/run.py" <<'EOF'
import gzip, http.client, http.server, json, pathlib, queue, rotel, socket, subprocess, sys, threading, time
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

arrived = queue.Queue()


class Next(http.server.BaseHTTPRequestHandler):
    """Whatever rotel passes on ends here."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        arrived.put(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        self.send_response(200)
        self.end_headers()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(value, count):
    """A sum of one value and, where there is a count, a histogram."""
    times = {"startTimeUnixNano": "1700000000000000000", "timeUnixNano": "1700000001000000000"}
    sum_ = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [times | value]}
    metrics = [{"name": "orders", "sum": sum_}]
    if count is not None:
        point = times | {"count": count, "sum": 3.5, "bucketCounts": [count], "explicitBounds": []}
        metrics.append({"name": "latency", "histogram": {"aggregationTemporality": 2, "dataPoints": [point]}})
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})


def post(body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/json"})
    return connection.getresponse().status


def understood(body):
    status = post(body)
    metrics = {}
    passed_on = ExportMetricsServiceRequest.FromString(arrived.get(timeout=60))
    for metric in passed_on.resource_metrics[0].scope_metrics[0].metrics:
        metrics[metric.name] = metric
    point = metrics["orders"].sum.data_points[0]
    kind = point.WhichOneof("value")
    words = [f"{status}, sum {getattr(point, kind) if kind else 'without a value'}"]
    if "latency" in metrics:
        points = metrics["latency"].histogram.data_points
        count = points[0].count if points else 0
        words.append(f"histogram {f'of {count}' if count else 'without a count'}")
    return ", ".join(words)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Next)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = free_port()
agent = subprocess.Popen([
    pathlib.Path(rotel.__file__).parent / "rotel-agent", "start", "--otlp-http-endpoint", f"127.0.0.1:{port}",
    "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--pid-file", sys.argv[1] + "/pid", "--disable-batching",
    "--exporter", "otlp", "--otlp-exporter-protocol", "http",
    "--otlp-exporter-endpoint", f"http://127.0.0.1:{server.server_port}",
], stdout=subprocess.DEVNULL)
try:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    found = {
        "integers as strings": understood(request({"asInt": "5"}, "2")),
        "integers as numbers": understood(request({"asInt": 5}, 2)),
        "doubles": understood(request({"asDouble": 5.0}, None)),
    }
finally:
    agent.kill()
for name, line in found.items():
    print(f"{name + ':':<21} {line}")
expected = [
    "200, sum without a value, histogram without a count",
    "200, sum 5, histogram of 2",
    "200, sum 5.0",
]
sys.exit(list(found.values()) != expected)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir"
