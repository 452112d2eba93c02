# SPDX-License-Identifier: GPL-2.0
"""stores.py - Redis and memcached."""

import re

from trial import App, check

KIB, MIB = 1 << 10, 1 << 20
PROGRAMS = "tests/local/programs"


def redis(trial):
    server = "redis-server --bind 0.0.0.0 --protected-mode no --enable-debug-command local --save '' --port"
    trial.server("b", f"{server} 6379", port=6379)

    def benchmark(*options, expected):
        out = trial.client(f"redis-benchmark -h b --csv {' '.join(options)}", timeout=180)
        rates = dict(re.findall(r'^"([A-Z_0-9]+)[^"]*","([\d.]+)"', out, re.M))
        check(all(float(rates.get(one, 0)) > 0 for one in expected), f"redis-benchmark: {out[-300:]}")
        return sorted(rates)

    trial.part("redis-benchmark, 1,000 SET and GET one by one",
               lambda: benchmark("-n 1000 -c 8 -t set,get", expected=("SET", "GET")))
    trial.part("redis-benchmark, pipelined, 10,000 SET and GET",
               lambda: benchmark("-n 10000 -c 8 -P 16 -d 64 -t set,get", expected=("SET", "GET")), least=10000 * 64)
    trial.part("redis-benchmark, values of 100 KB",
               lambda: benchmark("-n 100 -c 4 -d 100000 -t set,get", expected=("SET", "GET")), least=100 * 200000)

    def mass():
        trial.client("redis-cli -h b FLUSHALL")
        trial.client("i=0; while [ $i -lt 3000 ]; do echo \"SET key$i value-$i\"; i=$((i+1)); done >/tmp/commands")
        out = trial.client("redis-cli -h b --pipe </tmp/commands")
        check("errors: 0, replies: 3000" in out, f"redis-cli: {out}")
        return trial.client("redis-cli -h b DBSIZE; redis-cli -h b GET key2999")

    trial.part("redis-cli --pipe, 3,000 commands", mass)

    def subscribe():
        listening = trial.lab.deb_start("a", "exec redis-cli -h b subscribe news")
        listening.wait_for("subscribe")
        trial.client("redis-benchmark -q -h b -n 500 -c 1 publish news xxxxxxxxxxxxxxxxxxxx")
        trial.lab.wait_until("a", "sleep 1")
        listening.stop()
        return listening.stdout.count("x" * 20)

    def publish():
        count = subscribe()
        check(count == 500, f"{count} messages came, not 500")
        return count

    trial.part("publish and subscribe, 500 messages", publish)

    trial.server("a", f"{server} 6380", port=6380)

    def replicate():
        """The replica takes the whole, then what follows."""
        trial.client("redis-cli -h b FLUSHALL; redis-benchmark -q -h localhost -n 2000 -r 100000 -d 1000 -t set", where="b")
        trial.client("redis-cli -p 6380 REPLICAOF b 6379")
        trial.until("redis-cli -p 6380 INFO replication | grep -q master_link_status:up")
        trial.client("redis-benchmark -q -h localhost -n 2000 -r 1000 -d 1000 -t set; redis-cli SET last one", where="b")
        trial.until("[ \"$(redis-cli -p 6380 GET last)\" = one ]")
        there = trial.client("redis-cli DBSIZE; redis-cli DEBUG DIGEST", where="b")
        here = trial.client("redis-cli -p 6380 DBSIZE; redis-cli -p 6380 DEBUG DIGEST")
        check(re.fullmatch(r"\d{4,}\n[0-9a-f]{40}\n", here), f"no digest: {here!r}")
        check(there == here, f"the replica differs: {there!r}, {here!r}")
        trial.client("redis-cli -p 6380 REPLICAOF NO ONE; redis-cli -p 6380 FLUSHALL")

    trial.part("replication, 4,000 keys of 1 KB", replicate, least=3 * MIB)


def memcached(trial):
    trial.server("b", "memcached -u root -t 2 -m 64 -l 0.0.0.0 -U 0", port=11211)
    trial.lab.put("a", f"{PROGRAMS}/memcached.py", "/debian/opt/memcached.py")

    def sets_and_gets():
        right = trial.client("HOST=b python3 /opt/memcached.py 11211 4 60", timeout=180).split()[-1]
        check(right == str(4 * 60 * 2), f"{right} items came back right, not {4 * 60 * 2}")
        return right

    trial.part("sets and gets of 1 B to 100 KB, 4 connections", sets_and_gets, least=4 * MIB)

    def tools():
        trial.client("memccp --servers=b --set /srv/data/64k")
        return trial.client("memccat --servers=b 64k | sha256sum")

    trial.part("memccp, memccat (libmemcached)", tools, least=128 * KIB)


APPS = [
    App("Redis", "redis-server", redis),
    App("memcached", "memcached", memcached),
]
