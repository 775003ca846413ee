"""Which architectures of Transformers go through `navigator.optimize`, by every path, with random weights.

Small configurations of the real classes, called as their documentation calls them: one forward pass each, without a
cache. Nothing is timed here: the table says which candidates are right, and for the others why they are not.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import common
from common import Table

PAGE = common.ROOT / "docs" / "reference" / "architectures.md"
HEAD = "# Architectures that were tried\n\n<!-- Written by `python benchmarks/architectures.py`. -->\n"

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
VOCABULARY = 200


def text(batch: int, length: int) -> dict[str, Any]:
    """Token ids with a mask whose last row is padded."""
    import torch

    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[-1, length // 2 :] = 0
    return {"input_ids": torch.randint(5, VOCABULARY, (batch, length)), "attention_mask": mask}


def plain(batch: int, length: int) -> dict[str, Any]:
    """As `text`, for decoders: their masks are causal already, and none is padded."""
    return {**text(batch, length), "use_cache": False}


def pair(batch: int, length: int) -> dict[str, Any]:
    """What an encoder and its decoder take."""
    import torch

    return {
        **text(batch, length),
        "decoder_input_ids": torch.randint(5, VOCABULARY, (batch, 6)),
        "use_cache": False,
    }


def image(batch: int, length: int) -> dict[str, Any]:
    """Images of one size."""
    import torch

    return {"pixel_values": torch.rand(batch, 3, 64, 64)}


def sound(batch: int, length: int) -> dict[str, Any]:
    """Waves of 16 kHz."""
    import torch

    return {"input_values": torch.randn(batch, 4000)}


def spectrum(batch: int, length: int) -> dict[str, Any]:
    """What Whisper takes: a spectrogram, and the beginning of the text."""
    import torch

    return {
        "input_features": torch.randn(batch, 80, 100),
        "decoder_input_ids": torch.randint(5, VOCABULARY, (batch, 6)),
        "use_cache": False,
    }


def towers(batch: int, length: int) -> dict[str, Any]:
    """What CLIP takes: a text for every image."""
    return {**text(batch, length), **image(batch, length)}


Make = Callable[[int, int], Mapping[str, Any]]
DECODER = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
BOTH = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
}
VISION = {**SMALL, "image_size": 64, "patch_size": 16}
LLAMA = {**SMALL, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 64}
WORDS = {**SMALL, "vocab_size": VOCABULARY, "max_position_embeddings": 66}
SWIN = {"image_size": 64, "embed_dim": 32, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
WHISPER = {**BOTH, "vocab_size": VOCABULARY, "max_source_positions": 50, "max_target_positions": 32}
CLIP = {"text_config": {**WORDS, "eos_token_id": 2}, "vision_config": VISION, "projection_dim": 32}
SPEECH = {**SMALL, "conv_dim": (32, 32, 32), "conv_stride": (5, 4, 4), "conv_kernel": (10, 4, 4)}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any], Make]] = {
    "BERT": ("Bert", WORDS, text),
    "GPT-2": ("GPT2", {**DECODER, "vocab_size": VOCABULARY}, plain),
    "T5": ("T5", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 200}, pair),
    "ViT": ("ViT", VISION, image),
    "Wav2Vec2": ("Wav2Vec2", SPEECH, sound),
    "CLIP": ("CLIP", CLIP, towers),
    "Llama": ("Llama", LLAMA, plain),
    "BART": ("Bart", {**BOTH, "vocab_size": VOCABULARY, "max_position_embeddings": 64}, pair),
    "DistilBERT": ("DistilBert", {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 200}, text),
    "Swin": ("Swin", SWIN, image),
    "Whisper": ("Whisper", WHISPER, spectrum),
    "RoBERTa": ("Roberta", WORDS, text),
    "ConvNeXt": ("ConvNext", {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128]}, image),
    "OPT": ("OPT", {**WORDS, "ffn_dim": 128, "word_embed_proj_dim": 64}, plain),
    "ResNet": ("ResNet", {"depths": [1, 1], "hidden_sizes": [32, 64], "embedding_size": 16}, image),
    "ALBERT": ("Albert", {**WORDS, "embedding_size": 32}, text),
    "MPNet": ("MPNet", WORDS, text),
    "Qwen2": ("Qwen2", LLAMA, plain),
    "HuBERT": ("Hubert", SPEECH, sound),
    "ELECTRA": ("Electra", {**WORDS, "embedding_size": 32}, text),
    "DeBERTa v2": ("DebertaV2", WORDS, text),
}


def make(name: str) -> tuple[Any, list[Mapping[str, Any]]]:
    """The model in eval mode, and two samples that differ in batch and, for text, in length."""
    import torch
    import transformers

    torch.manual_seed(20261122)
    family, settings, inputs = ARCHITECTURES[name]
    config = getattr(transformers, f"{family}Config")(**settings)
    for special in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        value = getattr(config, special, None)
        if isinstance(value, int) and value >= VOCABULARY:
            setattr(config, special, 1)
    model = getattr(transformers, f"{family}Model")(config)
    return model.eval(), [inputs(2, 12), inputs(3, 9)]


def optimize(name: str, workspace: str) -> list[list[str]]:
    """What `tried` says of a run."""
    import navigator as nav

    model, samples = make(name)
    runners = [runner for runner in nav.runners() if not runner.startswith("example")]  # it knows eight operators
    right = nav.Objective(minimize="memory")  # nobody asks who is the fastest: no playoff
    return tried(nav.optimize(model, samples, batch_sizes=[1], runners=runners, objective=right, workspace=workspace))


def tried(report: Any) -> list[list[str]]:
    """A row for each candidate that was tried: name, status, error and bar, reason."""
    from navigator_core.rendering import error_and_bar

    found = [c for c in report.candidates if c.status != "unavailable"]
    return [[c.name, c.status, error_and_bar(c), c.reason or ""] for c in found]


def rows(label: str, found: list[list[str]]) -> list[list[str]]:
    """A row that counts what is right, and one for each reason that another candidate is not."""
    right = [cells for cells in found if cells[1] == "ok"]
    worst = max((cells for cells in right), key=lambda cells: float(cells[2].partition(" ")[0] or 0), default=None)
    because: dict[tuple[str, str], list[str]] = {}
    for candidate, status, _, reason in found:
        if status != "ok":
            because.setdefault((status, _alone(reason)), []).append(candidate)
    furthest = f"; the furthest off: {worst[0]}, {worst[2]}" if worst else ""
    lines = [[label, "ok", f"{len(right)} of {len(found)}{furthest}"]]
    return lines + [["", status, f"{_some(names)}: {why}"] for (status, why), names in because.items()]


def _some(names: list[str]) -> str:
    """The first two of several names."""
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _alone(reason: str) -> str:
    """A reason without the name of the step that it begins with, which other candidates share."""
    step, _, rest = reason.partition(": ")
    return rest if "->" in step and " " not in step else reason


def main() -> None:
    asked = common.arguments(__doc__)
    names = list(ARCHITECTURES)[:2] if asked.quick else list(ARCHITECTURES)
    lines: list[list[str]] = []
    for name in names:
        common.note(name)
        with tempfile.TemporaryDirectory(prefix="navigator-architectures-") as folder:
            try:
                found = common.call_fresh("architectures:optimize", name=name, workspace=folder)
            except subprocess.CalledProcessError as error:
                found = [["navigator.optimize", "raised", "", f"exit code {error.returncode}, see above"]]
        lines += rows(f"{name} (`{ARCHITECTURES[name][0]}Model`)", found)
        common.note("\n".join(" | ".join(line) for line in lines[-5:]))
    about = (
        "Small configurations with random weights, two samples of different batch and length each, on a CPU with every "
        "runner. What is not right has its reason; candidates in reduced precision are held to what that explains."
    )
    table = Table("Architectures of Transformers", about, ("architecture", "", "candidates"), lines)
    common.finish([table], asked, None)
    if not asked.quick:
        PAGE.write_text(f"{HEAD}\n{common.environment()}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
