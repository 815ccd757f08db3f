"""Rules: when their conditions hold, and when their result will change."""

from __future__ import annotations

import pytest
from lxml import etree

from crm.policy.dates import parse_date
from crm.policy.rules import Context, passes

NOON = 1_106_222_400  # 2005-01-20 12:00


def rule(body: str, **attributes: str) -> etree._Element:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return etree.fromstring(f'<rule id="r"{extra}>{body}</rule>')


def expression(attribute: str, operation: str, value: str | None = None, **extra: str) -> str:
    more = "" if value is None else f' value="{value}"'
    more += "".join(f' {name.replace("_", "-")}="{text}"' for name, text in extra.items())
    return f'<expression id="e" attribute="{attribute}" operation="{operation}"{more}/>'


def holds(body: str, attributes: dict[str, str] | None, **more: object) -> bool:
    context = Context(NOON, attributes=attributes, **more)  # type: ignore[arg-type]
    return passes(rule(body), context)


@pytest.mark.parametrize(
    ("actual", "operation", "value", "extra", "expected"),
    [
        ("10", "lt", "9", {}, False),
        ("10", "lt", "9", {"type": "string"}, True),
        ("9.5", "gt", "9", {}, True),
        ("9.5", "gt", "9", {"type": "integer"}, False),
        ("5abc", "gte", "5", {}, True),
        ("x", "eq", "X", {}, True),
        ("1.9", "lt", "1.10", {"type": "version"}, True),
        ("abc", "gt", "9", {"type": "number"}, True),
        ("7", "EQ", "7", {"type": "INTEGER"}, True),
        ("7", "ne", "7", {}, False),
        ("7", "like", "7", {}, False),
        ("7", "eq", "7", {"type": "colour"}, False),
        ("7", "eq", "7", {"value_source": "moon"}, False),
    ],
)
def test_comparisons(actual: str, operation: str, value: str, extra: dict[str, str], expected: bool) -> None:
    assert holds(expression("a", operation, value, **extra), {"a": actual}) is expected


def test_an_attribute_that_is_not_there_differs_from_every_value() -> None:
    assert holds(expression("a", "ne", "1"), {})
    assert not holds(expression("a", "eq", "1"), {})
    assert not holds(expression("a", "lt", "1"), {})
    assert holds(expression("a", "not_defined"), {})
    assert holds(expression("a", "defined"), {"a": ""})


def test_without_a_node_every_attribute_is_undefined() -> None:
    assert holds(expression("#uname", "not_defined"), None)
    assert holds(expression("#uname", "ne", "n1"), None)


def test_defined_takes_no_value_and_the_others_need_one() -> None:
    assert not holds(expression("a", "defined", "1"), {"a": "1"})
    assert not holds(expression("a", "eq"), {"a": "1"})


def test_a_value_may_come_from_a_meta_attribute_or_a_parameter() -> None:
    by_meta = expression("a", "eq", "zone", value_source="meta")
    by_parameter = expression("a", "eq", "zone", value_source="param")
    assert holds(by_meta, {"a": "east"}, meta={"zone": "east"})
    assert holds(by_parameter, {"a": "east"}, parameters={"zone": "EAST"})
    assert not holds(by_parameter, {"a": "east"}, parameters={})
    assert holds(by_parameter, {}, parameters={}), "undefined equals undefined"


def test_matches_of_a_pattern_fill_in_attribute_names() -> None:
    assert holds(expression("loc-%1", "eq", "yes"), {"loc-db": "yes"}, submatches=("vm-db", "db"))
    assert holds(expression("loc%5", "defined"), {"loc": "1"}, submatches=("vm",))


def test_conditions_are_all_needed_unless_the_rule_says_or() -> None:
    both = expression("a", "eq", "1") + expression("b", "eq", "1").replace('id="e"', 'id="f"')
    assert not passes(rule(both), Context(NOON, attributes={"a": "1"}))
    assert passes(rule(both, boolean_op="OR"), Context(NOON, attributes={"a": "1"}))
    assert not passes(rule(both, boolean_op="xor"), Context(NOON, attributes={"a": "1", "b": "1"}))
    assert passes(rule(""), Context(NOON)), "no condition: satisfied"


def test_a_rule_or_condition_without_an_id_does_not_pass() -> None:
    nameless = expression("a", "defined").replace('id="e" ', "")
    assert not holds(nameless, {"a": "1"})
    assert not passes(etree.fromstring("<rule/>"), Context(NOON))
    assert not passes(rule("<rule><expression/></rule>"), Context(NOON, attributes={}))


def test_resource_and_operation_conditions_name_what_must_be_equal() -> None:
    dummy = '<rsc_expression id="e" class="ocf" type="Dummy"/>'
    assert holds(dummy, None, standard="ocf", provider="heartbeat", type="Dummy")
    assert not holds(dummy, None, standard="ocf", provider="heartbeat", type="dummy")
    assert not holds(dummy, None)
    monitor = '<op_expression id="e" name="monitor" interval="10s"/>'
    assert holds(monitor, None, op_name="monitor", op_interval_ms=10_000)
    assert not holds(monitor, None, op_name="monitor", op_interval_ms=0)
    assert not holds(monitor.replace("10s", "x"), None, op_name="monitor", op_interval_ms=0)
    assert holds('<op_expression id="e" name="monitor"/>', None, op_name="monitor", op_interval_ms=5)


# --- dates ------------------------------------------------------------------------------------------------------------


def dated(body: str) -> tuple[bool, list[int]]:
    context = Context(NOON)
    return passes(rule(f'<date_expression id="d" {body}'), context), context.changes


def at(text: str) -> int:
    found = parse_date(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "expected", "change"),
    [
        ('operation="gt" start="2005-01-19"/>', True, []),
        ('operation="gt" start="2005-01-20 12:00"/>', False, ["2005-01-20 12:00:01"]),
        ('operation="lt" end="2005-01-21"/>', True, ["2005-01-21"]),
        ('operation="lt" end="2005-01-20 12:00"/>', False, []),
        ('start="2005-01-20 12:00" end="2005-01-20 12:00"/>', True, ["2005-01-20 12:00:01"]),
        ('operation="in_range" start="2005-01-21" end="2005-01-22"/>', False, ["2005-01-21"]),
        ('operation="in_range" end="2005-01-19"/>', False, []),
        ('operation="in_range" start="2005-01-19"/>', True, []),
        ('operation="in_range"/>', False, []),
        (
            'operation="in_range" start="2005-01-20"><duration hours="13"/></date_expression>',
            True,
            ["2005-01-20 13:00:01"],
        ),
        ('operation="date_spec"><date_spec hours="12"/></date_expression>', True, []),
        ('operation="date_spec"/>', False, []),
        ('operation="gt" start="nonsense"/>', False, []),
        ('operation="sometime" start="2005-01-19"/>', False, []),
    ],
)
def test_dates_and_when_the_answer_changes(body: str, expected: bool, change: list[str]) -> None:
    assert dated(body) == (expected, [at(text) for text in change])


def test_conditions_that_cannot_matter_any_more_note_no_change() -> None:
    later = '<date_expression id="d" operation="lt" end="2005-02-01"/>'
    context = Context(NOON, attributes={})
    assert not passes(rule(expression("a", "defined") + later), context)
    assert context.changes == []
