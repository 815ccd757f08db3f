"""docs/reference/options.md, made from the tables that the verification uses: what the page says is what is checked."""

from __future__ import annotations

from typing import Final

from crm.cib import options, values
from crm.cib.options import Option
from crm.cib.values import Type

_HEAD: Final = """\
# Options

Every option with its default and its effect. This page is what `crm options --markdown` prints, and a test holds it to that; `crm options NAME` explains one on the
command line. Values are checked when a configuration is committed.

| value | written as |
|---|---|
| boolean | `true` or `false` (also `yes`, `on`, `1`, `no`, `off`, `0`) |
| time | `30s`, `500ms`, `2min`, `1h`, a bare number of seconds, or ISO 8601 (`PT5M`) |
| score | an integer, `INFINITY` or `-INFINITY` (1,000,000 and beyond) |
| count, integer | a number that is not negative; any whole number |

Older spellings are understood everywhere.
"""
_SECTIONS: Final = (
    ("Cluster properties", "`crm configure property NAME=VALUE`", options.CLUSTER_PROPERTIES),
    (
        "Meta-attributes of resources",
        "`meta` of a resource, or `rsc_defaults` for all. Those of a group, clone or bundle hold for what is in it.",
        options.RESOURCE_META,
    ),
    ("Meta-attributes of clones", "`meta` of a clone, beside those of resources.", options.CLONE_META),
    ("Meta-attributes of groups", "`meta` of a group, beside those of resources.", options.GROUP_META),
    ("Operations", "`op ACTION NAME=VALUE` of a resource, or `op_defaults` for all.", options.OPERATION_META),
    ("Alerts", "`meta` of an alert or of a recipient; see [the guide](../guide/alerts.md).", options.ALERT_META),
)
_WORDS: Final = {
    values.BOOLEAN: "boolean",
    values.INTERVAL: "time",
    values.SIGNED_INTERVAL: "time, or -1 for automatic",
    values.SCORE: "score",
    values.COUNT: "count",
    values.INTEGER: "integer",
    values.PERCENT: "percentage",
    values.TEXT: "text",
}


def render() -> str:
    parts = [_HEAD]
    for title, where, table in _SECTIONS:
        lines = [f"\n## {title}\n", where, "", "| option | value | default | effect |", "|---|---|---|---|"]
        lines += [_row(option, table is options.CLUSTER_PROPERTIES) for option in table.values()]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _row(option: Option, is_property: bool) -> str:
    names = f"`{option.name}`" + "".join(f", formerly `{alias}`" for alias in option.aliases)
    effect = option.effect
    if is_property and option.name in options.WITHOUT_EFFECT:
        effect += " *Accepted; has no effect in Vigil.*"
    default = f"`{option.default}`" if option.default else ""
    return f"| {names} | {_value(option.type)} | {default} | {effect} |"


def _value(kind: Type) -> str:
    return ", ".join(f"`{choice}`" for choice in kind.choices) or _WORDS.get(kind, kind.expected)
