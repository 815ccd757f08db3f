"""What all tests share: whether the machine has what a test needs, and what its absence means.

On a developer's machine a test that needs namespaces, a real nginx or the scheduler cases beside the checkout is skipped with a sentence that says
so. Where VIGIL_TEST_REQUIRE_ALL is set (`.ci/run`), a skipped test is a failure: nothing goes untested unnoticed.

Temporary folders have short names, whoever runs the tests and wherever: the path of a Unix socket has 107 bytes at most. They are left behind when a
test failed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator

import pytest

_SHORT = pytest.StashKey[str]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before pytest chooses its own; workers get a folder below that of the process that started them."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = config.stash[_SHORT] = tempfile.mkdtemp(prefix="pytest-", dir="/tmp")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    folder = session.config.stash.get(_SHORT, None)
    if folder is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("VIGIL_TEST_REQUIRE_ALL"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, but everything is required here: {report.longrepr}"
    return report
