"""The one composition root: settings become engines, plugins, clients, a clock, and the objects that work with them.

Called by api/ and tasks/. Nothing here decides anything. What makes passes and carries out instructions is imported
when it is made: beat and most commands need none of it, and are there sooner without.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from occo_celery import encryption, garbage, settings
from occo_celery.model.message import Send
from occo_celery.uds import infrastructures, version
from occo_celery.uds.store import Store

if TYPE_CHECKING:
    from occo_celery.enactor import observe, passes
    from occo_celery.infraprocessor import claims, perform, resolve, sweep, teardown
    from occo_celery.infraprocessor.hearing import Hearing
    from occo_celery.infraprocessor.together import Together
    from occo_celery.plugins.configmanager import base as configmanager
    from occo_celery.plugins.contextualisation import base as contextualisation
    from occo_celery.plugins.resourcehandler import clouds as accounts

#: Calls to clouds that a process has under way at the same time.
CALLS = 256


def load_all() -> None:
    """Import what a worker needs: once, before it forks, not in each child, which then share it."""
    from occo_celery.enactor import passes  # noqa: F401
    from occo_celery.infraprocessor import perform, sweep, teardown  # noqa: F401

    garbage.spare_what_is_here()


def new_id() -> str:
    """A name that nothing else has: of infrastructures, nodes, tokens."""
    return str(uuid.uuid4())


def choosing(kind: str) -> tuple[str, ...]:
    """The keys of a ``resource`` section of this type that choose its account. Raises PluginError."""
    from occo_celery.compiler import shapes
    from occo_celery.plugins import registry

    return ("type", *shapes.marked_keys(registry.schema_for("resource", kind), shapes.FIXED))


class System:
    """Everything that a process of this installation works with, made when first used.

    One a process: it holds connections, so a forked child makes its own. Tests and simulations hand in their own
    store, send, clouds, clock, randomness and a way to wait (``sleep``, like time.sleep, on the clock of ``now``).
    """

    def __init__(
        self,
        config: settings.Settings,
        *,
        send: Send | None = None,
        store: Store | None = None,
        clouds: accounts.Clouds | None = None,
        now: Callable[[], float] | None = None,
        new_id: Callable[[], str] = new_id,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.settings, self.new_id = config, new_id
        self._send, self._store, self._clouds, self._now = send, store, clouds, now
        self._rng = rng or random.Random()
        self.sleep = sleep or time.sleep
        #: Seconds from an arbitrary moment on; what callers of the API wait by.
        self.monotonic = now if now is not None and sleep is not None else time.monotonic
        self._managers: dict[str, configmanager.ConfigManager] = {}

    @cached_property
    def store(self) -> Store:
        """The UDS, seen to be of our version. Raises StoreError."""
        store = self._store or Store(self.settings.uds_url)
        version.check(store)
        return store

    @cached_property
    def send(self) -> Send:
        if self._send is not None:
            return self._send
        from occo_celery import dispatch  # Celery is not loaded for those who only look

        return dispatch.Dispatch(dispatch.make_app(self.settings), self.settings)

    def now(self) -> float:
        """Seconds since the epoch, by the clock of the database."""
        return self._now() if self._now is not None else self.store.now()

    @cached_property
    def encryption(self) -> encryption.Encryption:
        """Of the literal secrets of node definitions."""
        return encryption.Encryption(self.settings.encryption_keys)

    @cached_property
    def clouds(self) -> accounts.Clouds:
        from occo_celery.plugins.resourcehandler import clouds as accounts

        return self._clouds or accounts.Clouds(
            self.settings.resourcehandler,
            lambda section: self.settings.auth.find("resource", section, choosing(section["type"])),
        )

    def manager(self, section: Mapping[str, Any]) -> configmanager.ConfigManager:
        """The config manager that a ``config_management`` section asks for."""
        from occo_celery.plugins import registry

        key = repr(sorted(section.items(), key=str))
        if key not in self._managers:
            make = registry.load("config_management", section["type"])
            auth = self.settings.auth.find("config_management", section)
            self._managers[key] = make(section, auth, self.settings.configmanager.get(section["type"], {}))
        return self._managers[key]

    def contextualisation(self, name: str) -> contextualisation.Contextualisation:
        from occo_celery.plugins import registry

        plugin: contextualisation.Contextualisation = registry.load("contextualisation", name)()
        return plugin

    @cached_property
    def descriptions(self) -> infrastructures.Descriptions:
        return infrastructures.Descriptions()

    @cached_property
    def resolver(self) -> resolve.Resolver:
        from occo_celery.infraprocessor import resolve
        from occo_celery.plugins.contextualisation import commands

        cmd = commands.run if self.settings.contextualisation.cmd else commands.off
        return resolve.Resolver(self.settings.auth.secret, self.encryption.decrypt, self.contextualisation, cmd)

    @cached_property
    def observer(self) -> observe.Observer:
        from occo_celery.enactor import observe
        from occo_celery.plugins import registry

        limits = self.settings.enactor
        return observe.Observer(
            self.clouds,
            self.manager,
            {name: registry.load("health_check", name)() for name in registry.names("health_check")},
            deadline=limits.pass_deadline,
            health_limit=limits.health_limit,
        )

    @cached_property
    def enactor(self) -> passes.Enactor:
        from occo_celery.enactor import passes
        from occo_celery.planner import breaker

        limits = self.settings.enactor
        return passes.Enactor(
            store=self.store,
            observer=self.observer,
            names=self.resolver.names,
            send=lambda: self.send,  # Celery is not loaded for those who only look
            now=self.now,
            new_id=self.new_id,
            limits=passes.Limits(
                lease=limits.pass_lease,
                batch=limits.batch,
                creations=limits.creations,
                resend=self.settings.instructions.resend,
                downscale=limits.downscale,
                breaker=breaker.Policy(
                    share=limits.breaker_share, least=limits.breaker_least, delay=limits.breaker_delay
                ),
            ),
        )

    @cached_property
    def timing(self) -> claims.Timing:
        from occo_celery.infraprocessor import claims

        limits = self.settings.instructions
        return claims.Timing(
            lease=limits.lease, call=limits.call_timeout, resend=limits.resend, sweep=limits.sweep_interval
        )

    @cached_property
    def hearing(self) -> Hearing:
        from occo_celery.infraprocessor.hearing import Hearing

        return Hearing(self.store, self.now)

    @property
    def together(self) -> Together:
        from occo_celery.infraprocessor.together import Together

        return Together(CALLS)

    @cached_property
    def infraprocessor(self) -> perform.InfraProcessor:
        from occo_celery.infraprocessor import claims, create, drop, perform
        from occo_celery.infraprocessor.retries import Retries

        limits = self.settings.instructions
        retries = Retries(first=limits.backoff_first, longest=limits.backoff_longest, rng=self._rng)
        shared: dict[str, Any] = {
            "store": self.store,
            "clouds": self.clouds,
            "manager": self.manager,
            "retries": retries,
            "hearing": self.hearing,
            "now": self.now,
            "timing": self.timing,
        }
        together = self.together
        return perform.InfraProcessor(
            store=self.store,
            taker=claims.Claims(
                self.clouds,
                self.descriptions,
                new_id=self.new_id,
                rng=self._rng,
                timing=self.timing,
                hearing=self.hearing,
                budgets=self.settings.budgets,
            ),
            creator=create.Creator(**shared, resolver=self.resolver, together=together, new_id=self.new_id),
            dropper=drop.Dropper(**shared),
            send=self.send,
            now=self.now,
            together=together,
        )

    @cached_property
    def teardown(self) -> teardown.Teardown:
        from occo_celery.infraprocessor import teardown

        return teardown.Teardown(
            store=self.store,
            clouds=self.clouds,
            manager=self.manager,
            hearing=self.hearing,
            send=self.send,
            now=self.now,
            resend=self.settings.instructions.resend,
            call_timeout=self.settings.instructions.call_timeout,
        )

    @cached_property
    def sweeper(self) -> sweep.Sweeper:
        from occo_celery.infraprocessor import sweep

        limits = self.settings.instructions
        return sweep.Sweeper(
            store=self.store,
            clouds=self.clouds,
            send=self.send,
            now=self.now,
            timing=sweep.Timing(call=limits.call_timeout, interval=limits.sweep_interval, resend=limits.resend),
        )
