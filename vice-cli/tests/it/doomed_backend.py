#!/usr/bin/env python3
"""Stands between vice and a plug-in, and ends or stops vice at one of its calls.

TEST_DOOM is WHEN:N. At the Nth call that acts or asks (counted from 1), vice is killed `before` the plug-in hears of
it, `during` it (the plug-in goes on alone), or `after` the plug-in has answered and before vice hears the answer. `stop`
stops vice before the call and lets the plug-in carry it out when vice goes on. TEST_REPEAT=1: each call reaches the
plug-in twice. TEST_VAGUE=1: the target can't tell what became of an operation.
"""

import json
import os
import signal
import subprocess
import sys
import time

COUNTED = {"fence", "observe", "apply", "undo"}

when, _, number = os.environ.get("TEST_DOOM", "never:0").partition(":")
seen = 0
real = subprocess.Popen([os.environ["TEST_REAL"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
parent = os.getppid()


def ask(line):
    real.stdin.write(line)
    real.stdin.flush()
    return real.stdout.readline()


for line in sys.stdin.buffer:
    here = None
    if json.loads(line)["call"] in COUNTED:
        seen += 1
        here = when if seen == int(number) else None
    if here == "before":
        os.kill(parent, signal.SIGKILL)
        sys.exit(0)
    if here == "during":
        os.kill(parent, signal.SIGKILL)
        time.sleep(0.05)
    if here == "stop":
        os.kill(parent, signal.SIGSTOP)
    request = json.loads(line)
    if os.environ.get("TEST_REPEAT") and request["call"] in COUNTED:
        ask(line)
    answer = ask(line)
    if os.environ.get("TEST_VAGUE") and request["call"] == "observe":
        unknown = {"id": request["id"], "ok": {"unknown": {"reason": "the log of the target is gone"}}}
        answer = (json.dumps(unknown) + "\n").encode()
    if here in ("after", "during"):
        if here == "after":
            os.kill(parent, signal.SIGKILL)
        sys.exit(0)
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()

# one more line

# one more line

# one more line

# one more line
