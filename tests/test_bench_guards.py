"""The frame of the guards' bench: what is measured is set beside its target, and what cannot be is told."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bench.curves import draw, expected_calibration_error, figures, reliability
from bench.guard_presets import DOCS, paragraphs, worst
from bench.guards import PARTS, TARGETS, Target, attempt, chosen, curves, injected, value


def test_figures_of_a_perfect_and_of_a_useless_detector():
    assert figures([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]) == {
        "n": 4,
        "positives": 2,
        "auc": 1.0,
        "average_precision": 1.0,
        "ece": 0.0,
        "brier": 0.0,
    }
    useless = figures([0, 1] * 50, [0.9] * 100)
    assert (useless["auc"], useless["ece"]) == (0.5, 0.4)


def test_what_is_not_defined_is_none():
    assert figures([1, 1], [0.1, 0.2])["auc"] is None
    assert figures([0, 1], [-3.0, 7.0])["ece"] is None
    assert figures([], [])["n"] == 0


def test_calibration_error_by_hand():
    truth, score = np.array([1, 0, 1, 1]), np.array([0.95, 0.91, 0.25, 0.21])
    bins = reliability(truth, score)
    assert [size for _, _, size in bins] == [2, 2]
    # |0.23 - 1| and |0.93 - 0.5|, each for half of the scores.
    assert expected_calibration_error(truth, score) == pytest.approx((0.77 + 0.43) / 2)


def test_the_picture_is_the_same_for_the_same_figures(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 900).tolist()
    sets = {"one <set>": (labels, rng.random(900).tolist()), "all of one kind": ([1, 1], [0.5, 0.5])}
    draw("A detector", sets, tmp_path / "a.svg")
    draw("A detector", sets, tmp_path / "b.svg")
    picture = (tmp_path / "a.svg").read_text()
    assert picture == (tmp_path / "b.svg").read_text()
    assert "one &lt;set&gt;: AUC 0." in picture
    assert "all of one kind" not in picture
    assert len(picture) < 100_000


def test_curves_stand_in_the_result_and_in_a_picture(tmp_path):
    result = {"curves": {}}
    curves(result, "toxicity", {"a": ([0, 1], [0.1, 0.9])}, tmp_path / "plots")
    assert result["curves"]["toxicity"]["a"]["auc"] == 1.0
    assert (tmp_path / "plots" / "guard-toxicity.svg").exists()


@pytest.mark.parametrize(
    ("figure", "most", "met"), [(0.9, False, True), (0.8, False, False), (0.9, True, True), (0.91, True, False)]
)
def test_a_target_is_met_at_its_bound(figure, most, met):
    target = Target("pii", "what", value("parts", "x"), 0.9, most)
    assert target.row({"parts": {"x": figure}})["met"] is met
    assert target.row({"parts": {}})["met"] is None


def test_a_path_that_leads_nowhere_is_no_figure():
    assert value("a", "b")({"a": {"b": 1}}) == 1
    assert [value(*path)({"a": {"b": 1}}) for path in [("a",), ("b",), ("a", "b", "c")]] == [None, None, None]
    assert value("a")({"a": True}) is None


def test_shares_of_sets_are_weighed_by_their_sizes():
    sets = {
        "email end": {"n": 1, "reached": 1.0},
        "code end": {"n": 3, "reached": 0.0},
        "code alone": {"n": 9, "reached": 1.0},
    }
    result = {"parts": {"injection": {"ours": {"held_out": {"sets": sets}}}}}
    assert injected(" start", " end")(result) == 0.25
    assert injected(" manual")(result) is None
    assert injected(" end")({"parts": {}}) is None


def test_every_target_belongs_to_a_part():
    assert {target.part for target in TARGETS} <= set(PARTS)
    assert {target.row({"parts": {}, "curves": {}})["met"] for target in TARGETS} == {None}


def test_a_part_that_breaks_is_noted_and_told(capsys):
    result = {"missing": {}}

    def fail():
        raise FileNotFoundError(2, "No such file", "tox_surge/dev")

    attempt(result, "toxicity", fail)
    assert result["missing"] == {"toxicity": "FileNotFoundError: tox_surge/dev"}
    assert "toxicity could not be measured" in capsys.readouterr().err


def test_parts_are_chosen_by_name():
    assert chosen("pii, speed") == ("pii", "speed")


def test_missing_data_and_wrong_parts_are_one_line(tmp_path):
    command = [sys.executable, "-m", "bench.guards", "--data", str(tmp_path / "nosuch"), "--only"]
    wrong = subprocess.run([*command, "nosuch"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "there is no part 'nosuch': choose from pii" in wrong.stderr
    done = subprocess.run([*command, "documentation", "--docs", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["missing"]) == ["documentation"]
    assert "Traceback" not in done.stderr


def test_paragraphs_of_the_manual_are_read_as_ingest_reads_them():
    texts = paragraphs(DOCS, 50)
    assert len(texts) == 50
    assert texts == paragraphs(DOCS, 50)
    assert not [text for text in texts if "\n\n" in text or text.startswith("# ")]


def test_the_worst_rate_of_a_guard_over_stages_and_presets():
    rates = {"a": {"input": {"pii": {"redact": 0.1}}}, "b": {"output": {"pii": {"redact": 0.2, "failure": 0.1}}}}
    assert worst(rates) == {"pii": pytest.approx(0.3)}
