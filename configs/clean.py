"""Settings of cleaning: what is repaired, and which documents are kept."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from configs.section import Fraction, Positive, Section

Ratio = Annotated[float, Field(ge=0.0)]
RuleName = Literal[
    "too_short", "not_prose", "language", "gopher_quality", "gopher_repetition", "c4", "fineweb", "perplexity"
]
Category = Literal["gender", "religion", "ethnicity", "age", "disability", "orientation"]
LanguageCode = Annotated[str, Field(pattern="^[a-z]{2,3}$")]


class BoilerplateSettings(Section):
    """Lines that a site repeats at the beginning or end of its pages."""

    remove: bool = True
    """Take them out of every page."""
    min_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """A line is repeated when at least this share of the site's pages has it."""
    min_pages: Annotated[int, Field(ge=2)] = 10
    """It is also on at least this many pages, so small sites are left alone."""


class TooShortSettings(Section):
    """The rule `too_short`."""

    min_words: Annotated[int, Field(ge=0)] = 15
    """Documents with fewer words are rejected."""


class NotProseSettings(Section):
    """The rule `not_prose`."""

    min_letter_share: Fraction = 0.5
    """Documents with a smaller share of letters among their non-space characters are rejected."""


class LanguageSettings(Section):
    """The rule `language`."""

    keep: tuple[LanguageCode, ...] = ()
    """ISO 639-1 codes of the languages that are kept, for example [en, de]; empty keeps all."""
    min_probability: Fraction = 0.8
    """A document in another language is only rejected when that is at least this sure."""


class GopherQualitySettings(Section):
    """The rule `gopher_quality` (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1)."""

    min_words: Annotated[int, Field(ge=0)] = 50
    """Documents with fewer words are rejected; signs are no words."""
    max_words: Positive = 100_000
    """Documents with more words are rejected."""
    min_mean_length: Ratio = 3.0
    """Smallest mean length of a document's words, in characters."""
    max_mean_length: Ratio = 10.0
    """Largest mean length of a document's words, in characters."""
    max_symbols_per_word: Ratio = 0.1
    """Most hash signs per word, and most ellipses per word."""
    max_bullet_lines: Fraction = 0.9
    """Largest share of lines that begin with a bullet."""
    max_ellipsis_lines: Fraction = 0.3
    """Largest share of lines that end with an ellipsis."""
    min_words_with_letters: Fraction = 0.8
    """Smallest share of words, signs included, that have a letter."""
    min_stop_words: Annotated[int, Field(ge=0)] = 2
    """How many of `stop_words` have to occur."""
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    """The words looked for, as written; give your own for other languages than English."""


class GopherRepetitionSettings(Section):
    """The rule `gopher_repetition` (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1, Table A1)."""

    max_duplicate_lines: Fraction = 0.30
    """Largest share of lines that occurred before in the document."""
    max_duplicate_paragraphs: Fraction = 0.30
    """Largest share of paragraphs that occurred before."""
    max_duplicate_line_characters: Fraction = 0.20
    """Largest share of characters in lines that occurred before."""
    max_duplicate_paragraph_characters: Fraction = 0.20
    """Largest share of characters in paragraphs that occurred before."""
    max_top_ngram: Annotated[tuple[Fraction, ...], Field(max_length=3)] = (0.20, 0.18, 0.16)
    """Largest share of characters that the most frequent run of 2, 3 and 4 words may cover."""
    max_repeated_ngrams: Annotated[tuple[Fraction, ...], Field(max_length=8)] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    """Largest share of characters in runs of 5, 6, 7, ... words that occurred before."""


class C4Settings(Section):
    """The rule `c4` (Raffel et al. 2020, arXiv 1910.10683, section 2.2)."""

    min_sentences: Annotated[int, Field(ge=0)] = 5
    """Sentences that a document needs in its full lines: those that the next three settings let count."""
    min_line_words: Annotated[int, Field(ge=0)] = 3
    """Lines with fewer words do not count."""
    max_word_length: Positive = 1000
    """Lines with a longer word do not count."""
    terminal_mark: bool = True
    """Only lines that end in `.`, `?`, `!` or a quotation mark count. FineWeb uses C4 without this."""
    curly_brackets: bool = False
    """Keep documents with `{` in a full line, which the paper takes for code."""


class FineWebSettings(Section):
    """The rule `fineweb` (Penedo et al. 2024, arXiv 2406.17557, section 3.6)."""

    min_terminal_lines: Fraction = 0.12
    """Smallest share of lines that end in a terminal mark."""
    max_short_lines: Fraction = 0.67
    """Largest share of short lines."""
    short_line: Annotated[int, Field(ge=0)] = 30
    """Characters up to which a line is short."""
    max_duplicate_line_characters: Fraction = 0.01
    """Largest share of characters in lines that occurred before."""
    max_line_feeds_per_word: Ratio = 0.3
    """Documents with more line feeds per word are lists."""


class PerplexitySettings(Section):
    """The rule `perplexity` (as in CCNet, Wenzek et al. 2020, arXiv 1911.00359). Takes seconds a document on a CPU."""

    model: str = "embedded:SmolLM2-135M-Instruct"
    """`embedded:SmolLM2-135M-Instruct`, or a folder or hub id of any causal language model."""
    max_perplexity: Annotated[float, Field(ge=1.0)] = 500.0
    """Documents with a higher perplexity are rejected. With the embedded model manuals lie between 10 and 80, and words
    in random order above 1000."""
    max_tokens: Annotated[int, Field(ge=16)] = 256
    """Tokens read from the beginning of each document."""


class BiasSettings(Section):
    """Balance between the groups of people that documents mention; what is mentioned is reported in any case."""

    balance: tuple[Category, ...] = ()
    """Categories to balance; empty leaves all documents in. Made for corpora to train on: a manual loses pages."""
    max_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    """Largest share of a category's mentions that one group may have; documents that it dominates are left out until
    it has no more."""


class CleanSettings(Section):
    """What is repaired in documents, and which of them are kept."""

    repair: bool = True
    """Repair wrongly decoded characters, control characters and white space."""
    rules: tuple[RuleName, ...] = ("too_short", "not_prose", "language")
    """The rules that decide which documents are kept, in the order in which they run. The default suits manuals, whose
    short pages, lists and code the rules made for pre-training corpora refuse (`configs/corpus.yaml` has those)."""
    boilerplate: BoilerplateSettings = BoilerplateSettings()
    """Lines that a site repeats from page to page."""
    too_short: TooShortSettings = TooShortSettings()
    """Documents need enough words."""
    not_prose: NotProseSettings = NotProseSettings()
    """Documents are mostly letters."""
    language: LanguageSettings = LanguageSettings()
    """Documents are in one of the languages that are kept."""
    gopher_quality: GopherQualitySettings = GopherQualitySettings()
    """Words, lines and symbols are like those of prose."""
    gopher_repetition: GopherRepetitionSettings = GopherRepetitionSettings()
    """Little is repeated within a document."""
    c4: C4Settings = C4Settings()
    """There are enough whole sentences, and no code."""
    fineweb: FineWebSettings = FineWebSettings()
    """Lines are whole and differ."""
    perplexity: PerplexitySettings = PerplexitySettings()
    """A language model is not surprised too much."""
    bias: BiasSettings = BiasSettings()
    """Mentions of groups of people."""

    @field_validator("rules")
    @classmethod
    def _once_each(cls, rules: tuple[RuleName, ...]) -> tuple[RuleName, ...]:
        twice = sorted({name for name in rules if rules.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} stands there twice: name each rule once")
        return rules

    def thresholds(self) -> dict[str, dict[str, Any]]:
        """The settings of the rules that run, by name: what the result depends on."""
        return {name: getattr(self, name).model_dump() for name in self.rules}
