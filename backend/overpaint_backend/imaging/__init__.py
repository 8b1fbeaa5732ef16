"""From the pixels of a request to the pixels of a layer, in numpy arrays; knows no jobs and no sockets.

Arrays are indexed ``[row, column]`` and written ``(H, W)``. Color is float32 in the working space, straight alpha: sRGB's
primaries and curve without its ends, so 0 to 1 is what a display shows and a wider gamut or brighter light lies outside
(``color``, ``profiles``); for engines that copy, the document's primaries and sRGB's curve. A selection is float32 in [0, 1] with 0 = keep and 1 = repaint.
"""
