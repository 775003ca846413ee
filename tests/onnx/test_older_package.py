"""A package with an ONNX file in it that the first version of Navigator wrote."""

from pathlib import Path

import numpy as np

import navigator as nav

PATH = Path(__file__).parent / "golden" / "schema-1.nav"


def test_a_package_of_the_first_schema_is_loaded_and_answers_as_it_did():
    package = nav.load(PATH)
    assert package.best.name == "onnx @ onnxruntime-cpu"
    with package.load() as model:
        for call, expected in zip(package.samples, package.references, strict=True):
            found = model(*call.args, **call.kwargs)
            np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-5, atol=1e-6)
