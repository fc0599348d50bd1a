"""The Jinja2 environment of all templates: no loader, no Python, and bounds on what a template can make or do.

Called by templates.py. Templates come from users, so that one may neither reach Python objects nor fill the memory
or the time of a worker. Jinja's sandbox sees to the former; this adds lists of the methods and filters that there
are, sizes looked at before a text or list is made, and a count of the steps of each rendering.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence
from typing import Any

import jinja2
from jinja2 import defaults, exceptions, filters, nodes, runtime, sandbox, utils, visitor

#: Characters that a text made by a template may have, and things in a list or mapping.
MAX_SIZE = 1024 * 1024
#: Turns of loops, calls, filters and operations of one rendering.
MAX_STEPS = 200_000
#: Bits of an integer.
MAX_BITS = 4096

STR_METHODS = frozenset(
    """
    capitalize casefold count endswith find index isalnum isalpha isdigit islower isspace isupper join lower
    lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper
    """.split()  # noqa: SIM905
)
MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
LIST_METHODS = frozenset({"count", "index"})
#: Those of Jinja's filters that are pure and cannot make much out of little.
FILTERS = """
    abs capitalize count d default dictsort first float groupby int items last length list lower map max min
    reject rejectattr reverse round select selectattr sort title trim truncate unique upper urlencode
""".split()  # noqa: SIM905

_steps: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("steps", default=None)


@contextlib.contextmanager
def budget() -> Iterator[None]:
    """The steps of one rendering."""
    token = _steps.set([MAX_STEPS])
    try:
        yield
    finally:
        _steps.reset(token)


def _spend(steps: int = 1) -> None:
    left = _steps.get()
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise exceptions.SecurityError(f"it takes more than {MAX_STEPS} steps")


#: What has a length that it costs time to go through (Jinja calls its Context a mapping, without a length).
_MANY = (list, tuple, dict, MappingView)


def _cost(value: Any) -> int:
    if isinstance(value, str):
        return 1 + len(value) // 256
    return 1 + len(value) // 16 if isinstance(value, _MANY) else 1


def _bound(size: int) -> None:
    if size > MAX_SIZE:
        raise exceptions.SecurityError(f"it makes something larger than {MAX_SIZE} characters")


def measure(value: Any, *, text: bool = False) -> int:
    """About how many characters a value is as text, looking at shared parts as often as they would be written.

    text: refuse what has no text of its own (a function, a loop), and what is undefined. Raises SecurityError.
    """
    size, seen, todo = 0, 0, [value]
    while todo:
        one = todo.pop()
        seen += 1
        if isinstance(one, str):
            size += len(one) + 4
        elif isinstance(one, Mapping):
            size += 2
            todo.extend(itertools.chain.from_iterable(one.items()))
        elif isinstance(one, list | tuple):
            size += 2
            todo.extend(one)
        elif text and isinstance(one, runtime.Undefined):
            str(one)  # raises, naming it
        elif text and one is not None and not isinstance(one, int | float):
            raise exceptions.SecurityError(f"a {utils.object_type_repr(one)} is not text; did you mean to call it?")
        else:
            size += 8
        _bound(size + len(todo))
    _spend(1 + seen // 16)
    return size


def _concat(parts: Iterable[str]) -> str:
    size, kept = 0, []
    for part in parts:
        size += len(part)
        _bound(size)
        _spend(_cost(part))
        kept.append(part)
    return "".join(kept)


@jinja2.pass_context  # also keeps Jinja from working constants out when it compiles, out of our sight
def _finalize(context: runtime.Context, value: Any) -> Any:
    if type(value) is not str:
        measure(value, text=True)
    return value


# --- filters that need a look before they act ----------------------------------------------------------------------


def _turns(value: Iterable[Any]) -> Iterator[Any]:
    """The values of a loop, counted."""
    for one in value:
        _spend()
        yield one


def _range(*args: int) -> list[int]:
    """A list: a range would be short to look at and long to go through."""
    return list(sandbox.safe_range(*args))


def _sized(value: Any) -> Any:
    measure(value)
    return value


def _string(value: Any) -> str:
    measure(value, text=True)
    return str(value)


def _together(values: Sequence[Any]) -> str:
    return _concat(_string(value) for value in values)


@jinja2.pass_environment
def _join(env: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    values = list(_turns(value))
    if attribute is not None:
        values = list(map(filters.make_attrgetter(env, attribute), values))
    _bound(measure(values, text=True) + len(values) * len(str(d)))
    return str(d).join(map(str, values))


def _join_with(separator: str, values: Iterable[Any]) -> str:
    """``str.join``; unlike the filter it does not turn its values into text."""
    some = list(_turns(values))
    _bound(measure(some) + len(some) * len(separator))
    return separator.join(some)


def _replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = _string(value)
    _bound(len(text) + text.count(str(old)) * len(str(new)))
    return text.replace(str(old), str(new), -1 if count is None else count)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    wide = len(width) if isinstance(width, str) else width
    _bound(wide)
    _bound(len(value) + (value.count("\n") + 1) * wide)
    return str(filters.do_indent(value, width, first, blank))


def _tojson(value: Any, indent: int | None = None) -> str:
    measure(value, text=True)
    return json.dumps(value, sort_keys=True, indent=None if indent is None else max(0, min(int(indent), 8)))


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    return str(_percent(value, kwargs or args))


def _b64encode(value: str) -> str:
    return base64.b64encode(str(value).encode()).decode()


def _counted(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(filter_)  # keeps Jinja's mark of what it wants as its first argument
    def counted(*args: Any, **kwargs: Any) -> Any:
        _spend(sum(map(_cost, args)))
        answer = filter_(*args, **kwargs)
        _spend(_cost(answer))
        return answer

    return counted


# --- operators -----------------------------------------------------------------------------------------------------


def _percent(left: Any, right: Any) -> Any:
    if isinstance(left, str):
        if re.search(r"%(\([^)]*\))?[-#0 +]*(\*|\d{4}|\d*\.(\*|\d{4}))", left):
            raise exceptions.SecurityError("a width in a format is at most 999, and not `*`")
        _bound(len(left) + left.count("%") * (measure(right, text=True) + 1000))
    return left % right


def _times(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise exceptions.SecurityError("it makes too large a number")
    else:
        for one, count in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(count, int):
                _bound(count * (len(one) if isinstance(one, str) else measure(one) + 1))
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(right, 1) > MAX_BITS:
        raise exceptions.SecurityError("it makes too large a number")
    return left**right


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        _bound(measure(left) + measure(right))
    return left + right


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"%": _percent, "*": _times, "**": _power, "+": _plus}


class _Guards(visitor.NodeTransformer):
    """Puts the looks of this module around loops, ``~``, lists and mappings of a parsed template."""

    def __init__(self, env: jinja2.Environment) -> None:
        self._env = env

    def _through(self, name: str, node: Any) -> nodes.Filter:
        through = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        through.set_environment(self._env)
        return through

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise jinja2.TemplateSyntaxError("there are no recursive loops here", node.lineno)
        self.generic_visit(node)
        node.iter = self._through("occo turns", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._through("occo together", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        for operand in node.ops:  # no comparison takes longer than what is right of it is large
            operand.expr = self._through("occo sized", operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        node.node = self._through("occo sized", node.node)
        node.args = [self._through("occo sized", one) for one in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = self._through("occo sized", node.node)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return self._through("occo sized", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return self._through("occo sized", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return node if node.ctx == "store" else self._through("occo sized", node)


class Sandbox(sandbox.ImmutableSandboxedEnvironment):
    """The environment; one a process."""

    intercepted_binops = frozenset(_OPERATORS)
    concat = staticmethod(_concat)

    def __init__(self) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            loader=None,
            keep_trailing_newline=True,
            autoescape=False,
            optimized=False,
            cache_size=0,
            finalize=_finalize,
        )
        self.globals = {name: defaults.DEFAULT_NAMESPACE[name] for name in ("dict", "namespace")}
        self.globals["range"] = _range
        own: dict[str, Callable[..., Any]] = {
            "b64encode": _b64encode,
            "format": _format,
            "indent": _indent,
            "join": _join,
            "occo sized": _sized,
            "occo together": _together,
            "occo turns": _turns,
            "replace": _replace,
            "string": _string,
            "tojson": _tojson,
        }
        kept = {name: filters.FILTERS[name] for name in FILTERS}
        self.filters = {name: _counted(filter_) for name, filter_ in (kept | own).items()}

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Guards(self).visit(source), *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja's, but a key of a mapping goes before its methods."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """No wrapper: there is no ``str.format`` at all."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in STR_METHODS
        if isinstance(obj, Mapping):
            return attr in MAPPING_METHODS
        if isinstance(obj, list | tuple):
            return attr in LIST_METHODS
        if obj is None or isinstance(obj, int | float | bytes):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: runtime.Context, operator: str, left: Any, right: Any) -> Any:
        _spend(_cost(left) + _cost(right))
        answer = _OPERATORS[operator](left, right)
        _spend(_cost(answer))
        return answer

    def call(__self, __context: runtime.Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """As Jinja's, counted and measured."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        _spend(sum(map(_cost, (owner, *args))))
        if isinstance(owner, list | tuple):
            _sized(owner)  # count and index look into what it holds
        if isinstance(owner, str) and name == "join":
            answer: Any = _join_with(owner, *args)
        elif isinstance(owner, str) and name == "replace":
            answer = _replace(owner, *args)  # not kwargs: Jinja hands private ones to calls in loops
        else:
            answer = super().call(__context, __obj, *args, **kwargs)
        _spend(_cost(answer))
        return _sized(answer) if isinstance(answer, list | tuple | dict) else answer
