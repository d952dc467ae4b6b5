"""The chat page in a real Chromium, against a small real server."""

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.chat import mount
from app.chat_events import Sampling
from tests.app.conftest import OpenPage
from tests.app.fake_server import EVIL, VACUUM_QUOTE, FakeServer, RunningApp
from tests.app.visiting import EXAMPLES, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_empty_page_explains_itself_and_offers_questions(visit: Visit) -> None:
    expect(visit.page).to_have_title("wellread")
    expect(visit.page.get_by_text("The answer comes from the documents")).to_be_visible()
    expect(visit.page.get_by_text("SmolLM2-135M-Instruct")).to_be_visible()
    visit.page.get_by_role("button", name=EXAMPLES[0]).click()
    expect(visit.page.locator(".wr-question")).to_contain_text(EXAMPLES[0])
    expect(visit.page.locator(".wr-text")).to_contain_text("rewrites the whole table")
    expect(visit.page.locator(".wr-empty")).to_have_count(0)


def test_tokens_stream_in_and_stop_keeps_what_came(visit: Visit, server: FakeServer) -> None:
    visit.ask("slow please")
    text = visit.page.locator(".wr-text")
    expect(text).to_contain_text("One two three")
    expect(text).not_to_contain_text("ten One two three four five six seven eight nine ten One")
    expect(visit.question).to_have_value("")
    visit.page.get_by_role("button", name="Stop").click()
    expect(visit.page.get_by_text("Stopped.")).to_be_visible()
    expect(visit.page.get_by_role("button", name="Send")).to_be_visible()
    kept = text.inner_text()
    visit.answer("and then?")
    after = text.first.inner_text()
    assert after.startswith(kept)
    # Words that were on their way to the page when the button was pressed still come, on a busy machine late.
    assert len(after.split()) <= len(kept.split()) + 3
    server.stop()
    assert server.hung_up == 1
    # A stopped answer is not a turn that the model should be reminded of.
    assert [message.text for message in server.requests[1].messages] == ["and then?"]


def test_cards_show_the_quote_in_its_passage_and_match_the_numbers(visit: Visit) -> None:
    turn = visit.answer("What does VACUUM FULL do?")
    cards = visit.page.locator(".wr-card")
    expect(cards).to_have_count(3)
    first = cards.first
    expect(first.locator("mark").first).to_have_text(VACUUM_QUOTE)
    expect(first.locator("blockquote").first).to_contain_text("However, extra space is not returned")
    expect(first).to_contain_text("VACUUM > Description")
    expect(first).to_contain_text("0.78")
    link = first.get_by_role("link")
    expect(link).to_have_attribute("href", "https://docs.example.org/sql-vacuum.html")
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    turn.get_by_role("button", name="Source 3").click()
    expect(visit.page.locator("#source-3")).to_be_focused()
    expect(visit.page.locator("#source-3 .wr-number")).to_have_text("3")


def test_an_earlier_answers_sources_come_back(visit: Visit) -> None:
    first = visit.answer("What does VACUUM FULL do?")
    visit.answer("anything")
    expect(visit.page.locator(".wr-card")).to_have_count(1)
    first.get_by_role("button", name="3 sources").click()
    expect(visit.page.locator(".wr-card")).to_have_count(3)
    expect(first.get_by_role("button", name="3 sources")).to_have_attribute("aria-pressed", "true")


def test_an_abstention_says_so_and_shows_the_nearest_sources(visit: Visit) -> None:
    turn = visit.answer("How do I reach the moon?")
    expect(turn.get_by_text("Not in the documents")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="Nearest sources")).to_be_visible()
    expect(visit.page.locator(".wr-card")).to_have_count(2)


def test_a_blocked_question_says_why(visit: Visit) -> None:
    turn = visit.answer("a blocked question")
    expect(turn).to_contain_text("Your question was held back: It reads as abusive.")
    expect(turn).not_to_contain_text("I cannot help")
    turn.get_by_role("button", name="Correct it").click()
    visit.page.get_by_role("button", name="Start from the answer").click()
    expect(visit.page.get_by_label("Better answer")).to_have_value("")
    redacted = visit.answer("my mail is a@b.example")
    expect(redacted).to_contain_text("<EMAIL>")
    expect(redacted).to_contain_text("Your question was changed: Personal data was taken out.")


def test_sliders_and_switch_reach_the_server_and_history_is_sent(visit: Visit, server: FakeServer) -> None:
    visit.answer("What does VACUUM FULL do?")
    visit.page.get_by_role("button", name="Settings").click()
    visit.page.get_by_label("Answer from the documents").uncheck()
    values = {"Temperature": "0.7", "Maximum tokens": "64", "Top-p": "0.9", "Top-k": "40", "Repetition penalty": "1.3"}
    for label, value in values.items():
        box = visit.page.get_by_role("spinbutton", name=re.compile(label))
        box.fill(value)
        box.blur()
    turn = visit.answer("and to the moon, without them?")
    expect(turn.get_by_text("Answered without the documents")).to_be_visible()
    sent = server.requests[1]
    assert (sent.retrieval, sent.temperature, sent.max_tokens) == (False, 0.7, 64)
    assert (sent.top_p, sent.top_k, sent.repetition_penalty) == (0.9, 40, 1.3)
    assert [message.role for message in sent.messages] == ["user", "assistant", "user"]


def test_votes_reach_the_server(visit: Visit, server: FakeServer) -> None:
    turn = visit.answer("What does VACUUM FULL do?")
    turn.get_by_role("button", name="Good answer").click()
    expect(turn.get_by_role("status")).to_have_text("Vote saved. Thank you.")
    expect(turn.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    turn.get_by_role("button", name="Bad answer").click()
    expect(turn.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    assert [(given.interaction_id, given.vote) for given in server.feedback] == [
        ("answer-1", "up"),
        ("answer-1", "down"),
    ]


def test_a_correction_reaches_the_server(visit: Visit, server: FakeServer) -> None:
    turn = visit.answer("How do I reach the moon?")
    turn.get_by_role("button", name="Correct it").click()
    box = visit.page.get_by_label("Better answer")
    expect(box).to_have_value("")
    visit.page.get_by_role("button", name="Start from the answer").click()
    expect(box).to_have_value("The documents do not answer this.")
    box.fill("By rocket <b>only</b> [1].")
    visit.page.get_by_label("Comment").fill("See chapter 9")
    visit.page.get_by_role("button", name="Save correction").click()
    expect(turn.get_by_role("status")).to_have_text("Correction saved. Thank you.")
    expect(box).to_be_hidden()
    [given] = server.feedback
    assert (given.interaction_id, given.vote) == ("answer-1", None)
    assert (given.correction, given.comment) == ("By rocket <b>only</b> [1].", "See chapter 9")


def test_feedback_that_is_not_saved_says_so_and_keeps_the_text(visit: Visit, server: FakeServer) -> None:
    turn = visit.answer("How do I reach the moon?")
    turn.get_by_role("button", name="Correct it").click()
    box = visit.page.get_by_label("Better answer")
    visit.page.get_by_role("button", name="Save correction").click()
    expect(visit.page.get_by_role("alert")).to_have_text("Write a better answer or a comment first.")
    box.fill("By rocket.")
    server.refuse_feedback = True
    visit.page.get_by_role("button", name="Save correction").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("Not saved, your text is still here: the server refused")
    expect(box).to_have_value("By rocket.")
    turn.get_by_role("button", name="Good answer").click()
    expect(turn.get_by_role("status")).to_contain_text("Your vote was not saved: the server refused")
    expect(turn.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "false")


def test_a_server_that_is_down_or_starting_is_named_and_the_text_stays(visit: Visit, server: FakeServer) -> None:
    server.ready = False
    visit.ask("anything there?")
    expect(visit.page.get_by_role("alert")).to_contain_text("the server is not ready yet: loading the model")
    expect(visit.question).to_have_value("anything there?")
    server.stop()
    visit.question.press("Enter")
    expect(visit.page.get_by_role("alert").last).to_contain_text(f"cannot reach the server at {server.url}")
    expect(visit.question).to_have_value("anything there?")
    expect(visit.page.get_by_role("button", name="Send")).to_be_visible()


def test_an_answer_that_breaks_off_keeps_its_part(visit: Visit) -> None:
    visit.ask("please break")
    expect(visit.page.get_by_role("alert")).to_contain_text("broke off")
    expect(visit.page.locator(".wr-text")).to_have_text("Half of an")
    expect(visit.question).to_have_value("please break")


def test_hostile_text_stays_text(visit: Visit) -> None:
    turn = visit.answer(f"attack {EVIL}")
    expect(turn.locator(".wr-question")).to_contain_text(EVIL)
    expect(turn.locator(".wr-text")).to_contain_text(EVIL)
    expect(turn.locator(".wr-text")).to_contain_text("![pixel](http://evil.example/pixel.png)")
    expect(turn.locator(".wr-text")).to_contain_text("{{constructor}} ${alert(4)}")
    cards = visit.page.locator(".wr-card")
    expect(cards.first).to_contain_text("javascript:alert(5)")
    expect(cards.first.locator("mark")).to_have_text(EVIL)
    expect(cards.nth(1)).to_contain_text("{{value}}")
    expect(
        visit.page.locator(".wr-log :is(img, script, style, iframe, a, b), .wr-card :is(img, script, b)")
    ).to_have_count(0)
    expect(visit.page.locator("#injected, [onmouseover], [onerror], [href^='javascript:']")).to_have_count(0)
    cards.nth(1).hover()
    turn.get_by_role("button", name="Correct it").click()
    visit.page.get_by_role("button", name="Start from the answer").click()
    expect(visit.page.locator("#wr-correction")).to_contain_text(EVIL)
    expect(visit.page.locator("#wr-correction :is(img, script)")).to_have_count(0)


def test_enter_sends_shift_enter_breaks_the_line_and_blank_text_does_nothing(visit: Visit, server: FakeServer) -> None:
    visit.question.fill("first line")
    visit.question.press("Shift+Enter")
    visit.question.press_sequentially("second line")
    expect(visit.question).to_have_value("first line\nsecond line")
    visit.question.press("Enter")
    visit.page.locator(".wr-foot").wait_for()
    # Last, since Gradio takes no second Enter while the first is on its way.
    visit.ask("   ")
    visit.page.wait_for_timeout(1000)
    expect(visit.page.locator(".wr-turn")).to_have_count(1)
    assert [request.messages[-1].text for request in server.requests] == ["first line\nsecond line"]


def test_a_new_conversation_forgets_the_old_one(visit: Visit, server: FakeServer) -> None:
    visit.answer("What does VACUUM FULL do?").get_by_role("button", name="Correct it").click()
    visit.page.get_by_label("Better answer").fill("Something else.")
    visit.page.get_by_role("button", name="New conversation").click()
    expect(visit.page.locator(".wr-empty")).to_be_visible()
    expect(visit.page.locator(".wr-card")).to_have_count(0)
    visit.answer("anything")
    assert len(server.requests[1].messages) == 1
    visit.page.get_by_role("button", name="Save correction").click()
    expect(visit.page.get_by_role("alert")).to_contain_text("That answer is no longer here.")
    assert server.feedback == []


def test_a_reader_meets_names_and_roles(visit: Visit) -> None:
    visit.answer("What does VACUUM FULL do?")
    expect(visit.page.get_by_role("log", name="Conversation")).to_have_attribute("aria-busy", "false")
    nameless = visit.page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, a')].filter(e => e.checkVisibility() && "
        "!(e.innerText || e.ariaLabel || e.title || e.labels?.length || e.getAttribute('aria-labelledby')))"
        ".map(e => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(open_page: OpenPage, scheme: str) -> None:
    visit = open_page(scheme=scheme)
    visit.answer("How do I reach the moon?")
    selectors = [
        ".wr-text p",
        ".wr-verdict",
        ".wr-question",
        ".wr-foot button",
        ".wr-side",
        "mark",
        ".wr-url",
        "#wr-send",
    ]
    for selector in selectors:
        assert visit.page.evaluate(CONTRAST, selector) >= 4.5, selector


# WCAG 2.1 contrast of an element's text with the first opaque background behind it.
CONTRAST = """selector => {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = color => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data]; };
  const light = color => { const [r, g, b] = color.map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const element = document.querySelector(selector);
  let behind = element;
  while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
  const pair = [light(rgba(getComputedStyle(element).color)), light(rgba(getComputedStyle(behind).backgroundColor))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def test_a_narrow_screen_has_no_sideways_scroll(open_page: OpenPage) -> None:
    visit = open_page(width=390, height=844)
    wide = "document.documentElement.scrollWidth > window.innerWidth"
    assert not visit.page.evaluate(wide)
    visit.answer(f"What does VACUUM FULL do? {'x' * 200}")
    visit.answer(f"attack {EVIL}").get_by_role("button", name="Correct it").click()
    visit.page.get_by_label("Better answer").wait_for()
    visit.page.get_by_role("button", name="Settings").click()
    assert not visit.page.evaluate(wide)


def test_the_page_shares_the_servers_process(open_page: OpenPage) -> None:
    mounted = FakeServer()
    running = RunningApp(mounted.app)
    mount(mounted.app, running.url, sampling=Sampling(max_tokens=512), title="Ask <b>us</b>")
    running.start()
    visit = open_page(f"{running.url}/chat")
    expect(visit.page.get_by_role("heading", name="Ask <b>us</b>")).to_be_visible()
    visit.answer("What does VACUUM FULL do?")
    assert mounted.requests[0].max_tokens == 512
    running.stop()


def test_screenshot(open_page: OpenPage, tmp_path: Path) -> None:
    """`WELLREAD_SCREENSHOT=docs/images/chat.png python -m pytest tests/app -k screenshot` renews the picture."""
    picture = Path(os.environ.get("WELLREAD_SCREENSHOT", tmp_path / "chat.png"))
    picture.parent.mkdir(parents=True, exist_ok=True)
    visit = open_page(width=1200, height=760)
    visit.answer("What does VACUUM FULL do?").get_by_role("button", name="Good answer").click()
    visit.page.get_by_text("Vote saved").wait_for()
    visit.question.blur()
    visit.page.screenshot(path=picture)
    assert picture.stat().st_size < 200_000
