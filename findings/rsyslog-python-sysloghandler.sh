#!/usr/bin/env bash
# Python's SysLogHandler over TCP and rsyslog: the records pile up in the server, and are stored as one.
#
# Tool:     logging.handlers.SysLogHandler of CPython (seen with 3.11 and 3.13) and rsyslog 8.2302 (Debian 12), imtcp.
# Expected: SysLogHandler(..., socktype=SOCK_STREAM) frames its records in one of the two ways of RFC 6587, and imtcp, which
#           knows both, stores a record a line, at once.
# Instead:  The handler does neither: it ends a record with a zero byte, which is no end to imtcp. The server waits until 8 KiB
#           are together or the connection ends, and stores what it has as one record, which may end within a record.
#           A service that logs little shows nothing until it stops.
# Output:   while the connection lives: nothing
#           after its end: <12>first#000<12>second#000<12>third
#           with a newline and no zero byte: <12>first|<12>second|<12>third
# Matters:  A stream needs a frame that both sides know. A relay for SysLogHandler has to take a zero byte for the end of a
#           record, beside newlines and octet counts. Whoever sends to rsyslog sets append_nul to False and lets the
#           formatter end in a newline.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(rsyslog=8.2302.0-1+deb12u2 libestr0=0.1.11-1 libfastjson4=1.2304.0-1 liblognorm5=2.0.6-4)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done

cat >"$dir/run.py" <<'EOF'
import logging.handlers, os, pathlib, socket, subprocess, sys, time

EXPECTED = ["nothing", "<12>first#000<12>second#000<12>third", "<12>first|<12>second|<12>third"]

place = pathlib.Path(sys.argv[1])
root = place / "root"
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = probe.getsockname()
(place / "conf").write_text(f"""
    global(workDirectory="{place}" net.enableDNS="off")
    module(load="imtcp")
    template(name="raw" type="string" string="%rawmsg%\\n")
    input(type="imtcp" address="127.0.0.1" port="{address[1]}")
    action(type="omfile" file="{place}/stored" template="raw" flushOnTXEnd="on")
""")
libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
modules = root / "usr/lib/x86_64-linux-gnu/rsyslog"
daemon = subprocess.Popen(
    [root / "usr/sbin/rsyslogd", "-n", "-f", place / "conf", "-i", place / "pid", "-M", modules],
    env={**os.environ, "LD_LIBRARY_PATH": libraries}, stderr=subprocess.DEVNULL)


def stored():
    time.sleep(1)
    try:
        text = (place / "stored").read_text()
    except FileNotFoundError:
        return "nothing"
    os.truncate(place / "stored", 0)
    return "|".join(text.splitlines()) or "nothing"


def handler():
    made = logging.handlers.SysLogHandler(address, socktype=socket.SOCK_STREAM)
    log.addHandler(made)
    return made


log = logging.getLogger("shop")
log.propagate = False
try:
    for _ in range(100):
        try:
            socket.create_connection(address).close()
            break
        except OSError:
            time.sleep(0.1)
    plain = handler()
    for text in ("first", "second", "third"):
        log.warning(text)
    seen = [stored()]
    plain.close()
    log.removeHandler(plain)
    seen.append(stored())

    lines = handler()
    lines.append_nul = False
    lines.setFormatter(logging.Formatter("%(message)s\n"))
    for text in ("first", "second", "third"):
        log.warning(text)
    seen.append(stored())
finally:
    daemon.terminate()
    daemon.wait()
print("while the connection lives:", seen[0])
print("after its end:", seen[1])
print("with a newline and no zero byte:", seen[2])
sys.exit(seen != EXPECTED)
EOF
python3 "$dir/run.py" "$dir"
