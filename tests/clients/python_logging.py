"""A client that logs with a handler of Python's own, or with one that speaks as logserv's or buffering-async-logger's does.

    python_logging.py KIND
"""
import json
import logging
import logging.handlers
import sys

from steps import HOST, log_with, watch_http, where

try:
    from urllib.request import Request, urlopen
except ImportError:
    from urllib2 import Request, urlopen

import os


class Logserv(logging.handlers.SocketHandler, object):
    """Frames after the dialogue of logserv 1.0."""

    def makeSocket(self, timeout=1):
        made = super(Logserv, self).makeSocket(timeout)
        made.settimeout(1)
        who = {"--level": 10, "filename": os.environ["CLIENT_FILE"], "maxBytes": 0, "backupCount": 0, "encoding": "utf-8"}
        for line, answer in (b"HELLO 1.0", b"HELLO 1.0\n"), (b"IDENTIFY " + json.dumps(who).encode(), b"OK\n"), (b"LOG", b"OK\n"):
            made.sendall(line + b"\n")
            heard = b""
            while not heard.endswith(b"\n"):
                piece = made.recv(1024)
                if not piece:
                    raise OSError("the server has gone")
                heard += piece
            if heard != answer:
                raise OSError("the server says %r" % heard)
        return made


class Buffering(logging.handlers.BufferingHandler, object):
    """Ten texts in one request."""

    def flush(self):
        records, self.buffer = self.buffer, []
        if not records:
            return
        body = "".join(self.format(record) for record in records)
        headers = {"Content-Type": "text/plain", "charset": "utf-8", "x-logger": records[0].name}
        try:
            urlopen(Request("http://%s:%d/" % (HOST, where("HTTP")), body.encode("utf-8"), headers), timeout=6)
        except Exception:
            self.handleError(records[0])


def buffering():
    made = Buffering(10)
    made.setFormatter(logging.Formatter("%(message)s\n"))
    # One line each.
    made.formatter.formatException = lambda _: ""
    return made


def http(method):
    return logging.handlers.HTTPHandler("%s:%d" % (HOST, where("HTTP")), "/log", method)


KINDS = {
    "tcp": lambda: logging.handlers.SocketHandler("localhost", where("TCP")),
    "unix": lambda: logging.handlers.SocketHandler(where("UNIX"), None),
    "udp": lambda: logging.handlers.DatagramHandler("localhost", where("UDP")),
    "unix-datagram": lambda: logging.handlers.DatagramHandler(where("UNIX_DATAGRAM"), None),
    "http-get": lambda: http("GET"),
    "http-post": lambda: http("POST"),
    "logserv": lambda: Logserv("localhost", where("TCP")),
    "logserv-unix": lambda: Logserv(where("UNIX"), None),
    "buffering": buffering,
}

# A handler that fails prints so, and goes on.
logging.raiseExceptions = False
watch_http()
handler = KINDS[sys.argv[1]]()
# HTTPHandler of Python 2.7 fails with a text that is not ASCII.
without = ["text"] if sys.version_info[0] == 2 and sys.argv[1].startswith("http-") else []
log_with(handler, handler.flush, without)
