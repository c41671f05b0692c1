"""The store of qryn: ClickHouse's engine of today (chDB) behind the part of its HTTP interface that qryn's client uses.

The argument is a directory for its data. The first line is the address. It ends with its input.
"""

import urllib.parse

from chdb_http import serve


def body(request):
    if request.headers["Transfer-Encoding"] != "chunked":
        return request.rfile.read(int(request.headers["Content-Length"] or 0))
    whole = b""
    while size := int(request.rfile.readline(), 16):
        whole += request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
    return whole


def read(request):
    settings = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
    return settings.get("query", "") + "\n" + body(request).decode(), settings.get("database")


def run(engine, asked):
    query, database = asked
    try:
        if database and "CREATE DATABASE" not in query:
            engine.query(f"USE {database}")
        return 200, engine.query(query, "TabSeparated").bytes() or b""
    except Exception as error:
        return 500, str(error).encode()


serve(read, run)
