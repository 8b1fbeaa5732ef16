"""Checkpoints of Stable Diffusion 1.5 and XL in their makers' own layout, every tensor of it, at any width.

Widths are multiples of 32, which the networks' normalization needs. ``FULL`` are the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Widths:
    """base: channels of the first level. text: of the first text encoder, text_2: of XL's second. layers: of both.
    size: of the embedding of each number that tells XL a picture's size.
    """

    base: int
    text: int
    text_2: int
    layers: int
    vae: int
    size: int


TINY = Widths(base=32, text=64, text_2=128, layers=2, vae=32, size=32)
# The widths of the two text encoders differ: diffusers tells them apart by that.
FULL = Widths(base=320, text=768, text_2=1280, layers=12, vae=128, size=256)
WORDS = 49408


def checkpoint(widths: Widths, *, xl: bool, inputs: int) -> Shapes:
    shapes: Shapes = {}
    context = widths.text + widths.text_2 if xl else widths.text
    pooled_and_sizes = widths.text_2 + 6 * widths.size
    _unet(shapes, widths.base, context, inputs, pooled_and_sizes if xl else 0)
    _vae(shapes, widths.vae)
    if xl:
        _clip(shapes, "conditioner.embedders.0.transformer.text_model.", widths.text, widths.layers)
        _open_clip(shapes, "conditioner.embedders.1.model.", widths.text_2, widths.layers)
    else:
        _clip(shapes, "cond_stage_model.transformer.text_model.", widths.text, widths.layers)
    return shapes


def _pair(shapes: Shapes, name: str, *shape: int) -> None:
    shapes[f"{name}.weight"] = shape
    shapes[f"{name}.bias"] = shape[:1]


def _unet(shapes: Shapes, base: int, context: int, inputs: int, label: int) -> None:
    root = "model.diffusion_model."
    # Width of each level and depth of its transformers.
    levels = [(1, 0), (2, 2), (4, 10)] if label else [(1, 1), (2, 1), (4, 1), (4, 0)]
    time = base * 4
    _pair(shapes, f"{root}time_embed.0", time, base)
    _pair(shapes, f"{root}time_embed.2", time, time)
    if label:
        _pair(shapes, f"{root}label_emb.0.0", time, label)
        _pair(shapes, f"{root}label_emb.0.2", time, time)
    _pair(shapes, f"{root}input_blocks.0.0", base, inputs, 3, 3)
    skips = [base]
    width, number = base, 1
    for level, (factor, depth) in enumerate(levels):
        for _ in range(2):
            _resblock(shapes, f"{root}input_blocks.{number}.0", width, base * factor, time)
            width = base * factor
            if depth:
                _transformer(shapes, f"{root}input_blocks.{number}.1", width, context, depth, bool(label))
            skips.append(width)
            number += 1
        if level < len(levels) - 1:
            _pair(shapes, f"{root}input_blocks.{number}.0.op", width, width, 3, 3)
            skips.append(width)
            number += 1
    _resblock(shapes, f"{root}middle_block.0", width, width, time)
    _transformer(shapes, f"{root}middle_block.1", width, context, levels[-1][1] or 1, bool(label))
    _resblock(shapes, f"{root}middle_block.2", width, width, time)
    number = 0
    for level, (factor, depth) in reversed(list(enumerate(levels))):
        for block in range(3):
            _resblock(shapes, f"{root}output_blocks.{number}.0", width + skips.pop(), base * factor, time)
            width = base * factor
            if depth:
                _transformer(shapes, f"{root}output_blocks.{number}.1", width, context, depth, bool(label))
            if block == 2 and level:
                _pair(shapes, f"{root}output_blocks.{number}.{2 if depth else 1}.conv", width, width, 3, 3)
            number += 1
    _pair(shapes, f"{root}out.0", base)
    _pair(shapes, f"{root}out.2", 4, base, 3, 3)


def _resblock(shapes: Shapes, name: str, before: int, after: int, time: int) -> None:
    _pair(shapes, f"{name}.in_layers.0", before)
    _pair(shapes, f"{name}.in_layers.2", after, before, 3, 3)
    _pair(shapes, f"{name}.emb_layers.1", after, time)
    _pair(shapes, f"{name}.out_layers.0", after)
    _pair(shapes, f"{name}.out_layers.3", after, after, 3, 3)
    if before != after:
        _pair(shapes, f"{name}.skip_connection", after, before, 1, 1)


def _transformer(shapes: Shapes, name: str, width: int, context: int, depth: int, linear: bool) -> None:
    square = (width, width) if linear else (width, width, 1, 1)
    _pair(shapes, f"{name}.norm", width)
    _pair(shapes, f"{name}.proj_in", *square)
    _pair(shapes, f"{name}.proj_out", *square)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", context)):
            shapes[f"{block}.{attention}.to_q.weight"] = (width, width)
            shapes[f"{block}.{attention}.to_k.weight"] = (width, source)
            shapes[f"{block}.{attention}.to_v.weight"] = (width, source)
            _pair(shapes, f"{block}.{attention}.to_out.0", width, width)
        _pair(shapes, f"{block}.ff.net.0.proj", width * 8, width)
        _pair(shapes, f"{block}.ff.net.2", width, width * 4)
        for norm in (1, 2, 3):
            _pair(shapes, f"{block}.norm{norm}", width)


def _vae(shapes: Shapes, base: int) -> None:
    root = "first_stage_model."
    factors = (1, 2, 4, 4)
    top = base * factors[-1]

    def block(name: str, before: int, after: int) -> None:
        _pair(shapes, f"{name}.norm1", before)
        _pair(shapes, f"{name}.conv1", after, before, 3, 3)
        _pair(shapes, f"{name}.norm2", after)
        _pair(shapes, f"{name}.conv2", after, after, 3, 3)
        if before != after:
            _pair(shapes, f"{name}.nin_shortcut", after, before, 1, 1)

    def middle(name: str) -> None:
        block(f"{name}.block_1", top, top)
        _pair(shapes, f"{name}.attn_1.norm", top)
        for part in ("q", "k", "v", "proj_out"):
            _pair(shapes, f"{name}.attn_1.{part}", top, top, 1, 1)
        block(f"{name}.block_2", top, top)

    _pair(shapes, f"{root}encoder.conv_in", base, 3, 3, 3)
    width = base
    for level, factor in enumerate(factors):
        for number in range(2):
            block(f"{root}encoder.down.{level}.block.{number}", width, base * factor)
            width = base * factor
        if level < 3:
            _pair(shapes, f"{root}encoder.down.{level}.downsample.conv", width, width, 3, 3)
    middle(f"{root}encoder.mid")
    _pair(shapes, f"{root}encoder.norm_out", top)
    _pair(shapes, f"{root}encoder.conv_out", 8, top, 3, 3)
    _pair(shapes, f"{root}quant_conv", 8, 8, 1, 1)
    _pair(shapes, f"{root}post_quant_conv", 4, 4, 1, 1)
    _pair(shapes, f"{root}decoder.conv_in", top, 4, 3, 3)
    middle(f"{root}decoder.mid")
    width = top
    for level, factor in reversed(list(enumerate(factors))):
        for number in range(3):
            block(f"{root}decoder.up.{level}.block.{number}", width, base * factor)
            width = base * factor
        if level:
            _pair(shapes, f"{root}decoder.up.{level}.upsample.conv", width, width, 3, 3)
    _pair(shapes, f"{root}decoder.norm_out", base)
    _pair(shapes, f"{root}decoder.conv_out", 3, base, 3, 3)


def _clip(shapes: Shapes, root: str, width: int, layers: int) -> None:
    shapes[f"{root}embeddings.token_embedding.weight"] = (WORDS, width)
    shapes[f"{root}embeddings.position_embedding.weight"] = (77, width)
    for number in range(layers):
        layer = f"{root}encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            _pair(shapes, f"{layer}.self_attn.{part}", width, width)
        _pair(shapes, f"{layer}.mlp.fc1", width * 4, width)
        _pair(shapes, f"{layer}.mlp.fc2", width, width * 4)
        _pair(shapes, f"{layer}.layer_norm1", width)
        _pair(shapes, f"{layer}.layer_norm2", width)
    _pair(shapes, f"{root}final_layer_norm", width)


def _open_clip(shapes: Shapes, root: str, width: int, layers: int) -> None:
    shapes[f"{root}token_embedding.weight"] = (WORDS, width)
    shapes[f"{root}positional_embedding"] = (77, width)
    shapes[f"{root}text_projection"] = (width, width)
    shapes[f"{root}logit_scale"] = ()
    for number in range(layers):
        layer = f"{root}transformer.resblocks.{number}"
        shapes[f"{layer}.attn.in_proj_weight"] = (width * 3, width)
        shapes[f"{layer}.attn.in_proj_bias"] = (width * 3,)
        _pair(shapes, f"{layer}.attn.out_proj", width, width)
        _pair(shapes, f"{layer}.mlp.c_fc", width * 4, width)
        _pair(shapes, f"{layer}.mlp.c_proj", width, width * 4)
        _pair(shapes, f"{layer}.ln_1", width)
        _pair(shapes, f"{layer}.ln_2", width)
    _pair(shapes, f"{root}ln_final", width)


def count(shapes: Mapping[str, tuple[int, ...]], start: str) -> int:
    """How many weights the tensors whose names begin so have."""
    total = 0
    for name, shape in shapes.items():
        if name.startswith(start):
            size = 1
            for side in shape:
                size *= side
            total += size
    return total
