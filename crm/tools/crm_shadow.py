"""`crm_shadow`: copies of the CIB to try things on. `crm cib` has the same for people; files and names are the same."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crm.api import errors, shadows
from crm.api.client import Client
from crm.api.errors import ApiError
from crm.cib import difference, patchset, xml
from crm.tools import exits
from crm.tools.cibfile import FileClient
from crm.tools.command import Failure, Given, only_command, run, usage

if TYPE_CHECKING:
    from lxml.etree import _Element

    from crm.tools.command import Table

NAME: Final = "crm_shadow"
PURPOSE: Final = "perform configuration changes in a sandbox"
COMMANDS: Final = (
    *("which", "display", "edit", "diff", "file"),
    *("create", "create-empty", "commit", "delete", "reset", "switch"),
)
TABLE: Final[Table] = (
    "Queries:",
    ("w", "which", "", "Indicate the active shadow copy"),
    ("p", "display", "", "Display the contents of the active shadow copy"),
    ("E", "edit", "", "Edit the contents of the active shadow copy with your favorite $EDITOR"),
    ("d", "diff", "", "Display the changes in the active shadow copy"),
    ("F", "file", "", "Display the location of the active shadow copy file"),
    "Commands:",
    ("c", "create", "NAME", "Create the named shadow copy of the active cluster configuration"),
    ("e", "create-empty", "NAME", "Create the named shadow copy with an empty cluster configuration"),
    ("C", "commit", "NAME", "Upload the contents of the named shadow copy to the cluster. Requires -f"),
    ("D", "delete", "NAME", "Delete the contents of the named shadow copy. Requires -f"),
    ("r", "reset", "NAME", "Recreate named shadow copy from the active cluster configuration. Requires -f"),
    ("s", "switch", "NAME", "(Advanced) Switch to the named shadow copy"),
    "Additional Options:",
    ("f", "force", "", "(Advanced) Force the action to be performed"),
    ("b", "batch", "", "(Advanced) Don't spawn a new shell"),
    ("a", "all", "", ""),
    ("v", "validate-with", "SCHEMA", ""),
)
_DANGEROUS: Final = ("commit", "delete", "reset")


def work(given: Given) -> int:
    command = only_command(given, COMMANDS)
    if given.rest:
        usage(f"unexpected word '{given.rest[0]}'")
    if command in ("which", "display", "edit", "diff", "file"):
        return _query(command)
    name = given.text(command)
    path = _path(name)
    if command in ("create", "create-empty"):
        if path.exists() and not given.has("force"):
            raise Failure(f"A shadow copy '{name}' already exists; to overwrite it, use --force", exits.CANTCREAT)
        _begin(name, xml.to_text(xml.empty()) if command == "create-empty" else _live(), command != "create-empty")
        return _enter(name, given)
    if not path.is_file():
        raise Failure(f"There is no shadow copy '{name}' ({path})", exits.NOSUCH)
    if command in _DANGEROUS and not given.has("force"):
        text = "The supplied command is considered dangerous.  To prevent accidental destruction of the cluster, "
        raise Failure(f"{text}the --force flag is required in order to proceed.", exits.UNSAFE)
    if command == "switch":
        return _enter(name, given)
    if command == "delete":
        path.unlink()
        _base(name).unlink(missing_ok=True)
    elif command == "reset":
        _begin(name, _live(), True)
    else:
        _commit(name)
    return exits.OK


def _begin(name: str, text: str, of_live: bool) -> None:
    _write(_path(name), text)
    if of_live:
        _write(_base(name), text)
    else:
        _base(name).unlink(missing_ok=True)


def _commit(name: str) -> None:
    """What was changed since the shadow was made of the live configuration. One that was begun empty replaces it as a whole."""
    path, base = _path(name), _base(name)
    shadow = _read(path)
    configuration = xml.section(shadow, xml.CONFIGURATION)
    if configuration is None:
        raise Failure(f"{path} has no <configuration>", exits.DATAERR)
    if not base.is_file():
        text = xml.to_text(configuration, pretty=False)
        _ask("cib.apply", operation="replace", scope=xml.CONFIGURATION, xml=text, client=NAME)
        return
    if steps := difference.steps(_read(base), shadow):
        try:
            _ask("cib.apply", operation="transaction", steps=steps, client=NAME)
        except ApiError as error:
            if error.code not in (errors.NOT_FOUND, errors.EXISTS, errors.INVALID):
                raise
            text = "what was changed in the shadow does not fit the configuration any more, which others have changed meanwhile"
            raise ApiError(error.code, f"{text}: {error.message}", error.items) from None
        _write(base, xml.to_text(shadow))


def _query(command: str) -> int:
    name = shadows.chosen()
    if name is None:
        raise Failure("No active shadow configuration defined (set CIB_shadow)", exits.NOSUCH)
    path = _path(name)
    if command == "which":
        print(name)
    elif command == "file":
        print(path)
    elif command == "display":
        print(xml.to_text(_read(path)), end="")
    elif command == "edit":
        words = shlex.split(os.environ.get("EDITOR") or "vi")
        if subprocess.run([*words, str(path)], check=False).returncode:
            raise Failure(f"{words[0]} failed", exits.ERROR)
        _read(path)
    else:
        live, shadow = xml.parse(_live()), _read(path)
        if difference.steps(live, shadow):
            for part in (live.find(xml.STATUS), shadow.find(xml.STATUS)):
                if part is not None:
                    part.clear()  # a shadow's status is that of its making
            print(xml.to_text(patchset.diff(live, shadow)), end="")
            return exits.ERROR
    return exits.OK


def _path(name: str) -> Path:
    try:
        return Path(shadows.path_of(name))
    except ValueError as error:
        usage(str(error))


def _base(name: str) -> Path:
    return Path(shadows.base_of(name))


def _live() -> str:
    return str(_ask("cib.query")["xml"])


def _ask(method: str, **parameters: Any) -> Any:
    """The live cluster, whatever shadow is in use."""
    with closing(Client()) as client:
        return client.call(method, **parameters)


def _read(path: Path) -> _Element:
    return xml.parse(FileClient(str(path)).call("cib.query")["xml"])


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", exits.IOERR) from None


def _enter(name: str, given: Given) -> int:
    """A shell that works on the shadow; in a script the caller says so to its own."""
    if given.has("batch") or not sys.stdin.isatty():
        print(
            f"A new shadow instance was created.  To begin using it, enter the following into your shell:\n  export CIB_shadow={name}"
        )
        return exits.OK
    shell = os.environ.get("SHELL") or "/bin/sh"
    print(f"Working on the shadow {name}; type Ctrl-D to leave it")
    return subprocess.run([shell], env={**os.environ, shadows.ENV_SHADOW: name}, check=False).returncode


def main(argv: list[str] | None = None) -> int:
    return run(NAME, PURPOSE, TABLE, work, argv)


if __name__ == "__main__":
    sys.exit(main())
