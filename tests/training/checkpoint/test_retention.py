from training.checkpoint.manifest import FileEntry, Manifest, Saved
from training.checkpoint.retention import retained, total_mb


def saved(step: int, *, is_best: bool = False, mb: int = 10, best: str = "1") -> Saved:
    manifest = Manifest(
        format=1, kind="whole", sequence=step, epoch=0, samples=0, step=step, written_at="",
        files=(FileEntry(path="checkpoint.pt", num_bytes=mb * 10**6, sha256=""),),
        best=(FileEntry(path=f"../best/{best}/checkpoint.pt", num_bytes=4 * 10**6, sha256=""),),
    )  # fmt: skip
    return Saved(str(step), f"{step:08d}", manifest, is_best)


FIVE = [saved(1), saved(2, is_best=True), saved(3), saved(4), saved(5)]


def deleted(keep: int, keep_mb: float | None = None) -> list[int]:
    return [each.step for each in retained(FIVE, keep, keep_mb).delete]


def test_by_count_the_best_does_not_count() -> None:
    assert deleted(2) == [1, 3]
    assert deleted(1) == [1, 3, 4]
    assert deleted(9) == []


def test_by_bytes_oldest_first_and_shared_weights_once() -> None:
    assert total_mb(FIVE) == 54.0
    assert deleted(9, 54.0) == []
    assert deleted(9, 53.9) == [1]
    assert deleted(9, 34.0) == [1, 3]


def test_best_and_newest_stay_even_above_the_limit() -> None:
    cut = retained(FIVE, 9, 1.0)
    assert [each.step for each in cut.delete] == [1, 3, 4]
    assert cut.is_over
    assert cut.left_mb == 24.0
    assert not retained(FIVE, 2, 100.0).is_over


def test_nothing() -> None:
    assert retained([], 2, 1.0).delete == ()
    assert [each.step for each in retained([saved(7, mb=99)], 2, 1.0).delete] == []
