"""`mien data select|split|pairs|pack|unpack`: who goes where, and in which file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mien.cli.output import JsonFlag, counted, emit_json, print_line, print_table, progress
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.prepare.people import People

__all__ = ["pack", "pairs", "select", "split", "unpack"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A folder of people, one each.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every random draw.")]
How = Annotated[
    str, typer.Option("--place", help="copy the pictures, link them (hard links), or only list their paths.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Anew = Annotated[
    bool, typer.Option("--force", help="Begin anew: write over lists, and take back what an earlier run placed.")
]


def select(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="A folder; a .txt for list.")],
    *,
    people: Annotated[int | None, typer.Option("--people", min=1, help="So many people, those with most.")] = None,
    least: Annotated[int, typer.Option("--least", min=1, help="Only people with at least so many pictures.")] = 1,
    most: Annotated[int | None, typer.Option("--most", min=1, help="At most so many pictures of a person.")] = None,
    how: How = "link",
    seed: Seed = 0,
    force: Anew = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Choose people by how many pictures they have: the N with most, or all with at least K."""
    from mien.prepare.people import read_people
    from mien.prepare.people import select as choose

    chosen = choose(read_people(folder), count=people, least=least, most=most, seed=seed)
    settings = {"people": people, "least": least, "most": most, "seed": seed}
    made = {"verb": "select", "settings": settings, "force": force}
    _placed({"": chosen}, folder, target, how, made, dry_run=dry_run, as_json=as_json)


def split(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder for the sets.")],
    *,
    shares: Annotated[
        str, typer.Option("--shares", help="Names of the sets and their shares.")
    ] = "train:0.8,val:0.1,test:0.1",
    by: Annotated[str, typer.Option("--by", help="people: nobody in two sets; pictures: everybody in all.")] = "people",
    how: How = "list",
    seed: Seed = 0,
    force: Anew = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Split people into training, validation and test sets, so that nobody is in two of them."""
    from mien.prepare.people import read_people
    from mien.prepare.people import split as divide

    if by not in ("people", "pictures"):
        raise InputError(f"--by: expected people or pictures, got {by!r}")
    settings: dict[str, Any] = {"shares": _shares(shares), "by": by, "seed": seed}
    sets = divide(read_people(folder), settings["shares"], seed=seed, by=cast("Any", by))
    made = {"verb": "split", "settings": settings, "force": force}
    _placed(sets, folder, target, how, made, dry_run=dry_run, as_json=as_json)


def pairs(
    folder: Folder,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="[PAIRS.TXT]", show_default=False, help="The list to write (not with --poses)."),
    ] = None,
    *,
    count: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of each kind in a fold.")] = 300,
    folds: Annotated[int, typer.Option("--folds", min=1, help="10 as LFW's View 2; 1 as View 1.")] = 10,
    poses: Annotated[
        Path | None,
        typer.Option("--poses", help="A CSV picture,pose (frontal, profile): write CFP's Protocol into DIR."),
    ] = None,
    seed: Seed = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over a list that is there.")] = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Draw pairs for verification in LFW's or CFP's format: balanced, without repeats, nobody in two folds."""
    from mien.prepare.pairing import draw_pairs
    from mien.prepare.people import read_people

    if (target is None) == (poses is None):
        raise InputError("expected the list to write, or --poses")
    place = folder / "Protocol" if target is None else target
    if place.exists() and not force:
        raise InputError(f"{place}: exists already; choose another name, or --force")
    if poses is not None:
        from mien.prepare.profiles import read_poses, write_cfp

        drawing = {"folds": folds, "pairs": count, "seed": seed}
        split = write_cfp(read_people(folder), folder, read_poses(poses), **drawing, dry_run=dry_run)
        total, use = 4 * split.pairs * split.folds, f"--protocol cfp-fp {folder}"
        facts: dict[str, Any] = {"frontal": split.frontal, "profile": split.profile}
    else:
        drawn = draw_pairs(read_people(folder), pairs=count, folds=folds, seed=seed)
        try:
            if not dry_run:
                place.write_text(drawn.text(), "utf-8", newline="\n")
        except OSError as error:
            raise InputError(f"{place}: cannot be written ({error.strerror or error})") from error
        total, use = sum(map(len, drawn.folds)), f"--protocol lfw --pairs {place} {folder}"
        facts = {"numbered": drawn.numbered}
    if as_json:
        emit_json(
            {"list": str(place), "folds": folds, "pairs": total, **facts, "seed": seed}
            | ({"dry_run": True} if dry_run else {})
        )
    else:
        would = "would be " if dry_run else ""
        print_line(f"{counted(total, 'pair')} in {counted(folds, 'fold')} {would}in {place}", style="bold")
        if not dry_run:
            print_line(f"measure with: mien evaluate verify {use}")


def pack(
    folder: Folder,
    target: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False, help=".rec, .tfrecord, .tar, .parquet, or .bin (pairs)."),
    ],
    *,
    pairs_list: Annotated[
        Path | None, typer.Option("--pairs", help="For .bin: the list of pairs, in LFW's format (or DIR/pairs.csv).")
    ] = None,
    reencode: Annotated[
        str | None, typer.Option("--reencode", help="jpg or png; pictures are kept byte for byte unless given.")
    ] = None,
    quality: Annotated[int, typer.Option("--quality", min=1, max=100, help="Of --reencode jpg.")] = 95,
    side: Annotated[int | None, typer.Option("--side", min=8, help="With --reencode: shorter side in pixels.")] = None,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", min=1, help="Begin a new file after so many megabytes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there, all its shards too.")] = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Pack a folder of people for fast reading; every picture is kept byte for byte unless you say otherwise."""
    from mien.prepare.packing import is_bin, packed_files
    from mien.prepare.packing import pack as put
    from mien.prepare.people import read_people
    from mien.prepare.reencoding import Reencoding

    if not force and (there := packed_files(target)):
        raise InputError(f"{there[0]}: exists already; choose another name, or --force")
    if reencode not in (None, "jpg", "png"):
        raise InputError(f"--reencode: expected jpg or png, got {reencode!r}")
    if side is not None and reencode is None:
        raise InputError("--side: needs --reencode")
    change = Reencoding(".jpg" if reencode == "jpg" else ".png", quality, side) if reencode else None
    words: dict[str, Any] = {
        "pairs": pairs_list,
        "change": change,
        "shard_bytes": shard_size and shard_size * 1_000_000,
        "force": force,
    }
    total = None if is_bin(target) else sum(len(p) for _, p in read_people(folder))
    with progress(total, "Looking" if dry_run else "Packing") as advance:
        packed = put(folder, target, **words, dry_run=dry_run, advance=advance)
    if as_json:
        facts = {"files": list(packed.files), "pictures": packed.samples, "people": list(packed.people)}
        emit_json(facts | ({"dry_run": True} if dry_run else {}))
    else:
        listed = ", ".join(Path(f).name for f in packed.files[:4]) + (" ..." if len(packed.files) > 4 else "")
        of = f" of {counted(len(packed.people), 'person', 'people')}" if packed.people else ""
        print_line(f"{counted(packed.samples, 'picture')}{of} {'would be ' if dry_run else ''}in {listed}")


def unpack(
    source: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="A packed file, or shards' name.")],
    target: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder for the people.")],
    *,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Unpack into a folder a person (.bin: pairs), byte for byte; nothing is ever written outside DST."""
    from mien.prepare.unpacking import unpack as take

    with progress(None, "Looking" if dry_run else "Unpacking") as advance:
        found = take(source, target, dry_run=dry_run, advance=advance)
    if as_json:
        facts = {"folder": str(target), "pictures": found.samples, "people": list(found.people)}
        emit_json(facts | ({"dry_run": True} if dry_run else {}))
    else:
        print_line(f"{counted(found.samples, 'picture')} {'would be ' if dry_run else ''}in {target}")


def _shares(text: str) -> dict[str, float]:
    """Names and shares of sets: "train:0.8,test:0.2"."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().rpartition(":")
        try:
            share = float(value)
        except ValueError:
            share = -1.0
        if not name or name in shares or any(c in name for c in "/\\\0") or name in (".", "..") or not 0 < share <= 1:
            raise InputError(f"--shares: expected names and shares such as train:0.8,test:0.2, got {text!r}")
        shares[name] = share
    return shares


def _placed(
    sets: dict[str, People],
    folder: Path,
    target: Path,
    how: str,
    made: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from mien.prepare.placing import PLACINGS, place

    if how not in PLACINGS:
        raise InputError(f"--place: expected {', '.join(PLACINGS)}, got {how!r}")
    rows = [(name or "chosen", len(people), sum(len(p) for _, p in people)) for name, people in sets.items()]
    with progress(sum(row[2] for row in rows), "Looking" if dry_run else "Placing") as advance:
        there = place(sets, folder, target, how, **made, dry_run=dry_run, advance=advance).there
    if as_json:
        listed = [{"set": name, "people": people, "pictures": pictures} for name, people, pictures in rows]
        emit_json({"target": str(target), "place": how, "dry_run": dry_run, "before": there, "sets": listed})
    else:
        print_table(["set", "people", "pictures"], rows, right=["people", "pictures"])
        before = f" ({there:,} there before)" if there else ""
        print_line("nothing was written" if dry_run else f"in {target}{before}")
