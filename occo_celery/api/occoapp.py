"""Common functions of an Occopus application: find the configuration, wire the system, parse the command line.

After setup() this module holds ``args`` (the parsed arguments, None if none were parsed), ``configuration`` (the
settings, frozen) and ``infrastructure`` (the wired system that the managers of this process work with).
"""

from __future__ import annotations

import argparse
import logging.config
from collections.abc import Callable

from occo_celery import settings, wiring

#: Arguments parsed by argparse.
args: argparse.Namespace | None = None
#: Configuration data loaded from the file.
configuration: settings.Settings | None = None
#: The components built from the configuration.
infrastructure: wiring.System | None = None


def setup(
    setup_args: Callable[[argparse.ArgumentParser], None] | None = None,
    cfg_path: str | None = None,
    auth_data_path: str | None = None,
) -> wiring.System:
    """Build an Occopus application from configuration.

    setup_args: adds the application's own arguments to an ArgumentParser; the command line is parsed only when it
    is given. cfg_path: the configuration file; else ``--cfg``, OCCOPUS_CONFIG_PATH and the usual places are tried,
    and at last the embedded default. auth_data_path: the file of credentials, likewise.

    Raises ConfigurationError, MissingConfigurationError.
    """
    global args, configuration, infrastructure
    if setup_args is not None:
        args = _parse(setup_args)
        cfg_path = cfg_path or args.cfg
        auth_data_path = auth_data_path or args.auth_data_path
    configuration = settings.load(cfg_path, auth_data_path)
    if configuration.logging is not None:
        logging.config.dictConfig(dict(configuration.logging))
    infrastructure = wiring.System(configuration)
    return infrastructure


def system() -> wiring.System:
    """The wired system of this process; set up from the usual places if nobody has called setup() yet."""
    global configuration, infrastructure
    if infrastructure is None:
        configuration = settings.load()
        infrastructure = wiring.System(configuration)
    return infrastructure


def _parse(setup_args: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg", metavar="FILE", help="configuration file")
    parser.add_argument("--auth_data_path", metavar="FILE", help="file of credentials")
    setup_args(parser)
    return parser.parse_args()
