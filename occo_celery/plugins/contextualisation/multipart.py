"""Several parts become one user data text: a MIME message, as cloud-init reads it.

"MIME multi-part archive" in the documentation of cloud-init's user data formats. Called by cloudinit.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from email.mime import multipart, text

from occo_celery import errors

#: By the beginning of a part, its type: as cloud-init tells them apart.
TYPES = {
    "#!": "x-shellscript",
    "#cloud-boothook": "cloud-boothook",
    "#cloud-config": "cloud-config",
    "#cloud-config-archive": "cloud-config-archive",
    "#cloud-config-jsonp": "cloud-config-jsonp",
    "#include": "x-include-url",
    "#include-once": "x-include-once-url",
    "#part-handler": "part-handler",
    "## template: jinja": "jinja2",
}


def type_of(part: str, where: str) -> str:
    """The type of a part, without ``text/``. Raises TemplateError with nothing of the part, which may be secret."""
    fitting = [beginning for beginning in TYPES if part.startswith(beginning)]
    if not fitting:
        raise errors.TemplateError(
            f"{where}: the part does not begin as any that cloud-init knows; there are: {', '.join(TYPES)}"
        )
    return TYPES[max(fitting, key=len)]


def joined(parts: Sequence[tuple[str, str]]) -> str:
    """One message of parts: (type without ``text/``, text). The same parts give the same message: what is sent again
    with a token must be what was sent."""
    message = multipart.MIMEMultipart(boundary=_boundary(parts))
    for kind, content in parts:
        # The email package rewrites line ends of what is not encoded.
        plain = content.isascii() and "\r" not in content
        message.attach(text.MIMEText(content, kind, "us-ascii" if plain else "utf-8"))
    return message.as_string()


def _boundary(parts: Sequence[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for one in parts:
        for each in one:
            digest.update(f"{len(each)}:{each}".encode())
    return f"=={digest.hexdigest()[:40]}=="
