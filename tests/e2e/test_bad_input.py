"""Requests that cannot be met: each error names the thing, says what was expected, and what to do."""

import re

import models
import numpy as np
import pytest
import torch

import navigator as nav

X = torch.randn(2, 4)
WORDS = torch.zeros(2, 5)


def linear():
    return torch.nn.Linear(4, 2).eval()


def unused():
    return models.seeded(models.Unused)


def scaled():
    return models.seeded(models.Scaled)


def nested():
    return models.seeded(models.Nested)


def nan():
    x = X.clone()
    x[1, 2] = float("nan")
    return x


@pytest.fixture
def optimize(tmp_path):
    """Stops before anything is measured: where it does not, the test is to fail and not to take its time."""

    def run(model, samples=None, **asked):
        asked.setdefault("workspace", tmp_path / "workspace")
        return nav.optimize(model, samples, **{"budget": 20, **asked})

    return run


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (object(), r"no installed plugin recognises a builtins\.object; installed plugins know .*onnx.*torch.*format="),
        (None, "a builtins.NoneType is no model"),
        (
            torch.nn.Linear(2, 2).state_dict(),
            "OrderedDict is no model; if it holds weights, make the model and load them",
        ),
        (torch.nn.Linear, "recognises the class torch.nn.modules.linear.Linear itself .give an instance."),
        (__file__, "no installed plugin recognises the path '.*test_bad_input.py'"),
        ("model.foo", r"there is no file .*model\.foo"),
        ("nowhere.onnx", r"there is no file .*nowhere\.onnx"),
    ],
)
def test_a_model_that_nothing_knows(optimize, model, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(model, X)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (linear(), "torhc", "unknown format 'torhc'; did you mean 'torch'"),
        (linear(), "onnx", "'onnx' is a format of files, and the model is a torch.nn.modules.linear.Linear"),
        ("a.onnx", "torch", "'a.onnx' is a path, but 'torch' is a kind of live model: load it first"),
        (abs, "torch", "cannot be called as a torch model"),
        ("model.pt", "torchscript", "a file of the format .torchscript. cannot be a source"),
    ],
)
def test_a_model_that_is_not_what_it_is_said_to_be(optimize, model, given, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(model, X, format=given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"\(0 bytes\) holds no ONNX model: it is cut short or of another kind"),
        (b"\x08\x07 but then nothing that fits", "holds no ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ],
)
def test_a_file_that_holds_no_model(optimize, tmp_path, content, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(nav.RequestError, match=message):
        optimize(path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": ["onxx"]}, "unknown format in targets 'onxx'; did you mean 'onnx'?"),
        ({"targets": "onnx"}, r"targets must be a list, such as \['onnx'\]"),
        ({"targets": []}, "targets is empty; leave it out for all"),
        ({"runners": ["onnxruntime-cpuu"]}, "unknown runner 'onnxruntime-cpuu'; did you mean 'onnxruntime-cpu'"),
        ({"runners": ["zzz"]}, "unknown runner 'zzz'; known: .*onnxruntime-cpu.*torch-eager"),
        ({"precisions": ["fp23"]}, "unknown precision 'fp23'; did you mean 'fp32'"),
        ({"device": "cdua"}, "unknown device 'cdua'; did you mean .*'cuda'"),
        ({"device": "gpu"}, r"unknown device 'gpu'; did you mean 'cuda'\?"),
        ({"device": "cuda:99"}, "no device 'cuda:99' was found here"),
        ({"options": {"onxn": {"opset": 20}}}, "unknown key in options 'onxn'; did you mean 'onnx'?"),
        ({"options": {"onnx": {"opsett": 20}}}, r"unknown field in options\['onnx'\] 'opsett'; did you mean 'opset'?"),
        ({"options": {"onnx": {"opset": 7}}}, r"options\['onnx'\]: 'opset' must be >= 9: 7"),
        ({"options": {"onnx": {"opset": "20"}}}, r"'opset' must be <class 'int'> \(got '20' .*'str'>\)\.$"),
        ({"options": {"@onnxruntime-cpu": {"treads": 2}}}, "'treads'; did you mean 'threads'"),
        ({"options": {"opset": 20}}, "options must be like"),
        ({"tolerance": 1e-3}, "tolerance must be nav.Tolerance"),
        ({"verify": 3}, r"verify must be callable\(references, candidates\) -> bool or a nav.Metric"),
        ({"objective": "latency"}, "objective must be a nav.Objective"),
        ({"objective": nav.Objective(minimize="latencyy")}, "did you mean 'latency'?"),
        ({"objective": nav.Objective(limits=("p99<20",))}, "cannot read the limit 'p99<20'"),
        ({"batch_sizes": [0]}, "batch_sizes must be positive"),
        ({"batch_sizes": 4}, r"batch_sizes must be a list, such as \[4\]"),
        ({"batching": "yes"}, "batching must be True, False or a mapping"),
        ({"observe": 3}, r"observe must be callable\(event\)"),
        ({"input_names": ["a", "b"]}, "input_names must be 1 different names, for input"),
        ({"output_names": "a"}, "output_names must be a list"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_the_model_runs(tmp_path, optimize, asked, message):
    ran = tmp_path / "ran"
    model = linear()
    model.register_forward_hook(lambda *_: ran.touch())
    with pytest.raises(nav.RequestError, match=message):
        optimize(model, X, **asked)
    assert not ran.exists()


@pytest.mark.parametrize("budget", [0, -1, float("nan")])
def test_a_budget_is_a_positive_number_of_seconds(tmp_path, budget):
    with pytest.raises(nav.RequestError, match="budget must be a positive number of seconds"):
        nav.optimize(linear(), X, budget=budget, workspace=tmp_path / "w")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batching": {"inptu": 0}}, "unknown input in batching 'inptu'; did you mean 'input'?"),
        ({"batching": {"input": 3}}, "axis 3 of 'input', which has axes 0 to 1"),
        ({"batching": {"input": 1}}, "batching={'input': 1} does not hold"),
        ({"batching": False, "batch_sizes": [4]}, r"batch_sizes=\[4\], but the model has no batch axis"),
        ({"tolerance": {"outputt": nav.Tolerance(rtol=1)}}, "unknown output in tolerance 'outputt'; did you mean"),
        ({"output_names": ["a", "b"]}, "output_names must be 1 different names, for output"),
    ],
)
def test_what_only_the_run_can_tell_is_refused_then(optimize, asked, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(linear(), X, **asked)


SAMPLES = {
    "none at all": (linear, None, "a live model needs samples"),
    "an empty list": (linear, [], "samples is empty; give at least one sample"),
    "an empty iterator": (linear, iter(()), "samples is empty"),
    "text": (linear, "hello", "samples is 'hello'; expected a tensor, a tuple, a Mapping, nav.call"),
    "a number": (linear, 3, "samples is 3; expected a tensor"),
    "numbers": (linear, [1, 2], "sample 0 is 1; expected a tensor"),
    "labels": (linear, [(X, torch.zeros(2))], r"labels\? write \(x for x, _ in loader\)"),
    "labels of a loader": (linear, [[X, torch.zeros(2)]], r"sample 0 has 2 positional values.*labels\?"),
    "another keyword": (linear, {"x": X}, r"'x', which the model does not take \(it takes input\)"),
    "one that is missing": (unused, X, "sample 0 does not give 'unused', which the model needs"),
    "one given twice": (unused, nav.call(X, x=X), "sample 0 gives 'x' twice: by position and by name"),
    "a dict as the one argument": (nested, {"image": X, "words": {"bag": WORDS}}, r"nav\.call\(\{\.\.\.\}\)"),
    "a list as the one argument": (lambda: lambda pair: pair[0] + pair[1], (X, X), r"nav\.call\(\[\.\.\.\]\)"),
    "NaN": (linear, nan(), "input 'input' of sample 0 has NaN in 1 of 8 values; leave such samples out"),
    "no rows": (linear, torch.zeros(0, 4), r"is empty, of shape \(0, 4\)"),
    "two element types": (linear, [X, X.double()], "float32 in sample 0 and float64 in sample 1; .* never cast"),
    "two ranks": (linear, [X, X[0]], "2 axes in sample 0 and 1 in sample 1"),
    "a constant that changes": (
        scaled,
        [nav.call(X, X, power=1.0), nav.call(X, X, power=2.0)],
        "'power' is 1.0 in sample 0 and 2.0 in sample 1; a value that changes .* must be a tensor",
    ),
    "different keys": (nested, [nav.call({"image": X}), nav.call({"picture": X})], "samples 0 and 1 are built differ"),
    "text in arrays": (lambda: lambda x: x, np.array(["a", "b"]), "holds <U1, which is no tensor of numbers"),
    "no tensor": (lambda: lambda x: x, nav.call(3), "sample 0 holds no tensor"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_that_do_not_fit(optimize, name):
    make, samples, message = SAMPLES[name]
    with pytest.raises(nav.RequestError, match=message):
        optimize(make(), samples)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "the model returned None, which holds no tensor"),
        (3.0, "the model returned 3.0, which holds no tensor"),
        (object, "what the model returned is a builtins.type: neither tensor, container nor"),
    ],
)
def test_a_model_that_returns_no_tensor(optimize, returned, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(lambda x: returned, np.ones((2, 3)))


@pytest.mark.parametrize("samples", [torch.zeros(2, 5), torch.zeros(2, 4, dtype=torch.int64)])
def test_what_the_model_refuses_is_the_models_own_error(optimize, samples):
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        optimize(linear(), samples)
    assert not isinstance(caught.value, nav.NavigatorError)
    assert caught.value.__notes__[0].startswith("the model raised on sample 0")


def test_no_path_says_which_conversions_there_are(optimize):
    with pytest.raises(nav.NoPathError, match=r"with runners=\['onnxruntime-cpu'\]") as caught:
        optimize(linear(), X, targets=["torchscript"], runners=["onnxruntime-cpu"])
    assert "torch->torchscript[trace]" in str(caught.value)


def test_asking_only_for_what_cannot_be_built_here_is_refused_with_what_stands_in_the_way(optimize):
    with pytest.raises(nav.NoPathError, match=r"torch->onnx\[dynamo\]->tensorrt: needs (a cuda device|tensorrt)"):
        optimize(linear(), X, targets=["tensorrt"])


def test_what_cannot_be_built_here_is_unavailable_and_says_what_would_help(optimize):
    report = optimize(linear(), X, targets=["torchscript", "tensorrt"], precisions=["fp32"], budget=300)
    assert report.best is not None
    (candidate,) = [c for c in report.candidates if c.name == "torch->onnx[dynamo]->tensorrt"]
    assert candidate.status == "unavailable"
    assert re.search("needs (a cuda device|tensorrt)", candidate.reason)
    assert candidate.remedy


# the workspace


def test_a_folder_full_of_somebodys_work_is_not_a_workspace(optimize, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.txt").write_text("years of work")
    with pytest.raises(nav.RequestError, match=r"holds 'chapter-1\.txt' and was not made by Navigator"):
        optimize(linear(), X, workspace=tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter-1.txt"]


def test_a_file_is_not_a_workspace(optimize, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(nav.RequestError, match="is a file; choose a folder with workspace="):
        optimize(linear(), X, workspace=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_not_a_workspace(optimize):
    with pytest.raises(nav.RequestError, match=r"cannot be written: .*choose another place"):
        optimize(linear(), X, workspace="/proc/nowhere")


# a plugin's failure is its branch's alone


def test_an_observer_that_raises_is_set_aside_with_a_note(optimize):
    def observe(event):
        raise OSError("the tracker is down")

    report = optimize(linear(), X, observe=observe, runners=["torch-eager"], batch_sizes=[1])
    assert report.best is not None
    assert any("an observer raised and was set aside: OSError: the tracker is down" in note for note in report.notes)
