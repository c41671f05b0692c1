#!/usr/bin/env bash
# syslog-ng's HTTP destination repeats a 400 and a 413 without end, and gives a record up after three times 504.
#
# Tool:     syslog-ng 3.38.1 with its module http (Debian 12), destination http() as it comes, flow control on.
# Expected: A 4xx is about the record: the record is dropped, and the next one comes. A 5xx is about the server: the record is
#           repeated until it is taken.
# Instead:  400 and 413 are repeated for as long as they come, and the records behind wait: one record that the server does
#           not take ends all delivery. 504, the sign of a slow backend, is a failure of the record: after three tries
#           (retries()) it is dropped. 422 is dropped at once. 503 is as expected.
# Output:   400: first first first first first first
#           413: first first first first first first
#           422: first second third
#           503: first first first first first first
#           504: first first first second second second third third
#           (the bodies that the server gets within 5.5 s, a second between two tries)
# Matters:  A server that takes records from syslog-ng must not answer 400 or 413 to what it will never take, nor let a proxy
#           answer 504 to what is only slow: 503 says "again", 422 says "never". A sender, for its part, sets the refused
#           record aside and goes on, and takes 504 for what it is: an outcome that nobody knows, to be repeated.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(syslog-ng-core=3.38.1-5+deb12u1 syslog-ng-mod-http=3.38.1-5+deb12u1 libivykis0=0.42.4-1 libnet1=1.1.6+dfsg-3.2
    libpcre3=2:8.39-15 libjson-c5=0.16-2 libwrap0=7.6.q-32 libglib2.0-0=2.74.6-2+deb12u9)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done

cat >"$dir/run.py" <<'EOF'
import http.server, os, socket, subprocess, sys, threading, time

EXPECTED = {
    400: "first first first first first first",
    413: "first first first first first first",
    422: "first second third",
    503: "first first first first first first",
    504: "first first first second second second third third",
}

root = sys.argv[1] + "/root"
libraries = [f"{root}/usr/lib/syslog-ng", f"{root}/usr/lib/x86_64-linux-gnu", f"{root}/lib/x86_64-linux-gnu"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bodies_at(status):
    """What the server gets that always answers with this status."""
    bodies = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port, place = free_port(), f"{sys.argv[1]}/{status}"
    os.mkdir(place)
    with open(place + "/conf", "w") as conf:
        conf.write(f"""@version: 3.38
            options {{ time-reopen(1); }};
            source in {{ network(ip("127.0.0.1") port({port}) transport("tcp") flags(no-parse)); }};
            destination out {{ http(url("http://127.0.0.1:{server.server_port}/") method("POST") body("$MSG")); }};
            log {{ source(in); destination(out); flags(flow-control); }};
        """)
    daemon = subprocess.Popen([
        f"{root}/usr/sbin/syslog-ng", "-F", "--no-caps", "-f", place + "/conf", "-R", place + "/persist", "-c",
        place + "/ctl", "-p", place + "/pid", "--module-path", f"{root}/usr/lib/syslog-ng/3.38",
    ], env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                client = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        client.sendall(b"first\nsecond\nthird\n")
        time.sleep(5.5)
        return " ".join(bodies)
    finally:
        daemon.kill()
        daemon.wait()
        server.shutdown()


seen = {status: bodies_at(status) for status in EXPECTED}
for status, bodies in seen.items():
    print(f"{status}: {bodies}")
sys.exit(seen != EXPECTED)
EOF
python3 "$dir/run.py" "$dir"
