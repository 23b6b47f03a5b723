"""The journal after a crash: nothing lost that was whole, nothing kept that was not, nothing cut before it is known."""

from __future__ import annotations

import json
import os
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
import torch

from detection import journal as journal_module
from detection.errors import InputError
from detection.journal import Journal, JournalEntry
from detection.structures import Detections

SETTINGS = {"model": "abc", "source": "/photos"}
FOUND = Detections(torch.tensor([[1.5, 2.25, 3.1, 4.7]]), torch.tensor([0.125]), torch.tensor([2]), (10, 20))
ENTRY = {"file_name": "b.jpg", "size_hw": [10, 20], "boxes": [[1, 2, 3, 4]], "scores": [0.5], "labels": [2]}
HALF_ENTRIES = (
    {"file_name": "b.jpg"},
    {"file_name": "b.jpg", "error": 3},
    *({**ENTRY, field: wrong} for field in ENTRY for wrong in (None, [], [[]], ["a"])),
    *({**ENTRY, "boxes": boxes} for boxes in ([[1, 2, 3]], [[1, 2, 3, "4"]], [[1, 2, 3, True]], [1, 2, 3, 4])),
    {**ENTRY, "labels": [10**400]},
    {**ENTRY, "labels": [1, 2]},
)
NAMES = ("a.jpg", "b.jpg", "c.jpg")


def written(path: Path, *names: str, settings: dict[str, str] = SETTINGS) -> bytes:
    """Writes a journal of these images; returns its bytes."""
    journal = Journal(path, settings, resume=False)
    for name in names:
        journal.append(JournalEntry(name, FOUND))
    journal.close()
    return path.read_bytes()


def resumed(path: Path, *more: str, settings: dict[str, str] = SETTINGS) -> Journal:
    """Goes on with a journal."""
    journal = Journal(path, settings, resume=True)
    for name in more:
        journal.append(JournalEntry(name, FOUND))
    journal.close()
    return journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_it_gives_back_every_bit(path: Path) -> None:
    awkward = Detections(
        torch.tensor([[0.1, 2 / 3, 1e3, 1e7]]), torch.tensor([0.123456789]), torch.tensor([2]), (10, 20)
    )
    entries = [
        JournalEntry("a.jpg", awkward),
        JournalEntry("sub/ü.jpg", None, "sub/ü.jpg: 0 bytes"),
        JournalEntry("c.jpg", Detections.empty((5, 6))),
    ]
    with closing(Journal(path, SETTINGS, resume=False)) as journal:
        for entry in entries:
            journal.append(entry)
    for entry, found in zip(entries, journal, strict=True):
        assert (found.file_name, found.error) == (entry.file_name, entry.error)
        if entry.detections is not None:
            assert found.detections is not None
            assert torch.equal(found.detections.boxes, entry.detections.boxes)
            assert torch.equal(found.detections.scores, entry.detections.scores)
            assert torch.equal(found.detections.labels, entry.detections.labels)
            assert found.detections.image_size_hw == entry.detections.image_size_hw


def test_detections_are_not_written_over(path: Path) -> None:
    whole = written(path, "a.jpg")
    with pytest.raises(InputError, match="holds detections already; add --resume"):
        Journal(path, SETTINGS, resume=False)
    assert path.read_bytes() == whole
    path.write_text("what somebody else wrote")
    with pytest.raises(InputError, match="holds detections already; add --resume"):
        Journal(path, SETTINGS, resume=False)
    assert path.read_text() == "what somebody else wrote"


def test_a_file_name_that_is_not_utf8_survives(path: Path) -> None:
    name = os.fsdecode(b"\xfc.jpg")
    settings = {**SETTINGS, "source": os.fsdecode(b"/photos/\xe4")}
    journal = Journal(path, settings, resume=False)
    journal.append(JournalEntry(name, FOUND))
    journal.append(JournalEntry("ü.jpg", None, f"{name}: 0 bytes"))
    journal.close()
    assert path.read_bytes().isascii()
    journal = resumed(path, settings=settings)
    assert journal.done == {name, "ü.jpg"}
    assert [(entry.file_name, entry.error) for entry in journal] == [(name, None), ("ü.jpg", f"{name}: 0 bytes")]
    with pytest.raises(InputError, match="give another --out") as refused:
        resumed(path)
    assert str(refused.value).isascii()


def test_one_process_writes_at_a_time(path: Path) -> None:
    first = Journal(path, SETTINGS, resume=False)
    first.append(JournalEntry("a.jpg", FOUND))
    before = path.read_bytes()
    with pytest.raises(InputError, match="another process is detecting into this folder; wait for its end"):
        Journal(path, SETTINGS, resume=True)
    assert path.read_bytes() == before
    first.close()
    assert resumed(path, "b.jpg").done == {"a.jpg", "b.jpg"}


def test_what_could_not_be_read_is_tried_again(path: Path) -> None:
    journal = Journal(path, SETTINGS, resume=False)
    for name, error in (("a.jpg", "0 bytes"), ("b.jpg", None), ("c.jpg", "x")):
        journal.append(JournalEntry(name, FOUND if error is None else None, error))
        assert not journal.lacks(name)
    journal.close()
    whole = path.read_bytes()

    journal = Journal(path, SETTINGS, resume=True)
    assert [name for name in NAMES if journal.lacks(name)] == ["a.jpg", "c.jpg"]
    assert journal.num_settled == 1
    journal.append(JournalEntry("a.jpg", None, "0 bytes"))
    assert path.read_bytes() == whole  # nothing new
    journal.append(JournalEntry("c.jpg", FOUND))
    assert not any(map(journal.lacks, NAMES))
    assert journal.num_settled == 3
    journal.close()
    assert [(entry.file_name, entry.error) for entry in journal] == [
        ("a.jpg", "0 bytes"),
        ("b.jpg", None),
        ("c.jpg", None),
    ]

    journal = Journal(path, SETTINGS, resume=True)
    assert [name for name in NAMES if journal.lacks(name)] == ["a.jpg"]
    journal.append(JournalEntry("a.jpg", None, "no image"))  # mended, but not well: the reason is another
    journal.close()
    assert [(entry.file_name, entry.error) for entry in journal] == [
        ("a.jpg", "no image"),
        ("b.jpg", None),
        ("c.jpg", None),
    ]


def test_a_journal_with_letters_written_as_themselves_goes_on(path: Path) -> None:
    settings = {**SETTINGS, "source": "/Fotos/für"}
    lines = written(path, "ü.jpg", settings=settings).splitlines()
    path.write_text("".join(json.dumps(json.loads(line), ensure_ascii=False) + "\n" for line in lines), "utf-8")
    assert resumed(path, settings=settings).done == {"ü.jpg"}


@pytest.mark.parametrize(
    "damage",
    [
        b"\0" * 300,
        b"\0" * 300 + b"\n",
        b'{"file_name": "b.jpg", "size_hw": [1' + b"\0" * 50 + b"\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"[]\n",
        b'{"file_name": 3}\n',
        b"{}\n",
        *(json.dumps(record).encode() + b"\n" for record in HALF_ENTRIES),
        b"\n",
    ],
)
@pytest.mark.parametrize("is_last", [True, False])
def test_a_damaged_line_costs_no_other(path: Path, damage: bytes, is_last: bool) -> None:
    whole = written(path, *NAMES)
    first_lines = b"".join(whole.splitlines(keepends=True)[:2])
    path.write_bytes(first_lines + damage + (b"" if is_last else whole[len(first_lines) :]))
    journal = Journal(path, SETTINGS, resume=True)
    swallowed = {"b.jpg"} - ({"b.jpg"} if damage.endswith(b"\n") else set())  # without its end it takes the next line
    assert journal.done == ({"a.jpg"} if is_last else set(NAMES) - swallowed)
    if is_last:
        assert path.read_bytes() == first_lines
    for name in sorted(set(NAMES) - journal.done):
        journal.append(JournalEntry(name, FOUND))
    journal.close()
    if is_last:
        assert path.read_bytes() == whole
    swallowed_last = ["a.jpg", "c.jpg", "b.jpg"]  # what is done again stands at the end
    assert [entry.file_name for entry in journal] == (swallowed_last if swallowed and not is_last else list(NAMES))
    assert resumed(path).done == set(NAMES)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_a_kill_left_half_written_is_done_again(path: Path, cut: int) -> None:
    whole = written(path, *NAMES)
    path.write_bytes(whole[:-cut])
    assert resumed(path, "c.jpg").done == set(NAMES)
    assert path.read_bytes() == whole


def test_the_settings_that_differ_are_named(path: Path) -> None:
    written(path, *NAMES)
    differs = r"was written with another model, and source '.*', now 'b', and tile '', now '64'; give another --out"
    with pytest.raises(InputError, match=differs):
        resumed(path, settings={"model": "other", "source": "b", "tile": "64"})


@pytest.mark.parametrize("tail", [b"", b'{"file_name": "d.j', b"\0" * 20])
def test_a_journal_of_other_settings_is_not_touched(path: Path, tail: bytes) -> None:
    content = written(path, *NAMES) + tail
    path.write_bytes(content)
    with pytest.raises(InputError, match="was written with another model; give another --out"):
        resumed(path, settings={**SETTINGS, "model": "other"})
    assert path.read_bytes() == content


def test_a_journal_whose_settings_cannot_be_read_is_not_touched(path: Path) -> None:
    content = b"\0" * 60 + written(path, *NAMES)[60:]
    path.write_bytes(content)
    with pytest.raises(InputError, match="a first line that is damaged"):
        resumed(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b'{"journal": 1, "mod', b"\0" * 20])
def test_a_journal_that_never_got_its_first_line_starts_anew(path: Path, content: bytes) -> None:
    whole = written(path, *NAMES)
    path.write_bytes(content)
    assert resumed(path, *NAMES).done == set(NAMES)
    assert path.read_bytes() == whole


def test_resuming_makes_no_detections(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path, *NAMES)
    monkeypatch.delattr(journal_module, "Detections")
    assert resumed(path).done == set(NAMES)


def test_resuming_holds_one_line_at_a_time(path: Path) -> None:
    with path.open("wb") as file:
        file.write(written(path.with_name("other"), *NAMES).splitlines(keepends=True)[0])
        for number in range(200):
            record = {"file_name": str(number), "error": "x" * 10_000}
            file.write(json.dumps(record).encode() + b"\n")
    size = path.stat().st_size
    tracemalloc.start()
    assert len(resumed(path).done) == 200
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size / 10


def test_a_mended_file_keeps_its_place(path: Path) -> None:
    """Whatever was tried how often, the order is that of an undisturbed run, and so are the results."""
    outcomes = [{"b.jpg": "gone", "d.jpg": "cut"}, {"b.jpg": "short"}, {}]
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    for sitting, errors in enumerate(outcomes):
        journal = Journal(path, SETTINGS, resume=sitting > 0)
        for name in filter(journal.lacks, names):
            journal.append(JournalEntry(name, None if name in errors else FOUND, errors.get(name)))
        journal.close()
        expected = [(name, errors.get(name)) for name in names]
        assert [(entry.file_name, entry.error) for entry in journal] == expected
        with closing(Journal(path, SETTINGS, resume=True)) as again:
            assert [(entry.file_name, entry.error) for entry in again] == expected
