"""Whether training fits a device, and which settings would.

In: a `Shape`, a `Setup` and the bytes that are free. Out: changes of settings under which the estimate fits, mildest
first. The search goes through the estimate itself, so that what is proposed has been worked out.

Known limit: the estimate is trusted to a quarter (`MARGIN`), so training is refused only where even three quarters of
it would not fit, and warned about in between.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from train.preflight.memory import Memory, Setup, Shape, estimate

MARGIN = 0.25
SHORTEST = 256  # tokens; below, few examples are left
MOST = 3  # proposals


@dataclass(frozen=True)
class Change:
    """A change of settings.

    Attributes:
        settings: name -> value, as for `--set`.
        setup: what the settings then come to.
    """

    settings: dict[str, str]
    setup: Setup

    def __str__(self) -> str:
        return " ".join(f"--set {name}={value}" for name, value in self.settings.items())


@dataclass(frozen=True)
class Proposal:
    """Settings that would fit, and the memory that they would take."""

    change: Change
    memory: Memory


def proposals(shape: Shape, setup: Setup, free: int, launcher: str, processes: int) -> list[Proposal]:
    """Changes that fit into `free` bytes of a device: one alone where that is enough, else several together.

    Args:
        launcher, processes: of the settings; with several processes DeepSpeed can divide what they hold.
    """
    kinds = _kinds(setup, launcher, processes)
    found: list[Proposal] = []
    for chosen in chain.from_iterable(combinations(kinds, number) for number in range(1, len(kinds) + 1)):
        for change in _together(setup, chosen):
            memory = estimate(shape, change.setup)
            if memory.total <= free:
                found.append(Proposal(change, memory))
                break
        if len(found) == MOST or (found and len(chosen) > 1):
            break
    return found


# Changes of one kind, mildest first; each is what is replaced in the setup, and the settings that do so.
_Kind = list[tuple[dict[str, object], dict[str, str]]]


def _kinds(setup: Setup, launcher: str, processes: int) -> list[_Kind]:
    kinds: list[_Kind] = [
        _smaller_batches(setup),
        [] if setup.checkpointing else [({"checkpointing": True}, {"train.checkpointing": "always"})],
        [({"attention": "sdpa"}, {"model.attention": "sdpa"})] if setup.attention == "eager" else [],
        _lighter_method(setup),
        _divided(setup, launcher, processes),
        _shorter_rows(setup),
    ]
    return [kind for kind in kinds if kind]


def _smaller_batches(setup: Setup) -> _Kind:
    """Fewer rows at a time, and as many to an optimizer step."""
    found: _Kind = []
    rows, accumulate = setup.rows // setup.answers, setup.accumulate
    while rows % 2 == 0:
        rows, accumulate = rows // 2, accumulate * 2
        settings = {"train.batch_size": str(rows), "train.accumulate": str(accumulate)}
        found.append(({"rows": rows * setup.answers, "accumulate": accumulate}, settings))
    return found


def _lighter_method(setup: Setup) -> _Kind:
    found: _Kind = []
    if setup.method == "full":
        frozen = 2 if setup.on_gpu else 4
        found.append(({"method": "lora", "frozen_bytes": frozen}, {"train.method": "lora"}))
    if setup.method != "qlora" and setup.on_gpu and not setup.zero:
        found.append(({"method": "qlora", "frozen_bytes": 2}, {"train.method": "qlora"}))
    return found


def _divided(setup: Setup, launcher: str, processes: int) -> _Kind:
    """Higher stages of ZeRO, and the machine's memory beside a GPU's."""
    if launcher not in ("torchrun", "deepspeed") or (processes == 1 and not setup.on_gpu) or setup.method == "qlora":
        return []
    stages = [(stage, "off") for stage in (2, 3) if stage > setup.zero and processes > 1]
    if setup.on_gpu and setup.offload == "off":
        stages += [(stage, "cpu") for stage in (2, 3) if stage >= setup.zero]
    found: _Kind = []
    for stage, offload in stages:
        settings = {} if launcher == "deepspeed" else {"train.launcher": "deepspeed"}
        settings |= {"train.deepspeed.stage": str(stage)}
        settings |= {} if offload == "off" else {"train.deepspeed.offload": offload}
        found.append(({"zero": stage, "offload": offload}, settings))
    return found


def _shorter_rows(setup: Setup) -> _Kind:
    found: _Kind = []
    tokens = setup.tokens // 2
    while tokens >= SHORTEST:
        found.append(({"tokens": tokens}, {"train.max_tokens": str(tokens)}))
        tokens //= 2
    return found


def _together(setup: Setup, kinds: tuple[_Kind, ...]) -> Iterator[Change]:
    """One change of each kind: all at their mildest first, all at their strongest last."""
    for number in range(max(map(len, kinds))):
        picked = [kind[min(number, len(kind) - 1)] for kind in kinds]
        replaced = {name: value for fields, _ in picked for name, value in fields.items()}
        settings = {name: value for _, given in picked for name, value in given.items()}
        yield Change(settings, replace(setup, **replaced))  # type: ignore[arg-type]
