#!/usr/bin/env bash
# Python's SocketHandler loses records while its server is away, and some after it is back, and calls handleError for none.
#
# Tool:     logging.handlers.SocketHandler of CPython (seen with 3.8, 3.11 and 3.13), against a server that is restarted.
# Expected: A record that cannot be sent goes to handleError, which is there for that, and prints a traceback by default. Once
#           the server is back, the next record opens a connection.
# Instead:  handleError is never called: errors of connect and send are swallowed. The first record after the server has gone is
#           even sent with success, into a connection that nobody reads. After a failed connect the handler waits for 1 s,
#           then 2, 4 .. 30, and drops whatever is logged meanwhile, also when the server has long been back.
# Output:   server up:    3 of 3 arrive
#           server away:  0 of 5 arrive
#           server back:  0 of 5 arrive
#           a second on:  5 of 5 arrive
#           handleError:  0 calls
# Matters:  A relay that these clients write to has to be there: a restart of half a second costs more than its own length. A
#           listening socket that outlives the process (socket activation) costs nothing. And no count at the client
#           tells of the loss, only a gap that the receiver can see.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/run.py" <<'EOF'
import logging.handlers, pickle, socket, struct, sys, threading, time

EXPECTED = {"server up": (3, 3), "server away": (0, 5), "server back": (0, 5), "a second on": (5, 5), "handleError": 0}

arrived, connections, errors = [], [], []


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()

    def read(connection):
        stream = connection.makefile("rb")
        while len(head := stream.read(4)) == 4:
            arrived.append(pickle.loads(stream.read(struct.unpack(">L", head)[0]))["msg"])

    def accept():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def log_some(when, count):
    for number in range(count):
        log.warning("%s %s", when, number)
        time.sleep(0.05)
    time.sleep(0.1)
    seen[when] = (sum(text.startswith(when) for text in arrived), count)


listener = listen(0)
port = listener.getsockname()[1]
handler = logging.handlers.SocketHandler("127.0.0.1", port)
handler.handleError = errors.append
log = logging.getLogger("shop")
log.propagate = False
log.addHandler(handler)
seen = {}

log_some("server up", 3)
for gone in [listener, *connections]:
    gone.shutdown(socket.SHUT_RDWR)
    gone.close()
time.sleep(0.2)
log_some("server away", 5)
listen(port)
log_some("server back", 5)
time.sleep(1)
log_some("a second on", 5)
seen["handleError"] = len(errors)
for when, (got, of) in list(seen.items())[:4]:
    print(f"{when + ':':13} {got} of {of} arrive")
print("handleError: ", len(errors), "calls")
sys.exit(seen != EXPECTED)
EOF
python3 "$dir/run.py"
