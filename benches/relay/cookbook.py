"""A receiver of pickled frames as Python's logging cookbook describes one: a thread for each connection, unpickle, handle, write to a
file, no sync. It prints its port, and then how many records it has written whenever a line comes on its standard input."""

import logging
import logging.handlers
import pickle
import socketserver
import struct
import sys
import threading

written = [0]
lock = threading.Lock()


class Frames(socketserver.StreamRequestHandler):
    def handle(self):
        while len(head := self.rfile.read(4)) == 4:
            attributes = pickle.loads(self.rfile.read(struct.unpack(">L", head)[0]))
            record = logging.makeLogRecord(attributes)
            logging.getLogger(record.name).handle(record)
            with lock:
                written[0] += 1


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


logging.basicConfig(filename=sys.argv[1], format="%(relativeCreated)5d %(name)-15s %(levelname)-8s %(message)s", level=1)
server = Server(("127.0.0.1", 0), Frames)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
for _ in sys.stdin:
    print(written[0], flush=True)
