#!/usr/bin/env python3
"""ClickHouse's engine of today (chDB) behind as much of its HTTP interface as senders of telemetry use: `?query=`, `database=` and
settings in the URL, data in the body, its own errors as the response.

    engine.py DIRECTORY [HOST:PORT]

The data are in the directory, and outlive a kill. The first line is the address. It ends with its input.
"""

import http.server
import os
import queue
import re
import sys
import threading
import urllib.parse

from chdb import session

# As ClickHouse's own server has them for what is no fault of the rows. Which status it is makes no difference to an exporter.
STATUSES = {"60": 404, "62": 400, "73": 404, "81": 404, "115": 404}

# The engine is asked by one thread only. Each question with where its result goes.
questions = queue.Queue()


def body(request):
    if request.headers["Transfer-Encoding"] != "chunked":
        return request.rfile.read(int(request.headers["Content-Length"] or 0))
    whole = b""
    while size := int(request.rfile.readline(), 16):
        whole += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return whole


def statement(request):
    """What a request asks for: the database it is about, and the statement with its data."""
    settings = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
    query, database, data = settings.pop("query", ""), settings.pop("database", None), body(request)
    if data and settings:
        # ClickHouse's server takes them from the URL, the engine from the statement.
        said = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
        query = query.replace(" FORMAT ", f" SETTINGS {said} FORMAT ", 1)
    return database, query.encode() + b"\n" + data


class Interface(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        result = queue.SimpleQueue()
        questions.put((*statement(self), result))
        status, answer = result.get()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def end_with_the_input():
    sys.stdin.read()
    os._exit(0)


def run(engine, database, asked):
    try:
        if database and b"CREATE DATABASE" not in asked:
            engine.query(f"USE {database}")
        return 200, engine.query(asked, "TabSeparated").bytes() or b""
    except Exception as error:
        code = re.match(r"Code: (\d+)", str(error))
        return STATUSES.get(code and code[1], 500), str(error).encode()


host, port = (sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:0").split(":")
engine = session.Session(sys.argv[1])
server = http.server.ThreadingHTTPServer((host, int(port)), Interface)
server.daemon_threads = True
for work in server.serve_forever, end_with_the_input:
    threading.Thread(target=work, daemon=True).start()
print(f"http://{host}:{server.server_address[1]}", flush=True)
while True:
    database, asked, result = questions.get()
    result.put(run(engine, database, asked))
