"""The reference page of options is what the tables say, and the tables say what the code does."""

from __future__ import annotations

import os
import re
from pathlib import Path

from crm.cib import options
from crm.shell import optionspage

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/reference/options.md"
TABLES = (
    options.CLUSTER_PROPERTIES,
    options.RESOURCE_META,
    options.CLONE_META,
    options.GROUP_META,
    options.OPERATION_META,
    options.ALERT_META,
)
NOT_READERS = ("crm/cib/options.py", "crm/cib/upgrades.py", "crm/cib/checks.py", "crm/shell/", "crm/lab/")
FOR_PEOPLE = {"cluster-infrastructure", "dc-version", "last-lrm-refresh", "description", "comment"}
"""Written by the cluster or by people, read by people."""


def test_the_page_is_what_the_tables_say() -> None:
    """VIGIL_WRITE_DOCS=1 writes it anew."""
    if os.environ.get("VIGIL_WRITE_DOCS"):
        PAGE.write_text(optionspage.render(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == optionspage.render(), (
        "crm options --markdown > docs/reference/options.md"
    )


def test_an_option_is_read_somewhere_or_the_page_says_that_it_has_no_effect() -> None:
    paths = (path for path in (ROOT / "crm").rglob("*.py") if not str(path.relative_to(ROOT)).startswith(NOT_READERS))
    words = set(re.findall(r"[\"']([\w#.-]+)[\"']", "\n".join(path.read_text(encoding="utf-8") for path in paths)))
    unread = set()
    for table in TABLES:
        for option in table.values():
            names = {spelling for name in (option.name, *option.aliases) for spelling in (name, name.replace("-", "_"))}
            if not names & words:
                unread.add(option.name)
    assert unread - FOR_PEOPLE == options.WITHOUT_EFFECT, "crm.cib.options.WITHOUT_EFFECT lists what nothing reads"


def test_every_option_says_what_it_takes_and_does() -> None:
    for table in TABLES:
        for option in table.values():
            assert option.effect.endswith(".") and option.type.expected, option.name
            plain = option.default and not any(word in option.default for word in (" ", "%H"))
            assert not plain or option.type.accepts(option.default), f"{option.name}: default {option.default}"
