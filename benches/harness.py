"""A sensor on one end of a veth pair in namespaces of its own: for benches and soaks. Needs root, tcpreplay and iproute2.

The sender has one core, all processes of the sensor another one. The sensor's children run as nobody.
"""
import fcntl, os, pathlib, pty, re, shlex, shutil, signal, struct, subprocess, sys, tempfile, termios, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESOLVERS = "DNSQR_RES_ADDRS=" + os.environ.get("RESOLVERS", "192.0.2.53, 2001:db8:53::53")
SENDER, SENSOR = "0", "1"


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def binary():
    """The sensor, built for release."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/sie-dns-sensor")


def family(pid):
    """A process and its descendants."""
    found = [pid]
    for child in subprocess.run(["pgrep", "-P", str(pid)], text=True, capture_output=True).stdout.split():
        found += family(int(child))
    return found


class Sensor:
    """Runs while the context lasts. SETTINGS (NAME=VALUE words) say what it is to do beyond capturing."""

    def __init__(self, *settings):
        self.settings = settings
        self.process = None
        self.names = [f"sie-{os.getpid()}-{end}" for end in ("send", "take")]

    def __enter__(self):
        if os.geteuid() != 0:
            sys.exit(f"{sys.argv[0]}: must be root, to make network namespaces")
        for program, package in (("tcpreplay", "tcpreplay"), ("ip", "iproute2"), ("pgrep", "procps")):
            shutil.which(program) or sys.exit(f"{sys.argv[0]}: {program} is missing: apt-get install {package}")
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="sie-live-"))
        try:
            self.start(binary())
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, program):
        self.work.chmod(0o755)
        spool = self.work / "spool"
        spool.mkdir()
        shutil.chown(spool, "nobody")
        spool.chmod(0o2770)
        (self.work / "settings").write_text("")
        for name in self.names:
            run("ip", "netns", "add", name)
        send, take = self.names
        run("ip", "link", "add", "gen", "netns", send, "type", "veth", "peer", "name", "mon", "netns", take)
        for name, link in ((send, "gen"), (take, "mon")):
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            run("ip", "-n", name, "link", "set", link, "mtu", "9000", "up")
        settings = ["interface=mon", RESOLVERS, f"spooldir={spool}", "user=nobody", "upload_user=nobody"]
        settings += ["max_spool_size_kbytes=65536", "host_name=bench", f"status_socket={self.work}/status.sock", *self.settings]
        settings += shlex.split(os.environ.get("SETTINGS", ""))
        command = ["ip", "netns", "exec", take, "taskset", "-c", SENSOR, program, "run", "-c", str(self.work / "settings")]
        command += [word for setting in settings for word in ("--set", setting)]
        self.process = subprocess.Popen(command, stderr=open(self.work / "log", "w"))
        limit = time.time() + 20
        while "ready: captures" not in self.log():
            if self.process.poll() is not None or time.time() > limit:
                sys.exit(f"{sys.argv[0]}: the sensor does not start:\n{self.log()}")
            time.sleep(0.1)

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def log(self):
        return (self.work / "log").read_text()

    def stop(self):
        """Ends it in order; its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return self.log()

    def sender(self, capture, *options):
        """The command that sends a capture."""
        send = ["tcpreplay", "-q", "-K", "-i", "gen", *options, str(capture)]
        return ["ip", "netns", "exec", self.names[0], "taskset", "-c", SENDER, *send]

    def seconds(self):
        """Processor time of all its processes."""
        stats = [pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in family(self.process.pid)]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    def rss(self, field="VmRSS"):
        """Memory of its largest process in kilobytes: now (VmRSS) or at its peak (VmHWM)."""
        statuses = (pathlib.Path(f"/proc/{pid}/status").read_text() for pid in family(self.process.pid))
        return max(int(re.search(field + r":\s+(\d+)", status)[1]) for status in statuses)


class Watcher:
    """A top on a sensor, in a terminal that nobody sees, on the sender's core."""

    def __init__(self, sensor):
        self.terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        command = ["taskset", "-c", SENDER, binary(), "top", "--set", f"status_socket={sensor.work}/status.sock", "-c", str(sensor.work / "settings")]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.shown = b""
        threading.Thread(target=self.read, daemon=True).start()
        limit = time.time() + 20
        while b"q quit" not in self.shown:
            if self.process.poll() is not None or time.time() > limit:
                sys.exit(f"{sys.argv[0]}: top does not start:\n{self.shown.decode(errors='replace')}")
            time.sleep(0.1)

    def read(self):
        try:
            while got := os.read(self.terminal, 65536):
                self.shown = (self.shown + got)[-1_000_000:]
        except OSError:
            pass  # it has ended

    def stop(self):
        """Ends it; its processor time."""
        os.write(self.terminal, b"q")
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = status
        return usage.ru_utime + usage.ru_stime


def number(pattern, text):
    """The last number that the pattern finds; 0 when it finds none."""
    return int((re.findall(pattern, text) or ["0"])[-1])


def wrong(log):
    """Lines of the log that should not be there."""
    return re.findall(r".*(?:does not balance|hangs|ended:|nothing is written).*", log)
