"""Changes of images: where they are moved to, and rectangles in them.

Shape letters: B rows of a batch, C channels, H height, W width.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.draws import Place, Use
from training.learning_config import AugmentConfig

LONGEST_SIDE = 3.0  # an erased rectangle is at most so many times as long in one direction as in the other


def changed_image(image_BCHW: Tensor, config: AugmentConfig, place: Place) -> Tensor:
    """Everything that happens to an image by itself."""
    if config.shift or config.rotate_degrees or config.crop:
        image_BCHW = _moved(image_BCHW, config, place)
    elif config.flip != "none":
        image_BCHW = _flipped(image_BCHW, config, place)
    if config.noise:
        numbers = place.normal(Use.NOISE, image_BCHW[0].numel())
        image_BCHW = image_BCHW + config.noise * numbers.view_as(image_BCHW)
    if config.erase:
        image_BCHW = _erased(image_BCHW, config.erase, place)
    return image_BCHW


def outside_box(image_BCHW: Tensor, share_B: Tensor, place: Place) -> Tensor:
    """True beside a rectangle of about this share of each image, (B, H, W)."""
    _, _, height, width = image_BCHW.shape
    top_B, left_B = place.uniform(Use.BOX, 2).unbind(1)
    box_height_B, box_width_B = ((share_B.sqrt() * side).round() for side in (height, width))
    top_B, left_B = (top_B * (height - box_height_B + 1)).floor(), (left_B * (width - box_width_B + 1)).floor()
    return ~_box(image_BCHW, top_B, left_B, box_height_B, box_width_B)


def along(values: Tensor, tensor: Tensor) -> Tensor:
    """With axes of 1 at the end, so that it goes along the rows of `tensor`."""
    return values.view(*values.shape, *[1] * (tensor.dim() - values.dim()))


def _flips(config: AugmentConfig, place: Place) -> tuple[Tensor, Tensor]:
    """-1 where a row is mirrored horizontally, and vertically, else 1: float32 (B,) both."""
    sides_2B = torch.where(place.uniform(Use.FLIP, 2) < 0.5, -1.0, 1.0).unbind(1)
    stays_B = torch.ones_like(sides_2B[0])
    return (
        sides_2B[0] if config.flip in ("horizontal", "both") else stays_B,
        sides_2B[1] if config.flip in ("vertical", "both") else stays_B,
    )


def _flipped(image_BCHW: Tensor, config: AugmentConfig, place: Place) -> Tensor:
    for axis, side_B in zip((3, 2), _flips(config, place), strict=True):
        image_BCHW = torch.where(along(side_B < 0, image_BCHW), image_BCHW.flip(axis), image_BCHW)
    return image_BCHW


def _moved(image_BCHW: Tensor, config: AugmentConfig, place: Place) -> Tensor:
    """Flip, crop, rotation and shift in one resampling; beyond the edge the edge goes on.

    Coordinates run from -1 to 1 over the image. They are worked out element by element: a matrix product, as in
    affine_grid, may round otherwise in a batch of another size.
    """
    _, _, height, width = image_BCHW.shape
    device = image_BCHW.device
    side_x_B, side_y_B = _flips(config, place)
    # Corner of what is cut off and the size of the rest, by area.
    kept_B = (1 - config.crop * place.uniform(Use.CROP, 1)[:, 0]).sqrt()
    free_x_B, free_y_B = ((1 - kept_B) * (2 * spot_B - 1) for spot_B in place.uniform(Use.CROP_PLACE, 2).unbind(1))
    move_x_B, move_y_B = (2 * config.shift * (2 * by_B - 1) for by_B in place.uniform(Use.SHIFT, 2).unbind(1))
    angle_B = (2 * place.uniform(Use.ROTATE, 1)[:, 0] - 1) * float(np.radians(config.rotate_degrees))
    sine_B11, cosine_B11 = angle_B.sin()[:, None, None], angle_B.cos()[:, None, None]

    x_1W, y_H1 = _centres(width, device)[None, :], _centres(height, device)[:, None]
    x_B1W = (kept_B * side_x_B)[:, None, None] * x_1W + free_x_B[:, None, None]
    y_BH1 = (kept_B * side_y_B)[:, None, None] * y_H1 + free_y_B[:, None, None]
    from_x_BHW = cosine_B11 * x_B1W - sine_B11 * (height / width) * y_BH1 + move_x_B[:, None, None]
    from_y_BHW = sine_B11 * (width / height) * x_B1W + cosine_B11 * y_BH1 + move_y_B[:, None, None]
    grid_BHW2 = torch.stack([from_x_BHW, from_y_BHW], dim=3)
    return F.grid_sample(image_BCHW, grid_BHW2, padding_mode="border", align_corners=False)


def _centres(num_pixels: int, device: torch.device) -> Tensor:
    """Of pixels, from -1 to 1 over the image."""
    return (2 * torch.arange(num_pixels, device=device) + 1) / num_pixels - 1


def _erased(image_BCHW: Tensor, share: float, place: Place) -> Tensor:
    """A rectangle of at most this share of the image becomes its mean."""
    _, _, height, width = image_BCHW.shape
    area_B, shape_B, left_B, top_B = place.uniform(Use.ERASE, 4).unbind(1)
    area_B = area_B * share
    stretch_B = LONGEST_SIDE ** (shape_B - 0.5)
    box_height_B = ((area_B.sqrt() * stretch_B).clamp_max(1) * height).round()
    box_width_B = ((area_B.sqrt() / stretch_B).clamp_max(1) * width).round()
    top_B, left_B = (top_B * (height - box_height_B + 1)).floor(), (left_B * (width - box_width_B + 1)).floor()
    is_inside_BHW = _box(image_BCHW, top_B, left_B, box_height_B, box_width_B)
    return image_BCHW.masked_fill(is_inside_BHW[:, None], 0.0)


def _box(image_BCHW: Tensor, top_B: Tensor, left_B: Tensor, height_B: Tensor, width_B: Tensor) -> Tensor:
    """True inside a rectangle in pixels, (B, H, W)."""
    _, _, height, width = image_BCHW.shape
    y_H, x_W = (torch.arange(side, device=image_BCHW.device) for side in (height, width))
    is_in_y_BH = (y_H >= top_B[:, None]) & (y_H < (top_B + height_B)[:, None])
    is_in_x_BW = (x_W >= left_B[:, None]) & (x_W < (left_B + width_B)[:, None])
    return is_in_y_BH[:, :, None] & is_in_x_BW[:, None, :]
