"""Resizing and centre crops, as the evaluation of public networks defines them."""

from typing import NamedTuple

from PIL import Image

from genjax.errors import InvalidInputError, suggest

METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "linear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "cubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
}
"""Interpolations by name, all with antialiasing (cubic: Keys' kernel with a = -0.5)."""

Size = tuple[int, int]


class Resizing(NamedTuple):
    """How images come to the size that a network takes: first resized, then cropped.

    Attributes:
        resize: a number is what the shorter side becomes, the aspect ratio is kept (the longer side
            is `int(resize * longer / shorter)`, as in torchvision); (height, width) is what both
            become; None leaves images as they are.
        crop: the part around the centre that is kept after resizing: (height, width), a whole
            number for a square, or a fraction (a float up to 1.0) of the shorter side for a square;
            None keeps all.
        method: one of `METHODS`.
    """

    resize: int | Size | None = None
    crop: int | float | Size | None = None
    method: str = "bilinear"


def check(how: Resizing) -> None:
    """Refuse sizes that are not positive, fractions above 1 and unknown methods.

    Raises:
        InvalidInputError: with what was found and what is allowed.

    Example:
        >>> check(Resizing(256, 224))
        >>> check(Resizing(256, 1.5))
        Traceback (most recent call last):
        ...
        genjax.errors.InvalidInputError: crop: found 1.5; allowed are pixels, (height, width), \
or a fraction of the shorter side up to 1.0.
    """
    if how.resize is not None and not _is_size(how.resize):
        raise InvalidInputError(
            f"resize: found {how.resize!r}; allowed are pixels of the shorter side, or "
            "(height, width)."
        )
    fraction = isinstance(how.crop, float) and 0 < how.crop <= 1
    if how.crop is not None and not fraction and not _is_size(how.crop):
        raise InvalidInputError(
            f"crop: found {how.crop!r}; allowed are pixels, (height, width), or a fraction of the "
            "shorter side up to 1.0."
        )
    if how.method not in METHODS:
        raise InvalidInputError(suggest("method", how.method, list(METHODS)))


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides)


def resized(how: Resizing, size: Size) -> Size:
    """Return (height, width) after resizing, before the crop.

    Example:
        >>> resized(Resizing(256), (375, 500)), resized(Resizing((8, 8)), (375, 500))
        ((256, 341), (8, 8))
    """
    if how.resize is None:
        return size
    if isinstance(how.resize, tuple):
        return how.resize
    height, width = size
    longer = int(how.resize * max(size) / min(size))
    return (how.resize, longer) if height <= width else (longer, how.resize)


def crop_box(how: Resizing, size: Size) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the part that is kept of an image after resizing.

    The corner is `round((side - crop) / 2)`, a half to the even number, as in torchvision.

    Args:
        how: the crop.
        size: (height, width) after resizing.

    Raises:
        InvalidInputError: the crop is larger than the image.

    Example:
        >>> crop_box(Resizing(256, 224), (256, 341)), crop_box(Resizing(256, 0.875), (256, 341))
        ((16, 58, 224, 224), (16, 58, 224, 224))
    """
    height, width = size
    if how.crop is None:
        return 0, 0, height, width
    crop = max(1, int(how.crop * min(size))) if isinstance(how.crop, float) else how.crop
    rows, columns = crop if isinstance(crop, tuple) else (crop, crop)
    if rows > height or columns > width:
        raise InvalidInputError(
            f"crop: found {rows} by {columns} pixels of an image that has {height} by {width} "
            "after resizing; it must lie within."
        )
    return round((height - rows) / 2), round((width - columns) / 2), rows, columns


def output_size(how: Resizing, size: Size) -> Size:
    """Return (height, width) after resizing and crop.

    Raises:
        InvalidInputError: the crop is larger than the image.

    Example:
        >>> output_size(Resizing(256, 224), (375, 500))
        (224, 224)
    """
    return crop_box(how, resized(how, size))[2:]


def apply(how: Resizing, image: Image.Image) -> Image.Image:
    """Return an image resized and cropped, its pixels rounded to bytes in between.

    Example:
        >>> apply(Resizing(8, (8, 6)), Image.new("RGB", (20, 16))).size
        (6, 8)
    """
    width, height = image.size
    if how.resize is not None:
        rows, columns = resized(how, (height, width))
        if (rows, columns) != (height, width):
            image = image.resize((columns, rows), METHODS[how.method])
    width, height = image.size
    top, left, rows, columns = crop_box(how, (height, width))
    if (rows, columns) == (height, width):
        return image
    return image.crop((left, top, left + columns, top + rows))
