"""What can be added without touching the core: resource handlers, config managers, contextualisation,
health checks. Each kind has a base module that states its contract; plugins are entry points."""

import logging
from typing import Any


def _without_path(record: logging.LogRecord) -> bool:
    """httpx logs the URL of every request, and those that plugins ask may hold secrets: only the host is shown."""
    if isinstance(record.args, tuple):
        record.args = tuple(_host(one) if hasattr(one, "netloc") else one for one in record.args)
    return True


def _host(url: Any) -> str:
    return f"{url.scheme}://{url.netloc.decode()}/..."


logging.getLogger("httpx").addFilter(_without_path)
logging.getLogger("httpcore").setLevel(logging.INFO)  # at DEBUG it tells whole requests
