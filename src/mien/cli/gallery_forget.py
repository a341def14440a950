"""`mien gallery erase`, `prove-erased` and `expire`: forgetting for good."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.asking import YesFlag, confirm
from mien.cli.galleries import DEFAULT_GALLERY, GalleryPath, KeyOption, open_gallery, shown_place
from mien.cli.output import JsonFlag, counted, emit_json, finish, print_line, printable, progress, say
from mien.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from mien.gallery.privacy.receipt import Receipt

__all__ = ["erase_person", "expire_people", "prove_erasure"]

_Receipt = Annotated[
    Path | None,
    typer.Option("--receipt", help="Where to write the receipt, a new file (erased-PSEUDONYM.json here unless given)."),
]


def erase_person(
    name: Annotated[str, typer.Argument(help="The person's name.", show_default=False)],
    *,
    receipt: _Receipt = None,
    texts: Annotated[
        bool,
        typer.Option("--texts/--no-texts", help="Let the receipt find names, too, and confirm a guessed one."),
    ] = True,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase a person for good, down to the bytes of the gallery's files, and write a receipt. Asks at a terminal.

    The receipt names nobody; `mien gallery prove-erased` checks it. Exit code 1: something of the person is left.
    """
    from mien.gallery.privacy.erasure import erase

    with open_gallery(gallery, key=key) as known:
        where, subject = shown_place(gallery, known), known.subject(name)
        if not known.capabilities.erasure_proof:
            raise UnsupportedError(
                f"{where}: cannot prove an erasure; use `mien people remove`, and the server's tools"
            )
        what = f"{subject.name} and {counted(subject.faces, 'enrolled face')}"
        confirm(f"Erase {what} for good? No backup of an encrypted gallery brings them back.", yes=yes)
        pseudonym = getattr(known.home, "pseudonym_of")(subject.name)  # noqa: B009 - what the capability promises
        path = Path(f"erased-{pseudonym}.json") if receipt is None else receipt
        done = erase(known.home, subject.name, receipt=path, texts=texts)
    if as_json:
        emit_json({"gallery": where, "receipt": str(path), **receipt_record(done)})
    else:
        counts = ", ".join(counted(n, what.removesuffix("s")) for what, n in done.counts.items() if n)
        print_line(f"{subject.name} was erased ({counts}); receipt: {path}")
        for limit in done.limits:
            say(printable(limit), label="note:")
    _complain(done)
    finish(failed=False, matched=done.complete)


def receipt_record(done: Receipt) -> dict[str, Any]:
    """What a receipt says, without its fingerprints."""
    return {
        "complete": done.complete,
        "encrypted": done.encrypted,
        "pseudonyms": list(done.pseudonyms),
        "time": done.time,
        "erased": dict(done.counts),
        "audit": {"seq": done.audit_seq, "head": done.audit_head},
        "shared_with": list(done.shared_with),
        "remains": list(done.remains),
        "limits": list(done.limits),
    }


def _complain(done: Receipt) -> None:
    for remains in done.remains:
        say(printable(remains), label="still there:")
    if done.shared_with:
        say(
            f"the same face is enrolled under another name, too (subject {', '.join(done.shared_with)} in "
            "`mien gallery audit`)",
            label="still there:",
        )


def prove_erasure(
    receipt: Annotated[Path, typer.Argument(help="The receipt of an erasure.", show_default=False)],
    *,
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="Search this file or folder, too, such as backups (repeatable).")
    ] = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    as_json: JsonFlag = False,
) -> None:
    """Search the bytes of a gallery's files for what a receipt says was erased. Needs no key, changes nothing.

    Exit code 0: nothing is left, 1: something is.
    """
    from mien.gallery.homes import is_url
    from mien.gallery.privacy.proof import prove_erased

    if is_url(gallery):
        raise UnsupportedError(f"{shown_place(gallery)}: its files are the server's; mien cannot search them")
    proof = prove_erased(receipt, gallery, also=also or [])
    if as_json:
        emit_json(
            {
                "gallery": gallery,
                "proven": proof.proven,
                "files": [str(file) for file in proof.files],
                "bytes": proof.bytes,
                "fingerprints": proof.fingerprints,
                "remains": [{"file": str(r.file), "kind": r.kind, "offset": r.offset} for r in proof.remains],
                "problems": list(proof.problems),
            }
        )
    else:
        for r in proof.remains:
            print_line(f"{r.file}: {r.kind} at byte {r.offset}", style="red")
        for problem in proof.problems:
            print_line(problem, style="red")
        searched = f"{counted(len(proof.files), 'file')}, {counted(proof.bytes, 'byte')} searched"
        print_line(f"{'nothing is left' if proof.proven else 'not proven'} ({searched})")
    finish(failed=False, matched=proof.proven)


def expire_people(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell who is due.")] = False,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="A folder for the receipts.")] = None,
    gallery: GalleryPath = DEFAULT_GALLERY,
    key: KeyOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase everybody whose time is up (`mien people describe --expires`). Run it every day; asks at a terminal."""
    from mien.gallery.privacy.retention import due, expire

    if receipts is not None and not receipts.is_dir():
        raise InputError(f"--receipts {receipts}: expected an existing folder")
    now = time.time()
    with open_gallery(gallery, key=key, readonly=dry_run) as known:
        where, late = shown_place(gallery, known), due(known.home, now)
        done: list[Receipt] = []
        if late and not dry_run:
            confirm(f"Erase {counted(len(late), 'person', 'people')} whose time is up?", yes=yes)
            if known.capabilities.erasure_proof:
                with progress(len(late), "Erasing") as advance:
                    done = expire(known.home, now, receipts=receipts, progress=lambda _: advance(1))
            elif receipts is not None:
                raise UnsupportedError(f"{where}: cannot prove an erasure; leave --receipts out")
            else:
                known.expire(now)
    people = [{"id": subject.id, "faces": subject.faces} for subject in late]
    if as_json:
        erased = [receipt_record(receipt) for receipt in done]
        emit_json({"gallery": where, "dry_run": dry_run, "due": people, "receipts": erased})
    elif dry_run:
        for subject in late:
            print_line(subject.name)
    else:
        print_line(f"{counted(len(late), 'person', 'people')} erased" if late else "nobody is due")
    for one in done:
        _complain(one)
    finish(failed=False, matched=all(one.complete for one in done))
