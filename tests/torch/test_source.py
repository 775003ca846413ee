import pytest
import torch

from navigator_core import structure
from navigator_core.errors import RequestError
from navigator_core.signature import describe_outputs
from navigator_torch import source


class LayerCache:
    """As Transformers calls what a decoder keeps from step to step."""


class SlidingCache(LayerCache):
    pass


class Window(SlidingCache):
    pass


@pytest.mark.parametrize("cls", [LayerCache, SlidingCache, Window])
def test_a_cache_object_is_recognised_with_the_way_out(cls):
    assert "use_cache=False" in source.advice(cls())


@pytest.mark.parametrize("value", [None, 3, "cache", torch.float32, object(), slice(3)])
def test_there_is_no_advice_for_what_is_a_constant(value):
    assert source.advice(value) is None


def test_an_output_that_cannot_be_taken_apart_is_named_with_its_place_and_class():
    cache = Window()
    with pytest.raises(RequestError, match=r"output 'past\.1' is a .*test_source\.Window: neither") as caught:
        describe_outputs({"logits": torch.ones(1), "past": [torch.ones(1), cache]})
    assert caught.value.value is cache


def test_what_is_loose_in_an_argument_is_found_at_any_depth():
    cache = LayerCache()
    assert list(structure.loose({"a": [torch.ones(1), (cache, 3)], "b": {"c": None}})) == [cache, 3, None]
    assert list(structure.loose(torch.ones(1))) == []
