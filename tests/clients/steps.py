"""What every client in Python does: when it logs, and what it says of that. It runs on Python 2.7 and 3.

A client is told `go`, logs its records, and waits before the last third of them until it is told `back`. It prints a line for each record
that it has logged (`sent 7`), and for each of which it was told by a status of success that it is stored (`told 7`). At its end it prints
what it knows of its last record (`last {..}`). The variables of its environment say where the relay is, and how it is to log:

    CLIENT_NAME                       the beginning of its messages
    CLIENT_COUNT, CLIENT_PACE         how many records, and the milliseconds between two of them
    CLIENT_TCP, _UDP, _HTTP, _OTLP    the relay's ports
    CLIENT_UNIX, CLIENT_UNIX_DATAGRAM its paths
    CLIENT_FILE                       the file that a client of logserv asks for
"""
import datetime
import decimal
import json
import logging
import os
import re
import sys
import threading
import time
import uuid

try:
    from http import client as http
    from urllib.parse import unquote_plus
except ImportError:
    import httplib as http
    from urllib import unquote_plus

NAME = os.environ["CLIENT_NAME"]
COUNT = int(os.environ["CLIENT_COUNT"])
PACE = float(os.environ.get("CLIENT_PACE", "0")) / 1000
HOST = "127.0.0.1"

ID = re.compile(re.escape(NAME) + r"-(\d{6})")

_printing = threading.Lock()


def where(name):
    """The port or the path of one of the relay's listeners."""
    value = os.environ["CLIENT_" + name]
    return int(value) if value.isdigit() else value


def say(line):
    with _printing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def told(text):
    """Says that the records whose ids are in this request are stored."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    for number in sorted(set(ID.findall(unquote_plus(text)))):
        say("told %d" % int(number))


def watch_http():
    """Has every answer looked at that the standard library reads, also for handlers that do not look at it."""
    send, get = http.HTTPConnection.send, http.HTTPConnection.getresponse

    def sending(self, data):
        if isinstance(data, bytes):
            self.__dict__.setdefault("_seen", []).append(data)
        return send(self, data)

    def getting(self, *args, **options):
        sent = b"".join(self.__dict__.pop("_seen", []))
        response = get(self, *args, **options)
        if 200 <= response.status < 300:
            told(sent)
        return response

    http.HTTPConnection.send, http.HTTPConnection.getresponse = sending, getting


class Order(object):
    """A class that nobody else knows."""

    def __init__(self):
        self.number = 7


def extras(without=()):
    """A value of every type that a record can carry."""
    found = {
        "text": u"Z\u00fcrich \"1\"\nline \U0001f980",
        "integer": 42,
        "huge": 2 ** 70,
        "double": 0.1,
        "infinite": float("inf"),
        "flag": True,
        "none": None,
        "octets": bytearray(b"\x00\xff\n"),
        "list": [1, u"two", False],
        "tuple": (1, (2, 3)),
        "map": {u"depth": {u"inner": 1.5}},
        "day": datetime.date(2026, 11, 27),
        "moment": datetime.datetime(2026, 11, 27, 1, 2, 3, 456),
        "amount": decimal.Decimal("12.50"),
        "id": uuid.UUID("12345678-1234-5678-1234-567812345678"),
        "order": Order(),
    }
    return {name: value for name, value in found.items() if name not in without}


class Last(logging.Filter):
    """Notes what is known of the newest record."""

    record = None

    def filter(self, record):
        Last.record = record
        return True


LAST = ("created", "name", "levelno", "levelname", "process", "processName", "thread", "threadName", "funcName", "lineno", "pathname")


def log_all(log, before_last_third=lambda: None, flush=lambda: None):
    """Logs all records: `log(id)` logs a record whose message has the id. `flush` is called at the end."""
    say("ready")
    assert sys.stdin.readline() == "go\n"
    for number in range(COUNT):
        if number == COUNT * 2 // 3:
            assert sys.stdin.readline() == "back\n"
            before_last_third()
        log("%s-%06d" % (NAME, number))
        say("sent %d" % number)
        time.sleep(PACE)
    flush()
    known = {name: getattr(Last.record, name) for name in LAST} if Last.record else {}
    known["pid"] = os.getpid()
    say("last " + json.dumps(known))
    say("end")


def wait_for_patience(handler):
    """Waits until a socket handler tries again to connect: before, it drops what is logged."""
    while handler.sock is None and handler.retryTime is not None and time.time() < handler.retryTime:
        time.sleep(0.01)


def logger():
    made = logging.getLogger("shop.orders")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    made.addFilter(Last())
    return made


def log_with(handler, flush=lambda: None, without=()):
    """Logs all records with a logger that has this handler."""
    made = logger()
    made.addHandler(handler)

    def log(text):
        try:
            raise ValueError("no such order")
        except ValueError:
            made.warning("%s %s", text, u"Gr\u00fc\u00dfe", exc_info=True, extra=extras(without))

    sockets = getattr(handler, "retryTime", "none") != "none"
    log_all(log, (lambda: wait_for_patience(handler)) if sockets else (lambda: None), flush)
