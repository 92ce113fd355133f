"""Settings of a recognition that are typed as key.path=value."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from asr.config import Config, apply_override, parse, split_overrides
from asr.decoding.endpoint import EndpointConfig


class SeenConfig(Config):
    """What the backward direction sees, in place of what the model was trained with."""

    chunk_ms: float | None = Field(None, ge=0, le=60000, description="audio that it reads at once; 0 = all")
    right_context_ms: float | None = Field(None, ge=0, le=10000, description="audio behind a chunk that it reads, too")

    @model_validator(mode="after")
    def _check(self) -> "SeenConfig":
        if self.right_context_ms is not None and self.chunk_ms is None:
            raise ValueError("right_context_ms is what lies behind a chunk; give chunk_ms, too")
        return self

    @property
    def context(self) -> tuple[float, float] | None:
        """(chunk_ms, right_context_ms) if they were given."""
        return None if self.chunk_ms is None else (self.chunk_ms, self.right_context_ms or 0.0)


class Settings(Config):
    """All of them."""

    encoder: SeenConfig = Field(SeenConfig(), description="what the network sees")
    endpoint: EndpointConfig = Field(EndpointConfig(), description="where a stream is cut, with --live")


def settings_of(words: Sequence[str]) -> tuple[list[str], Settings]:
    """Return the words that are no settings, and the settings.  Raises: UsageError for keys that are none."""
    others, overrides = split_overrides(words)
    values: dict[str, object] = {}
    for override in overrides:
        apply_override(values, override)
    return others, parse(Settings, values, where="settings")
