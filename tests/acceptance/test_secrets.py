"""Secrets in every place where they may stand, through a whole life; then all that is kept or shown is searched."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import threading
import urllib.parse
from collections.abc import Callable, Iterator

import psutil
import pytest
import redis
import sqlalchemy as sa

from tests.acceptance import flower
from tests.acceptance.installation import Installation
from tests.contract.cases import wait_until

#: By where each stands. Long, so that no chance finds one.
SECRETS = {
    place: f"hunter2-{place}-8fJq2vXw"
    for place in (
        "reference",
        "template",
        "user_data",
        "attribute",
        "url",
        "broken_template",
        "wrong_command",
        "mysql",
        "url_login",
        "container",
    )
}
REGISTRY, CLOUD = "hunter2-registry-8fJq2vXw", "hunter2-cloud-8fJq2vXw"
EVERY = (*SECRETS.values(), REGISTRY, CLOUD)

PROGRAM = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path.endswith(os.environ["URL_TOKEN"]) else 403)
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
"""

AUTH = {
    "secrets": {name: value for name, value in SECRETS.items() if name != "template"},
    "resource": [
        {"type": "docker", "auth_data": {"username": "ann", "password": REGISTRY}},
        {"type": "ec2", "auth_data": {"accesskey": "AKIA", "secretkey": CLOUD}},
    ],
}

PROCESS = {"type": "process", "command": ["python3", "-c", PROGRAM]}
DEFINITIONS = {
    "node_def:vault": [
        {
            "resource": {
                **PROCESS,
                "environment": {
                    "REFERENCE": {"secret": "reference"},
                    "TEMPLATE": "{{ secret('template') }}",
                    "URL_TOKEN": {"secret": "url"},
                    "COLOUR": "{{ variables.colour }}",
                },
            },
            "contextualisation": {
                "type": "cloudinit",
                "context_template": "#cloud-config\npassword: {{ secret('user_data') }}\n",
                "attributes": {"key": {"secret": "attribute"}},
            },
            "health_check": {"ping": False, "urls": ["http://{{ ip }}:8000/?token={{ secret('url') }}"]},
        }
    ],
    "node_def:broken_template": [
        {"resource": {**PROCESS, "environment": {"X": "{{ secret('broken_template') + 1 }}"}}}
    ],
    "node_def:wrong_command": [
        {
            "resource": {
                "type": "process",
                "command": ["/surely/no/such/program"],
                "environment": {"X": {"secret": "wrong_command"}},
            }
        }
    ],
    "node_def:sick": [
        {
            "resource": {**PROCESS, "environment": {"URL_TOKEN": "x"}},
            "health_check": {
                "ping": False,
                "mysqldbs": [{"name": "shop", "user": "ann", "pass": {"secret": "mysql"}, "port": 8000}],
                "urls": ["http://ann:{{ secret('url_login') }}@{{ ip }}:9/?x={{ secret('url_login') }}"],
            },
        }
    ],
    "node_def:container": [
        {
            "resource": {"type": "docker", "endpoint": "tcp://127.0.0.1:9", "image": "web"},
            "contextualisation": {"type": "docker", "env": {"PASSWORD": {"secret": "container"}}},
        }
    ],
    "node_def:machine": [
        {
            "resource": {
                "type": "ec2",
                "endpoint": "http://127.0.0.1:9",
                "regionname": "eu-west-1",
                "image_id": "ami-1",
                "instance_type": "t3.micro",
            },
            "contextualisation": {
                "type": "cloudinit",
                "context_template": "#cloud-config\npassword: {{ secret('user_data') }}\n",
            },
        }
    ],
}
ILL = ("broken_template", "wrong_command", "sick", "container", "machine")


def sound(colour: str) -> dict[str, object]:
    nodes = [{"name": "vault", "type": "vault", "scaling": {"min": 2, "max": 3}, "variables": {"colour": colour}}]
    return {"infra_name": "sound", "nodes": nodes}


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it is, as URLs quote it, and as base64 shows it, whatever stands before and after it."""
    yield secret.encode()
    yield urllib.parse.quote(secret, safe="").encode()
    for before in range(3):
        coded = base64.b64encode(b"x" * before + secret.encode())
        # characters at both ends hold bits of what is beside it
        yield coded[4 if before else 0 : -4]


def found_in(what: bytes | str) -> list[str]:
    text = what.encode() if isinstance(what, str) else what
    return [secret for secret in EVERY if any(form in text for form in forms(secret))]


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx"])
def test_the_search_finds_what_is_there(before: str) -> None:
    secret = SECRETS["mysql"]
    message = f'{before}{{"password": "{secret}", "more": 1}}'
    assert found_in(message) == [secret]
    assert found_in(base64.b64encode(message.encode())) == [secret]
    assert found_in("hunter2-mysql") == []


class Watch:
    """Collects all that is kept or shown, by where it was."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.kept: list[tuple[str, bytes | str]] = []
        self._client = redis.Redis(unix_socket_path=str(installation.broker.socket))
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(redis.exceptions.RedisError, OSError, ValueError):
            for command in self._monitor.listen():
                self.kept.append(("a command to the broker", str(command)))

    def occo(self, *arguments: str, code: int = 0) -> str:
        told = self._installation.occo(*arguments, code=code)
        self.kept.append((f"occo {' '.join(arguments)}", told))
        return told

    def database(self) -> None:
        with self._installation.system.store.read() as connection:
            for table in sa.inspect(connection).get_table_names():
                rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
                self.kept.append((f"table {table}", str(rows)))

    def broker(self) -> None:
        for key in self._client.keys("*"):
            self.kept.append((f"key {key!r}", self._client.dump(key) or b""))

    def arguments(self) -> None:
        """Of all programs and of all that they have started."""
        for program in self._installation.processes.values():
            for one in (psutil.Process(program.pid), *psutil.Process(program.pid).children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.kept.append((f"arguments of {one.pid}", str(one.cmdline())))
        for one in self._installation.nodes():
            self.kept.append((f"arguments of {one.pid}", str(one.cmdline())))

    def files(self) -> None:
        """Everything below the home but what instances have been given for themselves."""
        for path in self._installation.home.rglob("*"):
            if path.is_file() and "processes" not in path.parts:
                self.kept.append((str(path), path.read_bytes()))

    def close(self) -> None:
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def leaks(self) -> dict[str, list[str]]:
        return {where: found for where, what in self.kept if (found := found_in(what))}


def test_no_secret_is_kept_or_shown(
    make_installation: Callable[..., Installation], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = make_installation()
    auth, definitions = tmp_path / "auth_data.yaml", tmp_path / "definitions.yaml"
    auth.write_text(json.dumps(AUTH))
    definitions.write_text(json.dumps(DEFINITIONS))
    installation.environment |= {
        "OCCOPUS_AUTH_DATA_PATH": str(auth),
        "OCCO_SECRET_TEMPLATE": SECRETS["template"],
    }
    installation.start_all()
    watch = Watch(installation)
    with flower.running(installation) as shown:
        watch.occo("import", str(definitions))
        description = tmp_path / "sound.yaml"
        description.write_text(json.dumps(sound("green")))
        infra_id = json.loads(watch.occo("--json", "build", str(description), "--parallel", "--timeout", "60"))[
            "infra_id"
        ]
        ill = installation.manager.add(
            {"infra_name": "ill", "nodes": [{"name": n.replace("_", "-"), "type": n} for n in ILL]}
        )
        installation.wait_ready(infra_id, 2)

        # they are where they should be, or nothing of this would mean anything
        environment = installation.nodes(infra_id)[0].environ()
        assert environment["REFERENCE"] == SECRETS["reference"]
        assert environment["TEMPLATE"] == SECRETS["template"]
        assert SECRETS["user_data"] in pathlib.Path(environment["OCCO_CONTEXT_FILE"]).read_text()

        installation.nodes(infra_id)[0].kill()
        installation.wait_ready(infra_id, 2)
        description.write_text(json.dumps(sound("blue")))
        watch.occo("plan", infra_id, "--file", str(description))
        watch.occo("update", infra_id, str(description))
        wait_until(
            lambda: {one.environ().get("COLOUR") for one in installation.nodes(infra_id)} == {"blue"},
            60,
            "the update",
        )

        def all_ill() -> bool:
            instances = [
                one for node in installation.manager.report(ill).values() for one in node["instances"].values()
            ]
            reasons = " ".join(one["reason"] for one in instances)
            words = ("no details", "surely", "waiting_for", "127.0.0.1:9", "127.0.0.1")
            return len(instances) == len(ILL) and all(word in reasons for word in words)

        wait_until(all_ill, 60, "trouble of every kind")
        for command in (["report", ill], ["events", ill], ["report", infra_id], ["events", infra_id], ["accounts"]):
            watch.occo(*command)
            watch.occo("--json", *command)
        watch.occo("schema", "definitions")
        watch.database()
        watch.broker()
        watch.arguments()
        for path in ("/api/tasks", "/api/workers?refresh=1", "/api/queues/length", "/tasks", "/workers"):
            watch.kept.append((f"Flower {path}", shown.get(path) or ""))
        watch.occo("destroy", infra_id, "--detach", "--timeout", "60")
        watch.occo("destroy", ill, "--detach", "--timeout", "60")
        watch.database()
    for name in ("beat", "passes", "instructions"):
        installation.stop(name)
    watch.files()
    watch.close()
    places = " ".join(where for where, _ in watch.kept)
    for place in ("table nodes", "a command to the broker", "passes.log", "instructions.log", "Flower /api/tasks"):
        assert place in places
    assert watch.leaks() == {}
    assert os.environ.get("OCCO_SECRET_TEMPLATE") is None
