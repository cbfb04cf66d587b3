"""What stands behind an import path of a person's own code."""

import importlib
import sys

from training.errors import ConfigError


def load_class(target: str, code_path: str, key: str) -> type:
    """The class behind "package.module:Class". Raises ConfigError where it cannot be imported.

    Args:
        target: the import path.
        code_path: folder that it is looked for in first, besides the usual places.
        key: the setting that names it, for the error.
    """
    module_name, _, class_name = target.partition(":")
    if code_path and code_path not in sys.path:
        sys.path.insert(0, code_path)
    try:
        importlib.invalidate_caches()  # the file may be younger than the process
        module = importlib.import_module(module_name)
    except Exception as error:  # a person's module may raise anything while it is imported
        raise ConfigError(
            f"{key} {target} cannot be imported: {type(error).__name__}: {error}",
            f"put {module_name.replace('.', '/')}.py beside the experiment file"
            f" ({code_path or 'unknown'}) or install it",
        ) from error
    if not isinstance(found := getattr(module, class_name, None), type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(
            f"{key} {target}: {module_name} has no class {class_name}", f"it has: {', '.join(classes) or 'no class'}"
        )
    return found
