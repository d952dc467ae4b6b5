"""Forms of questions: from headings, from terms that are defined, and from names in code.

In: a heading or a term, what the answer begins with, and the title of the document. Out: a question as a person would
put it. Which of several forms is taken depends on a number from 0 to 1, so that the same place always asks the same.

Known limits: English. Whether a word is a verb or a noun is told by its ending and by the word after it only, so a
heading whose kind is unclear is put into a form that suits every kind ("What should I know about ...?").
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ingest.examples.answers import Definition, option_name

# Headings that say what kind of text follows, not what it is about; the document's title is the subject then.
GENERIC = frozenset(
    "about abstract background contents description details example examples features general getting started history "
    "intro introduction manual note notes options outline overview page parameters purpose reference remarks see also "
    "summary syntax synopsis usage".split()
)
ANY = (
    "What does the documentation say about {}?",
    "Can you explain {}?",
    "Tell me about {}.",
    "What should I know about {}?",
)
NAMES = ("What is {}?", "What is {} for?", *ANY[1:3])
FUNCTIONS = ("What does {} do?", "What is {} for?", "Can you explain what {} does?")
OPTIONS = ("What does the option {} do?", "What is the effect of {}?", "What is the option {} for?")
TERMS = ("What does {} mean?", "What is meant by {}?", "How do the documents define {}?")
# Headings that ask something of their own about the title.
ASIDE = {
    "background": "What is the background of {}?",
    "details": "Can you tell me more about {}?",
    "example": "Can you give an example of {}?",
    "examples": "Can you give an example of {}?",
    "features": "Which features does {} have?",
    "history": "What is the history of {}?",
    "notes": "What is there to note about {}?",
    "options": "Which options does {} have?",
    "parameters": "Which parameters does {} have?",
    "purpose": "What is the purpose of {}?",
    "remarks": "What is there to note about {}?",
    "return value": "What does {} return?",
    "returns": "What does {} return?",
    "usage": "How is {} used?",
}
TO_FORMS = {
    "how": "How do I {}?",
    "when": "When should I {}?",
    "where": "Where should I {}?",
    "what": "What should I {}?",
}
CLAUSES = ("Can you explain {}?", "Tell me {}.", "What does the documentation say about {}?")

_SECTION_NUMBER = re.compile(
    r"^(?:(?:Chapter|Appendix|Part|Section) (?:\d+|[A-Z]|[IVX]+)|(?:[A-Z]\.)?\d+(?:\.\d+)*)\.?\s+"
)
_CLAUSE = re.compile(
    r"(how|why|when|where|what|which|who)\s+(?!is\b|are\b|do\b|does\b|can\b)(to\s+)?(.+)", re.IGNORECASE
)
# A verb before one of these is an order: "Create a table"; before anything else it may be a noun: "Log files".
_AFTER_VERB = frozenset("a all an and any from in into it multiple my on the this to up with your".split())
_VERBS = frozenset(
    "add adjust back build call change check choose clean clone configure connect convert copy create customise "
    "customize cut define delete deploy disable download edit enable export extend find fix generate get import "
    "initialise initialize inspect install list load log make manage migrate monitor move open pass prepare print "
    "publish pull push read register remove rename replace reset restart restore revert roll run save scale search "
    "see select send serve set show split start stop store switch test track train turn uninstall update upgrade "
    "upload use verify view work write".split()
)
_SIGNATURE = re.compile(
    r"(?:(class|async|static|static method|classmethod|def|exception)\s+)?([A-Za-z_][\w.:]*)\((?!\d\)).*\)"
)
_KEYWORD = re.compile(r"(class|exception)\s+([A-Za-z_][\w.]*)")
_SEPARATORS = re.compile(r"\s+(?:[\u2014\u2013|\u00b7\u00bb-]|::)\s+")


def plain_heading(text: str) -> str:
    """A heading without its section number."""
    return _SECTION_NUMBER.sub("", text).strip()


def site_suffixes(titles: Iterable[str]) -> frozenset[str]:
    """What follows the last dash or bar in at least half of the titles, and three of them: the name of the site."""
    every = list(titles)
    ends = Counter(parts[-1] for title in every if len(parts := _SEPARATORS.split(title)) > 1)
    return frozenset(end for end, count in ends.items() if count >= max(3, len(every) / 2))


def plain_title(title: str, suffixes: frozenset[str]) -> str:
    """A title without section number, and without the site's name and the dash before it."""
    parts = _SEPARATORS.split(title)
    if len(parts) > 1 and parts[-1] in suffixes:
        title = title[: title.rindex(parts[-1])].rstrip(" \t\u2014\u2013|\u00b7\u00bb:-")
    return plain_heading(title)


def ask_heading(heading: str, title: str, answer: str, *, repeated: bool, pick: float) -> str:
    """A question that the opening of a section answers; empty when neither heading nor title says what it is about.

    Args:
        heading, title: without section number and site name; one of them may be empty.
        answer: what the section opens with.
        repeated: whether other sections have the same heading.
        pick: in [0, 1), chooses among forms that suit.
    """
    if heading.endswith("?"):
        return heading
    if (aside := ASIDE.get(heading.casefold())) and not is_generic(title):
        return aside.format(title)
    subject = title if is_generic(heading) else heading
    if is_generic(subject):
        return ""
    if subject == heading and not is_generic(title) and title.casefold() != heading.casefold():
        # One common word says too little by itself: "Cleanup" of what? Glossaries say it in the sentence.
        alone = " " not in heading and not is_code_name(heading) and not _defined(heading, answer)
        if repeated or alone:
            # Man pages shout their headings; the name of a command is not repeated over pages.
            return _chosen(ANY, pick).format(f"{heading.lower() if heading.isupper() else heading} in {title}")
    return _ask(subject, answer, pick)


def is_generic(subject: str) -> bool:
    """Whether a heading or title says nothing of what its text is about; also an empty one."""
    return all(word in GENERIC for word in subject.casefold().split())


def ask_term(found: Definition, title: str, *, repeated: bool, pick: float) -> str:
    """A question that a definition answers; names the document where the term alone would not say which is meant.

    Args:
        repeated: whether the term is defined in more than one place, or is a parameter of what the document describes.
    """
    if found.subject:
        verb, _, subject = found.subject.partition(" ")
        return f"What {verb} {subject}{f' in {title}' if repeated and title else ''}?"
    forms, name = _term_forms(found.term)
    if title and (repeated or option_name(found.term)):
        name = f"{name} {'of' if is_code_name(title) else 'in'} {title}"
    return _chosen(forms, pick).format(name)


def is_code_name(text: str) -> bool:
    """Whether a single word is written as names in code are: with capitals, digits or signs inside, or all capitals."""
    word = text.removesuffix("()")
    return (
        " " not in text and len(word) > 1 and (word.isupper() or not re.fullmatch(r"[A-Z]?[a-z][a-z\u2019'-]*", word))
    )


def _ask(subject: str, answer: str, pick: float) -> str:
    if clause := _CLAUSE.fullmatch(subject):
        word, to, rest = clause.groups()
        if to and word.lower() in TO_FORMS:
            return TO_FORMS[word.lower()].format(_lowered(rest))
        return _chosen(CLAUSES[:2], pick).format(_lowered(subject))
    if defined := _defined(subject, answer):
        return f"What {defined}?"
    words = subject.split()
    first, second = words[0].casefold(), words[1].casefold() if len(words) > 1 else ""
    if first in _VERBS and second in _AFTER_VERB and not words[0].isupper():
        return f"How do I {_lowered(subject)}?"
    if first.endswith("ing") and len(first) > 5:
        return _chosen(ANY, pick).format(subject if _in_title_case(subject) else _lowered(subject))
    if is_code_name(subject) or _SIGNATURE.fullmatch(subject):
        forms, name = _term_forms(subject)
        return _chosen(forms, pick).format(name)
    return _chosen(ANY, pick).format(_lowered(subject) if first in ("the", "a", "an") else subject)


def _term_forms(term: str) -> tuple[Sequence[str], str]:
    if option := option_name(term):
        return OPTIONS, option
    if keyword := _KEYWORD.match(term):
        return NAMES, f"the {keyword[1]} {keyword[2]}"
    if signature := _SIGNATURE.fullmatch(term):
        return FUNCTIONS, f"{signature[2]}()"
    # `shared_buffers (integer)`, `Merge (relation)`: the type or field is not part of the name.
    name = re.sub(r"\s+\([^()]*\)$", "", term)
    return (NAMES if is_code_name(name) else TERMS), name


def _defined(subject: str, answer: str) -> str:
    """`is a champion` where the answer begins "A champion is"; empty where it does not say what its subject is."""
    start = re.match(rf"(?:(An?|The) )?({re.escape(subject)}s?) (is|are)\b", answer, re.IGNORECASE)
    if not start:
        return ""
    article, name, verb = start.groups()
    return f"{verb} {article.lower()} {_lowered(name)}" if article else f"{verb} {name}"


def _lowered(text: str) -> str:
    """The text with a small first letter, unless its first word is a name or an abbreviation."""
    first = text.split(maxsplit=1)[0] if text else ""
    return text[:1].lower() + text[1:] if first[:1].isupper() and (len(first) == 1 or first[1:].islower()) else text


def _in_title_case(text: str) -> bool:
    """Whether a later word begins with a capital, too; small letters at the start would then look odd."""
    return any(word.istitle() and len(word) > 3 for word in text.split()[1:])


def _chosen(forms: Sequence[str], pick: float) -> str:
    return forms[int(pick * len(forms))]
