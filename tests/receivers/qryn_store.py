"""The store of qryn: ClickHouse's engine of today (chDB) behind the part of its HTTP interface that qryn's client uses.

The argument is a directory for its data. The first line is the address. It ends with its input.
"""

import http.server
import os
import queue
import sys
import threading
import urllib.parse

from chdb import session

# The engine is asked by one thread only. Each with where its result goes.
queries = queue.Queue()


class Interface(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        settings = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        query = settings.get("query", "") + "\n" + self.body().decode()
        result = queue.SimpleQueue()
        queries.put((query, settings.get("database"), result))
        status, body = result.get()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def body(self):
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        pass


def end_with_the_input():
    sys.stdin.read()
    os._exit(0)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Interface)
server.daemon_threads = True
engine = session.Session(sys.argv[1])
for work in server.serve_forever, end_with_the_input:
    threading.Thread(target=work, daemon=True).start()
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
while True:
    query, database, result = queries.get()
    try:
        if database and "CREATE DATABASE" not in query:
            engine.query(f"USE {database}")
        result.put((200, engine.query(query, "TabSeparated").bytes() or b""))
    except Exception as error:
        result.put((500, str(error).encode()))
