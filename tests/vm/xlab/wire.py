# SPDX-License-Identifier: GPL-2.0
"""wire.py - the runner's end of the agents' protocol (see agent.cpp): commands, their output, their end."""

import socket
import struct
import threading
import time

from .image import LabError

HEADER = struct.Struct("<IHHII")  # magic, target, type, id, length
MAGIC = 0x42414C58
EXEC, STDIN, SIGNAL, ATTACH, DETACH, STDOUT, STDERR, EXIT, UP, DOWN = 1, 2, 3, 4, 5, 16, 17, 18, 19, 20
CHUNK = 16 * 1024


class LabTimeout(LabError):
    """A command, or a machine, did not do in time what was asked."""


class Result:
    """What a command left: rc is its exit status (128 + signal if killed, None if its machine is gone)."""

    def __init__(self, rc, stdout, stderr):
        self.rc, self.raw, self.raw_stderr = rc, stdout, stderr
        self.stdout = stdout.decode(errors="replace")
        self.stderr = stderr.decode(errors="replace")

    @property
    def ok(self):
        return self.rc == 0

    def __repr__(self):
        return f"Result(rc={self.rc}, stdout={self.stdout!r}, stderr={self.stderr!r})"


class Job:
    """A command that runs, or ran, in a machine. Output is kept, or goes to `sink` as it comes."""

    def __init__(self, channel, where, target, number, command, sink):
        self.where, self.command = where, command
        self._channel, self._target, self._number, self._sink = channel, target, number, sink
        self._out, self._err = bytearray(), bytearray()
        self._rc, self._ended = None, False

    @property
    def running(self):
        return not self._ended

    @property
    def stdout(self):
        return bytes(self._out).decode(errors="replace")

    @property
    def stderr(self):
        return bytes(self._err).decode(errors="replace")

    def write(self, data=b""):
        """Gives the command input; nothing means end of file."""
        for at in range(0, len(data), CHUNK) if data else (0,):
            self._channel.send(self._target, STDIN, self._number, data[at:at + CHUNK])

    def signal(self, number=15):
        """Signals the command and all that it started."""
        self._channel.send(self._target, SIGNAL, self._number, str(int(number)).encode())

    def wait(self, timeout=60):
        """Waits for the end. LabTimeout leaves the command running: stop() ends it."""
        if not self._channel.wait_until(lambda: self._ended, timeout):
            raise LabTimeout(f"{self.where}: no end after {timeout:g} s: {self.command}")
        return Result(self._rc, bytes(self._out), bytes(self._err))

    def wait_for(self, text, timeout=60):
        """Waits until the command has printed `text`, such as a server's word that it listens."""
        text = text.encode()
        seen = lambda: text in self._out or text in self._err
        self._channel.wait_until(lambda: seen() or self._ended, timeout)
        if not seen():
            why = f"ended ({self._rc})" if self._ended else f"silent for {timeout:g} s"
            raise LabTimeout(f"{self.where}: {why} without saying {text.decode()!r}: {self.command}")

    def stop(self, timeout=20):
        """Ends the command: asks, then insists."""
        for number in (15, 9):
            if self.running:
                self.signal(number)
                self._channel.wait_until(lambda: self._ended, timeout)
        return self.wait(1)

    def _receive(self, kind, payload):
        if kind == EXIT:
            self._end(int(payload))
        elif kind == STDOUT and self._sink:
            self._sink.write(payload)
        else:
            (self._out if kind == STDOUT else self._err).extend(payload)

    def _end(self, rc):
        self._rc, self._ended = rc, True


class Channel:
    """The connection to dom0's agent, and through it to every guest's. Threads may share it."""

    def __init__(self, path, alive):
        """`alive` tells whether the machine is still there; it raises LabError if not."""
        self._alive = alive
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._jobs = {}
        self._last = 0
        self.up = set()      # targets that answer
        self._socket = self._connect(path)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _connect(self, path):
        end = time.monotonic() + 30
        while True:
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(path))
                return connection
            except OSError as error:
                connection.close()
                self._alive()
                if time.monotonic() > end:
                    raise LabError(f"{path}: {error}") from error
                time.sleep(0.05)

    def send(self, target, kind, number, payload=b""):
        with self._sending:
            try:
                self._socket.sendall(HEADER.pack(MAGIC, target, kind, number, len(payload)) + payload)
            except OSError as error:
                self._alive()
                raise LabError(f"the machine no longer listens: {error}") from error

    def start(self, where, target, command, sink=None):
        with self._changed:
            self._last += 1
            job = Job(self, where, target, self._last, command, sink)
            self._jobs[self._last] = job
        self.send(target, EXEC, job._number, command.encode())
        return job

    def attach(self, target, domid):
        self.up.discard(target)
        self.send(target, ATTACH, 0, str(domid).encode())

    def detach(self, target):
        self.send(target, DETACH, 0)

    def wait_until(self, condition, timeout):
        """Waits for a condition that only received frames can make true. Returns whether it is."""
        end = time.monotonic() + timeout
        with self._changed:
            while not condition():
                self._alive()
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.5))
            return True

    def close(self):
        self._socket.close()

    def _read(self):
        data = bytearray()
        while True:
            try:
                piece = self._socket.recv(1 << 18)
            except OSError:
                piece = b""
            if not piece:
                break
            data += piece
            with self._changed:
                while (frame := self._frame(data)) is not None:
                    self._dispatch(*frame)
                self._changed.notify_all()
        with self._changed:
            self._forget(lambda job: True)
            self._changed.notify_all()

    @staticmethod
    def _frame(data):
        if len(data) < HEADER.size:
            return None
        magic, target, kind, number, length = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise LabError("the agent's port lost its framing")
        if len(data) < HEADER.size + length:
            return None
        payload = bytes(data[HEADER.size:HEADER.size + length])
        del data[:HEADER.size + length]
        return target, kind, number, payload

    def _dispatch(self, target, kind, number, payload):
        if kind == UP:
            self.up.add(target)
        elif kind == DOWN:
            self.up.discard(target)
            self._forget(lambda job: job._target == target)
        elif number in self._jobs:
            self._jobs[number]._receive(kind, payload)
            if kind == EXIT:
                del self._jobs[number]

    def _forget(self, gone):
        """Ends the jobs whose machine is gone."""
        for number, job in list(self._jobs.items()):
            if gone(job):
                job._end(None)
                del self._jobs[number]
