"""What the user wants built: options by format, edge or runner."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core.errors import RequestError
from navigator_core.options import Choice, check_keys, choices


@attrs.frozen(kw_only=True)
class Onnx:
    opset: int = 18
    shapes: tuple[int, ...] = ()
    mode: str | None = None
    _hidden: float = 0.5


@attrs.frozen(kw_only=True)
class Demanding:
    level: int


def built(options, keys=("onnx", "torch->onnx"), cls=Onnx, default=None):
    return list(choices(options, keys, cls, default))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Onnx()),
        ({"onnx": {"opset": 20}}, Onnx(opset=20)),
        ({"onnx": {"opset": 20}, "torch->onnx": {"opset": 17}}, Onnx(opset=17)),
        ({"onnx": {"opset": 20}, "torch->onnx": {"mode": "script"}}, Onnx(opset=20, mode="script")),
        ({"onnx": {"hidden": 1.5}}, Onnx(hidden=1.5)),
        ({"onnx": {"shapes": [1, 2]}}, Onnx(shapes=(1, 2))),
        ({"tensorrt": {"opset": 20}}, Onnx()),
    ],
)
def test_options_are_the_defaults_with_what_was_said_later_keys_winning(options, expected):
    assert built(options) == [Choice(expected)]


def test_a_variants_own_options_are_kept_where_nothing_was_said():
    assert built({"onnx": {"opset": 20}}, default=Onnx(mode="dynamo")) == [Choice(Onnx(opset=20, mode="dynamo"))]


def test_a_list_given_to_a_scalar_field_means_one_variant_for_each_value():
    found = built({"onnx": {"opset": [17, 20], "mode": ["a", "b"]}})
    assert [choice.label for choice in found] == [
        "opset=17,mode=a",
        "opset=17,mode=b",
        "opset=20,mode=a",
        "opset=20,mode=b",
    ]
    assert found[2].value == Onnx(opset=20, mode="a")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_variants_are_as_many_as_the_distinct_values_and_their_labels_differ(values):
    found = built({"onnx": {"opset": values}})
    assert [choice.value.opset for choice in found] == list(dict.fromkeys(values))
    assert len({choice.label for choice in found}) == len(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"onnx": {"opsett": 20}}, r"unknown field in options\['onnx'\] 'opsett'; did you mean 'opset'"),
        ({"torch->onnx": {"zzz": 1}}, r"unknown field in options\['torch->onnx'\] 'zzz'; known: "),
        ({"onnx": {"opset": "20"}}, r"options\['onnx'\]: .*expected int.*'20'"),
        ({"onnx": {"opset": 2.5}}, r"options\['onnx'\]: "),
        ({"onnx": {"opset": [17, "x"]}}, r"options\['onnx'\]: "),
        ({"onnx": {"opset": []}}, r"options\['onnx'\]: the list for 'opset' is empty, which would build nothing"),
        ({"onnx": {"opset": (17, 20)}}, r"options\['onnx'\]: "),
    ],
)
def test_what_the_options_do_not_have_or_refuse_is_an_error(options, message):
    with pytest.raises(RequestError, match=message):
        built(options)


def test_a_field_without_a_default_may_be_given():
    assert built({"onnx": {"level": 3}}, cls=Demanding) == [Choice(Demanding(level=3))]
    with pytest.raises(RequestError, match="level"):
        built({}, cls=Demanding)


def test_what_has_no_options_accepts_none():
    assert built({}, cls=None) == [Choice(None)]
    with pytest.raises(RequestError, match=r"options\['@python'\]: python has no options"):
        built({"@python": {"threads": 4}}, keys=("@python",), cls=None)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("onxn", "unknown key in options 'onxn'; did you mean 'onnx'"),
        ("torch->onxn", "did you mean 'torch->onnx'"),
        ("onnxruntime-cpu", "did you mean '@onnxruntime-cpu'"),
    ],
)
def test_a_key_that_names_nothing_is_an_error_with_the_closest(key, message):
    with pytest.raises(RequestError, match=message):
        check_keys({key: {}}, dict.fromkeys(("onnx", "torch", "torch->onnx", "@onnxruntime-cpu"), ()))


def test_keys_that_exist_are_fine_but_hold_fields():
    check_keys({"onnx": {}, "torch->onnx": {}, "@ort": {}}, dict.fromkeys(("onnx", "torch->onnx", "@ort"), ()))
    with pytest.raises(RequestError, match=r"options\['onnx'\] must be a mapping of fields, not 20"):
        check_keys({"onnx": 20}, {"onnx": ["opset"]})


def test_a_field_that_nothing_behind_the_key_has_is_an_error_wherever_the_plan_leads():
    with pytest.raises(RequestError, match=r"unknown field in options\['onnx'\] 'opst'; did you mean 'opset'"):
        check_keys({"onnx": {"opst": 1}}, {"onnx": ["opset"]})
    with pytest.raises(RequestError, match="python has no options"):
        check_keys({"@python": {"threads": 1}}, {"@python": []})
