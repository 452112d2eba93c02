# SPDX-License-Identifier: GPL-2.0
"""local_apps - unmodified servers and what loads them: nginx, Redis, memcached.

A load answers {"rate", "requests", "p50_us", "p99_us"} and the CPU seconds that the client used.
"""

import json
import os
import re

from local_lab import BENCH, Problem, free_port, lo_bytes, need


class App:
    """One server a path. `paths` names those that server and client can both use."""

    paths = ("tcp", "unix", "xway", "direct")
    variants = {}
    short = ()          # variants with a connection for each request

    def __init__(self, lab):
        self.lab = lab
        self.servers = {}
        self.ports = {}

    def server(self, path):
        """The server for a path, started if it does not run."""
        found = self.servers.get(path)
        if not found or not found.alive():
            if found:
                self.lab.stop(found)
            found = self.servers[path] = self.start(path)
        return found

    def stop(self):
        for server in self.servers.values():
            self.lab.stop(server)
        self.servers.clear()

    def restart(self, path):
        if path in self.servers:
            self.lab.stop(self.servers.pop(path))

    def unix_path(self):
        return self.lab.dir / f"{self.name}.sock"

    def measure(self, path, variant, seconds):
        """One load: what it answers, requests for each CPU second of server, client and monitor, bytes on lo."""
        server = self.server(path)
        before, lo = self.lab.cpu(server), lo_bytes()
        answer, client = self.load(path, variant, seconds)
        answer["lo_bytes"] = (lo_bytes() - lo) / answer["requests"]
        answer["cpu_s"] = client + self.lab.cpu(server) - before
        answer["per_cpu_s"] = answer["requests"] / max(answer["cpu_s"], 1e-9)
        return answer


class Redis(App):
    name = "redis"
    variants = {"-c 50": (50, 1), "-c 50 -P 16": (50, 16), "-c 1": (1, 1), "-c 1 -P 16": (1, 16)}
    commands = ("get", "set")

    def __init__(self, lab):
        super().__init__(lab)
        need("redis-server", "redis-server")
        need("redis-benchmark", "redis-tools")
        self.rates = {}

    def start(self, path):
        port = self.ports[path] = free_port()
        where = ["--port", "0", "--unixsocket", self.unix_path()] if path == "unix" else \
            ["--port", port, "--bind", "127.0.0.1"]
        server = self.lab.start(["redis-server", *where, "--save", "", "--appendonly", "no", "--dir", self.lab.dir,
                                 "--daemonize", "no", "--logfile", self.lab.dir / f"redis-server-{path}.log"], path)
        if path == "unix":
            server.wait_for_file(self.unix_path())
        else:
            server.wait_for_port(port)
        return server

    def benchmark(self, path, variant, count):
        """{command: (requests/s, p50 us, p99 us)} and the client's CPU seconds."""
        clients, depth = self.variants[variant]
        where = ["-s", self.unix_path()] if path == "unix" else ["-h", "127.0.0.1", "-p", self.ports[path]]
        out, cpu = self.lab.run(["redis-benchmark", *where, "-t", ",".join(self.commands), "-n", count, "-c", clients,
                                 "-P", depth, "-d", 64, "-r", 1000, "--csv"], path, timeout=30)
        found = {}
        for command in self.commands:
            row = re.search(rf'^"{command}"((?:,"[\d.]+"){{7}})', out, re.M | re.I)
            if not row:
                raise Problem(f"redis-benchmark said something unexpected: {out.strip()[-200:]!r}")
            rate, _, _, p50, _, p99, _ = (float(cell) for cell in re.findall(r'"([\d.]+)"', row[1]))
            found[command] = rate, p50 * 1e3, p99 * 1e3
        return found, cpu

    def count(self, path, variant, seconds):
        """Requests of each command that take about as long as was asked, from the last run."""
        if (path, variant) not in self.rates:
            self.server(path)
            found, _ = self.benchmark(path, variant, 2000)
            self.rates[path, variant] = min(rate for rate, _, _ in found.values())
        count = max(1000, int(self.rates[path, variant] * seconds / len(self.commands)))
        # Whole pipelines: of a count that it overshoots redis-benchmark may say that all clients have disconnected.
        depth = self.variants[variant][1]
        return (count + depth - 1) // depth * depth

    def load(self, path, variant, seconds):
        count = self.count(path, variant, seconds)
        found, cpu = self.benchmark(path, variant, count)
        self.rates[path, variant] = min(rate for rate, _, _ in found.values())
        requests = count * len(found)
        return {"rate": requests / sum(count / rate for rate, _, _ in found.values()), "requests": requests,
                "p50_us": max(p50 for _, p50, _ in found.values()), "p99_us": max(p99 for _, _, p99 in found.values()),
                "commands": found}, cpu

    def measure(self, path, variant, seconds):
        self.count(path, variant, seconds)      # its trial is not measured
        return super().measure(path, variant, seconds)


class Nginx(App):
    name = "nginx"
    paths = ("tcp", "xway", "direct")           # wrk knows no UNIX sockets
    variants = {"keep-alive": [], "not kept": ["-H", "Connection: close"]}
    short = ("not kept",)
    config = """
daemon off;
worker_processes 1;
{user}pid {dir}/nginx-{path}.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {dir}/www;
    }}
}}
"""

    def __init__(self, lab):
        super().__init__(lab)
        os.environ["PATH"] += os.pathsep + "/usr/sbin"
        need("nginx", "nginx-light")
        need("wrk", "wrk")
        (lab.dir / "www").mkdir(exist_ok=True)
        (lab.dir / "www" / "file").write_bytes(bytes(ord("a") + i % 26 for i in range(1024)))

    def start(self, path):
        port = self.ports[path] = free_port()
        config = self.lab.dir / f"nginx-{path}.conf"
        config.write_text(self.config.format(dir=self.lab.dir, port=port, path=path,
                                             user="user root;\n" if os.geteuid() == 0 else ""))
        server = self.lab.start(["/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else "nginx",
                                 "-p", self.lab.dir, "-c", config, "-e", "stderr"], path)
        server.wait_for_port(port)
        return server

    def load(self, path, variant, seconds):
        out, cpu = self.lab.run(["wrk", "-t", 1, "-c", 50, "-d", f"{max(1, round(seconds))}s", "--latency",
                                 *self.variants[variant], f"http://127.0.0.1:{self.ports[path]}/file"], path,
                                timeout=seconds + 20)
        requests = re.search(r"(\d+) requests in", out)
        rate = re.search(r"Requests/sec:\s*([\d.]+)", out)
        tails = dict(re.findall(r"^\s*(50|99)%\s+([\d.]+[a-z]+)", out, re.M))
        if not requests or not rate or len(tails) != 2 or int(requests[1]) == 0:
            raise Problem(f"wrk said something unexpected: {out.strip()[-300:]!r}")
        bad = re.search(r"Non-2xx.*|Socket errors:.*", out)
        if bad and not re.match(r"Socket errors: connect 0, read 0, write 0, timeout 0", bad[0]):
            raise Problem(f"wrk: {bad[0]}")
        return {"rate": float(rate[1]), "requests": int(requests[1]), "p50_us": self.micros(tails["50"]),
                "p99_us": self.micros(tails["99"])}, cpu

    @staticmethod
    def micros(text):
        number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()
        return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


class Memcached(App):
    name = "memcached"
    variants = {"-c 50": (50, 1), "-c 50, 16 at once": (50, 16)}

    def __init__(self, lab):
        super().__init__(lab)
        need("memcached", "memcached")

    def start(self, path):
        port = self.ports[path] = free_port()
        where = ["-s", self.unix_path()] if path == "unix" else ["-l", "127.0.0.1", "-p", port, "-U", 0]
        user = ["-u", "root"] if os.geteuid() == 0 else []
        server = self.lab.start(["memcached", "-t", 1, "-m", 64, "-c", 1000, *where, *user], path)
        if path == "unix":
            server.wait_for_file(self.unix_path())
        else:
            server.wait_for_port(port)
        return server

    def load(self, path, variant, seconds):
        connections, depth = self.variants[variant]
        at = f"unix:{self.unix_path()}" if path == "unix" else f"tcp:127.0.0.1:{self.ports[path]}"
        out, cpu = self.lab.run([BENCH, "memcached", 100, "--at", at, "--connections", connections, "--depth", depth,
                                 "--seconds", seconds], path, timeout=seconds + 20)
        answer = json.loads(out.splitlines()[-1])
        return {"rate": answer["value"], "requests": answer["count"], "p50_us": answer["p50_us"],
                "p99_us": answer["p99_us"]}, cpu


ALL = (Nginx, Redis, Memcached)
