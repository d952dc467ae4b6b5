"""Rules and their settings: every rule can be named, has the published values, and travels to another process."""

import dataclasses
import multiprocessing
import pickle
from pathlib import Path

import pytest

from configs.clean import CleanSettings
from configs.errors import ConfigError
from configs.load import SHIPPED, load_config
from ingest.filters.base import RULES, build_rules, first_refusal
from tests.ingest.samples import document

MANUAL = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))


def refused(text, order, **settings):
    verdict = first_refusal(document("https://x.org/a", "T", (0, "", text)), build_rules(order, settings))
    return verdict.category if verdict else None


@pytest.mark.parametrize("name", RULES)
def test_settings_have_the_names_and_values_of_the_rules(name):
    fields = {field.name: field.default for field in dataclasses.fields(RULES[name])}
    assert getattr(CleanSettings(), name).model_dump() == fields


def test_a_rule_that_is_not_there_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"no rule 'gopher'.*too_short, not_prose"):
        build_rules(["gopher"], {})


def test_a_rule_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"clean.rules.*c4 stands there twice"):
        load_config(overrides=["clean.rules=[c4, too_short, c4]"], environ={})


def test_only_the_settings_of_the_rules_that_run_count():
    one = load_config(overrides=["clean.c4.min_sentences=1"], environ={}).clean
    assert one.thresholds() == CleanSettings().thresholds()
    assert list(one.thresholds()) == ["too_short", "not_prose", "language"]


def test_the_order_decides_which_reason_is_kept():
    text = "0x00 0x01"
    assert refused(text, ["too_short", "not_prose"]) == "too_short"
    assert refused(text, ["not_prose", "too_short"]) == "not_prose"
    assert refused(text, []) is None


def test_a_reason_names_the_figure_and_the_limit():
    rules = build_rules(["gopher_quality"], {})
    verdict = first_refusal(document("u", "T", (0, "", "only three words")), rules)
    assert verdict.reason == "words: 3, at least 50 wanted"
    assert (verdict.score, verdict.threshold, verdict.detector) == (3.0, 50.0, "filters.gopher_quality")


@pytest.mark.parametrize("path", MANUAL, ids=lambda path: path.stem)
def test_the_default_rules_keep_this_manual(path):
    clean = CleanSettings()
    doc = document("u", path.stem, (0, "", path.read_text(encoding="utf-8")))
    assert first_refusal(doc, build_rules(clean.rules, clean.thresholds())) is None


def test_the_rules_for_corpora_keep_prose_and_refuse_menus_and_code():
    clean = load_config(SHIPPED / "corpus.yaml", environ={}).clean
    rules = build_rules(clean.rules, clean.thresholds())
    sentences = [
        "The pump that is described here moves water from the river to the fields of the village.",
        "It was built by two brothers who had seen a drawing of such a machine in an old book.",
        "Nobody believed that it would have enough power to lift the water over the dam in summer.",
        "To the surprise of all, it worked on the first day and has not been stopped since then.",
        "The brothers were asked to build three more of them, and they agreed with some pride.",
    ]
    texts = [" ".join(sentences), "Home\nAbout\nContact\n" * 30, "if (x) { return y; }\n" * 30]
    reasons = [first_refusal(document("u", "T", (0, "", text)), rules) for text in texts]
    assert [reason and reason.category for reason in reasons] == [None, "gopher_repetition", "gopher_repetition"]


def test_rules_are_the_same_in_another_process():
    clean = CleanSettings()
    rules = tuple(build_rules(list(RULES), {name: getattr(clean, name).model_dump() for name in RULES}))
    assert pickle.loads(pickle.dumps(rules)) == rules  # noqa: S301  # made in the line above
    assert len({rules, rules}) == 1
    work = (document("u", "T", (0, "", "Zu wenig.")), rules[:3])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(first_refusal, work) == first_refusal(*work)
