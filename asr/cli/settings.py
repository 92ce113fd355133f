"""Settings of a recognition that are typed as key.path=value."""

from collections.abc import Sequence

from pydantic import Field, model_validator

from asr.config import Config, apply_override, parse, split_overrides
from asr.decoding.endpoint import EndpointConfig
from asr.errors import UsageError


class SeenConfig(Config):
    """What the backward direction sees, in place of what the model was trained with."""

    chunk_ms: float | None = Field(None, ge=0, le=60000, description="audio that it reads at once; 0 = all")
    right_context_ms: float | None = Field(
        None, ge=0, le=10000, description="audio behind it that it reads, too; none: as the model does"
    )

    @model_validator(mode="after")
    def _check(self) -> "SeenConfig":
        if self.right_context_ms is not None and self.chunk_ms is None:
            raise ValueError("right_context_ms is what lies behind a chunk; give chunk_ms, too")
        return self

    @property
    def context(self) -> tuple[float, float | None] | None:
        """(chunk_ms, right_context_ms) if a chunk was given; a right context of None is the model's own."""
        return None if self.chunk_ms is None else (self.chunk_ms, self.right_context_ms)


class Settings(Config):
    """All of them."""

    encoder: SeenConfig = Field(SeenConfig(), description="what the network sees")
    endpoint: EndpointConfig = Field(EndpointConfig(), description="where a stream is cut, with --live")

    def refuse_endpoint(self, instead: str) -> None:
        """Raise UsageError if there are settings of what only a stream has."""
        if given := self.endpoint.model_fields_set:
            raise UsageError(f"endpoint.{min(given)} cuts a stream; give it with {instead}")


def settings_of(words: Sequence[str]) -> tuple[list[str], Settings]:
    """Return the words that are no settings, and the settings.  Raises: UsageError for keys that are none."""
    others, overrides = split_overrides(words)
    values: dict[str, object] = {}
    for override in overrides:
        apply_override(values, override)
    return others, parse(Settings, values, where="settings")
