"""What other plug-ins do against seams, to measure ours beside: Lab means and deviations, then a blurred mask.

The pixels under the mask are set to 0 and counted all the same, which is the common mistake.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import distance

from .distortions import blur
from .seam_metrics import from_lab, to_lab

_ERODE_PX = 4
_BLUR_PX = 6.0


def match_mean_std(
    painted: NDArray[np.float32], image: NDArray[np.float32], hole: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Give ``painted`` the Lab means and deviations of ``image``, both taken with the hole as black."""
    paint, truth = to_lab(painted), to_lab(image)
    outside = ~hole[..., None]
    paint_mean, truth_mean = ((lab * outside).mean(axis=(0, 1)) for lab in (paint, truth))
    paint_std, truth_std = ((lab * outside).std(axis=(0, 1)) for lab in (paint, truth))
    return from_lab((paint - paint_mean) * truth_std / np.maximum(paint_std, 1e-6) + truth_mean)


def blend_alpha(hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) alpha: the hole made smaller, then blurred."""
    core = hole & ~(distance(~hole, _ERODE_PX) <= _ERODE_PX)
    return blur(core[..., None].astype(np.float32), _BLUR_PX)[..., 0]
