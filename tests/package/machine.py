"""Machines to install packages on: this one below an overlay in memory, so that what is done to it goes with the test."""
import os, pathlib, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "tests/data/demo.pcap"
RESOLVERS = "192.0.2.53, 2001:db8:53::53"
CONFIG, SPOOL, KEYS = "/etc/default/sie-dns-sensor", "/var/spool/sie", "/var/spool/sie/keys"


def run(*command, **options):
    """Its output; fails the test where the command fails."""
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def until(what, condition, seconds=60):
    """Waits until something is, and returns it."""
    limit = time.time() + seconds
    while not (found := condition()):
        if time.time() > limit:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return found


def send(capture=DEMO):
    """Packets, that arrive at a0."""
    run("tcpreplay", "-q", "--topspeed", "-i", "b0", capture)


class Done:
    """What a command said, and its exit code."""

    def __init__(self, code, text):
        self.code, self.text = code, text

    def __repr__(self):
        return f"exit code {self.code}\n{self.text}"


class Machine:
    """A copy of this machine, with KILOBYTES of disk for what changes. Commands run in it as root, with standard input closed."""

    def __init__(self, kilobytes=1_000_000):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="sie-machine-"))
        self.work.chmod(0o755)
        self.root = self.work / "root"
        self.disk = self.work / "disk"
        for directory in (self.root, self.disk):
            directory.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=755", "sie", self.disk)
        for directory in ("upper", "work"):
            (self.disk / directory).mkdir()
        layers = f"lowerdir=/,upperdir={self.disk}/upper,workdir={self.disk}/work"
        run("mount", "-t", "overlay", "-o", layers, "sie", self.root)

    def __enter__(self):
        for kind, at in (("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "dev"), ("tmpfs", "run"), ("tmpfs", "tmp")):
            run("mount", "-t", kind, "-o", "mode=1777" if at == "tmp" else "defaults", kind, self.root / at)
        for minor, name in ((3, "null"), (5, "zero"), (7, "full"), (8, "random"), (9, "urandom")):
            os.mknod(self.root / "dev" / name, 0o20666, os.makedev(1, minor))
            os.chmod(self.root / "dev" / name, 0o666)
        (self.root / "dev/fd").symlink_to("/proc/self/fd")
        (self.root / "run/lock").mkdir()
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        # This is a machine without systemd; the runlevel is told by what it has instead.
        (self.root / "usr/sbin/runlevel").unlink(missing_ok=True)
        self.write("/usr/sbin/runlevel", "#!/bin/sh\necho N 2\n", 0o755)
        # Thousands of pages of others would be read anew each time.
        self.write("/usr/bin/mandb", "#!/bin/sh\n", 0o755)
        for user in ("sie-upload", "sie-dns-sensor"):
            self.do("userdel", "--force", user)  # somebody may have tried the sensor here
        self.lines = []
        self.syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.syslog.bind(str(self.root / "dev/log"))
        os.chmod(self.root / "dev/log", 0o666)
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def __exit__(self, failed, *_):
        if failed:
            print("".join(f"syslog: {line}\n" for line in self.lines), end="", flush=True)
        # Whatever still runs in it, however it was started.
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "root") == str(self.root):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                pass
        subprocess.run(["umount", "-R", "-l", self.root], check=False)
        subprocess.run(["umount", "-l", self.disk], check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def listen(self):
        while True:
            self.lines.append(self.syslog.recv(65536).decode(errors="replace"))

    def log(self, pattern):
        return [line for line in self.lines if re.search(pattern, line)]

    def path(self, name):
        return self.root / str(name).lstrip("/")

    def read(self, name):
        return self.path(name).read_text()

    def write(self, name, text, mode=0o644):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def do(self, *command):
        """A command that may fail."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "HOME": "/root"}
        # Its output goes to a file: what it leaves in the background would hold a pipe.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(["chroot", self.root, *map(str, command)], stdin=subprocess.DEVNULL, stdout=output,
                                  stderr=subprocess.STDOUT, env=environment, close_fds=True, timeout=120).returncode
            output.seek(0)
            return Done(code, output.read())

    def must(self, *command):
        done = self.do(*command)
        assert done.code == 0, f"{command}: {done}"
        return done.text

    def copy(self, file):
        """A file of outside, in /tmp there."""
        shutil.copy(file, self.path("/tmp"))
        return f"/tmp/{pathlib.Path(file).name}"

    def install(self, package):
        return self.do("dpkg", "-i", self.copy(package))

    def service(self, action):
        return self.do("service", "sie-dns-sensor", action)

    def sensor(self):
        """The process of the sensor, old or new, or None."""
        try:
            pid = int(self.read("/run/sie-dns-sensor.pid"))
            return pid if pathlib.Path(f"/proc/{pid}/root").exists() and os.readlink(f"/proc/{pid}/root") == str(self.root) else None
        except (OSError, ValueError):
            return None

    def version(self):
        return self.do("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}", "sie-dns-sensor").text

    def owner(self, name):
        return self.must("stat", "-c", "%U:%G %a", name).strip()

    def files(self, stage):
        return sorted(self.path(f"{SPOOL}/{stage}").glob("ch202/*.nmsg"))

    def set(self, **settings):
        """Writes settings below those that are there: the last ones count."""
        lines = "".join(f'{name}="{value}"\n' for name, value in settings.items())
        self.write(CONFIG, self.read(CONFIG) + lines)

    def payloads(self, files):
        text = self.must("sie-dns-sensor", "read", "--stats", *(f"/{file.relative_to(self.root)}" for file in files))
        return int(re.search(r"payloads +(\d+)", text)[1])
