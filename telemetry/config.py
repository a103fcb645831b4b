"""What the `[telemetry]` section of the configuration may say."""

from pydantic import BaseModel, ConfigDict, Field


class TelemetrySection(BaseModel):
    """How events get into DuckDB and how much memory that may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_rows: int = Field(default=1_000, ge=1, le=10_000)
    batch_ms: int = Field(default=300, ge=10, le=60_000)
    memory_limit_mb: int = Field(default=128, ge=64, le=1_048_576)
    threads: int = Field(default=1, ge=1, le=64)
    stop_flush_s: float = Field(default=10.0, gt=0, le=600)
