"""The package before, 0.11.2-1: its files, modes, configuration files and scripts. In the place of nmsgtool a program that runs."""
import pathlib, tempfile
from machine import run

CONFIG = """# configuration for sie-dns-sensor
spooldir=/var/spool/sie
uploadkey=/var/spool/sie/keys/upload
login=sie-username
interval=60
maxper=16
channel=ch202
interface=eth0
DNSQR_RES_ADDRS="192.0.2.1, 2001:db8::1"
syslog_priority=local5.info
max_spool_size_kbytes=524288
memory_ulimit_kbytes=524288
"""

INIT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          sie_dns_sensor
# Required-Start:    $local_fs $network $remote_fs $syslog
# Required-Stop:     $local_fs $network $remote_fs $syslog
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: SIE DNS sensor
### END INIT INFO
PIDFILE=/var/run/sie-dns-sensor.pid
NMSGTOOL=/usr/lib/sie-dns-sensor/nmsgtool
test -x $NMSGTOOL || exit 0
case "$1" in
start)
    getent passwd sie-dns-sensor >/dev/null && chown -R sie-dns-sensor:sie-dns-sensor /var/spool/sie
    test -f /var/spool/sie/keys/upload || { echo "upload key does not exist."; exit 0; }
    start-stop-daemon --start --quiet --background --make-pidfile --pidfile $PIDFILE --startas $NMSGTOOL
    ;;
stop)
    start-stop-daemon --stop --quiet --oknodo --retry 5 --pidfile $PIDFILE
    rm -f $PIDFILE
    ;;
restart | force-reload)
    $0 stop
    $0 start
    ;;
*)
    echo "Usage: $0 {start|stop|restart|force-reload}" >&2
    exit 1
    ;;
esac
"""

CRON = "*/5 * * * * root test -x /usr/lib/sie/sie-trim-spool && /usr/lib/sie/sie-trim-spool || exit 0\n"
PROGRAM = "#!/bin/sh\nexit 0\n"
KNOWN_HOSTS = "[submit.example.net]:49222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINq6YH4QKwKTWiweoZpH+6V+0HUvHH3Usi6irFOrw8m+\n"

FILES = {
    "etc/default/sie-dns-sensor": (CONFIG, 0o644),
    "etc/cron.d/sie-trim-spool": (CRON, 0o644),
    "etc/init.d/sie-dns-sensor": (INIT, 0o755),
    "usr/bin/sie-gen-key": (PROGRAM, 0o755),
    "usr/bin/sie-rsync": (PROGRAM, 0o755),
    "usr/bin/sie-wrapsrv": (PROGRAM, 0o755),
    "usr/lib/sie/functions": ("", 0o644),
    "usr/lib/sie/sie-kicker": (PROGRAM, 0o755),
    "usr/lib/sie/sie-trim-spool": (PROGRAM, 0o755),
    "usr/lib/sie-dns-sensor/nmsgtool": ("#!/bin/sh\nwhile :; do sleep 1; done\n", 0o755),
    "usr/lib/sie-dns-sensor/libnmsg.so.6": ("", 0o644),
    "usr/lib/sie-dns-sensor/nmsg/nmsg_msg9_base.so": ("", 0o644),
    "var/spool/sie/keys/known_hosts": (KNOWN_HOSTS, 0o644),
}
DIRECTORIES = ("var/spool/sie/locks", "var/spool/sie/waiting")
CONFFILES = ("/etc/default/sie-dns-sensor", "/etc/cron.d/sie-trim-spool", "/etc/init.d/sie-dns-sensor")

CONTROL = """Package: sie-dns-sensor
Version: 0.11.2-1
Architecture: amd64
Maintainer: Nobody <nobody@example.net>
Depends: adduser, openssh-client
Description: SIE DNS sensor
"""

# As debhelper of that time wrote them.
POSTINST = """#!/bin/sh
set -e
if [ "$1" = configure ]; then
    getent passwd sie-dns-sensor >/dev/null ||
        adduser --quiet --system --group --no-create-home --home /var/spool/sie sie-dns-sensor
fi
if [ -x "/etc/init.d/sie-dns-sensor" ]; then
    update-rc.d sie-dns-sensor defaults >/dev/null
    invoke-rc.d sie-dns-sensor start || exit $?
fi
"""
PRERM = """#!/bin/sh
set -e
if [ -x "/etc/init.d/sie-dns-sensor" ]; then
    invoke-rc.d sie-dns-sensor stop || exit $?
fi
"""
POSTRM = """#!/bin/sh
set -e
if [ "$1" = remove ]; then
    userdel --force sie-dns-sensor
fi
if [ "$1" = purge ]; then
    update-rc.d sie-dns-sensor remove >/dev/null
fi
"""


def build(directory):
    """The package's path."""
    with tempfile.TemporaryDirectory() as work:
        tree = pathlib.Path(work) / "tree"
        for name, (text, mode) in FILES.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        for name in DIRECTORIES:
            (tree / name).mkdir(parents=True)
        control = tree / "DEBIAN"
        control.mkdir()
        (control / "control").write_text(CONTROL)
        (control / "conffiles").write_text("\n".join(CONFFILES) + "\n")
        for name, text in (("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)):
            (control / name).write_text(text)
            (control / name).chmod(0o755)
        for path in [tree, *tree.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        run("dpkg-deb", "--root-owner-group", "-b", tree, directory)
    return pathlib.Path(directory) / "sie-dns-sensor_0.11.2-1_amd64.deb"
