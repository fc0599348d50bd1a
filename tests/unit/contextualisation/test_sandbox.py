"""A template reaches no Python, and makes or does no more than it may: all of these are TemplateErrors, and soon."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from occo_celery import errors
from occo_celery.plugins.contextualisation import sandbox, templates

NAMES = {"name": "web", "mapping": {"a": 1}, "numbers": [1, 2], "getip": lambda node: "127.0.0.1"}
ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ joiner }}",
    "{{ getip.__globals__ }}",
    "{{ getip.__code__ }}",
    "{{ namespace.__init__ }}",
    "{{ range.__self__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ loop }}",
    "{% for x in numbers %}{{ loop._iterator }}{% endfor %}",
    "{% for x in numbers %}{{ loop }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{0}'.format(name) }}",
    "{{ '{x}'.format_map(mapping) }}",
    "{{ ['{0.__class__}']|map('format', name)|first|attr('format') }}",
    "{{ ''['format']('x') }}",
    "{% set f = ''.format %}{{ f() }}",
    "{{ mapping.update({'b': 1}) }}",
    "{{ mapping.pop('a') }}",
    "{{ numbers.append(3) }}",
    "{{ [''.__class__] }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
    "{{ getip }}",
    "{{ numbers|map('upper') }}",
    "{{ [getip] }}",
    "{{ numbers|random }}",
    "{{ (1).to_bytes(10)|length }}",
    "{{ getip.__globals__|length }}",
    "{{ getip.__code__.co_name }}",
    "{{ namespace.__init__.__globals__|length }}",
    "{{ [getip]|string|length }}",
    "{{ 'a'.encode() }}",
]
BOMBS = [
    "{{ range(10**9) }}",
    "{{ range(99999)|list|map('string')|join('x' * 1000) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% set r = range(99999)|list %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ 'abcdefghijklmnopqrstuvwxyz' }}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [1] * 10**9 }}",
    "{{ (1,) * 10**9 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = (n.x, n.x) %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x.replace('a', 'aaaa') %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x|replace('a', 'aaaa') %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x.join([n.x, n.x, n.x]) %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = [n.x, n.x]|join(n.x) %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = '%s%s' % (n.x, n.x) %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = '%s%s'|format(n.x, n.x) %}{% endfor %}",
    "{% set a %}{{ 'a' * 1000000 }}{% endset %}{% set b %}" + "{{ a }}" * 2000 + "{% endset %}",
    "{% set a = 'a' * 1000000 %}" + "{{ a }}" * 2000,
    "{% set a = 'a' * 1000000 %}{{ [a, a, a]|string }}",
    "{% set a = 'a' * 1000000 %}{{ [a, a, a]|tojson }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '%(a)1000000000d' % {'a': 1} }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a\nb'|indent(10**9) }}",
    "{{ 'a\nb'|indent('x' * 1000000, first=true) }}",
    "{{ [1]|batch(10**9, 0)|list }}",
    "{{ [1]|slice(10**9)|list }}",
    "{{ lipsum(n=10**9) }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ 1" + " + 1" * 5000 + " }}",
    "{{ name" + ".a" * 5000 + " }}",
    "{% if 1 %}" * 3000,
]


A = "{% set a = 'a' * 600000 %}"
#: Each is seen before it is made, not when it is written or the steps are spent.
SIZES = [
    A + "{{ (a + a)|length }}",
    A + "{{ (a ~ a)|length }}",
    A + "{{ (a * 2)|length }}",
    A + "{{ ('%s%s' % (a[:500000], a[:500000] ~ 'b' * 60000))|length }}",
    A + "{{ ('%(x)s%(x)s' % {'x': a})|length }}",
    A + "{{ [a, a]|length }}",
    A + "{{ (a, a)|length }}",
    A + "{{ {'x': a, 'y': a}|length }}",
    A + "{{ dict(x=a, y=a)|length }}",
    A + "{{ ([a[:300000], a[:300000]] + [a])|length }}",
    A + "{{ a.join('bcd')|length }}",
    A + "{{ 'bcd'|join(a)|length }}",
    A + "{{ 'bb'.replace('b', a)|length }}",
    A + "{{ 'bb'|replace('b', a)|length }}",
    A + "{{ 'b\nc\nd'|indent(a, first=true)|length }}",
]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A bomb that goes off is a MemoryError of this process, not the end of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 300 * 1024 * 1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("text", ESCAPES)
def test_no_escape(text: str) -> None:
    with pytest.raises(errors.TemplateError):
        templates.render(text, NAMES, "w")


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:60])
@pytest.mark.usefixtures("little_memory")
def test_no_bomb(text: str) -> None:
    began = time.process_time()
    with pytest.raises(errors.TemplateError) as caught:
        templates.render(text, NAMES, "w")
    assert time.process_time() - began < 10.0
    assert "MemoryError" not in str(caught.value)


@pytest.mark.parametrize("text", SIZES)
def test_sizes_are_seen_before_anything_is_made(text: str) -> None:
    with pytest.raises(errors.TemplateError, match="larger than"):
        templates.render(text, NAMES, "w")


@pytest.mark.parametrize("work", ["a + 'b' == a", "a.upper() == a", "a|upper == a"])
def test_work_on_large_texts_costs_more_steps(work: str) -> None:
    text = f"{A}{{% for i in range(2000) %}}{{% if {work} %}}{{% endif %}}{{% endfor %}}"
    with pytest.raises(errors.TemplateError, match="steps"):
        templates.render(text, NAMES, "w")


def test_what_a_large_but_honest_template_needs_is_allowed() -> None:
    text = "{% for i in range(3000) %}10.0.0.{{ i }} node-{{ i }}.{{ name }}\n{% endfor %}"
    assert templates.render(text, NAMES, "w").count("\n") == 3000


def test_steps_are_counted_anew_for_each_rendering() -> None:
    text = f"{{% for i in range({sandbox.MAX_STEPS // 3}) %}}{{% endfor %}}"
    for _ in range(4):
        assert templates.render(text, NAMES, "w") == ""
