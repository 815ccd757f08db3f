"""Measures the configure language against a collection of CIBs and the texts that crmsh prints for them.

    python tests/unit/shell/configure_corpus.py CIBS TEXTS [NAME...]

CIBS holds NAME.xml, TEXTS holds NAME.crm. For each text: is ours the same, letter by letter, or does it mean the same? For each CIB: does text and back
lose anything, and does loading what was shown change a byte? With names, the differences are printed. Exit code 1 when anything is lost.
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from crm.cib import xml
from crm.shell.configuration import Configuration, Mode
from crm.shell.grammar import canonical, show
from crm.shell.grammar.statements import parse


def statements(text: str) -> list[str]:
    """A text cut into statements, comments with what follows them."""
    found: list[str] = []
    current = ""
    for line in text.splitlines(keepends=True):
        current += line
        if not line.startswith("#") and not line.endswith("\\\n"):
            found.append(current)
            current = ""
    return found


def forms(texts: list[str]) -> list[str]:
    """What statements mean; members are left to their own statements."""
    bare = []
    for parsed in parse("".join(texts)):
        for child in [each for each in parsed.element if each.tag in ("primitive", "group")]:
            parsed.element.remove(child)
        bare.append(str(canonical.form(parsed.element)))
    return sorted(bare)


def compare(ours: str, theirs: str) -> str:
    if ours == theirs:
        return "same"
    mine, yours = statements(ours), statements(theirs)
    here = forms([each for each in mine if each not in set(yours)])
    there = forms([each for each in yours if each not in set(mine)])
    return "meaning" if here == there else "different"


def lossless(path: Path) -> bool:
    cib = xml.load(path)
    text = show.show(cib)
    fresh = Configuration(xml.empty())
    fresh.apply(parse(text), Mode.CREATE)
    before = {(item.keyword, item.identity): canonical.form(item.element) for item in show.objects(cib)}
    after = {(item.keyword, item.identity): canonical.form(item.element) for item in show.objects(fresh.root)}
    again = Configuration(cib)
    again.apply(parse(show.show(cib, hide_secrets=True)), Mode.UPDATE)
    return before == after and not again.changed


def main(cibs: Path, texts: Path, names: list[str]) -> int:
    counts = {"same": 0, "meaning": 0, "different": 0}
    for path in sorted(texts.glob("*.crm")):
        if names and path.stem not in names:
            continue
        theirs = "".join(line for line in path.read_text().splitlines(keepends=True) if "WARNING" not in line)
        ours = show.show(xml.load(cibs / f"{path.stem}.xml"), hide_secrets=True)
        verdict = compare(ours, theirs)
        counts[verdict] += 1
        if names:
            diff = difflib.unified_diff(theirs.splitlines(True), ours.splitlines(True), "crmsh", "vigil", n=1)
            sys.stdout.writelines(diff)
        elif verdict == "different":
            sys.stdout.write(f"{path.stem}: different\n")
    all_cibs = [path for path in sorted(cibs.glob("*.xml")) if not names or path.stem in names]
    lost = [path.stem for path in all_cibs if not lossless(path)]
    sys.stdout.write(
        f"texts: {counts['same']} the same, {counts['meaning']} the same in meaning, {counts['different']} different\n"
    )
    sys.stdout.write(
        f"round trips: {len(all_cibs) - len(lost)} of {len(all_cibs)} lose nothing{': ' + ' '.join(lost) if lost else ''}\n"
    )
    return 1 if lost or counts["different"] else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
