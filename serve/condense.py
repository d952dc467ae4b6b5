"""A conversation in, what to search for out: a last question that leans on earlier turns is made to stand alone.

`terms` adds the words that say what the conversation is about: those of the user's question before, and of the one
before that while that one leans too. A question leans when it points back ("it", "that one", "what about ..."), or has
no word of its own ("Why?"). A question that stands alone is not touched, so that a change of topic leaves nothing of
the old one. `model` has the language model rewrite the question, see `serve.rewrite`, and falls back to `terms`.

The model that answers still reads the conversation as it was.

Known limits: `terms` knows how English points back, and leaves questions in other languages as they are; it takes an
"it" that means something in its own question for one that points back where the sentence does not make that plain.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from serve.engines.base import Engine
from serve.rewrite import rewrite
from train.chat import Turn

Mode = Literal["off", "terms", "model"]

# A question with this many words of its own stands alone, and so does a text of this many characters.
_PLENTY, _LONG = 8, 400
_MOST_TERMS = 12
_TURNS_BACK = 4

_WORD = re.compile(r"\w[\w.+#/-]*")
# What the guards put in place of personal data is about nothing.
_REDACTED = re.compile(r"<[A-Z][A-Z_0-9]*>")
# Words that name no topic: function words, and what any question or small talk may hold.
_HOLLOW = frozenset(
    "a about above actually after again ago all also always am an and another any anything are as ask at away back be "
    "because been before being below best better between big both but by can case come could course default describe "
    "detail details did differ difference different do does doesn't doing don't done down each either else elaborate "
    "enough even ever every exactly example examples explain explanation far fast few find first for form former from "
    "get gets give go going good great had happen happens has have having he hello help her here hers hey hi him his "
    "how however i i'd i'll i'm i've if in instead into is isn't it it's its itself just keep kind know last latter "
    "less let like list long longer look lot made make makes many may maybe me mean means might more most much must my "
    "name need needed needs next no not nothing now of off ok okay on once one ones only or other others otherwise our "
    "out over own part please point possible put question quite rather really reason reasons right run safe same say "
    "second see several shall she should show since slow so some something sort step steps still such sure take takes "
    "tell than thank thanks that that's the their theirs them themselves then there these they thing things this those "
    "though through to together too try two under until up us use used useful uses using very want was way ways we "
    "well were what what's when where whether which while who whom whose why will with within without work works "
    "would yeah yes yet you your".split()
)

# What is said to be polite, and is no question.
_COURTESY = frozenset(
    "a alright bye good great hello hey hi lot much nice no ok okay so thank thanks that very yes you".split()
)

_CONTINUES = re.compile(r"(?:(?:and|but|or|ok|okay|so|then|also|yes|no|right)\b[\s,]*)+")
_ABOUT = re.compile(r"(?:what|how) (?:about|of)\b|(?:the )?same\b")
# How a whole question, or a request, begins; what begins otherwise after an "and" only has part of one.
_CLAUSE = re.compile(
    r"(?:what|when|where|which|who|whom|whose|why|how|if|is|are|was|were|do|does|did|can|could|will|would|should|may|"
    r"must|has|have|had|i|i'm|we|you|there|please|let|tell|show|list|give|explain|describe|find|compare|name)\b"
)
# Where the words before may be what a pronoun behind stands for.
_BORDER = re.compile(
    r"[.!?;:,]\s|\b(?:and|but|or|so|when|while|if|because|since|before|after|once|until|whether|which|although)\b"
)
_NOUN_AHEAD = re.compile(r"\b(?:a|an|the|my|our|your|any|some|all|each|every|two|this|these)\s+((?:\S+\s*){1,3})")
_POINTS_BACK = re.compile(
    r"\b(?P<own>its|their|theirs|his|her|hers|itself|themselves)\b"
    r"|\b(?:it|it's|they|they're|them|he|she|him)\b"
    r"|\b(?:this|these|those)\b(?! (?:site|website|documentation|docs|manual|assistant|chat|who|that|which)\b)"
    r"|(?:^|\b(?:do|does|did|is|was|are|were|can|could|will|would|should|may|of|with|about|for|after|before|like|to|in|"
    r"on|at|by|than|why|how|and|if|when|use|using|from|into|without|change|disable|enable|stop|avoid)\s)that\b"
    r"|\b(?:the other|another|each|which|first|second|last|same) ones?\b(?! of)|\bones?\W*$"
    r"|\bthe same\W*$|\bthe same (?:for|with|in|on|thing|way|applies)\b|\b(?:instead|both|the two)\W*$"
    r"|(?<!is |re )\bthere\W*$|\bthe (?:former|latter)\W*$|\bthe above\b"
)
_SEVERAL = ("they", "they're", "them", "their")
# "How long does it take to ...", "Is it safe to ...": an "it" that points nowhere.
_EMPTY_IT = re.compile(
    r"\bit(?: is|'s| be)? (?:take|takes|make|makes|cost|costs|help|possible|impossible|safe|necessary|needed|required|"
    r"better|best|ok|okay|worth|enough|advisable|recommended|good|bad|hard|easy|difficult|important|useful|a good idea|"
    r"a bad idea|sense)(?: \w+){0,3} (?:to|that|if|when|\w+ing)\b"
)


async def standalone(mode: Mode, question: str, history: Sequence[Turn], engine: Engine) -> str:
    """What to search for.

    Args:
        question: the user's last one.
        history: the turns before it, oldest first.
        engine: rewrites the question in the mode `model`.
    """
    if mode == "off" or not any(turn["role"] == "user" for turn in history):
        return question
    rewritten = await rewrite(question, history, engine) if mode == "model" else None
    if rewritten and not leans(rewritten):
        return rewritten
    return with_terms(question, [turn["content"] for turn in history if turn["role"] == "user"])


def with_terms(question: str, earlier: Sequence[str]) -> str:
    """The question; when it leans on earlier ones, with the words that say what these were about.

    Args:
        earlier: the user's questions before it, oldest first.
    """
    if not leans(question):
        return question
    terms: dict[str, str] = {}
    own = {word.casefold() for word in topic_words(question)}
    for before in list(earlier)[: -_TURNS_BACK - 1 : -1]:
        words = {word.casefold(): word for word in topic_words(before[:_LONG])}
        terms |= {key: word for key, word in words.items() if key not in own and key not in terms}
        if words and not leans(before):
            break
    return " ".join([question, *list(terms.values())[:_MOST_TERMS]])


def leans(question: str) -> bool:
    """Whether a question can hardly be understood without what was said before it."""
    if len(question) > _LONG:
        return False
    # In capitals, IT is a trade.
    plain = _REDACTED.sub(" ", question if question.isupper() else re.sub(r"\bIT\b", "I.T.", question))
    text = _EMPTY_IT.sub(" ", " ".join(plain.replace("\u2019", "'").casefold().split()))
    words = len(list(topic_words(text)))
    if words == 0:
        return not _COURTESY.issuperset(_words(text))
    if words >= _PLENTY:
        return False
    return _continues(text, words) or any(not _settled(text, found) for found in _POINTS_BACK.finditer(text))


def topic_words(text: str) -> Iterator[str]:
    """The words that may name a topic, in order."""
    return (word for word in _words(_REDACTED.sub(" ", text)) if word.casefold() not in _HOLLOW)


def _words(text: str) -> Iterator[str]:
    return (match.group().rstrip(".+/-") for match in _WORD.finditer(text))


def _continues(text: str, words: int) -> bool:
    """Whether it only adds to an earlier question, as in "And on Windows?"."""
    opening = _CONTINUES.match(text)
    rest = text[opening.end() :] if opening else text
    if words > 3:
        return False
    return bool(_ABOUT.match(rest)) or bool(opening and not _CLAUSE.match(rest))


def _settled(text: str, pronoun: re.Match[str]) -> bool:
    """Whether the same question may say before a pronoun what that stands for."""
    before = text[: pronoun.start()]
    if not pronoun.group("own"):
        borders = list(_BORDER.finditer(before))
        before = before[: borders[-1].start()] if borders else ""
    words = list(topic_words(before))
    several = pronoun.group() in _SEVERAL and any(word.endswith("s") for word in words)
    return len(words) >= 2 or several or any(any(topic_words(noun)) for noun in _NOUN_AHEAD.findall(before))
