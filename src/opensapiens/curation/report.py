"""`curate report`: a page that shows what each threshold keeps and drops."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from opensapiens.curation.manifest import check_modules, detector_of_run, item_of_row, manifest_path, read_run
from opensapiens.curation.picture import shrink
from opensapiens.curation.sources import read_item
from opensapiens.curation.where import bounds, parse_where, passing, terms
from opensapiens.storage.files import write_text
from opensapiens.storage.folders import check_output
from opensapiens.storage.listing import counted
from opensapiens.storage.pictures import ImageError, read_image
from opensapiens.storage.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

THUMBNAIL = 160  # pixels
BARS = 40
PLACE = ["file", "member", "offset", "size"]

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:86rem;padding:0 1rem;color:#222}
h2{margin-top:3rem;border-top:1px solid #ccc;padding-top:1rem}figure{display:inline-block;margin:4px;vertical-align:top}
img{max-width:160px;max-height:160px;display:block}figcaption,figure p{font-size:12px;max-width:160px;
overflow-wrap:anywhere}
.kept img{outline:3px solid #2a9d5c}.dropped img{outline:3px solid #c8402f}table{border-collapse:collapse}
td,th{padding:2px 10px;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
svg{background:#f5f5f5}"""


def report(source: Path, out: Path, where: str, examples: int = 8, seed: int = 0) -> Path:
    """Write an HTML page about what a condition keeps and drops of a manifest; returns its path.

    For each part of the condition joined by `and`: how many rows it keeps, a histogram with the threshold, examples on
    both sides, nearest to the threshold and drawn by `seed`, and what other thresholds would keep. The images are
    inside the page. Raises ManifestError, WhereError.
    """
    check_modules("pyarrow")
    import pyarrow.dataset as ds

    manifest = manifest_path(source)
    check_output(out, [manifest])
    run = read_run(manifest)
    rows = ds.dataset(manifest)
    condition = parse_where(where, rows.schema)
    total, kept = rows.count_rows(), rows.count_rows(filter=condition)
    sections = [_section(rows, term, examples, seed) for term in progress(terms(where), "report", unit="parts")]
    statuses = "".join(f"<tr><td>{_text(k)}</td><td>{v}</td></tr>" for k, v in run.get("statuses", {}).items())
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Curation report</title><style>{STYLE}</style>
<h1>What the thresholds keep</h1>
<p><code>{_text(where)}</code></p><p>{kept} of {total} images are kept.
Detector: {_text(detector_of_run(run) or "none")}.
Green: kept by the part shown; red: dropped by it.</p>
<table><tr><th>what became of the inputs</th><th>images</th></tr>{statuses}</table>
{"".join(sections)}</html>
"""
    write_text(out, page)
    return out


def _section(rows: ds.Dataset, term: str, examples: int, seed: int) -> str:
    import pyarrow.compute as pc

    condition = parse_where(term, rows.schema)
    kept = rows.count_rows(filter=condition)
    title = f"<h2><code>{_text(term)}</code></h2><p>keeps {kept}, drops {rows.count_rows() - kept}.</p>"
    scale = bounds(term)
    if scale is None:
        return title + _random_examples(rows, condition, examples, seed)
    column, threshold = scale
    table = rows.to_table(columns=[column, *PLACE], filter=pc.field(column).is_valid())
    values = table[column].to_numpy().astype(np.float64)
    if len(values) == 0:
        return title + "<p>No row has a value in this column.</p>"
    passes = passing(table, term, rows.schema)
    order = np.argsort(np.abs(values - threshold), kind="stable")
    missing = rows.count_rows() - len(table)
    if missing:
        title += f"<p>{missing} of the dropped have no value: they could not be read, or the stage failed.</p>"
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        title += f"<p>Without {counted(len(values) - len(finite), 'value')} that are infinite or not a number.</p>"
    parts = [title]
    if len(finite):
        parts += [_histogram(finite, threshold, column), _ladder(rows, term, column, finite)]
    generator = np.random.default_rng(seed)
    for name, mask in (("kept", passes), ("dropped", ~passes)):
        side = order[mask[order]]
        near, far = side[:examples], side[examples:]
        drawn = far[_drawn(len(far), examples, generator)]
        for label, chosen in ((f"{name}, nearest the threshold", near), (f"{name}, drawn at random", drawn)):
            parts.append(_figures(table.take(chosen), label, name, column))
    return "".join(parts)


def _random_examples(rows: ds.Dataset, condition: pc.Expression, examples: int, seed: int) -> str:
    parts = []
    for name, chosen in (("kept", condition), ("dropped", ~condition)):
        table = rows.to_table(columns=PLACE, filter=chosen)
        places = _drawn(len(table), examples, np.random.default_rng(seed))
        parts.append(_figures(table.take(places), f"{name}, drawn at random", name, None))
    return "".join(parts)


def _drawn(count: int, examples: int, generator: np.random.Generator) -> np.ndarray:
    return np.sort(generator.choice(count, min(examples, count), replace=False))


def _ladder(rows: ds.Dataset, term: str, column: str, values: np.ndarray) -> str:
    """How many rows the same comparison would keep at other thresholds."""
    comparison = term.split()[1]
    cells = []
    for value in np.unique(np.percentile(values, [1, 5, 10, 25, 50, 75, 90, 95, 99])):
        count = rows.count_rows(filter=parse_where(f"{column} {comparison} {float(value)!r}", rows.schema))
        cells.append(f"<tr><td>{_text(column)} {_text(comparison)} {value:.4g}</td><td>{count}</td></tr>")
    return f"<table><tr><th>other thresholds</th><th>keep</th></tr>{''.join(cells)}</table>"


def _histogram(values: np.ndarray, threshold: float, column: str) -> str:
    low, high = min(float(values.min()), threshold), max(float(values.max()), threshold)
    counts, _ = np.histogram(values, BARS, (low, high if high > low else low + 1))
    width, height = 15 * BARS, 120
    tops = height - height * np.sqrt(counts / counts.max())  # or a few among thousands would not be seen
    bars = "".join(
        f'<rect x="{15 * i}" y="{top:.1f}" width="14" height="{height - top:.1f}" fill="#7a8fa6"/>'
        for i, top in enumerate(tops)
    )
    x = width * (threshold - low) / (high - low) if high > low else 0
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}" stroke="#c8402f" stroke-width="2"/>'
    label = (
        f"<p>{_text(column)} from {low:.4g} to {high:.4g}; the line is the threshold {threshold:.4g}. "
        "Heights are square roots of the numbers of images.</p>"
    )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{bars}{line}</svg>{label}'


def _figures(table: pa.Table, label: str, name: str, column: str | None) -> str:
    figures = []
    for row in table.to_pylist():
        item = item_of_row(row)
        try:
            picture = f'<img alt="" src="data:image/jpeg;base64,{_thumbnail(read_image(read_item(item)))}">'
        except ImageError as error:
            picture = f"<p>{_text(error)}</p>"
        value = f"{row[column]:.4g}<br>" if column else ""
        caption = _text(Path(item.member or item.file).name)
        figures.append(f'<figure class="{name}">{picture}<figcaption>{value}{caption}</figcaption></figure>')
    return f"<h3>{_text(label)}</h3><div>{''.join(figures) or '<p>none</p>'}</div>"


def _thumbnail(image: np.ndarray) -> str:
    small = shrink(image, THUMBNAIL)
    jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return base64.b64encode(jpeg.tobytes()).decode()


def _text(value: object) -> str:
    """Untrusted text, such as file names, escaped for HTML."""
    return html.escape(str(value))
