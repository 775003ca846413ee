"""The command line: what is typed becomes a request, what went wrong one message and an exit code."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from click.testing import CliRunner

from navigator_core import Converter, Dim, Ref, Signature, TensorSpec, Variant, samples
from navigator_core.cli import arguments, commands, listing
from navigator_core.errors import RequestError
from navigator_core.made_up import MadeUp
from navigator_core.plugins import BrokenPlugin, PluginInfo, Plugins

FACTORIES = """
import time
import traceback
from pathlib import Path
import numpy as np

print("importing is loud")
ONES = np.ones((2, 3), np.float32)

def double(x):
    print("so is the model")
    return x * 2

def fails(x):
    raise ZeroDivisionError("the model is broken")

def sleeps(x):
    time.sleep(60)
    return x

def good():
    return double, [{"x": ONES}, {"x": ONES * 3}]

def lone():
    return double

def broken():
    return fails, ONES

def slow():
    return sleeps, ONES

def sleeps_later(x):
    # when it is a candidate: what asks first only wants to know what it means
    if any(frame.name == "evaluate" for frame in traceback.extract_stack()):
        Path("asleep").touch()
        time.sleep(1000)
    return x * 2

def slow_later():
    return sleeps_later, ONES

def raises():
    raise OSError("no weights here")

number = 3
"""

TOY = """
import json
from pathlib import Path

from navigator_core import Dim, Format, LoadedModel, Ref, Runner, Signature, TensorSpec, hookimpl
from navigator_core.errors import RequestError

@hookimpl
def identify_model(model):
    return "toy" if str(model).endswith(".toy") else None

@hookimpl
def declare_formats():
    return [Format(name="toy", file="model.toy", signature=Ref("toy_plugin:signature"), reference="toy-numpy")]

@hookimpl
def declare_runners():
    return [Runner(name="toy-numpy", formats=("toy",), implementation=Ref("toy_plugin:load"))]

def signature(path):
    try:
        json.loads(Path(path).read_text())
    except ValueError:
        raise RequestError(f"{path} is cut short") from None
    ids = TensorSpec("ids", "int64", (Dim("batch"), Dim("seq")))
    scale = TensorSpec("scale", "float32", (Dim("batch"), Dim("seq")))
    return Signature((ids, scale))

def load(path, options, context):
    weight = json.loads(Path(path).read_text())["weight"]
    return LoadedModel(lambda inputs: {"y": inputs["ids"].astype("float32") * inputs["scale"] * weight})
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, with factories in it and a plugin for a file format on the path."""
    place = tmp_path / "desk"
    place.mkdir()
    (place / "factories.py").write_text(FACTORIES)
    (place / "model.toy").write_text('{"weight": 0.5}')
    info = tmp_path / "site" / "navigator_toy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: navigator-toy\nVersion: 1.0\n\nText\n")
    (info / "entry_points.txt").write_text("[navigator]\ntoy = toy_plugin\n")
    (tmp_path / "site" / "toy_plugin.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.chdir(place)
    return place


def navigator(*args, check=None):
    """The command as a user runs it: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "navigator_core.cli", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done


def invoke(*args):
    return CliRunner().invoke(commands, list(map(str, args)), prog_name="navigator")


def refused(*args):
    """The one message of a command that cannot be carried out."""
    done = invoke(*args)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("error: ").strip()


# what is typed


@pytest.mark.parametrize(
    ("typed", "options"),
    [
        ([], None),
        (["onnx.opset=20"], {"onnx": {"opset": 20}}),
        (["@onnxruntime-cpu.threads=4"], {"@onnxruntime-cpu": {"threads": 4}}),
        (["torch->onnx.opset=18,20"], {"torch->onnx": {"opset": [18, 20]}}),
        (["onnx.opset=[18, 20]"], {"onnx": {"opset": [18, 20]}}),
        (["a.x=true", "a.y=word", "a.z=1.5"], {"a": {"x": True, "y": "word", "z": 1.5}}),
        (["a.v1.x=1"], {"a.v1": {"x": 1}}),
        (['a.x="one, two"'], {"a": {"x": "one, two"}}),
        (["a.x=k=v"], {"a": {"x": "k=v"}}),
        (["a.x="], {"a": {"x": ""}}),
    ],
)
def test_options_are_read(typed, options):
    assert arguments.options(typed) == options


@pytest.mark.parametrize("typed", ["opset=20", "onnx.opset", "onnx.=20", ".opset=20", ""])
def test_an_option_that_cannot_be_read_says_how_to_write_it(typed):
    with pytest.raises(RequestError, match=r"write it as FORMAT\.FIELD=VALUE"):
        arguments.options([typed])


def test_an_option_given_twice_is_no_silent_choice():
    with pytest.raises(RequestError, match=r"given twice; for variants, write a\.x=1,2"):
        arguments.options(["a.x=1", "a.x=2"])


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [(None, None), ("90", 90), ("90s", 90), ("10min", 600), ("10 m", 600), ("1.5h", 5400), ("0.5", 0.5)],
)
def test_budgets_are_seconds(typed, seconds):
    assert arguments.budget(typed) == seconds


@pytest.mark.parametrize("typed", ["", "min", "-3s", "10parsec", "1e3", "1h30"])
def test_a_budget_that_cannot_be_read_says_how_to_write_it(typed):
    with pytest.raises(RequestError, match="write it as 90s, 10min or 1h"):
        arguments.budget(typed)


@pytest.mark.parametrize(
    ("typed", "size"),
    [(None, None), ("1000", 1000), ("512MiB", 2**29), ("1.5 GiB", 3 * 2**29), ("7B", 7), ("2TiB", 2**41)],
)
def test_memory_limits_are_bytes(typed, size):
    assert arguments.size(typed) == size


@pytest.mark.parametrize("typed", ["", "GiB", "-3GiB", "4GB", "4g"])
def test_a_memory_limit_that_cannot_be_read_says_how_to_write_it(typed):
    with pytest.raises(RequestError, match="write it as 512MiB or 4GiB"):
        arguments.size(typed)


def test_shapes_and_ranges_are_read():
    made = arguments.made_up(["a:1x3", "input:0:2x4", "a:2x3"], ["ids:0:30521", "x:0:-1.5:2"])
    assert made.shapes == {"a": [(1, 3), (2, 3)], "input:0": [(2, 4)]}
    assert made.ranges == {"ids": (0, 30521), "x:0": (-1.5, 2)}


@pytest.mark.parametrize("typed", ["1x3", "a:", "a:0x3", "a:1x", "a:1,3", ":1x3", "a:-1x3"])
def test_a_shape_that_cannot_be_read_says_how_to_write_it(typed):
    with pytest.raises(RequestError, match="write it as image:1x3x224x224"):
        arguments.made_up([typed], [])


@pytest.mark.parametrize("typed", ["ids:5", "ids", "ids:5:1", "ids:a:b", "ids:0:nan", ":0:1", "ids:0:inf"])
def test_a_range_that_cannot_be_read_says_how_to_write_it(typed):
    with pytest.raises(RequestError, match="ids:0:30521"):
        arguments.made_up([], [typed])


def test_a_range_is_given_once():
    with pytest.raises(RequestError, match="twice for 'ids'"):
        arguments.made_up([], ["ids:0:1", "ids:0:2"])


# samples in files


def test_an_npz_is_one_sample_by_input_name(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.ones(2), y=np.zeros(3))
    found = arguments.read_samples(tmp_path / "s.npz")
    assert list(found) == ["x", "y"]
    assert found["x"].tolist() == [1, 1]


def test_an_npy_is_a_lone_tensor(tmp_path):
    np.save(tmp_path / "s.npy", np.arange(3))
    assert arguments.read_samples(tmp_path / "s.npy").tolist() == [0, 1, 2]


def test_a_folder_is_several_samples_in_order_of_name(tmp_path):
    for number in (2, 0, 1):
        np.savez(tmp_path / f"{number:03}.npz", x=np.full(2, number))
    (tmp_path / "readme.txt").write_text("not a sample")
    found = arguments.read_samples(tmp_path)
    assert len(found) == 3
    calls, notes = samples.read(found)
    assert [call.kwargs["x"][0] for call in calls] == [0, 1, 2]
    assert notes == ()


@pytest.mark.parametrize(
    ("name", "content"), [("s.npz", b"hello"), ("s.npz", b""), ("s.npz", b"PK\x03\x04 cut"), ("s.npy", b"\x93NUMPY")]
)
def test_samples_that_cannot_be_read_say_which_and_how_to_write_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=rf"{name}.* cannot be read as samples: .*numpy.savez"):
        arguments.read_samples(tmp_path / name)


def test_samples_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "s.npz", x=np.array([object()]))
    with pytest.raises(RequestError, match="plain numbers") as caught:
        arguments.read_samples(tmp_path / "s.npz")
    assert "allow_pickle" not in str(caught.value)


def test_samples_that_are_not_there_say_so(tmp_path):
    with pytest.raises(RequestError, match="there are no samples"):
        arguments.read_samples(tmp_path / "none.npz")
    with pytest.raises(RequestError, match=r"holds no \.npz file"):
        arguments.read_samples(tmp_path)


# samples that are made up

DECLARED = Signature(
    (
        TensorSpec("ids", "int64", (Dim("batch"), Dim("seq"))),
        TensorSpec("mask", "bool", (Dim("batch"), Dim("seq"))),
        TensorSpec("scale", "float32", (1, 4)),
    )
)


def made(wanted, declared=DECLARED):
    """The samples' arrays, as the engine makes them up."""
    calls = wanted.calls(declared)
    return samples.gather(calls, samples.file_parameters(declared), False, None, wanted.ranges)


def test_a_size_holds_for_every_axis_of_that_name():
    found = made(MadeUp(shapes={"ids": [(2, 16)]}))
    assert [(name, array.shape, str(array.dtype)) for name, array in found.arrays[0].items()] == [
        ("ids", (2, 16), "int64"),
        ("mask", (2, 16), "bool"),
        ("scale", (1, 4), "float32"),
    ]
    assert found.made_up


def test_a_shape_given_again_is_another_sample():
    found = made(MadeUp(shapes={"ids": [(1, 16), (1, 32), (1, 64)], "scale": [(1, 4)]}))
    assert [sample["mask"].shape for sample in found.arrays] == [(1, 16), (1, 32), (1, 64)]


def test_made_up_values_fill_their_range_and_the_samples_say_so():
    found = made(MadeUp(shapes={"ids": [(50, 50)]}, ranges={"ids": (5, 7), "scale": (2, 3)}))
    assert set(found.arrays[0]["ids"].ravel().tolist()) == {5, 6, 7}
    assert found.arrays[0]["scale"].min() >= 2
    assert found.arrays[0]["scale"].max() <= 3
    assert found.notes == (
        "the samples were made up from shapes, ids from 5 to 7, scale from 2 to 3: errors on real data may differ",
    )


def test_made_up_values_are_the_same_every_time():
    wanted = MadeUp(shapes={"ids": [(2, 16)]}, ranges={"ids": (0, 1000)})
    assert (made(wanted).arrays[0]["ids"] == made(wanted).arrays[0]["ids"]).all()


@pytest.mark.parametrize("bounds", [(0.5, 3), (0, 2**70)])
def test_a_range_that_an_integer_cannot_take_is_refused(bounds):
    with pytest.raises(RequestError, match="int64, which has no range"):
        made(MadeUp(shapes={"ids": [(2, 2)]}, ranges={"ids": bounds}))


def test_a_truth_value_has_no_range():
    with pytest.raises(RequestError, match="'mask' is bool"):
        made(MadeUp(shapes={"ids": [(2, 2)]}, ranges={"mask": (0, 1)}))


def test_an_input_that_does_not_exist_is_refused_with_the_closest():
    with pytest.raises(RequestError, match="unknown input 'idz'; did you mean 'ids'"):
        MadeUp(shapes={"idz": [(1, 2)]}).calls(DECLARED)
    with pytest.raises(RequestError, match="unknown input 'idz'"):
        MadeUp(ranges={"idz": (1, 2)}).calls(DECLARED)


def test_an_axis_of_unknown_size_asks_for_a_shape():
    with pytest.raises(RequestError, match=r"axis 'seq' of input 'ids' .*--shape NAME:1x128"):
        made(MadeUp())


def test_a_live_model_gets_what_has_a_shape():
    (call,) = MadeUp(shapes={"x": [(1, 2)], "ids": [(1, 3)]}, ranges={"ids": (0, 9)}).calls(None)
    assert call.kwargs == {"x": TensorSpec("x", "float32", (1, 2)), "ids": TensorSpec("ids", "int64", (1, 3))}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scale": np.ones((1, 5), np.float32)}, r"of shape \[1, 5\], but the file takes \[1, 4\]"),
        ({"ids": np.ones((1, 2, 3), np.int64)}, r"of shape \[1, 2, 3\], but the file takes \[batch, seq\]"),
        ({"ids": np.ones((1, 2), np.int32)}, "is int32 in the samples, but the file takes int64"),
    ],
)
def test_samples_that_a_file_does_not_take_are_refused(given, said):
    fine = {"ids": np.ones((1, 2), np.int64), "mask": np.ones((1, 2), bool), "scale": np.ones((1, 4), np.float32)}
    calls, _ = samples.read({**fine, **given})
    found = samples.gather(calls, samples.file_parameters(DECLARED), False, None)
    with pytest.raises(RequestError, match=said):
        samples.check_fit(found, DECLARED)


# requests that are wrong


def test_a_model_that_is_not_there_says_what_a_model_may_be(desk):
    assert refused("optimize", "none.toy") == (
        "there is no file 'none.toy'; a model is a file, a folder, or package.module:factory"
    )
    assert refused("profile", "nowhere.factories:good") == (
        "there is neither a file 'nowhere.factories:good' nor a module 'nowhere'"
    )


@pytest.fixture
def here(desk, monkeypatch):
    """Factories are imported in this process, and forgotten at the end."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield desk
    sys.modules.pop("factories", None)


def message(*args):
    """The last line on stderr: the module prints when it is imported."""
    done = invoke(*args)
    assert done.stdout == ""
    return done.exit_code, done.stderr.strip().splitlines()[-1]


def test_a_factory_that_is_not_there_is_refused_with_the_closest(here):
    assert message("optimize", "factories:goood") == (
        2,
        "error: unknown factory in factories 'goood'; did you mean 'good'?",
    )


def test_a_factory_that_returns_no_samples_needs_them_beside(here):
    code, said = message("optimize", "factories:lone")
    assert code == 2
    assert said == (
        "error: factories:lone returned a builtins.function; expected a tuple (model, samples), or --samples or "
        "--shape beside"
    )
    model, given = arguments.model_and_samples("factories:lone", None, ["x:2x3"], [])
    assert model.__name__ == "double"
    assert given == MadeUp(shapes={"x": [(2, 3)]})


def test_samples_given_beside_take_the_place_of_the_factorys(here, tmp_path):
    np.savez(tmp_path / "s.npz", x=np.zeros((1, 3), np.float32))
    model, given = arguments.model_and_samples("factories:good", str(tmp_path / "s.npz"), [], [])
    assert model.__name__ == "double"
    assert given["x"].tolist() == [[0, 0, 0]]


def test_what_is_no_factory_is_refused(here):
    code, said = message("optimize", "factories:number")
    assert code == 2
    assert said == "error: factories:number is 3; expected a function that returns (model, samples)"


def test_a_factory_that_raises_shows_its_own_traceback(here):
    done = invoke("optimize", "factories:raises")
    assert done.exit_code == 1
    assert done.stderr.endswith("OSError: no weights here\n\nerror: factories:raises raised\n")
    assert "navigator_core" not in done.stderr


def test_a_module_that_raises_shows_its_own_traceback(here):
    (here / "broken_module.py").write_text("import nothing_of_that_name\n")
    done = invoke("optimize", "broken_module:good")
    assert done.exit_code == 1
    assert "ModuleNotFoundError: No module named 'nothing_of_that_name'" in done.stderr
    assert "navigator_core" not in done.stderr
    assert "importlib" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--samples", "s.npz", "--shape", "x:1"], "give one or the other"),
        (["--samples", "s.npz"], "there are no samples 's.npz'"),
        (["--budget", "soon"], "cannot read --budget"),
        (["--budget", "0"], "budget must be a positive number"),
        (["--memory-limit", "much"], "cannot read --memory-limit"),
        (["--memory-limit", "0"], "memory_limit must be a positive number"),
        (["--option", "opset=3"], "cannot read --option"),
        (["--shape", "x"], "cannot read --shape"),
        (["--limit", "p99"], "cannot read the limit"),
        (["--minimize", "latencies"], "did you mean 'latency'"),
        (["--minimize", "latency", "--maximize", "throughput"], "put the other into limits"),
        (["--batch-size", "0"], "batch_sizes must be positive"),
        (["--save", "no/such/folder/m.nav"], "cannot write 'no/such/folder/m.nav'"),
        (["--html", "."], "cannot write '.'"),
    ],
)
@pytest.mark.parametrize("command", ["optimize", "profile"])
def test_a_wrong_request_is_one_message(desk, command, typed, said):
    assert said in refused(command, "model.toy", *typed)
    assert not (desk / "navigator_workspace").exists()


def test_a_share_that_is_none_is_one_message(desk):
    assert "top1 must be a share of all positions" in refused("optimize", "model.toy", "--top1", "2")


def test_an_unknown_flag_is_a_usage_error(desk):
    done = invoke("optimize", "model.toy", "--presicion", "fp16")
    assert done.exit_code == 2
    assert "--precision" in done.stderr


def test_showing_what_is_no_package_is_one_message(desk):
    (desk / "model.nav").write_text("hello")
    assert "model.nav" in refused("show", "model.nav")
    assert "none.nav" in refused("show", "none.nav")


def test_an_unknown_deployer_is_refused_with_those_installed(desk, monkeypatch):
    monkeypatch.setattr("navigator_core.api.plugins", Plugins)
    assert refused("deploy", "m.nav", "triton", "models/", "--name", "m") == "unknown deployer 'triton'; known: none"


# what is installed


def test_light_commands_import_nothing_heavy():
    script = """
        import sys
        from click.testing import CliRunner
        from navigator_core.cli import commands
        for args in (["--help"], ["optimize", "--help"], ["plugins"], ["graph"]):
            assert CliRunner().invoke(commands, args).exit_code == 0
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {"numpy", "rich", "cattrs", "psutil", "cloudpickle", "torch", "onnx", "onnxruntime", "tensorflow", "jax"}
    assert not heavy & set(done.stdout.split())


def test_plugins_are_listed_with_what_they_bring_and_the_broken_with_the_reason(monkeypatch):
    from navigator_core import plugins

    broken = BrokenPlugin("other", "navigator-other", "2.0", "it cannot be imported: ImportError: libother.so")
    found = plugins.discover()
    found = Plugins(
        runners={"python": found.runners["python"]},
        loaded=(PluginInfo("core", "navigator-core", "0.1.0", plugins.CORE),),
        broken=(broken,),
        owners={id(found.runners["python"]): PluginInfo("core", "navigator-core", "0.1.0", plugins.CORE)},
    )
    monkeypatch.setattr("navigator_core.api.plugins", lambda: found)
    assert invoke("plugins").stdout.splitlines() == [
        "core (navigator-core 0.1.0)",
        "  runners: python",
        "plugin 'other' (navigator-other 2.0) is set aside: it cannot be imported: ImportError: libother.so",
    ]
    data = json.loads(invoke("plugins", "--json").stdout)
    assert data["plugins"][0]["brings"]["runners"] == ["python"]
    assert data["broken"] == [
        {
            "name": "other",
            "distribution": "navigator-other",
            "version": "2.0",
            "environment": None,
            "reason": "it cannot be imported: ImportError: libother.so",
        }
    ]


def test_plugins_are_listed_with_each_variant_of_their_conversions():
    conversion = Converter(source="a", target="a", implementation=Ref("m:f"), variants=(Variant("x"), Variant("y")))
    plain = Converter(source="a", target="b", implementation=Ref("m:f"), variants=(Variant(""),))
    theirs = PluginInfo("other", None, None, "other")
    owners = {id(conversion): theirs, id(plain): theirs}
    found = Plugins(converters=(conversion, plain), loaded=(theirs,), owners=owners)
    assert listing.to_dict(found)["plugins"][0]["brings"]["converters"] == ["a->a[x]", "a->a[y]", "a->b"]


def test_the_graph_is_printed_in_three_forms(desk):
    data = json.loads(navigator("graph", "--json", check=0).stdout)
    assert {"name": "toy", "kind": "format"} in data["formats"]
    assert json.loads(navigator("graph", "--format", "json", check=0).stdout) == data
    picture = navigator("graph", "--format", "mermaid", check=0).stdout
    assert picture.startswith("flowchart LR\n")
    assert '["toy"]' in picture
    lines = navigator("graph", check=0).stdout.splitlines()
    names = [one["name"] for one in data["conversions"]]
    nothing = ["no installed plugin declares a conversion; `navigator plugins` lists what is installed"]
    assert [line.split("  ")[0] for line in lines] == (names or nothing)


def test_the_version_is_printed():
    assert invoke("--version").stdout == "navigator 0.1.0\n"


# whole runs


def test_a_factory_is_optimized_saved_and_shown(desk):
    done = navigator(
        "optimize",
        "factories:good",
        "--batch-size",
        1,
        "--save",
        "double.nav",
        "--html",
        "r.html",
        "--json",
        "--top1",
        0.9,
        check=0,
    )
    report = json.loads(done.stdout)
    assert report["best"] == "python @ python"
    assert report["candidates"][0]["verdict"]["outputs"]["output"]["top1"] == 1.0
    assert "importing is loud" in done.stderr
    assert (desk / "r.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    assert navigator("show", "double.nav", check=0).stdout.splitlines()[-1].startswith("best: python @ python")
    assert json.loads(navigator("show", "double.nav", "--json", check=0).stdout)["best"] == report["best"]


def test_a_file_is_optimized_with_made_up_samples_and_the_report_says_so(desk):
    shape = ("--shape", "ids:1x8", "--shape", "ids:1x16", "--range", "ids:0:30521")
    done = navigator("optimize", "model.toy", *shape, "--batch-size", 1, check=0)
    assert "* toy @ toy-numpy" in done.stdout
    assert "the samples were made up from shapes, ids from 0 to 30521" in done.stdout
    assert done.stderr == ""


def test_a_file_without_samples_whose_sizes_nobody_knows_asks_for_them(desk):
    done = navigator("optimize", "model.toy", check=2)
    assert "--shape NAME:1x128" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_cut_short_is_one_message(desk):
    (desk / "model.toy").write_text('{"wei')
    done = navigator("optimize", "model.toy", "--shape", "ids:1x8", check=2)
    assert done.stderr == f"error: {desk}/model.toy is cut short\n"


def test_a_model_that_raises_shows_its_own_traceback(desk):
    done = navigator("optimize", "factories:broken", check=1)
    assert "in fails" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: the model is broken\n\nerror: the model raised on sample 0\n")
    assert "cli" not in done.stderr.partition("Traceback")[2]
    assert done.stdout == ""


def test_a_narrow_terminal_loses_no_column(desk, monkeypatch):
    navigator("profile", "factories:good", "--batch-size", 1, "--save", "m.nav", check=0)
    shown = navigator("show", "m.nav", check=0).stdout
    monkeypatch.setenv("COLUMNS", "80")
    narrow = navigator("show", "m.nav", check=0).stdout
    assert set(narrow.splitlines()[0].split()) == set(shown.splitlines()[0].split())
    assert "* python" in narrow


def test_nothing_within_the_limits_is_exit_code_1_and_still_a_report(desk):
    done = navigator("optimize", "factories:good", "--batch-size", 1, "--limit", "p50<=0.001ns", check=1)
    assert "over the limit" in done.stdout
    assert "best: none" in done.stdout


def test_profile_measures_without_checking(desk):
    report = json.loads(navigator("profile", "factories:good", "--batch-size", 1, "--json", check=0).stdout)
    (candidate,) = report["candidates"]
    assert candidate["measurements"][0]["batch_size"] == 1
    assert candidate["verdict"] is None or not candidate["verdict"]["outputs"]


def test_ctrl_c_is_a_message_and_leaves_no_process_behind(desk):
    command = [sys.executable, "-m", "navigator_core.cli", "optimize", "factories:slow", "--batch-size", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        try:
            begun = "navigator_workspace/runs/*/steps/*the-source/log.txt"
            deadline = time.monotonic() + 60
            while not any(desk.glob(begun)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert any(desk.glob(begun)), "the model was never run"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted; the steps that were finished are kept in the workspace"
    assert "Traceback" not in err
    assert not children_in(desk)


def test_what_was_finished_before_sigterm_is_printed_and_saved(desk):
    command = [sys.executable, "-m", "navigator_core.cli", "optimize", "factories:slow_later", "--batch-size", "1"]
    with subprocess.Popen(
        [*command, "--json", "--html", "partial.html"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not (desk / "asleep").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert (desk / "asleep").exists(), "no candidate was ever run"
            process.terminate()
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 143
    (candidate,) = json.loads(out)["candidates"]
    assert candidate["status"] == "skipped"
    assert candidate["reason"] == "the run was interrupted by SIGTERM"
    assert "interrupted by SIGTERM" in (desk / "partial.html").read_text()
    assert err.splitlines()[-1] == "error: interrupted; the steps that were finished are kept in the workspace"
    assert not children_in(desk)


def hear_ctrl_c():
    """What runs in the background of a shell is started with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_in(folder):
    """Workers that still run in a folder."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
