"""`crm resource trace` and `untrace` as edits."""

from __future__ import annotations

import pytest

from crm.cib import xml
from crm.cib.digest import digested_parameters
from crm.shell import tracing
from crm.shell.configuration import Configuration, ConfigurationError, Mode
from crm.shell.grammar.statements import parse

TEXT = """primitive web ocf:vigil:Dummy op monitor interval=10s op monitor interval=30s op stop interval=0 timeout=60s
primitive p ocf:vigil:Stateful op monitor interval=5s role=Promoted
ms m p
primitive power stonith:fence_dummy
"""


@pytest.fixture
def configuration() -> Configuration:
    made = Configuration(xml.empty())
    made.apply(parse(TEXT), Mode.CREATE)
    return made


def test_all_operations_are_traced_and_what_was_added_for_it_goes_again(configuration: Configuration) -> None:
    before = configuration.text()
    done = tracing.trace(configuration, "web", None, None, "")
    assert done == ["monitor every 10s", "monitor every 30s", "stop", "start"]
    assert configuration.text().count("trace_ra=1") == 4
    assert tracing.untrace(configuration, "web", None, None) == done
    assert configuration.text() == before


def test_one_operation_is_traced(configuration: Configuration) -> None:
    assert tracing.trace(configuration, "web", "monitor", "10", "/var/tmp") == ["monitor every 10s"]
    assert "trace_dir" in configuration.text(["web"])
    assert tracing.trace(configuration, "web", "probe", None, "") == ["monitor"]
    assert tracing.untrace(configuration, "web", "monitor", "30s") == []
    assert tracing.untrace(configuration, "web", "monitor", None) == ["monitor every 10s", "monitor"]


def test_a_promotable_clone_is_traced_in_all_it_does(configuration: Configuration) -> None:
    assert tracing.trace(configuration, "m", None, None, "") == [
        *("monitor every 5s", "start", "stop", "promote", "demote")
    ]


def test_what_cannot_be_traced_is_told(configuration: Configuration) -> None:
    for resource, operation, interval, message in (
        ("web", "migrate_to", "5s", "no operation migrate_to with interval 5s"),
        ("power", None, None, "no OCF agent"),
        ("web", "monitor", "often", "no interval"),
        ("nothing", None, None, "no resource"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            tracing.trace(configuration, resource, operation, interval, "")


def test_tracing_is_no_change_of_a_resource_and_one_of_a_monitor() -> None:
    assert digested_parameters({"a": "1", "trace_ra": "1"}) == {"a": "1"}
    assert digested_parameters({"a": "1", "trace_ra": "1"}, 10_000) == {"a": "1", "trace_ra": "1"}
