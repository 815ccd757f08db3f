"""What all tests share: whether the machine has what a test needs, and what its absence means.

On a developer's machine a test that needs namespaces, a real nginx or the scheduler cases beside the checkout is skipped with a sentence that says
so. Where VIGIL_TEST_REQUIRE_ALL is set (`.ci/run`), a skipped test is a failure: nothing goes untested unnoticed.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("VIGIL_TEST_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, but everything is required here: {report.longrepr}"
    return report
