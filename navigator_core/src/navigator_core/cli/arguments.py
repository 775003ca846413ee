"""What is typed on the command line, as the values that `navigator` takes; RequestError where it cannot be read."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen

from navigator_core.errors import RequestError, unknown

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
SIZES = re.compile(r"[1-9]\d*(x[1-9]\d*)*")
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|)")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|)")
BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class UserError(Exception):
    """The user's own code raised; ``shown`` is their traceback."""

    def __init__(self, what: str, shown: str) -> None:
        super().__init__(what)
        self.shown = shown


def check_targets(*paths: str | None) -> None:
    """Asked before a run of minutes: may these be written?"""
    for path in paths:
        if path is not None and (not Path(path).absolute().parent.is_dir() or Path(path).is_dir()):
            raise RequestError(f"cannot write {path!r}: its folder must exist, and it must be no folder itself")


def model_and_samples(model: str, samples: str | None, shapes: Sequence[str], ranges: Sequence[str]) -> tuple[Any, Any]:
    """The model, a path or what a factory returns, and its samples: read, to be made up, the factory's, or None."""
    if samples is not None and (shapes or ranges):
        raise RequestError("--samples are real values, --shape and --range make some up: give one or the other")
    given: Any = None
    if samples is not None:
        given = read_samples(Path(samples).expanduser())
    elif shapes or ranges:
        given = made_up(shapes, ranges)
    path = Path(model).expanduser()
    if path.exists():
        return str(path), given
    if FACTORY.fullmatch(model) is None:
        raise RequestError(f"there is no file {model!r}; a model is a file, a folder, or package.module:factory")
    returned = call_factory(model)
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned[0], returned[1] if given is None else given
    if given is None:
        kind = f"{type(returned).__module__}.{type(returned).__qualname__}"
        raise RequestError(
            f"{model} returned a {kind}; expected a tuple (model, samples), or --samples or --shape beside"
        )
    return returned, given


def call_factory(name: str) -> Any:
    """What ``package.module:factory`` returns, found from the current folder too. Raises UserError if it raises."""
    where, _, attribute = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        value: Any = import_module(where)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{error.name}."):
            raise RequestError(f"there is neither a file {name!r} nor a module {error.name!r}") from None
        raise UserError(f"importing {where} failed", _traceback(error, __file__, "<frozen importlib")) from None
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise unknown(f"factory in {where}", part, (name for name, one in vars(value).items() if callable(one)))
        value = getattr(value, part)
    if not callable(value):
        raise RequestError(f"{name} is {value!r:.80}; expected a function that returns (model, samples)")
    try:
        return value()
    except Exception as error:
        raise UserError(f"{name} raised", _traceback(error, __file__)) from None


def _traceback(error: Exception, *ours: str) -> str:
    """The traceback from the first frame that is not ours, nor of the import system."""
    import importlib
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((*ours, importlib.__file__)):
        frames = frames.tb_next
    return "".join(traceback.format_exception(error.with_traceback(frames)))


@frozen
class Folder:
    """Samples in files, one each, in order of name; read when they are asked for."""

    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Any]:
        return map(_arrays, self.files)


def read_samples(path: Path) -> Any:
    """One sample by input name from an ``.npz``, a lone tensor from an ``.npy``, one for each ``.npz`` of a folder."""
    if not path.exists():
        raise RequestError(f"there are no samples {str(path)!r}")
    if not path.is_dir():
        return _arrays(path)
    files = tuple(sorted(path.glob("*.npz")))
    if not files:
        raise RequestError(f"the folder {str(path)!r} holds no .npz file; each is one sample: 000.npz, 001.npz")
    return Folder(files)


def _arrays(path: Path) -> Any:
    import zipfile
    import zlib

    import numpy as np

    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except ValueError:  # its message would advise to unpickle the file
        reason = "it is no .npz or .npy file of plain numbers"
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error) or "it is empty"
    raise RequestError(
        f"{str(path)!r} cannot be read as samples: {reason}; numpy.savez(path, name=array, ...) writes them"
    )


def made_up(shapes: Iterable[str], ranges: Iterable[str]) -> Any:
    """``image:1x3x224x224`` and ``ids:0:30521``. A shape given again for an input is that of a further sample."""
    from navigator_core.made_up import MadeUp

    sizes: dict[str, list[tuple[int, ...]]] = {}
    for text in shapes:
        name, _, size = text.rpartition(":")  # from the right: names such as "input:0" are usual
        if not name or not SIZES.fullmatch(size):
            raise RequestError(f"cannot read --shape {text!r}; write it as image:1x3x224x224")
        sizes.setdefault(name, []).append(tuple(map(int, size.split("x"))))
    bounds: dict[str, tuple[float, float]] = {}
    for text in ranges:
        name, low, high = _range(text)
        if name in bounds:
            raise RequestError(f"--range is given twice for {name!r}")
        bounds[name] = (low, high)
    return MadeUp(shapes=sizes, ranges=bounds)


def _range(text: str) -> tuple[str, float, float]:
    name, *bounds = text.rsplit(":", 2)
    values = [_number(bound) for bound in bounds]
    if not name or len(values) != 2 or values[0] is None or values[1] is None or values[0] > values[1]:
        raise RequestError(f"cannot read --range {text!r}; write the smallest and the largest value: ids:0:30521")
    return name, values[0], values[1]


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else None
    return None


def options(texts: Iterable[str]) -> Mapping[str, Mapping[str, Any]] | None:
    """``onnx.opset=20``, ``@onnxruntime-cpu.threads=4``, ``torch->onnx.opset=18,20``: values by key and field.

    A value is JSON where it can be read as such, else text; what commas part is a list: one variant for each.

    >>> options(["@onnxruntime-cpu.threads=1,2"])
    {'@onnxruntime-cpu': {'threads': [1, 2]}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        key, _, name = target.rpartition(".")
        if not (key and name and equals):
            raise RequestError(f"cannot read --option {text!r}; write it as FORMAT.FIELD=VALUE or @RUNNER.FIELD=VALUE")
        if name in found.get(key, {}):
            raise RequestError(f"--option {target} is given twice; for variants, write {target}=1,2")
        found.setdefault(key, {})[name] = _value(value)
    return found or None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return [_value(part.strip()) for part in text.split(",")] if "," in text else text


def budget(text: str | None) -> float | None:
    """Seconds.

    >>> budget("10min"), budget("90")
    (600.0, 90.0)
    """
    if text is None:
        return None
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise RequestError(f"cannot read --budget {text!r}; write it as 90s, 10min or 1h")
    return float(match[1]) * SECONDS[match[2]]


def size(text: str | None) -> int | None:
    """Bytes.

    >>> size("1.5GiB"), size("1000000")
    (1610612736, 1000000)
    """
    if text is None:
        return None
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise RequestError(f"cannot read --memory-limit {text!r}; write it as 512MiB or 4GiB")
    return int(float(match[1]) * BYTES[match[2]])
