"""The endpoint of all peers: it takes requests of HTTP and lines over TCP, and counts the records in them. It can be down, and hold
its answers."""

import collections
import gzip
import re
import socket
import socketserver
import threading
import time

RECORD = re.compile(rb"uid-(\d{8})")


class Receiver:
    def __init__(self, address):
        self.address, self.server = address, None
        self.arrived, self.moved = collections.Counter(), time.monotonic()
        self.answers = threading.Event()
        self.answers.set()

    def up(self):
        receiver = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self):
                receiver.connections.append(self.connection)
                try:
                    while line := self.rfile.readline():
                        if line.startswith(b"POST "):
                            self.request_of_http()
                        else:
                            receiver.take(line)
                except OSError:
                    pass

            def request_of_http(self):
                length = 0
                while (line := self.rfile.readline()).strip():
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                receiver.take(self.rfile.read(length))
                receiver.answers.wait()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.connections = []
        self.server = Server(self.address, Connection)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def take(self, data):
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if numbers := RECORD.findall(data):
            self.arrived.update(map(int, numbers))
            self.moved = time.monotonic()
