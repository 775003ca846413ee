"""Positions that do not count: which outputs a mask is for."""

import numpy as np
import pytest

from navigator_core import Dim, Signature, TensorSpec
from navigator_core.errors import RequestError
from navigator_core.masking import fitting, kept

BATCH, TIME = Dim("batch", 1, 8), Dim("time", 2, 9)
SIGNATURE = Signature(
    (
        TensorSpec("ids", "int64", (BATCH, TIME)),
        TensorSpec("mask", "int64", (BATCH, TIME)),
        TensorSpec("scale", "float32", ()),
    ),
    (
        TensorSpec("hidden", "float32", (BATCH, TIME, 4)),
        TensorSpec("pooled", "float32", (BATCH, 4)),
        TensorSpec("label", "int64", (BATCH, TIME)),
    ),
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {}),
        ({"": "mask"}, {"hidden": "mask", "label": "mask"}),
        ({"hidden": "mask"}, {"hidden": "mask"}),
        ({"hidden": "mask", "label": "ids"}, {"hidden": "mask", "label": "ids"}),
        ({"no such output": "mask"}, {}),  # which `Request.tolerances` refuses
    ],
)
def test_a_mask_is_for_the_outputs_whose_first_axes_are_its_own(asked, found):
    assert fitting(asked, SIGNATURE) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"": "maks"}, "unknown input in mask 'maks'; did you mean 'mask'"),
        (
            {"pooled": "mask"},
            r"'mask' has the axes \(batch, time\), which must be the first .* 'pooled' has \(batch, 4\)",
        ),
        ({"": "scale"}, r"the mask 'scale' has the axes \(\)"),
    ],
)
def test_a_mask_that_fits_nothing_is_an_error(asked, message):
    with pytest.raises(RequestError, match=message):
        fitting(asked, SIGNATURE)


def test_what_counts_is_where_the_mask_is_not_zero():
    found = kept({"hidden": "mask"}, {"mask": np.array([[1, 0], [2, 1]])})
    assert found["hidden"].tolist() == [[True, False], [True, True]]
