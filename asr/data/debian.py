"""Corpora in Debian's archive: fetched with apt-get, unpacked here, or taken from where they are installed.

A .deb is an `ar` archive of debian-binary, control.tar.* and data.tar.*; the last holds the files.  Nothing of a
package is run, and only the files asked for are written.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import BinaryIO

from asr.data.corpus import CorpusSignature, verify
from asr.data.download import ExtractLimits, Readable, extract_tar
from asr.data.published import write_manifests
from asr.data.sifting import Sifted, summary, write_left_out
from asr.data.splits import split_by_text
from asr.errors import DataError, MachineError, UsageError, writing

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known

MAX_UNPACKED = ExtractLimits(max_files=100_000, max_bytes=4 << 30)
_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60  # of a member, see deb(5) and ar(5): name 16, time 12, owner 6, group 6, mode 8, size 10, end 2
_SIZE = re.compile(rb"(\d+) *`\n")


@dataclass(frozen=True)
class Selection:
    """What of a corpus to prepare.

    Attributes:
        language: of its recordings.
        train_minutes: how much to train on at most.
        accept: refuse recordings and texts that are not those of the version known.
    """

    language: str
    train_minutes: float = inf
    accept: bool = True


@dataclass(frozen=True)
class DebianCorpus:
    """A corpus that packages of Debian install.

    Attributes:
        name: for messages.
        packages: their names; together they hold the corpus.
        version: of the packages that the signatures were made of.
        tree: the folder that they install, without the first "/".
        signatures: of what is used of it, by language, by which a corpus is accepted.
    """

    name: str
    packages: Sequence[str]
    version: str
    tree: str
    signatures: Mapping[str, CorpusSignature]

    def fetch(self, folder: Path, progress: Progress | None = None) -> Path:
        """Return `folder`, filled by `apt-get download` unless it is there.

        Raises: MachineError with the way to get the packages by hand.
        """
        if folder.exists():
            return folder
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        with writing(folder):
            temporary.mkdir(parents=True)
        try:
            for package in self.packages:
                self._download(package, temporary)
                if progress is not None:
                    progress(sum(file.stat().st_size for file in temporary.iterdir()), None)
            with writing(folder):
                os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def roots(self, folder: Path, unpacked: Path, wanted: Callable[[str], bool]) -> list[Path]:
        """Return the folders that hold the corpus's tree.

        They lie in `folder` (an installed tree, or packages unpacked side by side), or in `unpacked`, where the
        .deb files of `folder` are unpacked anew.  `unpacked` is there afterwards, if only empty.

        Args: wanted: whether to unpack the file of this path, which starts with `tree`.
        Raises: DataError if the folder holds neither, for two versions of a package, and for a damaged .deb;
            UsageError if `folder` lies in `unpacked`, which is emptied.
        """
        if folder.resolve().is_relative_to(unpacked.resolve()):
            raise UsageError(f"{folder}: is unpacked anew on every run; give the folder of the .deb files as --corpus")
        with writing(unpacked):
            shutil.rmtree(unpacked, ignore_errors=True)
            unpacked.mkdir(parents=True)
        below = Path(self.tree)
        if folder.parts[-len(below.parts) :] == below.parts:
            return [folder]
        found = [root for root in (folder / below, *sorted(folder.glob(f"*/{below}"))) if root.is_dir()]
        if found:
            return found
        debs = [deb for package in self.packages if (deb := _only_deb(folder, package)) is not None]
        if not debs:
            raise DataError(
                f"{folder}: not the corpus {self.name}, as it has neither {below} nor {self.packages[0]}_*.deb; "
                f"give the folder that holds one, or {self._by_hand()}"
            )
        return [unpack_deb(deb, unpacked / deb.name.split("_")[0], wanted) / below for deb in debs]

    def write_parts(self, sifted: Sifted, out: Path, selection: Selection) -> str:
        """Write train, valid, test and left_out.tsv to `out`; return one line that counts what is used and what not.

        Raises: DataError if the corpus is not to be accepted; MachineError if `out` cannot be written.
        """
        utterances, left_out = sifted
        if selection.accept:
            cure = f"{self._by_hand()}, or use --accept any: its numbers then compare with nothing"
            name = f"{self.name} {selection.language}"
            verify(name, utterances, self.signatures[selection.language], cure=cure)
        parts = split_by_text(utterances, train_seconds=60 * selection.train_minutes)
        write_manifests(out, {"train": parts.train, "valid": parts.valid, "test": parts.test})
        write_left_out(out / "left_out.tsv", left_out)
        return summary(len(utterances), left_out, out / "left_out.tsv")

    def _download(self, package: str, folder: Path) -> None:
        command = ["apt-get", "-q", "download", package]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        except FileNotFoundError:
            raise MachineError(f"{package}: cannot download, as there is no apt-get here; {self._by_hand()}") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").split("\n")
            why = next((line[3:] for line in lines if line.startswith("E: ")), f"exit code {done.returncode}")
            raise MachineError(f"{package}: apt-get cannot download it ({why.strip()}); {self._by_hand()}")

    def _by_hand(self) -> str:
        return (
            f"get Debian's packages {', '.join(self.packages)} (version {self.version}) by hand "
            "and give their folder as --corpus"
        )


def unpack_deb(deb: Path, folder: Path, wanted: Callable[[str], bool]) -> Path:
    """Return `folder`, filled with those of a package's files whose paths ("usr/share/...") are wanted.

    Raises: DataError for a damaged package, or one with paths that lead outside; MachineError where the folder
        cannot be written, or the package is compressed in a way that neither Python nor dpkg-deb here can read.
    """
    with _reading(deb), open(deb, "rb") as file:
        name = _find_data(deb, file)
        suffix = name.rpartition(".")[2]
        if suffix == "zst" and suffix not in tarfile.TarFile.OPEN_METH:
            with _from_dpkg(deb) as source:
                return extract_tar(deb, folder, limits=MAX_UNPACKED, source=source, wanted=wanted)
        return extract_tar(deb, folder, limits=MAX_UNPACKED, source=file, wanted=wanted)


def _only_deb(folder: Path, package: str) -> Path | None:
    """Return the package's .deb file, None if there is none.  Raises: DataError for more than one."""
    debs = sorted(folder.glob(f"{package}_*.deb"))
    if len(debs) > 1:
        raise DataError(f"{folder}: holds {debs[0].name} and {debs[1].name}; keep one version of {package}")
    return debs[0] if debs else None


@contextlib.contextmanager
def _reading(deb: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{deb}: cannot read: {error.strerror or error}; check its permissions") from None


def _find_data(deb: Path, file: BinaryIO) -> str:
    """Leave `file` at the start of the member data.tar.*, and return that one's name."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise DataError(f"{deb}: not a Debian package, as it does not start with '!<arch>'; get it again")
    while header := file.read(_HEADER_BYTES):
        start, match = file.tell(), _SIZE.fullmatch(header[48:])
        if match is None or start + int(match[1]) > end:
            raise DataError(f"{deb}: cut off, or damaged at byte {start - len(header)} of {end}; get it again")
        name = header[:16].decode(errors="replace").rstrip(" /")
        if name.startswith("data.tar"):
            return name
        file.seek(start + int(match[1]) + int(match[1]) % 2)  # members start at even bytes
    raise DataError(f"{deb}: not a Debian package, as it holds no data.tar; get it again")


@contextlib.contextmanager
def _from_dpkg(deb: Path) -> Iterator[Readable]:
    """Yield the data.tar of a package as dpkg-deb decompresses it."""
    try:
        process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb.absolute())], stdout=subprocess.PIPE)
    except FileNotFoundError:
        cure = "install dpkg, use Python 3.14, or unpack the package by hand and give that folder"
        raise MachineError(f"{deb}: compressed as zstd, and there is no dpkg-deb here; {cure}") from None
    with process:
        assert process.stdout is not None
        yield process.stdout
        while process.stdout.read(1 << 20):  # the padding after the last file: closed on it, dpkg-deb would complain
            pass
    if process.returncode:
        raise DataError(f"{deb}: dpkg-deb cannot unpack it (exit code {process.returncode}); get it again")
