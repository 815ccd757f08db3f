"""One run of the shell: which session it uses, how it asks and answers, and what is being edited.

Every command gets the `Shell` of its run as the object of its context. A command prints what it did in one line (`say`); what went wrong is an exception, which
`main` or the interactive loop prints.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from crm.shell.session import Done, FileSession, LiveSession, Session, ShellError, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

    from crm.shell.configuration import Configuration


@dataclass(slots=True)
class Shell:
    """`wait`: return when the cluster is idle again. `interactive`: commands come one after the other, from a prompt or a script.

    `collecting`: in the configure level edits are kept in `pending` until they are committed.
    """

    cib_file: str | None = None
    run_dir: str | None = None
    wait: bool = False
    force: bool = False
    preview: bool = False
    """Changes are not made: what the cluster would do is shown instead."""
    interactive: bool = False
    collecting: bool = False
    pending: Configuration | None = None
    start: tuple[str, ...] | None = None
    """The level in which the interactive shell is to begin after this command; None: not at all."""
    script: str | None = None
    """A file of commands to run instead of asking for them."""
    _session: Session | None = field(default=None)

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = open_session(self.cib_file, self.run_dir)
        self._session.read_only = self.preview
        return self._session

    def use(self, session: Session) -> None:
        self.close()
        self._session = session

    def close(self) -> None:
        """Ends the session's connection."""
        if self._session is not None:
            self._session.close()

    @property
    def live(self) -> LiveSession:
        """The running cluster. ShellError when a file is being worked on."""
        session = self.session
        if isinstance(session, LiveSession):
            return session
        name = session.path if isinstance(session, FileSession) else session.name
        raise ShellError(
            f"this needs a running cluster, and {name} is only a file (unset CIB_file, or leave out --cib)"
        )

    def say(self, text: str, marks: Mapping[str, str] | None = None) -> None:
        """A line. On a terminal the words of `marks` have their colour, and what is too long goes on below, indented."""
        if marks is None or not sys.stdout.isatty():
            print(text)
            return
        from rich.text import Text

        from crm.shell.status.render import wrapped
        from crm.shell.status.show import make_console, style_for

        line = Text(text)
        for words, style in marks.items():
            line.highlight_regex(rf"(?<![\w-])(?:{words})(?![\w-])", style)
        console = make_console()
        for part in wrapped(line, style_for(console), len(text) - len(text.lstrip()) + 4):
            console.print(part, soft_wrap=True)

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr)

    def confirm(self, question: str) -> bool:
        """Yes or no; yes with --force. Without somebody to ask it is a refusal that names --force."""
        if self.force:
            return True
        if not sys.stdin.isatty():
            raise ShellError(f"{question} Say so with --force.")
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    def sure(self, question: str, force: bool = False) -> bool:
        """`confirm`, and a word when the answer is no. `force`: of the command itself."""
        self.force = self.force or force
        if self.confirm(question):
            return True
        self.say("nothing was done")
        return False

    def show_preview(self, cib: etree._Element) -> NoReturn:
        """Ends the command with what the cluster would do, were this its CIB."""
        from crm.shell import preview

        for line in preview.report(cib):
            self.say(line)
        raise Done

    @contextmanager
    def previewing(self, wanted: bool = True) -> Iterator[None]:
        """Inside, changes are shown instead of made, if that is wanted."""
        before = self.preview
        self.preview = before or wanted
        try:
            yield
        finally:
            self.preview = before

    def settle(self, timeout_ms: int = 0) -> None:
        """Waits until no transition is running or pending, when --wait asks for it and there is a cluster to wait for."""
        if self.wait and self.session.live:
            wait_idle(self.session, timeout_ms)


def wait_idle(session: Session, timeout_ms: int = 0) -> None:
    """Until the cluster has nothing left to do."""
    from crm.shell.session import WAIT_TIMEOUT_MS

    limit = timeout_ms or WAIT_TIMEOUT_MS
    if isinstance(session, LiveSession):
        session.call_patiently("wait", timeout_ms=limit)
    else:
        session.call("wait", timeout_ms=limit)


def shell_of(context: Any) -> Shell:
    """The shell that a command runs in; `context` is its typer context."""
    found = context.find_object(Shell)
    if found is None:
        found = Shell(run_dir=os.environ.get("VIGIL_RUN_DIR"))
        context.obj = found
    if not isinstance(found, Shell):
        raise AssertionError("the object of a context is a Shell")
    return found
