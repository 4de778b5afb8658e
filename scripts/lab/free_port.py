"""Prints free TCP ports of 127.0.0.1: free_port.py [COUNT [FILE]]

The ports lie below Linux's ephemeral range, so that no outgoing connection takes one between the look and its use.
All of them are held until the last is found, so they differ from each other. FILE has those that were given out before,
whose servers may not listen yet: they are not given out again.
"""

import pathlib
import random
import socket
import sys

FIRST, LAST = 20000, 32000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    file = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    given = {int(word) for word in file.read_text().split()} if file and file.exists() else set()
    held: list[socket.socket] = []
    for port in random.sample(sorted(set(range(FIRST, LAST)) - given), LAST - FIRST - len(given)):
        if len(held) == count:
            break
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            candidate.close()
        else:
            held.append(candidate)
    if len(held) < count:
        sys.exit(f"only {len(held)} of {count} ports between {FIRST} and {LAST} are free")
    found = [s.getsockname()[1] for s in held]
    if file:
        with file.open("a") as out:
            out.writelines(f"{port}\n" for port in found)
    print(*found)


if __name__ == "__main__":
    main()
