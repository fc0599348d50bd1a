"""The contract of plugins/resourcehandler/base.py as tests: every resource handler passes all of them.

The handlers come from the modules ``case_*.py`` beside this one; see cases.py. Nothing here knows any of them.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib
import os
import pathlib
import signal
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import pydantic
import pytest

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base
from tests.contract import cases

#: Seconds that a call may take, and that tests wait for what has to come about.
TIMEOUT, PATIENCE = 10.0, 60.0
ALIVE = (status.NodeStatus.READY, status.NodeStatus.PENDING)
THREADS = 8


def _modules() -> Iterator[tuple[str, ModuleType]]:
    """The cases beside this file, and those of other packages that are named in the environment."""
    for path in sorted(pathlib.Path(__file__).parent.glob("case_*.py")):
        yield path.stem.removeprefix("case_"), importlib.import_module(f"tests.contract.{path.stem}")
    for name in filter(None, os.environ.get("OCCO_CONTRACT_CASES", "").split(",")):
        yield name.partition(".")[0], importlib.import_module(name)


def _makers() -> Iterator[pytest.ParameterSet]:
    """One parameter a case: how to make it. Modules with several are asked once how many they have."""
    for name, module in _modules():
        if not hasattr(module, "make_cases"):
            yield pytest.param(module.make_case, id=name, marks=getattr(module, "MARKS", ()))
            continue
        with tempfile.TemporaryDirectory() as folder:
            made = module.make_cases(pathlib.Path(folder))
            for number, each in enumerate(made):
                each.cleanup()
                yield pytest.param(lambda tmp_path, m=module, n=number: m.make_cases(tmp_path)[n], id=each.name)


@pytest.fixture(params=_makers())
def case(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[cases.Case]:
    made: cases.Case = request.param(tmp_path)
    yield made
    made.cleanup()


@pytest.fixture
def handler(case: cases.Case) -> base.ResourceHandler:
    return case.make_handler()


def new_id(what: str = "node") -> str:
    """An id that no other test has used: an account may outlive a test."""
    return f"{what}-{uuid.uuid4().hex[:12]}"


def listed(case: cases.Case, node_id: str, handler: base.ResourceHandler | None = None) -> tuple[base.Seen, ...]:
    """What a list shows that is up to date."""
    if case.settle:
        case.settle()
    return (handler or case.make_handler()).observe([node_id], TIMEOUT)[node_id]


def wait_ready(case: cases.Case, node_id: str) -> base.Seen:
    handler = case.make_handler()

    def ready() -> base.Seen | None:
        return next((seen for seen in listed(case, node_id, handler) if seen.state is status.NodeStatus.READY), None)

    found = cases.wait_until(ready, PATIENCE, f"{node_id} ready")
    assert found is not None
    return found


def end(case: cases.Case, node_id: str) -> None:
    """Drop what is listed until nothing is, as the infraprocessor does."""
    handler = case.make_handler()

    def gone() -> bool:
        found = listed(case, node_id, handler)
        for seen in found:
            handler.drop(seen.instance_id, TIMEOUT)
        return not found

    cases.wait_until(gone, PATIENCE, f"{node_id} gone")


def at_once(work: Callable[[int], base.Seen | None]) -> list[base.Seen | None]:
    """The work, from THREADS threads that start together; an error in any of them is the test's."""
    barrier = threading.Barrier(THREADS)

    def start(number: int) -> base.Seen | None:
        barrier.wait(TIMEOUT)
        return work(number)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


# --- making -----------------------------------------------------------------------------------------


def test_what_create_made_is_listed_once_under_its_tags(case: cases.Case, handler: base.ResourceHandler) -> None:
    node_id, infra_id = new_id(), new_id("infra")
    made = handler.create(case.creation(node_id, infra_id))
    assert (made.node_id, made.infra_id) == (node_id, infra_id)
    assert made.state in ALIVE
    ready = wait_ready(case, node_id)
    (seen,) = listed(case, node_id)
    assert (seen.node_id, seen.infra_id, seen.instance_id) == (node_id, infra_id, made.instance_id)
    assert ready.addresses, "an instance that is ready has an address"


def test_what_create_made_is_swept_under_its_infrastructure(case: cases.Case, handler: base.ResourceHandler) -> None:
    infra_id = new_id("infra")
    made = handler.create(case.creation(new_id(), infra_id))
    wait_ready(case, made.node_id)
    assert [seen.instance_id for seen in handler.sweep(infra_id, TIMEOUT)] == [made.instance_id]


def test_creating_again_returns_the_same_instance(case: cases.Case, handler: base.ResourceHandler) -> None:
    if not handler.traits.idempotent:
        pytest.skip("this cloud makes a second one")
    creation = case.creation(new_id())
    first = handler.create(creation)
    assert handler.create(creation).instance_id == first.instance_id
    assert case.make_handler().create(creation).instance_id == first.instance_id
    wait_ready(case, creation.node_id)
    assert handler.create(creation).instance_id == first.instance_id
    assert [seen.instance_id for seen in listed(case, creation.node_id)] == [first.instance_id]


def test_without_tokens_every_instance_is_listed(case: cases.Case, handler: base.ResourceHandler) -> None:
    if handler.traits.idempotent:
        pytest.skip("this cloud makes no second one")
    creation = case.creation(new_id())
    made = {handler.create(creation).instance_id for _ in range(3)}
    assert len(made) == 3
    assert {seen.instance_id for seen in listed(case, creation.node_id)} == made


def test_a_race_of_creators_makes_one(case: cases.Case) -> None:
    handlers = [case.make_handler() for _ in range(THREADS)]
    if not handlers[0].traits.idempotent:
        pytest.skip("this cloud makes several")
    creation = case.creation(new_id(), new_id("infra"))

    def create(number: int) -> base.Seen | None:
        try:
            return handlers[number].create(creation)
        except errors.TransientError:  # "another call with this token is being carried out" is allowed
            return None

    made = {seen.instance_id for seen in at_once(create) if seen is not None}
    assert len(made) == 1
    wait_ready(case, creation.node_id)
    assert {seen.instance_id for seen in listed(case, creation.node_id)} == made
    assert {seen.instance_id for seen in handlers[0].sweep(creation.infra_id, TIMEOUT)} == made


def test_an_instance_outlives_a_creator_that_is_killed_before_it_records(case: cases.Case) -> None:
    creation = case.creation(new_id())
    child = os.fork()
    if child == 0:
        try:
            case.make_handler().create(creation)
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(1)  # create failed: never back into pytest
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    adopted = wait_ready(case, creation.node_id)
    assert [seen.instance_id for seen in listed(case, creation.node_id)] == [adopted.instance_id]
    end(case, creation.node_id)


def test_ids_and_addresses_are_unique(case: cases.Case, handler: base.ResourceHandler) -> None:
    node_ids = [new_id() for _ in range(5)]
    made = [handler.create(case.creation(node_id)) for node_id in node_ids]
    ready = [wait_ready(case, node_id) for node_id in node_ids]
    assert len({seen.instance_id for seen in made}) == 5
    assert len({seen.addresses[0] for seen in ready}) == 5


def test_an_instance_id_is_not_used_again(case: cases.Case, handler: base.ResourceHandler) -> None:
    first = handler.create(case.creation(new_id()))
    end(case, first.node_id)
    handler.forget(first.node_id)
    assert handler.create(case.creation(new_id())).instance_id != first.instance_id


def test_a_bad_creation_is_permanent_and_leaves_nothing(case: cases.Case, handler: base.ResourceHandler) -> None:
    if case.bad_creation is None:
        pytest.skip("nothing of this cloud's is permanently wrong")
    creation = case.bad_creation(new_id())
    with pytest.raises(errors.PermanentError):
        handler.create(creation)
    assert listed(case, creation.node_id) == ()
    assert creation.node_id not in {seen.node_id for seen in handler.sweep(creation.infra_id, TIMEOUT)}


def means(case: cases.Case, field: str) -> Any:
    """What a case has under this name; without it the test is skipped, with the reason that the case gives."""
    found = getattr(case, field)
    if found is None:
        pytest.skip(f"{case.name}, {field}: {case.why_not.get(field, 'neither how nor why not is said by its case')}")
    return found


def test_a_throttled_creation_is_refused_for_now_and_makes_nothing(
    case: cases.Case, handler: base.ResourceHandler
) -> None:
    throttle: Callable[[], AbstractContextManager[float | None]] = means(case, "throttle")
    creation = case.creation(new_id())
    with throttle() as asked, pytest.raises(errors.TransientError) as caught:
        handler.create(creation)
    assert type(caught.value) is errors.TransientError, "neither a doubt nor a lack of room"
    assert caught.value.delay == asked
    assert listed(case, creation.node_id) == ()
    made = handler.create(creation)
    wait_ready(case, creation.node_id)
    assert [seen.instance_id for seen in listed(case, creation.node_id)] == [made.instance_id]


def test_an_answer_that_is_lost_is_a_doubt_and_one_instance(case: cases.Case, handler: base.ResourceHandler) -> None:
    lose_answer: Callable[[], AbstractContextManager[base.ResourceHandler]] = means(case, "lose_answer")
    creation = case.creation(new_id())
    with lose_answer() as cut_off, pytest.raises(errors.OutcomeUnknown):
        cut_off.create(creation)
    cases.wait_until(lambda: listed(case, creation.node_id), TIMEOUT, "what was made unheard")
    (made,) = listed(case, creation.node_id, handler)
    if handler.traits.idempotent:
        assert handler.create(creation).instance_id == made.instance_id
        wait_ready(case, creation.node_id)
        assert [seen.instance_id for seen in listed(case, creation.node_id)] == [made.instance_id]
    end(case, creation.node_id)


def test_wrong_credentials_are_permanent_and_not_shown(case: cases.Case) -> None:
    stranger: base.ResourceHandler = means(case, "wrong_credentials")()
    creation = case.creation(new_id())
    for call in (lambda: stranger.create(creation), lambda: stranger.observe([creation.node_id], TIMEOUT)):
        with pytest.raises(errors.PermanentError) as caught:
            call()
        assert cases.WRONG not in "".join(traceback.format_exception(caught.value))
    assert listed(case, creation.node_id) == ()


def test_user_data_arrive(case: cases.Case, handler: base.ResourceHandler) -> None:
    if case.user_data_of is None:
        pytest.skip("takes no user data")
    read = case.user_data_of
    text = "#cloud-config\nruncmd:\n- [echo, 'grüße', \"$HOME\"]\n"
    creation = dataclasses.replace(case.creation(new_id()), user_data=text)
    handler.create(creation)
    wait_ready(case, creation.node_id)
    cases.wait_until(lambda: read(creation.node_id) == text, PATIENCE, "the user data")


# --- looking ----------------------------------------------------------------------------------------


def test_observe_answers_for_every_node_asked_and_for_no_other(
    case: cases.Case, handler: base.ResourceHandler
) -> None:
    made = {node_id: handler.create(case.creation(node_id)) for node_id in (new_id(), new_id(), new_id())}
    for node_id in made:
        wait_ready(case, node_id)
    asked = list(made)[1:]
    unknown = [new_id("nobody") for _ in range(300)]
    seen = handler.observe([*unknown, *asked], TIMEOUT)
    assert set(seen) == {*unknown, *asked}
    assert all(seen[node_id] == () for node_id in unknown)
    assert {each.instance_id for node_id in asked for each in seen[node_id]} == {made[n].instance_id for n in asked}
    assert all(each.node_id == node_id for node_id, found in seen.items() for each in found)
    assert handler.observe([], TIMEOUT) == {}


def test_what_vanished_is_not_ready(case: cases.Case, handler: base.ResourceHandler) -> None:
    node_id, other = new_id(), new_id()
    for each in (node_id, other):
        handler.create(case.creation(each))
        wait_ready(case, each)
    case.vanish(node_id)
    cases.wait_until(
        lambda: all(seen.state not in ALIVE for seen in listed(case, node_id, handler)), PATIENCE, "its end seen"
    )
    assert [seen.state for seen in listed(case, other)] == [status.NodeStatus.READY]
    end(case, node_id)  # also what died by itself can be dropped


def test_sweep_finds_one_infrastructure_and_only_that(case: cases.Case, handler: base.ResourceHandler) -> None:
    ours, theirs = new_id("infra"), new_id("infra")
    made = {handler.create(case.creation(new_id(), ours)).node_id for _ in range(3)}
    kept = {handler.create(case.creation(new_id(), theirs)).node_id for _ in range(2)}
    for node_id in made | kept:
        wait_ready(case, node_id)
    found = handler.sweep(ours, TIMEOUT)
    assert sorted(seen.node_id for seen in found) == sorted(made)
    assert {seen.infra_id for seen in found} == {ours}
    for node_id in made:
        end(case, node_id)
    assert handler.sweep(ours, TIMEOUT) == ()
    assert {seen.node_id for seen in handler.sweep(theirs, TIMEOUT)} == kept
    assert handler.sweep(new_id("infra"), TIMEOUT) == ()


def test_sweep_of_a_whole_account_finds_every_infrastructure(case: cases.Case, handler: base.ResourceHandler) -> None:
    """The account may hold more: what others made."""
    tags = {new_id(): new_id("infra") for _ in range(3)}
    made = {handler.create(case.creation(node_id, infra_id)).instance_id for node_id, infra_id in tags.items()}
    for node_id in tags:
        wait_ready(case, node_id)

    def swept() -> list[base.Seen]:
        if case.settle:
            case.settle()
        return [seen for seen in case.make_handler().sweep(None, TIMEOUT) if seen.node_id in tags]

    assert {seen.node_id: seen.infra_id for seen in swept()} == tags
    assert {seen.instance_id for seen in swept()} == made
    assert len(swept()) == len(made)
    gone = next(iter(tags))
    end(case, gone)
    assert {seen.node_id for seen in swept()} == tags.keys() - {gone}


def test_logs_are_the_last_lines_or_said_not_to_be_kept(case: cases.Case, handler: base.ResourceHandler) -> None:
    made = handler.create(case.creation(new_id()))
    wait_ready(case, made.node_id)
    if type(handler).logs is base.ResourceHandler.logs:
        with pytest.raises(errors.PermanentError, match="keeps no console output"):
            handler.logs(made.instance_id, 2, TIMEOUT)
        return
    assert len(handler.logs(made.instance_id, 2, TIMEOUT).splitlines()) <= 2


# --- ending -----------------------------------------------------------------------------------------


def test_what_was_dropped_is_no_longer_listed(case: cases.Case, handler: base.ResourceHandler) -> None:
    made, other = handler.create(case.creation(new_id())), handler.create(case.creation(new_id()))
    wait_ready(case, made.node_id)
    wait_ready(case, other.node_id)
    handler.drop(made.instance_id, TIMEOUT)
    cases.wait_until(
        lambda: all(seen.state not in ALIVE for seen in listed(case, made.node_id)), PATIENCE, "dropping seen"
    )
    end(case, made.node_id)
    assert [seen.state for seen in listed(case, other.node_id)] == [status.NodeStatus.READY]


def test_dropping_again_and_dropping_nothing_succeed(case: cases.Case, handler: base.ResourceHandler) -> None:
    made = handler.create(case.creation(new_id()))
    handler.drop(made.instance_id, TIMEOUT)
    handler.drop(made.instance_id, TIMEOUT)
    end(case, made.node_id)
    case.make_handler().drop(made.instance_id, TIMEOUT)
    handler.drop(new_id("no-such-instance"), TIMEOUT)


def test_a_dropped_node_is_not_made_again(case: cases.Case, handler: base.ResourceHandler) -> None:
    if not handler.traits.idempotent:
        pytest.skip("this cloud remembers nothing")
    creation = case.creation(new_id())
    handler.create(creation)
    end(case, creation.node_id)
    try:
        late = case.make_handler().create(creation)
    except errors.ResourceError:
        pass  # refusing is as good as returning what is gone
    else:
        assert late.state not in ALIVE
    assert all(seen.state not in ALIVE for seen in listed(case, creation.node_id))


def test_forgetting_what_is_gone_or_unknown_succeeds(case: cases.Case, handler: base.ResourceHandler) -> None:
    made = handler.create(case.creation(new_id()))
    end(case, made.node_id)
    for node_id in (made.node_id, made.node_id, new_id("nobody")):
        handler.forget(node_id)
    assert listed(case, made.node_id) == ()


# --- the handler as an object -----------------------------------------------------------------------


def test_one_handler_serves_many_threads(case: cases.Case, handler: base.ResourceHandler) -> None:
    infra_id = new_id("infra")
    node_ids = [new_id() for _ in range(THREADS)]

    def live(number: int) -> base.Seen:
        made = handler.create(case.creation(node_ids[number], infra_id))
        assert set(handler.observe(node_ids, TIMEOUT)) == set(node_ids)
        handler.sweep(infra_id, TIMEOUT)
        handler.drop(made.instance_id, TIMEOUT)
        return made

    made = [seen for seen in at_once(live) if seen is not None]
    assert [seen.node_id for seen in made] == node_ids
    assert len({seen.instance_id for seen in made}) == THREADS
    for node_id in node_ids:
        end(case, node_id)
    assert handler.sweep(infra_id, TIMEOUT) == ()


def test_the_schema_refuses_unknown_keys(case: cases.Case, handler: base.ResourceHandler) -> None:
    section = dict(case.creation(new_id()).section)
    handler.schema.model_validate(section)
    with pytest.raises(pydantic.ValidationError, match="surely_no_such_key"):
        handler.schema.model_validate({**section, "surely_no_such_key": 1})
    with pytest.raises(pydantic.ValidationError, match="type"):
        handler.schema.model_validate({**section, "type": "surely_no_such_type"})


def test_the_account_is_stable_and_tells_no_secret(case: cases.Case, handler: base.ResourceHandler) -> None:
    section = dict(case.creation(new_id()).section)
    account = handler.account(section, {})
    assert account == handler.account(dict(reversed(section.items())), {}) != ""
    secret = "hunter2"
    options = {"password": secret, "token": secret, "auth": {"password": secret}}
    assert handler.account(section, options) == account
