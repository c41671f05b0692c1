"""ClickHouse's engine of today (chDB) behind its HTTP interface: `?query=`, data in the body, its own errors as the answer.

The first line is the address. It ends with its input. The argument is a directory for its data.
"""

import http.server
import os
import re
import sys
import threading
import urllib.parse

from chdb import session

# Those that its own server gives; anything else is 500 there as well, or 400.
STATUSES = {"60": 404, "81": 404, "115": 404, "73": 404, "16": 500, "62": 400}

engine = session.Session(sys.argv[1])
one_at_a_time = threading.Lock()


class Interface(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        if data:
            query += "\n" + data.decode()
        try:
            with one_at_a_time:
                answer = engine.query(query, "TabSeparated")
            self.answer(200, answer.bytes())
        except Exception as error:
            code = re.match(r"Code: (\d+)", str(error))
            self.answer(STATUSES.get(code and code[1], 500), str(error).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Interface)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
sys.stdin.read()
os._exit(0)
