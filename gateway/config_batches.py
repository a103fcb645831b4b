"""The `[batches]` section: what files and batches may take."""

from typing import Annotated

from pydantic import Field

from budgets.config import Section


class BatchesSection(Section):
    """`[batches]`: how large an upload may be, and how batches are looked after."""

    max_file_bytes: Annotated[int, Field(ge=1_024, le=536_870_912)] = 52_428_800
    uploads: Annotated[int, Field(ge=1, le=1_000)] = 2
    upload_timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 300
    poll_s: Annotated[float, Field(ge=0.1, le=86_400, allow_inf_nan=False)] = 60.0
    lease_margin_s: Annotated[int, Field(ge=0, le=604_800)] = 7_200
    give_up_s: Annotated[int, Field(ge=60, le=31_536_000)] = 604_800
