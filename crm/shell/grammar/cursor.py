"""Walks over the words of one statement, and collects what is wrong with them.

A parser asks for what it expects; `refuse` gives the statement up, `report` notes a problem and goes on, so that one statement can show several.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from crm.shell.grammar.lexer import Problem, Statement, Word


class GivenUp(Exception):
    """The rest of the statement cannot be understood. The problem has been noted."""


@dataclass(slots=True)
class Cursor:
    """`position` is the next word. The keyword itself has been read."""

    statement: Statement
    problems: list[Problem] = field(default_factory=list)
    position: int = 1

    def peek(self) -> Word | None:
        words = self.statement.words
        return words[self.position] if self.position < len(words) else None

    def next_text(self) -> str:
        """The next word's text, "" at the end."""
        word = self.peek()
        return word.text if word is not None else ""

    def next_is(self, *texts: str) -> bool:
        word = self.peek()
        return word is not None and not word.quoted and word.text in texts

    def advance(self) -> None:
        self.position += 1

    def take(self, expected: str) -> Word:
        """The next word; gives up at the end of the statement."""
        word = self.peek()
        if word is None:
            self.refuse(self.statement.end, f"the statement ends here; expected {expected}")
        self.position += 1
        return word

    def take_if(self, *texts: str) -> bool:
        if self.next_is(*texts):
            self.position += 1
            return True
        return False

    def report(self, word: Word, message: str) -> None:
        self.problems.append(Problem(word.line, word.column, message, self.statement.title))

    def refuse(self, word: Word, message: str) -> NoReturn:
        self.report(word, message)
        raise GivenUp

    def finish(self) -> None:
        """Nothing may be left."""
        word = self.peek()
        if word is not None:
            self.refuse(word, f"{word.text!r} is too much; expected the end of the statement")
