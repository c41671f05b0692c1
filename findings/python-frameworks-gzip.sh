#!/usr/bin/env bash
# Web frameworks for Python answer 400 or 500 to a body with gzip, as if its content were wrong or they were broken; none says 415.
#
# Tool:     Flask 3.1.3, FastAPI 0.165.0, Sanic 25.12.1, Starlette 1.10.0, Django 5.2.19, Tornado 6.6.1 (PyPI), each with an
#           application that reads JSON as its documentation shows it.
# Expected: A Content-Encoding that a server does not undo is answered with 415 (RFC 9110, 15.5.16), with the codings that
#           it takes. Or it is undone: a framework of today that is asked for the request's JSON knows gzip.
# Instead:  None undoes it and none looks at the header. Half of them answer 400, which is what they say to a body that is
#           wrong, and half of them let the exception pass: 500, which is what they say when they are broken.
# Output:   flask plain 200 gzip 400
#           fastapi plain 200 gzip 400
#           sanic plain 200 gzip 400
#           starlette plain 200 gzip 500
#           django plain 200 gzip 500
#           tornado plain 200 gzip 500
# Matters:  A sender that rejects records after 400 loses good ones over a setting, and one that repeats after 500 repeats
#           for ever. Whatever the status, a batch with gzip that was refused has to be tried once without before anything
#           is concluded about its records.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check flask==3.1.3 fastapi==0.165.0 sanic==25.12.1 starlette==1.10.0 \
    django==5.2.19 tornado==6.6.1 uvicorn==0.54.0

cat >"$dir/application.py" <<'EOF'
import asyncio, json, sys

name, port = sys.argv[1], int(sys.argv[2])
if name == "flask":
    from flask import Flask, request

    application = Flask(__name__)

    @application.post("/")
    def take():
        return {"taken": len(request.get_json())}

    application.run(port=port)
elif name == "fastapi":
    import fastapi, uvicorn

    application = fastapi.FastAPI()

    @application.post("/")
    async def take(records: list[dict]):
        return {"taken": len(records)}

    uvicorn.run(application, port=port)
elif name == "sanic":
    import sanic

    application = sanic.Sanic("application")

    @application.post("/")
    async def take(request):
        return sanic.json({"taken": len(request.json)})

    application.run(host="127.0.0.1", port=port, single_process=True)
elif name == "starlette":
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def take(request):
        return JSONResponse({"taken": len(await request.json())})

    uvicorn.run(Starlette(routes=[Route("/", take, methods=["POST"])]), port=port)
elif name == "django":
    from wsgiref.simple_server import make_server
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__)
    urlpatterns = [path("", lambda request: JsonResponse({"taken": len(json.loads(request.body))}))]
    make_server("127.0.0.1", port, get_wsgi_application()).serve_forever()
elif name == "tornado":
    import tornado.web

    class Take(tornado.web.RequestHandler):
        def post(self):
            self.write({"taken": len(json.loads(self.request.body))})

    async def main():
        tornado.web.Application([("/", Take)]).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())
EOF

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
post() { # port, file, header
    curl -s -o "$dir/answer" -w '%{http_code}' -H 'Content-Type: application/json' ${3:+-H "$3"} --data-binary "@$2" \
        "http://127.0.0.1:$1/"
}
printf '[{"message":"order taken"}]' >"$dir/body"
gzip -k "$dir/body"
seen=
for name in flask fastapi sanic starlette django tornado; do
    port=$(free_port)
    "$dir/venv/bin/python" "$dir/application.py" "$name" "$port" >"$dir/$name.log" 2>&1 &
    for _ in $(seq 300); do (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break || sleep 0.1; done
    seen+="$name plain $(post "$port" "$dir/body") gzip $(post "$port" "$dir/body.gz" 'Content-Encoding: gzip')"$'\n'
done
expected='flask plain 200 gzip 400
fastapi plain 200 gzip 400
sanic plain 200 gzip 400
starlette plain 200 gzip 500
django plain 200 gzip 500
tornado plain 200 gzip 500
'
printf '%s' "$seen"
[ "$seen" = "$expected" ]
