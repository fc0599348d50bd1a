"""Templates: what is rendered, where errors point, and that nothing of a secret is in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.plugins.contextualisation import templates

WHERE = "node_def:web resource.command"
SECRET = "hunter2-x9Qz"
NAMES = {"name": "web", "mapping": {"a": 1, "items": 2}, "numbers": [1, 2], "secret": lambda name: SECRET}


def failure(text: str, names: object = NAMES) -> str:
    with pytest.raises(errors.TemplateError) as caught:
        templates.render(text, names, WHERE)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{ {not one} }\n", "{ {not one} }\n"),
        ("{{ name }}\n", "web\n"),
        ("{# nothing #}", ""),
        ("{{ 'a' ~ 1 ~ numbers }}", "a1[1, 2]"),
        ("{% for one in numbers %}{{ one }}{{ ',' if not loop.last }}{% endfor %}", "1,2"),
        ("{% for k, v in mapping.items %}{% endfor %}", None),
        ("{{ mapping.items }}", "2"),
        ("{% for k, v in mapping|items %}{{ k }}{{ v }}{% endfor %}", "a1items2"),
        ("{{ numbers|join(', ') }} {{ '-'.join(['a', 'b']) }}", "1, 2 a-b"),
        ("{{ [mapping]|join(',', attribute='a') }}", "1"),
        ("{{ '%03d' % 7 }} {{ '%s-%s'|format('a', 'b') }}", "007 a-b"),
        ("{{ mapping|tojson }}", '{"a": 1, "items": 2}'),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
        ("{{ 'aXb'.replace('X', '-') }}{{ 'aXb'|replace('X', '+') }}", "a-ba+b"),
        ("{{ 'hello'|b64encode }}", "aGVsbG8="),
        ("{{ nothing|default('x') }}{{ nothing is defined }}", "xFalse"),
        ("{{ (1, 2)[1] + 2 * 3 ** 2 }}{{ [1] + [2] }}{{ 'ab' * 2 }}", "20[1, 2]abab"),
        ("{% set n = namespace(x=0) %}{% for i in range(4) %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "6"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('a') }}", "aa"),
        ("{% set x %}a{{ name }}{% endset %}{{ x.upper() }}", "AWEB"),
        ("{{ secret('db') }}", SECRET),
    ],
)
def test_renders(text: str, expected: str | None) -> None:
    if expected is None:
        failure(text)
    else:
        assert templates.render(text, NAMES, WHERE) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ nothing }}", f"{WHERE}, line 1: 'nothing' is undefined"),
        ("one\ntwo {{ name }}\nthree {{ nothing.deep }}\n", f"{WHERE}, line 3: 'nothing' is undefined"),
        ("{% if 1 %}\n{% for x in nothing %}{% endfor %}{% endif %}", f"{WHERE}, line 2: 'nothing' is undefined"),
        ("{{ mapping.b }}", f"{WHERE}, line 1: 'dict object' has no attribute 'b'"),
        ("{{ [nothing] }}", f"{WHERE}, line 1: 'nothing' is undefined"),
        ("{{ nothing|tojson }}", f"{WHERE}, line 1: 'nothing' is undefined"),
        ("\n{{ 1 / 0 }}", f"{WHERE}, line 2: ZeroDivisionError: division by zero"),
        ("a\n{{ ", f"{WHERE}: line 2: unexpected 'end of template'"),
        ("{{ 'x'|shuffle }}", f"{WHERE}: line 1: No filter named 'shuffle'."),
    ],
)
def test_an_error_names_the_template_the_line_and_the_name(text: str, expected: str) -> None:
    assert failure(text) == expected


def test_check_tells_what_does_not_parse_with_its_line() -> None:
    assert templates.check("{{ undefined_names_are_for_later }}") is None
    assert templates.check("no template } }") is None
    assert templates.check("\n{% if %}") == "line 2: Expected an expression, got 'end of statement block'"
    assert "no recursive loops" in (templates.check("{% for x in y recursive %}{% endfor %}") or "")
    assert "at most" in (templates.check("{{ x }}" + " " * templates.MAX_LENGTH) or "")


@pytest.mark.parametrize(
    "text",
    [
        "{{ mapping[secret('db')] }}",
        "{{ mapping|attr(secret('db')) }}",
        "{{ getip(secret('db')) }}",
        "{{ getip(secret('db')|upper) }}",
        "{{ getip(cut(secret('db'), 0, 5)) }}",
        "{{ secret(secret('db')) }}",
        "{{ 'x' % secret('db') }}",
        "{{ {}[secret('db')] }}",
        "{% set x = secret('db') %}{{ fails(x) }}",
    ],
)
def test_no_error_holds_a_secret(text: str) -> None:
    def secret(name: str) -> str:
        if name != "db":
            raise errors.PermanentError(f"no secret {name}")
        return SECRET

    def getip(node: str) -> str:
        raise errors.TemplateError(f"no node {node}")

    def fails(value: str) -> str:
        raise ValueError(f"what is {value}?")

    names = {**NAMES, "secret": secret, "getip": getip, "fails": fails, "cut": lambda text, a, b: text[a:b]}
    message = failure(text, names).lower()
    assert not any(SECRET[start : start + 5].lower() in message for start in range(len(SECRET) - 4))


def test_an_undefined_name_of_the_template_is_told_even_beside_a_secret() -> None:
    assert failure("{{ secret('db') }}{{ nothing }}").endswith("'nothing' is undefined")


def test_a_secret_that_is_not_there_is_named_and_a_silent_secret_store_is_transient() -> None:
    def missing(name: str) -> str:
        raise errors.PermanentError(f"there is no secret {name!r}")

    def silent(name: str) -> str:
        raise errors.TransientError("silent")

    for render in (
        lambda secret: templates.render("{{ secret('db') }}", {"secret": secret}, WHERE),
        lambda secret: templates.render_tree({"secret": "db"}, {"secret": secret}, WHERE),
    ):
        with pytest.raises(errors.TemplateError, match="there is no secret 'db'"):
            render(missing)
        with pytest.raises(errors.TransientError):
            render(silent)


def test_a_tree_is_rendered_whole_but_for_its_keys() -> None:
    tree = {"{{ k }}": "{{ name }}", "list": ["a", {"pass": {"secret": "db"}}, 3, None, True], "secret": {"x": "y"}}
    rendered = templates.render_tree(tree, NAMES, WHERE)
    assert rendered == {"{{ k }}": "web", "list": ["a", {"pass": SECRET}, 3, None, True], "secret": {"x": "y"}}
    with pytest.raises(errors.TemplateError, match=r"^w\.list\[1\]\.x, line 1: 'no' is undefined$"):
        templates.render_tree({"list": [0, {"x": "{{ no }}"}]}, NAMES, "w")


def test_strings_are_found_with_their_paths() -> None:
    tree = {"a": "1", "b": [{"c": "2"}, "3"], "d": 4, "e": {"secret": "db"}}
    assert list(templates.strings(tree)) == [("a", "1"), ("b[0].c", "2"), ("b[1]", "3")]
    assert list(templates.strings(["x"])) == [("[0]", "x")]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_rendered_or_a_template_error(text: str) -> None:
    broken = templates.check(text)
    told, rendered = "", None
    try:
        rendered = templates.render(text, NAMES, WHERE)
    except errors.TemplateError as problem:
        told = str(problem)
    assert (broken or "") in told
    assert rendered is None or rendered == text or "{" in text


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["{{ ", " }}", "{% ", " %}", "name", "for x in numbers", "endfor", "|", "(", "~", "[", "'"])
    )
)
def test_any_pile_of_pieces_is_rendered_or_a_template_error(pieces: list[str]) -> None:
    try:
        templates.render("".join(pieces), NAMES, WHERE)
    except errors.TemplateError:
        pass
