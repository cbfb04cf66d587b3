"""Predictor: the same answers by every way in, and no answer from a package that is not what it was."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from serving.errors import BadInput
from serving.predictor import ROWS_PER_CALL, Predictor, inputs_of_table
from serving.replica import model_app
from tests.packages import (
    TABLE_ROWS,
    quantized_table_graph,
    write_image_package,
    write_quantized_package,
    write_table_package,
)
from tests.serving.asking import Model
from training.package.errors import PackageError
from training.package.golden import Golden
from training.package.machine import Machine, this_machine
from training.package.manifest import Comparison, Manifest
from training.package.read import load_package
from training.package.serve_config import ServeConfig
from training.package.transforms import FeatureEncoder
from training.package.write import write_package


def rewritten(
    folder: Path, *, golden: dict[str, Any] | None = None, files: dict[str, bytes] | None = None, **changed: Any
) -> Path:
    """The package again, whole and properly digested, but with other golden rows, files or lines of the manifest."""
    manifest: Manifest = load_package(folder).manifest.model_copy(update=changed)
    content: dict[str, bytes | Path] = {name: folder / name for name in manifest.sha256}
    if golden is not None:
        content["golden.json"] = Golden.model_validate(golden).model_dump_json().encode()
    target = folder.parent / "rewritten"
    write_package(target, manifest, {**content, **(files or {})})
    return target


def test_table_records_and_arrays_agree(table: Model) -> None:
    predictor = table.predictor
    by_table = predictor.predict_table(pa.table({**TABLE_ROWS, "not an input": [1, 2, 3]}))
    by_records = predictor.predict_records(
        [dict(zip(TABLE_ROWS, row, strict=True)) for row in zip(*TABLE_ROWS.values(), strict=True)]
    )
    assert by_table.column_names == ["label", "probability_no", "probability_yes"]
    assert by_table["label"].to_pylist() == [record["label"] for record in by_records]
    assert by_table["probability_yes"].to_pylist() == [record["probabilities"]["yes"] for record in by_records]


def test_a_regression_predicts_numbers(regression: Model) -> None:
    rows = {name: TABLE_ROWS[name] for name in ("age", "hours")}
    predictions = regression.predictor.predict_table(pa.table(rows))["prediction"].to_pylist()
    assert predictions[0] == regression.predictor.predict_records([{"age": 25.0, "hours": 40.0}])[0]["prediction"]


def test_more_rows_than_one_call_takes(regression: Model) -> None:
    ages = np.arange(ROWS_PER_CALL + 3, dtype=np.float32) % 70
    answers = regression.predictor.predict({"age": ages, "hours": ages})["prediction"]
    assert answers.shape == ages.shape
    np.testing.assert_allclose(answers[ROWS_PER_CALL:], regression.predictor.predict(
        {"age": ages[ROWS_PER_CALL:], "hours": ages[ROWS_PER_CALL:]})["prediction"], rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"age": [1.0], "hours": [1.0]}, "'city' is missing"),
        ({"age": ["x"], "hours": [1.0], "city": ["Rome"]}, "a numeric column holds something else"),
        ({"age": [float("inf")], "hours": [1.0], "city": ["Rome"]}, "beyond the range of float32"),
        ({"age": [], "hours": [], "city": []}, "the table has no rows"),
    ],
)
def test_bad_tables_are_refused(columns: dict[str, Any], reason: str, table: Model) -> None:
    with pytest.raises(BadInput, match=reason):
        table.predictor.predict_table(pa.table(columns))


def test_absurd_numbers_spoil_nobody_elses_answer(table: Model) -> None:
    one = {"age": np.array([39.0]), "hours": np.array([40.0]), "city": np.array(["Rome"], dtype=object)}
    both = {
        "age": np.array([39.0, 3e38]),
        "hours": np.array([40.0, -3e38]),
        "city": np.array(["Rome", "?"], dtype=object),
    }
    answers = table.predictor.predict(both)["probabilities"]
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(answers[:1], table.predictor.predict(one)["probabilities"], rtol=1e-6)


def test_self_test_passes_and_warm_up_measures(table: Model) -> None:
    table.predictor.self_test()
    assert 0 < table.predictor.warm_up()(1) < 1


def test_other_answers_to_golden_rows_are_refused(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["outputs"]["fp32"]["probabilities"][1][0] += 0.01
    with pytest.raises(PackageError, match=r"variant fp32 answers its golden rows otherwise here: .* differ by 0\.01"):
        Predictor.load(rewritten(tmp_path / "package", golden=golden)).self_test()


def test_another_label_or_no_golden_rows_are_refused(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["outputs"]["fp32"]["label"][2] = "maybe"
    with pytest.raises(PackageError, match="golden row 2 is 'maybe'"):
        Predictor.load(rewritten(tmp_path / "package", golden=golden)).self_test()
    with pytest.raises(PackageError, match="no golden rows for variant fp32"):
        Predictor.load(rewritten(tmp_path / "package", golden={"inputs": {}, "outputs": {}})).self_test()


def test_variants_by_name(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    int8 = Predictor.load(tmp_path / "package", variant="int8")
    int8.self_test()
    assert int8.variant.name == "int8"
    with pytest.raises(PackageError, match="no variant 'int4'; it has fp32, int8"):
        Predictor.load(tmp_path / "package", variant="int4")


def test_what_the_model_takes_may_come_transformed(table: Model, image: Model) -> None:
    """To the last bit what the raw rows give."""
    for predictor in (table.predictor, image.predictor):
        inputs = predictor.package.golden.arrays(predictor.manifest.inputs)
        tensors = FeatureEncoder(predictor.package.transforms)(inputs)
        answers, expected = predictor.predict_tensors(dict(reversed(tensors.items()))), predictor.predict(inputs)
        assert answers["label"].tolist() == expected["label"].tolist()
        np.testing.assert_array_equal(answers["probabilities"], expected["probabilities"])
    assert table.predictor.tensor_specs["categorical"].num_codes == (5,)


NUMERIC, CODES = np.zeros((2, 2), np.float32), np.zeros((2, 1), np.int64)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"numeric": NUMERIC}, "tensor 'categorical' is missing"),
        ({"numeric": NUMERIC, "categorical": CODES, "number": NUMERIC}, r"'number' is not one .*nearest: 'numeric'"),
        ({"numeric": NUMERIC.astype(float), "categorical": CODES}, "'numeric': dtype is float64, expected float32"),
        ({"numeric": NUMERIC.tolist(), "categorical": CODES}, "'numeric' is a list, expected a numpy array"),
        (
            {
                "numeric": NUMERIC.T[:1],
                "categorical": CODES[:1],
            },
            None,
        ),
        ({"numeric": NUMERIC[:, :1], "categorical": CODES}, r"'numeric': shape is \[2, 1\], expected \[N, 2\]"),
        ({"numeric": NUMERIC, "categorical": CODES[:, 0]}, r"'categorical': shape is \[2\], expected \[N, 1\]"),
        ({"numeric": NUMERIC[:0], "categorical": CODES[:0]}, "'numeric' is empty"),
        ({"numeric": NUMERIC, "categorical": CODES[:1]}, "differ in their number of rows: numeric has 2, categorical"),
        ({"numeric": NUMERIC, "categorical": CODES + 5}, "'categorical': codes are 5 to 5, expected 0 to 4"),
        ({"numeric": NUMERIC, "categorical": CODES - 1}, "codes are -1 to -1"),
        ({"numeric": NUMERIC * np.float32("nan"), "categorical": CODES}, "'numeric' holds a NaN or an infinity"),
        ({"numeric": np.float32([[np.inf, -np.inf]]), "categorical": CODES[:1]}, "holds a NaN or an infinity"),
    ],
)
def test_tensors_that_no_transform_gives_are_refused(tensors: Any, reason: str | None, table: Model) -> None:
    if reason is None:
        assert len(table.predictor.predict_tensors(tensors)["label"]) == 1
        return
    with pytest.raises(BadInput, match=reason):
        table.predictor.predict_tensors(tensors)


def test_numbers_of_an_arrow_table_are_read_where_they_lie(table: Model) -> None:
    ages = pa.array(np.arange(5, dtype=np.float32))
    rows = pa.table({"age": ages, "hours": np.arange(5.0), "city": ["Rome"] * 5})
    inputs = inputs_of_table(rows, table.predictor.manifest.inputs)
    assert inputs["age"].ctypes.data == ages.buffers()[1].address
    assert inputs["hours"].dtype == np.float32
    with pytest.raises(BadInput, match="column 'age': element 1 is inf"):
        inputs_of_table(rows.set_column(0, "age", [[0.0, 1e39, 0, 0, 0]]), table.predictor.manifest.inputs)


BARE = """
import pickle, sys

def refuse(*_):
    raise AssertionError("something was unpickled")

pickle.load = pickle.loads = pickle.Unpickler = refuse
sys.addaudithook(lambda event, _: refuse() if event == "pickle.find_class" else None)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from serving.predictor import Predictor

predictor = Predictor.load(Path(sys.argv[2]))
predictor.self_test()
predictor.warm_up()
print(predictor.predict_records([{"age": 25.0, "hours": 40.0, "city": "Rome"}])[0]["probabilities"]["yes"])
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "ray", "cluster", "pandas", "sklearn", "onnx", "openvino"}, loaded
ours = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("training.")}
assert ours == {"training.package"}, ours
"""


def test_a_bare_process_answers_without_torch_ray_pickle_or_code_of_anybody(table: Model) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-c", BARE, str(root), str(table.predictor.package.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = table.predictor.predict_records([{"age": 25.0, "hours": 40.0, "city": "Rome"}])[0]
    assert float(done.stdout) == answer["probabilities"]["yes"]


def test_an_int8_that_saturates_is_refused(tmp_path: Path) -> None:
    write_quantized_package(tmp_path / "package")
    Predictor.load(tmp_path / "package", "int8").self_test()
    broken = {"variants/int8.onnx": quantized_table_graph(cut=0.1).SerializeToString()}
    folder = rewritten(tmp_path / "package", files=broken)
    Predictor.load(folder, "fp32").self_test()
    with pytest.raises(PackageError, match="variant int8 answers its golden rows otherwise here"):
        Predictor.load(folder, "int8").self_test()


def test_swapped_labels_are_refused(tmp_path: Path) -> None:
    """By what golden.json says of them, and in a package that was written without that, by the golden labels."""
    write_table_package(tmp_path / "package")
    with pytest.raises(PackageError, match=r"its labels are yes, no and those of golden\.json no, yes"):
        Predictor.load(rewritten(tmp_path / "package", labels=("yes", "no")))
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    del golden["labels"]
    older = Predictor.load(rewritten(tmp_path / "package", labels=("yes", "no"), golden=golden))
    with pytest.raises(PackageError, match="golden row 0 is 'yes', by its own probabilities 'no'"):
        older.self_test()


def test_swapped_labels_nobody_of_whom_is_in_the_golden_rows_are_refused(tmp_path: Path) -> None:
    manifest = write_image_package(tmp_path / "package")
    golden = json.loads((tmp_path / "package" / "golden.json").read_text())
    golden["inputs"] = {name: values[:1] for name, values in golden["inputs"].items()}
    golden["outputs"]["fp32"] = {name: values[:1] for name, values in golden["outputs"]["fp32"].items()}
    (said,) = golden["outputs"]["fp32"]["label"]
    one, other = (label for label in manifest.labels if label != said)
    swapped = tuple({one: other, other: one}.get(label, label) for label in manifest.labels)
    with pytest.raises(PackageError, match="its labels are"):
        Predictor.load(rewritten(tmp_path / "package", labels=swapped, golden=golden))


@pytest.mark.parametrize("change", ["scale", "fill", "vocabulary", "order"])
def test_altered_transforms_are_refused(change: str, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    transforms = json.loads((tmp_path / "package" / "transforms.json").read_text())
    if change == "order":
        transforms["numeric"].reverse()
    elif change == "vocabulary":
        transforms["categorical"][0]["vocabulary"].reverse()
    else:
        transforms["numeric"][0][change] *= 2
    altered = rewritten(tmp_path / "package", files={"transforms.json": json.dumps(transforms).encode()})
    with pytest.raises(PackageError, match="answers its golden rows otherwise here"):
        Predictor.load(altered).self_test()


def test_the_variant_for_this_machine_answers_and_says_why(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    predictor = Predictor.load(tmp_path / "package")
    assert (predictor.variant.name, predictor.reason) == ("fp32", "fp32 is the package's choice: the only one measured")
    elsewhere = Machine(description="", arch="vax", cpu="vax", instruction_sets=("vax_int8",), num_cores=1)
    other = {"machine": elsewhere, "weights_quantized_fraction": 0.9}
    variants = tuple(v if v.name == "fp32" else v.model_copy(update=other) for v in manifest.variants)
    moved = Predictor.load(rewritten(tmp_path / "package", variants=variants, chosen="int8"))
    assert moved.variant.name == "fp32"
    assert moved.reason.startswith("int8: it was measured on vax, and this machine is")
    comparison = Comparison(
        at="2026-01-02T03:04:05+00:00", machine=this_machine(), target="cpu", objective="latency_p99", batch_size=1,
        num_threads=1, baseline="fp32", costs={}, chosen="int8", reason="it was fastest",
    )  # fmt: skip
    measured = Predictor.load(
        rewritten(tmp_path / "package", variants=variants, comparisons=(comparison,), chosen="fp32")
    )
    assert measured.reason == "int8 is the choice for machines like this one: it was fastest"
    measured.self_test()
    on_onnx = variants[1].model_copy(update={"device": "cuda"})
    folder = rewritten(tmp_path / "package", variants=(variants[0], on_onnx))
    with pytest.raises(PackageError, match=r"the variant int8 of adult cannot run here: .* CPUs only") as caught:
        Predictor.load(folder, "int8")
    assert caught.value.hint == "here can run: fp32"


def test_threads_are_those_of_the_cores_given(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    for num_threads in (1, 2):
        runner: Any = Predictor.load(tmp_path / "package", num_threads=num_threads)._run
        assert runner._session.get_session_options().intra_op_num_threads == num_threads
    for cpus, num_threads in ((0.5, 1), (1.0, 1), (3.9, 3)):
        app: Any = model_app(tmp_path / "package", "adult", "1", ServeConfig(cpus_per_replica=cpus))
        assert app._bound_deployment.init_args[-1] == num_threads
