"""Reads OTLP requests with Python's protobuf: a line of the input is `json` or `protobuf`, and the request in hexadecimal.

Each is answered by a line with what was understood: as protobuf, in hexadecimal. What cannot be read ends it.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


def as_the_mapping_has_it(request):
    """OTLP's own exception: ids are hexadecimal where protobuf's mapping has Base64."""
    for logs in request["resourceLogs"]:
        for scope in logs["scopeLogs"]:
            for record in scope["logRecords"]:
                for key in {"traceId", "spanId"} & record.keys():
                    record[key] = base64.b64encode(bytes.fromhex(record[key])).decode()
    return request


for line in sys.stdin:
    encoding, data = line.split()
    data = bytes.fromhex(data)
    request = ExportLogsServiceRequest()
    if encoding == "json":
        json_format.ParseDict(as_the_mapping_has_it(json.loads(data)), request)
    else:
        request.MergeFromString(data)
    print(request.SerializeToString(deterministic=True).hex())
