"""Plugins are found, those that break are set aside by name, and their order decides nothing."""

import inspect
import itertools
import json
import subprocess
import sys
import textwrap
import time
from functools import partial
from types import SimpleNamespace

import attrs
import pluggy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navigator_core import (
    Context,
    Converter,
    Device,
    Executor,
    Exporter,
    Format,
    Framework,
    Probe,
    Ref,
    Requirement,
    Runner,
    Signature,
    TensorSpec,
    Variant,
    builtin,
    hookimpl,
    hookspecs,
    python_callable,
)
from navigator_core.errors import RequestError
from navigator_core.plugins import CORE, DECLARES, PluginInfo, Plugins, discover, installed
from navigator_core.validity import _EXPECTED, annotation, problem

GROUP = "navigator_tests"
counter = itertools.count()

GOOD = """
from navigator_core import Format, hookimpl

@hookimpl
def declare_formats():
    return [Format(name={name!r}, file="model.bin")]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Writes a distribution with one plugin, as pip would leave it, and puts it on sys.path."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def write(name, source, group=GROUP, distribution=None, version="1.0", module=None):
        module = module or f"fake_{name}_{next(counter)}"
        distribution = distribution or f"navigator-{name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nText\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        modules.append(module)
        return tmp_path

    yield write
    for module in modules:
        sys.modules.pop(module, None)


def plugin(**hooks):
    """A plugin given in code: hook names and what they return, or functions."""
    functions = {name: value if callable(value) else _returning(value) for name, value in hooks.items()}
    return SimpleNamespace(**{name: hookimpl(function) for name, function in functions.items()})


def _returning(value):
    return lambda: value


def fmt(name, **fields):
    return Format(name=name, file="model.bin", **fields)


def only(*given):
    return discover(extra=given, entry_points=False)


def reason_of(found, name):
    (reason,) = [broken.reason for broken in found.broken if broken.name == name]
    return reason


# finding


def test_a_plugin_is_known_by_its_entry_point_distribution_and_version(install):
    install("good", GOOD.format(name="alpha"), version="2.5", module="fake_known")
    found = discover(GROUP)
    assert found.loaded == (PluginInfo("good", "navigator-good", "2.5", "fake_known"),)
    assert found.broken == ()
    assert found.owner(found.formats["alpha"]) == found.loaded[0]
    assert str(found.loaded[0]) == "plugin 'good' (navigator-good 2.5)"


def test_the_core_is_installed_through_the_same_door():
    found = installed()
    assert PluginInfo("core", "navigator-core", "0.1.0", CORE) in found.loaded
    assert found.owner(found.runners["python"]).name == "core"
    assert installed() is found


def test_an_owner_is_asked_for_by_identity():
    found = only(("a", plugin(declare_formats=[fmt("alpha")])))
    with pytest.raises(KeyError):
        found.owner(fmt("alpha"))


def test_a_distribution_on_two_paths_counts_once(install, tmp_path, monkeypatch):
    install("twice", GOOD.format(name="alpha"), module="fake_twice")
    second = tmp_path / "src"
    second.mkdir()
    (tmp_path / "navigator_twice-1.0.dist-info").rename(second / "navigator_twice.egg-info")
    (second / "navigator_twice.egg-info" / "METADATA").rename(second / "navigator_twice.egg-info" / "PKG-INFO")
    install("twice", GOOD.format(name="alpha"), module="fake_twice")
    monkeypatch.syspath_prepend(second)
    found = discover(GROUP)
    assert [info.name for info in found.loaded] == ["twice"]
    assert found.broken == ()


def test_another_package_with_damaged_metadata_hides_nobody(install):
    root = install("good", GOOD.format(name="alpha"))
    for name, text in (("one", b"\xff\xfe\x00"), ("two", b"[navigator_tests]\nno equals sign\n")):
        (root / f"{name}-1.dist-info").mkdir()
        (root / f"{name}-1.dist-info" / "entry_points.txt").write_bytes(text)
    assert list(discover(GROUP).formats) == ["alpha"]


def test_an_entry_point_may_name_an_object(install):
    source = """
    from navigator_core import Format, hookimpl
    class Plugin:
        @hookimpl
        def declare_formats(self):
            yield Format(name="alpha", file="model.bin")
    plugin = Plugin()
    """
    root = install("object", source, module="fake_object")
    (root / "navigator_object-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\nobject = fake_object:plugin\n"
    )
    assert list(discover(GROUP).formats) == ["alpha"]


# setting aside

BROKEN = {
    "cannot import": ("import no_such_module_anywhere", "it cannot be imported: ModuleNotFoundError: No module named"),
    "raises at import": ("raise RuntimeError('no libfoo')", "it cannot be imported: RuntimeError: no libfoo"),
    "syntax error": ("def", "it cannot be imported: SyntaxError: invalid syntax"),
    "leaves at import": ("import sys\nsys.exit(3)", "it cannot be imported: SystemExit: 3"),
    "declares nothing": ("x = 1", "every function in it lacks the mark @navigator_core.hookimpl"),
    "forgets the marker": (
        "from navigator_core import hookimpl\n@hookimpl\ndef observe(event): ...\ndef declare_formats(): return []",
        "declare_formats lacks the mark @navigator_core.hookimpl",
    ),
    "misspells a hook": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_format(): return []",
        "unknown hook 'declare_format'; did you mean 'declare_formats'",
    ),
    "wants other arguments": (
        "from navigator_core import hookimpl\n@hookimpl\ndef observe(evnt): ...",
        "a hook does not fit: PluginValidationError",
    ),
    "wraps": (
        "from navigator_core import hookimpl\n@hookimpl(wrapper=True)\ndef declare_formats(): return (yield)",
        "declare_formats is a wrapper",
    ),
    "raises in a hook": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_formats(): raise ValueError('oops')",
        "declare_formats raised ValueError: oops",
    ),
    "raises while it is iterated": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_formats():\n    yield 1 / 0",
        "declare_formats raised ZeroDivisionError",
    ),
    "leaves in a hook": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_formats(): raise SystemExit",
        "declare_formats raised SystemExit",
    ),
    "forgets to return": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_formats(): pass",
        "declare_formats raised TypeError: 'NoneType' object is not iterable",
    ),
    "declares strings": (
        "from navigator_core import hookimpl\n@hookimpl\ndef declare_formats(): return ['onnx']",
        "declare_formats must return Format or Framework values, not 'onnx'",
    ),
    "declares what belongs elsewhere": (
        "from navigator_core import *\n@hookimpl\ndef declare_runners(): return [Format(name='a', file='b')]",
        "declare_runners must return Runner values, not Format(",
    ),
    "is built wrongly": (
        "from navigator_core import *\n@hookimpl\ndef declare_formats(): return [Format(nmae='a', file='b')]",
        "declare_formats raised TypeError",
    ),
    "asks for the impossible": (
        "from navigator_core import *\n@hookimpl\ndef declare_runners(): return "
        "[Runner(name='r', formats=('a',), implementation=Ref('x:y'), requirements=('onnx>>1',))]",
        "declare_runners: Runner 'r': malformed requirement 'onnx>>1'",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_plugin_is_set_aside_that(how, install):
    source, reason = BROKEN[how]
    install("broken", source, version="0.3")
    install("good", GOOD.format(name="alpha"))
    install("later", GOOD.format(name="beta"))
    found = discover(GROUP)
    (broken,) = found.broken
    assert (broken.name, broken.distribution, broken.version) == ("broken", "navigator-broken", "0.3")
    assert reason in broken.reason
    assert str(broken).startswith("plugin 'broken' (navigator-broken 0.3) is set aside: ")
    assert "\n" not in str(broken)
    assert [info.name for info in found.loaded] == ["good", "later"]
    assert list(found.formats) == ["alpha", "beta"]


def test_a_keyboard_interrupt_is_the_users(install):
    install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        discover(GROUP)


def test_a_plugin_is_set_aside_as_a_whole():
    half = plugin(declare_formats=[fmt("alpha")], declare_runners=[3], observe=lambda event: None)
    found = only(("half", half))
    assert attrs.evolve(found, broken=()) == Plugins()
    assert found.observers() == []


class Hostile:
    """Raises whatever is asked of it."""

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [None, 3, "text", object(), Hostile(), Format])
def test_anything_may_stand_behind_an_entry_point(value):
    assert [broken.name for broken in only(("odd", value)).broken] == ["odd"]


def test_a_value_that_cannot_even_be_printed_breaks_only_its_plugin():
    found = only(("bad", plugin(declare_formats=[Hostile()])), ("good", plugin(declare_formats=[fmt("alpha")])))
    assert list(found.formats) == ["alpha"]
    assert reason_of(found, "bad") == "RuntimeError: no"


def test_a_hook_of_a_later_version_may_be_optional():
    @hookimpl(optionalhook=True)
    def declare_wonders():
        return []

    found = only(("new", SimpleNamespace(declare_wonders=declare_wonders)))
    assert [info.name for info in found.loaded] == ["new"]


def test_a_plugin_may_mark_its_hooks_with_pluggy_alone():
    marker = pluggy.HookimplMarker("navigator")

    @marker(tryfirst=True)
    def declare_formats():
        return [fmt("alpha")]

    assert list(only(("old", SimpleNamespace(declare_formats=declare_formats))).formats) == ["alpha"]


# what a declaration must look like

REF = Ref("package.module:name")
WRONG = [
    ("declare_formats", Format(name="", file="f"), "name must be a str that is not empty, not ''"),
    ("declare_formats", Format(name="a->b", file="f"), "letters, digits"),
    ("declare_formats", Format(name="a", file="../f"), "file must be a plain file name"),
    ("declare_formats", Format(name="a", file=".."), "file must be a plain file name"),
    ("declare_formats", Format(name="a", file="f", portable="no"), "portable must be True or False"),
    ("declare_formats", Framework(name="a", source="m", reference="r"), "source must be a Ref, not 'm'"),
    ("declare_formats", Framework(name="a", source=Ref("a b"), reference="r"), "such as 'package.module:name'"),
    ("declare_devices", Device(kind="npu", detect=Ref("module")), "must name a function"),
    (
        "declare_exporters",
        Exporter(source="a", target="b", implementation="m:f"),
        "'a->b': implementation must be a Ref",
    ),
    ("declare_exporters", Exporter(source="a", target="b", implementation=REF, variants=("x",)), "hold Variants"),
    ("declare_exporters", Exporter(source="a", target="b", implementation=REF, options=3), "options must be a class"),
    (
        "declare_converters",
        Converter(source="a", target="b", implementation=REF, variants=(Variant("v", None, "fp16"),)),
        "Variant 'v': precision must be a Precision, not 'fp16'",
    ),
    (
        "declare_converters",
        Converter(source="a", target="b", implementation=REF, variants=(Variant("v", requirements="a b"),)),
        "Variant 'v': malformed requirement 'a b'",
    ),
    ("declare_runners", Runner(name="r", formats=(1,), implementation=REF), "formats must be a str"),
    ("declare_runners", Runner(name="r", formats=(), implementation=REF, requirements=(1,)), "must hold str, Req"),
    ("declare_runners", Runner(name="r", formats=(), implementation=REF, requirements=(Requirement(()),)), "nothing"),
    ("declare_runners", Runner(name="r", formats=(), implementation=REF, requirements=(Requirement([1]),)), "hold str"),
    (
        "declare_runners",
        Runner(name="r", formats=(), implementation=REF, requirements=(Probe("module", "help"),)),
        "Probe: check must name a function",
    ),
]


@pytest.mark.parametrize(("hook", "value", "reason"), WRONG)
def test_a_malformed_declaration_sets_its_plugin_aside(hook, value, reason):
    found = only(("bad", plugin(**{hook: [value]})))
    assert reason in reason_of(found, "bad")
    assert reason_of(found, "bad").startswith(f"{hook}: ")


def test_every_field_of_every_declaration_is_checked():
    values = {kind for kinds in DECLARES.values() for kind in kinds} | {Variant, Probe}
    annotations = {annotation(kind, field.name) for kind in values for field in attrs.fields(kind)}
    assert annotations <= _EXPECTED.keys()


def test_declarations_are_checked_after_their_types_were_resolved_too():
    attrs.resolve_types(Device)  # as serialising one does, for the whole process
    assert problem(Device(kind="npu", detect=Ref("module_only"))) is not None


def test_every_declaring_hook_is_collected():
    assert list(DECLARES) == [name for name in vars(hookspecs) if name.startswith("declare_")]


# duplicates and order


def test_a_name_that_another_plugin_has_sets_the_later_plugin_aside_and_names_both():
    first, second = plugin(declare_formats=[fmt("alpha")]), plugin(declare_formats=[fmt("beta"), fmt("alpha")])
    found = only(("b", second), ("a", first))
    assert list(found.formats) == ["alpha"]
    assert str(found.broken[0]) == (
        "plugin 'b' is set aside: it brings the format 'alpha', which plugin 'a' has already; "
        "rename one, or uninstall it"
    )


def test_the_core_wins_over_a_name_that_sorts_before_it():
    found = only(("aaa", plugin(declare_formats=[fmt("python")])), ("core", builtin))
    assert "which plugin 'core' has already" in reason_of(found, "aaa")


def test_what_a_broken_plugin_declared_is_free_for_the_next():
    found = only(("a", plugin(declare_formats=[fmt("alpha"), 3])), ("b", plugin(declare_formats=[fmt("alpha")])))
    assert found.owner(found.formats["alpha"]).name == "b"


def test_two_plugins_of_one_name_are_told_apart_by_their_distribution(install):
    install("same", GOOD.format(name="alpha"), distribution="z-second")
    install("same", GOOD.format(name="beta"), distribution="a-first")
    found = discover(GROUP)
    assert list(found.formats) == ["beta"]
    assert "the name 'same', which plugin 'same' (a-first 1.0) has already" in reason_of(found, "same")


def test_a_format_and_a_framework_share_one_set_of_names():
    framework = Framework(name="alpha", source=Ref("m"), reference="r")
    found = only(("a", plugin(declare_formats=[fmt("alpha")])), ("b", plugin(declare_formats=[framework])))
    assert "the format 'alpha'" in reason_of(found, "b")


def edge(*variants, kind=Exporter):
    return kind(source="a", target="b", implementation=REF, variants=tuple(map(Variant, variants)))


@pytest.mark.parametrize(
    ("first", "second", "claim"),
    [
        (edge(), edge(), "conversion a->b"),
        (edge("x", "y"), edge("z", "y"), "conversion a->b[y]"),
        (edge(), edge(kind=Converter), "conversion a->b"),
        (edge("x"), edge("y"), None),
        (edge("x"), edge(), None),
    ],
)
def test_an_edge_may_be_declared_again_only_under_another_variant(first, second, claim):
    hook = {Exporter: "declare_exporters", Converter: "declare_converters"}
    found = only(("p", plugin(declare_exporters=[first])), ("q", plugin(**{hook[type(second)]: [second]})))
    assert [broken.name for broken in found.broken] == (["q"] if claim else [])
    assert claim is None or f"it brings the {claim}, which plugin 'p' has" in reason_of(found, "q")


def test_a_plugin_that_repeats_itself_is_told_so():
    found = only(("p", plugin(declare_exporters=[edge("x", "x")])))
    assert reason_of(found, "p") == "it declares the conversion a->b[x] twice"
    runner = Runner(name="r", formats=(), implementation=REF, variants=(Variant("v"), Variant("v")))
    assert "variant 'v' of the runner 'r' twice" in reason_of(only(("p", plugin(declare_runners=[runner]))), "p")


def test_a_device_kind_may_come_from_several_plugins():
    one, two = Device(kind="npu", detect=Ref("a:detect")), Device(kind="npu", detect=Ref("b:detect"))
    found = only(("b", plugin(declare_devices=[two])), ("a", plugin(declare_devices=[one])))
    assert found.devices == (one, two)
    assert [found.owner(device).name for device in found.devices] == ["a", "b"]


PIECES = (
    ("core", builtin),
    ("b", plugin(declare_formats=[fmt("beta"), fmt("alpha")], declare_exporters=[edge("x")])),
    ("a", plugin(declare_formats=[fmt("alpha")], declare_devices=[Device(kind="cpu", detect=REF)])),
    ("c", plugin(declare_exporters=[edge("y"), edge("z")], identify_model=lambda model: None)),
    ("d", plugin(declare_executors=[Executor(name="ray", implementation=REF)], declare_formats=[3])),
)


@settings(deadline=None, max_examples=30)
@given(st.permutations(PIECES))
def test_the_order_plugins_are_found_in_means_nothing(order):
    assert only(*order) == only(*PIECES)
    assert [info.name for info in only(*order).loaded] == ["core", "a", "c"]


# identifying


def answering(answer):
    return plugin(identify_model=lambda model, sample: answer)


def test_a_model_is_what_a_plugin_says():
    assert only(("a", answering(None)), ("b", answering("torch"))).identify(object()) == ("torch", ())


def test_the_same_answer_twice_is_one_answer():
    assert only(("a", answering("onnx")), ("b", answering("onnx"))).identify("model.onnx") == ("onnx", ())


def test_two_different_answers_are_an_error_that_says_what_to_do():
    found = only(("a", answering("torch")), ("b", answering("jax")))
    with pytest.raises(RequestError, match=r"plugin 'a' says 'torch', plugin 'b' says 'jax'; name one with format="):
        found.identify(object())


@pytest.mark.parametrize(
    ("identify", "note"),
    [
        (lambda model: 1 / 0, "plugin 'bad' could not say what the model is: ZeroDivisionError: division by zero"),
        (lambda model: True, "plugin 'bad' must say what the model is by a str, not a bool"),
    ],
)
def test_a_plugin_that_fails_to_identify_is_a_note(identify, note):
    found = only(("bad", plugin(identify_model=identify)), ("good", answering("torch")))
    assert found.identify(object()) == ("torch", (note,))


class Scale:
    """A callable object."""

    def __call__(self, x):
        return 2 * x


@pytest.mark.parametrize("model", [lambda x: x, len, partial(max, 1), Scale(), Scale().__call__])
def test_a_plain_callable_is_python_where_no_other_plugin_knows_it(model):
    answer, notes = only(("core", builtin), ("a", answering(None))).identify(model)
    assert answer == "python"
    is_object = isinstance(model, Scale | partial)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    said = (f"no plugin recognises a {kind}; it is taken as a plain callable",)
    assert notes == (said if is_object else ())  # an object may be a model of a framework that is not installed


def test_the_core_does_not_compete_with_a_plugin():
    assert only(("core", builtin), ("a", answering("torch"))).identify(Scale()) == ("torch", ())


@pytest.mark.parametrize("model", ["model.onnx", 3, None, Scale])
def test_what_cannot_be_called_or_is_a_class_is_no_model_to_the_core(model):
    assert only(("core", builtin)).identify(model) == (None, ())


def test_a_hook_takes_of_what_is_offered_what_it_wants():
    heard = []
    found = only(
        ("none", plugin(identify_model=lambda: heard.append("none"))),
        ("second", plugin(identify_model=lambda sample: heard.append(sample))),
        ("spare", plugin(identify_model=lambda model, sample=None, other=1: heard.append((model, sample, other)))),
    )
    assert found.broken == ()
    found.identify("m", "s")
    assert heard == ["none", "s", ("m", "s", 1)]


def test_observers_hear_and_say_whose_they_are():
    heard = []
    found = only(("a", plugin(observe=lambda: heard.append("a"))), ("b", plugin(observe=lambda event: 1 / event)))
    first, second = found.observers()
    first(0)
    assert heard == ["a"]
    with pytest.raises(ZeroDivisionError):
        second(0)
    assert second.plugin.name == "b"


# the core's own


def test_every_reference_of_the_core_resolves():
    found = only(("core", builtin))
    assert found.tensors["numpy"].source.resolve().is_tensor(3) is False
    (device,) = found.devices
    (cpu,) = device.detect.resolve()()
    assert (cpu.name, device.kind) == ("cpu", "cpu")
    assert "cores" in cpu.description
    assert cpu.memory > 2**20


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: Tiny 3000\n\nprocessor\t: 1\nmodel name\t: Tiny 3000\n", "Tiny 3000, "),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n", " CPU implementer 0x41 CPU part 0xd4f, "),
        (None, ", "),
    ],
)
def test_the_cpu_is_described_on_every_architecture(text, model, tmp_path):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    (device,) = builtin.cpu(tmp_path / "cpuinfo")
    assert model in device.description


def test_latency_is_wall_clock_seconds():
    profiler = only(("core", builtin)).profilers["latency"]
    measure = profiler.implementation.resolve()(Context(signature=Signature(())))
    assert 0.02 <= measure(lambda: time.sleep(0.02)) < 2
    assert profiler.unit == "s"


def test_a_callable_is_run_as_the_samples_call_it():
    found = only(("core", builtin))
    context = Context(signature=Signature((TensorSpec("x", "float32", (2,)),)))
    loaded = found.runners["python"].implementation.resolve()(Scale(), None, context)
    import numpy as np

    assert loaded.call({"x": np.ones(2)})["output"].tolist() == [2, 2]
    loaded.synchronize()
    loaded.close()


def test_a_callable_tells_its_parameters_where_it_can():
    assert list(python_callable.parameters(Scale()).parameters) == ["x"]
    assert [p.kind for p in python_callable.parameters(max).parameters.values()] == [
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ]


def test_a_callable_is_never_reused_and_never_changed():
    scale = Scale()
    assert python_callable.fingerprint(scale) is None
    assert python_callable.prepare(scale, "cpu") is scale
    assert python_callable.state(scale) == ()


# a stranger's plugin, and what all this imports

STRANGER = """
from attrs import field, frozen
from navigator_core import FP16, FP32, Converter, Device, Format, Probe, Ref, Runner, Variant, hookimpl
REQUIREMENTS = ("tinyrt>=2,<3", Probe(Ref("navigator_tinyrt:probe"), remedy="apt install libtiny2"))
@frozen
class CompileOptions:
    dtype: str = "fp32"
@hookimpl
def declare_formats():
    return [Format(name="tinyrt", file="model.tiny", portable=False)]
@hookimpl
def declare_devices():
    return [Device(kind="npu", detect=Ref("navigator_tinyrt:npus"))]
@hookimpl
def declare_converters():
    variants = Variant("fp32", CompileOptions(), FP32), Variant("fp16", CompileOptions("fp16"), FP16)
    return [Converter(source="interchange", target="tinyrt", implementation=Ref("navigator_tinyrt:convert"),
                      options=CompileOptions, variants=variants, devices=("cpu", "npu"),
                      requirements=(*REQUIREMENTS, "navigator-nothing-installs-this"))]
@hookimpl
def declare_runners():
    return [Runner(name="tinyrt-runtime", formats=("tinyrt",), implementation=Ref("navigator_tinyrt:load"),
                   requirements=REQUIREMENTS, devices=("cpu", "npu"))]
"""

PROGRAM = """
import json, sys
from navigator_core import availability, graph, plugins
found = plugins.installed()
built = graph.build(found, availability.missing)
json.dump({"loaded": [info.name for info in found.loaded], "broken": [str(one) for one in found.broken],
           "text": str(built), "modules": sorted(sys.modules)}, sys.stdout)
"""


def test_a_strangers_plugin_is_in_the_graph_and_nothing_heavy_is_imported(install, tmp_path):
    install("tinyrt", STRANGER, group="navigator", module="navigator_tinyrt")
    install("wreck", "import sys\nsys.exit('no')", group="navigator")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert {"core", "tinyrt"} <= set(said["loaded"])
    assert "plugin 'wreck' (navigator-wreck 1.0) is set aside: it cannot be imported: SystemExit: no" in said["broken"]
    expected = (
        "interchange->tinyrt[fp16]  unavailable: no installed plugin declares the format 'interchange'; "
        "pip install 'tinyrt>=2,<3'"
    )
    assert expected in said["text"].splitlines()
    heavy = {"numpy", "rich", "torch", "tensorflow", "jax", "onnx", "onnxruntime", "cattrs", "email.parser"}
    assert not heavy & set(said["modules"])


def test_discovery_without_entry_points_finds_only_what_is_given():
    assert only() == Plugins()
    assert list(only(("core", builtin)).formats) == ["python"]
