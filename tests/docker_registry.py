"""A small image registry: the pull half of the OCI distribution protocol; `python -m tests.docker_registry`.

Run as a program of its own: a daemon in a network namespace pulls from the loopback of that namespace. It holds one
image, whatever its repository is called; the first part of the repository's name says how it is served:

- `slow`: the layer is sent only when the file RELEASE is there;
- `private`: for the user `ann` with the password `hunter2-registry` only;
- `busy`: too many requests;
- `broken`: an internal error;
- `missing`: no such image.

`/archive.tar` is the image as `docker save` writes it, called `loaded:1`. The port is printed when it is served.

Sources: OCI Distribution Specification 1.1, "Pull"; Docker Image Specification 1.2, "Combined image JSON".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import pathlib
import sys
import tarfile
import time
from typing import Any

from tests import docker_daemon

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LOGIN = "ann", "hunter2-registry"
REFUSALS = {
    "busy": (429, "TOOMANYREQUESTS", "You have reached your pull rate limit"),
    "broken": (500, "UNKNOWN", "the registry is broken"),
    "missing": (404, "MANIFEST_UNKNOWN", "manifest unknown"),
}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encoded(what: Any) -> bytes:
    return json.dumps(what).encode()


@functools.cache  # made when first asked for: this module is read where there is no busybox, too
def layer() -> bytes:
    return docker_daemon.layer(os.urandom(16))


@functools.cache
def config() -> bytes:
    return encoded(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": docker_daemon.SLEEPER, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer())]},
            "history": [{"created_by": "a test"}],
        }
    )


def described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "size": len(data), "digest": digest(data)}


def index() -> bytes:
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(config(), "application/vnd.docker.container.image.v1+json"),
            "layers": [described(layer(), "application/vnd.docker.image.rootfs.diff.tar")],
        }
    )


def archive() -> bytes:
    made = io.BytesIO()
    manifest = encoded([{"Config": "config.json", "RepoTags": ["loaded:1"], "Layers": ["layer.tar"]}])
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in (("manifest.json", manifest), ("config.json", config()), ("layer.tar", layer())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    release = pathlib.Path()

    def do_GET(self) -> None:
        if self.path == "/archive.tar":
            return self.answer(200, archive(), "application/x-tar")
        repository = self.path.removeprefix("/v2/").split("/")[0]
        if repository == "private" and self.headers.get("Authorization") != _basic(*LOGIN):
            told = encoded({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]})
            return self.answer(401, told, headers={"WWW-Authenticate": 'Basic realm="test"'})
        if self.path == "/v2/":
            # a registry that wants a login for something says so here, or nobody would offer one
            wanted = self.headers.get("Authorization") is None and self.server.private  # type: ignore[attr-defined]
            return self.answer(401 if wanted else 200, b"{}", headers={"WWW-Authenticate": 'Basic realm="test"'})
        if repository in REFUSALS:
            status, code, message = REFUSALS[repository]
            return self.answer(status, encoded({"errors": [{"code": code, "message": message}]}))
        if "/manifests/" in self.path:
            return self.answer(200, index(), MANIFEST, {"Docker-Content-Digest": digest(index())})
        for blob in (config(), layer()):
            if self.path.endswith(digest(blob)):
                while repository == "slow" and blob is layer() and not self.release.exists():
                    time.sleep(0.05)
                return self.answer(200, blob, "application/octet-stream")
        return self.answer(404, encoded({"errors": [{"code": "BLOB_UNKNOWN", "message": "no such blob"}]}))

    do_HEAD = do_GET

    def answer(
        self, status: int, body: bytes, media_type: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not on the terminal."""


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def main(release: str, private: str) -> None:
    Registry.release = pathlib.Path(release)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    index()  # one for all threads
    server.private = private == "private"  # type: ignore[attr-defined]
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
