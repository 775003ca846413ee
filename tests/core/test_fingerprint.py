"""What a plugin's fingerprint is made with: one hash for equal objects in every process, another after any change."""

import functools
import subprocess
import sys
import threading

import attrs
import numpy as np
import pytest

from navigator_core.fingerprint import Hasher
from navigator_core.objects import UnknownError

SCRIPT = """
import functools, sys
import numpy as np
import helper
from navigator_core.fingerprint import Hasher

FACTOR = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

class Model:
    kinds = {"x", "y", "z"}

    def __init__(self):
        self.weights = np.arange(3.0)
        self.activation = lambda x: helper.scaled(x) * FACTOR

    def __call__(self, x):
        return self.activation(x * self.weights)

if __name__ == "__main__":
    hasher = Hasher()
    hasher.add(functools.partial(Model().__call__, 1))
    print(hasher.digest())
"""
HELPER = "def scaled(x):\n    return x * 2\n"


def of(value):
    hasher = Hasher()
    hasher.add(value)
    return hasher.digest()


def test_another_process_finds_the_same_and_any_local_line_or_value_changes_it(tmp_path):
    def run(*arguments):
        command = [sys.executable, "script.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(HELPER)
    first = run()
    assert len(first) == 64
    assert run() == first
    assert run("2.0") != first
    (tmp_path / "helper.py").write_text(HELPER.replace("2", "3"))
    assert run() != first


@attrs.frozen
class Pair:
    one: object
    other: object


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        (1, 1.0),
        ((1, 2), [1, 2]),
        ("a", b"a"),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.float32(1), np.float32(2)),
        (slice(1, 2), slice(1, 3)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (Pair(1, 2), Pair(2, 1)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (functools.partial(max, 1), functools.partial(min, 1)),
        (lambda x: x + 1, lambda x: x + 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_equal_values_have_one_and_others_another(value, changed):
    assert of(value) == of(value)
    assert of(value) != of(changed)


def test_one_object_twice_is_not_two_equal_ones():
    weights = np.zeros(3)
    shared, apart = Pair(Pair(weights, 1), 0), Pair(1, 2)
    assert of([apart, apart]) != of([apart, Pair(1, 2)])
    assert of(shared) == of(Pair(Pair(np.zeros(3), 1), 0))


def test_locks_do_not_matter():
    assert of(Pair(threading.Lock(), 1)) == of(Pair(threading.Lock(), 1))


def loop():
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value", [(n for n in range(3)), np.array([object()]), loop()], ids=["generator", "objects", "loop"]
)
def test_what_cannot_be_told_is_an_error(value):
    with pytest.raises(UnknownError):
        of(Pair(value, 1))


def pairs(hasher, value):
    """Knows one kind of object better than the core does."""
    if isinstance(value, Pair):
        hasher.say("a pair")
    return isinstance(value, Pair)


def test_a_framework_may_know_better():
    hashers = Hasher(pairs), Hasher(pairs)
    for hasher, value in zip(hashers, ([Pair(1, 2)], [Pair(3, (n for n in ()))]), strict=True):
        hasher.add(value)
    assert hashers[0].digest() == hashers[1].digest()
