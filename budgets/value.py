"""Values: dataclasses that are made often and never changed.

`@value` is a frozen dataclass to the type checker, which holds that nobody assigns to a field. At
run time it is a plain one: a frozen dataclass sets each field through `object.__setattr__`, and the
thirty values that a request makes were an eighth of the gateway's processor time.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A class of values: slots, equality by fields, hashable."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
