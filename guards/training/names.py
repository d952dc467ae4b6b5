"""Trains the model behind `guards.detectors.pii_model`: `python -m guards.training.names --data FOLDER`.

In: the public sets named in docs/models/names.md under FOLDER, and the sentences of `names.txt`. Out:
`guards/weights/names.{onnx,tokenizer.json,json}`, learned from everything. The last also holds the figures of a second
model that saw half of the sentences and half of the templates, measured on the other halves (`held_out`).

Known limits: half an hour on one CPU core; no two machines give the same weights.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional

from guards.detectors.pii_model import WEIGHTS
from guards.training.encoder import load_base
from guards.training.names_data import LABELS, Example, made_up, manuals, real, spoken, values
from guards.training.names_made_up import own
from guards.training.names_network import Coded, NameTagger, batches_of, export, optimizer_of

VERSION = "1"
LAYERS, EPOCHS, RATE, FILLINGS = 6, 3, 3e-4, 12


def train(tokenizer: Tokenizer, model: NameTagger, rows: Sequence[tuple[Example, float]]) -> None:
    """Fit the model to examples and their weights, in bfloat16; the word embeddings stay fixed."""
    coded = Coded(tokenizer, rows)
    plan = [batch for epoch in range(EPOCHS) for batch in batches_of(coded, epoch)]
    optimizer, schedule = optimizer_of(model, RATE, len(plan))
    model.train()
    for number, batch in enumerate(plan):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch.ids, batch.shapes, batch.mask)
        each = functional.cross_entropy(
            logits.float().transpose(1, 2), batch.labels, ignore_index=-100, reduction="none"
        )
        weights = batch.weights[:, None] * (batch.labels >= 0)
        loss = (each * weights).sum() / weights.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if number % 100 == 0:
            print(f"step {number} of {len(plan)}: loss {loss.item():.3f}", flush=True)  # noqa: T201  a program's progress
    model.eval()


def weighed(sentences: Sequence[Example], templates: Sequence[Example], seed: int) -> list[tuple[Example, float]]:
    """What the model learns from: labelled sentences, filled templates, and what is made for both."""
    rows = [(example, 1.5) for example in sentences if example.source == "wikigold"]
    rows += [(spoken(example), weight) for example, weight in rows]
    chance = random.Random(seed)
    social = [example for example in sentences if example.source != "wikigold"]
    rows += [(spoken(example) if chance.random() < 0.5 else example, 0.5) for example in social]
    rows += [(example, 1.0) for example in templates]
    rows += [(example, 1.0) for example in own(seed, FILLINGS, values(templates))]
    return rows + [(example, 1.0) for example in manuals(700)]


def half(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Two parts of about the same size, no group in both."""
    groups = sorted({example.group for example in examples})
    random.Random(seed).shuffle(groups)
    first = set(groups[::2])
    return [one for one in examples if one.group in first], [one for one in examples if one.group not in first]


def fitted(sentences: Sequence[Example], templates: Sequence[Example], seed: int) -> tuple[NameTagger, Tokenizer]:
    torch.manual_seed(seed)
    base, tokenizer = load_base(LAYERS, len(LABELS), pooled=False)
    model = NameTagger(base)
    train(tokenizer, model, weighed(sentences, templates, seed))
    return model, tokenizer


def held_out(data: Path, seed: int) -> dict[str, Any]:
    """Figures of the whole guard, with a model that saw half of the data, on the other half."""
    from guards.training.names_figures import names_figures, pii_figures

    sentences, templates = real(data), made_up(data)
    seen, unseen = half([one for one in sentences if one.source == "wikigold"], seed)
    seen_templates, unseen_templates = half(templates, seed)
    social = [one for one in sentences if one.source != "wikigold"]
    model, tokenizer = fitted([*seen, *social], seen_templates, seed)
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "names"
        export(model, tokenizer, prefix, {"version": VERSION})
        return {
            "wikigold": names_figures(unseen, prefix),
            "wikigold_unspaced": names_figures([spoken(one) for one in unseen], prefix),
            **{
                name: pii_figures(data / name, {one.group for one in unseen_templates}, prefix)
                for name in ("pii_presidio_v2", "pii_presidio_large")
            },
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the public sets")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="prefix of the files that are written")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures-only", action="store_true", help="train on halves, and renew the figures alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.figures_only:
        model, tokenizer = fitted(real(given.data), made_up(given.data), given.seed)
        export(model, tokenizer, given.out, {"version": VERSION})
    path = given.out.with_name(given.out.name + ".json")
    meta = json.loads(path.read_text(encoding="utf-8")) | {"held_out": held_out(given.data, given.seed)}
    path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
