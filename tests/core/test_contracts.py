"""The core's own plugin and the framework in one small file keep the contracts that every plugin keeps."""

import numpy as np
import pytest

from navigator_core import Call, Context, Dim, Signature, TensorSpec, tensors, testing
from navigator_core.errors import PluginError
from navigator_core.python_callable import parameters
from navigator_core.samples import gather, initial_signature, parameters_of
from navigator_core.testing import miniframework as mini

MINI = mini.__name__
BATCHES = [np.random.default_rng(n).standard_normal((n, 4)).astype("float32") for n in (1, 3, 8)]
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (Dim("batch"), 4)),), (TensorSpec("output", "float32", (Dim("batch"), 2)),)
)


def layer():
    rng = np.random.default_rng(0)
    return mini.Model(rng.standard_normal((4, 2)).astype("float32"), np.ones(2, "float32"))


def expected(model, x):
    return {"output": np.maximum(x @ model.weight + model.bias, 0)}


# the core


class TestCore(testing.PluginContract):
    module = "navigator_core.builtin"
    forbidden = ("numpy", "rich", "cattrs", "pytest")
    unrelated = (3, None, "text", object(), int)


class TestNumpy(testing.TensorsContract):
    module = "navigator_core.builtin"
    kind = "numpy"
    foreign = (*testing.TensorsContract.foreign, np.ndarray, np.dtype("int8"))


def scale(x, offset):
    return {"sum": x + offset, "scaled": 2 * x}


class TestPythonCallable(testing.RunnerContract):
    module = "navigator_core.builtin"
    runner = "python"

    def case(self, folder):
        offset = np.float64(3)
        found = gather([Call((BATCHES[0], offset))], *parameters_of(parameters(scale)), None)
        outputs = tuple(TensorSpec(name, dtype, (1, 4)) for name, dtype in (("sum", "float64"), ("scaled", "float32")))
        first = initial_signature(found)
        calls = [({"x": x, "offset": np.asarray(offset)}, scale(x, offset)) for x in BATCHES]
        return testing.RunnerCase(scale, Context(signature=Signature(first.inputs, outputs, first.structure)), calls)


# the framework in one small file


class TestMini(testing.PluginContract):
    module = MINI
    forbidden = ("rich", "pytest")


class TestMiniTensors(testing.TensorsContract):
    module = MINI
    kind = "mini"


class TestMiniEager(testing.RunnerContract):
    module = MINI
    runner = "mini-eager"

    def case(self, folder):
        tensors.register(mini.declare_tensors())
        model = layer()
        found = gather([Call((mini.Array(BATCHES[0]),))], *parameters_of(mini.parameters(model)), None)
        signature = Signature(SIGNATURE.inputs, SIGNATURE.outputs, initial_signature(found).structure)
        return testing.RunnerCase(
            model, Context(signature=signature), [({"x": x}, expected(model, x)) for x in BATCHES]
        )


class TestMiniRuntime(testing.RunnerContract):
    module = MINI
    runner = "mini-runtime"

    def case(self, folder):
        model, path = layer(), folder / "model.npz"
        np.savez(path, weight=model.weight, bias=model.bias)
        return testing.RunnerCase(path, Context(signature=SIGNATURE), [({"x": x}, expected(model, x)) for x in BATCHES])


class TestMiniConverter(testing.ConversionContract):
    module = MINI
    conversion = "mini->mini-json->mini-npz[fp32]"

    def source(self, folder):
        return layer(), [mini.Array(x) for x in BATCHES]


class TestMiniConverterToHalf(TestMiniConverter):
    conversion = "mini->mini-json->mini-npz[fp16]"


# a contract that is broken is told


def broken(suite, **overrides):
    return type("Broken", (suite,), overrides)()


def test_a_plugin_that_imports_what_is_forbidden_is_told():
    with pytest.raises(AssertionError, match="loading the plugin imports json"):
        broken(TestMini, forbidden=("json",)).test_declaring_and_identifying_import_nothing_heavy()


PLUGIN = """
from attrs import define, field, frozen
from navigator_core import *
from navigator_core import hookimpl

@frozen
class Frozen:
    values: tuple[int, ...] = ()

@define
class Loose:
    level: int = 1

@frozen
class Lossy:
    level: object = field(factory=object)

def two(source, options): ...
def three(source, options, context): ...
"""


@pytest.mark.parametrize(
    ("hook", "test", "reason"),
    [
        ("declare_runners", "reference_has_a_module", "there is no module no_such_module"),
        ("declare_runners", "reference_takes", r":four of r2 leads nowhere"),
        ("declare_runners", "reference_takes", r":two of r3 is called with 3 arguments: too many"),
        ("declare_runners", "options_are", "Loose, must be frozen"),
        ("declare_runners", "options_are", "of r5 cannot be sent to a worker"),
        ("declare_runners", "options_are", "a variant of r6 has the options 3, which are no Frozen"),
        ("declare_runners", "has_a_remedy", "empty remedy"),
        ("declare_formats", "reference_runner", "f names the runner 'r', which it does not bring"),
        ("identify_model", "no_model_of_it", "is taken for a f model"),
    ],
)
def test_a_broken_plugin_is_told_what_is_wrong(hook, test, reason, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    number = [int(c) for c in reason if c.isdigit()][:1]
    runners = {
        "no_such_module": 'Runner(name="r1", formats=(), implementation=Ref("no_such_module:f"))',
        "four": 'Runner(name="r2", formats=(), implementation=Ref(f"{__name__}:four"))',
        "two": 'Runner(name="r3", formats=(), implementation=Ref(f"{__name__}:two"))',
        "Loose": 'Runner(name="r4", formats=(), implementation=Ref(f"{__name__}:three"), options=Loose)',
        "cannot be sent": 'Runner(name="r5", formats=(), implementation=Ref(f"{__name__}:three"), options=Lossy)',
        "no Frozen": 'Runner(name="r6", formats=(), implementation=Ref(f"{__name__}:three"), options=Frozen,'
        ' variants=(Variant("v", 3),))',
        "remedy": 'Runner(name="r7", formats=(), implementation=Ref(f"{__name__}:three"),'
        ' requirements=(Requirement("numpy", ""),))',
    }
    value = next((text for key, text in runners.items() if key in reason), "")
    bodies = {
        "declare_runners": f"def declare_runners(): return [{value}]",
        "declare_formats": 'def declare_formats(): return [Format(name="f", file="m", reference="r")]',
        "identify_model": 'def identify_model(model): return "f"',
    }
    name = f"broken_plugin_{test}_{len(reason)}_{''.join(map(str, number))}"
    (tmp_path / f"{name}.py").write_text(f"{PLUGIN}\n@hookimpl\n{bodies[hook]}\n")
    suite = broken(testing.PluginContract, module=name)
    (method,) = [getattr(suite, one) for one in dir(suite) if one.startswith("test_") and test in one]
    with pytest.raises(AssertionError, match=reason):
        method()


@pytest.mark.parametrize(
    ("test", "change"),
    [
        ("values_types_and_shapes", {"to_numpy": lambda t: t.value.astype("float32")}),
        ("any_layout", {"from_numpy": lambda a, device, dtype: mini.Array(np.frombuffer(a.tobytes("A"), a.dtype))}),
        ("not_changed", {"to_numpy": lambda t: np.multiply(t.value, 2, out=t.value)}),
        ("recognised", {"is_tensor": lambda value: True}),
        ("recognised", {"is_tensor": lambda value: False}),
        ("told_by_numpys_name", {"dtype": lambda tensor: "float"}),
        ("moved", {"to_device": lambda tensor, device: mini.Array(tensor.value * 0)}),
    ],
)
def test_a_broken_kind_of_tensor_is_told(test, change, monkeypatch):
    for name, function in change.items():
        monkeypatch.setattr(mini, name, function, raising=False)
    suite = TestMiniTensors()
    (method,) = [getattr(suite, one) for one in dir(suite) if one.startswith("test_") and test in one]
    with pytest.raises((AssertionError, ValueError)):
        method()


class Careless:
    """Runs the layer with a mistake of one kind."""

    def __init__(self, mistake, source, options, context):
        self.mistake, self.inner = mistake, mini.dense
        self.layer, self.buffer, self.calls, self.closed = np.load(source), {}, 0, False

    def call(self, inputs):
        self.calls += 1
        x = inputs["x"] if self.mistake != "position" else next(iter(inputs.values()))
        if self.mistake == "writes":
            x[:] = 0
        y = mini.dense(x, self.layer["weight"], self.layer["bias"])
        if self.mistake == "buffer":
            place = self.buffer.setdefault(y.shape, y)
            place[:] = y
            return {"output": place}
        if self.mistake == "state":
            y = y + (self.calls > 1)
        if self.mistake == "double":
            y = y.astype("float64")
        return {"y" if self.mistake == "name" else "output": y}

    def close(self):
        if self.mistake == "close":
            assert not self.closed, "closed twice"
        self.closed = True


@pytest.mark.parametrize(
    ("mistake", "test"),
    [
        ("name", "outputs_are_those_expected"),
        ("double", "output_types"),
        ("state", "repeated_call"),
        ("buffer", "not_overwritten"),
        ("writes", "left_as_they_were"),
        ("close", "closing_twice"),
        ("position", "missing_input"),
    ],
)
def test_a_careless_runner_is_told(mistake, test, tmp_path, monkeypatch):
    from navigator_core import LoadedModel

    def load(source, options, context):
        made = Careless(mistake, source, options, context)
        return LoadedModel(made.call, close=made.close)

    monkeypatch.setattr(mini, "load", load)
    suite = TestMiniRuntime()
    (method,) = [getattr(suite, one) for one in dir(suite) if one.startswith("test_") and test in one]
    with pytest.raises((AssertionError, StopIteration), match=None if mistake != "close" else "closed twice"):
        method(tmp_path)


def test_a_suite_without_a_case_says_what_is_missing(tmp_path):
    for suite, method in ((testing.RunnerContract, "case"), (testing.ConversionContract, "source")):
        with pytest.raises(NotImplementedError, match=f"Broken.{method} must return"):
            getattr(broken(suite), method)(tmp_path)


CONVERTER = """
import json
from pathlib import Path
from navigator_core.testing.miniframework import *
from navigator_core.testing import miniframework as mini

@hookimpl
def declare_converters():
    return [Converter(source="mini-json", target="mini-npz", implementation=Ref(f"{__name__}:careless"))]

def careless(source, output, options, context):
    Path("left.behind").write_text("here")
    layer = json.loads(source.read_text())
    layer["bias"][0] += 1
    output.with_name("other.json").write_text(json.dumps(layer))
    mini.convert(output.with_name("other.json"), output, mini.Storage(), context)
"""


def test_a_careless_converter_is_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "careless_converter.py").write_text(CONVERTER)
    suite = broken(TestMiniConverter, module="careless_converter", conversion="mini->mini-json->mini-npz")
    suite.setup_class()
    try:
        with pytest.raises(AssertionError, match=r"is incorrect: .*output 'output'"):
            suite.test_it_answers_as_the_source_in_a_process_of_its_own()
        with pytest.raises(AssertionError):
            suite.test_nothing_is_left_in_the_working_directory()
    finally:
        suite.teardown_class()


def test_a_conversion_that_is_not_there_is_told_with_those_that_are():
    suite = broken(TestMiniConverter, conversion="mini->mini-json->mini-npz[int4]")
    suite.setup_class()
    try:
        with pytest.raises(AssertionError, match=r"there is no .*\[int4\], only .*\[fp32\]"):
            suite.test_the_artifact_lies_where_the_format_says()
    finally:
        suite.teardown_class()


def test_a_plugin_that_is_set_aside_cannot_be_used():
    class Plugin:
        __name__ = "bad"

        def declare_formats(self):
            return [3]

    with pytest.raises(PluginError, match="plugin 'bad' is set aside"), testing.using(Plugin()):
        pytest.fail("it is in use")
