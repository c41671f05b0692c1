"""Applications that take a JSON array of records, as those do that people write for such an exporter: none knows of gzip.

`flask_application` has Flask read the body, `asgi_application` does it itself. Both refuse a body above 20,000 bytes with 413
and append what they took to the file in the variable STORE: a line of JSON with the request's Idempotency-Key and the messages.
"""

import json
import os

from flask import Flask, request

MAX_BYTES = 20_000

flask_application = Flask(__name__)
flask_application.config["MAX_CONTENT_LENGTH"] = MAX_BYTES


def store(key, records):
    line = json.dumps([key, [record["message"] for record in records]])
    with open(os.environ["STORE"], "a") as file:
        file.write(line + "\n")


@flask_application.post("/ingest")
def ingest():
    store(request.headers["Idempotency-Key"], request.get_json())
    return {}


async def asgi_application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    body, more = b"", True
    while more and len(body) <= MAX_BYTES:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    status = 413
    if len(body) <= MAX_BYTES:
        # What is no JSON is an exception, so the server's own answer: 500.
        store(headers["idempotency-key"], json.loads(body))
        status = 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
