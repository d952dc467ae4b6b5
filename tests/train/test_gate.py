"""The gate: conditions on figures and on intervals, what is not measured, and reasons in words."""

import numpy as np
import pytest

from configs.evaluation import Condition, EvaluateSettings
from train.evaluation.figures import better, differences, estimates_of, figures_of
from train.evaluation.gate import Gate, Measured, failures, reasons_against

RESAMPLES = 400


def measured(f1: list[float], loss: float = 0.5, **further: float) -> Measured:
    """A model with these values of answer F1 on questions 0, 1, ..."""
    rows = [
        {"id": str(number), "values": {"answer_f1": value, "loss": loss, **further}, "tokens": 10 + number}
        for number, value in enumerate(f1)
    ]
    return Measured(figures_of(rows), rows)


def answers(before: list[float], drop: float, seed: int) -> list[float]:
    """Values that another model might have on the same questions."""
    return np.clip(np.random.default_rng(seed).normal(np.array(before) - drop, 0.3), 0, 1).tolist()


def judge(candidate: Measured, reference: Measured, *conditions: Condition) -> list[str]:
    return failures(Gate(conditions, resamples=RESAMPLES).check(candidate, reference))


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (Condition(figure="answer_f1", max_drop=0.5), None),
        (Condition(figure="answer_f1", max_drop=0.4), None),
        (Condition(figure="answer_f1", max_drop=0.1), "its answer F1 0.200 is 0.400 below 0.600, and 0.100 is allowed"),
        (Condition(figure="answer_f1", min_gain=0.1), "0.400 below 0.600, and a gain of 0.100 is asked for"),
        (Condition(figure="answer_f1", at_least=0.3), "its answer F1 0.200 is below 0.3"),
        (Condition(figure="loss", max_rise=0.1), "its loss 0.900 is 0.400 above 0.500, and 0.100 is allowed"),
        (Condition(figure="loss", max_rise=0.5, at_most=0.8), "its loss 0.900 is above 0.8"),
        (Condition(figure="answer_f1", max_drop=0.1, bound="high"), "(-0.400 at the high end of the interval)"),
        (Condition(figure="answer_f1", at_least=0.3, bound="low"), "(+0.200 at the low end of the interval)"),
        (Condition(figure="loss", max_rise=0.1, bound="low"), "(+0.400 at the low end of the interval)"),
    ],
    ids=lambda value: value.model_dump_json(exclude_unset=True) if isinstance(value, Condition) else "",
)
def test_each_limit_gives_its_reason(condition: Condition, reason: str | None) -> None:
    found = judge(measured([0.2, 0.2, 0.2], loss=0.9), measured([0.6, 0.6, 0.6]), condition)
    assert len(found) == (reason is not None)
    assert reason is None or reason in found[0]


def test_a_drop_within_chance_passes_at_the_high_end_only() -> None:
    before, after = measured([0.9, 0.1, 0.5, 0.7, 0.2, 0.6]), measured([0.1, 0.5, 0.6, 0.2, 0.4, 0.7])
    assert judge(after, before, Condition(figure="answer_f1", max_drop=0.02))
    assert not judge(after, before, Condition(figure="answer_f1", max_drop=0.02, bound="high"))
    # And a gain counts at its low end only when it is more than chance.
    assert judge(before, after, Condition(figure="answer_f1", min_gain=0, bound="low"))
    assert not judge(before, after, Condition(figure="answer_f1", min_gain=0))


def test_the_shipped_gate_lets_equal_models_pass_and_refuses_a_collapse() -> None:
    gate = Gate(EvaluateSettings().gate, resamples=RESAMPLES)

    def refused(drop: float, number: int, times: int) -> int:
        """How many of so many candidates it refuses whose answers change at random, and fall by `drop` on average."""
        return sum(
            bool(failures(gate.check(measured(answers(before, drop, seed)), measured(before))))
            for seed in range(times)
            for before in [answers([0.45] * number, 0.0, seed + 1000)]
        )

    # The laptop's 24 held-out questions, of which 18 have an answer.
    assert refused(0.0, 18, 40) <= 3
    assert refused(0.4, 18, 40) >= 36
    # More questions show smaller losses.
    assert refused(0.0, 400, 10) <= 1
    assert refused(0.12, 400, 10) >= 9


def test_a_figure_that_neither_model_has_is_passed_over_but_not_where_a_floor_is_set() -> None:
    one, other = measured([0.5, 0.5]), measured([0.5, 0.5], toxicity_rate=0.0)
    checks = Gate([Condition(figure="toxicity_rate", max_rise=0)]).check(one, one)
    assert [check.passed for check in checks] == [None]
    assert "no such figure" in checks[0].reason
    assert judge(one, other, Condition(figure="toxicity_rate", max_rise=0)) == [
        "it has no toxicity rate, which was not measured"
    ]
    assert judge(one, one, Condition(figure="toxicity_rate", at_most=0)) == [
        "it has no toxicity rate, which was not measured"
    ]


def test_an_interval_needs_rows() -> None:
    figures = {"answer_f1": 0.5, "perplexity": 2.0}
    condition = Condition(figure="answer_f1", max_drop=0.1, bound="high")
    assert reasons_against(figures, figures, [condition]) == [
        "there are no rows to take the interval of its answer F1 from: evaluate again"
    ]


def test_a_figure_that_is_no_number_refuses_whatever_the_conditions() -> None:
    figures = {"answer_f1": 0.5, "perplexity": 2.0}
    broken = {"answer_f1": float("nan"), "perplexity": float("inf")}
    assert reasons_against(broken, figures, []) == [
        "its answer F1 is missing or not a number",
        "its perplexity is missing or not a number",
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"figure": "answer_f2", "max_drop": 0.1}, "answer_f1"),
        ({"figure": "answer_f1"}, "give max_drop"),
        ({"figure": "answer_f1", "bound": "low"}, "give max_drop"),
        ({"figure": "perplexity", "max_rise": 1, "bound": "low"}, "set the condition on loss"),
        ({"figure": "answer_f1", "max_drop": -0.1}, "greater than or equal to 0"),
    ],
    ids=["unknown figure", "no limit", "bound alone", "perplexity has no interval", "negative drop"],
)
def test_a_condition_that_says_nothing_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Condition.model_validate(settings)


def test_differences_are_over_the_rows_that_both_have_and_weigh_tokens() -> None:
    ours, theirs = measured([0.5, 0.1, 0.9], loss=1.0).rows, measured([0.2, 0.2], loss=0.25).rows
    found = differences(ours, theirs, 0.95, RESAMPLES)
    assert found["answer_f1"].mean == pytest.approx((0.3 - 0.1) / 2)
    assert (found["answer_f1"].better, found["answer_f1"].worse) == (1, 1)
    assert better("answer_f1", found["answer_f1"]) is None
    # Less loss is better, and the interval of two equal differences has no width.
    assert found["loss"].mean == found["loss"].low == pytest.approx(0.75)
    assert better("loss", found["loss"]) is False
    uneven = [{"id": "a", "values": {"loss": 1.0}, "tokens": 30}, {"id": "b", "values": {"loss": 2.0}, "tokens": 10}]
    estimates = estimates_of(uneven, 0.95, RESAMPLES)
    assert estimates["loss"].value == pytest.approx(1.25)
    assert estimates["perplexity"].value == pytest.approx(np.exp(1.25))
    assert figures_of(uneven)["loss"] == pytest.approx(1.25)
