"""How records are sent to a peer that is a process of its own."""

import http.client
import json
import socket

import sandbox
from sandbox import Program, listens, wait_for

TEXT = "order taken, to be shipped on Thursday; " * 5


class Agent:
    """A program that is sent records at its address."""

    connection = None

    def start(self, tools, work, state, receiver):
        self.keeper = Program(work / "log", *self.command(tools, work, state, receiver))
        wait_for(self.name, lambda: listens(self.address))
        self.connection = None


class OtlpSender(Agent):
    """A client of OTLP in JSON. Accepted is what was answered with 200."""

    says_when_safe = True
    address = "127.0.0.2:4318"

    def send(self, first, count):
        records = [{"severityNumber": 9, "body": {"stringValue": f"uid-{n:08} {TEXT}"}} for n in range(first, first + count)]
        body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]})
        self.connection = self.connection or http.client.HTTPConnection(self.address)
        self.connection.request("POST", "/v1/logs", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {answer.read()}")
        answer.read()


class LineSender(Agent):
    """Syslog over TCP, whose sender is told nothing. Accepted is what was written to the socket and taken out of it."""

    says_when_safe = False
    address = "127.0.0.2:5140"

    @classmethod
    def is_there(cls):
        return sandbox.which(cls.program)

    def send(self, first, count):
        if not self.connection:
            host, port = self.address.split(":")
            self.connection = socket.create_connection((host, int(port)))
        lines = (f"<14>Jan  1 00:00:00 host app: uid-{n:08} {TEXT}\n" for n in range(first, first + count))
        self.connection.sendall("".join(lines).encode())
