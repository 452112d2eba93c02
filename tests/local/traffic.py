# SPDX-License-Identifier: GPL-2.0
"""traffic - xway-local-traffic, as the tests that kill, steal and check have it run."""

import os
import re
import select
import subprocess
from pathlib import Path

from lab import GUARD, OURS, wait_until

TRAFFIC = OURS / "xway-local-traffic"


class Trouble(Exception):
    """What must not happen has happened."""


class Program:
    """One end of the traffic."""

    def __init__(self, lab, xwayd, role, env=None, prefix=()):
        self.role = role
        env = env or xwayd.env(XWAY_AFTER="2")
        self.process = lab.start([*prefix, TRAFFIC, role], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid

    def port(self):
        """Where a server answers; asked once, before all else."""
        return self.line().split()[1]

    def line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], GUARD)
        if not ready:
            raise Trouble(f"the {self.role} does not answer")
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("wrong"):
            raise Trouble(f"the {self.role}: {line or f'ended with status {self.process.wait()}'}")
        return line

    def tell(self, words):
        """Counters, after it was told to do something."""
        try:
            self.process.stdin.write(f"{words}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass                # its last line says why
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", self.line())}

    def status(self):
        return self.tell("status")

    def kill(self):
        self.process.kill()
        self.forget()

    def forget(self):
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def idle(self):
        """Waits until it has seen the end of all its connections."""
        last = {}

        def is_idle():
            last.update(self.status())
            return last["live"] == 0 and last["workers"] == 0
        if not wait_until(is_idle):
            raise Trouble(f"the {self.role} hangs: {last}")

    def arenas(self):
        """The arenas that it has mapped or open, by their inodes."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        found = set(re.findall(r" (\d+) +/memfd:xway-arena", maps))
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                if os.readlink(fd).startswith("/memfd:xway-arena"):
                    found.add(str(fd.stat().st_ino))
            except OSError:
                pass            # closed in between
        return found
