"""Mentions of groups of people: counted, summed up, and balanced where that is asked for."""

from collections import Counter

import pytest

from configs.clean import BiasSettings
from ingest.bias import groups, keep_rates, profile, refused_for, summarise

HERS, HIS = Counter({"gender/female": 3}), Counter({"gender/male": 3})


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("She told HER mother about it.", {"gender/female": 3}),
        ("“He” and the non-binary actor met.", {"gender/male": 2, "gender/nonbinary": 1}),
        ("African American women, and a black box.", {"ethnicity/african": 2, "gender/female": 1}),
        ("The parent process kills its child; the shell theme is here.", {}),
        ("", {}),
    ],
)
def test_mentions_are_counted_by_group(text, counts):
    assert profile(text) == counts


def test_every_group_of_a_setting_has_terms():
    named = {name.partition("/")[0] for name in groups()}
    assert set(BiasSettings(balance=sorted(named)).balance) == named


def test_no_word_stands_for_two_groups():
    from ingest.bias import _list

    terms = [term for members in _list().values() for group in members.values() for term in group]
    assert len(terms) == len(set(terms))


def test_a_corpus_has_shares_within_each_category():
    found = {group.name: group for group in summarise([HERS, HIS, HIS, Counter(), Counter({"age/old": 1})])}
    assert (found["gender/male"].mentions, found["gender/male"].documents) == (6, 2)
    assert found["gender/male"].share == pytest.approx(2 / 3)
    assert found["age/old"].share == 1.0
    assert found["religion/hindu"].share == 0.0
    assert list(found) == groups()


def test_balancing_brings_the_share_down_to_the_limit():
    corpus = {f"doc{n}": HIS if n % 4 else HERS for n in range(4000)}
    rates = keep_rates(corpus.values(), ["gender"], 0.6)
    kept = [found for key, found in corpus.items() if not refused_for(key, found, rates, 0.6)]
    shares = {group.name: group.share for group in summarise(kept)}
    # 3,000 documents of his against 1,000 of hers: half of them have to go.
    assert rates == {"gender/male": pytest.approx(0.5)}
    assert shares["gender/male"] == pytest.approx(0.6, abs=0.02)
    assert sum(found is HERS for found in kept) == 1000


def test_what_is_balanced_already_loses_nothing():
    assert keep_rates([HERS, HIS], ["gender"], 0.6) == {}
    assert keep_rates([HIS, HIS], ["religion"], 0.6) == {}
    assert refused_for("doc", HIS, {}, 0.6) == ""


def test_a_group_that_cannot_be_balanced_loses_all_that_it_dominates():
    assert keep_rates([HIS, HIS], ["gender"], 0.6) == {"gender/male": 0.0}
    assert refused_for("doc", HIS, {"gender/male": 0.0}, 0.6) == "gender/male"
