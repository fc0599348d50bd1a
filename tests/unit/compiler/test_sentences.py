"""What is said of pydantic's errors in sections of plugins: unions, tags, kinds; never a value, never its jargon."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
import pytest

from occo_celery.compiler import places, sentences


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Disk(_Model):
    kind: Literal["disk"]
    size: int


class Share(_Model):
    kind: Literal["share"]
    server: str


class Section(_Model):
    command: str | list[str] = ""
    volume: Disk | Share | str | None = None
    tagged: Annotated[Disk | Share, pydantic.Field(discriminator="kind")] | None = None
    count: Annotated[int, pydantic.Field(ge=1, le=5)] = 1
    names: dict[Annotated[str, pydantic.Field(pattern="^[a-z]+$")], int] = {}
    pair: Annotated[list[str], pydantic.Field(min_length=2, max_length=2)] = ["a", "b"]
    factor: float = 1.0
    on: bool = True


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"command": 3}, ["command: must be a string or a list, it is a number (write it as a string)"]),
        ({"command": ["a", 3]}, ["command[1]: must be a string, it is a number (write it as a string)"]),
        (
            {"volume": {"kind": "disk", "size": "1"}},
            ["volume.size: must be a whole number, it is a string (write it without quotes)"],
        ),
        ({"volume": {"kind": "share", "sever": "x"}}, ["volume.sever: unknown key 'sever' (did you mean 'server'?)"]),
        ({"volume": 3}, ["volume: must be a mapping or a string, it is a number (write it as a string)"]),
        ({"tagged": {"kind": "hunter2"}}, ["tagged: its 'kind' must be one of 'disk', 'share'"]),
        ({"tagged": {"size": 1}}, ["tagged: the key 'kind' is missing"]),
        ({"tagged": {"kind": "disk"}}, ["tagged: the key 'size' is missing"]),
        ({"count": 0}, ["count: must be at least 1"]),
        ({"count": 6}, ["count: must be at most 5"]),
        ({"count": 2.5}, ["count: must be a whole number, it is a decimal number"]),
        ({"names": {"A": 1}}, ["names.A: does not match the pattern ^[a-z]+$"]),
        ({"pair": ["a"]}, ["pair: must have at least 2 items, it has 1"]),
        ({"pair": ["a", "b", "c"]}, ["pair: must have at most 2 items, it has 3"]),
        ({"factor": "x"}, ["factor: must be a number, it is a string"]),
        (
            {"on": "yes"},
            [
                "on: must be true or false, it is a string (in YAML 1.2 these are true and false, not yes, "
                "no, on, off)"
            ],
        ),
        (
            {"cout": 1, "onn": 1},
            ["cout: unknown key 'cout' (did you mean 'count'?)", "onn: unknown key 'onn' (did you mean 'on'?)"],
        ),
    ],
)
def test_sentences(section: dict[str, Any], said: list[str]) -> None:
    report = places.Report(section)
    with pytest.raises(pydantic.ValidationError) as caught:
        Section.model_validate(section)
    sentences.explain(report, (), section, Section, caught.value)
    assert [str(problem) for problem in report.problems] == said
