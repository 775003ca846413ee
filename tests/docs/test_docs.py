"""Every code block of every page runs, as a reader would run it.

The ```python blocks of a page are one script, run in a fresh process in an empty folder; a ```console or ```sh block
that starts with `$ navigator` runs where it stands among them, its other lines being what the reader sees. A comment
above a block says what else is to be done with it: `<!-- skip: needs a GPU -->`, which gives the reason why it cannot
run here, or `<!-- file: recipe.py -->`, which writes it to that file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "navigator_*/README.md", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
COMMENT = re.compile(r"<!--\s*(?P<text>[^>]*?)\s*-->\s*\Z")
SHELL = {"console", "sh"}
NOT_CODE = {"", "text", "toml", "yaml", "json", "ini", "dockerfile", "mermaid", "diff"}
WRITE = "import pathlib as _p; _p.Path({name!r}).write_text({code!r})\n"
RUN = "import subprocess as _s; _s.run(['bash', '-euo', 'pipefail', '-c', {command!r}], check=True)\n"
SHORT = "import navigator_core.playoff as _q; _q.LIMIT, _q.MOST = 10.0, 3\n"
"""In place of a page's first line, its title: playoffs of a few, that last seconds. Commands play theirs in full."""

TIMEOUT = 600


def script(page: str) -> str:
    """The page as a Python script of as many lines: what is not run is a blank line, so line numbers agree."""
    lines = ["\n"] * (page.count("\n") + 1)
    for block in FENCE.finditer(page):
        comment = COMMENT.search(page, 0, block.start())
        if comment and comment["text"].startswith(("skip:", "test command")):
            assert comment["text"].removeprefix("skip:").strip(), "a skip says why: <!-- skip: reason -->"
            continue
        first = page.count("\n", 0, block.start("code"))
        code = dedent(block["code"])
        if comment and comment["text"].startswith("file:"):
            lines[first] = WRITE.format(name=comment["text"].removeprefix("file:").strip(), code=code)
        elif block["language"] == "python":
            lines[first : first + code.count("\n")] = code.splitlines(keepends=True)
        elif block["language"] in SHELL:
            lines[first] = RUN.format(command="\n".join(commands(code)))
        else:
            assert block["language"] in NOT_CODE, f"no test runs ```{block['language']} blocks: python, console or sh?"
    return "".join(lines)


def commands(code: str) -> list[str]:
    """The lines after `$ `, with those that continue them.

    >>> commands("$ navigator graph\\nwhat it prints\\n")
    ['navigator graph']
    """
    found: list[str] = []
    continued = False
    for line in code.splitlines():
        if line.startswith("$ ") or continued:
            found.append(line.removeprefix("$ "))
            continued = line.endswith("\\")
    assert found, "a shell block shows commands as `$ command`, or says why it is not run: <!-- skip: reason -->"
    assert found[0].startswith("navigator"), f"no test runs `{found[0]}`: <!-- skip: reason -->"
    return found


def run(page: str, folder: Path, name: str = "page.py", first: str = "\n") -> subprocess.CompletedProcess[str]:
    path = folder / name
    path.write_text(first + script(page).partition("\n")[2])
    tools = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([tools, os.environ.get("PATH", "")])}
    return subprocess.run(
        [sys.executable, path.name], cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page, tmp_path):
    outcome = run(page.read_text(), tmp_path, f"{page.name}.py", first=SHORT)
    assert outcome.returncode == 0, f"{page.relative_to(ROOT)} (line numbers are the page's)\n{outcome.stderr[-6000:]}"


def block(language: str, code: str, before: str = "") -> str:
    return f"Text.\n\n{before}```{language}\n{code}\n```\n"


def test_blocks_of_a_page_share_their_names(tmp_path):
    assert run(block("python", "x = 1") + block("python", "assert x == 1"), tmp_path).returncode == 0


def test_a_failing_block_fails_with_the_line_of_the_page(tmp_path):
    outcome = run(block("python", "x = 1") + block("python", "assert x == 2"), tmp_path)
    assert outcome.returncode == 1
    assert "line 9" in outcome.stderr


def test_a_failing_command_fails_the_page(tmp_path):
    page = block("console", "$ navigator --no-such-option")
    assert run(page, tmp_path).returncode != 0


def test_commands_run_where_they_stand_among_the_python_blocks():
    page = (
        block("python", "first = 1")
        + block("sh", "$ navigator graph \\\n  --json\noutput")
        + block("python", "last = 1")
    )
    lines = [line for line in script(page).splitlines() if line]
    assert [lines[0], lines[2]] == ["first = 1", "last = 1"]
    assert "navigator graph" in lines[1]
    assert "--json" in lines[1]
    assert "output" not in lines[1]


def test_a_block_in_a_list_is_dedented(tmp_path):
    page = "1. Do this:\n\n   ```python\n   if True:\n       raise SystemExit(3)\n   ```\n"
    assert run(page, tmp_path).returncode == 3


def test_a_block_that_is_a_file_is_written_and_not_run(tmp_path):
    page = block("python", "value = 7\nassert __name__ == 'seven'", before="<!-- file: seven.py -->\n")
    assert run(page + block("python", "import seven\nassert seven.value == 7"), tmp_path).returncode == 0
    assert (tmp_path / "seven.py").read_text() == "value = 7\nassert __name__ == 'seven'\n"


def test_a_skip_with_a_reason_skips_one_block(tmp_path):
    page = block("python", "raise SystemExit(1)", before="<!-- skip: needs a GPU -->\n\n") + block(
        "python", "raise SystemExit(5)"
    )
    assert run(page, tmp_path).returncode == 5


@pytest.mark.parametrize(
    "page",
    [
        block("python", "pass", before="<!-- skip: -->\n"),
        block("pycon", ">>> 1"),
        block("console", "$ pip install navigator-core"),
        block("sh", "navigator graph"),
    ],
    ids=["skip without a reason", "unknown language", "other command", "no prompt"],
)
def test_what_no_test_would_run_is_refused(page):
    with pytest.raises(AssertionError):
        script(page)
