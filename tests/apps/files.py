# SPDX-License-Identifier: GPL-2.0
"""files.py - what logs in and carries files: OpenSSH, vsftpd, rsync, busybox, NFS."""

import re

from trial import App, NONE, check

KIB, MIB = 1 << 10, 1 << 20
LARGE = 8 * MIB                 # /srv/data/large
SSH = "-o StrictHostKeyChecking=no -o LogLevel=ERROR"
SUM = "sha256sum | cut -c1-64"


def openssh(trial):
    trial.server("b", "/usr/sbin/sshd -D -o PermitRootLogin=yes", port=22)
    trial.client(f"ssh {SSH} b true")

    def terminal():
        """A program on a terminal over there is typed to, line by line."""
        said = trial.client(f"(sleep 1; for n in 1 2 3 4 5; do echo \"echo answer \\$((n$n=$n*1000))\"; sleep 0.2; done; "
                            f"echo 'tty | tr -d 0-9'; echo exit) | ssh {SSH} -tt b sh")
        answers = re.findall(r"^(?:# )?(answer \d+|/dev/\S+)\r?$", said, re.M)    # what a shell's prompt is followed by
        check(answers == [f"answer {n}000" for n in range(1, 6)] + ["/dev/pts/"], f"the terminal said {said!r}")
        return answers

    def output():
        return trial.client(f"ssh {SSH} b cat /srv/data/large | {SUM}")

    def scp():
        trial.client(f"head -c 4M /srv/data/large >/tmp/four; rm -f /tmp/got; scp -q {SSH} /tmp/four b:/tmp/there && "
                     f"scp -q {SSH} b:/tmp/there /tmp/got")
        return trial.client(f"cat /tmp/got | {SUM}")

    def sftp():
        trial.put("a", "/tmp/batch", "cd /tmp\nput /srv/data/1024k up\nrename up up2\nls -l up2\nget up2 /tmp/down\nrm up2\n")
        trial.client(f"rm -f /tmp/down; sftp -q {SSH} -b /tmp/batch b")
        return trial.client(f"ssh {SSH} b 'ls /tmp/up2 2>&1' ; cat /tmp/down | {SUM}")

    trial.part("a program on a terminal (-tt), typed to", terminal)
    trial.part("8 MiB of output", output, least=LARGE)
    trial.part("scp there and back, 4 MiB", scp, least=LARGE)
    trial.part("sftp: put, rename, get, remove", sftp, least=2 * MIB)

    trial.server("b", "python3 -m http.server -d /srv/data 9000", port=9000)
    trial.server("a", "python3 -m http.server -d /srv/data 9000", port=9000)

    def forwarded(option, where, file):
        """A tunnel for each rail: one that lives through both would be moved."""
        job = trial.lab.deb_start("a", f"exec ssh {SSH} -N -o ExitOnForwardFailure=yes {option} b")
        try:
            trial.lab.wait_until(where, "grep -q ':2329 .* 0A ' /proc/net/tcp /proc/net/tcp6")
            return trial.client(f"curl -sS --fail http://localhost:9001/{file} | {SUM}", where)
        finally:
            job.stop()

    trial.part("a forwarded port, -L", lambda: forwarded("-L 9001:localhost:9000", "a", "large"), least=LARGE)
    trial.part("a forwarded port, -R", lambda: forwarded("-R 9001:localhost:9000", "b", "1024k"), least=MIB)


VSFTPD = """listen=YES
background=NO
local_enable=YES
write_enable=YES
anonymous_enable=NO
secure_chroot_dir=/run/vsftpd/empty
pasv_enable=YES
port_enable=YES
connect_from_port_20=YES
pam_service_name=vsftpd
seccomp_sandbox=NO
"""


def vsftpd(trial):
    trial.put("b", "/etc/xway-test/vsftpd.conf", VSFTPD)
    trial.server("b", "/usr/sbin/vsftpd /etc/xway-test/vsftpd.conf", port=21)
    trial.client("cp /srv/data/large /home/tester/; chown tester /home/tester/large", where="b")

    def both_ways(mode):
        login = "ftp://tester:xway-test@b"
        trial.client(f"curl -sS {mode} -T /srv/data/large {login}/up && curl -sS {mode} -o /tmp/down {login}/up")
        return trial.client(f"cat /tmp/down | {SUM}; curl -sS {mode} -l {login}/")

    trial.part("passive: put, get, list", lambda: both_ways("--ftp-pasv"), least=2 * LARGE)
    trial.part("active: put, get, list", lambda: both_ways("--ftp-port -"), least=2 * LARGE)


RSYNCD = """use chroot = no
uid = root
gid = root
[data]
path = /srv/data
read only = yes
[put]
path = /tmp/put
read only = no
"""


def rsync(trial):
    trial.put("b", "/etc/xway-test/rsyncd.conf", RSYNCD)
    trial.client("mkdir -p /tmp/put", where="b")
    trial.server("b", "rsync --daemon --no-detach --config=/etc/xway-test/rsyncd.conf", port=873)

    def pull():
        trial.client("rm -rf /tmp/got; rsync -a rsync://b/data/ /tmp/got/")
        return trial.client("cd /tmp/got && sha256sum -c --quiet /etc/xway-test/sums && find . | wc -l")

    def push_changes():
        """Only what differs is sent, the rest is compared block by block."""
        trial.client("rm -rf /tmp/put/*; cp /srv/data/large /tmp/put/", where="b")
        trial.client("mkdir -p /tmp/from; cp /srv/data/large /tmp/from/; "
                     "for at in 1 3 5; do echo changed | dd of=/tmp/from/large bs=1M seek=$at conv=notrunc 2>/dev/null; done; "
                     "rsync -a --no-whole-file --checksum /tmp/from/ rsync://b/put/")
        return trial.client(f"cat /tmp/put/large | {SUM}", where="b")

    trial.part("a tree of 65 files from a daemon", pull, least=LARGE)
    trial.part("changes of a large file to a daemon", push_changes, least=20 * KIB)


def busybox(trial):
    """Statically linked: nothing can be preloaded into it."""
    trial.server("b", "busybox httpd -f -p 8000 -h /srv/data", port=8000)

    def wget():
        return trial.client(f"busybox wget -q -O - http://b:8000/large | {SUM}")

    def netcat():
        trial.server("b", "sh -c 'rm -f /tmp/nc; busybox nc -l -p 8001 >/tmp/nc'", port=8001)
        trial.client("busybox nc -w 5 b 8001 </srv/data/large")
        trial.until("[ $(stat -c %s /tmp/nc) -ge 8388608 ]", where="b")
        return trial.client(f"cat /tmp/nc | {SUM}", where="b")

    trial.part("httpd and wget, 8 MiB", wget, least=LARGE)
    trial.part("nc, 8 MiB", netcat, least=LARGE)


def nfs(trial):
    """The client and the server are kernels: their sockets are not for xway, and must work."""
    for name in ("a", "b"):
        trial.lab.run(name, "modprobe -a nfs nfsv4 nfsd", check=True)
    trial.put("b", "/etc/exports", "/tmp/export 10.77.0.0/24(rw,no_root_squash,no_subtree_check,fsid=0,insecure)\n")
    # Debian's small root has no mount: the ramdisk's busybox does it.
    trial.lab.run("b", "mkdir -p /tmp/export && mount -t nfsd nfsd /debian/proc/fs/nfsd", check=True)
    trial.client("exportfs -ra", where="b")
    trial.server("b", "/usr/sbin/rpc.mountd -F --no-udp -N 2 -N 3")
    trial.client("rpc.nfsd -N 3 -V 4.2 --no-udp --grace-time 10 --lease-time 10 2", where="b")

    def mount():
        trial.client("mkdir -p /tmp/nfs && mount.nfs4 b:/ /tmp/nfs -o proto=tcp,vers=4.2,hard,timeo=100", timeout=180)

    def unmount():
        trial.lab.run("a", "umount /debian/tmp/nfs", check=True)

    def copy():
        """Written, read there, and read back by a client that has nothing of it in its cache."""
        mount()
        trial.client("cp /srv/data/large /tmp/nfs/x", timeout=180)
        unmount()
        there = trial.client(f"cat /tmp/export/x | {SUM}", where="b")
        mount()
        back = trial.client(f"cat /tmp/nfs/x | {SUM}; rm /tmp/nfs/x", timeout=180)
        unmount()
        check(there == back, "what came back differs from what is there")
        return back

    try:
        trial.part("NFS 4.2: mount, write and read 8 MiB", copy, share=NONE, least=2 * LARGE)
    finally:
        trial.lab.run("a", "umount -f /debian/tmp/nfs 2>/dev/null")
        trial.lab.deb("b", "rpc.nfsd 0; exportfs -ua")
        trial.lab.run("b", "umount /debian/proc/fs/nfsd")


APPS = [
    App("OpenSSH", "openssh-server", openssh),
    App("vsftpd", "vsftpd", vsftpd),
    App("rsync", "rsync", rsync),
    App("busybox, static", "busybox-static", busybox),
    App("NFS", "nfs-kernel-server", nfs),
]
