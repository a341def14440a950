"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading

import pytest

from mien.file_draft import DRAFTS, draft_beside, draft_name


def test_the_place_changes_only_at_the_end(tmp_path):
    place = tmp_path / "a.txt"
    place.write_text("before")
    with draft_beside(place) as draft:
        draft.write_text("after")
        assert draft.parent == tmp_path
        assert draft.match(DRAFTS)
        assert place.read_text() == "before"
    assert place.read_text() == "after"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_nothing_stays_of_what_was_stopped(tmp_path, error):
    place = tmp_path / "a.txt"
    place.write_text("before")

    def stopped():
        with draft_beside(place) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        stopped()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "before")]


def test_a_draft_that_cannot_be_moved(tmp_path):
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"), draft_beside(tmp_path / "folder") as draft:
        draft.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(FileNotFoundError), draft_beside(tmp_path / "a.txt"):
        pass  # nothing was written


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "other").write_text("mine")
    (tmp_path / "a.txt").symlink_to("other")
    with draft_beside(tmp_path / "a.txt") as draft:
        draft.write_text("new")
    assert (tmp_path / "other").read_text() == "mine"
    assert not (tmp_path / "a.txt").is_symlink()


def test_of_several_at_once_one_wins(tmp_path):
    place, ready = tmp_path / "a.txt", threading.Barrier(4)

    def write(letter):
        with draft_beside(place) as draft:
            draft.write_text(letter * 1000)
            ready.wait(30)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.read_text() in {letter * 1000 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [place]


def test_names_are_never_the_same(tmp_path):
    assert len({draft_name(tmp_path / "a") for _ in range(100)}) == 100
