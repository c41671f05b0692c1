#!/usr/bin/env bash
# aiohttp cuts a body to the Content-Length that its caller has set, and reports success; before 3.12 it sent all of it.
#
# Tool:     aiohttp 3.11.18 and 3.14.5 (PyPI).
# Expected: A Content-Length that is not that of the body is an error, as in h11, or it is replaced by the right one, as requests
#           2.34.2 does it: the length is known.
# Instead:  3.11 sends the wrong header and the whole body: what is beyond the length is the beginning of the next request on
#           this connection. 3.14 sends as many bytes as the header says and drops the rest. Both return 200 without a word.
# Output:   aiohttp 3.11.18: Content-Length 10, then 22 bytes 'log=Gr%C3%BC%C3%9Fe%21', status 200
#           aiohttp 3.14.5: Content-Length 10, then 10 bytes 'log=Gr%C3%', status 200
# Matters:  Handlers in articles set the length of the text before it is encoded as a form. With a text of ASCII without spaces nobody
#           notices. A receiver of the older one has to take what follows a form as its end, not as a request, and with the newer one it gets
#           half a character at the end.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/run.py" <<'EOF'
import asyncio, re, sys

import aiohttp

TEXT = "Grüße!"


async def main():
    seen = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)[1].decode()
        body = b""
        try:
            while piece := await asyncio.wait_for(reader.read(1000), 1):
                body += piece
        except asyncio.TimeoutError:
            pass
        seen.append(f"Content-Length {length}, then {len(body)} bytes {body.decode()!r}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len("log=" + TEXT))}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{port}/", data={"log": TEXT}, headers=headers) as response:
            print(f"aiohttp {aiohttp.__version__}: {seen[0]}, status {response.status}")


asyncio.run(main())
EOF
seen=
for version in 3.11.18 3.14.5; do
    python3 -m venv "$dir/$version"
    "$dir/$version/bin/pip" install -q --disable-pip-version-check "aiohttp==$version"
    seen+=$("$dir/$version/bin/python" "$dir/run.py")$'\n'
done
expected="aiohttp 3.11.18: Content-Length 10, then 22 bytes 'log=Gr%C3%BC%C3%9Fe%21', status 200
aiohttp 3.14.5: Content-Length 10, then 10 bytes 'log=Gr%C3%', status 200
"
printf %s "$seen"
[ "$seen" = "$expected" ]
