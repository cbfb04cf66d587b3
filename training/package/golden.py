"""Golden rows: inputs and the answers of each variant, replayed wherever the package is loaded."""

import base64
from typing import Any

import numpy as np

from training.package.dates import DateReader, iso_texts
from training.package.images import decode_images, encode_png, from_base64
from training.package.manifest import InputSpec
from training.package.shapes import StoredModel
from training.package.values import as_objects


class Golden(StoredModel):
    """A few held-out rows as JSON values: null where missing, a date in ISO 8601.

    An image is nested lists, or base64 text of a PNG file where it came as a file.
    """

    labels: tuple[str, ...] = ()  # as the model was packed with them; none in packages of before format 3
    inputs: dict[str, list[Any]]  # input name -> one value a row
    outputs: dict[str, dict[str, list[Any]]]  # variant -> output name -> one value a row

    @property
    def num_rows(self) -> int:
        """Rows to replay."""
        return min((len(values) for values in self.inputs.values()), default=0)

    def arrays(self, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
        """The rows in the form that `FeatureEncoder` takes."""
        return {spec.name: json_to_array(self.inputs[spec.name], spec) for spec in specs}


def json_to_array(values: list[Any], spec: InputSpec) -> np.ndarray:
    """JSON values of one input in the form that `FeatureEncoder` takes; see `inputs_from_table` for the forms.

    Raises UnreadableValue for a text that is no date, or a file that is no image.
    """
    if spec.kind in ("categorical", "text"):
        return as_objects(values)
    if spec.kind == "date":
        return DateReader(missing=spec.missing, of_client=True)(values)
    if spec.is_file and isinstance(next(iter(values), None), str):
        channels, height, width = spec.shape
        files = [from_base64(index, text) for index, text in enumerate(values)]
        return decode_images(files, (channels, height, width))
    array = np.array(values, dtype=np.float32)  # None becomes NaN
    return array.reshape(len(values), *spec.shape)


def array_to_json(values: np.ndarray, spec: InputSpec) -> list[Any]:
    """The same as JSON values, as a client would send them. JSON has no NaN, so a missing number is null."""
    if spec.kind == "date":
        return iso_texts(values)
    if spec.is_file:
        # The image as it was brought to size, not the file that it came from, which may be large.
        return [base64.b64encode(encode_png(image_CHW)).decode() for image_CHW in values]
    if values.dtype == object:
        return values.tolist()
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return numbers.tolist()
