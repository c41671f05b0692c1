"""opentelemetry-otlp behind the SDK's batch processor, both as they are by default. Accepted is what `emit` has returned for."""

from in_process import InProcess


class Otlp(InProcess):
    name, mode = "opentelemetry-otlp", "otlp"
    says_when_safe = False
