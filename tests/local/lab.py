# SPDX-License-Identifier: GPL-2.0
"""lab - what the tests of libxway share: a directory, an xwayd, programs with the library in them, results.

All that is started here ends with us: at the end of `with Lab()`, or, if we are killed, by the kernel.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
LIBRARY = BUILD / "libxway" / "libxway.so"
XWAYD = BUILD / "libxway" / "xwayd"
XWAY_RUN = BUILD / "libxway" / "xway-run"
XWAY = BUILD / "tools" / "xway"
OURS = BUILD / "local"
CASES = BUILD / "socket" / "xway-socket-cases"
TRANSFER = BUILD / "socket" / "xway-transfer"

GUARD = 30          # seconds after which something that should have come long ago counts as a hang
_libc = ctypes.CDLL(None, use_errno=True)


def together(calls):
    """Calls (function, argument, ...) side by side, and waits until all have returned."""
    threads = [threading.Thread(target=function, args=arguments, daemon=True) for function, *arguments in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Results:
    """The lines that tests/run reads."""

    def __init__(self):
        self.passed = self.failed = 0

    def ok(self, name):
        self.passed += 1
        print(f"ok {name}", flush=True)

    def bad(self, name, reason):
        self.failed += 1
        print(f"not ok {name} - {reason}", flush=True)

    def check(self, name, good, reason):
        if good:
            self.ok(name)
        else:
            self.bad(name, reason)
        return good

    @staticmethod
    def note(text):
        print(f"# {text}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


def die_with_parent(number=signal.SIGKILL):
    _libc.prctl(1, number)      # PR_SET_PDEATHSIG


def wait_until(condition, seconds=GUARD, step=0.02):
    """Whether the condition came true in time; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(step)


class Xwayd:
    """A daemon of our own. A killed one can be started again at the same place."""

    def __init__(self, lab, name="xwayd", options=()):
        self.options = options
        self.path, self.log = lab.dir / f"{name}.sock", lab.dir / f"{name}.log"
        self.process = None
        self.start()

    def start(self):
        reading, writing = os.pipe()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [XWAYD, "--socket", self.path, "--ready-fd", str(writing), *self.options], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, pass_fds=[writing], preexec_fn=die_with_parent)
        os.close(writing)
        with open(reading, "rb") as ready:
            if not ready.read(1):
                raise RuntimeError(f"xwayd does not start: {self.log.read_text()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(GUARD)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def ask(self, request):
        """What xwayd says to one line: the words of each line, or the counters by name."""
        with socket.socket(socket.AF_UNIX) as tools:
            tools.settimeout(GUARD)
            tools.connect(f"{self.path}.ctl")
            tools.sendall(request.encode() + b"\n")
            text = b"".join(iter(lambda: tools.recv(65536), b"")).decode()
        if request == "stat":
            return dict(line.split() for line in text.splitlines())
        return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in text.splitlines()]

    def tool(self, *words):
        """What the command xway says, from its JSON."""
        done = subprocess.run([XWAY, *words, "--local", "--json"], env=dict(os.environ, XWAY_SOCKET=str(self.path)),
                              capture_output=True, text=True, timeout=GUARD, check=True)
        return json.loads(done.stdout)

    def stat(self):
        """Counters by name, and how often each reason was given as declined_NAME."""
        seen = self.tool("stat")
        return seen["total"] | {f"declined_{why}": times for why, times in seen["reasons"].items()}

    def env(self, **more):
        return dict(os.environ, LD_PRELOAD=str(LIBRARY), XWAY_SOCKET=str(self.path), **more)


class Lab:
    """A directory, and all that was started in it; both go at the end."""

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        for name in [name for name in os.environ if name.startswith("XWAY_")] + ["LD_PRELOAD"]:
            os.environ.pop(name, None)
        missing = [file for file in (LIBRARY, XWAYD, XWAY_RUN, XWAY, CASES, TRANSFER) if not file.exists()]
        if missing:
            sys.exit(f"there is no {missing[0].relative_to(TOP)}: run make local")
        self.dir = Path(tempfile.mkdtemp(prefix="xway-local-"))
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def xwayd(self, name="xwayd", options=()):
        daemon = Xwayd(self, name, options)
        self.processes.append(daemon.process)
        return daemon

    def start(self, command, env=None, **options):
        options = {"stdin": subprocess.DEVNULL, "preexec_fn": die_with_parent, "text": True} | options
        process = subprocess.Popen([str(word) for word in command], env=env, **options)
        self.processes.append(process)
        return process
