"""The resource handler `ec2`: virtual machines of Amazon EC2, or of a cloud that speaks its API, through boto3.

Made by resourcehandler.clouds, used by the enactor and the infraprocessor. Its helpers: ec2_section (keys of the
section and credentials, names of accounts), ec2_listing (what an instance of EC2's is to us), ec2_errors (what its
errors mean).

One instance a node_id: the node_id is the ClientToken of RunInstances, and a tag, which is what lists go by. A token
is known for at least a day after its instance was terminated, so that what is late cannot make a second one.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import boto3.session
import botocore.session
from botocore import config, exceptions, loaders

from occo_celery import errors
from occo_celery.plugins.resourcehandler import base, ec2_errors, ec2_listing, ec2_section, timed_clients, user_data

#: Values that a filter of DescribeInstances may have, and instances that a page of it may show (EC2 API Reference).
FILTER_VALUES = 200
PAGE = 1000
#: Characters of a ClientToken.
TOKEN = 64
#: Bytes of user data, before they are encoded as base64 (EC2 User Guide, "Run commands at launch").
USER_DATA = 16 * 1024
#: Connections that a client keeps for threads that call at the same time.
CONNECTIONS = 32


class Ec2Handler(base.ResourceHandler):
    """One set of credentials at one endpoint, in one region."""

    # settle: lists may lag behind what was made, and the EC2 Developer Guide ("Eventual consistency") advises to ask
    # again for up to five minutes; to be wrong here makes a second instance elsewhere. absence_grace: to be wrong
    # about what was listed before only replaces it, and every drop waits so long: a minute is far above usual lags.
    traits = base.Traits(idempotent=True, settle=300.0, absence_grace=60.0)
    schema = ec2_section.Ec2Section

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return ec2_section.account(section)

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        if options:
            raise errors.ConfigurationError(f"resourcehandler ec2 has no options; there are: {', '.join(options)}")
        self._credentials = ec2_section.credentials(account, auth)
        self._endpoint, self._region = str(section["endpoint"]), str(section["regionname"])
        self._clients = timed_clients.TimedClients(self._connect, self._endpoint)

    # --- making and ending ----------------------------------------------------------------------------

    def create(self, creation: base.Creation) -> base.Seen:
        section = ec2_section.valid(creation.section)
        deadline = time.monotonic() + creation.timeout
        secrets = (self._credentials.secretkey, creation.user_data or "", *section.tags.values())
        with ec2_errors.translated(write=True, secrets=secrets):
            told = _parameters(creation, section)
            client = self._clients.get(deadline, errors.TransientError)
            try:
                made = client.run_instances(**told)["Instances"][0]
            except exceptions.ClientError as problem:
                used = ec2_errors.code_of(problem) in ec2_errors.TOKEN_USED
                earlier = self._earlier(creation.node_id, deadline) if used else None
                if earlier is None:
                    raise
                return earlier
        seen = ec2_listing.seen(made, time.time())
        return seen._replace(node_id=creation.node_id, infra_id=creation.infra_id)

    def _earlier(self, node_id: str, deadline: float) -> base.Seen | None:
        """What a used token made: rather what lives than what was terminated; None if nothing is listed."""
        listed = self._pages(_tagged(ec2_listing.NODE_ID, node_id), deadline) or ()
        return min((ec2_listing.seen(each, time.time()) for each in listed), key=ec2_listing.is_over, default=None)

    def drop(self, instance_id: str, timeout: float) -> None:
        with ec2_errors.translated(write=True, secrets=(self._credentials.secretkey,)):
            try:
                client = self._clients.get(time.monotonic() + timeout, errors.TransientError)
                client.terminate_instances(InstanceIds=[instance_id])
            except exceptions.ClientError as problem:
                if ec2_errors.code_of(problem) not in ec2_errors.NO_INSTANCE:
                    raise

    # --- looking --------------------------------------------------------------------------------------

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        """A filter takes 200 node_ids, a page shows 1,000 instances: for more than 200 the pages of all that is ours
        are read, unless that turns out to be more than half as many calls as filters would take."""
        deadline = time.monotonic() + timeout
        found: dict[str, tuple[base.Seen, ...]] = dict.fromkeys(node_ids, ())
        wanted = list(found)
        chunks = [wanted[start : start + FILTER_VALUES] for start in range(0, len(wanted), FILTER_VALUES)]
        listed = self._listed(_TAGGED, deadline, most=len(chunks) // 2) if len(chunks) > 1 else None
        if listed is None:
            listed = []
            for chunk in chunks:
                listed += self._listed(_tagged(ec2_listing.NODE_ID, *chunk), deadline) or ()
        for one in listed:
            if one.node_id in found:
                found[one.node_id] += (one,)
        return found

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        chosen = _TAGGED if infra_id is None else _tagged(ec2_listing.INFRA_ID, infra_id)
        return tuple(self._listed(chosen, time.monotonic() + timeout) or ())

    def logs(self, instance_id: str, lines: int, timeout: float) -> str:
        """The console, as EC2 kept it last: it is not asked of the machine, and may be some minutes old."""
        with ec2_errors.translated(write=False, secrets=(self._credentials.secretkey,)):
            client = self._clients.get(time.monotonic() + timeout, errors.CloudSilent)
            text = client.get_console_output(InstanceId=instance_id).get("Output", "")
        return "\n".join(text.splitlines()[-lines:] if lines > 0 else ())

    def _listed(self, chosen: Mapping[str, Any], deadline: float, most: int | None = None) -> list[base.Seen] | None:
        """What a filter chooses, without what is over. See _pages."""
        pages, now = self._pages(chosen, deadline, most), time.time()
        if pages is None:
            return None
        return [ec2_listing.seen(each, now) for each in pages if ec2_listing.counts(each, now)]

    def _pages(
        self, chosen: Mapping[str, Any], deadline: float, most: int | None = None
    ) -> list[Mapping[str, Any]] | None:
        """The instances that a filter chooses; None if they do not fit on ``most`` pages."""
        found: list[Mapping[str, Any]] = []
        asked: dict[str, Any] = {"Filters": [chosen], "MaxResults": PAGE}
        with ec2_errors.translated(write=False, secrets=(self._credentials.secretkey,)):
            for number in itertools.count(1):
                page = self._clients.get(deadline, errors.CloudSilent).describe_instances(**asked)
                found += [each for reservation in page["Reservations"] for each in reservation["Instances"]]
                if not page.get("NextToken"):
                    break
                if number == most:
                    return None
                asked["NextToken"] = page["NextToken"]
        return found

    # --- what comes between a caller and what it wants ------------------------------------------------

    def _connect(self, limit: int) -> Any:
        """A client whose calls take so many seconds at most, a fourth of them for the connection. The core is what
        tries again: the client would not even tell that there had been a time-out."""
        settings = config.Config(
            connect_timeout=limit / 4,
            read_timeout=limit * 3 / 4,
            retries={"total_max_attempts": 1},
            max_pool_connections=CONNECTIONS,
        )
        core = botocore.session.Session()
        core.register_component("data_loader", _models())
        session = boto3.session.Session(
            botocore_session=core,
            aws_access_key_id=self._credentials.accesskey,
            aws_secret_access_key=self._credentials.secretkey,
            region_name=self._region,
        )
        try:
            return session.client("ec2", endpoint_url=self._endpoint, config=settings)
        except ValueError as problem:
            raise errors.PermanentError(f"ec2: {self._endpoint}, {self._region}: {problem}") from problem


@functools.cache
def _models() -> Any:
    """boto3's descriptions of EC2's calls: to read them takes a tenth of a second, and once a process is enough."""
    return loaders.create_loader()


#: The filter for all instances that are ours, or another installation's.
_TAGGED = {"Name": "tag-key", "Values": [ec2_listing.NODE_ID]}


def _tagged(key: str, *values: str) -> dict[str, Any]:
    """A filter by one of our tags."""
    return {"Name": f"tag:{key}", "Values": list(values)}


def _token(node_id: str) -> str:
    """The ClientToken of a node, at most 64 characters of ASCII."""
    if node_id.isascii() and len(node_id) <= TOKEN:
        return node_id
    return hashlib.sha256(node_id.encode()).hexdigest()


def _parameters(creation: base.Creation, section: ec2_section.Ec2Section) -> dict[str, Any]:
    """What RunInstances is told: the same for the same creation, or EC2 would not know the token again."""
    tags = {
        **section.tags,
        "Name": f"{creation.node_name}.{creation.infra_id}",
        ec2_listing.NODE_ID: creation.node_id,
        ec2_listing.INFRA_ID: creation.infra_id,
        ec2_listing.NODE_NAME: creation.node_name,
    }
    optional = {
        "UserData": creation.user_data and user_data.fitting(creation.user_data, USER_DATA, "EC2"),
        "KeyName": section.key_name,
        "SecurityGroupIds": section.security_group_ids,
        "SubnetId": section.subnet_id,
    }
    return {
        "ClientToken": _token(creation.node_id),
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": section.image_id,
        "InstanceType": section.instance_type,
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
        **{key: value for key, value in optional.items() if value},
    }
