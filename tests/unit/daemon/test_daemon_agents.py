"""What the daemon does for agents: their commands, and learning what they say of themselves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from agents.environment import base_environment
from agents.metadata import Descriptions
from agents.paths import AgentPaths
from agents.runner import Runner
from agents.types import AgentId
from crm.controller.graph import Action, ActionKind, ResourceDefinition
from crm.controller.status import pending
from crm.daemon import commands, traits
from crm.daemon.traits import Learning
from crm.executor.types import AgentTraits

LIMIT_S = 20.0


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the commands, and with something that is none of an agent's business."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (*commands.COMMANDS, "python3"):
        (folder / name).write_text(f"#!/bin/sh\necho {name}\n")
        (folder / name).chmod(0o755)
    return folder


def test_agents_find_the_commands_first_and_nothing_else_of_that_folder(tmp_path: Path, installed: Path) -> None:
    folder = commands.provide(tmp_path / "run", installed)
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == sorted(commands.COMMANDS)
    environment = base_environment(AgentPaths(tools=folder), {"PATH": "/usr/bin"})
    assert environment["HA_SBIN_DIR"] == str(folder)
    assert environment["PATH"].split(":")[0] == str(folder)


def test_the_links_follow_an_installation_that_moved(tmp_path: Path, installed: Path) -> None:
    commands.provide(tmp_path / "run", installed)
    moved = installed.rename(tmp_path / "elsewhere")
    folder = commands.provide(tmp_path / "run", moved)
    assert folder is not None
    assert {path.resolve().parent for path in folder.iterdir()} == {moved}


def test_a_folder_that_cannot_be_made_is_no_disaster(tmp_path: Path, installed: Path) -> None:
    (tmp_path / "file").write_text("")
    assert commands.provide(tmp_path / "file", installed) is None


AGENT = """#!/bin/sh
echo "$1" >> {log}
test -e {gate} || sleep 0.2
cat <<END
<resource-agent name="Thing"><version>1.1</version><parameters>
<parameter name="a" reloadable="1"/><parameter name="b"/><parameter name="secret" private="1" reloadable="1"/>
</parameters><actions><action name="{reload}"/></actions></resource-agent>
END
"""


class Bench:
    """A folder of agents, and a `Learning` that asks them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.gate = folder / "gate"
        self.gate.touch()
        self.told: list[tuple[AgentId, AgentTraits]] = []
        paths = AgentPaths(ocf_search=(folder,), rsctmp=folder / "rsctmp")
        self.learning = Learning(Descriptions(Runner(paths)), lambda *told: self.told.append(told))

    def agent(self, name: str = "Thing", reload: str = "reload-agent") -> AgentId:
        path = self.folder / "test" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(AGENT.format(log=self.log, gate=self.gate, reload=reload))
        path.chmod(0o755)
        return AgentId("ocf", "test", name)

    def asked(self) -> int:
        return len(self.log.read_text().split()) if self.log.exists() else 0


def configuration(*agents: AgentId) -> etree._Element:
    primitives = "".join(
        f'<primitive id="r{number}" class="{agent.standard}" provider="{agent.provider}" type="{agent.type}"/>'
        for number, agent in enumerate(agents)
    )
    return etree.fromstring(f"<cib><configuration><resources>{primitives}</resources></configuration><status/></cib>")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time."""
    monkeypatch.setattr(traits, "PATIENCE_S", LIMIT_S)


def test_every_agent_of_the_configuration_is_asked_once(tmp_path: Path) -> None:
    async def work() -> None:
        bench = Bench(tmp_path)
        thing = bench.agent()
        document = configuration(thing, thing, AgentId("lsb", "", "nginx"), AgentId("systemd", "", "nginx"))
        for _ in range(3):
            bench.learning.on_configuration(document)
        await bench.learning.known(thing)
        bench.learning.on_configuration(document)
        assert bench.told == [(thing, AgentTraits(("b",), ("secret",), "reload-agent"))]
        assert bench.asked() == 1

    run(work())


def test_an_agent_of_the_older_standard_is_reloaded_by_its_own_word(tmp_path: Path) -> None:
    async def work() -> None:
        bench = Bench(tmp_path)
        thing = bench.agent(reload="reload")
        bench.learning.ask(thing)
        await bench.learning.known(thing)
        assert bench.told[0][1].reload == "reload"

    run(work())


def test_a_result_waits_for_a_description_that_is_on_its_way_only(tmp_path: Path) -> None:
    async def work() -> None:
        bench = Bench(tmp_path)
        thing = bench.agent()
        await bench.learning.known(thing)
        assert not bench.told, "nobody asked"
        bench.gate.unlink()
        bench.learning.ask(thing)
        await bench.learning.known(thing)
        assert bench.told

    run(work())


def test_an_agent_is_asked_again_at_a_start_when_its_file_has_changed(tmp_path: Path) -> None:
    async def work() -> None:
        bench = Bench(tmp_path)
        thing = bench.agent()
        for _ in range(3):
            bench.learning.ask(thing)
            await bench.learning.known(thing)
        assert bench.asked() == 1
        os.utime(tmp_path / "test" / "Thing", (1, 1))
        bench.learning.ask(thing)
        await bench.learning.known(thing)
        assert bench.asked() == 2

    run(work())


def test_an_agent_that_is_not_there_teaches_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        bench = Bench(tmp_path)
        broken: list[BaseException] = []
        bench.learning.broken = broken.append
        missing = AgentId("ocf", "test", "Missing")
        bench.learning.on_configuration(configuration(missing))
        await bench.learning.known(missing)
        await bench.learning.close()
        assert not bench.told and not broken

    run(work())


def test_a_pending_operation_of_an_anonymous_clone_has_the_name_that_its_result_will_have() -> None:
    action = Action(
        id=3,
        kind=ActionKind.RESOURCE,
        task="start",
        key="st:0_start_0",
        node="n1",
        node_id="1",
        router=None,
        parameters={},
        resource=ResourceDefinition("st", "st:0", "ocf", "vigil", "Stateful"),
        timeout_ms=20_000,
        interval_ms=0,
        target_rc=0,
    )
    recorded = pending(action, "3:1:0:uuid")
    assert recorded is not None
    assert (recorded.entry["id"], recorded.entry["operation_key"]) == ("pending-st_start_0", "st_start_0")
