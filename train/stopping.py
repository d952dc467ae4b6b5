"""Asks a training process to end in good order: at the end of its step, with a checkpoint.

In: SIGTERM (what a scheduler or `kill` sends) and SIGINT (Ctrl-C), the first of either. Out: `asked()`. The second one
does what it always does. Signals are only listened to between `listen` and `ignore`, while steps are being made: before
and after there is nothing worth a checkpoint.

Known limit: only the main thread can listen; trainers that run in another one (Ray) end as their launcher ends them.
"""

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_asked: list[str] = []
_before: dict[int, object] = {}


def listen() -> None:
    """Take the next SIGTERM or SIGINT as a request to stop."""
    if threading.current_thread() is threading.main_thread() and not _before:
        for number in SIGNALS:
            _before[number] = signal.signal(number, _note)


def ignore() -> None:
    """Give the signals back their usual meaning."""
    while _before:
        number, handler = _before.popitem()
        signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned


def asked() -> str:
    """The name of the signal that asked to stop; empty while none has."""
    return _asked[0] if _asked else ""


def ask(by: str) -> None:
    """Ask from another thread, where no signal can reach the process (`train/heartbeat.py`)."""
    _asked.append(by)


def listening() -> bool:
    """Whether a signal would be taken as a request."""
    return bool(_before)


def _note(number: int, _frame: object) -> None:
    ask(signal.Signals(number).name)
    ignore()
