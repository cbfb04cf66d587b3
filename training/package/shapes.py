"""The two base shapes: strict for what people type, tolerant for what programs stored."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A shape people type. An unknown key is a typo, so it is an error."""

    # By alias: a key such as `from`, which Python keeps for itself, is stored as it is written.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), serialize_by_alias=True)


class StoredModel(BaseModel):
    """A shape a program wrote. A newer writer may add keys; an older reader drops them."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())
