#!/usr/bin/env bash
# Tornado answers a body above its limit with 400 and not a single header, and closes; the same application says 413 to nothing.
#
# Tool:     Tornado 6.6.1 (PyPI), max_body_size of 100,000 bytes.
# Expected: 413 (RFC 9110, 15.5.14), with the headers of any other response: a Date, a Content-Length, a Connection: close
#           where it closes.
# Instead:  "HTTP/1.1 400 Bad Request" and an empty line, 28 bytes in all; then the connection ends. No handler is called,
#           and a client cannot tell it from the 400 for a request that is wrong.
# Output:   90000 bytes: 200
#           110000 bytes: HTTP/1.1 400 Bad Request\r\n\r\n
# Matters:  A sender that splits after 413 and rejects after 400 rejects every record of a batch that was only too large.
#           While nothing smaller was taken or refused alone, a 400 may mean the size.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check tornado==6.6.1

cat >"$dir/run.py" <<'EOF'
import asyncio, sys
import tornado.httpserver, tornado.netutil, tornado.web

class Take(tornado.web.RequestHandler):
    def post(self):
        self.write(f"{len(self.request.body)} bytes")

async def post(port, length):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    writer.write(head.encode())
    # It answers before the body, if it does not want it.
    answered = asyncio.create_task(reader.read())
    done, _ = await asyncio.wait([answered], timeout=1)
    if not done:
        writer.write(b" " * length)
    answer = (await answered).decode()
    writer.close()
    return answer

async def main():
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Take)]), max_body_size=100_000)
    server.add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    below, above = await post(port, 90_000), await post(port, 110_000)
    print("90000 bytes:", below.split()[1])
    print("110000 bytes:", above.replace("\r\n", r"\r\n"))
    return below.startswith("HTTP/1.1 200 ") and above == "HTTP/1.1 400 Bad Request\r\n\r\n"

sys.exit(not asyncio.run(main()))
EOF
"$dir/venv/bin/python" "$dir/run.py"
