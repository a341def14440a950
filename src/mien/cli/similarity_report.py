"""How alike the photos of some people are, in words, tables and numbers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mien.cli.output import emit_csv, print_line, print_table, printable, say
from mien.errors import MienError

if TYPE_CHECKING:
    from pathlib import Path

    from mien.cli.criterion import Criterion
    from mien.evaluate.metrics.fixed_threshold import CountedRate
    from mien.evaluate.people_table import Pair, PeopleTable
    from mien.match import ScoreSpread

__all__ = ["SimilarityReport"]


class SimilarityReport:
    """A similarity table with the names of its rows, in every form that `mien compare` prints.

    Args:
        folder: what was compared; the names of photos are printed without it.
        names: the people, in the order of the table.
        shots: (person, source) of each row of the table.
        table: the numbers.
        criterion: what decided.
    """

    def __init__(
        self,
        folder: Path,
        names: list[str],
        shots: list[tuple[str, str]],
        table: PeopleTable,
        criterion: Criterion,
    ) -> None:
        self.above = printable(str(folder)) + os.sep
        self.names, self.shots, self.table, self.criterion = names, shots, table, criterion
        self.false_match, self.false_non_match = table.false_match(), table.false_non_match()

    def record(self) -> dict[str, Any]:
        """The report in JSON."""
        from mien.evaluate.people_table import BIN_EDGES

        t = self.table
        return {
            "photos": len(self.shots),
            **self.criterion.record(),
            "same": _spread(t.same),
            "different": _spread(t.different),
            "false_match": _rate(self.false_match),
            "false_non_match": _rate(self.false_non_match),
            "people": [
                {
                    "name": name,
                    "photos": row.pictures,
                    "same": _spread(row.same),
                    "different": _spread(row.different),
                    "false_matches": row.false_matches,
                    "false_non_matches": row.false_non_matches,
                    "closest": row.closest and self._pair(row.closest),
                }
                for name, row in zip(self.names, t.people, strict=True)
            ],
            "most_alike": [self._pair(pair) for pair in t.most_alike],
            "least_alike": [self._pair(pair) for pair in t.least_alike],
            "histogram": {
                "edges": BIN_EDGES.round(2).tolist(),
                "same": t.same_histogram.tolist(),
                "different": t.different_histogram.tolist(),
            },
        }

    def _pair(self, pair: Pair) -> dict[str, Any]:
        sides = ({"name": self.shots[i][0], "source": self.shots[i][1]} for i in (pair.a, pair.b))
        return dict(zip(("a", "b"), sides, strict=True)) | {"score": pair.score}

    def csv(self) -> None:
        """Print a row a person."""
        header = ["name", "photos", "same_pairs", "mean_same", "sd_same", "false_non_matches"]
        header += ["different_pairs", "mean_different", "sd_different", "false_matches", "closest", "closest_score"]
        emit_csv(header, (self._row(i) for i in range(len(self.names))))

    def _row(self, i: int) -> list[object]:
        row = self.table.people[i]
        same, different = ((s.n, s.mean, s.sd) if s else (0, "", "") for s in (row.same, row.different))
        closest: list[object] = [self._stranger(i, row.closest), row.closest.score] if row.closest else ["", ""]
        return [self.names[i], row.pictures, *same, row.false_non_matches, *different, row.false_matches, *closest]

    def _stranger(self, i: int, pair: Pair) -> str:
        """The other one of a pair that person `i` is in."""
        a, b = self.shots[pair.a][0], self.shots[pair.b][0]
        return b if a == self.names[i] else a

    def draw(self, path: Path) -> None:
        """Write the histogram as a picture. Raises MienError when that fails."""
        from mien.cli.histogram import save_histogram

        try:
            # No name of a file: one with a $ is a formula to matplotlib, and one in Chinese has no letters in its font.
            save_histogram(self.table, path, title=f"{len(self.names)} people, {len(self.shots)} photos")
        except OSError as error:
            raise MienError(f"--histogram {path}: cannot be written ({error.strerror or error})") from error
        say(f"histogram: {printable(str(path))}")

    def show(self, without: int, failed: int) -> None:
        """Print the report for people; so many photos had no face, and so many could not be read."""
        from mien.cli.histogram import text_histogram

        t = self.table
        left_out = [f"{n} {what}" for n, what in ((without, "without a face"), (failed, "that cannot be read")) if n]
        rest = f", besides {' and '.join(left_out)}" if left_out else ""
        print_line(f"{len(self.names)} people in {len(self.shots)} photos{rest}", style="bold")
        print_line()
        spreads = (("same person", t.same), ("different people", t.different))
        rows = [[what, f"{s.n:,}", f"{s.mean:.4f}", f"{s.sd:.4f}"] for what, s in spreads if s]
        print_table(["", "pairs", "mean similarity", "sd"], rows, right=["pairs", "mean similarity", "sd"])
        print_line()
        print_line(f"At {self.criterion}:")
        errors = (("false matches (FMR)", self.false_match), ("false non-matches (FNMR)", self.false_non_match))
        right = ["pairs", "of", "rate"]
        print_table(["", *right, "95 % interval"], [[what, *_shown_rate(rate)] for what, rate in errors], right=right)
        for how in dict.fromkeys(rate.interval for _, rate in errors if rate.trials):
            print_line(f"(interval: {how})")
        print_line()
        for line in text_histogram(t):
            print_line(line)
        self._show_pairs("Most alike, yet different people:", t.most_alike)
        self._show_pairs("Least alike, yet the same person:", t.least_alike)
        self._show_people()

    def _show_pairs(self, title: str, pairs: tuple[Pair, ...]) -> None:
        if not pairs:
            return
        print_line()
        print_line(title, style="bold")
        rows = []
        for pair in pairs:
            sides = (self.shots[i][1].removeprefix(self.above) for i in (pair.a, pair.b))
            rows.append([f"{pair.score:.4f}", *sides])
        print_table(["score", "", ""], rows)

    def _show_people(self) -> None:
        """The people with the lowest mean similarity first; many are cut short."""
        most = 20
        several = [i for i, row in enumerate(self.table.people) if row.same]
        several.sort(key=lambda i: s.mean if (s := self.table.people[i].same) else 0.0)
        if not several:
            return
        print_line()
        print_line("People, by mean similarity of their own photos:", style="bold")
        rows = []
        for i in several[:most]:
            row = self.table.people[i]
            assert row.same
            closest = f"{row.closest.score:.4f} {self._stranger(i, row.closest)}" if row.closest else None
            rows.append(
                [self.names[i], row.pictures, f"{row.same.mean:.4f}", row.false_non_matches, row.false_matches, closest]
            )
        right = ["photos", "mean", "missed", "false"]
        print_table(["", *right, "closest other"], rows, right=right)
        if len(several) > most:
            print_line(f"... and {len(several) - most} more; --csv and --json list all")


def _spread(spread: ScoreSpread | None) -> dict[str, Any] | None:
    return None if spread is None else {"pairs": spread.n, "mean": spread.mean, "sd": spread.sd}


def _rate(rate: CountedRate) -> dict[str, Any]:
    return {key: value for key, value in rate.record().items() if key != "reason"}


def _shown_rate(rate: CountedRate) -> list[str]:
    if rate.value is None:
        return ["0", "0", "-", "-"]
    bounds = f"{100 * rate.low:.2g} - {100 * rate.high:.2g} %"
    return [f"{rate.count:,}", f"{rate.trials:,}", f"{100 * rate.value:.3g} %", bounds]
