"""Models that paint from a prompt, run by diffusers. Only ``session`` and what it uses import torch.

``provider`` tells what is installed and stays light; opening an engine loads the rest.
"""
