"""`wellread guard` in a process of its own: pipes, odd input, signals, and files that are moderated in several goes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import run

POLICY = """
stages:
  input:
    - {guard: urls, action: redact}
    - {guard: secrets, action: block}
"""
LINK, KEY = "[here](https://far.example/?q=1)", "ghp_" + "q7Zt2Rk9LwX4vB8nM1sD6fG3hJ5pY0cQeUaI"
COMMAND = [sys.executable, "-m", "app.entry", "guard", "--stage", "input", "--policy", "policy.yaml"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(POLICY)
    return tmp_path


def guard(*options, given=b"", **settings):
    return subprocess.run([*COMMAND, *options], input=given, capture_output=True, timeout=120, **settings)


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def posts(count):
    return [{"id": n, "text": f"Post {n}, see {LINK}." if n % 2 else f"Post {n} has {KEY}."} for n in range(count)]


def only_error(done):
    """The one line of an error; progress before it is not one."""
    found = [line for line in done.stderr.decode().splitlines() if not line.startswith(("reading:", "checking:"))]
    assert len(found) == 1, found
    assert found[0].startswith("Error: ")
    return found[0]


def test_odd_texts_in_a_pipe(here):
    texts = [
        f"see {LINK}",
        "\ud800 lone",
        "nul \x00",
        "\u202egnirts",
        "e\u0301" * 50,
        "",
        "a" * 10_000_000,
        f"it is {KEY}",
        "last",
    ]
    given = b"\xef\xbb\xbf" + lines(*({"id": n, "text": text} for n, text in enumerate(texts)))
    done = guard("--explain", given=given.replace(b"\n", b"\r\n"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == list(range(len(texts)))
    assert rows[0]["text"] == "see here"
    assert [row["text"] for row in rows[1:6]] == texts[1:6]
    assert len(rows[6]["text"] or "") in (0, 10_000_000)
    assert (rows[7]["allowed"], rows[7]["text"]) == (False, None)
    assert KEY not in done.stdout.decode()
    assert "Blocked for secret" in rows[7]["explanation"]
    assert "9 texts" in done.stderr.decode()


def test_nothing_in_is_nothing_out(here):
    done = guard("--json")
    assert (done.returncode, done.stdout) == (0, b"")
    assert json.loads(done.stderr)["texts"] == 0


def test_a_bad_line_ends_the_work_after_what_came_before_it(here):
    given = lines(posts(2)[0]) + b"not json\n" + lines(posts(2)[1])
    done = guard(given=given)
    assert done.returncode == 1
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [0]
    assert only_error(done).startswith("Error: line 2 ")
    done = guard("--skip-bad", given=given)
    assert done.returncode == 0
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [sorted(row)[0] for row in rows] == ["action", "allowed", "action"]
    assert rows[1]["error"].startswith("line 2 ")


def test_each_line_is_answered_before_the_next_one_comes(here):
    with subprocess.Popen(
        [*COMMAND, "--workers", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        for row in posts(3):
            process.stdin.write(lines(row))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == row["id"]
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_reader_who_has_seen_enough(here):
    Path("in.jsonl").write_bytes(lines(*posts(5000)))
    pipe = " ".join(COMMAND) + " --workers 2 < in.jsonl | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", pipe], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert json.loads(done.stdout)["id"] == 0
    assert "Error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_it_waits_for_input(here):
    with subprocess.Popen(
        [*COMMAND, "--workers", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(lines(posts(1)[0]))
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read().decode()


@pytest.mark.parametrize(("stop", "out"), [(signal.SIGKILL, "out.csv"), (signal.SIGINT, "out.jsonl")])
def test_work_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(here, stop, out):
    with Path("posts.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["post", "body"], *([row["id"], row["text"]] for row in posts(3000))])
    options = ["--in", "posts.csv", "--text-column", "body", "--id-column", "post", "--explain"]
    part = Path(f".{out}.guard-part")
    with subprocess.Popen([*COMMAND, *options, "--out", out], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
            time.sleep(0.005)
        process.send_signal(stop)
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    assert not Path(out).exists()
    done_rows = part.read_bytes().count(b"\n")
    finished = guard(*options, "--out", out, "--json")
    assert finished.returncode == 0, finished.stderr
    # What was done is not done again.
    assert f"checking: {done_rows + 1} of 3000" in finished.stderr.decode()
    assert json.loads(finished.stdout)["actions"] == {"block": 1500, "redact": 1500}
    assert guard(*options, "--out", f"whole-{out}").returncode == 0
    assert Path(out).read_bytes() == Path(f"whole-{out}").read_bytes()
    assert not part.exists()


def test_a_stream_may_come_from_a_file_and_a_file_may_be_streamed(here):
    Path("posts.csv").write_text(f"text,user\nsee {LINK},ann\n")
    done = guard("--in", "posts.csv", "--keep")
    assert [json.loads(line)["user"] for line in done.stdout.splitlines()] == ["ann"]


def in_process(capsys, *options):
    code = run(["guard", *options])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--policy", "nosuch"], 2, ["nosuch", "balanced"]),
        (["--out", "out.jsonl"], 2, ["--out needs --in"]),
        (["--restart"], 2, ["--restart is about --out"]),
        (["--in", "nosuch.csv", "--out", "out.jsonl"], 1, ["nosuch.csv"]),
        (["--in", "nosuch.csv"], 1, ["nosuch.csv"]),
        (["--in", "posts.csv", "--out", "out.jsonl"], 2, ["no column 'text'", "it has post, body", "--text-column"]),
        (["--in", "posts.csv", "--out", "nosuch/out.jsonl", "--text-column", "body"], 1, ["nosuch/out.jsonl", "--out"]),
        (["--in", "posts.csv", "--out", "out.xml"], 2, ["out.xml", ".parquet"]),
        (["--in", "posts.csv", "--out", "posts.csv"], 2, ["posts.csv is the input"]),
        (["--in", "posts.csv", "--out", os.devnull, "--text-column", "body"], 2, ["/dev/null"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_its_remedy(capsys, here, options, code, says):
    Path("posts.csv").write_text("post,body\n1,hello\n")
    policy = [] if "--policy" in options else ["--policy", "policy.yaml"]
    found, out, err = in_process(capsys, "--stage", "input", *policy, *options)
    assert (found, out) == (code, "")
    assert [line.startswith("Error: ") for line in err.splitlines()] == [True]
    assert [part for part in says if part not in err] == []


@pytest.mark.parametrize("options", [[], ["--stage", "nosuch"], ["--stage", "input", "--workers", "0"]])
def test_wrong_usage_is_exit_code_2(capsys, here, options):
    code, _, err = in_process(capsys, *options)
    assert code == 2
    assert "Traceback" not in err


def test_the_policy_comes_from_the_settings(capsys, here):
    Path("posts.csv").write_text(f"text\nsee {LINK}\n")
    options = ["--stage", "input", "--in", "posts.csv", "--out", "out.csv", "--json"]
    assert in_process(capsys, *options, "--set", "guards.policy=policy.yaml")[0] == 0
    code, out, _ = in_process(capsys, *options, "--restart", "--policy", "off")
    assert code == 0
    assert (json.loads(out)["policy"], json.loads(out)["actions"]) == ("off", {"allow": 1})


def test_a_guard_that_cannot_be_built_is_told_before_anything_is_read(capsys, here):
    Path("policy.yaml").write_text("stages: {input: [{guard: topic, action: block}]}")
    Path("posts.csv").write_text("text\na\n")
    options = ["--policy", "policy.yaml", "--in", "posts.csv", "--out", "out.csv"]
    code, _, err = in_process(capsys, "--stage", "input", *options)
    assert code == 2
    assert "Run `wellread index`" in err
    assert sorted(file.name for file in here.iterdir()) == ["policy.yaml", "posts.csv"]
