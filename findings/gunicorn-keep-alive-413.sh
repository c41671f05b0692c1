#!/usr/bin/env bash
# gunicorn says "Connection: keep-alive" in a 413, and closes the connection.
#
# Tool:     gunicorn 27.0.1 with a gthread worker, Flask 3.1.3 with MAX_CONTENT_LENGTH (PyPI).
# Expected: A server that answers before it has read the body either reads the rest and goes on, or says that it will not:
#           "Connection: close".
# Instead:  The 413 says keep-alive. Up to some 64 KiB of body the connection is kept, and the next request on it is
#           answered. Above, it is closed as the 413 is sent, and the next request is written to a connection that is no
#           more.
# Output:   30000 bytes: 413 keep-alive, next 200
#           200000 bytes: 413 keep-alive, next none
#           1000000 bytes: 413 keep-alive, next none
# Matters:  A sender that splits a batch after a 413 sends the first half on the connection that it believes to be kept, and
#           sees a reset: not an answer about the half, and no reason for a delay. No connection is used again after a 413.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check gunicorn==27.0.1 flask==3.1.3

cat >"$dir/application.py" <<'EOF'
from flask import Flask, request

application = Flask(__name__)
application.config["MAX_CONTENT_LENGTH"] = 20_000

@application.post("/")
def take():
    return f"{len(request.get_data())} bytes"
EOF
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$dir" && HOME=$dir exec venv/bin/gunicorn --bind "127.0.0.1:$port" --worker-class gthread --threads 4 --keep-alive 60 \
    application:application >"$dir/log" 2>&1) &
for _ in $(seq 300); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.1; done

cat >"$dir/run.py" <<'EOF'
import http.client, sys, time

EXPECTED = {30_000: "413 keep-alive, next 200", 200_000: "413 keep-alive, next none", 1_000_000: "413 keep-alive, next none"}

def ask(connection, length):
    try:
        connection.request("POST", "/", b" " * length)
    except (BrokenPipeError, ConnectionResetError):
        pass  # The answer may be there all the same.
    answer = connection.getresponse()
    answer.read()
    return answer

same = True
for length, expected in EXPECTED.items():
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    first = ask(connection, length)
    seen = f"{first.status} {first.headers['Connection']}"
    time.sleep(0.5)
    connection.auto_open = 0
    try:
        seen += f", next {ask(connection, 2).status}"
    except (ConnectionError, http.client.HTTPException):
        seen += ", next none"
    print(f"{length} bytes: {seen}")
    same &= seen == expected
sys.exit(not same)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$port"
