"""Makes the weights of the gibberish guard: how likely each letter is after two others, by script.

    python -m guards.training.gibberish LANGUAGES.jsonl.gz [TEXT ...]

In: rows of `{"lang", "text"}` (langid_lingua: sentences of the Leipzig Corpora Collection, CC BY), and plain text such
as manuals; this Python's own library (PSF licence) is added for code. Out: `guards/weights/gibberish.safetensors`, a
log-probability for each triple, and `gibberish.json`: what it was made from, and how often sentences are taken for
noise by a model that has not seen them (halves), or nothing of their language (left out).
"""

import gzip
import json
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from guards.detectors.gibberish import ALPHABETS, WEIGHTS, Table, random_letters, triples

Counts = dict[str, npt.NDArray[np.float64]]
# Pseudo-counts of the pair's and the letter's own frequencies: high, so that unseen languages fare well.
_BY_PAIR, _BY_LETTER = 40.0, 5.0
_CODE_CHARS = 8000


def count(texts: Iterable[str]) -> Counts:
    """Triples by script, arrays of (letters, letters, letters)."""
    counts = {script: np.zeros((len(letters),) * 3) for script, letters in ALPHABETS.items()}
    for text in texts:
        for script, places in triples(text).items():
            np.add.at(counts[script], places, 1.0)
    return counts


def added(*parts: Counts) -> Counts:
    return {script: sum((part[script] for part in parts), np.zeros(())) for script in ALPHABETS}


def model(counts: Counts) -> Mapping[str, Table]:
    """Log-probabilities of the third letter, smoothed by those after one letter, and those by single ones."""
    tables = {}
    for script, found in counts.items():
        single = found.sum((0, 1)) + 0.5
        pair = found.sum(0) + _BY_LETTER * single / single.sum()
        pair /= pair.sum(1, keepdims=True)
        triple = found + _BY_PAIR * pair
        tables[script] = np.log(triple / triple.sum(2, keepdims=True)).astype(np.float32)
    return tables


def share_of_noise(texts: list[str], tables: Mapping[str, Table]) -> float:
    return sum(random_letters(text, tables) >= 0 for text in texts) / max(1, len(texts))


def held_out(languages: Mapping[str, list[str]], rest: Counts) -> dict[str, dict[str, float]]:
    """False positives by language: with the other half of it in the model, and with none of it."""
    halves = [{code: texts[start::2] for code, texts in languages.items()} for start in (0, 1)]
    seen = [model(added(rest, *(count(texts) for texts in half.values()))) for half in halves]
    by_language = {code: count(texts) for code, texts in languages.items()}
    figures = {}
    for code, texts in languages.items():
        unseen = model(added(rest, *(found for other, found in by_language.items() if other != code)))
        crossed = [share_of_noise(halves[1 - place][code], seen[place]) for place in (0, 1)]
        figures[code] = {"halves": sum(crossed) / 2, "left_out": share_of_noise(texts, unseen)}
    return figures


def main(rows: str, *texts: str) -> None:
    languages = defaultdict(list)
    with gzip.open(rows, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            languages[row["lang"]].append(row["text"])
    code = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::2]
    rest = count(
        [file.read_text("utf-8", "ignore")[:_CODE_CHARS] for file in code]
        + [Path(file).read_text("utf-8", "ignore") for file in texts]
    )
    whole = model(added(rest, *(count(found) for found in languages.values())))
    save_file({script: table.astype(np.float16) for script, table in whole.items()}, WEIGHTS)
    card = {
        "languages": len(languages),
        "sentences": sum(map(len, languages.values())),
        "sources": [
            "langid_lingua: sentences of the Leipzig Corpora Collection (CC BY), by way of lingua-go (Apache-2.0)",
            "the Python standard library (PSF-2.0)",
            *(Path(file).stem for file in texts),
        ],
        "false_positives": {
            code: {kind: round(share, 4) for kind, share in found.items()}
            for code, found in sorted(held_out(languages, rest).items())
        },
    }
    WEIGHTS.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
