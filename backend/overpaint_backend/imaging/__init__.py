"""From the pixels of a request to the pixels of a layer, in numpy arrays; knows no jobs and no sockets.

Arrays are indexed ``[row, column]`` and written ``(H, W)``. Color is float32 in [0, 1], encoded with the sRGB
curve, straight alpha; a selection is float32 in [0, 1] with 0 = keep and 1 = repaint.
"""
