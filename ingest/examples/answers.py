"""Answers that stand in the documents: opening sentences and definitions, and how far a passage supports a text.

In: the text of a passage. Out: whole sentences of it, the terms that it defines, or a share from 0 to 1.

Known limits: the patterns are English. Support compares words, not meaning: a sentence that says the contrary with the
same words is supported, and one that says the same in other words is not.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

ABSTENTION = "The documents do not answer this question."
MIN_ANSWER_WORDS, MAX_ANSWER_WORDS = 6, 60
# A passage holds an answer from these shares on: of its content words, or of its pairs of neighbouring ones. Passages
# on the same subject share up to four fifths of the words of a short answer without holding it.
HELD_WORDS, HELD_PAIRS = 0.9, 0.7

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(`])")
# Also the end of a line that ends a sentence, such as an item of a list.
_NUMBERED_END = re.compile(rf"{_SENTENCE_END.pattern}|(?<=[.!?])[^\S\n]*(?=\n)")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|Fig|No|Dr|Mr|Ms)\.$")
_LIST_OR_TABLE = re.compile(r"^\s*(?:[-*+|>•]|\d{1,3}[.)])\s", re.MULTILINE)
_MARKER = re.compile(r"\s*\[\d{1,2}\]")

# Longer lines are the first line of a wrapped paragraph.
_LONGEST_TERM, _TERM_WORDS = 60, 5
_LABELS = frozenset(
    "attention caution changed danger default defaults deprecated example examples hint important note notes raises "
    "return returns see tip todo version warning".split()
)
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")
_TERM = re.compile(r"(?:--?)?[A-Za-z_$%\\][^\n|]*[^\s.,:;!?|]")

_DEFINES = re.compile(r"(?:(An?|The) )?([^\s.,:;!?()][^.,:;!?()\n]{1,48}?) (is|are) (?:an?|the|one of) (?=\w)")
# A subject that begins with one of these refers to something said before, or is a clause.
_NO_SUBJECT = frozenset(
    "a after all also although an and another any as at because before both but by each either every few following "
    "for from he here his how however i if in instead it its like many most neither no none nor not note on one only "
    "or other our otherwise she since so some sometimes such that the their then there therefore these they this those "
    "though thus to unlike unless until we what when where whether which while who whose why with you your".split()
)
_CLAUSE = frozenset(
    "as at be by can could for from if in may might must not on should that to when where which who will with "
    "would".split()
)

_WORD = re.compile(r"[^\W_]+(?:['\u2019_.-][^\W_]+)*")
_STOP = frozenset(
    "a about an and any are as at be been being but by can could did do does for from had has have how i if in into is "
    "it its may me more most my no not of on one only or other our should so some such than that the their them then "
    "there these they this those to too under up use used uses using was we were what when where which while who why "
    "will with would you your".split()
)


class Definition(NamedTuple):
    """A term and what the passage says it is.

    Attributes:
        term: as written: `--mirror`, `math.sin(x)`, `fast-forward`.
        answer: whole sentences of the passage.
        subject: for a sentence like "A branch is a line of development", what is asked for: `is a branch`; else empty.
    """

    term: str
    answer: str
    subject: str = ""


def opening_sentences(text: str) -> str:
    """The first sentences of a passage, up to a length that a short answer may have; empty when it does not start as
    prose (a table, a list, code), or its first sentence is too short or too long to be an answer."""
    paragraph = " ".join(text.strip().split("\n\n", 1)[0].split())
    if not paragraph[:1].isalpha() or not paragraph.endswith((".", "!", "?")):
        return ""
    words = 0
    taken: list[str] = []
    for sentence in sentences(paragraph):
        length = len(sentence.split())
        if taken and (words + length > MAX_ANSWER_WORDS or words >= MIN_ANSWER_WORDS * 3):
            break
        taken.append(sentence)
        words += length
    return " ".join(taken) if MIN_ANSWER_WORDS <= words <= MAX_ANSWER_WORDS else ""


def numbered(text: str, number: int) -> str:
    """The text with `[number]` after each sentence, and at the end of each paragraph; its lines stay as they are.

    So a passage shows what an answer from it has to look like: who quotes a sentence quotes its citation with it.
    """
    marker = f" [{number}]"

    def ended(found: re.Match[str]) -> str:
        # An abbreviation is a few letters long, and what stands before it need not be read.
        said = found.string[max(0, found.start() - 8) : found.start()]
        return ("" if _ABBREVIATION.search(said) else marker) + found.group()

    paragraphs = (_NUMBERED_END.sub(ended, part.rstrip()) for part in text.strip().split("\n\n"))
    # Behind the last bar of a table the number would be a cell.
    ends = ((part, "\n" if part.endswith("|") else " ") for part in paragraphs)
    return "\n\n".join(f"{part}{gap}[{number}]" if part else "" for part, gap in ends)


def sentences(text: str) -> list[str]:
    """Sentences of a paragraph; an abbreviation does not end one."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {part}"
        else:
            parts.append(part)
    return parts


def definitions(text: str, *, opening: bool) -> Iterator[Definition]:
    """The terms that a passage defines, in order: entries of definition lists, and paragraphs that say what a thing is.

    Args:
        opening: whether the passage opens a section; its first paragraph then answers what the heading asks, and gives
            no definition unless it is an entry of a list.
    """
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if entry := listed(paragraph):
            yield entry
        elif not (opening and number == 0) and not _LIST_OR_TABLE.search(paragraph):
            yield from _stated(paragraph)


def listed(paragraph: str) -> Definition | None:
    """The entry of a definition list that a paragraph is: a term on a line of its own, then sentences about it."""
    term, _, rest = paragraph.partition("\n")
    term = term.strip()
    words = term.split()
    if not rest or len(term) > _LONGEST_TERM or len(words) > _TERM_WORDS or not _TERM.fullmatch(term):
        return None
    # A line that goes on in small letters is one line of a wrapped sentence.
    if words[0].casefold() in _LABELS or rest.lstrip()[:1].islower() or _LIST_OR_TABLE.search(rest):
        return None
    answer = opening_sentences(rest)
    return Definition(term, answer) if answer else None


def option_name(term: str) -> str:
    """`--recurse-submodules` of `--recurse-submodules=check|on-demand`; empty when the term is no option."""
    found = _OPTION.match(term)
    return found.group() if found and term.startswith("-") else ""


def _stated(paragraph: str) -> Iterator[Definition]:
    found = _DEFINES.match(" ".join(paragraph.split()))
    if not found or not (answer := opening_sentences(paragraph)):
        return
    article, subject, verb = found.groups()
    words = subject.split()
    vague = words[0].casefold() in _NO_SUBJECT or words[0].endswith("ing") or not _CLAUSE.isdisjoint(words)
    # "The default is the current branch" defines nothing, "The HEAD ref is a pointer" does: it has a name in it.
    named = any(not word.islower() for word in words)
    if vague or len(words) > _TERM_WORDS - 1 or (article == "The" and not named):
        return
    yield Definition(subject, answer, " ".join(part for part in (verb, (article or "").lower(), subject) if part))


def support(answer: str, passage: str, size: int = 1) -> float:
    """Share of the answer's runs of `size` content words that the passage has too, in [0, 1].

    Function words, case and citation markers do not count; 1 for an answer without content words.
    """
    wanted = _runs(_content(_MARKER.sub("", answer)), size)
    return len(wanted & _runs(_content(passage), size)) / len(wanted) if wanted else 1.0


def numbers_missing(answer: str, passage: str) -> list[str]:
    """Words with a digit that stand in the answer and not in the passage."""
    known = set(_content(passage))
    return [word for word in _content(_MARKER.sub("", answer)) if word not in known and any(map(str.isdigit, word))]


def holds(passage: str, answer: str) -> bool:
    """Whether a passage says what the answer says, as far as words tell."""
    return support(answer, passage) >= HELD_WORDS or support(answer, passage, 2) >= HELD_PAIRS


def content_words(text: str) -> frozenset[str]:
    """Lower-case words of a text that are no function words."""
    return frozenset(_content(text))


def _content(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in _STOP]


def _runs(words: list[str], size: int) -> set[tuple[str, ...]]:
    return set(zip(*(words[start:] for start in range(size)), strict=False))
