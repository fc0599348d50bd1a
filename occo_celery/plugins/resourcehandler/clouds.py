"""The cloud accounts of this process: one handler object each, made when first needed and kept.

Made by wiring; used by the enactor (observing) and the infraprocessor (creating, dropping, sweeping).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from occo_celery.plugins import registry
from occo_celery.plugins.resourcehandler import base


class Clouds:
    """Handlers by account.

    options: the configuration's part for each handler type. auth: gives the auth_data that fits a section.
    load: finds the handler class of a type (tests hand in their own).
    """

    def __init__(
        self,
        options: Mapping[str, Mapping[str, Any]],
        auth: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        load: Callable[[str], type[base.ResourceHandler]] = lambda name: registry.load("resource", name),
    ) -> None:
        self._options, self._auth, self._load = options, auth, load
        self._handlers: dict[str, base.ResourceHandler] = {}
        self._lock = threading.Lock()

    def account(self, section: Mapping[str, Any]) -> str:
        """The name of the account that a ``resource`` section leads to from here."""
        return self._load(section["type"]).account(section, self._options.get(section["type"], {}))

    def traits(self, section: Mapping[str, Any]) -> base.Traits:
        return self._load(section["type"]).traits

    def handler(self, account: str, section: Mapping[str, Any]) -> base.ResourceHandler:
        """The handler of an account; ``section`` is any that leads, or once led, to it."""
        with self._lock:
            if account not in self._handlers:
                make = self._load(section["type"])
                options = self._options.get(section["type"], {})
                self._handlers[account] = make(account, section, self._auth(section), options)
            return self._handlers[account]
