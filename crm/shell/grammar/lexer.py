"""Cuts a configuration text into statements and words, and remembers where each word stood.

A statement ends at the end of its line, unless the line ends in a backslash. Words are separated by white space; double quotes keep white space
in a word (inside them a backslash quotes a double quote or another backslash, and is itself otherwise), single quotes keep everything.
A line that begins with `#` between two statements is a comment; inside a statement `#uname` is a word like any other.
After the keyword `xml` everything up to the end of the statement is taken as it is.

Quoted text may run over several lines. A quote that never ends is reported where it began, and reading goes on with the next line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

XML: Final = "xml"
_BLANK: Final = " \t\r"
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow, section 2.2."""


@dataclass(frozen=True, slots=True)
class Word:
    """`text` is without quotes. `equals` is the place of the first `=` outside quotes in `text`, -1 without; lines and columns from 1."""

    text: str
    line: int
    column: int
    equals: int = -1
    quoted: bool = False

    @property
    def name(self) -> str:
        """The part before `=`."""
        return self.text[: self.equals]

    @property
    def value(self) -> str:
        """The part after `=`."""
        return self.text[self.equals + 1 :]


@dataclass(frozen=True, slots=True)
class Problem:
    """Where a text is not the language, and what was expected there. `statement` names the object, such as `primitive web`."""

    line: int
    column: int
    message: str
    statement: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: "
        return f"{where}{self.statement + ': ' if self.statement else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class Statement:
    """Words of one statement, the keyword first. `raw` is what follows the keyword `xml`, else empty; `comments` the lines above."""

    words: tuple[Word, ...]
    line: int
    raw: str = ""
    comments: tuple[str, ...] = ()

    @property
    def end(self) -> Word:
        """The place after the last word, to say that something is missing there."""
        last = self.words[-1]
        return Word("", last.line, last.column + len(last.text))

    @property
    def title(self) -> str:
        """Keyword and id, for messages."""
        if len(self.words) > 1 and not self.raw:
            return f"{self.words[0].text} {self.words[1].text.rstrip(':')}"
        return self.words[0].text


@dataclass(slots=True)
class _Reader:
    text: str
    position: int = 0
    line: int = 1
    line_start: int = 0
    problems: list[Problem] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    @property
    def column(self) -> int:
        return self.position - self.line_start + 1

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.text)

    def peek(self) -> str:
        return self.text[self.position] if self.position < len(self.text) else "\n"

    def advance(self) -> str:
        character = self.text[self.position]
        self.position += 1
        if character == "\n":
            self.line += 1
            self.line_start = self.position
        return character

    def continues(self) -> bool:
        """Whether a backslash here ends the line (white space after it is forgiven)."""
        if self.peek() != "\\" or self.at_end:
            return False
        end = self.position + 1
        while end < len(self.text) and self.text[end] in _BLANK:
            end += 1
        return end >= len(self.text) or self.text[end] == "\n"

    def skip_line(self) -> None:
        while not self.at_end and self.advance() != "\n":
            pass


def split(text: str) -> tuple[list[Statement], list[Problem]]:
    """All statements of a text, and the quotes that never end."""
    reader = _Reader(text)
    _refuse_characters(reader)
    statements: list[Statement] = []
    while not reader.at_end:
        statement = _statement(reader)
        if statement is not None:
            statements.append(statement)
    return statements, reader.problems


def _refuse_characters(reader: _Reader) -> None:
    """Characters that no XML document can hold are reported and left out."""
    for number, line in enumerate(reader.text.split("\n"), start=1):
        for match in _FORBIDDEN.finditer(line):
            message = f"the character {match[0]!r} cannot be part of a configuration"
            reader.problems.append(Problem(number, match.start() + 1, message))
    reader.text = _FORBIDDEN.sub("", reader.text)


def _statement(reader: _Reader) -> Statement | None:
    words: list[Word] = []
    while True:
        _skip_blanks(reader)
        if reader.at_end:
            break
        if reader.peek() == "\n":
            reader.advance()
            break
        if not words and reader.peek() == "#":
            start = reader.position
            reader.skip_line()
            reader.comments.append(reader.text[start : reader.position].strip())
            return None
        before = (reader.position, reader.line, reader.line_start)
        word = _word(reader)
        if word is None:
            reader.position, reader.line, reader.line_start = before
            reader.skip_line()
            return None
        words.append(word)
        if len(words) == 1 and word.text == XML and not word.quoted:
            return Statement((word,), word.line, _raw(reader), _take_comments(reader))
    if not words:
        # An empty line: what is above it belongs to the file, not to the next statement.
        reader.comments.clear()
        return None
    return Statement(tuple(words), words[0].line, comments=_take_comments(reader))


def _take_comments(reader: _Reader) -> tuple[str, ...]:
    found = tuple(reader.comments)
    reader.comments.clear()
    return found


def _skip_blanks(reader: _Reader) -> None:
    while not reader.at_end:
        if reader.peek() in _BLANK:
            reader.advance()
        elif reader.continues():
            reader.skip_line()
        else:
            return


def _word(reader: _Reader) -> Word | None:
    line, column = reader.line, reader.column
    pieces: list[str] = []
    length = 0
    equals = -1
    quoted = False
    while not reader.at_end and reader.peek() not in _BLANK + "\n" and not reader.continues():
        character = reader.peek()
        if character in "\"'":
            quoted = True
            piece = _quoted(reader)
            if piece is None:
                return None
        else:
            piece = reader.advance()
            if piece == "=" and equals < 0:
                equals = length
        pieces.append(piece)
        length += len(piece)
    return Word("".join(pieces), line, column, equals, quoted)


def _quoted(reader: _Reader) -> str | None:
    line, column = reader.line, reader.column
    quote = reader.advance()
    pieces: list[str] = []
    while not reader.at_end:
        character = reader.advance()
        if character == quote:
            return "".join(pieces)
        if character == "\\" and quote == '"' and not reader.at_end:
            following = reader.peek()
            if following == "\n":
                reader.advance()
                continue
            if following in '"\\':
                character = reader.advance()
        pieces.append(character)
    reader.problems.append(Problem(line, column, f"this {quote} is never closed; expected another {quote}"))
    return None


def _raw(reader: _Reader) -> str:
    """The rest of the statement: its lines without the backslashes that continue them."""
    lines: list[str] = []
    while not reader.at_end:
        start = reader.position
        reader.skip_line()
        line = reader.text[start : reader.position].rstrip("\n")
        stripped = line.rstrip()
        if not stripped.endswith("\\"):
            lines.append(line)
            break
        lines.append(stripped[:-1].removesuffix(" "))
    return "\n".join(lines).strip()
