"""What a glance is enough for: an instance that is confirmed is one of which a full look would change nothing."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from occo_celery.enactor.observe import Answers
from occo_celery.model import observation
from occo_celery.model.status import NodeStatus, Reason
from occo_celery.planner import assess
from occo_celery.plugins.resourcehandler import base
from occo_celery.uds.glances import Glance
from tests.unit.planner import making

NOW = 5000.0
READY = making.an_instance(1, "a", "ready", account="one", addresses=("10.0.0.1",))
ADDRESSES = json.dumps(["10.0.0.1"])
GLANCE = Glance(READY.infra_id, 0, READY.node_id, True, False, "one", str(READY.instance_id), ADDRESSES, "made")


@st.composite
def lists(draw: st.DrawFn) -> tuple[base.Seen, ...] | None:
    """Whatever the cloud may list under the tag of the instance; None: it did not answer."""
    one = st.builds(
        base.Seen,
        node_id=st.just(READY.node_id),
        infra_id=st.just(READY.infra_id),
        instance_id=st.sampled_from([str(READY.instance_id), "another"]),
        state=st.sampled_from(NodeStatus),
        reason=st.builds(Reason, code=st.sampled_from(["running", "odd"])),
        addresses=st.sampled_from([(), ("10.0.0.1",), ("10.0.0.2",), ("10.0.0.1", "10.0.0.2")]),
    )
    return draw(st.none() | st.lists(one, max_size=3).map(tuple))


@given(lists())
def test_what_is_confirmed_needs_no_closer_look(seen: tuple[base.Seen, ...] | None) -> None:
    answers = Answers(seen={} if seen is None else {READY.node_id: seen})
    sightings = (
        None
        if seen is None
        else tuple(
            observation.Sighting(
                instance_id=one.instance_id, state=one.state, reason=one.reason, addresses=one.addresses
            )
            for one in seen
        )
    )
    looked_at = observation.Observation(sightings=sightings)
    if answers.confirm(GLANCE):
        assert assess.assess(READY, looked_at, asked=NOW, now=NOW) == READY
        assert looked_at.strays(READY.instance_id) == ()
    else:
        assert seen is None or len(seen) != 1 or assess.assess(READY, looked_at, asked=NOW, now=NOW) != READY


def test_as_it_was_it_is_confirmed() -> None:
    seen = base.Seen(
        node_id=READY.node_id,
        infra_id=READY.infra_id,
        instance_id=str(READY.instance_id),
        state=NodeStatus.READY,
        reason=Reason(code="running"),
        addresses=("10.0.0.1",),
    )
    assert Answers(seen={READY.node_id: (seen,)}).confirm(GLANCE)
