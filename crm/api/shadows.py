"""Where shadows are: copies of the CIB, by name, to try things on.

A shadow is a file of the user's own, `CRM_SHADOW_DIR/NAME.xml`. `CIB_shadow=NAME` in the environment makes shell and commands work on it, as
`CIB_file` does with any file. `NAME.base` is the configuration that it was made of: what was changed in the shadow, and nothing else, is
committed, so that what others have changed meanwhile stays. A shadow that was begun empty has none. On the path of commands that agents call, so nothing is imported but os.
"""

from __future__ import annotations

import os

FOLDER = "~/.local/state/vigil/shadows"
ENV_FOLDER = "CRM_SHADOW_DIR"
ENV_SHADOW = "CIB_shadow"
LIVE = "live"


def path_of(name: str) -> str:
    """The file of a shadow. ValueError when it cannot be a name."""
    if not name or "/" in name or name.startswith(".") or name == LIVE:
        raise ValueError(f"{name!r} cannot be the name of a shadow; expected a plain word")
    return os.path.join(os.path.expanduser(os.environ.get(ENV_FOLDER, FOLDER)), f"{name}.xml")  # noqa: PTH118, PTH111 (pathlib costs 10 ms)


def base_of(name: str) -> str:
    """The file of what a shadow was made of; it need not exist. ValueError as `path_of`."""
    return path_of(name).removesuffix(".xml") + ".base"


def names() -> list[str]:
    """The shadows that there are."""
    try:
        found = os.listdir(os.path.dirname(path_of("any")))  # noqa: PTH208, PTH120 (pathlib costs 10 ms)
    except OSError:
        return []
    return sorted(name.removesuffix(".xml") for name in found if name.endswith(".xml"))


def chosen() -> str | None:
    """The shadow that the environment names."""
    return os.environ.get(ENV_SHADOW) or None
