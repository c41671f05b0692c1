"""`otel-spool relay`, this crate as an agent."""

from agents import OtlpSender


class Relay(OtlpSender):
    name, needs = "otel-spool relay", None

    def command(self, tools, work, state, receiver):
        return [tools.tool, "relay", state / "spool", "--otlp", self.address, "--to", f"http://{receiver}"]
