"""The Python API, name for name as in the document it was created from, and lazy where it is to be."""

from __future__ import annotations

import inspect
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

import occo_celery
from occo_celery import errors
from occo_celery.api import manager, occoapp

SIGNATURES = {
    "add": ["infra_desc"],
    "attach": ["infra_id"],
    "detach": ["infra_id"],
    "get": ["infra_id"],
    "start_provisioning": ["infra_id"],
    "stop_provisioning": ["infra_id", "wait_timeout"],
    "submit_infrastructure": ["infra_desc"],
    "tear_down": ["infra_id"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_methods_of_the_manager(name: str) -> None:
    arguments = list(inspect.signature(getattr(manager.InfrastructureManager, name)).parameters)
    assert arguments == ["self", *SIGNATURES[name]]


def test_defaults_are_those_of_the_document() -> None:
    made = inspect.signature(manager.InfrastructureManager).parameters
    assert made["process_strategy"].default == "sequential"
    assert inspect.signature(manager.InfrastructureManager.stop_provisioning).parameters["wait_timeout"].default == 60
    process = inspect.signature(manager.InfrastructureMaintenanceProcess).parameters
    assert (process["enactor_interval"].default, process["process_strategy"].default) == (10, "sequential")
    assert list(inspect.signature(occoapp.setup).parameters) == ["setup_args", "cfg_path", "auth_data_path"]


def test_what_the_package_exports() -> None:
    assert occo_celery.InfrastructureManager is manager.InfrastructureManager
    assert occo_celery.setup is occoapp.setup
    with pytest.raises(AttributeError, match="nothing"):
        occo_celery.nothing  # noqa: B018


@pytest.mark.parametrize("module", ["occo_celery", "occo_celery.planner.plan", "occo_celery.model.description"])
def test_pure_parts_load_neither_celery_nor_sqlalchemy(module: str) -> None:
    script = f"import sys, {module}; print(sorted({{'celery', 'sqlalchemy', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def _as_before() -> Iterator[None]:
    saved = (occoapp.args, occoapp.configuration, occoapp.infrastructure)
    yield
    occoapp.args, occoapp.configuration, occoapp.infrastructure = saved


@pytest.mark.usefixtures("_as_before")
def test_setup_finds_the_configuration_and_parses_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("OCCO_HOME", str(tmp_path))
    monkeypatch.delenv("OCCOPUS_CONFIG_PATH", raising=False)
    monkeypatch.setattr(sys, "argv", ["app", "--unknown-to-us"])
    occoapp.setup()
    assert occoapp.args is None
    assert occoapp.configuration is not None
    assert occoapp.configuration.home == tmp_path
    assert occoapp.infrastructure is occoapp.system()

    monkeypatch.setattr(sys, "argv", ["app", "--colour", "green"])
    occoapp.setup(lambda parser: parser.add_argument("--colour"))
    assert occoapp.args is not None
    assert occoapp.args.colour == "green"


@pytest.mark.usefixtures("_as_before")
def test_setup_with_a_configuration_that_lacks_items(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "occopus_config.yaml"
    path.write_text("components: {}\n")
    with pytest.raises(errors.MissingConfigurationError, match=r"logging, components\.resourcehandler"):
        occoapp.setup(cfg_path=str(path))


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="sequential, parallel"):
        manager.InfrastructureManager("random")
