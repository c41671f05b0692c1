"""A client of OTLP: OpenTelemetry's SDK for Python, over HTTP in protobuf.

    python_otlp.py logs|traces|metrics none|gzip|deflate
"""
import logging
import os
import sys

import steps

os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://%s:%d" % (steps.HOST, steps.where("OTLP"))
os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"] = sys.argv[2]
# The time for all attempts of a batch.
os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "60"

from opentelemetry.sdk.resources import Resource

RESOURCE = Resource.create({"service.name": "shop", "client": steps.NAME})
EVERY = 200


def attributes():
    """Those of the values that OTLP has."""
    of = steps.extras()
    names = ["text", "integer", "double", "flag", "list", "map", "infinite"]
    return dict({name: of[name] for name in names}, octets=b"\x00\xff\n")


def logs():
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(), schedule_delay_millis=EVERY))
    logger = provider.get_logger("shop.orders", "1.2")

    def log(text):
        severity = {"severity_text": "WARN", "severity_number": SeverityNumber.WARN}
        logger.emit(LogRecord(timestamp=1_700_000_000_123_456_789, body=text, attributes=attributes(), **severity))

    steps.log_all(log, flush=provider.shutdown)


def traces():
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=EVERY))
    tracer = provider.get_tracer("shop.orders", "1.2")

    def log(text):
        with tracer.start_as_current_span(text, attributes={"integer": 42}) as span:
            span.add_event("placed", {"text": "one"})

    steps.log_all(log, flush=provider.shutdown)


def metrics():
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=EVERY)
    provider = MeterProvider([reader], resource=RESOURCE)
    counter = provider.get_meter("shop.orders", "1.2").create_counter(steps.NAME)
    steps.log_all(lambda _: counter.add(1), flush=provider.shutdown)


logging.basicConfig(stream=sys.stderr)
{"logs": logs, "traces": traces, "metrics": metrics}[sys.argv[1]]()
