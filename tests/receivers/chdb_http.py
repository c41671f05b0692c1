"""ClickHouse's engine of today (chDB) behind HTTP, as far as all that stands in for a ClickHouse here has in common."""

import http.server
import os
import queue
import sys
import threading

from chdb import session


def serve(read, run):
    """Serves for ever, and ends with its input. The first line printed is the address; the argument is a directory for the data.

    `read(handler)` gives what a request asks for. `run(engine, asked)` gives a status and the bytes of the response.
    """
    # The engine is asked by one thread only. Each question with where its result goes.
    questions = queue.Queue()

    class Interface(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            result = queue.SimpleQueue()
            questions.put((read(self), result))
            status, body = result.get()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

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
        asked, result = questions.get()
        result.put(run(engine, asked))
