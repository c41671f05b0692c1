#!/usr/bin/env bash
# One record whose body is an integer above 2^63 - 1 takes its whole batch with it in OpenTelemetry's Python exporter.
#
# Tool:     opentelemetry-exporter-otlp-proto-http 1.45.2 (PyPI), with the SDK's BatchLogRecordProcessor.
# Expected: Python's integers have no bound, OTLP's have 64 bits with a sign. An unsigned 64-bit hash that does not fit costs
#           that value or that record. So it is with an attribute: the attribute is left out, its record and all others come.
# Instead:  In the body it fails while the batch is encoded, and the exporter drops all records of the batch: here five, by
#           default up to 512, among them what other libraries logged. One line tells, without a number of records.
# Output:   as an attribute: 5 of 5 records arrive, 1 of them without the attribute
#           in the body: 0 of 5 records arrive
#           Failed to encode logs batch: Value out of range: 9223372036854775808
# Matters:  Encoding belongs to the record, not to the batch: what cannot be encoded must cost one record, and be counted and
#           told. A processor that encodes where a record is logged has that for free; one that encodes 512 at once needs
#           a boundary around each.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check opentelemetry-exporter-otlp-proto-http==1.45.2 \
    opentelemetry-sdk==1.45.2 requests==2.34.2

cat >"$dir/run.py" <<'EOF'
import http.server, logging, sys, threading

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

EXPECTED = [(5, 1, []), (0, 0, ["Failed to encode logs batch: Value out of range: 9223372036854775808"])]

arrived, lines = [], []


class Collector(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        request = ExportLogsServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                arrived.extend(scope.log_records)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Lines(logging.Handler):
    def emit(self, record):
        if "batch" in record.getMessage():
            lines.append(record.getMessage())


logging.getLogger("opentelemetry").addHandler(Lines())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()


def arrive(special):
    arrived.clear(), lines.clear()
    provider = LoggerProvider()
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    for number in range(5):
        record = {"body": f"order {number}", "attributes": {"hash": number}}
        provider.get_logger("shop").emit(LogRecord(**{**record, **(special if number == 2 else {})}))
    provider.force_flush()
    provider.shutdown()
    return len(arrived), sum(not record.attributes for record in arrived), list(lines)


seen = [arrive({"attributes": {"hash": 2**63}}), arrive({"body": {"hash": 2**63}})]
print(f"as an attribute: {seen[0][0]} of 5 records arrive, {seen[0][1]} of them without the attribute")
print(f"in the body: {seen[1][0]} of 5 records arrive", *seen[1][2], sep="\n")
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py"
