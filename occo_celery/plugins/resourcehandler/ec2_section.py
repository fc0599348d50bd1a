"""What users write for `ec2`: the keys of the ``resource`` section, the credentials, and the account they lead to.

Called by ec2.py; the section's schema by the compiler, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from occo_celery.plugins.resourcehandler import sections

#: Before the names of the tags that lists go by.
OURS = "occo_"
#: The tags that we set, and what EC2 keeps for itself: not for users.
RESERVED = ("Name", OURS, "aws:")
#: EC2 allows 50 tags (EC2 User Guide, "Tag restrictions"); four are ours.
MOST_TAGS = 46


class Ec2Section(pydantic.BaseModel):
    """endpoint, regionname and name choose the account, before any template is rendered."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["ec2"]
    name: sections.Fixed | None = None
    endpoint: sections.Fixed
    regionname: sections.Fixed = pydantic.Field(min_length=1)
    image_id: str = pydantic.Field(min_length=1)
    instance_type: str = pydantic.Field(min_length=1)
    key_name: str | None = None
    security_group_ids: list[str] = []
    subnet_id: str | None = None
    tags: dict[str, str] = pydantic.Field(default={}, max_length=MOST_TAGS)

    @pydantic.field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str) -> str:
        return sections.web_url(endpoint, "https://ec2.eu-west-1.amazonaws.com")

    @pydantic.field_validator("tags")
    @classmethod
    def _are_free(cls, tags: dict[str, str]) -> dict[str, str]:
        taken = [key for key in tags if key == "Name" or key.startswith(RESERVED[1:])]
        if taken:
            raise ValueError(f"{', '.join(taken)}: Name, {OURS}... and aws:... are set by others; choose other names")
        return tags


class Credentials(pydantic.BaseModel):
    """The auth_data, in Occopus' names."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    accesskey: str = pydantic.Field(min_length=1, repr=False)
    secretkey: str = pydantic.Field(min_length=1, repr=False)


def account(section: Mapping[str, Any]) -> str:
    """``ec2:<endpoint>:<region>``, and ``:<name>`` where the section has one: that much may choose the credentials
    (auth_data goes by keys of the section), which are not known here."""
    return sections.account("ec2", section["endpoint"].rstrip("/"), section["regionname"], section.get("name"))


def valid(section: Mapping[str, Any]) -> Ec2Section:
    """The section with its defaults; rendering may have broken it. Raises PermanentError."""
    return sections.valid(Ec2Section, section, "ec2")


def credentials(account: str, auth: Mapping[str, Any]) -> Credentials:
    """The credentials of an account. Raises PermanentError, without their values."""
    wanted = "auth_data must have accesskey and secretkey, chosen by type, endpoint, regionname and name"
    return sections.valid(Credentials, auth, f"{account}: {wanted}")
