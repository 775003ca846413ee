"""What is found again and what is not: the same made again elsewhere hits, the least change of anything misses."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navigator_core.fingerprint import Hasher
from navigator_core.objects import UnknownError

# the hash of a value

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.binary(max_size=8)
)
ARRAYS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(
    lambda row: np.array(row, np.float32)
)
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)


def digest(value):
    hasher = Hasher()
    hasher.add(value)
    return hasher.digest()


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_a_copy_hits(value):
    assert digest(copy.deepcopy(value)) == digest(value)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.data())
def test_any_leaf_that_is_another_misses(value, data):
    boxed = [value]
    places = list(leaves(boxed))
    changed = copy.deepcopy(boxed)
    place = data.draw(st.sampled_from(places))
    replace(changed, place, data.draw)
    assert digest(changed) != digest(boxed)


def leaves(value, path=()):
    """The ways to all that holds nothing else; an empty container is one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    below = [place for key, child in items for place in leaves(child, (*path, key))]
    return below or [path]


def replace(root, path, draw):
    """Put another value at the end of a path; tuples on the way are made anew."""

    def put(value, rest):
        if not rest:
            return other(value, draw)
        if isinstance(value, tuple):
            return tuple(put(v, rest[1:]) if i == rest[0] else v for i, v in enumerate(value))
        value[rest[0]] = put(value[rest[0]], rest[1:])
        return value

    put(root, path)


def other(value, draw):
    if isinstance(value, np.ndarray):
        changed = value.copy()
        place = draw(st.integers(0, len(value) - 1))
        changed[place] = np.nextafter(changed[place], np.float32(np.inf if changed[place] <= 0 else -np.inf))
        return changed
    return draw(PLAIN.filter(lambda new: (type(new), repr(new)) != (type(value), repr(value))))


@pytest.mark.parametrize(
    ("one", "another"),
    [(1, 1.0), (0, False), ("1", 1), ([1], (1,)), (0.0, -0.0), ({"a": 1}, {"b": 1}), (b"a", "a"), ({1}, [1])],
)
def test_what_python_may_call_equal_is_told_apart(one, another):
    assert digest(one) != digest(another)


def test_what_cannot_be_told_is_said():
    with pytest.raises(UnknownError, match=r"list_iterator"):
        digest({"rows": iter([1])})


# the key of a step

MODEL = """
import numpy as np
import user_helper

class Model:
    def __init__(self, seed=0, scale=2.0):
        rng = np.random.default_rng(seed)
        self.weight = rng.standard_normal((4, 3)).astype("float32")
        self.bias = np.zeros(3, "float32")
        self.scale = scale

    def __call__(self, x):
        return user_helper.apply(np.maximum(x @ self.weight + self.bias, 0), self.scale)
"""

HELPER = """
def apply(x, scale):
    return x * scale
"""

METRIC = """
import numpy as np

wanted = np.arange(3.0)

def near(references, candidates):
    table = np.load("table.npy")
    return all(abs(a - b).max() < 1 + wanted.sum() + table.sum() for a, b in zip(references, candidates))

def blind(references, candidates):
    return all(np.load("".join(["tab", "le.npy"])).sum() < 9 for _ in zip(references, candidates))
"""

PLUGIN = """
import json
from functools import partial
from inspect import signature as parameters
import numpy as np
from navigator_core import (
    Converter, Exporter, FP32, Framework, Format, LoadedModel, Ref, Runner, Variant, contention, hookimpl, type_names,
)
from navigator_core.fingerprint import Hasher
from navigator_core.testing.miniframework import Storage, convert, load

contention.NOTICEABLE = float("inf")
HERE = __name__

@hookimpl
def identify_model(model):
    return "user" if "user_model.Model" in type_names(model) else None

@hookimpl
def declare_formats():
    live = Framework(name="user", source=Ref(HERE), reference="user-eager")
    return [live, Format(name="user-json", file="model.json"), Format(name="user-npz", file="model.npz")]

@hookimpl
def declare_exporters():
    return [Exporter(source="user", target="user-json", implementation=Ref(f"{HERE}:export"))]

@hookimpl
def declare_converters():
    build = Ref("navigator_core.testing.miniframework:convert")
    return [Converter(source="user-json", target="user-npz", implementation=build, options=Storage)]

@hookimpl
def declare_runners():
    return [
        Runner(name="user-eager", formats=("user",), implementation=Ref(f"{HERE}:eager")),
        Runner(name="user-runtime", formats=("user-npz",), implementation=Ref(f"{HERE}:load")),
    ]

def fingerprint(model):
    hasher = Hasher()
    hasher.add(model)
    return hasher.digest()

def export(model, output, options, context):
    data = {"weight": (model.weight * model.scale).tolist(), "bias": (model.bias * model.scale).tolist()}
    output.write_text(json.dumps(data))

def eager(model, options, context):
    return LoadedModel(partial(context.signature.call, model))
"""

DRIVER = """
import json, sys
from unittest import mock
import numpy as np
import navigator as nav
from navigator_core import keys, optimize as engine, request, forecast
from navigator_core.testing import using
import user_plugin, user_model, user_metric

def ask(seed=0, scale=2.0, weight=None, sample=2.0, verify=None, bar=0.5, numpy=None, run=False, **asked):
    model = user_model.Model(seed, scale)
    if weight is not None:
        model.weight[0, 0] = np.nextafter(model.weight[0, 0], np.float32(weight))
    X = [np.ones((2, 4), "float32"), np.full((3, 4), sample, "float32")]
    if verify == "metric":
        asked["verify"] = nav.Metric("mean", lambda m: float(m(X[0]).mean()), max_drop=bar)
    elif verify:
        asked["verify"] = getattr(user_metric, verify)
    objective = nav.Objective(minimize="size")
    asked = {"batch_sizes": [1], "seconds": 0.005, "objective": objective, "workspace": "workspace", **asked}
    versions = {**base, **({"numpy": numpy} if numpy else {})}
    with mock.patch.object(keys, "base_versions", lambda: versions):
        if run:
            found = engine.optimize(model, X, request.checked(**asked))
            return {"statuses": [c.status for c in found.candidates], "notes": found.notes}
        plan = forecast.plan(model, X, request.checked(**asked))
        return {"cached": sorted(plan.cached), "all": sorted([*plan.steps, *plan.candidates])}

base = keys.base_versions()
with using(user_plugin):
    print(json.dumps([ask(**one) for one in json.loads(sys.argv[1])]))
"""

FILES = {
    "user_model.py": MODEL,
    "user_helper.py": HELPER,
    "user_metric.py": METRIC,
    "user_plugin.py": PLUGIN,
    "driver.py": DRIVER,
}


EXPORT, CONVERT = "user->user-json", "user->user-json->user-npz"
EAGER, RUNTIME = "user @ user-eager", f"{CONVERT} @ user-runtime"
EVERYTHING = {EXPORT, CONVERT, EAGER, RUNTIME}

SAME = {"plain": {}, "metric": {"verify": "metric"}, "function": {"verify": "near"}}
OTHERS = {
    "weight": ({"weight": 9.0}, set()),
    "attribute": ({"scale": 2.5}, set()),
    "sample": ({"sample": 2.0000002}, set()),
    "version": ({"numpy": "0.0.1"}, set()),
    "batch sizes": ({"batch_sizes": [1, 2]}, set()),
    "option": ({"options": {"user-npz": {"dtype": "float16"}}}, {EXPORT, EAGER}),
    "metric": ({"verify": "metric", "bar": 0.25}, set()),
}
"""A change, and what does not depend on it."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A user's folder in which runs have been finished, one without a gate and two with one."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    np.save(folder / "table.npy", np.zeros(2))
    for found in ask(folder, *({"run": True, **asked} for asked in SAME.values())):
        assert found["statuses"] == ["ok", "ok"]
    return folder


@pytest.fixture(scope="module")
def cached(project):
    """What is found of each request, by a new process."""
    requests = {**SAME, **{name: asked for name, (asked, _) in OTHERS.items() if name not in SAME}}
    requests["another metric"] = OTHERS["metric"][0]
    found = ask(project, *requests.values())
    return {name: set(one["cached"]) for name, one in zip(requests, found, strict=True)}


def ask(folder, *requests):
    """What a new process with a hash seed of its own says.

    Without bytecode: what is changed twice within a second, and is as long as before, would be found in its old one.
    """
    command = [sys.executable, "-W", "error", "driver.py", json.dumps(requests)]
    environment = {**os.environ, "PYTHONHASHSEED": "random", "NAVIGATOR_PROGRESS": "0"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SAME)
def test_the_same_made_again_in_another_process_hits(name, cached):
    assert cached[name] == EVERYTHING


@pytest.mark.parametrize("name", OTHERS)
def test_the_least_change_misses_what_it_can_reach_and_nothing_else(name, cached):
    assert cached["another metric" if name == "metric" else name] == OTHERS[name][1]


@pytest.mark.parametrize(
    ("name", "old", "new", "asked"),
    [
        ("user_helper.py", "x * scale", "scale * x", {}),
        ("user_metric.py", "arange(3.0)", "arange(4.0)", {"verify": "near"}),
        ("user_plugin.py", "HERE = __name__", "HERE = __name__ ", {}),
    ],
    ids=["a module that the model calls", "what the function refers to", "the plugin"],
)
def test_one_line_of_a_local_module_misses(project, name, old, new, asked):
    file = project / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        (found,) = ask(project, asked)
    finally:
        file.write_text(text)
    assert found["cached"] == []


def test_a_file_that_the_function_names_is_part_of_it(project):
    table = project / "table.npy"
    before = table.read_bytes()
    np.save(table, np.ones(2))
    changed = ask(project, {"verify": "near"}, {})
    table.write_bytes(before)
    assert [set(one["cached"]) for one in changed] == [set(), EVERYTHING]
    assert [set(one["cached"]) for one in ask(project, {"verify": "near"}, {})] == [EVERYTHING, EVERYTHING]


def test_a_function_that_cannot_be_recognised_is_asked_in_every_run_and_the_report_says_so(project):
    blind = {"verify": "blind"}
    _, planned, again = ask(project, {"run": True, **blind}, blind, {"run": True, **blind})
    assert planned["cached"] == []
    (said,) = [note for note in again["notes"] if note.startswith("verify cannot be recognised in a later run")]
    assert "by a name not written in it" in said
