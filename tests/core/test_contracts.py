"""The core's own plugin and the framework in one small file keep the contracts that every plugin keeps."""

import contextlib
import itertools
import json
import time
import unittest
from typing import ClassVar

import attrs
import numpy as np
import pytest

from navigator_core import Call, Context, Dim, LoadedModel, Signature, TensorSpec, tensors, testing
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
        return testing.RunnerCase(
            path, Context(signature=SIGNATURE), [({"x": x.copy()}, expected(model, x)) for x in BATCHES]
        )


class TestMiniConverter(testing.ConversionContract):
    module = MINI
    conversion = "mini->mini-json->mini-npz[fp32]"

    def source(self, folder):
        return layer(), [mini.Array(x) for x in BATCHES]


class TestMiniConverterToHalf(TestMiniConverter):
    conversion = "mini->mini-json->mini-npz[fp16]"


def stored_type(options, folder):
    (folder / "model.json").write_text(json.dumps({"weight": [[1.0]], "bias": [0.0]}))
    mini.convert(folder / "model.json", folder / "model.npz", options, Context(signature=SIGNATURE))
    with np.load(folder / "model.npz") as file:
        return str(file["weight"].dtype)


class TestMiniOptions(testing.OptionsContract):
    module = MINI
    effects: ClassVar = {"mini-json->mini-npz": {"dtype": testing.Effect("float16", stored_type)}}


class TestCoreOptions(testing.OptionsContract):
    module = "navigator_core.builtin"


# a contract that is broken is told


def broken(suite, **overrides):
    return type("Broken", (suite,), overrides)()


def test_a_plugin_that_imports_what_is_forbidden_is_told():
    with pytest.raises(AssertionError, match="loading the plugin imports json"):
        broken(TestMini, forbidden=("json",)).test_declaring_and_identifying_import_nothing_heavy()


PLUGIN = """
from attrs import define, field, frozen, validators
from navigator_core import *
from navigator_core import hookimpl

@frozen
class Frozen:
    values: tuple[int, ...] = ()

@define
class Loose:
    level: int = 1

@frozen
class Picky:
    level: int = field(default=1, validator=validators.in_((1, 2)))

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
        ("declare_runners", "every_knob", "the knob 'speed' of r8 is no field of its options"),
        ("declare_runners", "every_knob", "the knob 'level' of r9 is turned to 7, which the options refuse"),
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
        "no field": 'Runner(name="r8", formats=(), implementation=Ref(f"{__name__}:three"), options=Frozen,'
        ' knobs=(Knob("speed", (1,)),))',
        "refuse": 'Runner(name="r9", formats=(), implementation=Ref(f"{__name__}:three"), options=Picky,'
        ' knobs=(Knob("level", (1, 7)),))',
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
        ("handed_over", {"adopt": lambda a, device, dtype: mini.Array(np.frombuffer(a.tobytes("A"), dtype))}),
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


NUMBERS = itertools.count()
KEPT, LEFT = [], []


class Careless:
    """Runs the layer with a mistake of one kind."""

    def __init__(self, mistake, source, options, context):
        self.mistake, self.inner = mistake, mini.dense
        self.number = next(NUMBERS)
        self.signature = context.signature
        self.file = source.open("rb")
        with np.load(source) as layer:
            self.layer = dict(layer)
        self.buffer, self.calls, self.closed = {}, 0, False
        if mistake == "global":
            KEPT.append(self)

    def call(self, inputs):
        self.calls += 1
        ours = "x" if self.mistake == "fixed names" else self.signature.inputs[0].name
        x = inputs[ours] if self.mistake != "position" else next(iter(inputs.values()))
        if self.mistake == "writes":
            x[:] = 0
        if self.mistake == "shares":
            self.buffer["x"] = x
            time.sleep(0.001)
            x = self.buffer["x"]
        y = mini.dense(x, self.layer["weight"], self.layer["bias"])
        if self.mistake == "buffer":
            place = self.buffer.setdefault(y.shape, y)
            place[:] = y
            return {"output": place}
        if self.mistake == "state":
            y = y + (self.calls > 1)
        if self.mistake == "load":
            y = y + self.number * 1e-7
        if self.mistake == "drift":
            y = y * np.float32(1 + self.calls * 2.0**-22)
        if self.mistake == "bytes":
            y = mini.dense(np.frombuffer(x.tobytes("A"), "<f4").reshape(x.shape), *self.layer.values())
        if self.mistake == "memory":
            y = self.buffer.setdefault(x.tobytes(), y)
        if self.mistake == "clears":
            self.buffer[self.calls] = y
        if self.mistake == "after" and self.closed:
            y = np.zeros_like(y)
        if self.mistake == "batch":
            y = y[:2]
        if self.mistake == "kind":
            return {"output": mini.Array(y)}
        if self.mistake == "double":
            y = y.astype("float64")
        return {"y" if self.mistake == "name" else self.signature.outputs[0].name: y}

    def close(self):
        if self.mistake == "handle":
            LEFT.append(self.file)
        else:
            self.file.close()
        for array in self.buffer.values() if self.mistake == "clears" else ():
            array[:] = 0
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
        ("shares", "threads_that_call"),
        ("position", "missing_input"),
        ("load", "two_loads"),
        ("batch", "dynamic_axis"),
        ("kind", "of_the_kind"),
        ("fixed names", "names_that_the_artifact"),
        ("drift", "repeated_call"),
        ("bytes", "however_they_lie"),
        ("memory", "may_write_into"),
        ("clears", "outlive"),
        ("after", "call_after_closing"),
        ("global", "nothing_is_held"),
        ("handle", "nothing_is_held"),
    ],
)
def test_a_careless_runner_is_told(mistake, test, tmp_path, monkeypatch):
    tensors.register(mini.declare_tensors())

    def load(source, options, context):
        made = Careless(mistake, source, options, context)
        return LoadedModel(made.call, close=made.close, thread_safe=mistake == "shares")

    monkeypatch.setattr(mini, "load", load)
    suite = TestMiniRuntime()
    (method,) = [getattr(suite, one) for one in dir(suite) if one.startswith("test_") and test in one]
    said = {
        "close": "closed twice",
        "shares": "called by 4 at once with",
        "global": "still refers to",
        "handle": "the open file .*model.npz",
        "drift": "differ from the first ones in their last bits",
        "bytes": "called with (Fortran-ordered|foreign-endian) arrays",
        "memory": "after the caller wrote into the first outputs",
        "clears": "read after the model was closed",
        "after": "called after it was closed",
    }
    try:
        with pytest.raises((AssertionError, KeyError, StopIteration), match=said.get(mistake)):
            method(tmp_path)
    finally:
        KEPT.clear()
        for file in LEFT:
            file.close()
        LEFT.clear()


def test_a_careful_runner_passes_where_careless_ones_are_told(tmp_path, monkeypatch):
    def load(source, options, context):
        made = Careless("none", source, options, context)
        return LoadedModel(made.call, close=made.close)

    monkeypatch.setattr(mini, "load", load)
    suite = TestMiniRuntime()
    for number, name in enumerate(name for name in dir(suite) if name.startswith("test_")):
        (tmp_path / str(number)).mkdir()
        with contextlib.suppress(unittest.SkipTest):  # with one input and one output there is nothing to mix up
            getattr(suite, name)(tmp_path / str(number))


def sums(inputs):
    return {"plus": inputs["a"] + inputs["b"], "minus": inputs["a"] - inputs["b"]}


class TestTwoOfEach(testing.RunnerContract):
    """A case with inputs and outputs that could be taken for each other."""

    module = MINI
    runner = "mini-runtime"

    @pytest.fixture(autouse=True)
    def by_name(self, monkeypatch):
        monkeypatch.setattr(mini, "load", self.load)

    def load(self, source, options, context):
        ours = {theirs: name for name, theirs in context.names.inputs.items()}
        told = {theirs: name for name, theirs in context.names.outputs.items()}

        def call(inputs):
            found = sums({name: inputs[ours.get(name, name)] for name in "ab"})
            return {told.get(name, name): array for name, array in found.items()}

        return LoadedModel(call)

    def case(self, folder):
        (folder / "model.npz").touch()
        ab, outputs = (
            tuple(TensorSpec(name, "float32", (Dim("batch"), 4)) for name in names)
            for names in (("a", "b"), ("plus", "minus"))
        )
        calls = [{"a": x, "b": 2 * x} for x in BATCHES]
        context = Context(signature=Signature(ab, outputs))
        return testing.RunnerCase(folder / "model.npz", context, [(given, sums(given)) for given in calls])


class BySignature(TestTwoOfEach):
    """Takes tensors by their place in the signature."""

    mixes = "inputs"

    def load(self, source, options, context):
        def call(inputs):
            found = sums(dict(zip("ab", inputs.values(), strict=True)) if self.mixes == "inputs" else inputs)
            names = [spec.name for spec in context.signature.outputs]
            return found if self.mixes == "inputs" else dict(zip(names, found.values(), strict=True))

        return LoadedModel(call)


def test_a_runner_that_takes_outputs_by_their_place_in_the_signature_is_told(tmp_path, monkeypatch):
    suite = broken(BySignature, mixes="outputs")
    monkeypatch.setattr(mini, "load", suite.load)
    suite.test_outputs_are_those_expected_under_the_signatures_names(tmp_path)  # as the case lists them, it is right
    with pytest.raises(AssertionError, match="loaded with a signature in reversed order, output 'plus' is"):
        suite.test_the_order_in_which_the_signature_lists_tensors_decides_nothing(tmp_path)


def test_a_runner_that_takes_inputs_by_their_place_in_the_call_is_told(tmp_path, monkeypatch):
    suite = broken(BySignature)
    monkeypatch.setattr(mini, "load", suite.load)
    with pytest.raises(AssertionError, match="called with the inputs in another order, output 'minus' is"):
        suite.test_inputs_go_by_name_whatever_their_order(tmp_path)


def test_calls_of_one_size_cannot_show_that_an_axis_is_dynamic(tmp_path):
    class Single(TestMiniRuntime):
        def case(self, folder):
            return attrs.evolve(super().case(folder), calls=super().case(folder).calls[:1])

    with pytest.raises(AssertionError, match=r"all calls have the same size of \['batch'\]"):
        Single().test_a_dynamic_axis_takes_other_sizes_and_outputs_follow(tmp_path)


# options


def wordy(options, folder):
    return f"{options} in {folder}"


@pytest.mark.parametrize(
    ("effects", "said"),
    [
        ({}, r"nobody says what 'dtype' does: put into effects\['mini-json->mini-npz'\]"),
        ({"dtype": " "}, "the sentence why the effect of mini-json->mini-npz.dtype cannot be seen here is empty"),
        ({"dtype": testing.Effect("float32", stored_type)}, "'float32' is the default"),
        ({"dtype": testing.Effect("float16", wordy)}, "that tells nothing"),
        (
            {"dtype": testing.Effect("float16", lambda options, folder: 3)},
            "has no effect: with it or without, 3 is seen",
        ),
    ],
)
def test_an_option_whose_effect_is_not_seen_is_told(effects, said, tmp_path):
    suite = broken(TestMiniOptions, effects={"mini-json->mini-npz": effects})
    with pytest.raises(AssertionError, match=said):
        suite.test_an_option_has_an_effect("mini-json->mini-npz.dtype", tmp_path)


@attrs.frozen
class Ignored:
    dtype: str = "float32"


def test_an_option_that_only_one_of_two_conversions_heeds_is_told(tmp_path):
    def heeded_by_the_first(options, folder):
        return None if isinstance(options, Ignored) else stored_type(options, folder)

    class TwoWays(TestMiniOptions):
        effects: ClassVar = {"mini-json->mini-npz": {"dtype": testing.Effect("float16", heeded_by_the_first)}}

        def declared(self):
            yield from super().declared()
            yield "mini-json->mini-npz.dtype", Ignored

    with pytest.raises(AssertionError, match=r"dtype of Ignored = 'float16' has no effect"):
        TwoWays().test_an_option_has_an_effect("mini-json->mini-npz.dtype", tmp_path)


def test_a_sentence_why_an_effect_cannot_be_seen_skips_the_test_with_it(tmp_path):
    suite = broken(TestMiniOptions, effects={"mini-json->mini-npz": {"dtype": "it needs a GPU"}})
    with pytest.raises(unittest.SkipTest, match="it needs a GPU"):
        suite.test_an_option_has_an_effect("mini-json->mini-npz.dtype", tmp_path)


def test_an_effect_of_what_is_no_option_is_told(tmp_path):
    effects = {"mini-json->mini-npz": {"dtyp": "it is misspelt"}}
    with pytest.raises(AssertionError, match=r"there is no option mini-json->mini-npz\.dtyp"):
        broken(TestMiniOptions, effects=effects).test_what_is_said_to_have_an_effect_is_an_option()
    with pytest.raises(AssertionError, match=r"navigator_core\.builtin declares no options"):
        broken(TestCoreOptions, effects=effects).test_an_option_has_an_effect("no options", tmp_path)


# requirements

REQUIRES = """
from navigator_core import Converter, Ref, Requirement, hookimpl

@hookimpl
def declare_converters():
    work = Ref("{work}:convert")
    return [Converter(source="a", target="b", implementation=work, requirements=({requirements}))]
"""
CONVERT = "def convert(source, output, options, context): ..."


@pytest.fixture
def requiring(tmp_path, monkeypatch):
    """A plugin with this code in its implementation, and these requirements; installed if ``owner`` is said."""

    def make(code, requirements, owner=None):
        name = f"requiring_{next(NUMBERS)}"
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / f"{name}_work.py").write_text(f"{code}\n{CONVERT}\n")
        (tmp_path / f"{name}.py").write_text(REQUIRES.format(work=f"{name}_work", requirements=requirements))
        if owner is not None:
            info = tmp_path / f"{name}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{owner}")
            (info / "entry_points.txt").write_text(f"[navigator]\nit = {name}\n")
        return broken(testing.PluginContract, module=name)

    return make


def test_what_is_imported_must_be_required(requiring):
    plugin = requiring("import numpy, pytest", '"attrs", ', "Requires-Dist: numpy\n")
    with pytest.raises(AssertionError, match=r"with what is required .*_work cannot be imported.*pytest"):
        plugin.test_what_an_implementation_requires_is_enough_to_import_it()
    requiring(
        "import numpy, pytest", '"pytest", ', "Requires-Dist: numpy\n"
    ).test_what_an_implementation_requires_is_enough_to_import_it()


def test_what_a_plugin_that_is_not_installed_may_import_is_not_known(requiring):
    requiring("import pytest", '"attrs", ').test_what_an_implementation_requires_is_enough_to_import_it()


@pytest.mark.parametrize(
    ("code", "requirements"),
    [
        ("import pytest", '"pytest", '),
        ("", '"pytest", '),
        ("import no_such_thing", '"no-such-thing", '),
        ("import pytest", 'Requirement(("no-such-thing", "pytest")), '),
    ],
)
def test_a_missing_requirement_is_an_import_error_that_names_it_or_needed_later(requiring, code, requirements):
    requiring(code, requirements).test_without_something_required_an_import_says_what_is_missing_if_it_fails()


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    import pytest\nexcept ImportError:\n    raise Exception('install pytest') from None",
        "try:\n    import pytest\nexcept ImportError:\n    raise ImportError('something is missing') from None",
        "import os\ntry:\n    import pytest\nexcept ImportError:\n    os._exit(3)",
    ],
)
def test_a_missing_requirement_that_is_not_named_is_told(requiring, code):
    plugin = requiring(code, '"pytest", ')
    with pytest.raises(AssertionError, match="must work, or raise an ImportError that names it"):
        plugin.test_without_something_required_an_import_says_what_is_missing_if_it_fails()


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


RANDOM = """
import json
import numpy as np
from navigator_core.testing.miniframework import *
from navigator_core.testing import miniframework as mini

@hookimpl
def declare_converters():
    half = (Variant("fp16", Storage("float16"), FP16),)
    work = Ref(f"{__name__}:random")
    return [Converter(source="mini-json", target="mini-npz", implementation=work, options=Storage, variants=half)]

def random(source, output, options, context):
    layer = json.loads(source.read_text())
    chance = np.random.default_rng()
    layer["weight"] = [[w * (1 + chance.uniform(-1e-3, 1e-3)) for w in row] for row in layer["weight"]]
    changed = output.with_name("changed.json")
    changed.write_text(json.dumps(layer))
    mini.convert(changed, output, options, context)
"""


def test_a_converter_whose_results_differ_from_time_to_time_is_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "random_converter.py").write_text(RANDOM)
    suite = broken(TestMiniConverterToHalf, module="random_converter")
    suite.setup_class()
    try:
        suite.test_it_answers_as_the_source_where_the_user_loads_it()  # within what fp16 explains, it is right
        with pytest.raises(AssertionError, match=r"converted again, .*output 'output' is"):
            suite.test_converting_again_gives_an_artifact_that_answers_the_same()
    finally:
        suite.teardown_class()


def test_tensors_that_do_not_come_back_as_the_sources_own_or_elsewhere_are_told(monkeypatch):
    suite = broken(TestMiniConverter)
    suite.setup_class()
    try:
        suite.test_the_sources_own_tensors_come_back_as_such_on_the_device()
        own = tensors.kind("mini")
        for changes, said in (
            ({"adopt": lambda array, device, dtype: array}, "output 'output' is a ndarray, not of mini"),
            ({"tell_device": lambda tensor: "cuda:1"}, "is on cuda:1, and its inputs were on cpu"),
        ):
            monkeypatch.setitem(tensors._kinds, "mini", attrs.evolve(own, **changes))
            tensors._by_type.clear()
            with pytest.raises(AssertionError, match=said):
                suite.test_the_sources_own_tensors_come_back_as_such_on_the_device()
            monkeypatch.undo()
            tensors._by_type.clear()
    finally:
        suite.teardown_class()


def test_a_source_whose_outputs_nobody_could_tell_apart_is_told():
    suite = broken(TestMiniConverter)
    suite.setup_class()
    try:
        suite.test_the_outputs_of_the_source_can_be_told_apart()
        (output,) = suite._report.signature.outputs
        suite._report = attrs.evolve(
            suite._report, signature=attrs.evolve(suite._report.signature, outputs=(output, output))
        )
        with pytest.raises(AssertionError, match="outputs 'output' and 'output' are equal"):
            suite.test_the_outputs_of_the_source_can_be_told_apart()
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
