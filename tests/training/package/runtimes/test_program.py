"""Archives of torch: what Manta writes is loaded, and nothing in a file makes torch run anything else."""

import atexit
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from training.compress.forms.export import ScoringModel
from training.compress.forms.torch_forms import make_torch_form
from training.compress.quiet import quiet
from training.package.errors import PackageError
from training.package.manifest import Variant
from training.package.runtime import open_runner
from training.package.runtimes.on_torch import TorchRunner

NUMERIC = {"numeric": np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)}
MODEL, WEIGHTS = "archive/models/model.json", "archive/data/weights/model_weights_config.json"
EXAMPLES = "archive/data/sample_inputs/model.pt"
Contents = dict[str, bytes]


class Evil:
    """Its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@cache
def contents() -> Contents:
    torch.manual_seed(0)
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder)
    archive = Path(folder) / "form.pt2"
    scoring = ScoringModel(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), "classification")
    make_torch_form("fp32", scoring, NUMERIC, archive, "cpu")
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def write(path: Path, files: Contents) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def edited(change: Callable[[dict[str, Any]], object], name: str = MODEL) -> Contents:
    changed = json.loads(contents()[name])
    change(changed)
    return contents() | {name: json.dumps(changed).encode()}


def graph(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["graph_module"]["graph"]
    return found


def sizes(model: dict[str, Any]) -> dict[str, Any]:
    """The first size of a tensor that is not known beforehand."""
    all_sizes = (size for tensor in graph(model)["tensor_values"].values() for size in tensor["sizes"])
    found: dict[str, Any] = next(size["as_expr"] for size in all_sizes if "as_expr" in size)
    return found


def trees(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["graph_module"]["module_call_graph"][0]["signature"]
    return found


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "form.pt2", contents())
    assert TorchRunner(path)(NUMERIC).shape == (6, 3)
    variant = Variant(
        name="fp32", file="form.pt2", runtime="torch", size_bytes=1, metrics={}, latency={}, tolerance=0, offered=True,
        weights_quantized_fraction=0,
    )  # fmt: skip
    np.testing.assert_array_equal(open_runner(tmp_path, variant)(NUMERIC), TorchRunner(path)(NUMERIC))


def attacks(mark: Path) -> dict[str, Contents]:
    """Each would make a file at `mark`, or run something else, were torch given it."""
    evil, python = pickle.dumps(Evil(mark)), f"__import__('pathlib').Path({str(mark)!r}).touch()"
    saved = io.BytesIO()
    torch.save(Evil(mark), saved)
    return {
        "examples": contents() | {EXAMPLES: saved.getvalue()},
        "weight": edited(lambda c: next(iter(c["config"].values())).update(use_pickle=True), WEIGHTS),
        "legacy weights": contents() | {"archive/data/weights/model.pt": saved.getvalue()},
        "legacy constants": contents() | {"archive/data/constants/model.pt": saved.getvalue()},
        "opaque constant": contents() | {"archive/data/constants/opaque_obj_0": evil},
        "compiled code": contents() | {"archive/data/aotinductor/model/model.so": b"\x7fELF"},
        "second model": contents() | {"archive/models/other.json": contents()[MODEL]},
        "size": edited(lambda m: sizes(m).update(expr_str=python)),
        "size by attribute": edited(lambda m: sizes(m).update(expr_str="Symbol('s0').__class__")),
        "operator": edited(lambda m: graph(m)["nodes"][0].update(target="torch.os.system")),
        "loading operator": edited(lambda m: graph(m)["nodes"][0].update(target="torch.load")),
        "operator of a file": edited(lambda m: graph(m)["nodes"][0].update(target="torch.ops.aten.from_file.default")),
        "own operator": edited(lambda m: graph(m)["nodes"][0].update(target="#mine:whatever")),
        "guard": edited(lambda m: m.update(guards_code=[python])),
        "name": edited(lambda m: graph(m)["nodes"][0].update(name=f"x\n{python}")),
        "input name": edited(lambda m: graph(m)["inputs"][0]["as_tensor"].update(name=f"x={python}")),
        "metadata": edited(lambda m: graph(m)["nodes"][0].update(metadata={"source_fn_stack": f"a,{python}"})),
        "key": edited(lambda m: graph(m)["tensor_values"].update({python: {}})),
        "tree": edited(
            lambda m: trees(m).update(
                in_spec='[1, {"type": "collections.defaultdict", "context": {"default_factory_module": "antigravity"},'
                ' "children_spec": []}]'
            )
        ),
    }


@pytest.mark.parametrize("name", attacks(Path("mark")))
def test_a_file_that_would_run_something_else_is_refused_before_torch_opens_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("torch was given the file")

    monkeypatch.setattr("training.package.runtimes.on_torch.load_pt2", opened)
    with pytest.raises(PackageError) as caught:
        TorchRunner(write(tmp_path / "form.pt2", attacks(mark)[name]))
    assert "could run code" in caught.value.message or "has not" in caught.value.message
    assert not mark.exists()


def test_the_pickle_of_these_tests_would_have_worked(tmp_path: Path) -> None:
    """Else the tests above prove nothing: torch's own loader runs it."""
    mark = tmp_path / "mark"
    path = write(tmp_path / "form.pt2", attacks(mark)["examples"])
    with quiet(), pytest.raises((RuntimeError, AssertionError)):
        torch.export.load(path)
    assert mark.exists()


def without(name: str) -> Contents:
    return {key: content for key, content in contents().items() if key != name}


@pytest.mark.parametrize(
    "files",
    [
        {"archive/archive_format": b"pt2"},
        without(MODEL),
        without(EXAMPLES),
        without("archive/extra/inputs.json"),
        contents() | {MODEL: b"{"},
        contents() | {MODEL: b"[" * 100_000},
        contents() | {WEIGHTS: b"{}"},
        contents() | {"archive/extra/inputs.json": b'["numeric", "surprise"]'},
        contents() | {"archive/extra/inputs.json": b"[]"},
        edited(lambda m: graph(m).update(nodes=[])),
    ],
    ids=["empty", "no model", "no examples", "no names", "half", "deep", "no config", "other", "none", "no nodes"],
)
def test_what_is_no_whole_program_is_said_to_be_none(files: Contents, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"form\.pt2"):
        TorchRunner(write(tmp_path / "form.pt2", files))


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "form.pt2").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(PackageError, match="is not an archive that torch can read"):
        TorchRunner(tmp_path / "form.pt2")


def test_rows_of_another_shape_are_told(tmp_path: Path) -> None:
    run = TorchRunner(write(tmp_path / "form.pt2", contents()))
    with pytest.raises(PackageError, match=r"torch cannot run .*form\.pt2: "):
        run({"numeric": np.zeros((3, 4), np.float32)})
