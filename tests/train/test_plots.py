"""The curves of a run as a picture."""

from pathlib import Path

from matplotlib.image import imread

from train.plots import CURVES, draw_curves, smoothed


def test_curves_with_all_there_is(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 3 / step, "learning_rate": 1e-4, "grad_norm": 1.0} for step in range(1, 60)]
    draw_curves(rows, [{"step": 20, "holdout_loss": 1.0}, {"step": 40, "holdout_loss": 0.9}], tmp_path / CURVES)
    whole = imread(tmp_path / CURVES)
    draw_curves([{"step": 1, "loss": 1.0, "learning_rate": 1e-4}], [], tmp_path / "one.png")
    assert imread(tmp_path / "one.png").shape[0] < whole.shape[0]  # two panels, not three
    assert whole[..., :3].std() > 0.01
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["curves.png", "one.png"]


def test_smoothing_keeps_the_level_and_takes_the_noise() -> None:
    noisy = [1.0, 3.0] * 50
    assert all(abs(value - 2.0) < 0.4 for value in smoothed(noisy))
    assert len(smoothed(noisy)) == 100
