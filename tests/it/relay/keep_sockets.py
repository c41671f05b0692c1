"""Holds sockets as a service manager does, and starts a program with them, again and again.

    keep_sockets.py NAME:ADDRESS:PORT|NAME:PATH ... -- PROGRAM ARGUMENTS ...

It prints a line for each socket with its address, and then starts the program for each line that it reads: `start`. A line `kill`
kills the program. It ends with its input.
"""

import os
import signal
import socket
import sys

FIRST = 3


def bound(name, where):
    if where.startswith("/"):
        family, address = socket.AF_UNIX, where
    else:
        host, port = where.rsplit(":", 1)
        family, address = socket.AF_INET, (host, int(port))
    kind = socket.SOCK_DGRAM if name in ("udp", "unix-datagram") else socket.SOCK_STREAM
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen(1024)
    return made


def start(sockets, names, program):
    child = os.fork()
    if child:
        return child
    # Out of the way of the numbers that they get.
    copies = [os.dup(each.fileno()) for each in sockets]
    high = [os.dup2(copy, 100 + at) for at, copy in enumerate(copies)]
    for at, number in enumerate(high):
        os.dup2(number, FIRST + at, inheritable=True)
    os.closerange(FIRST + len(high), 256)
    names = ":".join(names)
    os.execve(program[0], program, {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high)), "LISTEN_FDNAMES": names})


def main():
    split = sys.argv.index("--")
    named = [argument.split(":", 1) for argument in sys.argv[1:split]]
    sockets = [bound(name, where) for name, where in named]
    for each in sockets:
        address = each.getsockname()
        print(address if isinstance(address, str) else "%s:%d" % address, flush=True)
    child = None
    for line in sys.stdin:
        if line.strip() == "start":
            child = start(sockets, [name for name, _ in named], sys.argv[split + 1 :])
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            child = None
            print("killed", flush=True)
    if child:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


main()
