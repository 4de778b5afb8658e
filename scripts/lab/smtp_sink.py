"""An SMTP server for tests: it keeps each message it accepts as one file and can refuse on request.

    smtp_sink.py DIR      writes DIR/port once it listens on 127.0.0.1, then DIR/000001.eml, DIR/000002.eml, ...

A file begins with X-Envelope-From and one X-Envelope-To for each recipient, then the message as it came. It appears
complete (written elsewhere, then renamed) and before the client reads the 250.

The recipient's address says what shall go wrong, so tests that run at the same time do not disturb each other
(TIMES counts tries of that address; 0 is for ever):

    refuse-CODE-TIMES-anything@...   RCPT TO is answered with CODE, for example refuse-451-2-x@sink.test
    reject-CODE-TIMES-anything@...   the whole message is answered with CODE after DATA, and not kept
    drop-TIMES-anything@...          the message is kept, but the connection breaks before the client reads the 250
"""

import asyncio
import collections
import os
import pathlib
import re
import signal
import sys

from aiosmtpd.smtp import SMTP

FAULT = re.compile(r"^(?:(refuse|reject)-([45]\d\d)|(drop))-(\d+)(?:-|@)")
MESSAGE_BYTES_MAX = 32 * 1024 * 1024


class Sink:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.count = 0
        self.tries: collections.Counter[str] = collections.Counter()

    def fault(self, address: str) -> tuple[str, str] | None:
        """The fault that this try of the address meets: its kind and code."""
        match = FAULT.match(address)
        if match is None:
            return None
        kind, code, drop, times = match.groups()
        return (kind or drop, code or "") if times == "0" or self.tries[address] < int(times) else None

    async def handle_RCPT(self, server, session, envelope, address, options):
        fault = self.fault(address)
        if fault is not None and fault[0] == "refuse":
            self.tries[address] += 1
            return f"{fault[1]} The address {address} asks to be refused."
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        faults = [(address, fault) for address in envelope.rcpt_tos if (fault := self.fault(address))]
        for address, _ in faults:
            self.tries[address] += 1
        for address, (kind, code) in faults:
            if kind == "reject":
                return f"{code} The message to {address} asks to be rejected."
        self.keep(envelope)
        if any(kind == "drop" for _, (kind, _) in faults):
            server.transport.abort()
        return "250 Message kept"

    def keep(self, envelope) -> None:
        self.count += 1
        head = [f"X-Envelope-From: {envelope.mail_from}", *(f"X-Envelope-To: {to}" for to in envelope.rcpt_tos)]
        hidden = self.folder / f".{self.count:06}"
        hidden.write_bytes("".join(f"{line}\r\n" for line in head).encode() + envelope.original_content)
        hidden.rename(self.folder / f"{self.count:06}.eml")


async def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sink, loop, stop = Sink(folder), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def session() -> SMTP:
        # The host name is fixed because looking it up can hang for seconds on a machine without DNS.
        return SMTP(sink, hostname="sink.test", data_size_limit=MESSAGE_BYTES_MAX, enable_SMTPUTF8=True, loop=loop)

    server = await loop.create_server(session, "127.0.0.1", 0)
    hidden = folder / ".port"
    hidden.write_text(f"{server.sockets[0].getsockname()[1]}\n")
    os.rename(hidden, folder / "port")
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
