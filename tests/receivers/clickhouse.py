"""ClickHouse's engine of today (chDB) behind its HTTP interface: `?query=`, data in the body, its own errors as the answer.

The first line is the address. It ends with its input. The argument is a directory for its data.
"""

import http.server
import os
import queue
import re
import sys
import threading
import urllib.parse

from chdb import session

# As its own server has them for what is no fault of the rows. Which status it is makes no difference to an exporter.
STATUSES = {"60": 404, "62": 400, "73": 404, "81": 404, "115": 404}

# The engine is asked by one thread only. Each with where its result goes.
queries = queue.Queue()


class Interface(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        if data:
            query += "\n" + data.decode()
        result = queue.SimpleQueue()
        queries.put((query, result))
        self.answer(*result.get())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
    query, result = queries.get()
    try:
        result.put((200, engine.query(query, "TabSeparated").bytes()))
    except Exception as error:
        code = re.match(r"Code: (\d+)", str(error))
        result.put((STATUSES.get(code and code[1], 500), str(error).encode()))
