"""Is a `.pt2` archive only numbers and a graph of known operators? Asked before torch opens it.

What `torch.load` refuses unless it is told to, torch's loader of programs does unasked: it unpickles tensors of
subclasses, custom objects and example inputs, evaluates the text of sizes, compiles guards, and looks operators up by
name anywhere below `torch`, so that `torch.os.system` is one. Manta writes none of these, and so refuses them all.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.package.errors import PackageError

INPUTS_FILE = "inputs.json"  # names of the program's inputs, in order: it knows only their places
_MODEL, _EXAMPLES, _INPUTS = "models/model.json", "data/sample_inputs/model.pt", f"extra/{INPUTS_FILE}"
_WEIGHTS, _CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
_KNOWN_FILE = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|\.(format_version|storage_alignment)"
)
_OPERATOR = re.compile(
    r"torch\.ops\.(aten\.(?!from_file)|torchao\.)\w+\.\w+|torch\.ops\.higher_order\.out_dtype"
    r"|_operator\.(add|sub|mul|floordiv|mod|neg|truediv|ge|gt|le|lt|eq|ne|getitem)|torch\.sym_(max|min|not|ite)"
)
_PLAIN_TEXT = re.compile(r"[\w.+\-]*")
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_SIZE_FUNCTIONS = frozenset({
    "Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Min", "Max", "Mod", "PythonMod", "FloorDiv", "CleanDiv",
    "CeilDiv", "TruncToInt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan",
    "StrictGreaterThan", "GreaterThan", "And", "Or", "Not",
})  # fmt: skip
_SIZE_SYNTAX = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.Load, ast.BinOp, ast.UnaryOp, ast.Compare,
    ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


@dataclass(frozen=True)
class Program:
    """What an archive holds."""

    input_names: tuple[str, ...]
    operators: frozenset[str]

    @property
    def needs_torchao(self) -> bool:
        """Whether it calls operators that torchao brings."""
        return any(name.startswith("torch.ops.torchao.") for name in self.operators)

    @property
    def multiplies_int8(self) -> bool:
        """Whether it multiplies matrices of int8, which cuBLAS has rules of its own for."""
        return any("._int_mm." in name or name.endswith(".out_dtype") for name in self.operators)


def check_program(path: Path, names: Iterable[str], read: Callable[[str], bytes]) -> Program:
    """Names of the inputs and operators of an archive that runs nothing but these.

    Args:
        path: the archive, for messages.
        names: files in it.
        read: gives one of them; of the reader that torch will load it with, since two may see two different archives.

    Raises:
        PackageError: it holds something else, or is no archive of a program.
    """
    names, needed = list(names), {_MODEL, _EXAMPLES, _INPUTS, _WEIGHTS, _CONSTANTS}
    if missing := needed - set(names):
        raise PackageError(f"{path} is no program that Manta wrote: it has no {min(missing)}")
    if unknown := [name for name in names if name not in needed and not _KNOWN_FILE.fullmatch(name)]:
        raise PackageError(f"{path} holds {unknown[0]}, which a program that Manta wrote has not")
    try:
        return _seen(read)
    except _Refused as refused:
        raise PackageError(f"{path} {refused}, which could run code of anybody's") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(f"{path} is no program that Manta wrote: {type(error).__name__}: {error}") from error


def _seen(read: Callable[[str], bytes]) -> Program:
    if read(_EXAMPLES):
        raise _Refused("holds example inputs, which are pickled")
    for config in (_WEIGHTS, _CONSTANTS):
        _check_payload(json.loads(read(config)))
    walk = _Walk()
    walk.check(json.loads(read(_MODEL)))
    return Program(tuple(str(name) for name in json.loads(read(_INPUTS))), frozenset(walk.operators))


class _Refused(Exception):
    """What an archive does that it must not."""


def _check_payload(config: dict[str, Any]) -> None:
    for name, entry in config["config"].items():
        if entry["use_pickle"] is not False:
            raise _Refused(f"holds {name[:80]} pickled")
        if not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise _Refused(f"keeps {name[:80]} in a file of another kind")


class _Walk:
    """Sees every text of a serialized graph. A text is plain unless its key says what else it is."""

    def __init__(self) -> None:
        self.operators: set[str] = set()

    def check(self, value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, part in value.items():
                _check_plain(name)
                self.check(part, name)
        elif isinstance(value, list):
            for part in value:
                self.check(part, key)
        elif isinstance(value, str):
            self._check_text(key, value)

    def _check_text(self, key: str, text: str) -> None:
        match key:
            case "target" | "as_operator":
                if not _OPERATOR.fullmatch(text):
                    raise _Refused(f"calls {text[:80]!r}")
                self.operators.add(text)
            case "expr_str":
                _check_size(text)
            case "in_spec" | "out_spec":
                _, tree = json.loads(text)
                _check_tree(tree)
            case "guards_code" | "as_custom_obj" | "custom":
                raise _Refused(f"has {key}")
            case _:
                _check_plain(text)


def _check_plain(text: str) -> None:
    """Names become Python source when torch loads a graph."""
    if not _PLAIN_TEXT.fullmatch(text):
        raise _Refused(f"has {text[:80]!r} where a name belongs")


def _check_size(text: str) -> None:
    """A size such as `Mul(Integer(2), Symbol('s0', positive=True))`: torch gives the text to sympy, which runs it."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except SyntaxError:
        raise _Refused(f"has {text[:80]!r} for a size") from None
    for node in nodes:
        known = isinstance(node, _SIZE_SYNTAX)
        if isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in _SIZE_FUNCTIONS
        elif isinstance(node, ast.Name):
            known = node.id in _SIZE_FUNCTIONS or re.fullmatch(r"[a-z]+\d+", node.id) is not None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            known = re.fullmatch(r"[a-z]+\d+", node.value) is not None
        if not known:
            raise _Refused(f"has {text[:80]!r} for a size")


def _check_tree(tree: dict[str, Any]) -> None:
    """How arguments nest. Other types than these bring constructors of their own."""
    if tree["type"] not in _TREE_TYPES or tree["context"] not in (None, "null", "[]"):
        raise _Refused(f"nests its arguments in {str(tree['type'])[:80]}")
    for child in tree["children_spec"]:
        _check_tree(child)
