"""What costs time or memory is paid for, whatever syntax asks for it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from occo_celery import errors
from occo_celery.plugins.contextualisation import names, templates

NUMBERS = "{% set l = range(100000)|list %}{% for i in l %}"
NESTED = "{% for j in range(14) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}"
TEXT = "{% set x = 'abc ' * 200000 %}{% for i in range(60000) %}"
KEPT = "{% set n = namespace(l=none) %}{% for i in range(60000) %}{% set n.l = namespace(prev=n.l, big="
SLOW = [
    NUMBERS + "{% if -1 in l %}{% endif %}{% endfor %}",
    NUMBERS + "{% if -1 is in l %}{% endif %}{% endfor %}",
    NUMBERS + "{% if 'a' in range(100000) %}{% endif %}{% endfor %}",
    NUMBERS + "{% set x = range(100000)|max %}{% endfor %}",
    NUMBERS + "{% set x = l[::-1] %}{% endfor %}",
    NUMBERS + "{% set x = cut(l, 0, 9) %}{% endfor %}",
    "{% set v = dict.fromkeys(range(30000)).values() %}{% for i in range(99999) %}{% if -1 in v %}{% endif %}"
    "{% endfor %}",
    "{% set n = namespace(x=[1], y=[1]) %}"
    + NESTED
    + "{% set l = [n.x] %}{% set k = [n.y] %}{% for i in range(9999) %}{% if l.count(k[0]) %}{% endif %}{% endfor %}",
    "{% set n = namespace(x=[1], y=[1]) %}"
    + NESTED
    + "{% for i in range(60000) %}{% if n.x == n.y %}{% endif %}{% endfor %}",
    TEXT + "{% if x is lower %}{% endif %}{% endfor %}",
    KEPT + "range(100000)|list) %}{% endfor %}",
    KEPT + "('x' * 1000 * 200) ~ i) %}{% endfor %}",
    KEPT + "'%s%s' % (('x' * 1000 * 200), i)) %}{% endfor %}",
    KEPT + "'x'|indent(900000, first=true)) %}{% endfor %}",
    "{% set a = 'a' * 900 %}{% set b = 'b' * 900 %}" + KEPT + "a.replace('a', b)) %}{% endfor %}",
    "{% set a = 'a' * 90000 %}"
    + KEPT.replace("{% set n.l", "{% set x %}{{ a }}{% endset %}{% set n.l")
    + "x) %}{% endfor %}",
]
NAMES = {"cut": names.cut}


@pytest.fixture
def little_memory() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 300 * 1024 * 1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("text", SLOW, ids=range(len(SLOW)))
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("little_memory")
def test_no_way_around_the_count_of_steps(text: str) -> None:
    began = time.thread_time()
    with pytest.raises(errors.TemplateError, match="it takes more than 200000 steps"):
        templates.render(text, NAMES, "w")
    assert time.thread_time() - began < 10.0


def test_methods_of_texts_are_there_in_loops_and_blocks() -> None:
    # Jinja hands private keyword arguments to calls inside of these
    text = "{% for x in ['aXb'] %}{{ x.replace('X', '-', 1) }}{{ '-'.join([x]) }}{% endfor %}"
    assert templates.render(text, {}, "w") == "a-baXb"
    assert templates.render("{% block b %}{{ 'aXb'.replace('X', '-') }}{% endblock %}", {}, "w") == "a-b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ nothing is defined }}{{ name is defined }}{{ name.x is defined }}", "FalseTrueFalse"),
        ("{{ 2 in numbers }}{{ 'w' in name }}{{ 'a' in mapping }}{{ 1 < 2 < 3 }}", "TrueTrueTrueTrue"),
        (
            "{{ 4 is divisibleby 2 }}{{ name is eq 'web' }}{{ none is none }}{{ numbers is iterable }}",
            "TrueTrueTrueTrue",
        ),
        ("{{ numbers[1:] }}{{ name[:2] }}{{ name[::-1] }}{{ numbers[0] }}", "[2]webew1"),
        ("{{ range(3)|list }}{% for i in range(2) %}{{ i }}{% endfor %}{{ range(1, 7, 2)|length }}", "[0, 1, 2]013"),
    ],
)
def test_what_is_counted_still_works(text: str, expected: str) -> None:
    known = {"name": "web", "numbers": [1, 2], "mapping": {"a": 1}}
    assert templates.render(text, known, "w") == expected


def test_an_honest_comparison_in_a_loop_is_allowed() -> None:
    text = "{% for x in l %}{% if x in l and x != 'y' and l|length > 3 %}{{ x }}\n{% endif %}{% endfor %}"
    assert templates.render(text, {"l": [f"10.0.0.{n}" for n in range(500)]}, "w").count("\n") == 500
