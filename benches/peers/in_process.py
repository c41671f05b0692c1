"""A peer that is a part of the process that logs: benches/peers/client.rs."""

from sandbox import Program, wait_for


class InProcess:
    needs = None
    says_when_safe = True

    def start(self, tools, work, state, receiver):
        endpoint = f"http://{receiver}/v1/logs"
        self.keeper = Program(work / "log", tools.client, self.mode, endpoint, state / "spool")
        wait_for("client", lambda: self.keeper.lines)

    def send(self, first, count):
        said = len(self.keeper.lines)
        self.keeper.process.stdin.write(f"log {first} {count}\n")
        self.keeper.process.stdin.flush()
        while len(self.keeper.lines) == said:
            if self.keeper.process.poll() is not None:
                raise RuntimeError("the client has ended")
            self.keeper.reader.join(0.0001)
