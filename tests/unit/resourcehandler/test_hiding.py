"""What is hidden of secrets in the words of clouds, in whatever form these quote them."""

from __future__ import annotations

import json

import pytest

from occo_celery.plugins.resourcehandler import hiding

#: A value, and how Go's ``%q`` shows it (strconv.Quote), without the quotes around it.
QUOTED = [
    ('a"b', r"a\"b"),
    (r"a\b", r"a\\b"),
    ("one\ntwo\tthree\r", r"one\ntwo\tthree\r"),
    ("bell\a\b\f\v", r"bell\a\b\f\v"),
    ("\x00\x1f\x7f.", r"\x00\x1f\x7f."),
    ("grüße", "grüße"),
    ("no\u00a0break", r"no\u00a0break"),
    ("tag\U000e0001", r"tag\U000e0001"),
]


@pytest.mark.parametrize(("secret", "quoted"), QUOTED)
def test_a_value_is_hidden_as_it_is_and_as_go_quotes_it(secret: str, quoted: str) -> None:
    twice = quoted.replace("\\", "\\\\").replace('"', '\\"')
    for shown in (secret, quoted, twice):
        assert hiding.without(f'exec: "{shown}": not found', [secret]) == 'exec: "***": not found'


def test_a_value_is_hidden_as_json_writes_it() -> None:
    secret = '<p>"hunter2"&'
    shown = json.dumps({"message": secret}).replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    assert hiding.without(shown, [secret]) == '{"message": "***"}'


def test_a_value_is_hidden_as_base64_shows_it() -> None:
    assert hiding.without("told I2Nsb3VkLWNvbmZpZwo= so", ["#cloud-config\n"]) == "told *** so"


def test_stars_for_secrets_the_longest_first() -> None:
    assert hiding.without("hunter2hunter2 hunter2", ["hunter2", "hunter2hunter2"]) == "*** ***"
    assert hiding.without("secret: hunter2", ["hunter2", "", "*"]) == "secret: ***"


@pytest.mark.parametrize("shown", ["ab", "'ab'", "-p=ab", "ab: not found", "x ab"])
def test_short_ones_are_hidden_where_they_stand_alone(shown: str) -> None:
    assert "ab" not in hiding.without(shown, ["ab"])


def test_short_ones_leave_other_words_as_they_are() -> None:
    assert hiding.without("unable to grab 11 of 1", ["ab", "1"]) == "unable to grab 11 of ***"
