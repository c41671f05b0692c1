#!/usr/bin/env bash
# Python's HTTPHandler sends a traceback only if another handler has formatted the record before, and never fails for a status.
#
# Tool:     logging.handlers.HTTPHandler of CPython (seen with 3.8, 3.11 and 3.13).
# Expected: logger.exception() sends the traceback, as SocketHandler does: exc_text is made before the record is sent. A 500 is a
#           failure, for which handleError is called.
# Instead:  The handler formats nothing. It sends str() of exc_info, a tuple with the address of a traceback object, and exc_text
#           is None, unless a handler that stands before it in the list of the logger, or in that of a logger below, has
#           formatted the same record: Formatter.format leaves the text in the record. So adding a StreamHandler before or behind it
#           decides what arrives over the network. getMessage() is not called either: msg has its %s, and args are a field with
#           the repr of a tuple. The status is read and dropped.
# Output:   alone:                     exc_text None, msg 'order %d', args '(7,)'
#           a StreamHandler behind it: exc_text None, msg 'order %d', args '(7,)'
#           a StreamHandler before it: exc_text with a traceback, msg 'order %d', args '(7,)'
#           answered 500:              handleError 0 calls
# Matters:  A receiver has to merge the message itself, from a repr, and take what it finds of an exception in two fields. No
#           status can tell such a client anything: what is refused is gone.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/run.py" <<'EOF'
import http.server, io, logging, logging.handlers, threading, urllib.parse

forms, status, errors = [], 200, []


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        forms.append({name: of[0] for name, of in urllib.parse.parse_qs(body).items()})
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()


def log(*handlers):
    made = logging.handlers.HTTPHandler("127.0.0.1:%d" % server.server_port, "/log", "POST")
    made.handleError = errors.append
    logger = logging.Logger("shop")
    for handler in handlers:
        logger.addHandler(made if handler == "http" else logging.StreamHandler(io.StringIO()))
    try:
        raise ValueError("no such order")
    except ValueError:
        logger.exception("order %d", 7)
    form = forms[-1]
    text = form["exc_text"]
    trace = "with a traceback" if "Traceback (most recent call last)" in text else text
    return f"exc_text {trace}, msg {form['msg']!r}, args {form['args']!r}"


print("alone:                    ", log("http"))
print("a StreamHandler behind it:", log("http", "stream"))
print("a StreamHandler before it:", log("stream", "http"))
status = 500
log("http")
print("answered 500:              handleError", len(errors), "calls")
EOF
seen=$(python3 "$dir/run.py")
expected="alone:                     exc_text None, msg 'order %d', args '(7,)'
a StreamHandler behind it: exc_text None, msg 'order %d', args '(7,)'
a StreamHandler before it: exc_text with a traceback, msg 'order %d', args '(7,)'
answered 500:              handleError 0 calls"
echo "$seen"
[ "$seen" = "$expected" ]
