"""The configuration: YAML and environment become one frozen value. Only data; wiring.py makes objects of it.

Called once a process: by api/occoapp.py, tasks/entry.py and cli/. The same file, or the same environment variable
(OCCOPUS_CONFIG_PATH), configures worker, beat, API and command line alike; without one there is the embedded default,
which configs/embedded.yaml spells out.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import difflib
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from occo_celery import errors
from occo_celery.model import budget, reference

_T = TypeVar("_T", "Enactor", "Instructions", "Contextualisation")

#: A configuration file is at most this long, bytes.
LONGEST = 1 << 20
#: A Unix socket's path is at most this long, characters (the system's limit is a little more).
LONGEST_SOCKET = 100

#: Settings of Celery that the guarantees rest on, and why they are not to be changed.
FIXED_CELERY = {
    "task_serializer": "messages are JSON",
    "result_serializer": "messages are JSON",
    "accept_content": "messages are JSON",
    "result_backend": "results live in the UDS",
    "task_ignore_result": "results live in the UDS",
    "task_acks_late": "a message must outlive a worker that dies",
    "task_reject_on_worker_lost": "a task that kills its worker would run for ever",
    "imports": "the tasks are ours",
    "include": "the tasks are ours",
    "broker_read_url": "it is celery.broker_url",
    "broker_write_url": "it is celery.broker_url",
    "task_routes": "client and worker must use the same queues",
    "task_default_queue": "client and worker must use the same queues",
    "worker_prefetch_multiplier": "a worker takes one message at a time",
    "task_always_eager": "nothing runs in the caller's process",
    "broker_url": "it is celery.broker_url, beside this mapping",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Enactor:
    """Passes. Seconds, but for strategy, downscale, batch (infrastructures a message), creations (in flight,
    parallel), and the breaker's share and least count."""

    interval: float = 10.0
    longest_interval: float = 10.0  # to which that grows while an infrastructure is steady
    strategy: str = "sequential"
    pass_deadline: float = 5.0  # an account, and all health checks together, have so long to answer
    health_limit: float = 2.0  # one health check has
    pass_lease: float = 30.0
    batch: int = 200
    creations: int = 100
    beat_poll: float = 0.1
    downscale: str = "simple"  # or oldest, random: which of the ready instances go first when there are too many
    breaker_share: float = 0.3  # when more than this share of an account's instances fail at once ...
    breaker_least: int = 5  # ... and at least so many, healing there waits ...
    breaker_delay: float = 30.0  # ... so long for a second look


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Instructions. Seconds, but for batch (operations a message)."""

    lease: float = 90.0
    call_timeout: float = 20.0  # of a cloud call; less than a third of the lease
    batch: int = 50
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    resend: float = 10.0  # a message that led to nothing is sent again
    sweep_interval: float = 21600.0  # every cloud account is looked through for what nobody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Contextualisation:
    """Templates. cmd: ``cmd(command)`` in them runs programs on the workers' hosts, as the workers' user."""

    cmd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AuthData:
    """Credentials, out of auth_data.yaml; never shown."""

    source: str = ""
    resource: Sequence[Mapping[str, Any]] = ()
    config_management: Sequence[Mapping[str, Any]] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"AuthData(source={self.source!r})"

    def find(
        self, kind: str, section: Mapping[str, Any], choosing: Collection[str] | None = None
    ) -> Mapping[str, Any]:
        """The auth_data of the entry whose filter keys all equal those of the section; empty if there is none.

        choosing: the only keys that entries for such a section may go by. What is kept by account must not have the
        credentials of another one, because sections that lead to the same account differ elsewhere.
        Raises ConfigurationError when two match, and when one goes by another key.
        """
        entries = self.resource if kind == "resource" else self.config_management
        matches = []
        for number, entry in enumerate(entries, start=1):
            fits = all(section.get(key) == value for key, value in entry.items() if key != "auth_data")
            if choosing is not None and (fits or entry.get("type") == section.get("type")):
                self._must_go_by(choosing, number, entry, section.get("type"))
            if fits:
                matches.append((number, entry))
        if len(matches) > 1:
            numbers = " and ".join(str(number) for number, _ in matches)
            raise errors.ConfigurationError(
                f"{self.source}: entries {numbers} of {kind!r} both fit {section.get('type')!r} "
                f"{section.get('name', '')}; make their filters differ".replace(" ;", ";")
            )
        return matches[0][1]["auth_data"] if matches else {}

    def check(self, choosing: Callable[[str], Collection[str]]) -> None:
        """Whether the entries of resource go by keys that they may go by. choosing: these keys, by the type of a
        section; an entry of no type, or of one whose plugin is not here, is looked at when it is used.

        Raises ConfigurationError.
        """
        for number, entry in enumerate(self.resource, start=1):
            with contextlib.suppress(errors.PluginError):
                if isinstance(entry.get("type"), str):
                    self._must_go_by(choosing(entry["type"]), number, entry, entry["type"])

    def _must_go_by(self, choosing: Collection[str], number: int, entry: Mapping[str, Any], kind: Any) -> None:
        others = [key for key in entry if key != "auth_data" and key not in choosing]
        if others:
            raise errors.ConfigurationError(
                f"{self.source}: entry {number} of 'resource' goes by {', '.join(others)}; credentials for {kind!r} "
                f"can only go by what chooses the account: {', '.join(choosing)}"
            )

    def secret(self, name: str) -> str:
        """A secret: the environment variable OCCO_SECRET_<NAME>, else the entry in ``secrets``.

        Raises PermanentError, which says where it was looked for.
        """
        variable = f"OCCO_SECRET_{name.upper().replace('-', '_')}"
        if variable in os.environ:
            return os.environ[variable]
        if name in self.secrets:
            return self.secrets[name]
        raise errors.PermanentError(
            f"there is no secret {name!r}: set {variable} for the workers, or add it to `secrets` in "
            f"{self.source or 'auth_data.yaml'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """All that is configured. resourcehandler, configmanager: options by plugin type. celery: settings of the app.
    encryption_keys: of literal secrets; the first encrypts, each opens."""

    source: str
    home: pathlib.Path
    uds_url: str
    broker_url: str
    logging: Mapping[str, Any] | None = None
    celery: Mapping[str, Any] = field(default_factory=dict)
    enactor: Enactor = Enactor()
    instructions: Instructions = Instructions()
    contextualisation: Contextualisation = Contextualisation()
    budgets: Sequence[budget.Budget] = ()
    resourcehandler: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configmanager: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    auth: AuthData = field(default_factory=AuthData)
    encryption_keys: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Settings(source={self.source!r}, home={str(self.home)!r})"  # URLs hold passwords

    @property
    def socket(self) -> pathlib.Path | None:
        """The Unix socket of the broker that `occo up` runs; None where the broker is somebody else's."""
        scheme, _, path = self.broker_url.partition("://")
        return pathlib.Path(path.partition("?")[0]) if scheme == "redis+socket" else None


def find(cfg_path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> pathlib.Path | None:
    """The configuration file: the argument, OCCOPUS_CONFIG_PATH, or the first of the usual places; None: embedded.

    Raises ConfigurationError when a file that was named is not there.
    """
    for named, what in (
        (cfg_path, "the configuration file"),
        (environ.get("OCCOPUS_CONFIG_PATH"), "OCCOPUS_CONFIG_PATH"),
    ):
        if named:
            path = pathlib.Path(named).expanduser()
            if not path.is_file():
                raise errors.ConfigurationError(f"{what}: there is no file {path}")
            return path
    return _usual(environ, "occopus_config.yaml")


def _usual(environ: Mapping[str, str], name: str) -> pathlib.Path | None:
    home = pathlib.Path(environ.get("HOME", "~")).expanduser()
    places = (home / ".occopus" / name, pathlib.Path(name), pathlib.Path("/etc/occopus") / name)
    return next((place for place in places if place.is_file()), None)


def load(
    cfg_path: str | os.PathLike[str] | None = None,
    auth_data_path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the configuration. Raises ConfigurationError, MissingConfigurationError."""
    environ = os.environ if environ is None else environ
    path = find(cfg_path, environ)
    auth = _load_auth(auth_data_path, environ)
    if path is None:
        return _embedded(environ, auth)
    return _from(_read(path, environ), str(path), environ, auth)


def default_home(environ: Mapping[str, str]) -> pathlib.Path:
    """Where the embedded system keeps everything: OCCO_HOME, else ~/.occopus."""
    home = environ.get("OCCO_HOME") or str(pathlib.Path(environ.get("HOME", "~")).expanduser() / ".occopus")
    return pathlib.Path(home).expanduser().absolute()


def _embedded(environ: Mapping[str, str], auth: AuthData) -> Settings:
    home = default_home(environ)
    return _checked(
        Settings(
            source="embedded default",
            home=home,
            uds_url=f"sqlite:///{home / 'uds.sqlite'}",
            broker_url=f"redis+socket://{home / 'valkey.sock'}",
            resourcehandler=_handlers({}, home),
            auth=auth,
            encryption_keys=_encryption("", {}, environ),
        )
    )


def _handlers(options: Mapping[str, Mapping[str, Any]], home: pathlib.Path) -> dict[str, Mapping[str, Any]]:
    """The options of the handlers that keep something on this machine, under home unless said otherwise."""
    defaults: dict[str, dict[str, Any]] = {
        "machine": {"root": str(home / "machines")},
        "process": {"root": str(home / "processes")},
        "simulated": {"database": str(home / "simulated.sqlite")},
        "simulated_no_tokens": {"database": str(home / "simulated.sqlite")},
    }
    return {name: {**defaults.get(name, {}), **options.get(name, {})} for name in {**defaults, **options}}


# --- reading ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Component:
    """A tagged mapping of the file, e.g. ``!UDS {url: ...}``; the tag says which component is configured."""

    tag: str
    options: Mapping[str, Any]


#: Tags that name components; each is data here and an object only in wiring.py.
TAGS = ("ConfigManager", "ResourceHandler", "UDS")


def _read(path: pathlib.Path, environ: Mapping[str, str]) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise errors.ConfigurationError(f"{path}: cannot be read: {problem}") from problem
    if len(text) > LONGEST:
        raise errors.ConfigurationError(f"{path}: longer than {LONGEST} bytes; is this a configuration?")
    loader = _loader(environ)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise errors.ConfigurationError(
                    f"{path}{_place(event.start_mark)}: aliases are not used in configuration files"
                )
        return yaml.load(text, Loader=loader)  # noqa: S506  # a SafeLoader with a few tags of ours
    except yaml.MarkedYAMLError as problem:
        raise errors.ConfigurationError(f"{path}{_place(problem.problem_mark)}: {problem.problem}") from problem
    except (yaml.YAMLError, RecursionError) as problem:
        raise errors.ConfigurationError(f"{path}: not YAML: {problem}") from problem


def _place(mark: Any) -> str:
    """``:line:column``, counted from 1, of a mark of PyYAML's."""
    return f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""


def _loader(environ: Mapping[str, str]) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Ours alone: constructors are kept in the class."""

    def component(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> _Component:
        if suffix not in TAGS:
            same = [tag for tag in TAGS if tag.lower() == suffix.lower()]
            near = same or difflib.get_close_matches(suffix, TAGS, 1)
            known = ", ".join(f"!{tag}" for tag in (*TAGS, "env"))
            # another one may be a password that wants quotes
            what = f"!{suffix}; did you mean !{near[0]}?" if near else f"(put a text in quotes); there are: {known}"
            raise yaml.constructor.ConstructorError(None, None, f"unknown tag {what}", node.start_mark)
        if not isinstance(node, yaml.MappingNode) and node.value:
            raise yaml.constructor.ConstructorError(
                None, None, f"!{suffix} takes a mapping of options", node.start_mark
            )
        options: Any = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
        return _Component(suffix, options)

    def variable(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        asked: Any = loader.construct_mapping(node) if isinstance(node, yaml.MappingNode) else {"name": node.value}
        name = asked.get("name")
        if name in environ:
            return environ[name]
        if "default" in asked:
            return asked["default"]
        raise yaml.constructor.ConstructorError(
            None, None, f"the environment variable {name} is not set, and `!env` names no default", node.start_mark
        )

    Loader.add_multi_constructor("!", component)
    Loader.add_constructor("!env", variable)
    return Loader


def _from(data: Any, source: str, environ: Mapping[str, str], auth: AuthData) -> Settings:
    if not isinstance(data, dict):
        raise errors.ConfigurationError(f"{source}: a configuration is a mapping")
    groups = ("enactor", "instructions", "contextualisation")
    _known(source, "", data, ("logging", "components", "celery", *groups, "budgets", "encryption", "home"))
    components = _mapping(source, data, "components")
    missing = [key for key in ("logging", "components") if key not in data]
    missing += [f"components.{key}" for key in ("resourcehandler", "configmanager", "uds") if key not in components]
    if missing:
        raise errors.MissingConfigurationError(
            f"{source}: missing: {', '.join(missing)}; configs/production.yaml shows a whole configuration"
        )
    _known(source, "components.", components, ("resourcehandler", "configmanager", "uds"))
    if data["logging"] is not None and not isinstance(data["logging"], dict):
        raise errors.ConfigurationError(f"{source}: logging is a mapping, as logging.config.dictConfig takes it")
    home = pathlib.Path(str(data.get("home") or default_home(environ))).expanduser().absolute()
    celery = _mapping(source, data, "celery")
    for key in celery:
        if key in FIXED_CELERY and key != "broker_url":
            raise errors.ConfigurationError(f"{source}: celery.{key} cannot be changed: {FIXED_CELERY[key]}")
    uds = _component(source, components, "uds", "UDS")
    return _checked(
        Settings(
            source=source,
            home=home,
            uds_url=str(uds.get("url") or f"sqlite:///{home / 'uds.sqlite'}").replace("{home}", str(home)),
            broker_url=str(celery.get("broker_url") or f"redis+socket://{home / 'valkey.sock'}").replace(
                "{home}", str(home)
            ),
            # else dictConfig would silence all that was imported before, our own modules first of all
            logging=data["logging"] and {"disable_existing_loggers": False, **data["logging"]},
            celery={key: value for key, value in celery.items() if key != "broker_url"},
            enactor=_values(source, data, "enactor", Enactor()),
            instructions=_values(source, data, "instructions", Instructions()),
            contextualisation=_values(source, data, "contextualisation", Contextualisation()),
            budgets=_budgets(source, data.get("budgets") or []),
            resourcehandler=_handlers(_component(source, components, "resourcehandler", "ResourceHandler"), home),
            configmanager=_component(source, components, "configmanager", "ConfigManager"),
            auth=auth,
            encryption_keys=_encryption(source, data, environ),
        )
    )


def _component(source: str, components: Mapping[str, Any], key: str, tag: str) -> Mapping[str, Any]:
    value = components[key]
    if not isinstance(value, _Component) or value.tag != tag:
        raise errors.ConfigurationError(f"{source}: components.{key} is written as !{tag} {{...}}")
    if tag == "UDS":
        _known(source, f"components.{key}.", value.options, ("url",))
        return value.options
    for name, options in value.options.items():
        if not isinstance(options, dict):
            raise errors.ConfigurationError(
                f"{source}: components.{key}.{name} is not a mapping; one of its options is wanted"
            )
    return value.options


def _mapping(source: str, data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise errors.ConfigurationError(f"{source}: {key} is a mapping")
    return value


def _known(source: str, where: str, data: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in data:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(keys)}"
            raise errors.ConfigurationError(f"{source}: unknown key {where}{key}; {hint}")


def _values(source: str, data: Mapping[str, Any], key: str, default: _T) -> _T:
    """A group of settings with what the file says in place of the defaults, of the types that these have."""
    given = _mapping(source, data, key)
    _known(source, f"{key}.", given, [one.name for one in dataclasses.fields(default)])
    values: dict[str, Any] = {}
    for name, value in given.items():
        kind = type(getattr(default, name))
        if kind is bool:
            if not isinstance(value, bool):
                raise errors.ConfigurationError(f"{source}: {key}.{name} is {value!r}; true or false is wanted")
            values[name] = value
            continue
        try:
            values[name] = kind(value)
        except (TypeError, ValueError) as problem:
            raise errors.ConfigurationError(f"{source}: {key}.{name} is {value!r}; a number is wanted") from problem
        if kind is not str and not values[name] > 0:
            raise errors.ConfigurationError(f"{source}: {key}.{name} is {value!r}; it must be more than 0")
    return dataclasses.replace(default, **values)


def _budgets(source: str, given: Any) -> Sequence[budget.Budget]:
    """A list of mappings; the first whose ``accounts`` fits an account is its budget."""
    if not isinstance(given, list):
        raise errors.ConfigurationError(
            f"{source}: budgets is a list of mappings like {{accounts: 'ec2:*', rate: 5}}"
        )
    found = []
    for position, one in enumerate(given):
        where = f"budgets[{position}]"
        if not isinstance(one, dict) or not isinstance(one.get("accounts"), str):
            raise errors.ConfigurationError(f"{source}: {where} is a mapping with `accounts`, e.g. 'ec2:*'")
        _known(source, f"{where}.", one, [each.name for each in dataclasses.fields(budget.Budget)])
        for name, kind in (("concurrency", int), ("rate", (int, float)), ("burst", int)):
            value = one.get(name, 1)
            if not isinstance(value, kind) or isinstance(value, bool) or not value > 0:
                wanted = "a number" if name == "rate" else "a whole number"
                raise errors.ConfigurationError(f"{source}: {where}.{name} is {value!r}; {wanted} above 0 is wanted")
        if not {"concurrency", "rate"} & one.keys():
            raise errors.ConfigurationError(f"{source}: {where} has neither concurrency nor rate")
        found.append(budget.Budget(**one))
    return tuple(found)


def _encryption(source: str, data: Mapping[str, Any], environ: Mapping[str, str]) -> Sequence[str]:
    given = _mapping(source, data, "encryption")
    _known(source, "encryption.", given, ("key",))
    if given.get("key") is None:
        return _keys(reference.KEY_VARIABLE, environ.get(reference.KEY_VARIABLE))
    return _keys(f"{source}: encryption.key", given["key"])


def _keys(where: str, text: Any) -> Sequence[str]:
    """The keys that a text has, which is never shown."""
    keys = text.split() if isinstance(text, str) else () if text is None else (text,)
    if not all(_is_key(one) for one in keys):
        raise errors.ConfigurationError(
            f"{where} must be {reference.KEY_LENGTH} random bytes in URL-safe base64 (or several such keys with "
            f"spaces between them, of which the first encrypts); make one with `{reference.MAKE_KEY}`"
        )
    return tuple(keys)


def _is_key(text: Any) -> bool:
    try:
        return len(base64.b64decode(text, altchars=b"-_", validate=True)) == reference.KEY_LENGTH
    except (TypeError, ValueError):
        return False


def _checked(settings: Settings) -> Settings:
    """What would break in a riddle later is said now."""
    if settings.socket is not None and len(str(settings.socket)) > LONGEST_SOCKET:
        raise errors.ConfigurationError(
            f"{settings.source}: the broker's socket {settings.socket} has a path longer than {LONGEST_SOCKET} "
            "characters, which the system does not take; set OCCO_HOME (or home) to a shorter folder"
        )
    if settings.enactor.strategy not in ("sequential", "parallel"):
        raise errors.ConfigurationError(
            f"{settings.source}: enactor.strategy is {settings.enactor.strategy!r}; it can be sequential or parallel"
        )
    if settings.enactor.downscale not in ("simple", "oldest", "random"):
        raise errors.ConfigurationError(
            f"{settings.source}: enactor.downscale is {settings.enactor.downscale!r}; it can be simple, oldest "
            "or random"
        )
    if settings.instructions.call_timeout * 3 > settings.instructions.lease:
        raise errors.ConfigurationError(
            f"{settings.source}: instructions.call_timeout is {settings.instructions.call_timeout:g} s, it must be "
            f"at most a third of instructions.lease ({settings.instructions.lease:g} s)"
        )
    return settings


def _load_auth(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> AuthData:
    named = path or environ.get("OCCOPUS_AUTH_DATA_PATH")
    found = pathlib.Path(named).expanduser() if named else _usual(environ, "auth_data.yaml")
    if found is None:
        return AuthData()
    if not found.is_file():
        raise errors.ConfigurationError(f"the file of credentials: there is no file {found}")
    data = _read(found, environ) or {}
    source = str(found)
    if not isinstance(data, dict):
        raise errors.ConfigurationError(f"{source}: a mapping of resource, config_management and secrets is wanted")
    _known(source, "", data, ("resource", "config_management", "secrets"))
    for kind in ("resource", "config_management"):
        for number, entry in enumerate(data.get(kind) or (), start=1):
            if not isinstance(entry, dict) or not isinstance(entry.get("auth_data"), dict):
                raise errors.ConfigurationError(f"{source}: entry {number} of {kind} has no mapping `auth_data`")
    secrets = data.get("secrets") or {}
    if not isinstance(secrets, dict) or not all(isinstance(value, str) for value in secrets.values()):
        raise errors.ConfigurationError(f"{source}: secrets is a mapping of names to texts; put numbers in quotes")
    return AuthData(
        source=source,
        resource=tuple(data.get("resource") or ()),
        config_management=tuple(data.get("config_management") or ()),
        secrets={str(key): value for key, value in secrets.items()},
    )
