"""EC2 in the contract suite, with lists that lag behind: what was made is not listed, and cannot be ended, at first.

As the Amazon EC2 Developer Guide, "Eventual consistency", has it. See case_ec2.py.
"""

from __future__ import annotations

import pathlib

from tests.contract import case_ec2, cases

#: No other tests are there.
REGION = "ca-central-1"


def make_case(tmp_path: pathlib.Path) -> cases.Case:
    return case_ec2.case("ec2_stale", REGION, stale=True)
