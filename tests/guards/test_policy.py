"""Policies: what may be written in one, what is refused with one line, and how a server follows its file."""

import os
import time

import pytest

from configs.errors import ConfigError
from guards.base import Action, Context
from guards.policy import PRESETS, STAGES, LivePolicy, check_policy, load_policy
from guards.pseudonyms import Pseudonyms
from guards.rules import Resources

REDACTS = "stages: {input: [{guard: pii, action: redact}]}"
BLOCKS = "stages: {input: [{guard: pii, action: block}]}"


@pytest.fixture
def policy_file(tmp_path):
    def write(text):
        file = tmp_path / "policy.yaml"
        fresh = tmp_path / "fresh.yaml"
        fresh.write_text(text)
        # Two writes within a tick of the file system's clock would look like one, and one seen half done like two.
        write.count += 1
        os.utime(fresh, ns=(write.count, write.count))
        fresh.replace(file)
        return str(file)

    write.count = 0
    return write


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_is_read_and_built(name):
    policy = load_policy(name)
    assert set(policy.stages) == set(STAGES)
    assert all(policy.stages[stage].rules for stage in STAGES) != (name == "off")


def test_balanced_and_strict_fail_closed_everywhere():
    for name in ("balanced", "strict"):
        assert all(rule.closed for stage in load_policy(name).stages.values() for rule in stage.rules)


def test_a_policy_does_what_it_says(policy_file):
    policy = load_policy(policy_file(REDACTS))
    assert policy.stage("input").run("mail ada@example.org").text == "mail <EMAIL>"
    assert policy.stage("output").run("mail ada@example.org").text == "mail ada@example.org"


def test_names_come_back_to_the_asker_only(policy_file):
    policy = load_policy(policy_file(REDACTS.replace("redact}", "redact, redact_as: pseudonym}")))
    asker = Pseudonyms()
    outcome = policy.stage("input").run("mail ada@example.org", Context(pseudonyms=asker))
    assert (outcome.text, asker.restore(outcome.text)) == ("mail <EMAIL_1>", "mail ada@example.org")
    assert policy.scrub.run("mail ada@example.org").text == "mail <EMAIL>"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no stages"),
        ("stages: {inputs: []}", "unknown stage inputs: did you mean 'input'?"),
        ("stage: {}", "unknown key stage: did you mean 'stages'?"),
        ("stages: [pii]", "is not a mapping of stages"),
        ("stages: {input: pii}", "stages.input = 'pii' is not a list"),
        ("stages: {input: [pii]}", "stages.input.1 = 'pii' names no guard"),
        ("stages: {input: [{guard: pi, action: block}]}", "did you mean 'pii'?"),
        ("stages: {input: [{guard: pii, action: redcat}]}", "stages.input.1 (pii): action = 'redcat'"),
        ("stages: {input: [{guard: pii}]}", "stages.input.1 (pii): action"),
        ("stages: {input: [{guard: pii, action: redact, treshold: 1}]}", "did you mean 'threshold'?"),
        ("stages: {input: [{guard: pii, action: redact, timeout_s: 0}]}", "timeout_s = 0"),
        ("stages: {input: [{guard: toxicity, action: redact}]}", "action"),
        ("stages: {input: [{guard: topic, action: flag}]}", "needs an index"),
        ("stages: [", "is not valid YAML"),
        ("- a", "holds a list"),
    ],
)
def test_a_bad_policy_is_refused_with_the_place_and_the_remedy(text, said, policy_file):
    with pytest.raises(ConfigError) as refused:
        load_policy(policy_file(text))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_policy_is_refused_with_the_nearest_preset():
    with pytest.raises(ConfigError, match="unknown policy 'stric': did you mean 'strict'"):
        check_policy("stric")
    with pytest.raises(ConfigError, match="unknown policy"):
        check_policy("../configs/laptop")


def test_only_the_stages_that_are_asked_for_are_built(policy_file):
    file = policy_file("stages: {input: [{guard: topic, action: flag}], output: [{guard: pii, action: block}]}")
    policy = load_policy(file, only=["output"])
    assert (policy.stage("input").rules, len(policy.stage("output").rules)) == ((), 1)


def test_the_version_is_the_contents_not_the_layouts(policy_file):
    first = load_policy(policy_file(REDACTS)).version
    assert load_policy(policy_file(f"# a comment\ndescription: x\n{REDACTS}")).version == first
    assert load_policy(policy_file(BLOCKS)).version != first


def test_what_is_blocked_is_stored_redacted(policy_file):
    assert load_policy(policy_file(BLOCKS)).scrub.run("ada@example.org").text == "<EMAIL>"
    assert load_policy("off").scrub.run("ada@example.org").text == "ada@example.org"


def until(found):
    deadline = time.monotonic() + 20
    while not found() and time.monotonic() < deadline:
        time.sleep(0.01)
    return found()


def test_a_changed_file_is_followed_and_a_bad_one_refused(policy_file, caplog):
    live = LivePolicy(policy_file(REDACTS), Resources(), every_s=0)

    def action():
        return live.stage("input").run("ada@example.org").action

    assert action() is Action.REDACT
    policy_file(BLOCKS)
    assert until(lambda: action() is Action.BLOCK)
    policy_file("stages: {input: [{guard: nonsense}]}")
    assert until(lambda: action() is Action.BLOCK and live.refused == 1)
    # Counted first, then told, by a thread of its own.
    assert until(lambda: "refused, the earlier one stays" in caplog.text)
    policy_file(REDACTS)
    assert until(lambda: action() is Action.REDACT)
    assert live.scrub.run("ada@example.org").text == "<EMAIL>"


def test_a_policy_whose_file_goes_away_stays(policy_file, tmp_path):
    live = LivePolicy(policy_file(BLOCKS), Resources(), every_s=0)
    (tmp_path / "policy.yaml").unlink()
    assert until(lambda: live.stage("input").run("ada@example.org").action is Action.BLOCK and live.refused == 1)


def test_a_guard_that_cannot_be_loaded_is_one_line(policy_file):
    policy = load_policy(policy_file("stages: {input: [{guard: classifier, action: block, model: /nowhere/at/all}]}"))
    with pytest.raises(ConfigError, match=r"input: the guard classifier cannot be loaded.*nowhere"):
        policy.warm_up("input")
