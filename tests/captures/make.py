"""Captures what Python's own SocketHandler and DatagramHandler send, and what it means.

    python make.py python-3.13 [protocols]

writes `python-3.13.bin`, the bytes as they come (the stream of one connection, then three datagrams, which are framed alike; with
`protocols` a frame of each protocol of pickling, which a handler of one's own may use), and `python-3.13.json`, the records that they are. These are made from the values that were logged, never from the pickles. It runs on
Python 2.7 and 3.6 to 3.13. The code that logs claims to lie in /srv/shop, so that no path of the machine is in a capture.
"""
import base64
import collections
import datetime
import decimal
import json
import logging
import logging.handlers
import math
import os
import pickle
import socket
import struct
import sys
import threading
import types
import uuid

PY2 = sys.version_info[0] == 2
DEPTH = 64

SHOP = u'''
import collections


class Order(object):
    def __init__(self, number, customer):
        self.number = number
        self.customer = customer


class Nothing(object):
    pass


class Name(str):
    pass


class Count(int):
    pass


class Settings(dict):
    pass


Point = collections.namedtuple("Point", "x y")


class OrderFailed(Exception):
    pass


def take(logger, level, message, args, extra):
    logger.log(level, message, *args, extra=extra)


def fail(logger):
    try:
        raise OrderFailed("no more")
    except OrderFailed:
        logger.exception("order failed", extra={"order": 7})


def stack(logger):
    logger.warning("where", stack_info=True)
'''

TASK = u'''
import asyncio


async def take(logger):
    asyncio.current_task().set_name("take-order")
    logger.info("from a task")


def run(logger):
    asyncio.run(take(logger))
'''


def module(name, source):
    """A module of this source, which pickling finds."""
    made = types.ModuleType(str(name))
    sys.modules[name] = made
    exec(compile(source, "/srv/shop/%s.py" % name, "exec"), made.__dict__)
    return made


def text(value):
    """A text without lone surrogates."""
    if PY2 and isinstance(value, str):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return u"".join(u"\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in value)


def value(of, depth=0, around=()):
    """What a value is in JSON."""
    if of is None or isinstance(of, bool):
        return of
    if isinstance(of, float):
        if math.isnan(of):
            return "NaN"
        return of if not math.isinf(of) else ("Infinity" if of > 0 else "-Infinity")
    if isinstance(of, (int,) if not PY2 else (int, long)):
        return int(of) if -2**63 <= of < 2**63 else str(int(of))
    if isinstance(of, bytearray) or (isinstance(of, bytes) and not PY2):
        return base64.b64encode(bytes(of)).decode("ascii")
    if isinstance(of, str) or (PY2 and isinstance(of, unicode)):
        return text(of)
    if isinstance(of, (datetime.datetime, datetime.date, datetime.time)):
        return of.isoformat()
    if isinstance(of, datetime.timedelta):
        return of.total_seconds()
    if isinstance(of, (decimal.Decimal, uuid.UUID)):
        return str(of)
    if hasattr(of, "as_posix"):
        return of.as_posix()
    if any(of is outer for outer in around):
        return "[recursive]"
    around = around + (of,)
    if isinstance(of, (list, tuple, set, frozenset, collections.deque)):
        if depth == DEPTH:
            return "[nested too deeply]"
        return [value(item, depth + 1, around) for item in of]
    if isinstance(of, dict):
        if depth == DEPTH:
            return "[nested too deeply]"
        return {key(k): value(v, depth + 1, around) for k, v in of.items()}
    # Protocol 1 writes the names that modules had in Python 2.
    modules = {"builtins": "exceptions"} if isinstance(of, Exception) else {"builtins": "__builtin__"}
    named = of if isinstance(of, type) or callable(of) else type(of)
    name = "%s.%s" % (modules.get(named.__module__, named.__module__), named.__name__)
    if named is of:
        return name
    made = {"__class__": name}
    if isinstance(of, Exception):
        made["args"] = value(list(of.args), depth + 1, around)
    elif getattr(of, "__dict__", None):
        made["state"] = value(of.__dict__, depth + 1, around)
    return made


def key(of):
    if isinstance(of, (bytes, str)) or (PY2 and isinstance(of, unicode)):
        return value(of)
    made = value(of)
    return made if isinstance(made, str) else json.dumps(made, separators=(",", ":"))


OWN = set("""args asctime created exc_info exc_text filename funcName levelname levelno lineno message module msecs msg name
pathname process processName relativeCreated stack_info taskName thread threadName""".split())


def meaning(record):
    """What a record is, in the relay's schema."""
    extra = {name: value(of) for name, of in record.__dict__.items() if name not in OWN}
    if getattr(record, "taskName", None) is not None:
        extra["taskName"] = record.taskName
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
    parts = [part for part in (trace, getattr(record, "stack_info", None)) if part]
    made = {
        "created": record.created,
        "relative_created": record.relativeCreated,
        "message": text(record.getMessage()),
        "level": {"number": record.levelno, "name": record.levelname},
        "sourcecode": {"pathname": record.pathname, "function": record.funcName, "line": record.lineno},
        "process": {"id": record.process, "name": record.processName},
        "thread": {"id": record.thread, "name": record.threadName},
        "logger": record.name,
    }
    if parts:
        made["stack_trace"] = text("\n".join(parts).strip())
    if extra:
        made["extra"] = extra
    return made


class Meaning(logging.Handler):
    def __init__(self):
        logging.Handler.__init__(self)
        self.records = []

    def emit(self, record):
        self.records.append(meaning(record))


def values(shop):
    """Values of every type that a capture shows, by name."""
    ring, deep = [1], u"end"
    ring.append(ring)
    for _ in range(100):
        deep = [deep]
    circle = {"name": "circle"}
    circle["self"] = circle
    counts = collections.Counter("aab")
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    by_default = collections.defaultdict(list)
    by_default["orders"].append(7)
    made = {
        "none": None, "yes": True, "no": False, "small": 200, "medium": 40000, "negative": -3, "large": 2**31 + 5,
        "larger": 2**62, "largest": 2**64 + 1, "smallest": -2**70, "float": 0.1, "nan": float("nan"), "infinity": float("inf"),
        "minus_infinity": -float("inf"), "text": u"Zo\xeb \u20ac \U0001f980", "empty": u"", "lines": u"one\ntwo\\",
        "long_text": u"x" * 300, "bytes": b"\x00\x80\xff", "no_bytes": b"", "bytearray": bytearray(b"\x01\x02\xfe"),
        "tuple": (1, u"two", None), "no_tuple": (), "list": [1, [2, [3]]], "set": {7}, "frozenset": frozenset([u"a"]),
        "deque": collections.deque([1, 2]), "bounded_deque": collections.deque([1, 2, 3], 2), "counter": counts,
        "ordered": ordered, "by_default": by_default, "keys": {1: u"one", 2.5: u"half", None: u"none", (1, u"a"): u"tuple", True: u"yes"},
        "day": datetime.date(2026, 11, 27), "time": datetime.time(1, 2, 3, 456), "moment": datetime.datetime(2026, 11, 27, 1, 2, 3),
        "moment_with_micros": datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
        "duration": datetime.timedelta(days=1, seconds=2, microseconds=3), "before": datetime.timedelta(microseconds=-1),
        "decimal": decimal.Decimal("10.50"), "infinite": decimal.Decimal("Infinity"), "id": uuid.UUID(int=0x1234567890abcdef1234567890abcdef),
        "small_id": uuid.UUID(int=7), "object": shop.Order(7, u"Zo\xeb"), "nothing": shop.Nothing(), "name_": shop.Name("a name"),
        "count": shop.Count(7), "settings": shop.Settings(a=1), "point": shop.Point(1, 2), "error": shop.OrderFailed("no more", 3),
        "value_error": ValueError("wrong"), "class": shop.Order, "function": shop.take, "builtin": dict, "ring": ring, "deep": deep,
        "circle": circle, "same": [shop.Point(1, 2)] * 2,
    }
    if PY2:
        made["latin"] = b"Zo\xeb"
        made["old_text"] = b"Zo\xc3\xab"
    else:
        import pathlib

        hours = lambda n: datetime.timezone(datetime.timedelta(hours=n))
        made["surrogate"] = u"file \udce9"
        made["utc"] = datetime.datetime(2026, 11, 27, 1, 2, 3, 4, datetime.timezone.utc)
        made["east"] = datetime.datetime(2026, 11, 27, 1, 2, 3, tzinfo=hours(2))
        made["west"] = datetime.datetime(2026, 11, 27, 1, 2, 3, tzinfo=datetime.timezone(-datetime.timedelta(hours=3, minutes=30), "X"))
        made["time_in_zone"] = datetime.time(1, 2, 3, tzinfo=hours(-1))
        made["twice"] = datetime.datetime(2026, 10, 25, 2, 30, fold=1)
        made["path"] = pathlib.PurePosixPath("/srv/shop/a b")
        made["relative_path"] = pathlib.PosixPath("a/b")
        made["here"] = pathlib.PurePosixPath(".")
        made["windows_path"] = pathlib.PureWindowsPath("C:\\shop\\a b")
    return made


def log_all(logger, shop):
    shop.take(logger, logging.INFO, "order %d taken by %s", (7, u"Zo\xeb"), None)
    shop.take(logger, 17, "a level of its own", (), {"tenant": "acme"})
    shop.take(logger, logging.DEBUG, u"", (), None)
    shop.fail(logger)
    if not PY2:
        shop.stack(logger)
    thread = threading.Thread(target=shop.take, args=(logger, logging.CRITICAL, "from a thread", (), None), name="worker-1")
    thread.start()
    thread.join()
    if sys.version_info >= (3, 8):
        module("tasks", TASK).run(logger)
    shop.take(logger.getChild("values"), logging.WARNING, "values of every type", (), values(shop))
    shop.take(logger, logging.ERROR, "the last", (), None)


def stream(logger, shop):
    """The bytes of one connection."""
    listener, received = socket.socket(), []
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)

    def read():
        connection = listener.accept()[0]
        received.extend(iter(lambda: connection.recv(65536), b""))

    reader = threading.Thread(target=read)
    reader.start()
    handler = logging.handlers.SocketHandler("127.0.0.1", listener.getsockname()[1])
    logger.addHandler(handler)
    log_all(logger, shop)
    logger.removeHandler(handler)
    handler.close()
    reader.join()
    return b"".join(received)


def datagrams(logger, shop):
    """Three datagrams."""
    listener, received = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
    listener.bind(("127.0.0.1", 0))
    handler = logging.handlers.DatagramHandler("127.0.0.1", listener.getsockname()[1])
    logger.addHandler(handler)
    for number in range(3):
        shop.take(logger, logging.INFO, "datagram %d", (number,), {"number": number})
        received.append(listener.recv(65536))
    logger.removeHandler(handler)
    handler.close()
    return b"".join(received)


class Protocol(logging.Handler):
    """Frames of another protocol than the handlers of Python use."""

    def __init__(self, protocol):
        logging.Handler.__init__(self)
        self.protocol = protocol
        self.frames = []

    def emit(self, record):
        fields = dict(record.__dict__, msg=record.getMessage(), args=None, exc_info=None)
        made = pickle.dumps(fields, self.protocol)
        self.frames.append(struct.pack(">L", len(made)) + made)


def protocols(logger, shop):
    """A frame of each protocol."""
    # These are written in another way from protocol 2 or 3 on.
    others = ["name_", "count", "settings", "point", "same", "value_error", "builtin"]
    received = []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        handler = Protocol(protocol)
        logger.addHandler(handler)
        extra = {name: of for name, of in values(shop).items() if name not in others}
        shop.take(logger, logging.INFO, "protocol %d", (protocol,), extra)
        logger.removeHandler(handler)
        received.extend(handler.frames)
    return b"".join(received)


def main(name, with_protocols):
    shop = module("orders", SHOP)
    logging.raiseExceptions = True
    logger = logging.getLogger("shop.orders")
    logger.propagate = False
    logger.setLevel(1)
    expected = Meaning()
    logger.addHandler(expected)
    received = stream(logger, shop) + datagrams(logger, shop)
    if with_protocols:
        received += protocols(logger, shop)
    at = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(at + ".bin", "wb") as out:
        out.write(received)
    with open(at + ".json", "w") as out:
        lines = [json.dumps(record, sort_keys=True) for record in expected.records]
        out.write("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    # Again, as a module of a neutral path, and without a file around it: both are in the stacks that are logged.
    run = (
        "import sys, types; sys.modules['make'] = make = types.ModuleType('make'); make.__file__ = sys.argv[1]; "
        "exec(compile(open(make.__file__).read(), '/srv/shop/make.py', 'exec'), make.__dict__); make.main(sys.argv[2], len(sys.argv) > 3)"
    )
    os.execv(sys.executable, [sys.executable, "-c", run, os.path.abspath(__file__)] + sys.argv[1:])
