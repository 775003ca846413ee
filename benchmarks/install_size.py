"""How much disk `pip install navigator-torch` takes beside torch itself, and that it brings no other framework.

A new environment gets torch alone, then wheels of navigator-core and navigator-torch built from this checkout. What
the second step adds counts. Target: 80 MB. It downloads torch if pip has not kept it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import common
from common import Table

OURS = ("navigator_core", "navigator_torch")
FOREIGN = ("tensorflow", "tensorflow-cpu", "keras", "jax", "jaxlib", "onnx", "onnxruntime", "onnxruntime-gpu")
TARGET = 80.0
MB = 1e6
CONSTRAINTS = str(common.ROOT / "constraints.txt")
LIST = """
import json
from importlib.metadata import distributions
print(json.dumps({d.name.lower(): [str(p) for f in d.files or () if (p := f.locate()).is_file()]
                  for d in distributions()}))
"""


def pip(python: Path, *given: str) -> None:
    """Run the environment's pip."""
    subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", *given], check=True, stdout=sys.stderr)


def wheels(python: Path, folder: Path) -> list[str]:
    """Ours, built from copies, so that the checkout stays as it is."""
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for name in OURS:
        shutil.copytree(common.ROOT / name, folder / name, ignore=ignored)
    pip(python, "wheel", "--no-deps", "-w", str(folder / "wheels"), *(str(folder / name) for name in OURS))
    return [str(path) for path in sorted((folder / "wheels").glob("*.whl"))]


def recorded(python: Path) -> dict[str, list[str]]:
    """The files of every installed distribution, as its RECORD lists them."""
    found: dict[str, list[str]] = json.loads(subprocess.check_output([python, "-c", LIST], text=True))
    return found


def on_disk(folder: Path) -> int:
    """What `du` says, in bytes."""
    return 1024 * int(subprocess.check_output(["du", "-sk", folder], text=True).split()[0])


def size(files: Iterable[str]) -> int:
    """The bytes in files."""
    return sum(Path(file).stat().st_size for file in files)


def measure(folder: Path, *, bare: bool) -> tuple[dict[str, tuple[int, int]], int, list[str]]:
    """Bytes added by distribution (all; without the modules that pip compiles) and as `du` has it, and the frameworks
    that must not be there but are.

    ``bare`` leaves torch out, and with it what it would bring for us.
    """
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    ours = wheels(python, folder)
    if not bare:
        common.note("installing torch")
        pip(python, "install", "-c", CONSTRAINTS, "torch")
    before, taken = recorded(python), on_disk(folder / "venv")
    common.note("installing ours")
    pip(python, "install", "-c", CONSTRAINTS, *(path for path in ours if not bare or "navigator_core" in path))
    after = recorded(python)
    added = {
        name: (size(files), size(file for file in files if not file.endswith(".pyc")))
        for name, files in after.items()
        if name not in before
    }
    return added, on_disk(folder / "venv") - taken, sorted(set(after) & set(FOREIGN))


def largest(item: tuple[str, tuple[int, int]]) -> int:
    """Sorts the largest first."""
    return -item[1][0]


def main() -> None:
    asked = common.arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
        added, taken, foreign = measure(Path(folder), bare=asked.quick)
    total, shipped = (sum(sizes[n] for sizes in added.values()) / MB for n in (0, 1))
    rows = [[name, f"{all_ / MB:.2f}", f"{bare / MB:.2f}"] for name, (all_, bare) in sorted(added.items(), key=largest)]
    rows.append(["**all, by RECORD**", f"**{total:.1f}**", f"{shipped:.1f}"])
    rows.append(["all, by du", f"{taken / MB:.1f}", ""])
    rows.append([f"target: {TARGET:.0f}", "met" if total <= TARGET else "NOT met", ""])
    about = (
        "MB (10⁶ bytes) that navigator-torch and navigator-core add to an environment that "
        f"has {'nothing' if asked.quick else 'torch'}. Other frameworks there: {', '.join(foreign) or 'none'}."
    )
    common.finish([Table("Installed size", about, ("distribution", "MB", "without .pyc"), rows)], asked, None)


if __name__ == "__main__":
    main()
