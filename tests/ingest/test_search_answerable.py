import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from configs.errors import ArtifactError
from ingest.passages import Passages, embedding_text, write_passages
from ingest.records import Chunk, stable_id
from ingest.search.answerable import ANSWERABILITY, FEATURES, Answerability, features, shipped, sigmoid
from ingest.search.base import Hit, Mask, Ranking, Retrieved
from ingest.search.calibrate import (
    DRAWING,
    FEWEST,
    Asked,
    ask,
    auc,
    auc_interval,
    calibrate,
    fit_threshold,
    off_topic_questions,
    platt,
    questions_of,
    write,
)
from ingest.search.fuse import by_rank
from ingest.search.lexical import Lexical
from ingest.search.terms import analyser

SUBJECTS = "index cache server token backup cluster schema queue".split()
VERBS = "configure restart rotate compact restore inspect".split()
FILLER = "this page tells what happens then and which values are usual in practice for most people".split()


@dataclass(frozen=True)
class Item:
    """As `ingest.relevance.known_items.Item`."""

    id: str
    question: str
    url: str


def page(number: int, verb: str, subject: str) -> Chunk:
    """A page about one verb and one subject."""
    rng = random.Random(number)
    words = rng.choices([*FILLER, f"{subject}d", f"detail{number}"], k=30)
    text = f"To {verb} the {subject}, run the program with --{verb}-{subject}. {' '.join(words)}."
    title = f"{verb} the {subject}".capitalize()
    url = f"https://docs.example/{number}"
    return Chunk(stable_id(url), f"d{number}", url, title, (), text, 0, len(text), "en")


class Small:
    """An index of a few pages: words by BM25, vectors from sums of random ones, one a term."""

    def __init__(self, folder: Path, chunks: Sequence[Chunk]) -> None:
        write_passages(folder, chunks)
        self.passages = Passages.load(folder)
        self.lexical = Lexical.build(embedding_text(chunk) for chunk in chunks)
        self.vectors = np.stack([self.vector(embedding_text(chunk)) for chunk in chunks])

    @staticmethod
    def vector(text: str) -> np.ndarray:
        stop = analyser("en").stop_words
        total = np.full(64, 1e-6, np.float32)
        for term in analyser("en").terms(text):
            if term not in stop:
                total += np.random.default_rng(int(stable_id(term), 16)).normal(size=64).astype(np.float32)
        return total / np.linalg.norm(total)

    def search(self, question: str, allowed: Mask | None = None) -> Retrieved:
        kept = np.ones(len(self.passages), np.bool_) if allowed is None else allowed
        cosines = np.where(kept, self.vectors @ self.vector(question), -2)
        rows = np.argsort(-cosines, kind="stable")[: min(20, int(kept.sum()))]
        dense, lexical = Ranking(rows, cosines[rows]), self.lexical.search(question, 20, kept)
        best = by_rank([dense, lexical]).rows[:3].tolist()
        hits = tuple(Hit(chunk, float(cosines[row])) for chunk, row in zip(self.passages.take(best), best, strict=True))
        return Retrieved(question, hits, tuple(best), dense, lexical)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    pairs = [(verb, subject) for verb in VERBS for subject in SUBJECTS]
    return Small(tmp_path_factory.mktemp("small"), [page(number, *pair) for number, pair in enumerate(pairs)])


@pytest.fixture(scope="module")
def items(small: Small) -> list[Item]:
    return [Item(chunk.id, chunk.title, chunk.url) for chunk in small.passages]


def test_features_of_a_search(small: Small) -> None:
    question = "How do I compact the schema with zzz?"
    found = small.search(question)
    weights = small.lexical.weights(question)
    values = dict(zip(FEATURES, features(found, small.lexical).tolist(), strict=True))
    dense, lexical = found.dense.scores, found.lexical.scores
    assert set(weights) == {"compact", "schema", "zzz"}
    assert values["cosine"] == pytest.approx(dense[0])
    assert values["cosine_gap"] == pytest.approx(dense[0] - dense[1:10].mean(), abs=1e-6)
    assert values["coverage"] == pytest.approx(1 - weights["zzz"] / sum(weights.values()), abs=1e-6)
    assert values["lexical"] == pytest.approx(lexical[0] / sum(weights.values()))
    assert values["lexical_gap"] == pytest.approx((lexical[0] - lexical[1:10].mean()) / sum(weights.values()), abs=1e-6)
    of_nearest = dict(zip(found.lexical.rows.tolist(), lexical.tolist(), strict=True)).get(int(found.dense.rows[0]), 0)
    assert values["agreement"] == pytest.approx(of_nearest / lexical[0])


def test_agreement_is_less_where_the_nearest_passage_is_another(small: Small) -> None:
    found = small.search("compact the schema")
    last, none = int(found.lexical.rows[-1]), next(r for r in found.dense.rows.tolist() if r not in found.lexical.rows)
    for nearest, expected in ((last, found.lexical.scores[-1] / found.lexical.scores[0]), (none, 0.0)):
        dense = Ranking(np.array([nearest]), np.array([0.9], np.float32))
        values = features(Retrieved(found.query, found.hits, found.rows, dense, found.lexical), small.lexical)
        assert values[FEATURES.index("agreement")] == pytest.approx(expected)
        # The only one is as far above the others as it can be.
        assert values[FEATURES.index("cosine_gap")] == pytest.approx(0.9)


def test_a_ranking_that_was_not_made_counts_as_an_average_one(small: Small) -> None:
    found = small.search("compact the schema")
    by_meaning = features(Retrieved(found.query, found.hits, found.rows, found.dense), small.lexical)
    assert np.isnan(by_meaning).tolist() == [False, False, False, True, True, True]
    by_words = features(Retrieved(found.query, found.hits, found.rows, lexical=found.lexical), small.lexical)
    assert np.isnan(by_words).tolist() == [False, True, False, False, False, True]
    average = np.array([shipped().weights[name].centre for name in FEATURES])
    assert shipped().log_odds(np.full(len(FEATURES), math.nan)) == pytest.approx(shipped().log_odds(average))


def test_words_that_are_nowhere_are_evidence_and_not_missing(small: Small) -> None:
    found = small.search("zzz qqq")
    assert not len(found.lexical.rows)
    assert features(found, small.lexical)[2:].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("question", ["the of and", "??", "", "索引", "a" * 100_000, "compact " * 10_000])
def test_odd_questions_have_a_probability(small: Small, question: str) -> None:
    found = small.search(question)
    assert 0 <= shipped().probability(found, small.lexical) <= 1


def test_nothing_found_is_nothing_answered(small: Small) -> None:
    assert shipped().probability(Retrieved("compact the schema"), small.lexical) == 0


def test_the_shipped_model_tells_answerable_questions_from_others(small: Small, items: list[Item]) -> None:
    model = shipped()
    asked = ask(questions_of(items), small.passages, small.search, lambda f: model.log_odds(features(f, small.lexical)))
    assert len(asked.answerable) == len(asked.hidden) >= 40
    assert len(asked.answerable) + asked.not_found == len(questions_of(items))
    assert auc(np.array(asked.answerable), np.array(asked.hidden)) > 0.9
    assert auc(np.array(asked.answerable), np.array(asked.off_topic)) > 0.98


def test_more_evidence_is_more_probable() -> None:
    model = shipped()
    average = np.array([model.weights[name].centre for name in FEATURES])
    for name in ("cosine", "coverage", "lexical_gap"):
        more = average.copy()
        more[FEATURES.index(name)] += 0.2
        assert model.log_odds(more) > model.log_odds(average)


def test_pages_that_repeat_the_answer_are_hidden_with_it(tmp_path: Path, small: Small) -> None:
    chunks = list(small.passages)
    copied = chunks[7]
    url = "https://docs.example/copy"
    again = Chunk(stable_id(url), "copy", url, copied.title, (), copied.text + " Again.", 0, copied.end + 7, "en")
    index = Small(tmp_path, [*chunks, again])
    hidden: list[list[str]] = []

    def search(question: str, allowed: Mask | None) -> Retrieved:
        if allowed is not None:
            hidden.append([chunk.url for chunk in index.passages.take(np.flatnonzero(~allowed).tolist())])
        return index.search(question, allowed)

    asked = ask([(copied.title, copied.url), (chunks[3].title, chunks[3].url)], index.passages, search, lambda _: 0.0)
    assert hidden == [[copied.url, url], [chunks[3].url]]
    assert len(asked.hidden) == 2


def test_known_questions_whose_page_is_not_found_are_left_out(small: Small) -> None:
    questions = [("zzz", "https://docs.example/1"), ("Compact the schema", "https://elsewhere.example/")]
    asked = ask(questions, small.passages, small.search, lambda _: 1.0)
    assert asked == Asked((), (), (1.0,) * len(off_topic_questions()), 2)


def test_headings_become_questions() -> None:
    things = [
        Item(stable_id(str(n)), text, f"u{n}") for n, text in enumerate(["Add a user", "Overview", "Why so slow?"])
    ]
    assert questions_of(things) == [("How do I add a user?", "u0"), ("Why so slow?", "u2")]


def test_off_topic_questions_are_many_and_differ() -> None:
    questions = off_topic_questions()
    assert len(questions) >= 50
    assert len(set(questions)) == len(questions)
    assert all(question.endswith("?") for question in questions)


def test_calibrating_an_index(tmp_path: Path, small: Small, items: list[Item]) -> None:
    made = calibrate(items, small.passages, small.search, small.lexical, {"embedder": "random"})
    assert made.fitted is not None
    assert made.threshold == made.fitted.threshold
    assert made.made_with["embedder"] == "random"
    assert made.made_with["questions"]["off_topic"] == len(off_topic_questions())
    assert made.fitted.auc_interval[0] <= made.fitted.auc <= made.fitted.auc_interval[1]
    answered = [made.probability(small.search(q), small.lexical) >= made.threshold for q, _ in questions_of(items)]
    refused = [made.probability(small.search(q), small.lexical) < made.threshold for q in off_topic_questions()]
    assert np.mean(answered) >= 0.9
    assert np.mean(refused) >= 0.9
    write(tmp_path, made)
    assert Answerability.load(tmp_path) == made
    assert calibrate(items, small.passages, small.search, small.lexical, {"embedder": "random"}) == made
    drawn = ET.fromstring((tmp_path / DRAWING).read_text(encoding="utf-8"))  # noqa: S314  our own file
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    assert f"threshold {made.threshold:.2f}" in "".join(drawn.itertext())


def test_too_few_questions_leave_the_model_as_it_ships(tmp_path: Path, small: Small, items: list[Item]) -> None:
    made = calibrate(items[: FEWEST - 5], small.passages, small.search, small.lexical, {})
    assert made.fitted is None
    assert made.threshold == shipped().threshold
    assert made.made_with["questions"]["found"] < FEWEST
    write(tmp_path, made)
    assert Answerability.load(tmp_path) == made
    assert not (tmp_path / DRAWING).exists()


def test_an_index_of_nothing_is_calibrated_to_nothing(tmp_path: Path) -> None:
    write_passages(tmp_path, [])
    made = calibrate([], Passages.load(tmp_path), lambda question, _: Retrieved(question), Lexical.build([]), {})
    assert made.fitted is None
    assert made.made_with["questions"] == {"found": 0, "not_found": 0, "off_topic": len(off_topic_questions())}


def test_an_index_without_the_file_has_what_ships(tmp_path: Path) -> None:
    assert Answerability.load(tmp_path) == shipped()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["weights"].pop("cosine"), "features are"),
        (lambda data: data.update(threshold=1.5), "less than or equal to 1"),
        (lambda data: data.update(slope=-1.0), "greater than 0"),
        (lambda data: data.update(intercept=math.nan), "finite number"),
        (lambda data: data["weights"]["cosine"].update(scale=0.0), "greater than 0"),
        (lambda data: data.update(other=1), "not permitted"),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path: Path, change: object, message: str) -> None:
    data = shipped().model_dump()
    change(data)  # type: ignore[operator]
    (tmp_path / ANSWERABILITY).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ArtifactError, match=message) as caught:
        Answerability.load(tmp_path)
    assert "Run `wellread index` again" in str(caught.value)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    shipped().write(tmp_path)
    path = tmp_path / ANSWERABILITY
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"cannot read .*answerability\.json"):
        Answerability.load(tmp_path)


def test_platt_finds_the_slope_and_offset_that_made_the_outcomes() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 2, 60_000)
    chance = 1 / (1 + np.exp(-(0.5 * values + 0.4)))
    truth = rng.random(len(values)) < chance
    # Both kinds weigh the same, which is another offset, the same slope.
    slope, offset = platt(values[truth], values[~truth])
    assert slope == pytest.approx(0.5, abs=0.03)
    assert offset == pytest.approx(0.4 - math.log(truth.sum() / (~truth).sum()), abs=0.05)


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        (np.full(30, 5.0), np.full(30, -5.0)),
        (np.full(30, 1.0), np.full(30, 1.0)),
        (np.full(30, -3.0), np.full(30, 3.0)),
        (np.linspace(0, 1e4, 30), np.linspace(-1e4, 10, 30)),
    ],
)
def test_platt_stays_sensible_without_overlap_and_upside_down(yes: np.ndarray, no: np.ndarray) -> None:
    slope, offset = platt(yes, no)
    assert 0 < slope < 100
    assert abs(offset) < 100


def test_area_under_the_curve() -> None:
    rng = np.random.default_rng(2)
    yes, no = rng.integers(0, 8, 40).astype(float), rng.integers(0, 6, 30).astype(float)
    by_pairs = np.mean([[(y > n) + (y == n) / 2 for n in no] for y in yes])
    assert auc(yes, no) == pytest.approx(by_pairs)
    # The example of Hanley and McNeil's paper: an area of 0.893 from 51 and 58, standard error 0.032.
    low, high = auc_interval(0.893, 51, 58)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.032, abs=0.001)
    assert auc_interval(1.0, 30, 30) == (1.0, 1.0)


def test_the_threshold_answers_nearly_all_and_refuses_what_it_can() -> None:
    rng = np.random.default_rng(8)
    yes, no = rng.normal(2, 1, 400), rng.normal(-1, 1, 300)
    fitted = fit_threshold(yes.tolist(), no.tolist())
    assert fitted is not None
    assert (fitted.answerable, fitted.unanswerable) == (400, 300)

    def chance(values: np.ndarray) -> np.ndarray:
        return np.array([sigmoid(fitted.slope * value + fitted.offset) for value in values])

    answered, refused = (chance(yes) >= fitted.threshold).mean(), (chance(no) < fitted.threshold).mean()
    assert answered >= 0.95
    assert refused > 0.8
    thresholds = [point.threshold for point in fitted.curve]
    assert thresholds == sorted(thresholds)
    assert (fitted.curve[0].answered, fitted.curve[0].refused) == (1.0, 0.0)
    assert (fitted.curve[-1].answered, fitted.curve[-1].refused) == (0.0, 1.0)
    nearest = min(fitted.curve, key=lambda point: abs(point.threshold - fitted.threshold))
    assert nearest.answered == pytest.approx(answered, abs=0.02)
    assert nearest.refused == pytest.approx(refused, abs=0.02)


def test_a_threshold_is_no_higher_than_questions_can_tell() -> None:
    # Unanswerable questions that score as answerable ones do: refusing any of them costs as many answers.
    rng = np.random.default_rng(9)
    yes, no = rng.normal(0, 1, 60), rng.normal(0, 1, 60)
    fitted = fit_threshold(yes, no)
    assert fitted is not None
    assert np.mean([sigmoid(fitted.slope * value + fitted.offset) >= fitted.threshold for value in yes]) == 1.0
    assert 0.3 < fitted.auc < 0.7


def test_perfectly_told_apart() -> None:
    fitted = fit_threshold([5.0] * 30, [-5.0] * 30)
    assert fitted is not None
    assert fitted.auc == 1.0
    assert sigmoid(-5 * fitted.slope + fitted.offset) < fitted.threshold <= sigmoid(5 * fitted.slope + fitted.offset)


def test_too_few_questions_fit_nothing_and_odd_scores_do_not_count() -> None:
    enough = [float(number) for number in range(FEWEST)]
    assert fit_threshold(enough, enough[:-1]) is None
    assert fit_threshold([], enough) is None
    assert fit_threshold([*enough[1:], math.nan, math.inf], enough) is None
    assert fit_threshold([*enough, math.nan], enough) == fit_threshold(enough, enough)


def test_sigmoid_of_anything() -> None:
    assert sigmoid(0) == 0.5
    assert sigmoid(1000) == 1.0
    assert sigmoid(-1000) == 0.0
