"""Namespaces, in which processes and mounts end with their command; programs; a disk whose power can be cut."""

import fcntl
import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROTEL_NEEDS = "rotel: pip install rotel==0.0.1a15, or tests/receivers/install.sh"
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
EXT4_IOC_SHUTDOWN, WITHOUT_ITS_JOURNAL = 0x8004587D, 2


def which(program):
    return shutil.which(program, path=PATH)


def rotel_agent():
    found = importlib.util.find_spec("rotel")
    return found and pathlib.Path(found.origin).parent / "rotel-agent"


def available():
    return shutil.which("unshare") and subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


def run_inside(script, arguments):
    """Runs a script with `--inside DIRECTORY` in namespaces of its own, and then removes that directory; gives its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="sandbox-") as work:
        command = [*NAMESPACES, sys.executable, "-B", script, *arguments, "--inside", work]
        process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL)
        try:
            return process.wait()
        finally:
            # With the first process of a namespace all others end, and what is mounted there is gone.
            process.kill()
            process.wait()


def loopback_up():
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


def wait_for(what, condition, moving=lambda: None):
    """Waits until there is something; gives up when nothing has moved for two minutes."""
    seen, since = None, time.monotonic()
    while not (found := condition()):
        if (now := moving()) != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() > since + 120:
            raise TimeoutError(f"no {what} for two minutes")
        time.sleep(0.02)
    return found


def listens(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class Program:
    """A process, the lines that it prints, and its error output in the file `log`."""

    def __init__(self, log, *command):
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def kill(self):
        """Kills it. All that it had said is in `lines` then."""
        self.process.kill()
        self.process.wait()
        self.reader.join()


class Disk:
    """A file system in a file, of which a power cut takes all that is not synced."""

    def __init__(self, work):
        self.image, self.path = work / "image", work / "disk"
        self.path.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(512 << 20)
        self.run("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", self.image)
        self.mount()

    def run(self, program, *arguments):
        subprocess.run([which(program) or program, *arguments], check=True, capture_output=True)

    def mount(self):
        # Its journal is written when something is synced, and not every five seconds as well.
        self.run("mount", "-o", "loop,commit=600,errors=remount-ro", self.image, self.path)

    def cut_power(self, program):
        """Cuts the power of a program and its disk: from here on it does, sends and says nothing any more. Then power is back."""
        program.process.send_signal(signal.SIGSTOP)
        root = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(root, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_ITS_JOURNAL))
        os.close(root)
        program.kill()
        self.unmount()
        self.mount()

    def unmount(self):
        # Files that a process had open are closed a moment after its end.
        unmount = ["umount", str(self.path)]
        wait_for("disk that nobody uses", lambda: subprocess.run(unmount, capture_output=True).returncode == 0)
