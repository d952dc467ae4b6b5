"""The curve of an index's answerability as a drawing: what was fitted in, an SVG image out."""

from ingest.search.answerable import Fitted

LEFT, TOP, WIDTH, HEIGHT = 56, 24, 480, 240
ANSWERED, REFUSED, DASHES = "#1f6feb", "#b35900", 'stroke-dasharray="6 3"'


def drawing(fitted: Fitted) -> str:
    """The shares of questions answered and refused by threshold, and the threshold chosen."""
    bottom = TOP + HEIGHT
    chosen = LEFT + WIDTH * fitted.threshold
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 24} {bottom + 92}" role="img" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        "<title>Questions answered and refused by threshold</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        *_grid(),
        _line([(point.threshold, point.answered) for point in fitted.curve], f'stroke="{ANSWERED}"'),
        _line(
            [(point.threshold, point.refused) for point in fitted.curve], f'stroke="{REFUSED}" stroke-dasharray="6 3"'
        ),
        f'<path d="M{chosen:.1f} {TOP}V{bottom}" stroke="#333" stroke-dasharray="2 3"/>',
        _text(chosen, TOP - 8, f"threshold {fitted.threshold:.2f}"),
        _text(LEFT + WIDTH / 2, bottom + 36, "probability that the documents hold the answer"),
        _text(LEFT, bottom + 58, f"solid: answered, of {fitted.answerable} answerable questions", "start", ANSWERED),
        _text(LEFT, bottom + 76, f"dashed: refused, of {fitted.unanswerable} unanswerable ones", "start", REFUSED),
        "</svg>",
    ]
    return "\n".join(rows) + "\n"


def _grid() -> list[str]:
    rows = []
    for tenth in range(0, 11, 2):
        y = TOP + HEIGHT * (10 - tenth) / 10
        rows.append(f'<path d="M{LEFT} {y:.1f}H{LEFT + WIDTH}" stroke="#ddd"/>')
        rows.append(_text(LEFT - 8, y + 4, f"{tenth * 10}%", "end"))
        rows.append(_text(LEFT + WIDTH * tenth / 10, TOP + HEIGHT + 18, f"{tenth / 10:.1f}"))
    return rows


def _line(points: list[tuple[float, float]], style: str) -> str:
    places = " ".join(f"{LEFT + WIDTH * x:.1f},{TOP + HEIGHT * (1 - y):.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke-width="2" {style}/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
