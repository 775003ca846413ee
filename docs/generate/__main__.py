"""Writes what the documentation takes from the declarations: `python docs/generate`.

These are the pages of options and of each package, and the picture of the graph in the README. With ``--check``
nothing is written, and the exit code is 1 if one of them is not as it should be.
"""

from __future__ import annotations

import sys
from pathlib import Path

import options
import packages
from declared import ROOT, together

from navigator_core import graph

README = ROOT / "README.md"
BEGIN, END = "<!-- graph: written by `python docs/generate`; a test compares -->\n", "<!-- end of graph -->"


def everything() -> dict[Path, str]:
    """Each file as it should be."""
    return {ROOT / "docs" / "reference" / "options.md": options.page(), **packages.pages(), README: readme()}


def readme() -> str:
    """The README with the picture that a machine shows on which nothing is missing."""
    before, begin, rest = README.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"README.md has no line {BEGIN.strip()}"
    assert end, f"README.md has no line {END}"
    picture = graph.build(together(), lambda requirements: None).to_mermaid()
    return f"{before}{BEGIN}```mermaid\n{picture}\n```\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` name what is stale."""
    stale = [(path, text) for path, text in everything().items() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if arguments == ["--check"]:
            print(f"{path.relative_to(ROOT)} is not what the declarations say: run `python docs/generate`")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    return 1 if arguments == ["--check"] and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
