"""The resource handler `shelf`: each instance is a file in a folder. Small, but it passes the contract suite."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pydantic

from occo_celery import errors
from occo_celery.model import status
from occo_celery.plugins.resourcehandler import base, sections


class ShelfSection(pydantic.BaseModel):
    """The ``resource`` section: what users write."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    type: Literal["shelf"]
    name: str | None = None
    folder: sections.Fixed = pydantic.Field(min_length=1)  # it chooses the account
    size: int = pydantic.Field(default=1, ge=1, le=10)


class ShelfHandler(base.ResourceHandler):
    """One folder."""

    # link() makes one file a node_id, however many try; a folder's list is always true
    traits = base.Traits(idempotent=True, settle=0.0, absence_grace=0.0)
    schema = ShelfSection

    @classmethod
    def account(cls, section: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        return f"shelf:{section['folder']}"

    def __init__(
        self, account: str, section: Mapping[str, Any], auth: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._folder = pathlib.Path(section["folder"])

    def create(self, creation: base.Creation) -> base.Seen:
        if creation.section.get("size", 1) > 5:
            raise errors.PermanentError("shelf: nothing larger than 5 fits")
        told = {
            "node_id": creation.node_id,
            "infra_id": creation.infra_id,
            "user_data": creation.user_data,
        }
        place = self._place(creation.node_id)
        with _translated(), tempfile.NamedTemporaryFile("w", dir=self._folder, encoding="utf-8") as made:
            json.dump(told, made)
            made.flush()
            with contextlib.suppress(FileExistsError):  # an earlier call made it
                os.link(made.name, place)
            if self._gone(creation.node_id).exists():  # looked at last: a drop writes it before it removes the file
                place.unlink(missing_ok=True)
                raise errors.PermanentError(f"shelf: {creation.node_id} was dropped; it is not made again")
            return _seen(place)

    def observe(self, node_ids: Sequence[str], timeout: float) -> Mapping[str, tuple[base.Seen, ...]]:
        listed = {one.node_id: (one,) for one in self._list()} if node_ids else {}
        return {node_id: listed.get(node_id, ()) for node_id in node_ids}

    def drop(self, instance_id: str, timeout: float) -> None:
        place = self._folder / instance_id
        if place.suffix != ".instance" or not place.exists():
            return  # gone is success
        with _translated():
            self._gone(_seen(place).node_id).touch()
            place.unlink(missing_ok=True)

    def sweep(self, infra_id: str | None, timeout: float) -> tuple[base.Seen, ...]:
        return tuple(one for one in self._list() if infra_id in (None, one.infra_id))

    def _list(self) -> list[base.Seen]:
        found = []
        try:
            for place in self._folder.glob("*.instance"):
                with contextlib.suppress(FileNotFoundError):  # dropped since
                    found.append(_seen(place))
        except OSError as problem:
            raise errors.CloudSilent(f"shelf: {problem}") from problem
        return found

    def _place(self, node_id: str) -> pathlib.Path:
        return self._folder / f"{hashlib.sha256(node_id.encode()).hexdigest()}.instance"

    def _gone(self, node_id: str) -> pathlib.Path:
        return self._place(node_id).with_suffix(".gone")


def _seen(place: pathlib.Path) -> base.Seen:
    told = json.loads(place.read_text("utf-8"))
    number = int(place.stem[:6], 16)
    return base.Seen(
        node_id=told["node_id"],
        infra_id=told["infra_id"],
        instance_id=place.name,
        state=status.NodeStatus.READY,
        reason=status.Reason(code="on_the_shelf", since=place.stat().st_mtime),
        addresses=(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",),
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors of the file system as errors of the contract."""
    try:
        yield
    except (FileNotFoundError, PermissionError) as problem:
        raise errors.PermanentError(f"shelf: {problem}") from problem
    except OSError as problem:
        raise errors.TransientError(f"shelf: {problem}") from problem
