"""Each bound on untrusted text: just within it is read, just over it is refused, quickly and in little memory."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
import tracemalloc

import pytest

from occo_celery import errors
from occo_celery.compiler import builder, plain, source
from tests.unit.compiler import making

HEAD = "infra_name: shop\nnodes: []\n"


def variable(text: str) -> str:
    return f"{HEAD}variables:\n  v: {text}\n"


def messages(text: str) -> list[str]:
    with pytest.raises(errors.SchemaError) as caught:
        making.compiled(text)
    return [problem.message for problem in caught.value.problems]


def test_size() -> None:
    line = "#" * 1023 + "\n"
    text = HEAD + line * (source.MAX_BYTES // 1024)
    fitting = text[: source.MAX_BYTES]
    making.compiled(fitting)
    assert messages(fitting + "#") == ["4,194,305 bytes, at most 4,194,304 are read"]
    wide = "#" + "ö" * (source.MAX_BYTES // 2)  # fewer characters, more bytes
    assert messages(HEAD + wide) == [f"{source.MAX_BYTES + len(HEAD) + 1:,} bytes, at most 4,194,304 are read"]


def test_size_of_a_file(tmp_path: object) -> None:
    path = f"{tmp_path}/shop.yaml"
    with open(path, "w") as file:
        file.write(HEAD + "#" * source.MAX_BYTES)
    assert messages(path) == ["larger than 4,194,304 bytes"]


def test_depth() -> None:
    within = builder.MAX_DEPTH - 2  # the document and `variables` are two levels
    making.compiled(variable("[" * within + "]" * within))
    assert messages(variable("[" * (within + 1) + "]" * (within + 1))) == ["nested more than 32 levels deep"]


def test_depth_through_aliases() -> None:
    """Each text level is shallow; what the aliases add up to is not."""
    lines = [f"  a{number}: &a{number} [*a{number - 1}]" for number in range(1, 60)]
    text = HEAD + "variables:\n  a0: &a0 [1]\n" + "\n".join(lines) + "\n"
    assert messages(text)[0] == "nested more than 32 levels deep"


def test_depth_of_data() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(errors.SchemaError, match="nested more than 32 levels deep"):
        making.compiled({"infra_name": "shop", "nodes": [], "variables": {"v": deep}})
    while deep:  # or else the interpreter would take it apart recursively
        deep = deep.pop()  # type: ignore[assignment]


@pytest.mark.parametrize("bracket", ["[", "{a: ", "- ", "? "])
def test_nesting_does_not_end_the_process(bracket: str) -> None:
    """In a process of its own: a segmentation fault must fail this test only."""
    program = (
        "import time; from occo_celery import errors; from occo_celery.compiler import source\n"
        f"text = {bracket!r} * 24_500 + chr(10)\n"
        "began = time.process_time()\n"
        "try: source.read_text(text).check()\n"
        "except errors.SchemaError as problem: print(problem)\n"
        "assert time.process_time() - began < 1\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "nested more than 32 levels deep" in done.stdout


def test_events() -> None:
    making.compiled(variable(f"[{'1,' * 10_000}]"))
    with pytest.raises(errors.SchemaError, match="larger than the 600,000 words and brackets"):
        making.compiled(variable(f"[{'1,' * (builder.MAX_EVENTS - 20)}[],[],[],[],[],[],[],[]]"))


def test_anchors() -> None:
    def anchors(count: int) -> str:
        return variable("[" + ",".join(f"&a{number} 1" for number in range(count)) + "]")

    making.compiled(anchors(builder.MAX_ANCHORS))
    assert messages(anchors(builder.MAX_ANCHORS + 1)) == ["more than 20,000 anchors"]


def test_scalar() -> None:
    making.compiled(variable("x" * builder.MAX_SCALAR))
    assert messages(variable("x" * (builder.MAX_SCALAR + 1))) == [
        "a text of 65,537 characters, at most 65,536 are read"
    ]
    data = {"infra_name": "shop", "nodes": [], "variables": {"v": "x" * (builder.MAX_SCALAR + 1)}}
    assert "at most 65,536 are read" in making.report(data)


def test_directives() -> None:
    text = "".join(f"%TAG !a{number}! tag:example.com,{number}:\n" for number in range(50_000)) + "---\n" + HEAD
    began = time.process_time()
    assert messages(text) == ["a line that begins with % (a YAML directive) is not read"]
    assert time.process_time() - began < 0.5
    making.compiled(variable("|\n    text\n    %TAG is text here"))


def bomb(levels: int, width: int = 10) -> str:
    lines = ["  b0: &b0 [x]"]
    for level in range(1, levels):
        lines.append(f"  b{level}: &b{level} [{', '.join([f'*b{level - 1}'] * width)}]")
    return HEAD + "variables:\n" + "\n".join(lines) + "\n"


def test_billion_laughs() -> None:
    making.compiled(bomb(5))
    text = bomb(20)
    tracemalloc.start()
    began = time.process_time()
    said = messages(text)
    spent = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said == ["holds more than 1,000,000 values, counting each alias as what it stands for"]
    assert spent < 0.5
    assert peak < 50e6


@pytest.mark.parametrize("where", ["variables", "nodes", "filter", "dependencies"])
def test_billion_laughs_anywhere(where: str) -> None:
    laughs = ["&b0 [x]"] + [f"&b{level} [{', '.join([f'*b{level - 1}'] * 10)}]" for level in range(1, 12)]
    listed = f"[{', '.join(laughs)}]"
    node = f"{{name: a, type: db, filter: {{f: {listed if where == 'filter' else 1}}}}}"
    nodes = listed if where == "nodes" else f"[{node}]"
    text = f"infra_name: shop\nnodes: {nodes}\n"
    if where in ("variables", "dependencies"):
        text += f"{where}: {'{v: ' + listed + '}' if where == 'variables' else listed}\n"
    tracemalloc.start()
    with pytest.raises(errors.SchemaError, match="holds more than 1,000,000 values"):
        making.compiled(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_merge_key_bomb() -> None:
    lines = ["  m0: &m0 {k: 1}"]
    for level in range(1, 400):
        lines.append(f"  m{level}: &m{level} {{<<: [*m{level - 1}, *m{level - 1}], k{level}: 1}}")
    with pytest.raises(errors.SchemaError, match="merge keys bring more than 100,000 keys"):
        making.compiled(HEAD + "variables:\n" + "\n".join(lines) + "\n")


def test_variables_that_every_node_gets() -> None:
    nodes = "".join(f"  - {{name: n{number}, type: db}}\n" for number in range(1_000))
    shared = ", ".join(f"k{number}: 1" for number in range(1_100))
    text = f"infra_name: shop\nnodes:\n{nodes}variables: {{{shared}}}\n"
    with pytest.raises(errors.SchemaError, match="each of the 1,000 nodes gets these 1,101 values"):
        making.compiled(text)
    assert plain.MAX_EXPANDED == 1_000_000


def test_node_aliases_weigh_nothing() -> None:
    """Nine levels of nodes, all on all below: expanded, their aliases would be millions."""
    lines = ["infra_name: shop", "nodes:"]
    for level, number in itertools.product(range(9), range(20)):
        name = f"n{level}-{number}"
        lines.append(f"  - &{name} {{name: {name}, type: db, variables: {{a: [1, 2, 3, 4, 5, 6, 7, 8]}}}}")
    lines.append("dependencies:")
    for level, one, other in itertools.product(range(1, 9), range(20), range(20)):
        lines.append(f"  - [*n{level}-{one}, *n{level - 1}-{other}]")
    began = time.process_time()
    made = making.described("\n".join(lines) + "\n")
    assert time.process_time() - began < 3
    assert [len(level) for level in made.topological_order] == [20] * 9


def test_many_problems_end() -> None:
    text = "infra_name: shop\nnodes:\n" + "  - {name: a_b, typ: dbb, x: 1}\n" * 20_000
    began = time.process_time()
    said = making.report(text)
    assert time.process_time() - began < 5
    assert said.splitlines()[-1] == "... and 951 more"
