"""What users write for `nova`: the keys of the ``resource`` section, the credentials, and the account they lead to.

Called by nova.py; the section's schema by the compiler, too. Keys and values are those of Occopus, where a switch is
often a word (``floating_ip: add_yes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from occo_celery import errors
from occo_celery.plugins.resourcehandler import sections

DOMAIN = "Default"
#: Words that switch something off; any other switches it on.
_OFF = frozenset({"", "no", "none", "off", "false", "0"})


def _switched(value: Any) -> Any:
    return value.strip().lower() not in _OFF if isinstance(value, str) else value


def _number(value: Any) -> Any:
    """What a template gives is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Switch = Annotated[bool, pydantic.BeforeValidator(_switched, json_schema_input_type=bool | str)]
Number = Annotated[int, pydantic.BeforeValidator(_number, json_schema_input_type=int | str)]


class NovaSection(pydantic.BaseModel):
    """endpoint (of Keystone), project_id, user_domain_name, region_name and name choose the account, before any
    template is rendered.

    tenant_name: the name of the project; kept for Occopus' sake, project_id is what counts.
    volume_size: GB of a volume made from the image, which the instance boots from and which goes with it unless
    volume_persist is set.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["nova"]
    name: sections.Fixed | None = None
    endpoint: sections.Fixed
    project_id: sections.Fixed = pydantic.Field(min_length=1)
    tenant_name: str | None = None
    user_domain_name: sections.Fixed = DOMAIN
    region_name: sections.Fixed | None = None
    image_id: str = pydantic.Field(min_length=1)
    flavor_name: str = pydantic.Field(min_length=1)
    server_name: str | None = None
    key_name: str | None = None
    security_groups: list[str] = []
    network_id: str | None = None
    floating_ip: Switch = False
    floating_ip_pool: str | None = None
    volume_size: Number | None = pydantic.Field(default=None, ge=1)
    volume_persist: Switch = False

    @pydantic.field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str) -> str:
        return sections.web_url(endpoint, "https://cloud.example.org:5000/v3")

    @property
    def floats(self) -> bool:
        """Is a floating address wanted?"""
        return self.floating_ip or bool(self.floating_ip_pool)


class Password(pydantic.BaseModel):
    """The auth_data of a user."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["password"] = "password"
    username: str = pydantic.Field(min_length=1, repr=False)
    password: str = pydantic.Field(min_length=1, repr=False)


class ApplicationCredential(pydantic.BaseModel):
    """The auth_data of a program; it belongs to a project by itself."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["application_credential"]
    id: str = pydantic.Field(min_length=1, repr=False)
    secret: str = pydantic.Field(min_length=1, repr=False)


Credentials = Password | ApplicationCredential
_KINDS: dict[str, type[Credentials]] = {"password": Password, "application_credential": ApplicationCredential}


def account(section: Mapping[str, Any]) -> str:
    """``nova:<endpoint>:<project>``, with ``@<domain>`` of users who are not in the usual one, and ``:<region>`` and
    ``:<name>`` where the section has them (``-`` for no region before a name): that much may choose the credentials
    (auth_data goes by keys of the section), which are not known here."""
    domain, name = section.get("user_domain_name") or DOMAIN, section.get("name")
    project = section["project_id"] if domain == DOMAIN else f"{section['project_id']}@{domain}"
    region = section.get("region_name") or ("-" if name else None)
    return sections.account("nova", section["endpoint"].rstrip("/"), project, region, name)


def valid(section: Mapping[str, Any]) -> NovaSection:
    """The section with its defaults; rendering may have broken it. Raises PermanentError."""
    return sections.valid(NovaSection, section, "nova")


def credentials(account: str, auth: Mapping[str, Any]) -> Credentials:
    """The credentials of an account. Raises PermanentError, without their values."""
    wanted = (
        "auth_data must have username and password, or type: application_credential with id and secret, "
        "chosen by type, endpoint, project_id, user_domain_name, region_name and name"
    )
    kind = auth.get("type", "password")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise errors.PermanentError(f"{account}: {wanted}: its type must be one of {', '.join(_KINDS)}")
    return sections.valid(_KINDS[kind], auth, f"{account}: {wanted}")
