# SPDX-License-Identifier: GPL-2.0
"""scenario.py - a run written down: guests, steps, and a verdict which is written last.

A scenario is a TOML (or JSON) file; README.md explains its words. Steps run in order, all others may be
going on in the background. After them, whatever they did: background steps are stopped, our modules are
unloaded, the kernel logs are read, and leaks are looked for. Only then is the verdict written, so a
run that hangs, crashes or leaks has none, or a bad one.
"""

import json
import re
import time
import tomllib
from dataclasses import fields
from pathlib import Path

from . import health
from .image import TOP, LabError
from .lab import Dom0, Guest, Lab

TIMINGS = TOP / "build" / "vm" / "timings.json"
DEFAULT_SECONDS = {"boot": 30, "unload": 2, "kernel logs": 3, "leaks": 2}


def load(path):
    text = Path(path).read_text()
    try:
        scenario = json.loads(text) if str(path).endswith(".json") else tomllib.loads(text)
    except ValueError as error:
        raise LabError(f"{path}: {error}") from error
    known = {"about", "guests", "dom0", "programs", "files", "modules", "kernel_modules", "steps", "allow", "leakcheck"}
    if unknown := set(scenario) - known:
        raise LabError(f"{path}: unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    scenario.setdefault("guests", [{"name": "a"}, {"name": "b"}])
    scenario.setdefault("steps", [])
    for number, step in enumerate(scenario["steps"], 1):
        if "run" not in step and "stop" not in step:
            raise LabError(f"{path}: step {number} has neither `run` nor `stop`")
        step.setdefault("name", step.get("run") or f"stop {step['stop']}")
        step.setdefault("where", "dom0")
    return scenario


def make(kind, words):
    known = {field.name for field in fields(kind)} - {"number"}
    if unknown := set(words) - known:
        raise LabError(f"unknown {', '.join(sorted(unknown))} of a {kind.__name__.lower()}; "
                       f"known are {', '.join(sorted(known))}")
    return kind(**words)


class Progress:
    """One line a step, with the time gone and, from the last run's durations, the time left."""

    def __init__(self, names):
        self.begin = time.monotonic()
        self.names = list(names)
        try:
            self.last = json.loads(TIMINGS.read_text())
        except (OSError, ValueError):
            self.last = {}
        self.done = []

    def elapsed(self):
        return time.monotonic() - self.begin

    def left(self):
        return sum(self.last.get(name, DEFAULT_SECONDS.get(name, 3)) for name in self.names[len(self.done):])

    def say(self, text):
        print(f"{self.elapsed():6.1f} s  {text}", flush=True)

    def step(self, name, passed, seconds, reason=""):
        self.done.append({"name": name, "passed": passed, "seconds": round(seconds, 2), "reason": reason})
        left = f"   (about {self.left():.0f} s left)" if len(self.done) < len(self.names) else ""
        self.say(f"{'ok  ' if passed else 'FAIL'}  {name}  {seconds:.1f} s{left}")
        for line in reason.splitlines():
            self.say(f"      {line}")

    def save(self):
        times = {step["name"]: step["seconds"] for step in self.done if step["passed"]}
        TIMINGS.parent.mkdir(parents=True, exist_ok=True)
        TIMINGS.write_text(json.dumps(self.last | times, indent=1))


class Run:
    """One run of a scenario."""

    def __init__(self, scenario, out, guest_type=None, verbose=False, keep_going=True):
        guests = [make(Guest, words) for words in scenario["guests"]]
        for guest in guests:
            guest.type = guest_type or guest.type
        self.scenario, self.out, self.verbose, self.keep_going = scenario, Path(out), verbose, keep_going
        after = ["unload", "kernel logs"] + (["leaks"] if scenario.get("leakcheck") else [])
        self.progress = Progress(["boot", *(step["name"] for step in scenario["steps"]), *after])
        self.lab = Lab(out, guests, make(Dom0, scenario.get("dom0", {})), say=self.progress.say,
                       **{word: scenario.get(word, ()) for word in ("programs", "files", "modules", "kernel_modules")})
        self.background = {}
        self.before = None

    def run(self):
        """Returns whether the run passed."""
        (self.out / "verdict").unlink(missing_ok=True)
        reason = ""
        try:
            self._act("boot", self._boot)
            for step in self.scenario["steps"]:
                self._act(step["name"], self._step, step)
            self._act("unload", self._unload)
            self._act("kernel logs", self._read_logs)
            if self.scenario.get("leakcheck"):
                self._act("leaks", self._look_for_leaks)
        except Broken as broken:
            reason = str(broken)
        except KeyboardInterrupt:
            reason = "interrupted"
            raise
        finally:
            self.lab.close()
            self.progress.save()
            passed = self._write_verdict(reason)
        return passed

    def _act(self, name, action, *arguments):
        begin = time.monotonic()
        try:
            action(*arguments)
        except LabError as error:
            self.progress.step(name, False, time.monotonic() - begin, str(error))
            if name == "boot" or not self._machine_runs() or not self.keep_going:
                raise Broken(f"{name}: {error}") from error
        else:
            waited = self.lab.waited if name == "boot" else 0
            self.progress.step(name, True, time.monotonic() - begin - waited)

    def _machine_runs(self):
        try:
            return self.lab.run("dom0", "true", timeout=30).ok
        except LabError:
            return False

    def _boot(self):
        self.lab.boot()
        self.progress.begin += self.lab.waited
        if self.scenario.get("leakcheck"):
            self.before = health.in_use(self.lab)

    def _step(self, step):
        if stop := step.get("stop"):
            if stop not in self.background:
                raise LabError(f"no step {stop!r} runs in the background")
            return self._record(step, self.background.pop(stop).stop())
        if step.get("background"):
            job = self.lab.start(step["where"], step["run"])
            self.background[step["name"]] = job
            if "until" in step:
                job.wait_for(step["until"], step.get("timeout", 60))
            return None
        result = self.lab.run(step["where"], step["run"], timeout=step.get("timeout", 60))
        self._record(step, result)
        if result.rc != step.get("expect", 0):
            wanted = step.get("expect", 0)
            raise LabError(f"{step['where']}: exit status {result.rc}, expected {wanted}: {step['run']}\n"
                           + _tail(result.stdout + result.stderr))
        if "output" in step and not re.search(step["output"], result.stdout + result.stderr):
            raise LabError(f"{step['where']}: output does not match {step['output']!r}\n"
                           + _tail(result.stdout + result.stderr))
        return None

    def _record(self, step, result):
        with open(self.out / "steps.log", "a") as log:
            log.write(f"==== {step['name']} ({step['where']}): {result.rc}\n{result.stdout}{result.stderr}\n")
        if self.verbose:
            print(result.stdout + result.stderr, end="", flush=True)

    def _unload(self):
        for job in self.background.values():
            job.stop()
        self.background.clear()
        for where in (*self.lab.alive(), "dom0"):
            unload(self.lab, where)

    def _read_logs(self):
        if found := health.all_complaints(self.lab, self.scenario.get("allow", ())):
            raise LabError("the kernels complain:\n" + "\n".join(found[:30]))

    def _look_for_leaks(self):
        # Xen frees what a closing side held only when the other side lets go too: give that a moment.
        end = time.monotonic() + 15
        while found := health.leaks(self.before, health.in_use(self.lab)):
            if time.monotonic() > end:
                raise LabError("\n".join(found))
            time.sleep(1)

    def _write_verdict(self, reason):
        steps = self.progress.done
        failed = [step["name"] for step in steps if not step["passed"]]
        complete = len(steps) == len(self.progress.names)
        passed = complete and not failed
        if not complete and not reason:
            reason = f"ended before {self.progress.names[len(steps)]!r}"
        verdict = {"passed": passed, "reason": reason or (f"failed: {', '.join(failed)}" if failed else ""),
                   "failed": failed, "seconds": round(self.progress.elapsed(), 1),
                   "pvh_restarts": self.lab.restarts, "steps": steps}
        (self.out / "verdict").write_text(json.dumps(verdict, indent=1) + "\n")
        self.progress.say(f"{'PASSED' if passed else 'FAILED'}  {sum(s['passed'] for s in steps)} of "
                          f"{len(self.progress.names)} steps  {verdict['reason']}  ({self.out})")
        return passed


class Broken(Exception):
    """The run cannot go on, but still gets its verdict."""


def unload(lab, where):
    """Unloads our modules (those named xway_*), in the order that their use counts allow."""
    lab.run(where, "for try in 1 2 3; do for m in $(lsmod | awk '/^xway_/ { print $1 }'); do rmmod $m; done; done; "
                   "! lsmod | grep '^xway_'", timeout=60, check=True)


def _tail(text, lines=15):
    return "\n".join(text.rstrip().splitlines()[-lines:])
