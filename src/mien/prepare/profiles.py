"""CFP's layout from a folder of people and a table of poses: frontal against frontal, and against profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.errors import InputError
from mien.evaluate.protocols.columns import PICTURE, Column, read_columns

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from mien.prepare.people import People

__all__ = ["CfpSplit", "read_poses", "write_cfp"]

_POSES: Final = ("frontal", "profile")


@dataclass(frozen=True, slots=True)
class CfpSplit:
    """What was written: pictures of either pose, folds, and pairs of each kind in a fold of each part."""

    frontal: int
    profile: int
    folds: int
    pairs: int


def read_poses(path: str | os.PathLike[str]) -> dict[str, str]:
    """Pose by picture (its path below the folder, forward slashes) from a CSV with the columns picture and pose.

    Raises:
        InputError: the table cannot be read, a pose is neither frontal nor profile, or a picture stands there twice.
    """
    poses: dict[str, str] = {}
    for row in read_columns(path, (PICTURE, Column("pose"))):
        picture, pose = row.text("picture").replace("\\", "/"), row.text("pose").strip().lower()
        if pose not in _POSES:
            raise InputError(f"{row.line.where}: expected frontal or profile, got {pose!r:.40}")
        if picture in poses:
            raise InputError(f"{row.line.where}: {picture!r:.80} stands there twice")
        poses[picture] = pose
    return poses


def write_cfp(
    people: People,
    root: Path,
    poses: dict[str, str],
    *,
    folds: int = 10,
    pairs: int = 350,
    seed: int = 0,
    dry_run: bool = False,
) -> CfpSplit:
    """Write `Protocol/` into the folder: numbered lists of frontal and profile pictures, and folds of pairs.

    Nobody is in two folds; of each fold and part there are `pairs` pairs of one person and as many of two. People need
    two frontal pictures and a profile. The folder's pictures are to lie two folders deep (PERSON/frontal/1.jpg), as
    CFP's do, for the reader knows a person by that; other layouts are refused. With `dry_run`, nothing is written.

    Raises:
        InputError: the layout is another one, pictures of the table are missing, or there are too few people.
    """
    if folds < 2 or pairs < 1:
        raise InputError(f"cfp: expected at least 2 folds and 1 pair, got {folds} and {pairs}")
    by_pose: dict[str, dict[str, list[str]]] = {pose: {} for pose in _POSES}
    there: set[str] = set()
    for _, pictures in people:
        for picture in pictures:
            relative = picture.relative_to(root).as_posix()
            there.add(relative)
            pose = poses.get(relative)
            if pose is not None:
                parts = relative.split("/")
                if len(parts) < 3:
                    raise InputError(f"{picture}: expected pictures as PERSON/frontal/1.jpg, as CFP has them")
                by_pose[pose].setdefault("/".join(parts[:-2]), []).append(relative)
    if missing := sorted(set(poses) - there):
        raise InputError(f"{root}: {len(missing)} pictures of the table are not there, such as {missing[0]!r:.80}")
    frontal, profile = by_pose["frontal"], by_pose["profile"]
    usable = sorted(name for name in frontal if len(frontal[name]) > 1 and profile.get(name))
    if len(usable) < 2 * folds:
        raise InputError(
            f"{root}: {len(usable)} people have two frontal pictures and a profile; {2 * folds} are needed"
        )
    numbers = {pose: _numbered(by_pose[pose], usable) for pose in _POSES}
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(usable)).tolist()
    protocol = root / "Protocol"
    written: dict[Path, str] = {}
    for pose, letter in (("frontal", "F"), ("profile", "P")):
        lines = "".join(f"{number} ../{path}\n" for path, number in numbers[pose].items())
        written[protocol / f"Pair_list_{letter}.txt"] = lines
    for part, second in (("FF", "frontal"), ("FP", "profile")):
        for fold in range(folds):
            members = [usable[i] for i in sorted(order[fold::folds])]
            for kind in ("same", "diff"):
                drawn = _draw(members, frontal, by_pose[second], pairs, rng, same=kind == "same", one_list=part == "FF")
                if drawn is None:
                    raise InputError(f"{root}: fold {fold + 1} has too few pictures for {pairs} pairs; ask for fewer")
                text = "".join(f"{numbers['frontal'][a]},{numbers[second][b]}\n" for a, b in drawn)
                written[protocol / "Split" / part / f"{fold + 1:02d}" / f"{kind}.txt"] = text
    try:
        for path, text in () if dry_run else written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{protocol}: cannot be written ({error.strerror or error})") from error
    return CfpSplit(len(numbers["frontal"]), len(numbers["profile"]), folds, pairs)


def _numbered(pictures: dict[str, list[str]], people: list[str]) -> dict[str, int]:
    return {path: i for i, path in enumerate((p for name in people for p in sorted(pictures[name])), 1)}


def _draw(
    members: list[str],
    first: dict[str, list[str]],
    second: dict[str, list[str]],
    wanted: int,
    rng: np.random.Generator,
    *,
    same: bool,
    one_list: bool,
) -> list[tuple[str, str]] | None:
    """So many pairs without repeats, or None where there are not so many."""
    every = []
    for i, name in enumerate(members):
        for other in [name] if same else members[i + 1 :] if one_list else members[:i] + members[i + 1 :]:
            for a in sorted(first[name]):
                every += [(a, b) for b in sorted(second[other]) if not (one_list and same and a >= b)]
    if len(every) < wanted:
        return None
    return [every[k] for k in sorted(rng.choice(len(every), wanted, replace=False).tolist())]
