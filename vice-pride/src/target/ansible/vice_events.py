# What a playbook did, one JSON object a line, for the vice that has started it. It works with ansible-core alone (2.12 and
# later) and beside any other callback. It writes into the folder that it lies in, tells tasks on hosts which run they
# belong to (VICE_RUN), and ends the whole run when the vice that has started it is gone or stands still.
#
# It must not decide anything: what an outcome means is up to whoever reads it.
from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import threading
import time

from ansible.plugins.callback import CallbackBase
from ansible.release import __version__

DOCUMENTATION = """
name: vice_events
type: aggregate
short_description: tells vice what a playbook does
description:
  - Writes one JSON object a line into the folder of the run.
"""

# What is older is refused.
OLDEST = (2, 12)
# The longest silence of whoever has started this, in seconds: a takeover waits a little longer on the hosts.
LIMIT = 5
# A text in an event, in characters; a report of a host; the whole file, in bytes.
TEXT = 2000
REPORT = 256 * 1024
FILE = 64 * 1024 * 1024
# How the plays begin that are vice's own.
OWN = "vice: "


def parents():
    """The parent of each process of this machine."""
    found = {}
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{int(name)}/stat", encoding="utf-8", errors="replace") as stat:
                    found[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                pass
        return found
    listed = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, parent = line.split()
        found[int(pid)] = int(parent)
    return found


def descendants(of):
    """Everything that a process has started and that has still a parent there, children before theirs."""
    found, known = [of], parents()
    for one in found:
        found.extend(pid for pid, parent in known.items() if parent == one)
    return found[1:]


def end_all():
    """Ends this process and what it has started. Since ansible-core 2.19 workers are in sessions of their own, so that the
    group of processes is not all of it."""
    for _ in range(20):
        left = descendants(os.getpid())
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.01)
    os.killpg(0, signal.SIGKILL)


def watch(fd, folder):
    """Ends the run when the other side of the pipe is closed or says nothing for too long."""
    while True:
        ready, _, _ = select.select([fd], [], [], LIMIT)
        if not ready or not os.read(fd, 4096):
            break
    # Variables and secrets go first; nobody else would remove them.
    shutil.rmtree(folder, ignore_errors=True)
    end_all()


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "vice_events"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.run = os.path.basename(self.folder)
        self.phase = "before"
        self.written = 0
        self.touched = set()
        self.out = os.open(
            os.path.join(self.folder, "events"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self.leash()

    def leash(self):
        # Standard input is the leash; what is run here reads nothing from it.
        fd = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        threading.Thread(target=watch, args=(fd, self.folder), daemon=True).start()

    def say(self, what, **facts):
        line = json.dumps({"event": what, "phase": self.phase, **facts}, default=str) + "\n"
        data = line.encode("utf-8", "backslashreplace")
        self.written += len(data)
        if self.written > FILE:
            return
        os.write(self.out, data)

    # --- what is run ---------------------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        if tuple(int(part) for part in __version__.split(".")[:2]) < OLDEST:
            self.say("old", text=__version__)
            os._exit(97)
        for play in playbook.get_plays():
            if not str(play.name or "").startswith(OWN):
                play.environment = [{"VICE_RUN": self.run}] + list(play.environment or [])

    def v2_playbook_on_play_start(self, play):
        name = str(play.get_name())
        self.phase = name[len(OWN):] if name.startswith(OWN) else "playbook"

    def v2_runner_on_start(self, host, task):
        name = host.get_name()
        if self.phase == "playbook" and name not in self.touched:
            self.touched.add(name)
            # The last play notes only hosts that had a task.
            with open(os.path.join(self.folder, "touched", name), "w", encoding="utf-8"):
                pass
            self.say("begun", host=name, task=str(task.get_name())[:TEXT])

    # --- what came of it -----------------------------------------------------------------------------------------

    def outcome(self, what, result):
        values = result._result if isinstance(result._result, dict) else {}
        facts = {"host": result._host.get_name(), "task": str(result._task.get_name())[:TEXT]}
        if self.phase != "playbook":
            facts["rc"] = values.get("rc")
            facts["out"] = str(values.get("stdout") or "")[:REPORT]
        if what in ("failed", "unreachable", "ignored"):
            facts["text"] = self.why(values)[:TEXT]
        if values.get("diff") and what == "changed":
            facts["diff"] = self.difference(values["diff"])
        self.say(what, **facts)

    @staticmethod
    def why(values):
        if "censored" in values:
            return str(values["censored"])
        for item in values.get("results") or []:
            if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
                values = item
                break
        parts = [str(values.get(key) or "").strip() for key in ("msg", "stderr", "module_stderr", "stdout")]
        said = []
        for part in parts:
            if part and part not in said:
                said.append(part if part is parts[0] else part[-TEXT // 2:])
        return "\n".join(said[:3])

    def difference(self, diff):
        try:
            return str(self._get_diff(diff))[: 4 * TEXT]
        except Exception:  # a module may say anything here
            return ""

    def v2_runner_on_ok(self, result):
        self.outcome("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.outcome("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result):
        self.outcome("unreachable", result)

    def v2_runner_on_skipped(self, result):
        self.outcome("skipped", result)

    def v2_playbook_on_stats(self, stats):
        self.phase = "end"
        self.say("stats")
