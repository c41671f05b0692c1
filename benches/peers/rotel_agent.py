"""rotel, which keeps in memory what it has taken."""

import sandbox
from agents import OtlpSender


class Rotel(OtlpSender):
    name, needs = "rotel", sandbox.ROTEL_NEEDS
    is_there = staticmethod(sandbox.rotel_agent)

    def command(self, tools, work, state, receiver):
        return [
            self.is_there(), "start", "--pid-file", work / "pid", "--otlp-http-endpoint", self.address,
            "--otlp-grpc-endpoint", "127.0.0.2:4317", "--exporter", "otlp", "--otlp-exporter-protocol", "http",
            "--otlp-exporter-endpoint", f"http://{receiver}", "--otlp-exporter-retry-max-backoff", "1s"]
