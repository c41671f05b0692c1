"""A consumer of what the Python package http-logging sends: makes `logging.LogRecord`s of its records again.

It is written for that package: for what version 2.0.0 sends, and for the spelling that it documents. What it does not
understand it answers with 400 and the reason. Whoever asks it (GET) gets every record as it stands in Python.

The first line is the address. It ends with its input.
"""

import http.server
import json
import logging
import os
import sys
import threading

FORMATTER = logging.Formatter("%(levelname)s %(processName)s %(threadName)s %(pathname)s:%(lineno)d %(funcName)s %(message)s")
records = []


def is_a(kind, value):
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no {kind}")
    return value


def understand(sent):
    """The record that was logged. A missing key or a strange type is an error, as it would be for any consumer."""
    code = sent["source_code"] if "source_code" in sent else sent["sourcecode"]
    record = logging.makeLogRecord(
        {
            "created": is_a(float, sent["created"]),
            "relativeCreated": is_a((int, float), sent["relative_created"]),
            "msg": is_a(str, sent["message"]),
            "levelno": is_a(int, sent["level"]["number"]),
            "levelname": is_a(str, sent["level"]["name"]),
            "pathname": is_a(str, code["pathname"]),
            "funcName": is_a(str, code["function"]),
            "lineno": is_a(int, code["line"]),
            "process": is_a(int, sent["process"]["id"]),
            "processName": is_a(str, sent["process"]["name"]),
            "thread": is_a(int, sent["thread"]["id"]),
            "threadName": is_a(str, sent["thread"]["name"]),
            "exc_text": sent.get("stack_trace") or None,
        }
    )
    if is_a(str, sent["type"]) not in ("async-http-log", "async-http-logging"):
        raise ValueError(f"{sent['type']!r} is not from http-logging")
    if record.levelname != logging.getLevelName(record.levelno):
        raise ValueError(f"{record.levelno} is not {record.levelname}")
    return record, is_a(dict, sent.get("extra", {}))


class Consumer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.headers["Content-Type"] != "application/json":
                raise ValueError(f"{self.headers['Content-Type']} is not JSON")
            understood = [understand(sent) for sent in is_a(list, json.loads(body))]
        except Exception as error:
            return self.answer(400, {"error": f"{type(error).__name__}: {error}"})
        records.extend(understood)
        self.answer(200, {})

    def do_GET(self):
        told = [{**vars(record), "line": FORMATTER.format(record), "extra": extra} for record, extra in records]
        self.answer(200, told)

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Consumer)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
sys.stdin.read()
os._exit(0)
