#!/usr/bin/env bash
# rotel takes the first member of a gzip body, answers 200, and loses the rest.
#
# Tool:     rotel 0.0.1a15 (PyPI), its OTLP/HTTP receiver.
# Expected: RFC 1952 lets a gzip stream have several members, and gzip itself, Python's gzip and Node's zlib read them all.
#           Two OTLP messages in protobuf, one after the other, are one message with the records of both. So two of them,
#           compressed one by one, are two records; or the server refuses the body.
# Instead:  rotel answers 200, and passes on the records of the first member only. Nothing in its answer or its log tells.
#           It shows in JSON only because half a document does not parse: 400.
# Output:   one member:              200, records first second
#           two members:             200, records first
#           two members, half JSON:  400, records
# Matters:  A spool that compresses as it stores is tempted to put a request together from finished gzip members. Such a
#           request is "delivered" and most of it is gone. What is stored must be joined as pieces of one deflate stream,
#           with one header and one checksum over all of it, or be compressed again.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15

cat >"$dir/run.py" <<'EOF'
import gzip, http.client, http.server, json, pathlib, rotel, socket, subprocess, sys, threading, time

EXPECTED = [(200, ["first", "second"]), (200, ["first"]), (400, [])]

arrived = []


class Next(http.server.BaseHTTPRequestHandler):
    """What rotel passes on ends here."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        arrived.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        self.send_response(200)
        self.end_headers()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Next)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = free_port()
agent = subprocess.Popen([
    pathlib.Path(rotel.__file__).parent / "rotel-agent", "start", "--otlp-http-endpoint", f"127.0.0.1:{port}",
    "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--pid-file", sys.argv[1] + "/pid", "--disable-batching",
    "--exporter", "otlp", "--otlp-exporter-protocol", "http",
    "--otlp-exporter-endpoint", f"http://127.0.0.1:{server.server_port}",
], stdout=subprocess.DEVNULL)


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def request(message):
    """An ExportLogsServiceRequest with one record."""
    return field(1, field(2, field(2, field(5, field(1, message)))))


def post(body, content_type):
    arrived.clear()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/logs", body, {"Content-Type": content_type, "Content-Encoding": "gzip"})
    status = connection.getresponse().status
    time.sleep(1)
    passed_on = b"".join(arrived)
    return status, [word for word in ("first", "second") if word.encode() in passed_on]


try:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    first, second = request(b"first"), request(b"second")
    two = gzip.compress(first) + gzip.compress(second)
    assert gzip.decompress(two) == first + second
    document = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "first"}}]}]}]}).encode()
    seen = [
        post(gzip.compress(first + second), "application/x-protobuf"),
        post(two, "application/x-protobuf"),
        post(gzip.compress(document[:20]) + gzip.compress(document[20:]), "application/json"),
    ]
finally:
    agent.terminate()
    agent.wait()
for what, (status, records) in zip(["one member:", "two members:", "two members, half JSON:"], seen):
    print(f"{what:24} {status}, records", *records)
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir"
