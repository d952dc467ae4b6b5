"""The chain under a policy: passages, pseudonyms, links, failures, and a policy that changes under a running server."""

import pytest

from guards.base import NO_CONTEXT, Action, Context, Verdict
from guards.detectors.canary import CanaryGuard, new_canary
from guards.detectors.pii import PiiGuard
from guards.detectors.urls import UrlGuard
from guards.policy import LivePolicy, Policy
from guards.rules import Resources
from guards.stage import Rule, Stage
from ingest.examples import ABSTENTION
from tests.guards.samples import BrokenGuard, PatternGuard, stage_of
from tests.serve.conftest import build_runtime
from tests.serve.test_api import QUESTION, events, message, text_of
from train.chat import Framing

CANARY = new_canary()


@pytest.fixture
def serving(start, tmp_path, engine):
    """Starts a server whose policy has the given stages."""

    def begin(scrub=(), **stages):
        named = {name: stages.get(name, Stage([])) for name in ("document", "input", "passage", "output")}
        runtime = build_runtime(tmp_path, engine, policy=Policy("test", "1", named, Stage(scrub)))
        server = start(lambda: runtime)
        server.loaded.wait()
        return server, runtime

    return begin


def prompt_of(engine):
    return "\n".join(turn["content"] for turn in engine.calls[-1])


def test_a_passage_that_a_guard_refuses_is_left_out_and_told(serving, engine):
    server, _ = serving(passage=stage_of(PatternGuard("CREATE", Action.BLOCK, "orders")))
    said = message(server.ask(QUESTION))
    assert "CREATE INDEX" not in prompt_of(engine)
    assert all("/index" not in cited.url for cited in said.citations)
    assert [(report.stage, report.action, report.category) for report in said.guard] == [("passage", "block", "orders")]


def test_when_every_passage_is_refused_the_documents_hold_no_answer(serving, engine):
    server, _ = serving(passage=stage_of(PatternGuard(".", Action.BLOCK)))
    assert message(server.ask(QUESTION)).content == ABSTENTION
    assert engine.calls == []


def test_a_redacted_passage_is_shown_redacted(serving, engine):
    server, _ = serving(passage=stage_of(PatternGuard("exclusive", name="word")))
    said = message(server.ask("VACUUM FULL needs a lock?"))
    assert "It needs an <WORD> lock" in prompt_of(engine)
    assert "exclusive" not in said.content + "".join(cited.quote for cited in said.citations)


def test_the_model_and_the_store_see_pseudonyms_and_the_asker_the_values(serving, engine):
    pseudonyms = PiiGuard(mode="patterns", redact_as="pseudonym")
    server, runtime = serving(scrub=[Rule(PiiGuard(mode="patterns"))], input=stage_of(pseudonyms))
    engine.script["ada"] = "never"
    engine.script["<EMAIL_1>"] = "VACUUM was asked for by <EMAIL_1> and not by <EMAIL_2>. That is all."
    chunks = events(server, "Does VACUUM FULL know ada@example.org?")
    assert "ada@example.org" not in prompt_of(engine)
    assert "asked for by ada@example.org and not by <EMAIL_2>" in text_of(chunks)
    kept = runtime.store.interaction(chunks[0].id)
    assert "ada" not in kept.question + kept.answer


def test_links_may_lead_to_the_sources_only(serving, engine):
    server, _ = serving(output=stage_of(UrlGuard()))
    engine.script["FULL"] = "See https://docs.example.org/vacuum and https://evil.example/?q=secret for VACUUM."
    said = message(server.ask(QUESTION))
    assert "https://docs.example.org/vacuum" in said.content
    assert "evil" not in said.content


def test_a_leaked_system_message_is_held_back_and_the_canary_planted_only_where_it_is_looked_for(serving, engine):
    server, runtime = serving(output=stage_of(CanaryGuard(canary=CANARY)))
    runtime.assistant.framing = Framing(canary=CANARY)
    engine.script["FULL"] = f"My hidden reference is {CANARY.upper()} as you see. And so on it goes."
    said = message(server.ask(QUESTION))
    assert CANARY in engine.calls[-1][0]["content"]
    assert CANARY.upper() not in said.content
    assert [report.category for report in said.guard] == ["prompt_leak"]


def test_no_canary_is_planted_where_no_guard_looks_for_it(serving, engine):
    server, runtime = serving()
    runtime.assistant.framing = Framing(spotlight="delimit", canary=CANARY)
    server.ask(QUESTION)
    server.ask(QUESTION)
    first, second = (call[0]["content"] for call in engine.calls)
    assert CANARY not in first
    assert first != second, "each request has a nonce of its own"


class Passages:
    """Flags with the number of passages that it was given."""

    name = "passages"

    def check(self, text, context: Context = NO_CONTEXT):
        return Verdict(Action.FLAG, f"passages_{len(context.passages)}", 1, 1, "seen", "passages", "1")


def test_guards_of_the_answer_are_given_its_passages(serving):
    server, _ = serving(output=stage_of(Passages()))
    said = message(server.ask(QUESTION))
    assert [(report.stage, report.category) for report in said.guard] == [("output", "passages_3")]


@pytest.mark.parametrize("stage", ["input", "passage", "output"])
def test_a_guard_that_breaks_lets_nothing_through(stage, serving, engine):
    server, _ = serving(**{stage: stage_of(BrokenGuard())})
    said = message(server.ask(QUESTION))
    assert "rewrites" not in said.content
    assert [(report.stage, report.action, report.failed) for report in said.guard] == [(stage, "block", True)]
    assert "secret" not in said.content


def test_a_guard_that_may_fail_open_is_told_when_it_did(serving):
    server, _ = serving(output=Stage([Rule(BrokenGuard(), closed=False)]))
    said = message(server.ask(QUESTION))
    assert "rewrites" in said.content
    assert [(report.action, report.failed) for report in said.guard] == [("allow", True)]


def test_a_running_server_follows_its_policy_file(start, tmp_path, engine):
    file = tmp_path / "policy.yaml"
    file.write_text("stages: {}")
    live = LivePolicy(str(file), Resources(), every_s=0)
    runtime = build_runtime(tmp_path, engine, policy=live)
    server = start(lambda: runtime)
    server.loaded.wait()
    asked = f"{QUESTION} ada@example.org"
    assert message(server.ask(asked)).guard == []
    file.write_text("stages: {input: [{guard: pii, action: block}]}")
    for _ in range(200):
        if reports := message(server.ask(asked)).guard:
            break
    assert [(report.stage, report.action) for report in reports] == [("input", "block")]
