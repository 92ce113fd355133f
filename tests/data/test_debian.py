"""Debian's packages: unpacked without running or trusting anything, found in any form, fetched by apt-get."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from asr.data.debian import DebianCorpus, unpack_deb
from asr.errors import DataError, MachineError, UsageError
from tests.recipes.miniature import ar_member, write_deb

CORPUS = DebianCorpus("Sounds", ["sounds-data", "sounds-data-cs"], "1.0-1", "usr/share/sounds", {})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What a package holds: two files wanted, one not."""
    folder = tmp_path / "files"
    for name in ("usr/share/sounds/a.ogg", "usr/share/sounds/cs/b.ogg", "usr/share/doc/sounds/copyright"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def wanted(path: str) -> bool:
    return path.startswith("usr/share/sounds/")


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["xz", "gz", "bz2", ""])
def test_only_what_is_wanted_is_unpacked(tmp_path: Path, files: Path, mode: str) -> None:
    out = unpack_deb(write_deb(tmp_path / "x.deb", files, mode), tmp_path / "out", wanted)
    assert below(out) == ["usr/share/sounds/a.ogg", "usr/share/sounds/cs/b.ogg"]
    assert (out / "usr/share/sounds/a.ogg").read_text() == "usr/share/sounds/a.ogg"


def test_a_package_compressed_as_zstd_goes_through_dpkg_deb(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarfile.TarFile, "OPEN_METH", {"tar": "taropen"})  # as where Python cannot read it
    plain = tmp_path / "plain.tar"
    with tarfile.open(plain, "w") as tar:
        tar.add(files, ".")
    deb = tmp_path / "x.deb"
    deb.write_bytes(b"!<arch>\n" + ar_member("debian-binary", b"2.0\n") + ar_member("data.tar.zst", b"squeezed"))
    tools = fake_tool(
        tmp_path, "dpkg-deb", f'[ "$1 $2" = "--fsys-tarfile {deb}" ] && cat "{plain}" && head -c 999999 /dev/zero'
    )
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert below(unpack_deb(deb, tmp_path / "out", wanted)) == ["usr/share/sounds/a.ogg", "usr/share/sounds/cs/b.ogg"]
    fake_tool(tmp_path, "dpkg-deb", f'cat "{plain}"; exit 2')
    with pytest.raises(DataError, match=r"dpkg-deb cannot unpack it \(exit code 2\)"):
        unpack_deb(deb, tmp_path / "other", wanted)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(MachineError, match="compressed as zstd, and there is no dpkg-deb here"):
        unpack_deb(deb, tmp_path / "third", wanted)


def test_a_damaged_package_is_refused_and_leaves_nothing(tmp_path: Path, files: Path) -> None:
    whole = write_deb(tmp_path / "x.deb", files).read_bytes()
    for cut in (0, 4, 30, 100, 200, len(whole) // 2, len(whole) - 2):
        (tmp_path / "x.deb").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"x\.deb: .*get it again"):
            unpack_deb(tmp_path / "x.deb", tmp_path / "out", wanted)
    damaged = bytearray(whole)
    damaged[-len(whole) // 3] ^= 0xFF
    (tmp_path / "x.deb").write_bytes(damaged)
    with pytest.raises(DataError, match="not a whole tar archive"):
        unpack_deb(tmp_path / "x.deb", tmp_path / "out", wanted)
    with pytest.raises(DataError, match=r"gone\.deb: cannot read"):
        unpack_deb(tmp_path / "gone.deb", tmp_path / "out", wanted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "usr/../../escaped"])
def test_a_path_that_leads_outside_is_refused_even_if_nobody_wants_it(tmp_path: Path, files: Path, name: str) -> None:
    deb = write_deb(tmp_path / "x.deb", files, members=[tarfile.TarInfo(name)])
    with pytest.raises(DataError, match="leads outside the folder, refused"):
        unpack_deb(deb, tmp_path / "out", wanted)
    assert not (tmp_path / "out").exists()


def test_a_link_is_refused_where_it_is_wanted_and_passed_over_elsewhere(tmp_path: Path, files: Path) -> None:
    link = tarfile.TarInfo("usr/share/games/font")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    unpack_deb(write_deb(tmp_path / "x.deb", files, members=[link]), tmp_path / "out", wanted)
    link.name = "usr/share/sounds/c.ogg"
    with pytest.raises(DataError, match="is a link, refused"):
        unpack_deb(write_deb(tmp_path / "y.deb", files, members=[link]), tmp_path / "other", wanted)


def test_the_corpus_is_found_in_every_form(tmp_path: Path, files: Path) -> None:
    unpacked = tmp_path / "run" / "unpacked"
    tree = files / "usr/share/sounds"
    assert CORPUS.roots(files, unpacked, wanted) == [tree], "installed below the folder"
    assert CORPUS.roots(tree, unpacked, wanted) == [tree], "the tree itself"
    assert CORPUS.roots(files.parent, unpacked, wanted) == [tree], "packages unpacked side by side"
    assert below(unpacked) == []
    debs = tmp_path / "debs"
    write_deb(debs / "sounds-data_1.0-1_all.deb", files)
    write_deb(debs / "sounds-data-cs_1.0-1_all.deb", files)
    for _ in range(2):  # the second time over what the first left
        roots = CORPUS.roots(debs, unpacked, wanted)
        assert roots == [unpacked / name / "usr/share/sounds" for name in ("sounds-data", "sounds-data-cs")]
        assert all(below(root) == ["a.ogg", "cs/b.ogg"] for root in roots)


def test_what_was_unpacked_is_no_corpus_as_it_would_be_emptied(tmp_path: Path, files: Path) -> None:
    unpacked = files.rename(tmp_path / "unpacked")
    for folder in (unpacked, unpacked / "usr" / "share" / "sounds"):
        with pytest.raises(UsageError, match="is unpacked anew on every run"):
            CORPUS.roots(folder, unpacked, wanted)
    assert len(below(unpacked)) == 3, "nothing is lost"


def test_a_folder_without_the_corpus_and_two_versions_are_refused(tmp_path: Path, files: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"neither usr/share/sounds nor sounds-data_\*\.deb; .*sounds-data-cs \(version"
    ):
        CORPUS.roots(tmp_path / "empty", tmp_path / "out", wanted)
    for version in ("1.0-1", "1.1-1"):
        write_deb(tmp_path / "debs" / f"sounds-data_{version}_all.deb", files)
    with pytest.raises(DataError, match=r"holds sounds-data_1\.0-1_all\.deb and sounds-data_1\.1-1_all\.deb; keep one"):
        CORPUS.roots(tmp_path / "debs", tmp_path / "out", wanted)


def fake_tool(folder: Path, name: str, script: str) -> Path:
    """Return a folder for PATH with a program of this name."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
    (tools / name).chmod(0o755)
    return tools


def test_apt_get_fetches_every_package_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = fake_tool(tmp_path, "apt-get", 'echo "$@" > "$3_1.0-1_all.deb"')
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    told: list[int] = []
    folder = CORPUS.fetch(tmp_path / "downloads" / "sounds", lambda done, _: told.append(done))
    assert below(folder) == ["sounds-data-cs_1.0-1_all.deb", "sounds-data_1.0-1_all.deb"]
    assert (folder / "sounds-data_1.0-1_all.deb").read_text() == "-q download sounds-data\n"
    assert len(told) == 2
    assert told == sorted(told)
    (folder / "sounds-data_1.0-1_all.deb").write_text("kept")
    CORPUS.fetch(folder)
    assert (folder / "sounds-data_1.0-1_all.deb").read_text() == "kept"


def test_without_apt_get_it_says_how_to_get_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand = r"get Debian's packages sounds-data, sounds-data-cs \(version 1\.0-1\) by hand .*--corpus"
    tools = fake_tool(tmp_path, "apt-get", "echo start > half; echo 'E: Unable to locate package' >&2; exit 100")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(MachineError, match=rf"cannot download it \(Unable to locate package\); {by_hand}"):
        CORPUS.fetch(tmp_path / "downloads" / "sounds")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(MachineError, match=f"no apt-get here; {by_hand}"):
        CORPUS.fetch(tmp_path / "downloads" / "sounds")
    assert list((tmp_path / "downloads").iterdir()) == [], "nothing half done stays"
