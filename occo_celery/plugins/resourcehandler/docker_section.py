"""What users write for `docker`: the keys of the ``resource`` section, the credentials, and the account they lead to.

Called by docker.py; the section's schema by the compiler, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from occo_celery.plugins.resourcehandler import sections

#: Where images come from that are not there yet, beside URLs of image archives.
DOCKERHUB, LOCAL = "dockerhub", "local"
#: Why images hold no secrets.
SHOWN = "lists and errors show it; logins belong in auth_data"
#: Ways to a Docker daemon.
SCHEMES = ("unix", "tcp", "http", "https")


class DockerSection(pydantic.BaseModel):
    """endpoint and name choose the account, before any template is rendered.

    origin: `dockerhub` (the registry that the image names, Docker Hub if it names none), `local` (it must be there),
    or the URL of an archive as `docker save` writes it.
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["docker"]
    name: sections.Fixed | None = None
    endpoint: sections.Fixed
    image: str = sections.public(SHOWN, min_length=1)
    origin: str = DOCKERHUB
    tag: str | None = sections.public(SHOWN, default=None)
    network_mode: str | None = None

    @pydantic.field_validator("endpoint")
    @classmethod
    def _is_endpoint(cls, endpoint: str) -> str:
        """A user or password in it would be seen wherever the account is named."""
        url = sections.split(endpoint)
        place = (url.netloc + url.path).strip("/") if url.scheme == "unix" else url.hostname
        if url.scheme not in SCHEMES or not place or "@" in url.netloc or url.query or url.fragment:
            raise ValueError("it must be like unix:///var/run/docker.sock or tcp://10.0.0.5:2375")
        return endpoint

    @pydantic.field_validator("origin")
    @classmethod
    def _is_origin(cls, origin: str) -> str:
        url = sections.split(origin)
        if origin in (DOCKERHUB, LOCAL) or "{{" in origin or "{%" in origin:
            return origin
        if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
            raise ValueError(
                f"it must be {DOCKERHUB}, {LOCAL} or the http or https URL of an image archive, "
                "without user and password"
            )
        return origin

    @pydantic.model_validator(mode="after")
    def _has_one_tag(self) -> DockerSection:
        if self.tag is not None and _is_complete(self.image):
            raise ValueError("`image` has a tag or digest of its own: leave out `tag`")
        return self

    @pydantic.model_validator(mode="after")
    def _is_for_all_to_see(self) -> DockerSection:
        sections.no_secrets(self)
        return self

    def reference(self) -> str:
        """The image by its full name, e.g. ``nginx:latest``."""
        return self.image if _is_complete(self.image) else f"{self.image}:{self.tag or 'latest'}"


class Credentials(pydantic.BaseModel):
    """The auth_data, for the registry that images are pulled from; may be missing."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    username: str = pydantic.Field(min_length=1, repr=False)
    password: str = pydantic.Field(min_length=1, repr=False)


def account(section: Mapping[str, Any]) -> str:
    """``docker:<endpoint>``, and ``:<name>`` where the section has one: that much may choose the credentials.

    Occopus' examples write unix://var/run/docker.sock for unix:///var/run/docker.sock; the SDK takes both.
    """
    endpoint = str(section["endpoint"]).rstrip("/")
    scheme, _, path = endpoint.partition("://")
    place = f"unix:///{path.lstrip('/')}" if scheme == "unix" else endpoint
    return sections.account("docker", place, section.get("name"))


def host(endpoint: str) -> str:
    """Where containers without a network of their own are found."""
    url = sections.split(endpoint)
    return "127.0.0.1" if url.scheme == "unix" else url.hostname or "127.0.0.1"


def valid(section: Mapping[str, Any]) -> DockerSection:
    """The section with its defaults; rendering may have broken it. Raises PermanentError."""
    return sections.valid(DockerSection, section, "docker")


def credentials(account: str, auth: Mapping[str, Any]) -> Credentials | None:
    """The credentials of an account, if it has any. Raises PermanentError, without their values."""
    if not auth:
        return None
    wanted = "auth_data may have username and password, for the registry"
    return sections.valid(Credentials, auth, f"{account}: {wanted}")


def _is_complete(image: str) -> bool:
    """Does it have a tag or digest? A colon before the last slash belongs to the registry's port."""
    return "@" in image or ":" in image.rpartition("/")[2]
