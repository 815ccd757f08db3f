"""Committing to a CIB that others change too: nothing of theirs is lost, nothing of ours half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from crm.api.errors import ApiError
from crm.cib import xml
from crm.shell import commit as committing
from crm.shell.commit import ConflictError, transact
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar.statements import parse
from crm.shell.session import FileSession, ShellError, open_session

TEXT = "node n1\nprimitive a ocf:vigil:Dummy\nprimitive b ocf:vigil:Dummy\ngroup g a b\nlocation l g 5: n1\n"


class Crowded(FileSession):
    """A file that others change just before a commit arrives."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before_apply: list[Callable[[FileSession], None]] = []

    def apply(self, operation: str, **parameters: Any) -> str:
        if self.before_apply:
            self.before_apply.pop(0)(FileSession(self.path))
        return super().apply(operation, **parameters)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Crowded]:
    configuration = Configuration(xml.empty())
    configuration.apply(parse(TEXT), Mode.CREATE)
    path = tmp_path / "cib.xml"
    path.write_text(xml.to_text(configuration.root))
    yield Crowded(path)


def put(text: str, mode: Mode = Mode.UPDATE) -> Callable[[Configuration], None]:
    return lambda configuration: configuration.apply(parse(text), mode)


def theirs(text: str) -> Callable[[FileSession], None]:
    return lambda session: transact(session, put(text))


def status_update(session: FileSession) -> None:
    session.apply("create", xml='<node_state id="9" uname="n9"/>', scope="status")


def text_of(session: FileSession) -> str:
    return Configuration(session.query_cib()).text()


def test_a_commit_replaces_what_changed_and_advances_the_version(session: Crowded) -> None:
    before = xml.version(session.query_cib())
    transact(session, put("location l g 7: n1"))
    assert "location l g 7: n1" in text_of(session)
    assert xml.version(session.query_cib()).epoch == before.epoch + 1


def test_nothing_is_written_when_nothing_changed(session: Crowded) -> None:
    before = session.path.read_bytes()
    transact(session, put("location l g 5: n1"))
    assert session.path.read_bytes() == before


def test_a_status_update_in_between_does_not_disturb_a_commit(session: Crowded) -> None:
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("location l g 7: n1"), Mode.UPDATE)
    session.before_apply.append(status_update)
    committing.commit(session, configuration)
    assert "location l g 7: n1" in text_of(session)
    assert session.query_cib().find("status/node_state[@id='9']") is not None


def test_a_one_shot_change_is_made_again_on_what_others_made_of_the_configuration(session: Crowded) -> None:
    session.before_apply.append(theirs("location other g 1: n1"))
    transact(session, put("location mine g 2: n1"))
    assert "location other g 1: n1" in text_of(session)
    assert "location mine g 2: n1" in text_of(session)


def test_the_same_statements_can_be_applied_again_after_a_conflict(session: Crowded) -> None:
    statements = parse("primitive c ocf:vigil:Dummy\nprimitive d ocf:vigil:Dummy\ngroup h c d")
    session.before_apply.append(theirs("location other g 1: n1"))
    transact(session, lambda configuration: configuration.apply(statements, Mode.CREATE))
    text = text_of(session)
    assert "group h c d" in text
    assert "location other" in text
    assert len(list(session.query_cib().iter("primitive"))) == 4


def test_edits_of_different_objects_go_together(session: Crowded) -> None:
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("primitive a ocf:vigil:Dummy params fake=mine"), Mode.UPDATE)
    configuration.delete(["l"])
    session.before_apply.append(theirs("primitive b ocf:vigil:Dummy params fake=theirs\nproperty x=y"))
    result = committing.commit(session, configuration)
    text = text_of(session)
    assert "fake=mine" in text
    assert "fake=theirs" in text
    assert "location l" not in text
    assert not result.changed


def test_edits_of_the_same_object_are_a_conflict_that_names_it(session: Crowded) -> None:
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("location l g 7: n1"), Mode.UPDATE)
    session.before_apply.append(theirs("location l g 8: n1"))
    with pytest.raises(ConflictError) as caught:
        committing.commit(session, configuration)
    assert caught.value.items == ("location l",)
    assert "location l g 8: n1" in text_of(session)


def test_another_configuration_of_the_same_version_is_a_conflict_too(session: Crowded) -> None:
    """As after a partition in which both sides came to one epoch."""
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("location l g 7: n1"), Mode.UPDATE)

    def another(other: FileSession) -> None:
        version = configuration.base.get("epoch")
        transact(other, put("location l g 8: n1"))
        cib = other.query_cib()
        cib.set("epoch", str(version))
        other.path.write_text(xml.to_text(cib))

    session.before_apply.append(another)
    with pytest.raises(ConflictError):
        committing.commit(session, configuration)
    assert "location l g 8: n1" in text_of(session)


def test_force_lets_our_edit_win(session: Crowded) -> None:
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("location l g 7: n1"), Mode.UPDATE)
    session.before_apply.append(theirs("location l g 8: n1\nlocation other g 1: n1"))
    committing.commit(session, configuration, force=True)
    assert "location l g 7: n1" in text_of(session)
    assert "location other" in text_of(session)


def test_status_updates_without_end_do_not_hold_up_a_commit(session: Crowded) -> None:
    configuration = Configuration(session.query_cib())
    configuration.apply(parse("location l g 7: n1"), Mode.UPDATE)
    for number in range(3):
        session.apply("create", xml=f'<node_state id="x{number}" uname="n"/>', scope="status")
    assert committing._try_commit(session, configuration), "at the first attempt"


def test_a_configuration_that_never_rests_is_given_up_with_nothing_done(session: Crowded) -> None:
    session.before_apply.extend([bump] * 200)
    with pytest.raises(ShellError, match="nothing was changed"):
        transact(session, put("location l g 7: n1"))
    assert "location l g 5: n1" in text_of(session)


def bump(session: FileSession) -> None:
    session.apply("bump")


def test_a_refused_operation_is_an_api_error_and_leaves_the_file(session: Crowded) -> None:
    before = session.path.read_bytes()
    with pytest.raises(ApiError, match="there is no"):
        session.apply("replace", xml='<rsc_location id="none"/>', scope="constraints")
    assert session.path.read_bytes() == before


def test_what_needs_a_cluster_says_so(session: Crowded) -> None:
    with pytest.raises(ShellError, match="needs a running cluster"):
        session.call("status")


@pytest.mark.parametrize("content", [b"", b"<cib", b"<other/>", b"\xff\xfe\x00"])
def test_a_file_that_is_no_cib_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.xml"
    path.write_bytes(content)
    with pytest.raises(ShellError, match=r"broken\.xml"):
        FileSession(path).query_cib()


def test_the_environment_names_the_file(session: Crowded) -> None:
    opened = open_session(environment={"CIB_file": str(session.path)})
    assert isinstance(opened, FileSession)
    assert isinstance(opened.query_cib(), etree._Element)
    assert open_session(environment={}).live
