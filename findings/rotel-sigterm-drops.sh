#!/usr/bin/env bash
# rotel answers 200 for what is in its memory, and at SIGTERM gives it up after 2 s while its endpoint is away, with exit status 0.
#
# Tool:     rotel 0.0.1a15 (PyPI), OTLP/HTTP in and out.
# Expected: An agent that is asked to end tries to deliver what it has answered for as long as its retries last (by default 300 s),
#           or says by its exit status that it could not.
# Instead:  It ends 2 s after SIGTERM with status 0, and the records are gone. A log line is all that tells.
# Output:   answered 200, exit status 0, ended after 2 s (or 3 s), arrived 0 of 1
# Matters:  A restart of the agent while the endpoint is down loses what clients were told is taken, also by a service manager that
#           waits 90 s and sees a clean end.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15

cat >"$dir/run.py" <<'EOF'
import http.client, http.server, json, pathlib, rotel, signal, socket, subprocess, sys, threading, time

arrived = []


class Next(http.server.BaseHTTPRequestHandler):
    """Where rotel would pass the record on to, had it waited."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        arrived.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port, away = free_port(), free_port()
agent = subprocess.Popen([
    pathlib.Path(rotel.__file__).parent / "rotel-agent", "start", "--otlp-http-endpoint", f"127.0.0.1:{port}",
    "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--pid-file", sys.argv[1] + "/pid", "--disable-batching",
    "--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", f"http://127.0.0.1:{away}",
], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    record = {"timeUnixNano": "1700000000000000000", "body": {"stringValue": "taken"}}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/logs", body, {"Content-Type": "application/json"})
    answered = connection.getresponse().status
    connection.close()
    time.sleep(1)  # It has tried and failed by now.
    begun = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    status = agent.wait(timeout=330)
    took = time.monotonic() - begun
finally:
    agent.kill()
server = http.server.ThreadingHTTPServer(("127.0.0.1", away), Next)
threading.Thread(target=server.serve_forever, daemon=True).start()
time.sleep(1)
print(f"answered {answered}, exit status {status}, ended after {took:.0f} s, arrived {len(arrived)} of 1")
sys.exit((answered, status, took < 30, len(arrived)) != (200, 0, True, 0))
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir"
