"""Every message about a wrong configuration, word for word. FILE stands for the file's path."""

from __future__ import annotations

import pathlib

import pytest

from occo_celery import errors, settings

PARTS = """
logging: {version: 1}
components: {uds: !UDS {}, resourcehandler: !ResourceHandler {}, configmanager: !ConfigManager {}}
"""

CONFIGURATIONS = [
    ("just text", "FILE: a configuration is a mapping"),
    ("", "FILE: a configuration is a mapping"),
    ("a: [1", "FILE:1:6: expected ',' or ']', but got '<stream end>'"),
    ("\t", "FILE:1:1: found character '\\t' that cannot start any token"),
    ("a: &x 1\nb: *x", "FILE:2:4: aliases are not used in configuration files"),
    (
        "logging: {}\ncomponents: {uds: !UDS {}}",
        "FILE: missing: components.resourcehandler, components.configmanager; "
        "configs/production.yaml shows a whole configuration",
    ),
    (
        "{}",
        "FILE: missing: logging, components, components.resourcehandler, components.configmanager, components.uds; "
        "configs/production.yaml shows a whole configuration",
    ),
    (f"{PARTS}enacter: {{}}", "FILE: unknown key enacter; did you mean enactor?"),
    (
        f"{PARTS}zzz: {{}}",
        "FILE: unknown key zzz; there are: logging, components, celery, enactor, instructions, contextualisation, "
        "budgets, encryption, home",
    ),
    (f"{PARTS}enactor: {{intervall: 1}}", "FILE: unknown key enactor.intervall; did you mean interval?"),
    (f"{PARTS}enactor: 5", "FILE: enactor is a mapping"),
    (f"{PARTS}enactor: {{interval: soon}}", "FILE: enactor.interval is 'soon'; a number is wanted"),
    (
        f"{PARTS}contextualisation: {{cmd: on please}}",
        "FILE: contextualisation.cmd is 'on please'; true or false is wanted",
    ),
    (f"{PARTS}contextualisation: {{cmd: 1}}", "FILE: contextualisation.cmd is 1; true or false is wanted"),
    (f"{PARTS}contextualisation: {{cdm: true}}", "FILE: unknown key contextualisation.cdm; did you mean cmd?"),
    (f"{PARTS}enactor: {{interval: 0}}", "FILE: enactor.interval is 0; it must be more than 0"),
    (
        f"{PARTS}enactor: {{strategy: random}}",
        "FILE: enactor.strategy is 'random'; it can be sequential or parallel",
    ),
    (
        f"{PARTS}instructions: {{call_timeout: 60}}",
        "FILE: instructions.call_timeout is 60 s, it must be at most a third of instructions.lease (90 s)",
    ),
    (
        f"{PARTS}celery: {{task_serializer: pickle}}",
        "FILE: celery.task_serializer cannot be changed: messages are JSON",
    ),
    (
        "logging: {version: 1}\ncomponents: {uds: !UDS {urll: x}, resourcehandler: !ResourceHandler {}, "
        "configmanager: !ConfigManager {}}",
        "FILE: unknown key components.uds.urll; did you mean url?",
    ),
    (
        "logging: {version: 1}\ncomponents: {uds: !UDS {}, resourcehandler: !ResourceHandler {process: 5}, "
        "configmanager: !ConfigManager {}}",
        "FILE: components.resourcehandler.process is not a mapping; one of its options is wanted",
    ),
    ("x: !UDS text", "FILE:1:4: !UDS takes a mapping of options"),
    ("x: !Uds {}", "FILE:1:4: unknown tag !Uds; did you mean !UDS?"),
    (
        "x: !!python/object:os.system {}",
        "FILE:1:4: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'",
    ),
    (
        "password: !hunter2",
        "FILE:1:11: unknown tag (put a text in quotes); there are: !ConfigManager, !ResourceHandler, !UDS, !env",
    ),
    (
        "x: !env NOT_THERE",
        "FILE:1:4: the environment variable NOT_THERE is not set, and `!env` names no default",
    ),
    (
        "logging: {}\ncomponents: {uds: {}, resourcehandler: !ResourceHandler {}, configmanager: !ConfigManager {}}",
        "FILE: components.uds is written as !UDS {...}",
    ),
]


@pytest.mark.parametrize(("text", "message"), CONFIGURATIONS, ids=lambda value: value.strip()[-40:] or "empty")
def test_configuration(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(path, environ={"HOME": str(tmp_path), "OCCO_HOME": "/tmp/o"})
    assert str(raised.value).replace(str(path), "FILE") == message


def test_missing_items_have_a_class_of_their_own(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("{}")
    with pytest.raises(errors.MissingConfigurationError):
        settings.load(path, environ={"HOME": str(tmp_path)})


CREDENTIALS = [
    ("[]", ""),
    ("[1]", "FILE: a mapping of resource, config_management and secrets is wanted"),
    ("resources: []", "FILE: unknown key resources; did you mean resource?"),
    ("resource: [{type: ec2}]", "FILE: entry 1 of resource has no mapping `auth_data`"),
    (
        "config_management: [{auth_data: {}}, {auth_data: x}]",
        "FILE: entry 2 of config_management has no mapping `auth_data`",
    ),
    ("secrets: {a: !env NOT_THERE}", None),
]


@pytest.mark.parametrize(("text", "message"), CREDENTIALS)
def test_credentials(tmp_path: pathlib.Path, text: str, message: str | None) -> None:
    path = tmp_path / "auth.yaml"
    path.write_text(text)
    environ = {"HOME": str(tmp_path), "OCCO_HOME": "/tmp/o"}
    if message == "":
        assert settings.load(None, path, environ=environ).auth.resource == ()
        return
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(None, path, environ=environ)
    expected = message or ("FILE:1:14: the environment variable NOT_THERE is not set, and `!env` names no default")
    assert str(raised.value).replace(str(path), "FILE") == expected


NAMED = [
    ({"cfg_path": "/not/there"}, {}, "the configuration file: there is no file /not/there"),
    ({}, {"OCCOPUS_CONFIG_PATH": "/not/there"}, "OCCOPUS_CONFIG_PATH: there is no file /not/there"),
    ({"auth_data_path": "/not/there"}, {}, "the file of credentials: there is no file /not/there"),
]


@pytest.mark.parametrize(("named", "environ", "message"), NAMED)
def test_a_named_file_must_be_there(
    tmp_path: pathlib.Path, named: dict[str, str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(**named, environ={"HOME": str(tmp_path), "OCCO_HOME": "/tmp/o", **environ})
    assert str(raised.value) == message


def test_a_socket_path_that_is_too_long(tmp_path: pathlib.Path) -> None:
    home = "/tmp/" + "x" * 100
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(environ={"HOME": str(tmp_path), "OCCO_HOME": home})
    assert str(raised.value) == (
        f"embedded default: the broker's socket {home}/valkey.sock has a path longer than 100 characters, which the "
        "system does not take; set OCCO_HOME (or home) to a shorter folder"
    )


def test_a_file_that_is_too_long(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("#" * (settings.LONGEST + 1))
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(path, environ={"HOME": str(tmp_path)})
    assert str(raised.value) == f"{path}: longer than 1048576 bytes; is this a configuration?"
