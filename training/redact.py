"""Settings and locations without the passwords that they may hold."""

import re
from collections.abc import Mapping
from typing import Any

_PASSWORD = re.compile(r"(://[^/@:]*:)[^@/]*@")
_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)


def shown(source: str) -> str:
    """A location without passwords and keys, fit for messages and for what is stored."""
    return _SECRET_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1***@", source))


def without_secrets(value: Any) -> Any:
    """Settings as others may read them: every text in them `shown`."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return shown(value) if isinstance(value, str) else value
