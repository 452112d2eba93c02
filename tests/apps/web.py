# SPDX-License-Identifier: GPL-2.0
"""web.py - HTTP: nginx, Apache, Caddy, and HAProxy between them."""

import re

from trial import ANY, App, check

KIB, MIB = 1 << 10, 1 << 20
LARGE = 8 * MIB
SUM = "sha256sum | cut -c1-64"
CA = "--cacert /etc/xway-test/cert.pem"

NGINX = """daemon off; worker_processes 2; pid /run/nginx-%(name)s.pid; error_log stderr;
events { worker_connections 256; }
http {
    access_log off; sendfile %(sendfile)s; tcp_nopush on; keepalive_requests 100000; root /srv/data; client_max_body_size 0;
    ssl_certificate /etc/xway-test/cert.pem; ssl_certificate_key /etc/xway-test/key.pem;
    server { listen %(http)s; listen [::]:%(http)s; listen %(https)s ssl http2; }
}
"""


def start_nginx(trial, where, http, https, sendfile="on"):
    name = f"{http}"
    trial.put(where, f"/etc/xway-test/nginx-{name}.conf", NGINX % dict(name=name, http=http, https=https, sendfile=sendfile))
    trial.server(where, f"nginx -c /etc/xway-test/nginx-{name}.conf", port=https)


def ab(trial, url, *options, count):
    """How many answers came whole, and their bytes."""
    out = trial.client(f"ab -q -l -n {count} {' '.join(options)} {url}", timeout=180)
    said = {key: int(value) for key, value in re.findall(r"^([\w ]+ requests|HTML transferred):\s+(\d+)", out, re.M)}
    bad = re.search(r"Non-2xx.*", out)
    check(said["Complete requests"] == count and said["Failed requests"] == 0 and not bad, f"ab: {said}, {bad and bad[0]}")
    return said["HTML transferred"]


def wrk(trial, url, *options):
    out = trial.client(f"wrk -t 1 -c 8 -d 3s --timeout 20s {' '.join(options)} {url}")
    bad = re.search(r"Non-2xx.*|Socket errors:.*", out)
    check(not bad, f"wrk: {bad and bad[0]}")
    check(int(re.search(r"(\d+) requests in", out)[1]) > 20, f"wrk: {out}")


def get(trial, url, *options):
    return trial.client(f"curl -sS --fail {' '.join(options)} {url} | {SUM}")


def ranges(trial, url):
    """Four ranges at once on connections of their own, put together again."""
    parts = " --next ".join(f"-sS --fail {CA} --http1.1 -r {at}-{at + 2 * MIB - 1} -o /tmp/part-{at // 2 // MIB} {url}"
                            for at in range(0, LARGE, 2 * MIB))
    trial.client(f"rm -f /tmp/part-*; curl --parallel --parallel-immediate {parts}")
    return trial.client(f"cat /tmp/part-0 /tmp/part-1 /tmp/part-2 /tmp/part-3 | {SUM}")


def nginx(trial):
    start_nginx(trial, "b", 80, 443)
    start_nginx(trial, "b", 81, 444, sendfile="off")
    trial.part("wrk, 8 connections kept alive, 1 KiB", lambda: wrk(trial, "http://b/1k"))
    trial.part("ab, kept alive, 300 times 64 KiB",
               lambda: ab(trial, "http://b/64k", "-k", "-c", "4", count=300), least=300 * 64 * KIB)
    trial.part("ab, not kept alive, 100 times 1 KiB",
               lambda: ab(trial, "http://b/1k", "-c", "4", count=100), share=ANY, least=100 * KIB)
    trial.part("ab, not kept alive, 30 times 1 MiB",
               lambda: ab(trial, "http://b/1024k", "-c", "2", count=30), least=30 * MIB)
    trial.part("ab, TLS, kept alive, 100 times 64 KiB",
               lambda: ab(trial, "https://b/64k", "-k", "-c", "4", count=100), least=100 * 64 * KIB)
    trial.part("curl, sendfile, 8 MiB", lambda: get(trial, "http://b/large"), least=LARGE)
    trial.part("curl, without sendfile, 8 MiB", lambda: get(trial, "http://b:81/large"), least=LARGE)

    trial.part("curl, IPv6, 8 MiB", lambda: get(trial, "http://b6/large", "-6"), least=LARGE)
    trial.part("curl, TLS, 8 MiB", lambda: get(trial, "https://b/large", CA, "--http1.1"), least=LARGE)
    trial.part("curl, TLS, HTTP/2, 8 MiB", lambda: get(trial, "https://b/large", CA, "--http2"), least=LARGE)
    # Four short connections at once: on a busy machine half of it may be sent before the peer has answered.
    trial.part("curl, TLS, ranges in parallel", lambda: ranges(trial, "https://b/large"), share=ANY, least=LARGE)


APACHE = """ServerRoot /etc/apache2
ServerName b
Listen 80
Listen 443
PidFile /run/apache-test.pid
ErrorLog /dev/stderr
IncludeOptional mods-available/%(mpm)s.load
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
User www-data
Group www-data
DocumentRoot /srv/data
KeepAlive On
MaxKeepAliveRequests 0
EnableSendfile %(sendfile)s
EnableMMAP %(mmap)s
<VirtualHost *:443>
SSLEngine on
SSLCertificateFile /etc/xway-test/cert.pem
SSLCertificateKeyFile /etc/xway-test/key.pem
</VirtualHost>
"""


def apache(trial):
    for mpm, sendfile, mmap in (("mpm_event", "On", "Off"), ("mpm_prefork", "Off", "On")):
        trial.put("b", "/etc/xway-test/apache.conf", APACHE % dict(mpm=mpm, sendfile=sendfile, mmap=mmap))
        server = trial.server("b", "apache2 -X -f /etc/xway-test/apache.conf" if mpm == "mpm_prefork" else
                              "apache2 -DFOREGROUND -f /etc/xway-test/apache.conf", port=443)
        many = "1" if mpm == "mpm_prefork" else "4"     # -X: one process, one connection at a time
        name = f"{mpm[4:]}, sendfile {sendfile.lower()}"
        trial.part(f"{name}: ab, kept alive, 200 times 64 KiB",
                   lambda: ab(trial, "http://b/64k", "-k", "-c", many, count=200), least=200 * 64 * KIB)
        trial.part(f"{name}: ab, not kept alive, 60 times 64 KiB",
                   lambda: ab(trial, "http://b/64k", "-c", many, count=60), share=ANY, least=60 * 64 * KIB)
        trial.part(f"{name}: curl, 8 MiB", lambda: get(trial, "http://b/large"), least=LARGE)
        trial.part(f"{name}: curl, TLS, 8 MiB", lambda: get(trial, "https://b/large", CA, "--http1.1"), least=LARGE)
        server.stop()


CADDYFILE = """{
    admin off
    auto_https disable_redirects
}
http://:8080 {
    root * /srv/data
    file_server
}
https://b:8443 {
    tls /etc/xway-test/cert.pem /etc/xway-test/key.pem
    root * /srv/data
    file_server
}
http://:8081 {
    reverse_proxy a:8082
}
"""


def caddy(trial):
    """A Go program: static, with a network poller of its own."""
    start_nginx(trial, "a", 8082, 8083)
    trial.put("b", "/etc/xway-test/Caddyfile", CADDYFILE)
    trial.server("b", "caddy run --adapter caddyfile --config /etc/xway-test/Caddyfile", port=8443, timeout=120)
    trial.part("ab, kept alive, 200 times 64 KiB",
               lambda: ab(trial, "http://b:8080/64k", "-k", "-c", "4", count=200), least=200 * 64 * KIB)
    trial.part("curl, sendfile, 8 MiB", lambda: get(trial, "http://b:8080/large"), least=LARGE)
    trial.part("curl, TLS, HTTP/2, 8 MiB", lambda: get(trial, "https://b:8443/large", CA, "--http2"), least=LARGE)
    trial.part("reverse proxy to nginx in a, 8 MiB", lambda: get(trial, "http://b:8081/large"), least=2 * LARGE)


HAPROXY = """global
    nbthread 2
    maxconn 500
defaults
    timeout connect 20s
    timeout client 60s
    timeout server 60s
"""
HAPROXY_WAY = """
frontend f{port}
    mode {mode}
    bind 0.0.0.0:{port} {tls}
    {options}
    default_backend b{port}
backend b{port}
    mode {mode}
    {options}
    server s a:8082
"""
WAYS = ((9001, "http", "", "http-reuse always"), (9002, "tcp", "", ""),
        (9003, "http", "", "option splice-auto"), (9004, "http", "ssl crt /etc/xway-test/both.pem", ""))


def haproxy(trial):
    """Client and nginx in a, HAProxy in b: each byte crosses twice."""
    start_nginx(trial, "a", 8082, 8083)
    config = HAPROXY + "".join(HAPROXY_WAY.format(port=port, mode=mode, tls=tls, options=options)
                               for port, mode, tls, options in WAYS)
    config = config.replace("    http-reuse always\n    default_backend", "    default_backend")
    trial.put("b", "/etc/xway-test/haproxy.cfg", config)
    trial.server("b", "haproxy -db -f /etc/xway-test/haproxy.cfg", port=9004)
    trial.part("http, kept alive, ab, 200 times 64 KiB",
               lambda: ab(trial, "http://b:9001/64k", "-k", "-c", "4", count=200), least=2 * 200 * 64 * KIB)
    trial.part("http, not kept alive, ab, 60 times 64 KiB",
               lambda: ab(trial, "http://b:9001/64k", "-c", "4", count=60), share=ANY, least=2 * 60 * 64 * KIB)
    trial.part("tcp, 8 MiB", lambda: get(trial, "http://b:9002/large"), least=2 * LARGE)
    trial.part("splice, 8 MiB", lambda: get(trial, "http://b:9003/large"), least=2 * LARGE)
    trial.part("TLS in front, 8 MiB", lambda: get(trial, "https://b:9004/large", CA), least=2 * LARGE)


APPS = [
    App("nginx", "nginx-light", nginx),
    App("Apache", "apache2", apache),
    App("Caddy (Go)", "caddy", caddy),
    App("HAProxy", "haproxy", haproxy),
]
