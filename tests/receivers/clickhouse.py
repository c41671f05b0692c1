"""ClickHouse's engine of today (chDB) behind its HTTP interface: `?query=`, data in the body, its own errors as the answer.

The first line is the address. It ends with its input. The argument is a directory for its data.
"""

import re
import urllib.parse

from chdb_http import serve

# As its own server has them for what is no fault of the rows. Which status it is makes no difference to an exporter.
STATUSES = {"60": 404, "62": 400, "73": 404, "81": 404, "115": 404}


def read(request):
    data = request.rfile.read(int(request.headers["Content-Length"]))
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)["query"][0]
    return query + "\n" + data.decode() if data else query


def run(engine, query):
    try:
        return 200, engine.query(query, "TabSeparated").bytes()
    except Exception as error:
        code = re.match(r"Code: (\d+)", str(error))
        return STATUSES.get(code and code[1], 500), str(error).encode()


serve(read, run)
