"""The command line: help, exit codes, and errors as one message on standard error."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

import occo_celery
from occo_celery.api.manager import InfrastructureManager
from occo_celery.cli import context, infrastructures, installation, main, programs
from occo_celery.model import instruction, status
from occo_celery.uds import migrate


@pytest.fixture(autouse=True)
def home(short_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An installation of this test's own, without broker, and no other configuration in sight."""
    monkeypatch.setenv("HOME", str(short_path))
    monkeypatch.setenv("OCCO_HOME", str(short_path / "home"))
    # What --cfg and --auth-data put into the environment is taken out again after the test.
    for variable in ("OCCOPUS_CONFIG_PATH", "OCCOPUS_AUTH_DATA_PATH"):
        monkeypatch.setenv(variable, "")
    monkeypatch.chdir(short_path)
    return short_path / "home"


@pytest.fixture
def database(home: pathlib.Path, migrated: pathlib.Path) -> None:
    home.mkdir()
    shutil.copy(migrated, home / "uds.sqlite")


COMMANDS = [
    ["import"],
    ["build"],
    ["list"],
    ["report"],
    ["plan"],
    ["events"],
    ["attach"],
    ["detach"],
    ["destroy"],
    ["logs"],
    ["accounts"],
    ["doctor"],
    ["scale"],
    ["update"],
    ["replace"],
    ["retry"],
    ["suspend"],
    ["resume"],
    ["db", "upgrade"],
    ["db", "check"],
    ["config", "check"],
    ["schema"],
    ["worker"],
    ["beat"],
    ["up"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    if not command:
        assert all(one[0] in shown for one in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"occo_celery {occo_celery.VERSION}\n"


USAGE = [
    ["nonsense"],
    ["build"],
    ["build", "not-there.yaml"],
    ["build", ".", "--timeout", "1"],
    ["report"],
    ["list", "too", "many"],
    ["worker", "nothing"],
    ["worker", "passes", "--concurrency", "0"],
    ["detach", "x", "--timeout", "-1"],
    ["--cfg", "not-there.yaml", "list"],
    ["db"],
    ["scale", "x", "app"],
    ["scale", "x", "app", "--up", "1", "--down", "1"],
    ["scale", "x", "app", "--up", "0"],
    ["update", "x", "not-there.yaml"],
    ["retry"],
    ["doctor", "everything"],
]


@pytest.mark.parametrize("argv", USAGE, ids=" ".join)
def test_wrong_usage_is_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(argv) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["list", "--help"]], ids=" ".join)
def test_a_command_is_quick_to_explain_itself(argv: list[str]) -> None:
    code = (
        f"import sys\nfrom occo_celery.cli import main\nassert main.main({argv}) == 0\n"
        "heavy = {'celery', 'sqlalchemy', 'alembic', 'pydantic', 'redis'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        ("api.manager", {"celery", "redis", "pydantic", "jinja2", "httpx"}),
        (
            "api.foresight, occo_celery.enactor.observe, occo_celery.plugins.healthcheck.urls",
            {"celery", "redis", "httpx"},
        ),
        ("tasks.scheduler", {"pydantic", "jinja2", "httpx", "occo_celery.enactor", "occo_celery.compiler"}),
    ],
)
def test_commands_and_beat_load_only_what_they_use(modules: str, unused: set[str]) -> None:
    code = f"import sys, occo_celery.{modules}\nfound = {unused!r} & set(sys.modules)\nassert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- errors ----------------------------------------------------------------------------------------------------


def test_no_tables(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    for command in (["list"], ["db", "check"], ["worker", "passes"]):
        assert main.main(command) == 1
        out, err = capsys.readouterr()
        assert err == (
            f"occo: the database sqlite:///{home / 'uds.sqlite'} has no tables yet; "
            "make them with `occo db upgrade`\n"
        )
        assert out == ""


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("command", ["report", "plan", "events", "attach", "detach", "destroy", "logs"])
def test_what_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([command, "no-such-id"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("occo: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_wrong_configuration(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("[]")
    assert main.main(["--cfg", str(path), "list"]) == 1
    assert capsys.readouterr().err == f"occo: {path}: a configuration is a mapping\n"


def test_a_bug_is_one_line_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: context.Context) -> None:
        raise RuntimeError("something impossible")

    monkeypatch.setattr(context.Context, "settings", broken)
    monkeypatch.delenv("OCCO_DEBUG", raising=False)
    assert main.main(["db", "check"]) == 1
    assert capsys.readouterr().err == (
        "occo: RuntimeError: something impossible (a bug, it seems; OCCO_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("OCCO_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main.main(["db", "check"])


# --- results ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("argv", [["--json", "list"], ["list", "--json"]], ids=" ".join)
def test_json_before_and_after_the_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(argv) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_db_upgrade_then_check(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["db", "upgrade", "--json"]) == 0
    version = json.loads(capsys.readouterr().out)
    assert version == {"version": migrate.head()}
    assert home.stat().st_mode & 0o777 == 0o700
    assert main.main(["db", "check"]) == 0


@pytest.mark.usefixtures("database")
def test_config_check(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["config", "check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["source"], found["home"]) == ("embedded default", str(home))
    assert found["database"] == migrate.head()
    assert "does not answer" in found["broker"]
    assert found["ok"] is False


@pytest.mark.usefixtures("database")
def test_config_check_looks_at_the_credentials(short_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    auth = short_path / "auth.yaml"
    for key, said in (("name", str(auth)), ("image", f"{auth}: entry 1 of 'resource' goes by image")):
        auth.write_text(f"resource: [{{type: docker, {key}: blue, auth_data: {{password: hunter2}}}}]\n")
        assert main.main(["--auth-data", str(auth), "config", "check", "--json"]) == 1
        shown = capsys.readouterr().out
        assert json.loads(shown)["auth_data"].startswith(said)
        assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://occo:a@b:c@db/occo", "postgresql+psycopg://occo:***@db/occo"),
        ("rediss://:pw@h:1/0?ssl_cert_reqs=required", "rediss://:***@h:1/0?ssl_cert_reqs=required"),
        ("postgresql://h/d?user=u&password=pw", "postgresql://h/d?user=u&password=***"),
        ("sqlite:////tmp/x.sqlite", "sqlite:////tmp/x.sqlite"),
        ("redis://h", "redis://h"),
    ],
)
def test_masked(url: str, shown: str) -> None:
    assert installation.masked(url) == shown


def test_what_a_worker_is_told() -> None:
    told = programs.worker_options(programs.Queue.PASSES, None)
    assert (told["queues"], told["pool_cls"], told["concurrency"]) == (["passes"], "prefork", 4)
    assert told["task_events"], "Flower would not see them"
    assert told["hostname"].startswith("passes-")
    told = programs.worker_options(programs.Queue.INSTRUCTIONS, 3)
    assert (told["queues"], told["pool_cls"], told["concurrency"]) == (["instructions"], "threads", 3)


def test_ctrl_c_while_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    def wait() -> None:
        raise KeyboardInterrupt

    import typer

    with pytest.raises(typer.Exit) as raised:
        infrastructures._following(context.Context(), lambda: ["1 of 2"], wait, "it goes on by itself")
    assert raised.value.exit_code == 1
    shown = capsys.readouterr().err
    assert "1 of 2" in shown
    assert shown.endswith("not waiting any more: it goes on by itself\n")


@pytest.mark.usefixtures("database")
def test_doctor_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing runs here but the database."""
    assert main.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["ok", "schema"]
    assert "problem  programs    no live beat (occo beat)" in lines
    assert lines[-2:] == ["orphans: 0", "4 problems"]
    assert main.main(["doctor", "--no-sweep"]) == 1
    assert capsys.readouterr().out.splitlines()[-2] == "orphans: not looked for"


@pytest.mark.usefixtures("database")
def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert found["orphans"] == {"count": 0, "found": [], "foreign": 0, "unanswered": {}}
    assert {one["check"]: one["severity"] for one in found["findings"]}["broker"] == "problem"


def test_doctor_without_tables(home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    assert main.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("problem  schema")
    assert "occo db upgrade" in lines[0]
    assert lines[-2] == "orphans: unknown", "what was not looked at is not none"


def test_doctor_when_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from occo_celery.api import doctor, examination

    warning = examination.Finding(check="clocks", severity=examination.Severity.WARNING, sentence="one is off")
    found = examination.Examination(findings=(warning,), orphans=examination.Orphans(count=0))
    monkeypatch.setattr(doctor, "examine", lambda system, *, sweep: found)
    assert main.main(["doctor"]) == 0
    assert capsys.readouterr().out == "warning  clocks      one is off\norphans: 0\n1 warning\n"


@pytest.mark.usefixtures("database")
def test_plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    delta = instruction.Delta(
        instructions=(
            instruction.CreateInfrastructure(),
            instruction.DropNode(node_id="n1", node_name="web", version=3, why="surplus"),
            instruction.ReplaceNode(node_id="n2", node_name="web"),
            instruction.CreateNode(node_name="db"),
            instruction.CreateNode(node_name="db"),
        ),
        waiting={"web": status.Reason(code="waiting_for", arguments={"node": "db"})},
    )
    monkeypatch.setattr(InfrastructureManager, "plan", lambda *_: delta)
    assert main.main(["plan", "an-id"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "drop web n1: surplus",
        "replace web n2",
        "create 2 x db",
        "later web: waiting_for: db",
        "2 to create, 1 to drop, 1 to replace; nothing was changed",
    ]
    assert main.main(["plan", "an-id", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["do"] for one in found["instructions"]] == ["begin", "drop", "replace", "create", "create"]
    assert found["waiting"] == {"web": "waiting_for: db"}


def test_an_interval_that_could_only_shrink_is_wrong_usage(
    database: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["attach", "any", "--interval", "60", "--longest-interval", "20"]) == 2
    said = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "longest_interval is 20 s, less than the interval, 60 s: the interval can only grow" in said
