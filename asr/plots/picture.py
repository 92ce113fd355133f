"""What all pictures share: the formats that they are kept in, and how they are written."""

from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import MachineError, UsageError, to_install
from asr.store import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


def picture_format(path: Path) -> str:
    """Return which of FORMATS the name of a picture asks for.  Raises: UsageError if none."""
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise UsageError(f"{path}: cannot draw a picture of that name; end it in .{', .'.join(FORMATS)}")
    return suffix


def require_matplotlib() -> None:
    """Return if pictures can be drawn here.  Raises: MachineError with the cure."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MachineError(
            f"the package matplotlib is missing, which draws pictures: {to_install('matplotlib')}"
        ) from None


def save_picture(figure: "Figure", path: Path) -> None:
    """Write a picture in the format of its name, whole or not at all.  Raises: MachineError; as `picture_format`."""
    form = picture_format(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=form)
