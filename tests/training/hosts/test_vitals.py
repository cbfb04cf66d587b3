"""What a process knows of itself."""

import subprocess
import sys

import pytest

from training.hosts.vitals import process_age_s

AGE = "import time; time.sleep(1.5); from training.hosts.vitals import process_age_s as age; print(age())"


def test_the_age_of_a_process_counts_from_its_start_not_from_an_import() -> None:
    said = subprocess.run([sys.executable, "-c", AGE], capture_output=True, text=True, check=True).stdout
    assert 1.5 <= float(said) < 60
    assert process_age_s() == pytest.approx(process_age_s(), abs=0.5)
