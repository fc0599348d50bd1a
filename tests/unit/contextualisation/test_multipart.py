"""User data of several parts."""

from __future__ import annotations

import email
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.plugins.contextualisation import cloudinit, multipart

NAMES = {"type": "web", "name": "web-1", "secret": lambda name: "hunter2"}
PLUGIN = cloudinit.CloudinitContextualisation(schemas=())


def told(*parts: Any) -> str:
    text = PLUGIN.render({"type": "cloudinit", "context_template": list(parts)}, NAMES).user_data
    assert text is not None
    return text


def parts_of(message: str) -> list[tuple[str, str]]:
    """Types and texts, as cloud-init reads them."""
    parsed = email.message_from_string(message)
    assert parsed.is_multipart()
    found = []
    for part in parsed.get_payload():
        assert isinstance(part, email.message.Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((part.get_content_type(), content.decode()))
    return found


def test_each_part_has_the_type_of_its_first_line() -> None:
    message = told(
        {"hostname": "{{ name }}"},
        "#cloud-config\nruncmd: [a]\n",
        "#!/bin/sh\necho {{ name }} grüße\n",
        "#cloud-boothook\necho\n",
        "#include\nhttp://127.0.0.1/\n",
        "#include-once\nhttp://127.0.0.1/\n",
        "#cloud-config-archive\n- a\n",
        "#cloud-config-jsonp\n[]\n",
        "## template: jinja\n#cloud-config\n{% raw %}hostname: {{ v1.region }}{% endraw %}\n",
        "#part-handler\n",
    )
    assert parts_of(message) == [
        ("text/cloud-config", "#cloud-config\nhostname: web-1\n"),
        ("text/cloud-config", "#cloud-config\nruncmd: [a]\n"),
        ("text/x-shellscript", "#!/bin/sh\necho web-1 grüße\n"),
        ("text/cloud-boothook", "#cloud-boothook\necho\n"),
        ("text/x-include-url", "#include\nhttp://127.0.0.1/\n"),
        ("text/x-include-once-url", "#include-once\nhttp://127.0.0.1/\n"),
        ("text/cloud-config-archive", "#cloud-config-archive\n- a\n"),
        ("text/cloud-config-jsonp", "#cloud-config-jsonp\n[]\n"),
        ("text/jinja2", "## template: jinja\n#cloud-config\nhostname: {{ v1.region }}\n"),
        ("text/part-handler", "#part-handler\n"),
    ]


@example(["/bin/sh\r\necho\recho\n\n", "é\n\nFrom x\n"])
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_parts_come_back_to_the_letter_and_the_same_ones_give_the_same_message(texts: list[str]) -> None:
    given_ = [("x-shellscript", f"#!{text}") for text in texts]
    message = multipart.joined(given_)
    assert parts_of(message) == [("text/x-shellscript", text) for _, text in given_]
    assert multipart.joined(given_) == message
    assert message != multipart.joined([*given_, ("x-shellscript", "#!")])


def test_a_message_says_nothing_of_when_and_where_it_was_made() -> None:
    assert sorted(email.message_from_string(told("#!/bin/sh\n")).keys()) == ["Content-Type", "MIME-Version"]


@pytest.mark.parametrize("text", ["{{ secret('db') }}", "", "\n#!/bin/sh\n", "MIME-Version: 1.0\n", "echo\n"])
def test_a_part_that_cloud_init_would_not_know_is_refused(text: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        told("#!/bin/sh\n", text)
    message = str(caught.value)
    assert message.startswith("node_def:web contextualisation.context_template[1]: the part does not begin as any")
    assert "#cloud-config, " in message
    assert "hunter2" not in message


def test_a_cloud_config_among_the_parts_must_parse() -> None:
    with pytest.raises(errors.TemplateError, match=r"context_template\[1\]: the rendered #cloud-config is not YAML"):
        told("#!/bin/sh\n", "#cloud-config\na: [\n")


def test_a_message_of_the_users_own_is_passed_on_as_it_is() -> None:
    own = told("#!/bin/sh\n")
    section = {"type": "cloudinit", "context_template": own}
    assert PLUGIN.render(section, NAMES).user_data == own
