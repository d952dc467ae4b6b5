"""Markers in an answer and the places in the documents they stand for.

The model is taught to write `[2]` for the second passage. Numbers of passages that were not shown are dropped, and a
number is corrected where another passage clearly is the source. Where the model wrote none, the passage that supports
the answer best is cited, if it supports it well enough. Each citation quotes the sentence of its passage that supports
the answer best.

Support is lexical: the share of the answer's content words that a text holds. Known limits: it neither understands
paraphrase nor negation, and words are what is written between spaces, which Chinese or Japanese does not have.
"""

import re
from collections.abc import Iterator, Sequence

from ingest.examples import ABSTENTION
from ingest.records import Chunk
from ingest.search.base import Hit
from serve.wire import Citation

# Half of the content words: below that, a passage on the same topic and the right one look alike.
MIN_SUPPORT = 0.5
# How much better another passage must support a sentence than the one it cites. A paraphrase shares few words with its
# source, and fewer differences than this between passages are chance.
CLEAR_LEAD = 0.4

# `[1]`, `[1, 2]`, but not the index in `list[1]`.
_MARKERS = re.compile(r"(\s?)(?<!\w)\[(\d{1,3}(?:\s?[,;]\s?\d{1,3})*)\]")
_SENTENCE = re.compile(
    r"\S[^\n]*?(?:[.!?\u3002\uff01\uff1f]+(?=\s|$|\[)|[\u3002\uff01\uff1f]|(?=\n)|$)(?:\s?\[\d{1,3}\])*",
    re.MULTILINE,
)
# What an untrained 135M model makes of the sentence that it was asked to say.
_ABSTAINS = re.compile(r"\b(?:documents?|passages?) (?:does|do) ?n[o'\u2019]t (?:answer|hold|contain)\b")
_WORD = re.compile(r"\w{3,}")
_STOP = frozenset(
    "about after all also and any are been but can could did does each for from had has have her his how into its may "
    "more most not off one only other our out over she should some such than that the their them then there these they "
    "this those too use used uses using was were what when where which while who why will with would you your".split()
)


def verified(text: str, before: str, hits: Sequence[Hit]) -> str:
    """The text with only markers of passages that were shown, each number in brackets of its own.

    A number whose passage hardly supports its sentence, while another passage clearly does, is corrected: small models
    quote one passage and write the number of another.

    Args:
        before: the answer up to `text`, which its first marker may belong to.
        hits: the passages shown.
    """

    def settled(match: re.Match[str]) -> str:
        claim = content_words(_last_sentence(before + text[: match.start()]))
        shown = (number for number in _numbers(match) if 1 <= number <= len(hits))
        numbers = dict.fromkeys(_corrected(number, claim, hits) for number in shown)
        return match.group(1) + "".join(f"[{number}]" for number in numbers) if numbers else ""

    return _MARKERS.sub(settled, text)


def cited_numbers(text: str) -> list[int]:
    """The numbers in the text's markers, ascending, each once."""
    return sorted({number for match in _MARKERS.finditer(text) for number in _numbers(match)})


def is_abstention(answer: str) -> bool:
    """Whether the answer says that the documents do not hold it."""
    said = " ".join(answer.split()).casefold()
    return ABSTENTION.rstrip(".").casefold() in said or bool(_ABSTAINS.search(said))


def best_supporting(answer: str, hits: Sequence[Hit]) -> int | None:
    """The number of the passage that holds most of the answer's words, or None when none holds enough."""
    supports = _supports(content_words(answer), hits)
    best = max(supports, default=0.0)
    return supports.index(best) + 1 if best >= MIN_SUPPORT else None


def cite(answer: str, hits: Sequence[Hit], numbers: Sequence[int]) -> list[Citation]:
    """Citations of the passages with these numbers (from 1), each with the sentence that supports the answer best."""
    return [_citation(number, hits[number - 1], _claims(answer, number)) for number in numbers]


def support(words: frozenset[str], text: str) -> float:
    """The share of `words` that occur in the text, 0 to 1; 0 when there are none."""
    return len(words & content_words(text)) / len(words) if words else 0.0


def content_words(text: str) -> frozenset[str]:
    """The distinct words of three letters and more in lower case, without the commonest English ones and markers."""
    return frozenset(_WORD.findall(_MARKERS.sub(" ", text).casefold())) - _STOP


def best_sentence(claims: str, chunk: Chunk) -> tuple[int, int]:
    """Start and end, in the chunk's text, of the sentence that shares most words with `claims`; the first of equals."""
    words = content_words(claims)
    spans = list(_sentences(chunk.text)) or [(0, len(chunk.text))]
    return max(spans, key=lambda span: len(words & content_words(chunk.text[slice(*span)])))


def _corrected(number: int, claim: frozenset[str], hits: Sequence[Hit]) -> int:
    supports = _supports(claim, hits)
    best = max(supports)
    clear = best >= MIN_SUPPORT and best - supports[number - 1] >= CLEAR_LEAD
    return supports.index(best) + 1 if clear else number


def _supports(words: frozenset[str], hits: Sequence[Hit]) -> list[float]:
    return [support(words, f"{hit.chunk.heading_path} {hit.chunk.text}") for hit in hits]


def _last_sentence(text: str) -> str:
    spans = list(_sentences(text))
    return text[slice(*spans[-1])] if spans else ""


def _citation(number: int, hit: Hit, claims: str) -> Citation:
    chunk = hit.chunk
    start, end = best_sentence(claims, chunk)
    return Citation(
        number=number,
        url=chunk.url,
        title=chunk.title,
        heading=" > ".join(chunk.headings) or chunk.title,
        quote=chunk.text[start:end],
        passage=chunk.text,
        start=chunk.start + start,
        end=chunk.start + end,
        score=round(hit.score, 4),
        chunk_id=chunk.id,
    )


def _claims(answer: str, number: int) -> str:
    """The sentences of the answer that bear this number; the whole answer when none does."""
    marked = [answer[start:end] for start, end in _sentences(answer) if number in cited_numbers(answer[start:end])]
    return " ".join(marked) or answer


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _SENTENCE.finditer(text) if match.group().strip())


def _numbers(match: re.Match[str]) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", match.group(2))]
