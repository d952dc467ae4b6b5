"""What was found in, the same without what the guards of passages refuse out.

A passage may give the assistant orders, or hold personal data. A section is checked like a passage, and is never shown
where it holds a passage that was refused: a guard may overlook in a long text what it saw in a short one.

Known limit: in a passage that was redacted, offsets of quotes are those of the redacted text.
"""

from collections.abc import Sequence
from dataclasses import replace

from guards.base import Outcome
from guards.stage import Stage
from ingest.records import Chunk
from serve.retrieve import Found, holds


def screened(found: Found, stage: Stage) -> tuple[Found, list[Outcome]]:
    """The passages and sections that the stage allows, as it allows them, and what it said about each."""
    outcomes = [stage.run(hit.chunk.text) for hit in found.hits]
    checked = list(zip(found.hits, outcomes, strict=True))
    hits = tuple(replace(hit, chunk=replace(hit.chunk, text=said.text)) for hit, said in checked if said.allowed)
    refused = [hit.chunk for hit, said in checked if not said.allowed]
    sections, more = _sections(found, refused, stage)
    kept = replace(found, hits=hits, sections=sections, answerable=found.answerable and bool(hits))
    return kept, [*outcomes, *more]


def _sections(found: Found, refused: Sequence[Chunk], stage: Stage) -> tuple[dict[str, Chunk], list[Outcome]]:
    clean = {key: whole for key, whole in found.sections.items() if not any(holds(whole, part) for part in refused)}
    # Passages of one section bring the same text, which need not be checked twice.
    said = {text: stage.run(text) for text in dict.fromkeys(whole.text for whole in clean.values())}
    allowed = {
        key: replace(whole, text=said[whole.text].text) for key, whole in clean.items() if said[whole.text].allowed
    }
    return allowed, list(said.values())
