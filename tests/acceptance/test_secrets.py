"""Secrets in every place where they may stand, through a whole life; then all that is kept or shown is searched."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest
import redis
import sqlalchemy as sa
import yaml

from occo_celery.uds import events
from tests import databases
from tests.acceptance import flower
from tests.acceptance.installation import EXAMPLES, OCCO, Installation
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
        "mysql_user",
        "mysql_name",
        "url_login",
        "url_reference",
        "container",
        "container_command",
        "origin",
        "key_name",
    )
}
REGISTRY, CLOUD = "hunter2-registry-8fJq2vXw", "hunter2-cloud-8fJq2vXw"
#: Written out in the file of definitions, and the key that it is encrypted with.
WRITTEN_OUT = "hunter2-written-out-8fJq2vXw"
KEY = base64.urlsafe_b64encode(b"hunter2-key-8fJq2vXw".ljust(32, b"!")).decode()
EVERY = (*SECRETS.values(), REGISTRY, CLOUD, WRITTEN_OUT, KEY)
#: Put on purpose where each search has to find it.
PLANTED = "hunter2-planted-8fJq2vXw"

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
    "secrets": {
        **{name: value for name, value in SECRETS.items() if name != "template"},
        "url_reference": f"http://127.0.0.1:9/{SECRETS['url_reference']}",
    },
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
                "urls": ["http://ann:{{ secret('url_login') }}@{{ ip }}:9/?x={{ secret('url_login') }}"],
            },
        }
    ],
    "node_def:reference": [
        {
            "resource": {**PROCESS, "environment": {"URL_TOKEN": "x"}},
            "health_check": {"ping": False, "urls": [{"secret": "url_reference"}]},
        }
    ],
    "node_def:database": [
        {
            "resource": {**PROCESS, "environment": {"URL_TOKEN": "x"}},
            "health_check": {
                "ping": False,
                "mysqldbs": [
                    {
                        "name": {"secret": "mysql_name"},
                        "user": {"secret": "mysql_user"},
                        "pass": {"secret": "mysql"},
                        "port": 9,
                    }
                ],
            },
        }
    ],
    "node_def:written_out": [
        {
            "resource": {**PROCESS, "environment": {"URL_TOKEN": "x"}},
            "health_check": {
                "ping": False,
                "mysqldbs": [{"name": "wiki", "user": "ann", "pass": WRITTEN_OUT, "port": 9}],
            },
        }
    ],
    "node_def:container": [
        {
            "resource": {
                "type": "docker",
                "endpoint": "tcp://127.0.0.1:9",
                "image": "wiki",
                "origin": "http://127.0.0.1:9/{{ secret('origin') }}",
            },
            "contextualisation": {
                "type": "docker",
                "env": {"PASSWORD": {"secret": "container"}},
                "command": ["run", {"secret": "container_command"}],
            },
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
                "key_name": {"secret": "key_name"},
            },
            "contextualisation": {
                "type": "cloudinit",
                "context_template": "#cloud-config\npassword: {{ secret('user_data') }}\n",
            },
        }
    ],
}
#: What is ill, and what its reason says when it is as ill as it will be.
ILL = {
    "broken_template": "no details",
    "wrong_command": "no such file",
    "sick": "url http://",
    "reference": "url {secret: url_reference}, refused",
    "database": "mysql {secret: mysql_name}, refused",
    "written_out": "mysql wiki, refused",
    "container": "Connection refused",
    "machine": "Could not connect",
}
#: Pages of Flower, and what each shows if it shows anything.
FLOWER = {
    "/api/tasks": "enactor-pass",
    "/api/workers?refresh=1": "passes-",
    "/api/queues/length": "passes",
    "/tasks": "<table",
    "/workers": "passes-",
}


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


def found_in(what: bytes | str, secrets: Sequence[str] = EVERY) -> list[str]:
    text = what.encode() if isinstance(what, str) else what
    return [secret for secret in secrets if any(form in text for form in forms(secret))]


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

    def listen(self) -> None:
        """To the broker, from now on."""
        self._client = redis.Redis(unix_socket_path=str(self._installation.broker.socket))
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(redis.exceptions.RedisError, OSError, ValueError):
            for command in self._monitor.listen():
                self.kept.append(("a command to the broker", str(command)))

    def occo(self, *arguments: str, code: int = 0) -> str:
        """Standard output; what is searched is standard error, too."""
        environment = self._installation.environment
        done = subprocess.run(
            [*OCCO, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.kept.append((f"occo {' '.join(arguments)}", done.stdout + done.stderr))
        return done.stdout

    def both(self, *arguments: str) -> None:
        """For people and for programs."""
        assert self.occo(*arguments)
        assert json.loads(self.occo("--json", *arguments)) is not None

    def database(self) -> None:
        with self._installation.system.store.read() as connection:
            for table in sa.inspect(connection).get_table_names():
                rows = connection.execute(sa.text(f'SELECT * FROM "{table}"')).all()
                self.kept.append((f"table {table}", str(rows)))

    def broker(self) -> None:
        """By type: what DUMP gives is packed."""
        for key in self._client.keys("*"):
            kind = self._client.type(key).decode()
            reads: dict[str, Callable[[bytes], Any]] = {
                "string": self._client.get,
                "list": lambda key: self._client.lrange(key, 0, -1),
                "hash": self._client.hgetall,
                "set": self._client.smembers,
                "zset": lambda key: self._client.zrange(key, 0, -1),
                "stream": self._client.xrange,
                "none": lambda key: None,  # gone since
            }
            self.kept.append((f"key {key!r}", str(reads[kind](key))))

    def arguments(self) -> None:
        """Of all programs that there are on this machine."""
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                self.kept.append((f"arguments of {one.pid}", str(one.cmdline())))

    def files(self) -> None:
        """Everything below the home but what instances have been given for themselves."""
        for path in self._installation.home.rglob("*"):
            if path.is_file() and "processes" not in path.parts:
                self.kept.append((str(path), path.read_bytes()))

    def close(self) -> None:
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def plant(self, infra_id: str) -> None:
        """A leak of every kind, long and many times the same, as what is packed would be."""
        told = json.dumps([{"password": PLANTED, "more": "x" * 100}] * 50)
        self._client.rpush("planted", told)
        with self._installation.system.store.write() as connection:
            events.add(connection, infra_id, "planted", now=0.0, told=told)
        (self._installation.home / "planted.log").write_text(told)

    def leaks(self, secrets: Sequence[str] = EVERY) -> dict[str, list[str]]:
        return {where: found for where, what in self.kept if (found := found_in(what, secrets))}


def prepare(installation: Installation, folder: pathlib.Path) -> pathlib.Path:
    """Configure it as production would be, and write its secrets down; returns the file of definitions."""
    auth, definitions = folder / "auth_data.yaml", folder / "definitions.yaml"
    auth.write_text(json.dumps(AUTH))
    definitions.write_text(json.dumps(DEFINITIONS))
    production = yaml.safe_load(re.sub(r"![A-Za-z]+", "", (EXAMPLES.parent / "configs/production.yaml").read_text()))
    _, rest = installation.config.read_text().split("logging: {version: 1, disable_existing_loggers: false}\n")
    head = yaml.safe_dump({"home": str(installation.home), "logging": production["logging"]})
    installation.config.write_text(head + rest)
    installation.environment |= {
        "OCCOPUS_AUTH_DATA_PATH": str(auth),
        "OCCO_SECRET_TEMPLATE": SECRETS["template"],
    }
    return definitions


def reasons(installation: Installation, infra_id: str) -> dict[str, str]:
    """By node."""
    report = installation.manager.report(infra_id)
    return {
        name.replace("-", "_"): one["reason"] for name, node in report.items() for one in node["instances"].values()
    }


def look_around(watch: Watch, *infra_ids: str) -> None:
    """Everything that shows something, for people and for programs."""
    for infra_id in infra_ids:
        for command in ("report", "events", "plan"):
            watch.both(command, infra_id)
    for one in (["list"], ["accounts"], ["config", "check"]):
        watch.both(*one)
    watch.occo("schema", "definitions")
    watch.occo("doctor", "--json", code=1)  # two accounts do not answer


@databases.on("postgresql")
@pytest.mark.timeout(600)
def test_no_secret_is_kept_or_shown(make_installation: Callable[..., Installation], tmp_path: pathlib.Path) -> None:
    installation = make_installation()
    definitions = prepare(installation, tmp_path)
    watch = Watch(installation)
    watch.occo("import", str(definitions), code=1)  # there is no key yet
    installation.environment["OCCO_ENCRYPTION_KEY"] = KEY
    installation.start_all()
    watch.listen()
    with flower.running(installation) as shown:
        watch.occo("import", str(definitions))
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
            told = reasons(installation, ill)
            return told.keys() == ILL.keys() and all(word in told[name] for name, word in ILL.items())

        wait_until(all_ill, 60, "trouble of every kind")
        look_around(watch, infra_id, ill)
        watch.occo("logs", installation.nodes(infra_id)[0].environ()["OCCO_NODE_ID"])
        watch.occo("retry", ill)
        pages = {path: shown.get(path) or "" for path in FLOWER}
        assert [path for path, known in FLOWER.items() if known not in pages[path]] == []
        watch.kept += [(f"Flower {path}", page) for path, page in pages.items()]
        watch.plant(infra_id)
        watch.database()
        watch.broker()
        watch.arguments()
        watch.occo("events", infra_id)
        watch.occo("destroy", infra_id, "--detach", "--timeout", "60")
        watch.occo("destroy", ill, "--detach", "--timeout", "60")
        watch.database()
    for name in ("beat", "passes", "instructions"):
        installation.stop(name)
    watch.files()
    watch.close()
    log = installation.log("passes")
    assert "HTTP Request: GET http://" in log, "the log is as talkative as that of production"
    planted = " ".join(watch.leaks([PLANTED]))
    for place in ("table events", "key b'planted'", "a command to the broker", "planted.log", "occo events"):
        assert place in planted, f"the search does not see {place}"
    places = " ".join(where for where, _ in watch.kept)
    for place in ("table nodes", "key b", "passes.log", "instructions.log", "beat.log", "arguments of"):
        assert place in places
    assert watch.leaks() == {}
    assert os.environ.get("OCCO_SECRET_TEMPLATE") is None
