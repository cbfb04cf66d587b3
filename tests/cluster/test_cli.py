"""The commands as a person types them: what is printed where, and what the exit code says."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = "name: tiny\ndata: {source: table.csv, target: y}\n"
GENEROUS_S = 2.0  # 0.3 s alone; tests share their cores


def manta(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=None, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize("arguments", [["--help"], ["check", "configs/digits.yaml"]])
def test_help_and_check_answer_at_once(arguments: list[str]) -> None:
    fastest = min(_seconds(arguments) for _ in range(3))
    assert fastest < GENEROUS_S


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    assert manta(*arguments).returncode == 0
    return time.perf_counter() - began


def test_help_and_check_load_neither_torch_nor_ray() -> None:
    code = (
        "import sys; import cluster.cli; from cluster.commands.experiment import check; from pathlib import Path;"
        "check(Path('configs/digits.yaml'));"
        "print([m for m in ('torch', 'ray', 'pyarrow', 'numpy', 'requests') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_predict_and_models_load_neither_torch_nor_ray() -> None:
    code = "import sys; import cluster.predict; print([m for m in ('torch', 'ray', 'sklearn') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_help_lists_every_command_and_the_exit_codes() -> None:
    said = manta("--help").stdout
    commands = "init check data train tune compress run deploy predict report runs models submit status logs stop"
    names = [*commands.split(), "doctor", "evaluate", "curve", "reproduce", "drill"]
    assert [name for name in names if f"\n  {name} " not in said] == []
    assert "Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 3" in " ".join(said.split())


def test_problems_go_to_stderr_with_exit_code_2(config: Path) -> None:
    bad = manta("check", str(config), "--set", "train.epoch=3")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "train.epoch  is not a known key (nearest: train.epochs) (from --set)" in bad.stderr
    assert "hint:" in bad.stderr


def test_quiet_says_nothing_but_errors(config: Path) -> None:
    assert manta("check", str(config), "-q").stderr == ""
    assert "does not exist" in manta("check", "nowhere.yaml", "-q").stderr


def test_check_prints_json_keys_and_schema(config: Path) -> None:
    assert json.loads(manta("check", str(config), "--json").stdout)["experiment"]["train"]["epochs"] == 30
    assert "train.peak_lr" in manta("check", "--explain").stdout
    assert json.loads(manta("check", "--explain", "--json").stdout)[0]["key"] == "name"
    assert json.loads(manta("check", "--schema").stdout)["additionalProperties"] is False
    wrong = manta("check", str(config), "--json", "--set", "train.epoch=3")
    assert wrong.returncode == 2
    assert "nearest: train.epochs" in json.loads(wrong.stdout)["error"]


def test_an_unknown_command_names_the_nearest() -> None:
    bad = manta("chekc")
    assert bad.returncode == 2
    assert "check" in bad.stderr


def test_a_taken_port_is_said_before_anything_starts(config: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        bad = manta("run", str(config), "--set", f"serve.port={port}", "--storage", str(tmp_path / "runs"))
    assert bad.returncode == 3
    assert f"port {port} on 127.0.0.1 cannot be used" in bad.stderr
    assert "--set serve.port=" in bad.stderr


def test_storage_that_cannot_be_written_is_said_before_anything_starts(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad = manta("train", str(config), "--storage", str(tmp_path / "file"))
    assert bad.returncode == 3
    assert "cannot be written" in bad.stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray answers at 127.0.0.1:1"),
        ("http://127.0.0.1:8265", "is a dashboard's address"),
        ("ray://127.0.0.1:10001", "is a Ray Client address"),
        ("nonsense", "is not a cluster's address"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_said_in_seconds(config: Path, address: str, said: str) -> None:
    began = time.perf_counter()
    bad = manta("doctor", "--address", address, "--storage", str(config.parent))
    assert bad.returncode == 3
    assert said in bad.stdout
    assert time.perf_counter() - began < 15


def test_no_dashboard_is_said_in_seconds() -> None:
    bad = manta("status", "--address", "http://127.0.0.1:1")
    assert bad.returncode == 3
    assert "no Ray dashboard answers at http://127.0.0.1:1" in bad.stderr


def test_doctor_leaves_nothing_and_prints_json(tmp_path: Path) -> None:
    found = manta("doctor", "--json", "--storage", str(tmp_path / "new"))
    subjects = {finding["subject"]: finding["state"] for finding in json.loads(found.stdout)}
    assert subjects["python"] == subjects["ray"] == subjects["storage"] == "ok"
    assert not (tmp_path / "new").exists()


def test_init_writes_a_config_that_check_accepts(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{'abc'[i % 3]},{'yes' if i % 2 else 'no'}" for i in range(60))
    (tmp_path / "t.csv").write_text(f"size,colour,bought\n{rows}\n")
    wrote = manta("init", "t.csv", "--target", "bought", "-o", "t.yaml", cwd=tmp_path)
    assert wrote.returncode == 0, wrote.stderr
    assert manta("check", "t.yaml", cwd=tmp_path).returncode == 0
    again = manta("init", "t.csv", "--target", "bought", "-o", "t.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert "columns: size, colour, bought" in manta("init", "t.csv", "--target", "nope", cwd=tmp_path).stderr


def test_runs_and_models_of_an_empty_storage(tmp_path: Path) -> None:
    assert json.loads(manta("runs", "--json", "--storage", str(tmp_path)).stdout) == []
    assert json.loads(manta("models", "--json", "--storage", str(tmp_path)).stdout)["releases"] == []
    missing = manta("report", "nope", "--storage", str(tmp_path))
    assert missing.returncode == 2
    assert "there is no run nope" in missing.stderr
