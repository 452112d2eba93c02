# SPDX-License-Identifier: GPL-2.0
"""debian_lab - guests with Debian's programs for benchmarks: the image's packages, and servers that more than one of them uses."""

import sys

from guest_lab import TOP

sys.path.insert(0, str(TOP / "tests" / "apps"))
import root  # noqa: E402
from apps_lab import AppsLab  # noqa: E402, F401

PACKAGES = ("netperf", "wget", "php8.2-fpm", "php8.2-opcache", "php8.2-pgsql", "php-memcached")
COMPONENTS = ("non-free",)          # netperf
MEMCACHED = "memcached -u root -t 1 -m 64 -l 0.0.0.0 -U 0"
POSTGRES = r"""
set -e
PGBIN=/usr/lib/postgresql/15/bin
rm -rf /tmp/pg; install -d -o postgres /tmp/pg
as="setpriv --reuid=postgres --regid=postgres --init-groups"
$as $PGBIN/initdb -D /tmp/pg -A trust -N >/dev/null
echo "host all all 0.0.0.0/0 trust" >>/tmp/pg/pg_hba.conf
exec $as $PGBIN/postgres -D /tmp/pg -c listen_addresses=0.0.0.0 -c fsync=off -c max_connections=50 -c shared_buffers=32MB
"""


def image(say):
    """The disk image and the list of its packages; made if there is none, see root.image()."""
    return root.image(say, PACKAGES, COMPONENTS, "debian-bench")


def postgres(lab, where):
    """Starts PostgreSQL with an empty database, open to all that reach it; ends with the lab."""
    lab.deb_put(where, "/root/postgres.sh", POSTGRES)
    lab.deb_start(where, "exec sh /root/postgres.sh")
    lab.wait_until(where, "grep -qi ':1538 .* 0A ' /proc/net/tcp", 120)
    # It listens before it answers.
    lab.deb(where, "until pg_isready -q -h localhost -U postgres; do sleep 0.3; done", 60, check=True)
