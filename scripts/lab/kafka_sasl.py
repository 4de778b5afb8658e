"""Stands before a broker of Kafka and lets in who logs in with SASL: PLAIN, or SCRAM as RFC 5802 and RFC 7677 have it.

    kafka_sasl.py PORT BROKER_PORT USER PASSWORD [liar]

A connection asks for the versions, logs in, and is then passed on as it is. Before a login nothing else is answered. A liar
lets everybody in and does not know the password itself, as somebody would who stands in the broker's place. What it computes
comes from Python's own library and is held to the example of RFC 7677 at the start.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import struct
import sys

HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
ROUNDS = 8192
HANDSHAKE, VERSIONS, AUTHENTICATE = 17, 18, 36
UNSUPPORTED, REFUSED = 33, 58


def keys(name, password, salt, rounds):
    """What a server keeps of a password: StoredKey and ServerKey."""
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, rounds)
    client = hmac.digest(salted, b"Client Key", name)
    return hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name)


def proven(name, stored, message, proof):
    """Whether a proof shows the password: its ClientKey hashes to the StoredKey."""
    signature = hmac.digest(stored, message, name)
    client = bytes(one ^ two for one, two in zip(proof, signature))
    return len(proof) == len(signature) and hmac.compare_digest(hashlib.new(name, client).digest(), stored)


def check():
    """The example of RFC 7677, section 3."""
    bare = "n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"{bare},r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    stored, server = keys("sha256", "pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    assert proven("sha256", stored, message, base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
    signed = base64.b64encode(hmac.digest(server, message, "sha256"))
    assert signed == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


class Login:
    """The server's side of one login."""

    def __init__(self, mechanism, user, password, liar):
        self.mechanism, self.user, self.password, self.liar = mechanism, user, password, liar
        self.challenge = None
        self.done = False

    def answer(self, message):
        """What is answered, or None for who is not let in."""
        if self.mechanism == "PLAIN":
            self.done = message.split(b"\0")[-2:] == [self.user.encode(), self.password.encode()]
            return b"" if self.done else None
        return self.begin(message.decode()) if self.challenge is None else self.end(message.decode())

    def begin(self, message):
        header, _, self.bare = message.partition(",,")
        parts = dict(part.split("=", 1) for part in self.bare.split(","))
        user = parts["n"].replace("=2C", ",").replace("=3D", "=")
        if header not in ("n", "y") or user != self.user:
            return None
        self.header = base64.b64encode(f"{header},,".encode()).decode()
        self.nonce = parts["r"] + base64.b64encode(os.urandom(18)).decode()
        self.salt = os.urandom(16)
        self.challenge = f"r={self.nonce},s={base64.b64encode(self.salt).decode()},i={ROUNDS}"
        return self.challenge.encode()

    def end(self, message):
        unproven, _, proof = message.rpartition(",p=")
        if unproven != f"c={self.header},r={self.nonce}":
            return None
        name = HASHES[self.mechanism]
        message = f"{self.bare},{self.challenge},{unproven}".encode()
        password = "something else" if self.liar else self.password
        stored, server = keys(name, password, self.salt, ROUNDS)
        if not self.liar and not proven(name, stored, message, base64.b64decode(proof)):
            return None
        self.done = True
        return b"v=" + base64.b64encode(hmac.digest(server, message, name))


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


async def frame(reader):
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def framed(data):
    return struct.pack(">i", len(data)) + data


async def serve(reader, writer, upstream, who):
    broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", upstream)
    login = None
    try:
        while login is None or not login.done:
            request = await frame(reader)
            key, version, number, length = struct.unpack(">hhih", request[:10])
            body = request[10 + max(length, 0) :]
            if key == VERSIONS:
                broker_writer.write(framed(request))
                answer = await frame(broker_reader)
            elif key == HANDSHAKE:
                name = body[2:].decode()
                known = name == "PLAIN" or name in HASHES
                login = Login(name, *who) if known else None
                names = ["PLAIN", *HASHES]
                answer = struct.pack(">ihi", number, 0 if known else UNSUPPORTED, len(names))
                answer += b"".join(text(name) for name in names)
            elif key == AUTHENTICATE and login and version <= 1:
                said = login.answer(body[4:])
                error, why = (0, struct.pack(">h", -1)) if said is not None else (REFUSED, text("Not let in."))
                said = said or b""
                answer = struct.pack(">ih", number, error) + why + struct.pack(">i", len(said)) + said
                answer += struct.pack(">q", 0) if version == 1 else b""
            else:
                return
            writer.write(framed(answer))
            await writer.drain()
        await asyncio.gather(copy(reader, broker_writer), copy(broker_reader, writer))
    except (asyncio.IncompleteReadError, ConnectionError, KeyError, ValueError):
        pass
    finally:
        writer.close()
        broker_writer.close()


async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main(port, upstream, user, password, liar=None):
    check()
    who = (user, password, liar == "liar")
    server = await asyncio.start_server(lambda r, w: serve(r, w, int(upstream), who), "127.0.0.1", int(port))
    async with server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
