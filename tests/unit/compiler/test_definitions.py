"""Node definitions: sections by the schemas of their plugins, imports, secrets; all or nothing."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import pydantic
import pytest

from occo_celery import errors
from occo_celery.compiler import builder, definitions


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Login(_Section):
    user: str
    token: str | None = pydantic.Field(None, json_schema_extra={"sensitive": True})

    @pydantic.model_validator(mode="after")
    def _is_strong(self) -> Login:
        if self.token == "hunter2-weak":
            raise ValueError(f"{self.token} is too weak")
        return self


class Cloud(_Section):
    type: Literal["cloud"]
    endpoint: str
    region: Annotated[str, pydantic.Field(json_schema_extra={"fixed": True})] | None = None
    size: Literal["small", "large"] = "small"
    password: str | None = pydantic.Field(None, json_schema_extra={"sensitive": True})
    login: Login | None = None
    ports: list[int] = []


class Context(_Section):
    type: Literal["init"]
    context_template: str | dict[str, Any]


class Health(_Section):
    ping: bool = True
    ports: list[pydantic.PositiveInt] = []
    timeout: float = 600.0


def schema_for(kind: str, name: str | None = None) -> type[pydantic.BaseModel]:
    schemas = {("resource", "cloud"): Cloud, ("contextualisation", "init"): Context, ("health_check", None): Health}
    if (kind, name) not in schemas:
        raise errors.PluginError(f"no {kind} plugin is called {name!r}")
    return schemas[kind, name]


def check_templates(kind: str, name: str | None, section: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if unknown := set(section) - set(schema_for(kind, name).model_fields):  # as that of health checks does
        raise errors.PluginError(f"no plugin {unknown}")
    return [(key, "no closing }}") for key, text in section.items() if isinstance(text, str) and text.endswith("{{")]


def load(path: pathlib.Path) -> definitions.Loaded:
    return definitions.load_definitions(path, schema_for=schema_for, check_templates=check_templates)


def write(folder: pathlib.Path, **files: str) -> pathlib.Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "main.yaml"


def report(folder: pathlib.Path, **files: str) -> list[str]:
    with pytest.raises(errors.SchemaError) as caught:
        load(write(folder, **files))
    return str(caught.value).replace(f"{folder}/", "").splitlines()


GOOD = """
'node_def:web':
  - resource: {type: cloud, endpoint: 'https://x', password: {secret: web}, login: {user: u, token: {secret: t}}}
    contextualisation: {type: init, context_template: "hello {{ name }}"}
    health_check: {ports: [80], timeout: 30}
    create_timeout: 60
  - resource: {type: cloud, endpoint: 'https://y', size: "{{ variables.size }}", ports: [22]}
'node_def:db':
  - resource: {type: cloud, endpoint: z, size: large}
    contextualisation:
"""


def test_good(tmp_path: pathlib.Path) -> None:
    loaded = load(write(tmp_path, main=GOOD))
    assert list(loaded.definitions) == ["web", "db"]
    first, second = loaded.definitions["web"]
    assert first["resource"]["password"] == {"secret": "web"}
    assert first["create_timeout"] == 60
    assert second["resource"]["size"] == "{{ variables.size }}"
    assert loaded.definitions["db"] == ({"resource": {"type": "cloud", "endpoint": "z", "size": "large"}},)
    assert loaded.warnings == ()


def test_everything_wrong_at_once() -> None:
    folder = pathlib.Path(__file__).parent / "wrong_definitions"
    with pytest.raises(errors.SchemaError) as caught:
        load(folder / "everything.yaml")
    assert str(caught.value).replace(f"{folder}/", "") == (folder / "everything.report").read_text().rstrip("\n")


def test_a_template_is_a_string(tmp_path: pathlib.Path) -> None:
    text = "'node_def:a': [{resource: {type: cloud, endpoint: x, ports: ['{{ variables.port }}']}}]\n"
    said = report(tmp_path, main=text)
    assert said == ["main.yaml:1:62: node_def:a[0].resource.ports[0]: must be a whole number, it is a string"]


def test_values_are_not_shown(tmp_path: pathlib.Path) -> None:
    text = (
        "'node_def:a': [{resource: {type: cloud, endpoint: x, password: hunter2, login: hunter3, ports: hunter4}}]\n"
    )
    assert "hunter" not in "\n".join(report(tmp_path, main=text))


@pytest.mark.parametrize("value", ["hunter2", "'{{ x }}'", "[a]", "3", "{secret: a, b: c}", "{secret: 3}"])
def test_a_secret_is_a_reference(tmp_path: pathlib.Path, value: str) -> None:
    assert any("resource.password" in line for line in report(tmp_path, main=PASSWORD.format(value)))


# --- secrets that are written out ---------------------------------------------------------------------------------

PASSWORD = "'node_def:a': [{{resource: {{type: cloud, endpoint: x, password: {}}}}}]\n"


def load_with_key(path: pathlib.Path) -> definitions.Loaded:
    return definitions.load_definitions(
        path, schema_for=schema_for, check_templates=check_templates, encrypt=lambda value: f"<{value[::-1]}>"
    )


def test_in_a_file_they_are_encrypted_with_a_warning(tmp_path: pathlib.Path) -> None:
    text = (
        "'node_def:a':\n"
        "  - resource: {type: cloud, endpoint: x, password: hunter2, login: &a {user: u, token: 'hun{#ter3{#'}}\n"
        "    contextualisation: {type: init, context_template: {login: *a}}\n"
    )
    loaded = load_with_key(write(tmp_path, main=text))
    (stored,) = loaded.definitions["a"]
    assert stored["resource"]["password"] == {"encrypted": "<2retnuh>"}
    assert stored["resource"]["login"] == {"user": "u", "token": {"encrypted": "<#{3ret#{nuh>"}}
    assert stored["contextualisation"]["context_template"]["login"]["token"] == "hun{#ter3{#", "not a secret's place"
    first, second = (one.replace(f"{tmp_path}/", "") for one in loaded.warnings)
    assert first == (
        "main.yaml:2:52: node_def:a[0].resource.password: a secret is written here and will be stored encrypted; "
        "better write {secret: NAME} and keep the value itself in auth_data, the environment or a secrets file"
    )
    assert second.startswith("main.yaml:2:")
    assert "resource.login.token" in second
    assert "hun" not in "".join(loaded.warnings)


def test_by_an_import_they_are_encrypted_too(tmp_path: pathlib.Path) -> None:
    main = "'node_def:a': [{resource: !yaml_import {url: file://r.yaml}}]\n"
    files = {"r": "{type: cloud, endpoint: x, password: !text_import {url: file://p.yaml}}\n", "p": "hunter2"}
    (stored,) = load_with_key(write(tmp_path, main=main, **files)).definitions["a"]
    assert stored["resource"]["password"] == {"encrypted": "<2retnuh>"}


def test_without_a_key_they_are_refused_with_the_ways_out(tmp_path: pathlib.Path) -> None:
    (line,) = report(tmp_path, main=PASSWORD.format("hunter2"))
    assert "a secret must not be written here (write {secret: NAME}" in line
    assert "set OCCO_ENCRYPTION_KEY, or encryption.key in the configuration" in line
    assert "openssl rand" in line
    assert "hunter2" not in line


def test_what_a_plugin_has_to_say_of_one_is_not_told(tmp_path: pathlib.Path) -> None:
    text = "'node_def:a': [{resource: {type: cloud, endpoint: x, login: {user: u, token: hunter2-weak}}}]\n"
    assert "hunter2" not in "".join(report(tmp_path, main=text))
    assert "hunter2" not in str(load_with_key(write(tmp_path, main=text)))


def test_in_a_posted_text_they_are_refused() -> None:
    with pytest.raises(errors.SchemaError) as caught:
        definitions.parse_definitions(
            PASSWORD.format("hunter2"), schema_for=schema_for, check_templates=check_templates
        )
    assert "a secret must not be written here" in str(caught.value)
    assert "OCCO_ENCRYPTION_KEY" not in str(caught.value), "no way out for who posts"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("3", "a secret must be a string, it is a number"),
        ("'{{ variables.x }}'", "a secret must not be made by a template"),
        ("'{% if x %}hunter2{% endif %}'", "a secret must not be made by a template"),
        ("{secret: a, b: hunter2}", "must be a string, it is a mapping"),
        ("[hunter2]", "must be a string, it is a list"),
        ("{encrypted: gAAAA}", "{encrypted: ...} is what occo stores"),
    ],
)
def test_what_cannot_be_encrypted_is_refused(tmp_path: pathlib.Path, value: str, said: str) -> None:
    path = write(tmp_path, main=PASSWORD.format(value))
    with pytest.raises(errors.SchemaError) as caught:
        load_with_key(path)
    problems = str(caught.value)
    assert "resource.password" in problems
    assert said in problems
    assert "hunter2" not in problems


@pytest.mark.parametrize("place", ["context_template: {a: [TOKEN]}", "context_template: TOKEN"])
def test_a_token_cannot_be_put_where_it_would_be_shown(tmp_path: pathlib.Path, place: str) -> None:
    contextualisation = "{type: init, " + place.replace("TOKEN", "{encrypted: gAAAA}") + "}"
    text = f"'node_def:a': [{{resource: {{type: cloud, endpoint: x}}, contextualisation: {contextualisation}}}]\n"
    with pytest.raises(errors.SchemaError, match="it cannot be written") as caught:
        load_with_key(write(tmp_path, main=text))
    assert "gAAAA" not in str(caught.value)


@pytest.mark.parametrize("value", ["{secret: a}", "'{{ x }}'", "'{% x %}'"])
def test_what_chooses_the_account_is_the_value_itself(tmp_path: pathlib.Path, value: str) -> None:
    text = f"'node_def:a': [{{resource: {{type: cloud, endpoint: x, region: {value}}}}}]\n"
    (line,) = report(tmp_path, main=text)
    assert line.startswith("main.yaml:1:62: node_def:a[0].resource.region: must be the value itself")


@pytest.mark.parametrize("text", ["", "[]", "3", "{}"])
def test_not_definitions(tmp_path: pathlib.Path, text: str) -> None:
    assert "node definitions must be a mapping" in report(tmp_path, main=text)[0]


def test_no_such_file(tmp_path: pathlib.Path) -> None:
    assert report(tmp_path) == ["main.yaml: no such file"]


# --- imports -----------------------------------------------------------------------------------------------------


def test_imports_are_relative_to_the_importing_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "parts" / "texts").mkdir(parents=True)
    (tmp_path / "parts" / "resource.yaml").write_text("{type: cloud, endpoint: x, password: {secret: p}}\n")
    (tmp_path / "parts" / "all.yaml").write_text(
        "- resource: !yaml_import {url: file://resource.yaml}\n"
        "  contextualisation:\n"
        "    type: init\n"
        "    context_template: !text_import\n"
        "      url: file://texts/cloud%20init.txt\n"
        f"- resource: !yaml_import {{url: 'file://{tmp_path}/parts/resource.yaml'}}\n"
    )
    (tmp_path / "parts" / "texts" / "cloud init.txt").write_text("#cloud-config\nyes: *no\n")
    loaded = load(write(tmp_path, main="'node_def:web': !yaml_import {url: file://parts/all.yaml}\n"))
    first, second = loaded.definitions["web"]
    assert first["contextualisation"]["context_template"] == "#cloud-config\nyes: *no\n"
    assert first["resource"] == second["resource"] == {"type": "cloud", "endpoint": "x", "password": {"secret": "p"}}


def test_problems_in_an_imported_file_are_told_there(tmp_path: pathlib.Path) -> None:
    main = "'node_def:web':\n  - resource: !yaml_import {url: file://r.yaml}\n    create_timeout: -1\n"
    said = report(tmp_path, main=main, r="type: cloud\nendpoint: x\nsize: huge\n")
    assert said == [
        "main.yaml:3:21: node_def:web[0].create_timeout: must be a number of seconds greater than 0, it is not",
        "r.yaml:3:7: node_def:web[0].resource.size: must be one of 'small', 'large'",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("!yaml_import {url: file://absent.yaml}", "absent.yaml: no such file"),
        ("!text_import {url: file://.}", ": not a regular file"),
        ("!yaml_import {url: http://example.com/x}", "'http://example.com/x' is not a file:// URL"),
        ("!yaml_import {url: x, more: y}", "!yaml_import takes one key, url"),
        ("!yaml_import {}", "!yaml_import takes one key, url"),
        ("!yaml_import file://r.yaml", "!yaml_import without a url"),
        ("!yml_import {url: file://r.yaml}", "unknown tag '!yml_import' (did you mean '!yaml_import'?)"),
    ],
)
def test_imports_that_fail(tmp_path: pathlib.Path, value: str, said: str) -> None:
    (line,) = report(tmp_path, main=f"'node_def:web':\n  - resource: {value}\n")
    assert line.startswith("main.yaml:2:15: node_def:web[0].resource: ")
    assert said in line


def test_files_that_import_each_other(tmp_path: pathlib.Path) -> None:
    said = report(
        tmp_path,
        main="'node_def:web': !yaml_import {url: file://b.yaml}\n",
        b="- resource: !yaml_import {url: file://c.yaml}\n",
        c="!yaml_import {url: file://./b.yaml}\n",
    )
    assert said == ["c.yaml:1:1: node_def:web[0].resource: files import each other: b.yaml -> c.yaml -> b.yaml"]


def test_imports_nested_too_deep(tmp_path: pathlib.Path) -> None:
    files = {f"f{n}": f"!yaml_import {{url: file://f{n + 1}.yaml}}\n" for n in range(20)}
    (line,) = report(tmp_path, main="'node_def:web': !yaml_import {url: file://f0.yaml}\n", **files)
    assert "imports are nested more than 8 files deep" in line


def test_too_many_imports(tmp_path: pathlib.Path) -> None:
    one = "- resource: !yaml_import {url: file://r.yaml}\n"
    files = {"r": "{type: cloud, endpoint: x}\n"}
    load(write(tmp_path, main="'node_def:web':\n" + one * 200, **files))
    said = report(tmp_path, main="'node_def:web':\n" + one * 201, **files)
    assert said == ["main.yaml:202:13: node_def:web[200].resource: more than 200 imports"]


def test_all_texts_share_the_bounds(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MAX_EVENTS", 6_000)
    big = "[" + "1," * 1_000 + "]\n"
    wide = "".join("- !yaml_import {url: file://big.yaml}\n" for _ in range(10))
    said = report(tmp_path, main=f"'node_def:web':\n{wide}", big=big)
    assert any("larger than the 6,000 words and brackets" in line for line in said)


def test_a_syntax_error_in_an_imported_file_leaves_the_rest_checked(tmp_path: pathlib.Path) -> None:
    main = "'node_def:web':\n  - resource: !yaml_import {url: file://r.yaml}\n  - resource: {type: cloud}\n"
    said = report(tmp_path, main=main, r="type: [\n")
    assert len(said) == 2
    assert said[0].startswith("main.yaml:3:15: node_def:web[1].resource: the key 'endpoint' is missing")
    assert said[1].startswith("r.yaml:2:1: node_def:web[0].resource: not YAML")


def test_a_posted_text_imports_nothing() -> None:
    text = "'node_def:web': [{resource: !yaml_import {url: file:///etc/passwd}}]\n"
    with pytest.raises(errors.SchemaError, match="!yaml_import is not allowed"):
        definitions.parse_definitions(text, schema_for=schema_for, check_templates=check_templates)
