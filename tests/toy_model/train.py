"""Train the toy model from nothing, on two cores of a CPU, in about half an hour: 20 to 35 minutes.

    python -m tests.toy_model.train            # writes tests/toy_model/weights
    python -m tests.toy_model.train --out DIR

First an AutoencoderKL learns to shrink pictures four times each way, then a text encoder and a UNet with the
nine input channels of a Stable Diffusion inpaint model learn together to fill masks by a caption. The
captions leave words out ("a disc", "red"), so that the model knows what each word alone means: that is what
makes a negative prompt work. Made-up words are mixed in, so that it reads past words it does not know.
"""

from __future__ import annotations

import argparse
import math
import random
import string
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from tests.toy_model.pictures import COLORS, NOTHING, THING, Example, example
from torch.nn.functional import interpolate, l1_loss, mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NATIVE = 64
"""The side the model was trained for, in pixels."""

SIZES = {(64, 64): 0.76, (64, 96): 0.1, (96, 64): 0.1, (96, 96): 0.04}
"""The (height, width) of the pictures to learn from, and the share of each."""

TOKENS = 32
"""The longest prompt, in tokens, with its start and end."""

_BATCH = 32
_START, _END = "<|startoftext|>", "<|endoftext|>"


def main() -> None:
    """Train and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    parser.add_argument("--vae", type=Path, help="a folder trained before, to take its autoencoder from")
    parser.add_argument("--vae-steps", type=int, default=500)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--pictures", type=int, default=10000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    rng = np.random.default_rng(options.seed)
    started = time.monotonic()
    if options.vae:
        vae = AutoencoderKL.from_pretrained(options.vae, subfolder="vae")
    else:
        vae = train_autoencoder(rng, options.vae_steps)
    vae.eval().requires_grad_(False)
    vae.save_pretrained(options.out / "vae")
    print(f"autoencoder ready after {time.monotonic() - started:.0f} s", flush=True)
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=_text_encoder(),
        tokenizer=make_tokenizer(),
        unet=_unet(),
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    train_fill(pipeline, rng, options.steps, options.pictures)
    save(pipeline, options.out)
    print(f"written after {time.monotonic() - started:.0f} s", flush=True)


def make_tokenizer() -> CLIPTokenizer:
    """A byte-pair tokenizer in which each known word is one token and any other falls into its letters."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    vocabulary = [_START, _END, *letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in (*COLORS, THING, NOTHING):
        pieces = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:  # what the words before this one already merge
            at = 0
            while at < len(pieces) - 1:
                if (pieces[at], pieces[at + 1]) == pair:
                    pieces[at : at + 2] = ["".join(pair)]
                at += 1
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces[:2] = [pieces[0] + pieces[1]]
            vocabulary.append(pieces[0])
    return CLIPTokenizer(
        vocab={token: i for i, token in enumerate(dict.fromkeys(vocabulary))},
        merges=merges,
        bos_token=_START,
        eos_token=_END,
        unk_token=_END,
        pad_token=_END,
        model_max_length=TOKENS,
    )


def train_autoencoder(rng: np.random.Generator, steps: int) -> AutoencoderKL:
    """Train the autoencoder on whole pictures and on pictures with the mask greyed out."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,  # more groups would level out what tells one flat color from another
        sample_size=NATIVE,
    )
    _open_paths(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    for step in range(steps):
        pictures = []
        for _ in range(16):
            made = example(rng, NATIVE, NATIVE)
            pictures.append(_masked(made) if rng.random() < 0.35 else made.picture * 2 - 1)
        batch = _to_tensor(pictures)
        posterior = vae.encode(batch).latent_dist
        restored = vae.decode(posterior.sample()).sample
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar)
        loss = l1_loss(restored, batch) + mse_loss(restored, batch) + 1e-3 * divergence.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            error = mse_loss(restored, batch).item()
            print(f"autoencoder {step}: loss {loss.item():.4f} squared error {error:.5f}", flush=True)
    vae.eval()
    with torch.no_grad():
        latents = vae.encode(_to_tensor([example(rng, NATIVE, NATIVE).picture * 2 - 1 for _ in range(128)]))
    vae.register_to_config(scaling_factor=round(1 / latents.latent_dist.sample().std().item(), 4))
    return vae


@torch.no_grad()
def _open_paths(vae: AutoencoderKL) -> None:
    """Begin as plain shrinking and enlarging, which training then sharpens.

    From random weights the colors take many minutes to come through. Here each color channel runs through
    as a pair of opposites, since silu(x) - silu(-x) = x, beside a pair of large constants that keeps the
    norms from levelling out how strong the color is.
    """
    for name, part in vae.named_modules():
        if name.endswith(("samplers.0.conv", "conv_shortcut", "conv2", "to_out.0")):
            part.weight.mul_(0.1)
            part.bias.zero_()
        if not name.endswith(("samplers.0.conv", "conv_shortcut")):
            continue
        for channel in range(part.weight.shape[0]):
            kernel = part.weight[channel, channel % part.weight.shape[1]]
            if name.endswith("downsamplers.0.conv"):
                kernel[:2, :2] += 0.25
            else:
                kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += 1
    constant = 4.0
    for half, gain in ((vae.encoder, 1.5), (vae.decoder, 1 / 1.5)):
        half.conv_in.weight[:8] = 0
        half.conv_in.bias[:8] = 0
        half.conv_in.bias[6], half.conv_in.bias[7] = constant, -constant
        half.conv_out.weight.mul_(0.1)
        half.conv_out.bias.zero_()
        norm = constant * (2 / 16) ** 0.5
        for color in range(3):
            half.conv_in.weight[color, color, 1, 1] = 1
            half.conv_in.weight[color + 3, color, 1, 1] = -1
            half.conv_out.weight[color, color, 1, 1] = gain * norm
            half.conv_out.weight[color, color + 3, 1, 1] = -gain * norm
    for mixing in (vae.quant_conv, vae.post_quant_conv):
        mixing.weight.mul_(0.1)
        mixing.bias.zero_()
        mixing.weight[:4, :4, 0, 0] += torch.eye(4)
    vae.quant_conv.bias[4:] = math.log(0.1**2)


def train_fill(
    pipeline: StableDiffusionInpaintPipeline, rng: np.random.Generator, steps: int, pictures: int
) -> None:
    """Train the pipeline's UNet and text encoder in place."""
    started = time.monotonic()
    shelves = [
        _Shelf(pipeline.vae, [example(rng, *size) for _ in range(round(pictures * share))])
        for size, share in SIZES.items()
    ]
    print(f"{pictures} pictures encoded in {time.monotonic() - started:.0f} s", flush=True)
    parts = torch.nn.ModuleList([pipeline.unet, pipeline.text_encoder]).train()
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1.5e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    average = [weight.detach().clone() for weight in parts.parameters()]
    signal = pipeline.scheduler.alphas_cumprod
    recent: list[float] = []
    for step in range(steps):
        shelf = random.choices(shelves, [len(shelf.colors) for shelf in shelves])[0]
        rows = torch.randint(len(shelf.colors), (_BATCH,))
        latents, mask, context = shelf.latents[rows], shelf.masks[rows], shelf.contexts[rows]
        tokens = pipeline.tokenizer(
            [caption(shelf.colors[row]) for row in rows.tolist()],
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        noise = torch.randn_like(latents)
        # More often the noisy steps, which settle whether there is a disc and which color it has.
        times = (len(signal) * torch.rand(_BATCH) ** 0.7).long()
        keep, blur = (
            signal[times].sqrt()[:, None, None, None],
            (1 - signal[times]).sqrt()[:, None, None, None],
        )
        noisy = keep * latents + blur * noise
        guessed = pipeline.unet(
            torch.cat([noisy, mask, context], dim=1), times, pipeline.text_encoder(tokens.input_ids)[0]
        ).sample
        # What the mask leaves is plain to see in the context: learning to copy it matters less.
        weight = 0.25 + 0.75 * mask
        loss = ((guessed - (keep * noise - blur * latents)).square() * weight).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for kept, weight in zip(average, parts.parameters(), strict=True):
                kept.lerp_(weight, max(0.005, 1 / (step + 1)))
        recent.append(loss.item())
        if step % 100 == 99 or step == steps - 1:
            spent = time.monotonic() - started
            print(f"fill {step + 1}: loss {np.mean(recent):.4f} after {spent:.0f} s", flush=True)
            recent.clear()
    with torch.no_grad():
        for kept, weight in zip(average, parts.parameters(), strict=True):
            weight.copy_(kept)
    parts.eval()


def caption(color: str) -> str:
    """A caption for a disc, with words left out, or for nothing; sometimes with made-up words."""
    if not color:
        return "" if random.random() < 0.35 else NOTHING
    texts = {
        f"a {color} {THING}": 0.4,
        f"{color} {THING}": 0.12,
        f"a {THING}": 0.12,
        THING: 0.1,
        color: 0.12,
        f"a {color}": 0.04,
        "": 0.1,
    }
    words = random.choices(list(texts), list(texts.values()))[0].split()
    if words and random.random() < 0.2:
        for _ in range(random.randint(1, 3)):
            letters = random.choices(string.ascii_lowercase, k=random.randint(2, 6))
            words.insert(random.randint(0, len(words)), "".join(letters))
    return " ".join(words)


def save(pipeline: StableDiffusionInpaintPipeline, folder: Path) -> None:
    """Write the folder: UNet and autoencoder in half precision, the small text encoder in single."""
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(folder, safe_serialization=True)


class _Shelf:
    """Encoded pictures of one size."""

    def __init__(self, vae: AutoencoderKL, examples: list[Example]) -> None:
        self.colors = [made.color for made in examples]
        self.latents = _encode(vae, [made.picture * 2 - 1 for made in examples])
        self.contexts = _encode(vae, [_masked(made) for made in examples])
        masks = torch.from_numpy(np.stack([made.mask for made in examples]))[:, None]
        self.masks = interpolate(masks, size=self.latents.shape[-2:])


@torch.no_grad()
def _encode(vae: AutoencoderKL, pictures: list[np.ndarray]) -> torch.Tensor:
    batches = (_to_tensor(pictures[i : i + 64]) for i in range(0, len(pictures), 64))
    return (
        torch.cat([vae.encode(batch).latent_dist.sample() for batch in batches]) * vae.config.scaling_factor
    )


def _masked(made: Example) -> np.ndarray:
    return (made.picture * 2 - 1) * (1 - made.mask[..., None])


def _to_tensor(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _rate(step: int, steps: int) -> float:
    """The learning rate's factor: up over a twentieth of the steps, then down half a cosine."""
    return min(1.0, 20 * (step + 1) / steps) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _text_encoder() -> CLIPTextModel:
    tokenizer = make_tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            projection_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=NATIVE // 4,
        in_channels=9,
        out_channels=4,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def _scheduler() -> DDIMScheduler:
    # The noise ends near pure: in a picture this small, what Stable Diffusion's own schedule leaves of the
    # signal would give the fill's mean color away.
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


if __name__ == "__main__":
    main()
