"""Process 1 of ComfyUI's container: starts ComfyUI, and stands between it and the container runtime.

ComfyUI as process 1 would ignore SIGTERM and leave orphans behind. So this starts it with SIGINT at its default action, copies what it
prints to its own output and to a log file that the agent reads, reaps what is orphaned, turns SIGTERM into SIGINT and,
some seconds later, SIGKILL, and ends as ComfyUI has ended. It runs with the environment's own Python, from 3.9 on, and needs
nothing but the standard library.

What it is to start is in `start.json` beside this file; what it did goes to `run.json`, `pulse.json` and `exit.json` there.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Seconds between SIGINT and SIGKILL. ComfyUI was seen to need up to 3.4 s, longer while a native call runs.
INTERRUPT_GRACE = 10.0
# Seconds between two pulses.
PULSE_INTERVAL = 5.0
# Seconds for what ComfyUI printed last, once nothing is left that could print more.
OUTPUT_GRACE = 5.0
# Exit codes of this program alone, as in sysexits.h and as shells have them.
CANNOT_READ = 66
CANNOT_START = 127
PR_SET_CHILD_SUBREAPER = 36


def say(message):
    try:
        sys.stderr.write("launcher: " + message + "\n")
        sys.stderr.flush()
    except OSError:
        pass  # Nobody reads it.


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_json(name, value):
    """Replaces a file as a whole. What cannot be written, on a full disk for example, must not end ComfyUI."""
    path = os.path.join(FOLDER, name)
    temporary = "%s.%d.tmp" % (path, os.getpid())
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)
    except OSError as error:
        say("%s could not be written: %s" % (path, error))


def read_json(name):
    """What a file holds, or nothing where it is not there or damaged."""
    try:
        with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_start():
    path = os.path.join(FOLDER, "start.json")
    try:
        with open(path, encoding="utf-8") as file:
            start = json.load(file)
    except OSError as error:
        say("%s, which says what to start, cannot be read (%s): the agent writes it once the snapshot is restored" % (path, error))
        sys.exit(CANNOT_READ)
    except ValueError as error:
        say("%s, which says what to start, is damaged (%s): the agent replaces it as a whole" % (path, error))
        sys.exit(CANNOT_READ)
    missing = [key for key in ("command", "environment", "folder", "log", "logLimit") if key not in start]
    if missing:
        say("%s does not say %s: agent and launcher are of different versions" % (path, ", ".join(missing)))
        sys.exit(CANNOT_READ)
    return start


def next_start():
    """Starts in this pod are counted from 1, also where one of the files is lost."""
    counts = [read_json(name).get("start") for name in ("run.json", "exit.json", "pulse.json")]
    return 1 + max([count for count in counts if isinstance(count, int)] + [0])


class Log:
    """The log file: of this start alone, and cut so that its end is kept. The earlier start's is kept beside it as `.1`."""

    def __init__(self, path, limit):
        self.path = path
        self.limit = limit
        self.file = None
        self.size = 0
        self.complained = False
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.exists(path):
                os.replace(path, path + ".1")
        except OSError as error:
            self.complain(error)

    def write(self, data):
        try:
            if self.file is None:
                self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                self.size = os.fstat(self.file).st_size
            rest = memoryview(data)
            while rest:
                written = os.write(self.file, rest)
                self.size += written
                rest = rest[written:]
            if self.size > self.limit:
                self.cut()
            self.complained = False
        except OSError as error:
            self.complain(error)

    def cut(self):
        """Keeps the later half, from a line's beginning on. Readers find the old or the new file."""
        keep = os.pread(self.file, self.limit // 2, self.size - self.limit // 2)
        keep = keep[keep.find(b"\n") + 1 :]
        temporary = self.path + ".tmp"
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            os.write(file, keep)
            os.replace(temporary, self.path)
        except OSError:
            os.close(file)
            # No room for a second file: emptied, since this one may be what has filled the disk.
            os.ftruncate(self.file, 0)
            self.size = 0
            raise
        os.close(self.file)
        self.file = file
        self.size = os.fstat(file).st_size

    def complain(self, error):
        """Output goes on to the container's log."""
        if not self.complained:
            say("%s could not be written: %s" % (self.path, error))
        self.complained = True


def copy_output(source, log):
    """Copies what ComfyUI prints until nothing is left that could print. Nobody reading this program's output is no reason to end."""
    heard = True
    while True:
        try:
            data = os.read(source, 65536)
        except OSError:
            return
        if not data:
            return
        log.write(data)
        rest = memoryview(data)
        while heard and rest:
            try:
                rest = rest[os.write(1, rest) :]
            except OSError:
                heard = False


class Process:
    """A process as the kernel describes it: see proc(5)."""

    def __init__(self, pid):
        self.pid = pid
        with open("/proc/%d/stat" % pid, "rb") as file:
            stat = file.read()
        # The second field is the program's name in brackets and may hold anything; fields are counted after it.
        fields = stat[stat.rindex(b")") + 2 :].split()
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        ticks = os.sysconf("SC_CLK_TCK")
        # With the children that it has waited for, so that the sum does not fall when one of them ends.
        self.cpu = sum(int(field) for field in fields[11:15]) / ticks


def processes():
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = Process(int(name))
            except (OSError, ValueError):
                pass  # It has ended meanwhile.
    return found


def belongings(leader):
    """Everything that ComfyUI has started: what descends from this process, which is given the orphans, or is of ComfyUI's session."""
    found = processes()
    me = os.getpid()
    ours = {}
    for pid, process in found.items():
        above = process
        while above is not None and above.pid != me:
            above = found.get(above.parent)
        if pid != me and process.state != b"Z" and (above is not None or process.session == leader):
            ours[pid] = process
    return ours


def moved(pid):
    """Bytes read and written by a process, through the cache or not; nothing where the kernel does not say."""
    try:
        with open("/proc/%d/io" % pid, encoding="ascii") as file:
            counts = dict(line.split(": ") for line in file.read().splitlines())
        return int(counts["rchar"]), int(counts["wchar"])
    except (OSError, KeyError, ValueError):
        return 0, 0


def kill_all(leader):
    """SIGKILL to all that ComfyUI has left. As process 1, that is everything else in this container."""
    if os.getpid() == 1:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return
    for pid in belongings(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # Gone, or of another user.


class Launcher:
    def __init__(self, start):
        self.start = start
        self.number = next_start()
        self.child = None
        self.status = None
        self.kill_at = None
        self.wanted_to_end = False

    def run(self):
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
            signal.signal(getattr(signal, name), self.end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        become_subreaper()

        log = Log(self.start["log"], int(self.start["logLimit"]))
        output, error = self.spawn(log)
        if error is not None:
            write_json("run.json", {"start": self.number, "pid": None, "startedAt": now()})
            self.report_exit(CANNOT_START, None)
            return CANNOT_START
        write_json("run.json", {"start": self.number, "pid": self.child.pid, "startedAt": now()})
        copier = threading.Thread(target=copy_output, args=(output, log), daemon=True)
        copier.start()
        if self.wanted_to_end:
            self.interrupt()

        pulse_at = time.monotonic()
        while True:
            self.reap()
            if self.status is not None:
                break
            instant = time.monotonic()
            if instant >= pulse_at:
                self.pulse()
                pulse_at = instant + PULSE_INTERVAL
            if self.kill_at is not None and instant >= self.kill_at:
                say("ComfyUI has not ended %d s after SIGINT; it is killed" % INTERRUPT_GRACE)
                kill_all(self.child.pid)
                self.kill_at = instant + 1.0
            due = pulse_at if self.kill_at is None else min(pulse_at, self.kill_at)
            select.select([wake_read], [], [], max(0.0, due - instant))
            drain(wake_read)

        kill_all(self.child.pid)
        copier.join(OUTPUT_GRACE)
        self.reap()
        signaled = os.WIFSIGNALED(self.status)
        code = None if signaled else os.WEXITSTATUS(self.status)
        number = os.WTERMSIG(self.status) if signaled else None
        self.report_exit(code, None if number is None else signal_name(number))
        return code if number is None else 128 + number

    def spawn(self, log):
        """Starts ComfyUI in a session of its own. Returns its output, or why it could not be started."""
        environment = dict(os.environ)
        for key, value in self.start["environment"].items():
            environment[key] = value.replace("$PATH", os.environ.get("PATH", os.defpath)) if key == "PATH" else value
        try:
            for folder in self.start.get("folders", []):
                os.makedirs(folder, exist_ok=True)
            self.child = subprocess.Popen(
                self.start["command"],
                cwd=self.start["folder"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=default_signals,
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = "%s could not be started: %s" % (" ".join(self.start["command"][:2]), error)
            say(message)
            log.write((message + "\n").encode())
            return None, error
        return self.child.stdout.fileno(), None

    def end(self, *_):
        """Wanted to end, from a signal: also while nobody takes what ComfyUI prints."""
        self.wanted_to_end = True
        if self.child is not None:
            self.interrupt()

    def interrupt(self):
        if self.kill_at is not None or self.status is not None:
            return
        self.kill_at = time.monotonic() + INTERRUPT_GRACE
        try:
            os.kill(self.child.pid, signal.SIGINT)
        except ProcessLookupError:
            pass

    def reap(self):
        """Takes what has ended: ComfyUI, and processes whose parents have ended before them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.child.pid:
                self.status = status
                self.child.returncode = 0  # It is not waited for by any other way.

    def pulse(self):
        ours = belongings(self.child.pid)
        bytes_moved = [moved(pid) for pid in ours]
        write_json(
            "pulse.json",
            {
                "start": self.number,
                "at": now(),
                "cpu": round(sum(process.cpu for process in ours.values()), 2),
                "read": sum(read for read, _ in bytes_moved),
                "written": sum(written for _, written in bytes_moved),
            },
        )

    def report_exit(self, code, name):
        write_json("exit.json", {"start": self.number, "code": code, "signal": name, "at": now()})


def become_subreaper():
    """Orphans come to process 1, which this is, unless the pod shares its processes' numbers."""
    if os.getpid() == 1:
        return
    try:
        import ctypes  # Some builds of Python lack it.

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # They then go to process 1.


def default_signals():
    """Between fork and exec: what was ignored would stay ignored, and what was blocked, blocked."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def drain(file):
    if select.select([file], [], [], 0)[0]:
        os.read(file, 4096)


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return "SIG%d" % number


if __name__ == "__main__":
    exit_code = Launcher(read_start()).run()
    # Not by way of the interpreter's end, which waits for the thread that copies, should something hold the output open.
    os._exit(exit_code)
