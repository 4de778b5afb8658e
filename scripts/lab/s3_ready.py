"""Waits until the lab's S3 server stores objects, then makes sure that it is strict enough to test against.

    s3_ready.py SECONDS      reads VICE_LAB_S3_* from the environment; creates the bucket; exit 1 says what is wrong

An open port means little: the server answers long before it can store. And a server that takes any signature, or
overwrites in spite of If-None-Match, would let a client pass that signs wrongly or locks nothing.
The signing is written out here (AWS Signature Version 4, single chunk) so that it shares nothing with vice's client.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import sys
import time
import urllib.parse

HOST = urllib.parse.urlsplit(os.environ["VICE_LAB_S3_ENDPOINT"]).netloc
REGION = os.environ["VICE_LAB_S3_REGION"]
KEY, SECRET = os.environ["VICE_LAB_S3_ACCESS_KEY"], os.environ["VICE_LAB_S3_SECRET_KEY"]
BUCKET = os.environ["VICE_LAB_S3_BUCKET"]


def signed(method: str, path: str, body: bytes, secret: str) -> dict[str, str]:
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": HOST, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        [method, path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest]
    )
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers


def status(method: str, path: str, body: bytes = b"", secret: str | None = SECRET, **extra: str) -> int:
    """The status of one request, 0 where there is no answer. Without a secret it is anonymous."""
    headers = signed(method, path, body, secret) if secret else {}
    connection = http.client.HTTPConnection(HOST, timeout=5)
    try:
        connection.request(method, path, body, headers | {k.replace("_", "-"): v for k, v in extra.items()})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main() -> None:
    ready, began = f"/{BUCKET}/lab-ready", time.monotonic()
    while not (status("PUT", f"/{BUCKET}") in (200, 409) and status("PUT", ready, b"ready") == 200):
        if time.monotonic() - began > float(sys.argv[1]):
            sys.exit("it does not store objects")
        time.sleep(0.1)
    strict = {
        "a wrong signature is refused": status("GET", ready, secret="wrong") == 403,
        "an anonymous request is refused": status("GET", ready, secret=None) == 403,
        "If-None-Match does not overwrite": status("PUT", ready, b"again", If_None_Match="*") == 412,
        "objects can be deleted": status("DELETE", ready) == 204,
    }
    if wrong := [claim for claim, holds in strict.items() if not holds]:
        sys.exit(f"it is not strict enough to test against; this does not hold: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
