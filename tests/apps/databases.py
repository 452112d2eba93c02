# SPDX-License-Identifier: GPL-2.0
"""databases.py - PostgreSQL and MariaDB: clients and replication."""

import re

from trial import App, check

KIB, MIB = 1 << 10, 1 << 20
CONFIG = "-c config_file=/etc/postgresql/15/main/postgresql.conf "
HBA = "local all all trust\\nhost all all 10.77.0.0/24 trust\\nhost replication all 10.77.0.0/24 trust\\n"
POSTGRES = ("setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/15/bin/postgres "
            "-c listen_addresses='*' -c fsync=off -c shared_buffers=32MB -c autovacuum=off -c logging_collector=off ")


def postgresql(trial):
    trial.client(f"printf '{HBA}' >/etc/postgresql/15/main/pg_hba.conf", where="b")
    trial.server("b", POSTGRES + CONFIG + "-c ssl=on -c ssl_cert_file=/etc/xway-test/cert.pem -c ssl_key_file=/etc/xway-test/key-postgres.pem "
                 "-c wal_level=replica -c max_wal_senders=4", port=5432, timeout=120)
    trial.until("psql -h b -U postgres -c 'select 1'")

    def ask(question, where="h b"):
        return trial.client(f"psql -{where} -U postgres -Atqc \"{question}\"").strip()

    def fill():
        trial.client("pgbench -h b -U postgres -i -I dtgvp -q postgres", timeout=180)
        return ask("select count(*), sum(aid) from pgbench_accounts")

    def bench(*options, ssl="disable", count=400):
        ask("truncate pgbench_history")
        out = trial.client(f"PGSSLMODE={ssl} pgbench -h b -U postgres -n -c 4 -j 1 -t {count // 4} {' '.join(options)} postgres",
                           timeout=240)
        check(f"actually processed: {count}/{count}" in out and "failed transactions: 0 " in out, f"pgbench: {out[-300:]}")
        return ask("select count(*) from pgbench_history")

    def copy():
        trial.client("psql -h b -U postgres -qc \"\\copy (select i, md5(i::text) from generate_series(1, 60000) i) "
                     "to '/tmp/rows'\"")
        ask("drop table if exists t; create table t (i int, m text)")
        trial.client("psql -h b -U postgres -qc \"\\copy t from '/tmp/rows'\"")
        return ask("select count(*) from t where m = md5(i::text)")

    def cancel():
        out = trial.client("timeout -s INT 8 psql -h b -U postgres -c 'select pg_sleep(60)' 2>&1 || true")
        check("canceling statement" in out, f"psql: {out!r}")
        return "cancelled"

    trial.part("pgbench fills its tables", fill, least=MIB)
    trial.part("pgbench, 400 transactions, 4 connections", bench)
    trial.part("pgbench, selects, prepared", lambda: bench("-S", "-M", "prepared", count=800))
    trial.part("pgbench, TLS", lambda: bench(ssl="require", count=200))
    trial.part("copy out and in, 60,000 rows", copy, least=4 * MIB)
    trial.part("a query is cancelled", cancel, share=None)

    data = "/tmp/standby"

    def stream():
        """A standby is made, follows, and has the same rows."""
        trial.client(f"rm -rf {data}; setpriv --reuid=postgres --regid=postgres --init-groups "
                     f"/usr/lib/postgresql/15/bin/pg_basebackup -h b -U postgres -D {data} -R -X stream --no-sync -c fast",
                     timeout=240)
        trial.client(f"rm -f {data}/postmaster.pid; printf '{HBA}' >{data}/pg_hba.conf")
        standby = trial.server("a", POSTGRES + CONFIG + f"-c data_directory={data} -c hba_file={data}/pg_hba.conf "
                               "-c port=5433 -c unix_socket_directories=/tmp", port=5433, timeout=120)
        try:
            trial.until("psql -h /tmp -p 5433 -U postgres -c 'select 1'", timeout=120)
            ask("drop table if exists s; create table s as select i, md5(i::text) m from generate_series(1, 20000) i")
            there = ask("select count(*), md5(string_agg(m, '' order by i)) from s")
            trial.until("psql -h /tmp -p 5433 -U postgres -Atqc 'select count(*) from s' | grep -qx 20000", timeout=60)
            here = ask("select count(*), md5(string_agg(m, '' order by i)) from s", "h /tmp -p 5433")
            check(here == there, f"the standby has {here}, not {there}")
            check(ask("select count(*) from pg_stat_replication") == "1", "nobody replicates")
            return here
        finally:
            standby.stop()

    trial.part("a standby by pg_basebackup, streaming replication", stream, least=20 * MIB)


def mariadb(trial):
    trial.server("b", "mariadbd --user=mysql --bind-address=0.0.0.0 --innodb-buffer-pool-size=32M --innodb-log-file-size=4M "
                 "--innodb-flush-log-at-trx-commit=0 --skip-name-resolve --ssl-cert=/etc/xway-test/cert.pem "
                 "--ssl-key=/etc/xway-test/key-mysql.pem", port=3306, timeout=180)
    trial.client("mariadb -e \"create database if not exists sbtest; create user if not exists t@'%' identified by 'xway'; "
                 "grant all on *.* to t@'%'\"", where="b")
    sysbench = ("sysbench --db-driver=mysql --mysql-host=b --mysql-user=t --mysql-password=xway --tables=1 --table-size=2000 "
                "--rand-seed=1 --threads=2 --events=60 --time=0 ")
    login = "-h b -u t -pxway"

    def run_sysbench(test, *options):
        out = trial.client(f"{sysbench} {' '.join(options)} {test} run", timeout=240)
        check(re.search(r"transactions:\s+60 ", out), f"sysbench: {out[-400:]}")
        check(re.search(r"reconnects:\s+0 ", out), f"sysbench: {out[-400:]}")
        return "60 transactions"

    def prepare():
        trial.client(f"{sysbench} oltp_read_write cleanup >/dev/null 2>&1; {sysbench} oltp_read_write prepare", timeout=240)
        return trial.client(f"mariadb {login} -Ne 'select count(*) from sbtest.sbtest1'")

    def dump():
        """A result of some MiB, by the client's protocol and back."""
        trial.client(f"mariadb {login} sbtest -e 'create or replace table sbtest.big as select seq i, md5(seq) m from seq_1_to_50000'")
        return trial.client(f"mariadb-dump --skip-ssl {login} sbtest big --skip-comments >/tmp/dump.sql; "
                            f"mariadb {login} -e 'create database if not exists back' && mariadb {login} back </tmp/dump.sql && "
                            f"mariadb {login} -Ne 'select count(*), sum(crc32(m)) from back.big'")

    trial.part("sysbench fills its table", prepare)
    trial.part("sysbench oltp_read_write, 60 transactions", lambda: run_sysbench("oltp_read_write"))
    trial.part("sysbench oltp_read_only, without prepared statements", lambda: run_sysbench("oltp_read_only", "--db-ps-mode=disable"))
    trial.part("mariadb-dump and back, 50,000 rows", dump, least=4 * MIB)
    trial.part("TLS", lambda: trial.client(f"mariadb {login} --ssl-ca=/etc/xway-test/cert.pem --ssl -Ne "
                                           "\"show status like 'Ssl_version'; select repeat('x', 2000000)\" | sha256sum"),
               least=1900 * KIB)


APPS = [
    App("PostgreSQL", "postgresql-15", postgresql),
    App("MariaDB", "mariadb-server", mariadb),
]
