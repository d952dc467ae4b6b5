"""Documents into passages: by heading first, then by paragraph and sentence within a token budget.

A passage never crosses a heading or a document, and its text is exactly `Document.text[start:end]`, so that a citation
can quote the place. The budget counts what the embedder will see: the heading path and the text, in its own tokens.

Known limit: a single unbroken word longer than the budget is cut between characters.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ingest.records import Chunk, Document, Section, stable_id

# Paragraphs, lines (list items, table rows, code), sentences, words, characters.
SEPARATORS = ["\n\n", "\n", r"(?<=[.!?])\s+", r"\s+", ""]
SPECIAL_TOKENS = 2
# A heading path may not crowd out the passage itself.
LONGEST_PATH_SHARE = 0.5


class _Piece(NamedTuple):
    start: int
    end: int


def chunk_document(
    document: Document, count_tokens: Callable[[str], int], *, max_tokens: int, min_tokens: int
) -> Iterator[Chunk]:
    """Passages of a document in reading order.

    Args:
        count_tokens: tokens of a text, without special tokens.
        max_tokens: longest passage with its heading path.
        min_tokens: shorter pieces join a neighbour of the same section where both fit.
    """
    open_headings: list[Section] = []
    for section in document.sections:
        open_headings = [above for above in open_headings if above.level < section.level]
        if section.heading:
            open_headings.append(section)
        headings = tuple(above.heading for above in open_headings)
        path_tokens = count_tokens(" > ".join((document.title, *headings)))
        budget = max_tokens - SPECIAL_TOKENS - min(path_tokens, int(max_tokens * LONGEST_PATH_SHARE))
        text = document.text[section.start : section.end]
        for piece in _merge_short(_split(text, count_tokens, budget), text, count_tokens, budget, min_tokens):
            start, end = section.start + piece.start, section.start + piece.end
            passage = document.text[start:end]
            chunk_id = stable_id(document.id, str(start), passage)
            yield Chunk(chunk_id, document.id, document.url, document.title, headings, passage, start, end)


def _split(text: str, count_tokens: Callable[[str], int], budget: int) -> list[_Piece]:
    stripped = text.strip()
    if not stripped:
        return []
    offset = text.index(stripped)
    if count_tokens(stripped) <= budget:
        return [_Piece(offset, offset + len(stripped))]
    # Imported here: it takes as long to import as a hundred documents to cut, and short ones need no splitter.
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=budget,
        chunk_overlap=0,
        length_function=count_tokens,
    )
    pieces: list[_Piece] = []
    position = 0
    for part in splitter.split_text(text):
        position = text.index(part, position)
        pieces.append(_Piece(position, position + len(part)))
        position += len(part)
    return pieces


def _merge_short(
    pieces: list[_Piece], text: str, count_tokens: Callable[[str], int], budget: int, min_tokens: int
) -> list[_Piece]:
    merged: list[_Piece] = []
    for piece in pieces:
        if merged:
            joined = _Piece(merged[-1].start, piece.end)
            short = min(count_tokens(text[one.start : one.end]) for one in (merged[-1], piece)) < min_tokens
            if short and count_tokens(text[joined.start : joined.end]) <= budget:
                merged[-1] = joined
                continue
        merged.append(piece)
    return merged
