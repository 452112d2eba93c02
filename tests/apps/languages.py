# SPDX-License-Identifier: GPL-2.0
"""languages.py - servers written in languages that bring their own network layer: Node.js, Python's asyncio."""

from trial import App, check

KIB, MIB = 1 << 10, 1 << 20
PROGRAMS = "tests/local/programs"


def node(trial):
    for name in ("a", "b"):
        trial.lab.put(name, f"{PROGRAMS}/http.js", "/debian/opt/http.js")
    server = trial.server("b", "env HOST=0.0.0.0 node /opt/http.js server 3000")
    server.wait_for("ready", 120)

    def answers():
        right = trial.client("HOST=b node /opt/http.js client 3000 80", timeout=240).split()[-1]
        check(right == "80", f"{right} answers were right, not 80")
        return right

    trial.part("http, kept alive and not, up to 1 MB", answers, least=10 * MIB)


def asyncio(trial):
    for name in ("a", "b"):
        trial.lab.put(name, f"{PROGRAMS}/streams.py", "/debian/opt/streams.py")
    tls = "CERT=/etc/xway-test/cert.pem KEY=/etc/xway-test/key.pem"
    for port, words in ((4000, ""), (4001, tls)):
        trial.server("b", f"env HOST=0.0.0.0 {words} python3 /opt/streams.py server {port}").wait_for("ready", 60)

    def exchange(port, words):
        out = trial.client(f"HOST=b {words} python3 /opt/streams.py client {port} 4 1500000", timeout=240).split()[-2:]
        check(out == ["4", "6000000"], f"connections and bytes: {out}")
        return out

    trial.part("asyncio streams, 4 connections of 1.5 MB, echoed", lambda: exchange(4000, ""), least=12000000)
    trial.part("asyncio streams, TLS", lambda: exchange(4001, tls), least=12000000)


def iperf3(trial):
    trial.server("b", "iperf3 -s", port=5201)
    for what, options in (("there", ""), ("back", "-R"), ("both ways, 2 streams", "--bidir -P 2"), ("zero copy", "-Z")):
        trial.part(f"{what}, 16 MiB", lambda options=options: iperf(trial, options), least=12 * MIB)


def iperf(trial, options):
    out = trial.client(f"iperf3 -c b -n 16M {options}", timeout=180)
    check("iperf Done" in out, f"iperf3: {out[-300:]}")


APPS = [
    App("Node.js", "nodejs", node),
    App("Python", "python3", asyncio),
    App("iperf3", "iperf3", iperf3),
]
