"""Prints free TCP ports of 127.0.0.1: free_port.py [COUNT]

The ports lie below Linux's ephemeral range, so that no outgoing connection takes one between the look and its use.
All of them are held until the last is found, so they differ from each other.
"""

import random
import socket
import sys

FIRST, LAST = 20000, 32000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    held: list[socket.socket] = []
    for port in random.sample(range(FIRST, LAST), LAST - FIRST):
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
    print(*(s.getsockname()[1] for s in held))


if __name__ == "__main__":
    main()
