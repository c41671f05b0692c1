#!/usr/bin/env bash
# An OTLP receiver takes logs at /v1/traces with 200, and nobody ever sees them.
#
# Tool:     oteltap 1.0.0 (PyPI), its server for OTLP in protobuf over HTTP.
# Expected: A request of another signal does not parse, and is answered with 400 as the specification wants it. So a wrong path is seen at once.
# Instead:  The requests for logs, traces and metrics have the same field numbers down to the records: what is a log record for the one is a span without a
#           name for the other. 200, and of three log records none is among the logs; three spans are there. A type that is not OTLP's,
#           text/plain, is not looked at either.
# Output:   /v1/logs application/x-protobuf 200: 3 logs, 0 spans
#           /v1/traces application/x-protobuf 200: 0 logs, 3 spans
#           /v1/logs text/plain 200: 3 logs, 0 spans
#           /v1/logs application/json 400: 0 logs, 0 spans
# Matters:  A 200 says that the path exists and the bytes were a message, not that they were understood. A sender adds the signal's path
#           itself rather than have it configured, and a test of a way reads back what arrived.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check oteltap==1.0.0 opentelemetry-proto==1.45.2 protobuf==7.36.2

cat >"$dir/run.py" <<'EOF'
import asyncio, socket, sys, urllib.error, urllib.request
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

EXPECTED = [
    "/v1/logs application/x-protobuf 200: 3 logs, 0 spans",
    "/v1/traces application/x-protobuf 200: 0 logs, 3 spans",
    "/v1/logs text/plain 200: 3 logs, 0 spans",
    "/v1/logs application/json 400: 0 logs, 0 spans",
]
message = ExportLogsServiceRequest()
of_scope = message.resource_logs.add().scope_logs.add()
for number in range(3):
    of_scope.log_records.add(time_unix_nano=1_700_000_000_000_000_000 + number, severity_number=9)

def post(url, kind, body):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": kind})) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

async def main():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen = []
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as receiver:
        counts = {"logs": 0, "spans": 0}

        async def count(name, stream):
            async for _ in stream:
                counts[name] += 1

        tasks = [asyncio.create_task(count("logs", receiver.stream_logs())),
                 asyncio.create_task(count("spans", receiver.stream_traces()))]
        await asyncio.sleep(0)
        for path, kind, body in [
            ("/v1/logs", "application/x-protobuf", message.SerializeToString()),
            ("/v1/traces", "application/x-protobuf", message.SerializeToString()),
            ("/v1/logs", "text/plain", message.SerializeToString()),
            ("/v1/logs", "application/json", MessageToJson(message).encode()),
        ]:
            counts.update(logs=0, spans=0)
            status = await asyncio.to_thread(post, f"http://127.0.0.1:{port}{path}", kind, body)
            await asyncio.sleep(2)
            seen.append(f"{path} {kind} {status}: {counts['logs']} logs, {counts['spans']} spans")
            print(seen[-1], flush=True)
        for task in tasks:
            task.cancel()
    sys.exit(seen != EXPECTED)

asyncio.run(main())
EOF
"$dir/venv/bin/python" "$dir/run.py"
