"""The configuration: where it is found, what is said of a wrong one, and that secrets are never shown."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from occo_celery import errors, settings

ROOT = pathlib.Path(__file__).parents[3]
WHOLE = """
logging: {version: 1}
components:
  uds: !UDS {url: "postgresql+psycopg://occo:hunter2@db/occo"}
  resourcehandler: !ResourceHandler {process: {root: /elsewhere}}
  configmanager: !ConfigManager {}
celery: {broker_url: "rediss://occo:hunter2@broker/0", task_time_limit: 100}
enactor: {interval: 5, strategy: parallel}
instructions: {batch: 3}
home: /srv/occo
"""


@pytest.fixture
def environ(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment with a home of its own, and a working directory without any configuration."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return {"HOME": str(tmp_path)}


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- what is read ----------------------------------------------------------------------------------------------


def test_embedded_yaml_spells_the_default_out(environ: dict[str, str]) -> None:
    environ["OCCO_HOME"] = "/tmp/occo"
    default = settings.load(environ=environ)
    spelt = settings.load(ROOT / "configs" / "embedded.yaml", environ=environ)
    assert spelt.logging is not None
    assert dataclasses.replace(spelt, source=default.source, logging=None) == default


def test_logging_silences_nobody_unless_it_says_so(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    """dictConfig switches off all loggers that are there already, unless it is told otherwise."""
    path = write(tmp_path / "config.yaml", WHOLE)
    assert settings.load(path, environ=environ).logging == {"version": 1, "disable_existing_loggers": False}
    write(path, WHOLE.replace("{version: 1}", "{version: 1, disable_existing_loggers: true}"))
    assert settings.load(path, environ=environ).logging == {"version": 1, "disable_existing_loggers": True}


def test_production_yaml_takes_passwords_from_the_environment(environ: dict[str, str]) -> None:
    path = ROOT / "configs" / "production.yaml"
    with pytest.raises(errors.ConfigurationError, match="the environment variable OCCO_UDS_URL is not set"):
        settings.load(path, environ=environ)
    environ |= {"OCCO_UDS_URL": "postgresql+psycopg://u:p@h/d", "OCCO_BROKER_URL": "rediss://u:p@h/0"}
    loaded = settings.load(path, environ=environ)
    assert (loaded.uds_url, loaded.broker_url) == ("postgresql+psycopg://u:p@h/d", "rediss://u:p@h/0")
    assert loaded.socket is None


def test_whole(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    loaded = settings.load(write(tmp_path / "c.yaml", WHOLE), environ=environ)
    assert loaded.home == pathlib.Path("/srv/occo")
    assert loaded.celery == {"task_time_limit": 100}
    assert loaded.enactor == settings.Enactor(interval=5.0, strategy="parallel")
    assert loaded.instructions == settings.Instructions(batch=3)
    assert loaded.resourcehandler["process"] == {"root": "/elsewhere"}
    assert loaded.resourcehandler["simulated"] == {"database": "/srv/occo/simulated.sqlite"}


def test_secrets_are_never_shown(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    auth = "resource: [{type: ec2, auth_data: {key: hunter2}}]\nsecrets: {db: hunter2}\n"
    loaded = settings.load(write(tmp_path / "c.yaml", WHOLE), write(tmp_path / "auth.yaml", auth), environ=environ)
    for shown in (repr(loaded), str(loaded), repr(loaded.auth), f"{[loaded]}"):
        assert "hunter2" not in shown


KEY = "A" * 42 + "A="
OTHER = "-_" * 21 + "8="


@pytest.mark.parametrize(
    ("configured", "environment", "keys"),
    [
        ("", None, ()),
        ("", KEY, (KEY,)),
        (f"encryption: {{key: '{OTHER} {KEY}'}}", KEY, (OTHER, KEY)),
        ("encryption: {key: !env {name: ELSEWHERE, default: null}}", KEY, (KEY,)),
        ("encryption: {}", f"{KEY}\n{OTHER}\n", (KEY, OTHER)),
    ],
)
def test_the_key_of_encrypted_secrets(
    environ: dict[str, str], tmp_path: pathlib.Path, configured: str, environment: str | None, keys: tuple[str, ...]
) -> None:
    if environment is not None:
        environ["OCCO_ENCRYPTION_KEY"] = environment
    path = write(tmp_path / "c.yaml", f"{WHOLE}\n{configured}\n")
    assert settings.load(path, environ=environ).encryption_keys == keys
    if not configured:
        assert settings.load(environ=environ).encryption_keys == keys
    assert KEY not in repr(settings.load(path, environ=environ))


@pytest.mark.parametrize("text", ["hunter2", KEY[:-1], KEY + "A", KEY.replace("A=", "AA"), f"{KEY} hunter2"])
def test_what_is_no_key_is_told_by_its_place_and_never_shown(
    environ: dict[str, str], tmp_path: pathlib.Path, text: str
) -> None:
    path = write(tmp_path / "c.yaml", f"{WHOLE}\nencryption: {{key: !env THE_KEY}}\n")
    with pytest.raises(errors.ConfigurationError) as raised:
        settings.load(path, environ={**environ, "THE_KEY": text})
    assert str(raised.value).startswith(f"{path}: encryption.key must be 32 random bytes in URL-safe base64")
    with pytest.raises(errors.ConfigurationError, match=r"^OCCO_ENCRYPTION_KEY must be") as in_environment:
        settings.load(environ={**environ, "OCCO_ENCRYPTION_KEY": text})
    for shown in (str(raised.value), str(in_environment.value)):
        assert text not in shown


# --- where it is found -----------------------------------------------------------------------------------------


def test_search_order(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert settings.find(None, environ) is None
    here = write(tmp_path / "cwd" / "occopus_config.yaml", WHOLE)
    assert settings.load(environ=environ).source == here.name
    home = write(tmp_path / ".occopus" / "occopus_config.yaml", WHOLE)
    assert settings.load(environ=environ).source == str(home)
    named = environ["OCCOPUS_CONFIG_PATH"] = str(write(tmp_path / "named.yaml", WHOLE))
    assert settings.load(environ=environ).source == named
    argument = write(tmp_path / "argument.yaml", WHOLE)
    assert settings.load(argument, environ=environ).source == str(argument)


def test_a_home_is_where_occo_home_says(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert settings.load(environ=environ).home == tmp_path / ".occopus"
    environ["OCCO_HOME"] = "/tmp/x"
    loaded = settings.load(environ=environ)
    assert (loaded.home, loaded.uds_url) == (pathlib.Path("/tmp/x"), "sqlite:////tmp/x/uds.sqlite")
    assert loaded.socket == pathlib.Path("/tmp/x/valkey.sock")


def test_credentials_search_order(environ: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert settings.load(environ=environ).auth == settings.AuthData()
    home = write(tmp_path / ".occopus" / "auth_data.yaml", "secrets: {a: home}")
    assert settings.load(environ=environ).auth.source == str(home)
    environ["OCCOPUS_AUTH_DATA_PATH"] = str(write(tmp_path / "named.yaml", "secrets: {a: named}"))
    assert settings.load(environ=environ).auth.secrets == {"a": "named"}
    argument = write(tmp_path / "argument.yaml", "secrets: {a: argument}")
    assert settings.load(None, argument, environ=environ).auth.secrets == {"a": "argument"}


# --- credentials -----------------------------------------------------------------------------------------------

AUTH = settings.AuthData(
    source="auth.yaml",
    resource=(
        {"type": "ec2", "auth_data": {"key": 1}},
        {"type": "nova", "endpoint": "a", "auth_data": {"key": 2}},
        {"type": "nova", "endpoint": "b", "auth_data": {"key": 3}},
        {"type": "both", "auth_data": {"key": 4}},
        {"type": "both", "endpoint": "b", "auth_data": {"key": 5}},
    ),
    secrets={"db": "s3cret"},
)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"type": "ec2", "endpoint": "x"}, 1),
        ({"type": "nova", "endpoint": "b"}, 3),
        ({"type": "nova", "endpoint": "c"}, None),
        ({"type": "nova"}, None),
        ({"type": "both", "endpoint": "a"}, 4),
    ],
)
def test_the_entry_that_fits_is_used(section: dict[str, str], key: int | None) -> None:
    assert AUTH.find("resource", section).get("key") == key
    assert AUTH.find("config_management", section) == {}


def test_two_entries_that_fit_are_refused() -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        AUTH.find("resource", {"type": "both", "endpoint": "b"})
    assert str(raised.value) == "auth.yaml: entries 4 and 5 of 'resource' both fit 'both'; make their filters differ"


def test_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AUTH.secret("db") == "s3cret"
    monkeypatch.setenv("OCCO_SECRET_DB", "from the environment")
    assert AUTH.secret("db") == "from the environment"
    with pytest.raises(errors.PermanentError) as raised:
        AUTH.secret("other-one")
    assert str(raised.value) == (
        "there is no secret 'other-one': set OCCO_SECRET_OTHER_ONE for the workers, "
        "or add it to `secrets` in auth.yaml"
    )
