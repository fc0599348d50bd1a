"""What supervisor is told, read back by supervisor itself."""

from __future__ import annotations

import pathlib
import shlex

import pytest
from supervisor.options import ServerOptions

from occo_celery import embedded, errors, settings


def made(home: pathlib.Path, broker_url: str = "") -> settings.Settings:
    url = broker_url or f"redis+socket://{home / 'valkey.sock'}"
    return settings.Settings(source="a test", home=home, uds_url="sqlite://", broker_url=url)


def read_back(config: settings.Settings, command: list[str]) -> ServerOptions:
    (config.home / "log").mkdir(parents=True, exist_ok=True)
    path = config.home / "supervisord.conf"
    path.write_text(embedded.supervisor_config(config, command))
    options = ServerOptions()
    options.realize(["-n", "-c", str(path)])
    return options


def test_priorities_and_commands(short_path: pathlib.Path) -> None:
    options = read_back(made(short_path / "my own"), ["/usr/bin/python 3", "-m", "occo"])
    groups = sorted(options.process_group_configs, key=lambda group: group.priority)
    assert [(group.name, group.priority) for group in groups] == [("broker", 10), ("workers", 20), ("beat", 30)]
    programs = {one.name: one for group in groups for one in group.process_configs}
    assert shlex.split(programs["passes"].command) == ["/usr/bin/python 3", "-m", "occo", "worker", "passes"]
    assert shlex.split(programs["beat"].command) == ["/usr/bin/python 3", "-m", "occo", "beat"]
    broker = shlex.split(programs["broker"].command)
    assert broker[broker.index("--dir") + 1] == str(short_path / "my own")
    assert broker[broker.index("--save") + 1] == ""
    for one in programs.values():
        assert (one.stopwaitsecs, one.stopasgroup, one.killasgroup) == (60, False, True)


def test_without_a_broker_of_its_own(short_path: pathlib.Path) -> None:
    text = embedded.supervisor_config(made(short_path, "rediss://u:hunter2@h/0"), ["occo"])
    assert "[program:broker]" not in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", ["a%b", "a ;b", "a\nb", "a #b"])
def test_a_path_that_supervisor_would_misread(short_path: pathlib.Path, name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="supervisor cannot be told of"):
        embedded.supervisor_config(made(short_path / name), ["occo"])


def test_what_the_programs_are_told(short_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OCCOPUS_CONFIG_PATH", raising=False)
    told = embedded.environment(made(short_path))
    assert told["OCCO_HOME"] == str(short_path)
    assert "OCCOPUS_CONFIG_PATH" not in told
