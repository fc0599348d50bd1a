"""Literal secrets: encrypted and opened with the keys that there are; what says the same stays the same."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from occo_celery import encryption, errors
from occo_celery.model import reference
from occo_celery.plugins.contextualisation import templates


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


OLD, NEW = key(), key()
BOTH = encryption.Encryption([NEW, OLD])
SECRET = "hunter2-grün"


def section(box: encryption.Encryption, password: str, **more: Any) -> dict[str, Any]:
    database = {"name": "shop", "pass": reference.of_token(box.encrypt(password)), **more}
    return {"resource": {"type": "x", "ports": [1, 2]}, "health_check": {"mysqldbs": [database]}}


def test_what_one_key_encrypts_it_opens() -> None:
    box = encryption.Encryption([OLD])
    token = box.encrypt(SECRET)
    assert SECRET not in token
    assert box.encrypt(SECRET) != token
    assert box.decrypt(token) == SECRET


def test_the_first_key_encrypts_and_each_opens() -> None:
    assert BOTH.decrypt(encryption.Encryption([OLD]).encrypt(SECRET)) == SECRET
    assert encryption.Encryption([NEW]).decrypt(BOTH.encrypt(SECRET)) == SECRET


@pytest.mark.parametrize(
    ("keys", "why"),
    [([], "no key is configured"), ([NEW], "the configured key does not open it")],
    ids=["none", "other"],
)
def test_what_cannot_be_opened_is_told_by_its_place_and_never_shown(keys: list[str], why: str) -> None:
    token = encryption.Encryption([OLD]).encrypt(SECRET)
    names = {templates.DECRYPT: encryption.Encryption(keys).decrypt}
    with pytest.raises(errors.TemplateError) as caught:
        templates.render_tree({"pass": reference.of_token(token)}, names, "health_check mysql shop")
    assert str(caught.value) == (
        f"health_check mysql shop.pass: its value is stored encrypted and {why}: set encryption.key, or "
        "OCCO_ENCRYPTION_KEY, to the key that it was encrypted with, or import the definition again and update what "
        "was made from it"
    )


@pytest.mark.parametrize("token", ["", "x", "gAAAA", "ü" * 100, BOTH.encrypt(SECRET)[:-4]], ids=len)
def test_what_is_no_token_is_not_opened(token: str) -> None:
    with pytest.raises(errors.PermanentError):
        BOTH.decrypt(token)


def test_an_encrypted_value_is_opened_where_it_stands_and_no_template_can_open_one() -> None:
    token = BOTH.encrypt("{{ not rendered }}")
    names = {templates.DECRYPT: BOTH.decrypt, "decrypt": None}
    rendered = templates.render_tree([{"pass": reference.of_token(token)}, "{{ 1 }}"], names, "where")
    assert rendered == [{"pass": "{{ not rendered }}"}, "1"]
    assert dict(templates.strings({"a": reference.of_token(token), "b": "text"})) == {"b": "text"}
    with pytest.raises(errors.TemplateError):
        templates.render(f"{{{{ {templates.DECRYPT}('{token}') }}}}", names, "where")


# --- importing again --------------------------------------------------------------------------------------------


def test_what_says_the_same_stays_as_it_was_stored() -> None:
    earlier = {"web": [section(BOTH, "a"), section(BOTH, "b"), section(BOTH, "a")], "gone": [section(BOTH, "a")]}
    again = {"web": [section(BOTH, "b"), section(BOTH, "a"), section(BOTH, "c")], "new": [section(BOTH, "a")]}
    settled = BOTH.settled(again, earlier)
    assert settled["web"] == (earlier["web"][1], earlier["web"][0], again["web"][2])
    assert settled["new"] == tuple(again["new"])


@pytest.mark.parametrize(
    "more", [{"port": 1}, {"user": {"secret": "pass"}}, {"user": reference.of_token("x")}], ids=str
)
def test_what_differs_elsewhere_is_new(more: dict[str, Any]) -> None:
    again = section(BOTH, "a", **more)
    for earlier in (section(BOTH, "a"), section(BOTH, "a", port=True), section(BOTH, "a", user="x")):
        assert BOTH.settled({"web": [again]}, {"web": [earlier]})["web"] == (again,)


def test_what_only_an_old_key_opens_is_encrypted_anew() -> None:
    again = section(BOTH, "a")
    for other in (encryption.Encryption([OLD]), encryption.Encryption([key()])):
        assert BOTH.settled({"web": [again]}, {"web": [section(other, "a")]})["web"] == (again,)


def test_without_any_key_definitions_without_secrets_are_as_they_were() -> None:
    plain = {"web": [{"resource": {"type": "x", "password": {"secret": "p"}}}]}
    assert encryption.Encryption(()).settled(plain, plain)["web"] == tuple(plain["web"])
