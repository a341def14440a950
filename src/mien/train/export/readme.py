"""The model card for people: what was trained on what, how good it is, and what it is not for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mien.train.code_record import code_in_words
from mien.train.export.published import without_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mien.match import Calibration
    from mien.models.card import ModelCard
    from mien.train.export.accuracy import Form
    from mien.train.export.graph import Agreement
    from mien.train.export.run_folder import Run

__all__ = ["readme"]

_USE: Final = """\
Verifying that two pictures show one person, and naming people who agreed to be enrolled. Not for guessing traits, and
not for watching people who did not agree."""
_UNCALIBRATED: Final = """\
None: no threshold follows from an error rate, and mien asks for `--threshold`. Make one on people the model was not
trained on: `mien export RUN --calibrate FOLDER_OF_PEOPLE`, or `mien calibrate`."""
_LIMITS: Final = """\
- It compares faces; it does not tell a living face from a picture of one.
- Error rates depend on who is in front of the camera, on light, resolution and age. Measure them on your own pictures,
  for each group of people that you serve: `mien evaluate groups`.
- A score of this model means nothing for another model, another variant or another preset.
- Whoever decides about people with it needs their consent, or another lawful ground, and a person who can be asked.
"""
_MOST_ROWS: Final = 200
_MOST_STARTS: Final = 20


def readme(
    run: Run,
    card: ModelCard,
    *,
    forms: Sequence[Form],
    agreement: Agreement,
    pairs: str,
    calibrations: Sequence[tuple[str, Calibration]],
    versions: Mapping[str, str],
) -> str:
    """The text of README.md."""
    network = run.network
    terms = "commercial use allowed" if card.commercial_use else "commercial use not allowed, or nobody said"
    parts = [
        f"# {card.title}",
        "",
        f"A face embedder: {network.test_dim} numbers a face, compared by cosine. Licence: {card.licence} ({terms}).",
        "",
        "```console",
        "$ mien verify a.jpg b.jpg --model THIS_FOLDER",
        "$ mien enrol people/ --model THIS_FOLDER",
        "```",
        "",
        "## Intended use",
        "",
        _USE,
        "",
        "## Network",
        "",
        *_rows(
            [
                ("architecture", network.name),
                ("parameters", f"{sum(p.numel() for p in network.parameters()):,}"),
                ("input", f"{network.spec.size} x {network.spec.size}, {network.spec.colour}"),
                *([("light", f"evened by {' and '.join(network.spec.evening)}")] if network.spec.evening else []),
                ("embedding", f"{network.test_dim} numbers"),
                ("taken from", f"{run.part}/" if run.part else "the folder itself"),
                *versions.items(),
            ]
        ),
        "",
        "## Training",
        "",
        *_trained_by(run),
        "",
        *_settings(run),
        "",
        "## Measured",
        "",
        *_measured(forms, pairs),
        "",
        _agreed(agreement),
        "",
        *_recorded(run),
        "## Calibration",
        "",
        *_calibrated(calibrations),
        "",
        "## Limits",
        "",
        _LIMITS,
    ]
    return "\n".join(parts)


def _agreed(found: Agreement) -> str:
    return (
        f"Largest difference between the graph and the trained network on {found.pictures} pictures: "
        f"{found.difference:.1e} of the largest number; smallest cosine {found.cosine:.8f}."
    )


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)]


def _cell(value: object) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text.replace("|", "\\|").replace("<", "&lt;")[:300]


def _trained_by(run: Run) -> list[str]:
    pieces = code_in_words(run.facts.get("code"))
    if not pieces:
        return ["Which commit of the code trained it is not known: the run kept no record of it."]
    more = f"; {len(pieces) - _MOST_STARTS} further pieces" if len(pieces) > _MOST_STARTS else ""
    listed = [f"- {_cell(piece)}" for piece in pieces[:_MOST_STARTS]]
    return [f"Trained by (changes that were not committed are not seen{more}):", "", *listed]


def _settings(run: Run) -> list[str]:
    facts = {key: value for key, value in run.facts.items() if key != "code"}
    rows = [*_flat(run.config, ""), *_flat(facts, "facts.")][:_MOST_ROWS]
    return (
        _rows(rows) if rows else ["The run kept no settings (config.json), so nothing is known of its data and recipe."]
    )


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for i, item in enumerate(value):
                yield from _flat(item if isinstance(item, dict) else {"": item}, f"{prefix}{key}.{i}.")
        elif value not in (None, "", [], {}):
            yield f"{prefix}{key}", str(without_folders(value))


def _measured(forms: Sequence[Form], pairs: str) -> list[str]:
    lines = [
        "| form | file | MB | ms a view, one core | least cosine to the trained network | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for form in forms:
        accuracy = "-" if form.accuracy is None else f"{form.accuracy:.4f}"
        size, took = f"{form.size / 1e6:.1f}", f"{form.milliseconds:.2f}"
        lines.append(f"| {form.variant} | {form.file} | {size} | {took} | {form.cosine:.6f} | {accuracy} |")
    if not pairs:
        return [
            *lines,
            "",
            "Accuracy was not measured: no pairs were given (`mien export RUN --pairs FILE --images DIR`).",
        ]
    lines += ["", f"Accuracy: {_cell(pairs)}, preset accurate. Intervals (95 %) resample people."]
    lines += [f"- {form.variant} against fp32: {change}" for form in forms for change in form.changes]
    return lines


def _recorded(run: Run) -> list[str]:
    if not run.metrics:
        return []
    rows = [(name, f"{value:.6g}") for name, value in list(run.metrics.items())[:_MOST_ROWS]]
    return ["The last numbers that the training wrote (metrics.jsonl):", "", *_rows(rows), ""]


def _calibrated(calibrations: Sequence[tuple[str, Calibration]]) -> list[str]:
    if not calibrations:
        return [_UNCALIBRATED]
    lines = [
        f"- `{name}`: {_cell(c.made_on)}, {c.date}; FMR 1e-3 at {c.threshold(fmr=1e-3):.4f}" for name, c in calibrations
    ]
    return [*lines, "", "They lie beside the card and are found by it."]
