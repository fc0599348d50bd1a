"""The mutants: for each protection a patch that takes it out of the code, and the tests that hunt it.

guard: its number in docs/explanation/protocol.md, or a word for what is none of those. ``old`` stands exactly once in
``file`` (of occo_celery/). A mutant that no hunt finds has survived: a test is missing, or the guard is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass

GUARDS = "tests/integration/core/test_guards.py"
LIFE = "tests/integration/core/test_life.py"
CHANGES = "tests/integration/core/test_changes.py"
SCHEDULE = "tests/integration/uds/test_schedule.py"
PLANNER = "tests/unit/planner"
CONFIRM = "tests/unit/enactor"
SWEEP = "tests/integration/core/test_sweep.py"
SIMULATION = "tests/simulation/test_runs.py"
SEEDS = "tests/simulation/test_fixed_seeds.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One guard taken out. hunts: files of tests, each with what its tests' names have in common."""

    guard: str
    name: str
    file: str
    old: str
    new: str
    hunts: tuple[tuple[str, str], ...]


MUTANTS = (
    Mutant(
        guard="1",
        name="an operation can be claimed while another holds it",
        file="uds/operations.py",
        old='    if row["lease_until"] is not None and row["lease_until"] > now:\n        return False\n',
        new="",
        hunts=((GUARDS, "test_1"),),
    ),
    Mutant(
        guard="1",
        name="a holder writes without asking whether the operation is still its own",
        file="uds/operations.py",
        old="_HELD = _O.update().where(_IS_HELD)",
        new="_HELD = _O.update().where(_IS_TARGET)",
        hunts=((GUARDS, "test_1"), (LIFE, "")),
    ),
    Mutant(
        guard="1",
        name="a holder ends an operation that is not its own any more",
        file="uds/operations.py",
        old="_END = _O.delete().where(_ARE_HELD)",
        new="_END = _O.delete().where(_AMONG)",
        hunts=((GUARDS, "test_1"), (LIFE, "")),
    ),
    Mutant(
        guard="1",
        name="a creation that was overtaken leaves what it made",
        file="infraprocessor/create.py",
        old="            if _disowned(current[job.node.node_id], seen):",
        new="            if False:",
        hunts=((GUARDS, "test_1"),),
    ),
    Mutant(
        guard="2",
        name="a creation begins though nothing is managed any more",
        file="infraprocessor/claims.py",
        old="        and infra.attach_epoch == operation.attach_epoch\n",
        new="",
        hunts=((GUARDS, "test_2"),),
    ),
    Mutant(
        guard="2",
        name="a creation begins though the infrastructure is suspended",
        file="infraprocessor/claims.py",
        old="        and not infra.suspended\n",
        new="",
        hunts=((GUARDS, "test_2"),),
    ),
    Mutant(
        guard="2",
        name="detach leaves intents that have not begun",
        file="api/manager.py",
        old="            withdraw.withdraw(connection, infra_id, now=now)\n",
        new="",
        hunts=((LIFE, "detach"), (GUARDS, "test_10")),
    ),
    Mutant(
        guard="3",
        name="the claim of a creation does not look at its dependees",
        file="infraprocessor/claims.py",
        old="            elif plan.missing_dependee(",
        new="            elif False and plan.missing_dependee(",
        hunts=((GUARDS, "test_3"),),
    ),
    Mutant(
        guard="4",
        name="a call is sent though it could outlast its lease",
        file="infraprocessor/create.py",
        old="        if self._now() > job.send_until:",
        new="        if False:",
        hunts=((GUARDS, "test_4"),),
    ),
    Mutant(
        guard="4",
        name="a call is sent without asking whether the operation is still held",
        file="infraprocessor/create.py",
        old="if job.node.node_id in ours]\n            nodes",
        new="]\n            nodes",
        hunts=((GUARDS, "test_4"),),
    ),
    Mutant(
        guard="5",
        name="a creation in doubt is given up before the cloud has settled",
        file="infraprocessor/create.py",
        old="        if now < job.operation.doubt_until:\n            reason",
        new="        if False:\n            reason",
        hunts=((GUARDS, "test_5"),),
    ),
    Mutant(
        guard="5",
        name="a creation in doubt is sent again to a cloud without tokens",
        file="infraprocessor/create.py",
        old="        if not self._creates(job, rendered):",
        new="        if False:",
        hunts=((GUARDS, "test_5"),),
    ),
    Mutant(
        guard="5",
        name="a drop does not wait for creations that may still come true",
        file="infraprocessor/drop.py",
        old="        return now >= job.operation.doubt_until and absent_for >= grace",
        new="        return absent_for >= grace",
        hunts=((GUARDS, "test_5"),),
    ),
    Mutant(
        guard="6",
        name="a creation in doubt is chosen and rendered afresh",
        file="infraprocessor/claims.py",
        old="            elif operation.begun:",
        new="            elif False:",
        hunts=((GUARDS, "test_6"),),
    ),
    Mutant(
        guard="7",
        name="one look is enough to believe that an instance has vanished",
        file="planner/assess.py",
        old="    if seen.now - seen.instance.missing_since < seen.observation.absence_grace:\n        return None\n",
        new="",
        hunts=((PLANNER, "assess or vanish or listed"), (GUARDS, "test_7")),
    ),
    Mutant(
        guard="7",
        name="a drop believes the first list that does not show the instance",
        file="infraprocessor/drop.py",
        old="        return now >= job.operation.doubt_until and absent_for >= grace",
        new="        return now >= job.operation.doubt_until",
        hunts=((GUARDS, "test_7"), (GUARDS, "test_5")),
    ),
    Mutant(
        guard="7",
        name="a cloud that does not answer counts as an empty list",
        file="enactor/observe.py",
        old="    if seen is None:\n        return None\n",
        new="    if seen is None:\n        return ()\n",
        hunts=((LIFE, "silent"),),
    ),
    Mutant(
        guard="7",
        name="strays are left",
        file="enactor/record.py",
        old="        intents = self._write_strays()",
        new="        intents: list[instance.Operation] = []",
        hunts=((LIFE, "stray"),),
    ),
    Mutant(
        guard="8",
        name="a pass writes what it saw over rows that have changed",
        file="uds/nodes.py",
        old="_OBSERVED = _CHANGE.where(_IS_VERSION)",
        new="_OBSERVED = _CHANGE",
        hunts=((GUARDS, "test_8"),),
    ),
    Mutant(
        guard="8",
        name="a pass drops rows that have changed",
        file="uds/nodes.py",
        old="_MOVE_AS_READ = _MOVE.where(_IS_VERSION)",
        new="_MOVE_AS_READ = _MOVE",
        hunts=((GUARDS, "test_8"),),
    ),
    Mutant(
        guard="8",
        name="a pass that lost its lease to a detach writes all the same",
        file="api/manager.py",
        old="attach_epoch=infra.attach_epoch + 1, pass_token=None, lease_until=None",
        new="attach_epoch=infra.attach_epoch + 1",
        hunts=((GUARDS, "test_8"),),
    ),
    Mutant(
        guard="8",
        name="a plan for an older description is carried out",
        file="enactor/passes.py",
        old="planned_for_current=ours.generation == draft.leased.infra.generation",
        new="planned_for_current=True",
        hunts=((CHANGES, "old_description"),),
    ),
    Mutant(
        guard="9",
        name="a wake-up during a pass is swallowed",
        file="uds/schedule.py",
        old="        if released[outcome.infra_id].wake > outcome.wake_seen:",
        new="        if False:",
        hunts=((GUARDS, "test_9"),),
    ),
    Mutant(
        guard="10",
        name="detach does not wait for calls that are under way",
        file="api/manager.py",
        old="            if running:\n                raise errors.StillRunning",
        new="            if False:\n                raise errors.StillRunning",
        hunts=((GUARDS, "test_10"),),
    ),
    Mutant(
        guard="11",
        name="links of a teardown act though another chain has taken over",
        file="infraprocessor/teardown.py",
        old="operation.token != token or ",
        new="",
        hunts=((GUARDS, "test_11"),),
    ),
    Mutant(
        guard="11",
        name="the sweep ends though something was found",
        file="infraprocessor/teardown.py",
        old="        if found or busy:\n            return False\n",
        new="",
        hunts=((GUARDS, "test_11"),),
    ),
    Mutant(
        guard="11",
        name="the sweep drops nothing",
        file="infraprocessor/teardown.py",
        old="                handler.drop(one.instance_id, self._call_timeout)",
        new="                pass",
        hunts=((GUARDS, "test_11"),),
    ),
    Mutant(
        guard="12",
        name="a request that another pass has acted on is carried out again",
        file="uds/requests.py",
        old="    return ended.rowcount == len(requests)",
        new="    return True",
        hunts=((CHANGES, "once"),),
    ),
    Mutant(
        guard="12",
        name="a request stays when it was carried out",
        file="uds/requests.py",
        old="    ended = connection.execute(_Q.delete().where(_Q.c.id.in_([one.id for one in requests])))\n"
        "    return ended.rowcount == len(requests)",
        new="    return True",
        hunts=((CHANGES, "up_down"),),
    ),
    Mutant(
        guard="claim token",
        name="a pass does not use the claim up",
        file="uds/schedule.py",
        old='        "claim_token": None,\n',
        new="",
        hunts=((SCHEDULE, "doubled"),),
    ),
    Mutant(
        guard="claim token",
        name="a message with any claim token is good for a pass",
        file="uds/leases.py",
        old='    _S.c.claim_token == sa.bindparam("token"),\n',
        new="",
        hunts=((SCHEDULE, "doubled or earlier_attach"),),
    ),
    Mutant(
        guard="lease",
        name="two passes of one infrastructure at once",
        file="uds/leases.py",
        old="sa.or_(_I.c.lease_until.is_(None), _I.c.lease_until <= _NOW),",
        new="sa.true(),",
        hunts=((SCHEDULE, "doubled or stale"), (GUARDS, "test_8")),
    ),
    Mutant(
        guard="attach epoch",
        name="a pass under an earlier attach",
        file="uds/leases.py",
        old="    _S.c.attach_epoch == _I.c.attach_epoch,\n)",
        new=")",
        hunts=((SCHEDULE, "attach"),),
    ),
    Mutant(
        guard="5",
        name="the doubt of a call is not on record before it is sent",
        file="infraprocessor/create.py",
        old="                operations.doubt(connection, doubts, token)\n",
        new="                pass\n",
        hunts=((GUARDS, "test_5"), (SIMULATION, "without_violations or once_failed")),
    ),
    Mutant(
        guard="5",
        name="a refusal of a repeated creation forgets what an earlier call made",
        file="infraprocessor/create.py",
        old="            if earlier is not None:\n                return self._made_by_itself(job, earlier)\n",
        new="",
        hunts=((GUARDS, "test_5"), (SEEDS, "once_failed"), (SIMULATION, "without_violations")),
    ),
    Mutant(
        guard="sweep",
        name="the sweep of an account drops what it saw once",
        file="infraprocessor/sweep.py",
        old="if began - since[_target(one)] >= grace]",
        new="]",
        hunts=((SWEEP, ""),),
    ),
    Mutant(
        guard="sweep",
        name="the sweep of an account takes what is on its way for an orphan",
        file="infraprocessor/sweep.py",
        old="        return node.lifecycle is not instance.Lifecycle.RUNNING or node.instance_id == seen.instance_id",
        new="        return node.instance_id == seen.instance_id",
        hunts=((SWEEP, ""), ("tests/integration/core/test_doctor.py", "")),
    ),
    Mutant(
        guard="sweep",
        name="the sweep of an account drops what is somebody else's",
        file="infraprocessor/sweep.py",
        old="        if seen.infra_id not in books.infra_ids:\n            foreign += 1\n        elif",
        new="        if",
        hunts=((SWEEP, ""), ("tests/integration/core/test_doctor.py", "")),
    ),
    Mutant(
        guard="intent before call",
        name="the cloud is called before it is on record that it is",
        file="infraprocessor/claims.py",
        old='            operations.begin(connection, frozen.keys(), some[0].token or "")\n',
        new="",
        hunts=((GUARDS, "test_6 or test_5 or test_10"), (LIFE, "timed_out")),
    ),
    Mutant(
        guard="adoption by tag",
        name="what an earlier call made is not looked for",
        file="infraprocessor/create.py",
        old="        return found[0] if found else None",
        new="        return None",
        hunts=((LIFE, "timed_out"), (GUARDS, "test_5")),
    ),
    Mutant(
        guard="rolling",
        name="an outdated instance is dropped before its replacement is ready",
        file="planner/plan.py",
        old="        if over > 0 and all(one.ready for one in fresh):",
        new="        if over > 0:",
        hunts=((PLANNER, "scenario"), (CHANGES, "rolling")),
    ),
    Mutant(
        guard="named victim",
        name="the instance that a user named is left to chance",
        file="planner/plan.py",
        old="        cases = (one.node_id in victims, one.status in LOST,",
        new="        cases = (one.status in LOST,",
        hunts=((PLANNER, "scenario"),),
    ),
    Mutant(
        guard="named victim",
        name="a named instance is dropped though there is none too many",
        file="planner/plan.py",
        old="for one in order[:excess]]",
        new="for one in order[: max(excess, sum(one.node_id in scaled.victims for one in some))]]",
        hunts=((PLANNER, "scenario"),),
    ),
    Mutant(
        guard="glance",
        name="another instance under the same tag confirms a glance",
        file="enactor/observe.py",
        old="        if len(seen) != 1 or seen[0].instance_id != glance.instance_id:",
        new="        if len(seen) != 1:",
        hunts=((CONFIRM, ""),),
    ),
    Mutant(
        guard="glance",
        name="an instance that is not ready confirms a glance",
        file="enactor/observe.py",
        old="seen[0].state is _READY and ",
        new="",
        hunts=((CONFIRM, ""), (LIFE, "")),
    ),
    Mutant(
        guard="glance",
        name="a glance is enough also for what has not settled",
        file="enactor/passes.py",
        old="if all(glance.settled and self",
        new="if all(self",
        hunts=((LIFE, "holds_against"),),
    ),
    Mutant(
        guard="glance",
        name="a glance is enough also for what is not ready",
        file="enactor/passes.py",
        old="for one in taken if one.ready]",
        new="for one in taken]",
        hunts=((CHANGES, ""),),
    ),
    Mutant(
        guard="glance",
        name="a glance is enough also where checks are to be asked",
        file="enactor/observe.py",
        old="listed=not managed and not asked",
        new="listed=True",
        hunts=((CONFIRM, ""),),
    ),
    Mutant(
        guard="breaker",
        name="all are healed at once however many have failed",
        file="planner/plan.py",
        old="        and one.account not in held\n",
        new="",
        hunts=((PLANNER, "scenario"), (CHANGES, "second_look")),
    ),
)
