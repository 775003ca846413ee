"""What the user asked for, checked before anything runs."""

import numpy as np
import pytest

import navigator_core.request as requests
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.gates import Metric
from navigator_core.request import check_precisions, checked
from navigator_core.results import Objective, Tolerance


def test_what_is_left_out_has_a_default():
    request = checked()
    assert request.objective == Objective()
    assert (request.targets, request.runners, request.precisions, request.batch_sizes) == (None, None, None, None)
    assert (request.batching, request.options, request.device, request.check) == ({}, {}, "auto", True)


@pytest.mark.parametrize(
    ("asked", "field", "value"),
    [
        ({"targets": ["onnx", "tensorrt"]}, "targets", ("onnx", "tensorrt")),
        ({"runners": (name for name in ["a"])}, "runners", ("a",)),
        ({"batching": False}, "batching", None),
        ({"batching": {"x": 1, "mask": None}}, "batching", {"x": 1, "mask": None}),
        ({"batch_sizes": [4, 1]}, "batch_sizes", (4, 1)),
        ({"batch_sizes": [1, 2], "objective": Objective(batch_size=8)}, "batch_sizes", (1, 2, 8)),
        ({"objective": Objective(batch_size=8)}, "batch_sizes", (1, 8)),
        ({"objective": Objective(batch_size=1)}, "batch_sizes", (1,)),
        ({"budget": 60}, "budget", 60),
        ({"tolerance": {"y": Tolerance(atol=1.0)}}, "tolerance", {"y": Tolerance(atol=1.0)}),
        ({"options": {"onnx": {"opset": 20}}}, "options", {"onnx": {"opset": 20}}),
    ],
)
def test_what_is_given_is_kept_in_one_form(asked, field, value):
    assert getattr(checked(**asked), field) == value


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"targets": "onnx"}, r"targets must be a list, such as \['onnx'\], not 'onnx'"),
        ({"targets": []}, "targets is empty; leave it out for all"),
        ({"targets": [3]}, "targets must hold str, not 3"),
        ({"runners": 3}, "runners must be a list"),
        ({"format": 3}, "format must be a str, not 3"),
        ({"device": None}, "device must be a str, not None"),
        ({"batching": "x"}, "batching must be True, False or a mapping"),
        ({"batching": {"x": "0"}}, "batching must be True, False or a mapping"),
        ({"batching": {"x": True}}, "batching must be True, False or a mapping"),
        ({"batch_sizes": 8}, r"batch_sizes must be a list, such as \[8\], not 8"),
        ({"batch_sizes": [0, 1]}, r"batch_sizes must be positive, not \[0, 1\]"),
        ({"batch_sizes": [1.5]}, "batch_sizes must hold int, not 1.5"),
        ({"batch_sizes": [True]}, "batch_sizes must hold int, not True"),
        ({"precisions": "fp16"}, r"precisions must be a list, such as \['fp16'\]"),
        ({"objective": "latency"}, "objective must be a nav.Objective, not 'latency'"),
        (
            {"objective": Objective(minimize="latnecy")},
            "unknown quantity to minimize 'latnecy'; did you mean 'latency'",
        ),
        ({"tolerance": 1e-3}, r"tolerance must be nav.Tolerance\(rtol=, atol=\)"),
        ({"tolerance": {"y": 1e-3}}, "tolerance must be"),
        ({"memory_limit": 0}, "memory_limit must be a positive number of bytes"),
        ({"memory_limit": "4GiB"}, "memory_limit must be a positive number of bytes"),
        ({"verify": 3}, "verify must be callable"),
        ({"observe": 3}, "observe must be callable"),
        ({"options": [("onnx", {})]}, "options must be like"),
        ({"options": {"onnx": 20}}, "options must be like"),
        ({"budget": 0}, "budget must be a positive number of seconds, not 0"),
        ({"budget": -1.0}, "budget must be a positive number"),
        ({"budget": float("nan")}, "budget must be a positive number"),
        ({"budget": "10min"}, "budget must be a positive number of seconds, not '10min'"),
        ({"budget": True}, "budget must be a positive number"),
        ({"workspace": 3}, "workspace must be the path of a folder, not 3"),
        ({"input_names": "x"}, "input_names must be a list"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_what_can(asked, message):
    with pytest.raises(RequestError, match=message):
        checked(**asked)


def test_a_gate_is_a_function_or_a_metric():
    metric = Metric("accuracy", lambda model: 1.0, minimum=0.9)
    assert checked(verify=metric).verify is metric
    assert checked(verify=np.allclose).verify is np.allclose


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (None, {}),
        (Tolerance(rtol=1.0), {"a": Tolerance(rtol=1.0), "b": Tolerance(rtol=1.0)}),
        ({"b": Tolerance(atol=1.0)}, {"b": Tolerance(atol=1.0)}),
    ],
)
def test_a_tolerance_is_for_all_outputs_or_those_named(tolerance, expected):
    assert checked(tolerance=tolerance).tolerances(["a", "b"]) == expected


def test_a_tolerance_for_an_output_that_is_not_there_is_an_error():
    with pytest.raises(RequestError, match="unknown output in tolerance 'logit'; did you mean 'logits'"):
        checked(tolerance={"logit": Tolerance()}).tolerances(["logits"])


def test_precisions_are_the_cores_and_the_plugins():
    check_precisions(("fp16", "mxfp4"), ["mxfp4"])
    check_precisions(None, [])
    with pytest.raises(RequestError, match="unknown precision 'fp1'; did you mean 'fp16'"):
        check_precisions(("fp1",), [])


def test_what_is_only_measured_is_not_converted():
    assert checked(check=False).wishes().limit == 0
    assert checked().wishes().limit > 0


def test_elsewhere_than_on_linux_there_is_a_clear_sentence(monkeypatch):
    monkeypatch.setattr(requests.sys, "platform", "win32")
    with pytest.raises(NavigatorError, match="Navigator runs on Linux"):
        checked()


@pytest.mark.parametrize(
    ("asked", "decides", "masks"),
    [
        ({}, False, {}),
        ({"tolerance": Tolerance()}, True, {}),
        ({"tolerance": Tolerance(rtol=0.1)}, True, {}),
        ({"tolerance": Tolerance(top1=0.9)}, True, {}),
        ({"tolerance": Tolerance(mask="m")}, False, {"": "m"}),
        ({"tolerance": {"y": Tolerance(mask="m"), "z": Tolerance(rtol=0.1)}}, True, {"y": "m"}),
        ({"tolerance": {"y": Tolerance(mask="m")}}, False, {"y": "m"}),
        ({"verify": print}, True, {}),
    ],
)
def test_the_users_word_on_errors_lets_reduced_precisions_win_and_a_mask_is_none(asked, decides, masks):
    request = checked(**asked)
    assert request.decides() is decides
    assert request.masks() == masks
