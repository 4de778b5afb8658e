#!/usr/bin/env python3
"""A service that takes up configurations while it runs, and behaves as the GREETING in them says.

On SIGHUP it reads the file that VICE_CONFIG_FILE names; what is posted to /reload it takes as it is; with --watch it
looks at the file by itself. `refused` it does not take up (`refused-2`: where it is unit 2), with `sick` it is not healthy, with `deadly` it ends.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = os.environ["VICE_CONFIG_FILE"]
UNIT = sys.argv[sys.argv.index("--unit") + 1]


def read():
    with open(FILE, encoding="utf-8") as file:
        return json.load(file)


state = {"config": read()}


def take(config):
    greeting = config.get("GREETING")
    if greeting == "deadly":
        os._exit(3)
    taken = greeting not in ("refused", f"refused-{UNIT}")
    if taken:
        state["config"] = config
    return taken


def watch():
    seen = os.stat(FILE).st_ino
    while True:
        time.sleep(0.01)
        now = os.stat(FILE).st_ino
        if now != seen:
            seen = now
            take(read())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        config = state["config"]
        if self.path == "/healthz":
            self.answer(503 if config.get("GREETING") == "sick" else 200, "")
        elif self.path == "/config":
            self.answer(200, f"{config['VICE_RELEASE']} {config.get('GREETING')} {config.get('TOKEN')} {os.getpid()}")
        else:
            self.answer(404, "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.path == "/reload" and take(json.loads(body))
        self.answer(204 if taken else 422, "")

    def log_message(self, *_):
        pass


signal.signal(signal.SIGHUP, lambda *_: take(read()))
if "--watch" in sys.argv:
    threading.Thread(target=watch, daemon=True).start()
port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
