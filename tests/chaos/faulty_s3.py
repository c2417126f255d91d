# SPDX-License-Identifier: Apache-2.0
"""An object store that breaks on purpose: moto's server behind a proxy that loses, delays and refuses requests."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from tests.processes import wait_until

KEY, SECRET = "AKIDGAZERAYTEST", "sEcReT-must-stay-hidden"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "date", "server"}
NOT_FORWARDED = {"connection", "expect", "transfer-encoding", "content-length"}
FAULTS: tuple[str, ...] = ("500", "503", "slow", "lost answer")
SLOW_S = 1.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    store: FaultyS3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about: nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Quiet."""

    def body(self) -> bytes:
        """What was sent, whole or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(parts)

    def handle_any(self) -> None:
        store = self.server.store
        body = self.body()
        if store.is_dead:
            store.seen["dead"] += 1
            self.close_connection = True
            return
        if self.command in ("PUT", "POST", "DELETE") and store.denies(self.path):
            self.answer(403, "AccessDenied")
            return
        fault = store.draw_fault(self.path)
        store.seen[fault] += 1
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault in ("500", "503"):
            self.answer(int(fault), "InternalError" if fault == "500" else "SlowDown")
            return
        status, headers, data = store.forward(self.command, self.path, body, dict(self.headers))
        if fault == "lost answer":
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def answer(self, status: int, code: str) -> None:
        """An error as S3 sends it."""
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>'
        data = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class FaultyS3:
    """The store. `port` is the proxy's; a `share` of its answers are `faults` in turns, never where it says `spared`.

    `denied` holds the beginnings of paths, /bucket/prefix, below which nothing may be written.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket, self.share, self.seen, self.is_dead = bucket, 0.0, Counter[str](), False
        self.faults, self.spared = FAULTS, ""
        self.denied: list[str] = []
        self._random, self._lock, self._drawn = random.Random(7), threading.Lock(), 0
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self._host, self._moto_port = self._moto.get_host_and_port()
        self.port = 0
        self._listen()
        self.direct = boto3.client(
            "s3",
            endpoint_url=f"http://{self._host}:{self._moto_port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        self.direct.create_bucket(Bucket=bucket)

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.store = self
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _deaf(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def uri(self, path: str, secrets: bool = False) -> str:
        """s3://bucket/path, on request with credentials and endpoint in it."""
        if not secrets:
            return f"s3://{self.bucket}/{path}"
        return f"s3://{KEY}:{SECRET}@{self.bucket}/{path}?endpoint_override={self.endpoint}"

    def environment(self) -> dict[str, str]:
        """What a process needs to find the store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def draw_fault(self, path: str) -> str:
        """What goes wrong with this request, or "none"."""
        with self._lock:
            spared = bool(self.spared) and path.endswith(self.spared)
            if spared or self._random.random() >= self.share:
                return "none"
            self._drawn += 1
            return self.faults[self._drawn % len(self.faults)]

    def denies(self, path: str) -> bool:
        return any(path.startswith(prefix) for prefix in self.denied)

    def forward(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the real store."""
        connection = http.client.HTTPConnection(self._host, self._moto_port, timeout=60)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
            connection.request(method, path, body, kept)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def die(self) -> None:
        """Refuse every connection; what is under way gets no answer."""
        self.is_dead = True
        self._deaf()

    def revive(self, seconds: float) -> None:
        """Live again after so many seconds, and not before somebody has asked in vain."""
        time.sleep(seconds)
        before = self.seen["dead"]
        self._listen()
        try:
            wait_until(lambda: self.seen["dead"] > before, "a request to the dead store")
        finally:
            self.is_dead = False

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """What is really in the bucket: {key: content}, without folder markers."""
        found = {}
        for page in self.direct.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    found[item["Key"]] = self.direct.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
        return found

    def stop(self) -> None:
        self._deaf()
        self._moto.stop()


@contextmanager
def faulty_s3(bucket: str = "studies") -> Iterator[FaultyS3]:
    """A store for the time of the block."""
    store = FaultyS3(bucket)
    try:
        yield store
    finally:
        store.stop()
