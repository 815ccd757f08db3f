"""Options are read as the field's commands read them."""

from __future__ import annotations

import pytest
from tools_cib import Bench, on_a_file

from crm.tools import exits
from crm.tools.command import Failure, Given, parse

bench = on_a_file

TABLE = (
    "Heading",
    ("v", "update", "VALUE", "set"),
    ("p", "promotion", "[RESOURCE]", "score"),
    ("G", "query", "", "ask"),
    ("q", "quiet", "", "less"),
    ("N", "node", "NODE", "where"),
    ("", "node-path", "", "path"),
)


def read(*words: str) -> Given:
    return parse(TABLE, list(words))


@pytest.mark.parametrize(
    "words",
    [("-Gqv", "5"), ("-G", "-q", "-v5"), ("--query", "--quiet", "--update=5"), ("--quer", "--qui", "--up", "5")],
)
def test_short_options_are_joined_and_long_ones_shortened(words: tuple[str, ...]) -> None:
    given = read(*words)
    assert given.has("query") and given.has("quiet")
    assert given.get("update") == "5"


def test_a_value_may_begin_with_a_minus_sign() -> None:
    assert read("-v", "-INFINITY").get("update") == "-INFINITY"
    assert read("--update", "-1").get("update") == "-1"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("--promotion",), ""),
        (("--promotion", "-G"), ""),
        (("--promotion=st",), "st"),
        (("-p", "st"), "st"),
        (("-pst",), "st"),
    ],
)
def test_an_optional_value_is_taken_unless_an_option_follows(words: tuple[str, ...], value: str) -> None:
    assert read(*words).get("promotion") == value


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-x",), "Unknown option -x"),
        (("--nope",), "Unknown option --nope"),
        (("-v",), "Missing argument for -v"),
        (("--update",), "Missing argument for --update"),
        (("--query=5",), "--query takes no value"),
        (("--qu",), "--qu could mean --query, --quiet"),
    ],
)
def test_what_cannot_be_understood_is_named(words: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(Failure, match=complaint) as caught:
        read(*words)
    assert caught.value.code == exits.USAGE


def test_an_exact_name_is_not_ambiguous_and_words_after_two_dashes_are_no_options() -> None:
    given = read("--node", "n1", "--", "-G")
    assert given.get("node") == "n1"
    assert given.rest == ["-G"] and not given.has("query")


COMMANDS = (
    *(
        "attrd_updater",
        "cibadmin",
        "crm_attribute",
        "crm_failcount",
        "crm_master",
        "crm_mon",
        "crm_node",
        "crm_resource",
    ),
    *("crm_standby", "crm_verify", "crmadmin", "stonith_admin"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_options(bench: Bench, command: str) -> None:
    ran = bench.run(command, "--help")
    assert ran.code == exits.OK
    assert ran.out.startswith(f"Usage: {command} ")
    assert bench.run(command, "--version").out.startswith(f"{command} (Vigil ")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_a_usage_error_of_every_command(bench: Bench, command: str) -> None:
    ran = bench.run(command, "--no-such-option")
    assert (ran.code, ran.err) == (exits.USAGE, f"{command}: Unknown option --no-such-option\n")
