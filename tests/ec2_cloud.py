"""An EC2 of this test run's own: moto's server, and before it what moto leaves out or would never do by itself.

A layer of WSGI adds ClientTokens (moto makes a second instance for one), refuses credentials that it does not know,
lets lists lag behind, counts calls and carries out the faults that a test asks for. The clients of it are real: boto3
over HTTP.

``server()`` starts it as a process of its own, once a test process. It ends with whoever started it: its standard
input is a pipe from there.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.etree import ElementTree
from xml.sax import saxutils

ACCESS_KEY, SECRET_KEY = "AKIAOCCOTESTS", "surely-a-secret-key"
REGION = "eu-west-1"
#: One of the images that moto comes with.
IMAGE = "ami-12c6146b"
_CONTROL = "/control"
#: What makes moto look at images, instance types and keys as EC2 does.
_CHECKS = ("MOTO_ENABLE_AMI_VALIDATION", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "MOTO_ENABLE_KEYPAIR_VALIDATION")


class Server:
    """The client side: where it is, and what tests may ask of it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{port}"

    def client(self, region: str = REGION) -> Any:
        """boto3's, past the handler."""
        import boto3

        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
        return boto3.client("ec2", endpoint_url=self.endpoint, region_name=region, **keys)

    def fault(self, action: str, **how: Any) -> None:
        """The next call of this action fails. How: see _Layer._fail."""
        self._control({"fault": [action, how]})

    def calls(self) -> list[str]:
        """The actions since this was asked last; faults that are left over are forgotten."""
        found: list[str] = self._control({})
        return found

    def lag(self, region: str) -> None:
        """From now on nothing that is made in this region is listed, or can be ended, before its lists catch_up."""
        self._control({"lag": region})

    def catch_up(self, region: str, *, for_good: bool = False) -> None:
        """What has been made is listed. for_good: what will be made, too."""
        self._control({"catch_up": region, "for_good": for_good})

    def _control(self, told: Mapping[str, Any]) -> Any:
        with urllib.request.urlopen(self.endpoint + _CONTROL, json.dumps(told).encode(), timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.terminate()
        self._process.wait(10)


@functools.cache
def server() -> Server:
    """The server of this process, started now if it was not."""
    environment = {**os.environ, **dict.fromkeys(_CHECKS, "true")}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(pathlib.Path(__file__))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    started = Server(process, int(process.stdout.readline()))  # an empty line: it did not start
    atexit.register(started.stop)
    _warm_up(started)
    return started


def _warm_up(started: Server) -> None:
    """moto reads its images and types with the first call, which takes longer than the handler would wait where much
    else runs. Where no test looks."""
    client = started.client("sa-east-1")
    made = client.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    client.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])
    client.close()
    started.calls()


# --- the server side ----------------------------------------------------------------------------------

_Answer = tuple[str, list[tuple[str, str]], bytes]


class _Layer:
    """What stands before moto. Calls are let through one by one: moto was not made for threads."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        self._inner, self._lock = inner, threading.Lock()
        self._tokens: dict[tuple[str, str], tuple[Mapping[str, str], _Answer]] = {}
        self._faults: dict[str, list[dict[str, Any]]] = {}
        self._calls: list[str] = []
        self._unlisted: dict[str, set[str]] = {}  # by region, of those whose lists lag

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"] == _CONTROL:
            status, headers, content = "200 OK", [], json.dumps(self._control(json.loads(body))).encode()
        else:
            status, headers, content = self._answer(environ, dict(urllib.parse.parse_qsl(body.decode())))
        start(status, headers)
        return [content]

    def _control(self, told: Mapping[str, Any]) -> list[str]:
        with self._lock:
            if "fault" in told:
                action, how = told["fault"]
                self._faults.setdefault(action, []).append(how)
                return []
            if "lag" in told:
                self._unlisted.setdefault(told["lag"], set())
                return []
            if "catch_up" in told:
                left = self._unlisted.pop(told["catch_up"], None)
                if left is not None and not told["for_good"]:
                    self._unlisted[told["catch_up"]] = set()
                return []
            calls, self._calls = self._calls, []
            self._faults.clear()
            return calls

    def _answer(self, environ: dict[str, Any], asked: dict[str, str]) -> _Answer:
        credential = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].split("/")
        with self._lock:
            action = asked.get("Action", "")
            self._calls.append(action)
            fault = (self._faults.get(action) or [{}]).pop(0) if self._faults.get(action) else {}
            if credential[0] != ACCESS_KEY:
                return _error(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
            if "code" in fault and not fault.get("after"):
                return _error(fault["status"], fault["code"], fault["message"], fault.get("headers"))
            unlisted = self._unlisted.get(credential[2])
            if unlisted and action == "TerminateInstances" and not unlisted.isdisjoint(asked.values()):
                return _error(400, "InvalidInstanceID.NotFound", "The instance ID does not exist")
            if asked.get("ClientToken"):
                answer = self._once((credential[2], asked["ClientToken"]), environ, asked)
            else:
                answer = self._carry_out(environ)
            if unlisted and action == "DescribeInstances":
                answer = _without(answer, unlisted)
        return self._fail(fault, answer, environ)

    def _fail(self, fault: Mapping[str, Any], answer: _Answer, environ: Mapping[str, Any]) -> _Answer:
        """code, status, message, headers: such an answer, and nothing is done (but with after=True it is).
        hang_up: done, but the connection is closed without an answer. late: done, answered after so many seconds.
        garbage: done, answered with something that is not XML."""
        if "code" in fault:
            return _error(fault["status"], fault["code"], fault["message"], fault.get("headers"))
        if fault.get("hang_up"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        time.sleep(fault.get("late", 0))
        return ("200 OK", [], fault["garbage"].encode()) if "garbage" in fault else answer

    def _once(self, key: tuple[str, str], environ: dict[str, Any], asked: Mapping[str, str]) -> _Answer:
        """A token leads to one instance a region, for the same parameters only; what failed does not use it up."""
        known = self._tokens.get(key)
        if known is None:
            answer = self._carry_out(environ)
            if answer[0].startswith("200"):
                self._tokens[key] = (asked, answer)
                if key[0] in self._unlisted:
                    self._unlisted[key[0]].add(_made(answer[2]))
            return answer
        if known[0] != asked:
            return _error(400, "IdempotentParameterMismatch", "The token was used with other parameters")
        if _is_terminated(key[0], known[1][2]):
            return _error(400, "IdempotentInstanceTerminated", "The instance of this token has been terminated")
        return known[1]

    def _carry_out(self, environ: dict[str, Any]) -> _Answer:
        answered: list[Any] = []
        content = b"".join(
            self._inner(environ, lambda status, headers, info=None: answered.extend((status, headers)))
        )
        return answered[0], answered[1], content


def _is_terminated(region: str, answer: bytes) -> bool:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends

    state: str = ec2_backends[DEFAULT_ACCOUNT_ID][region].get_instance(_made(answer))._state.name
    return state == "terminated"


def _made(answer: bytes) -> str:
    """The id of the instance that an answer tells of."""
    return answer.partition(b"<instanceId>")[2].partition(b"</instanceId>")[0].decode()


def _without(answer: _Answer, unlisted: set[str]) -> _Answer:
    """A page of a list without these instances. A reservation has one instance."""
    page = ElementTree.fromstring(answer[2])
    for reservations in page.findall("{*}reservationSet"):
        for one in list(reservations):
            if one.findtext(".//{*}instanceId") in unlisted:
                reservations.remove(one)
    content = ElementTree.tostring(page)
    headers = [each for each in answer[1] if each[0].lower() != "content-length"]
    return answer[0], [*headers, ("Content-Length", str(len(content)))], content


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> _Answer:
    told = f"<Code>{code}</Code><Message>{saxutils.escape(message)}</Message>"
    content = f"<Response><Errors><Error>{told}</Error></Errors><RequestID>test</RequestID></Response>"
    return f"{status} Error", [("Content-Type", "text/xml"), *(headers or {}).items()], content.encode()


def _serve() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    layer = _Layer(DomainDispatcherApplication(create_backend_app))
    made = make_server("127.0.0.1", 0, layer, threaded=True)
    print(made.port, flush=True)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()  # ends with whoever started it
    os._exit(0)


if __name__ == "__main__":
    _serve()
