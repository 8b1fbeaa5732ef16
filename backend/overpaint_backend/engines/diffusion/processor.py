"""The processor of models that look at pictures, without its part for films.

That part needs torchvision, whose builds have to match torch's to the letter; no fill shows a model a film.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin

__all__ = ["PictureProcessor"]


class PictureProcessor(Qwen2VLProcessor):
    """Prepares a text and the pictures it names for Qwen's vision models."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
        self.image_token = "<|image_pad|>"  # noqa: S105 - no password
        self.video_token = "<|video_pad|>"  # noqa: S105
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids(
            [self.image_token, self.video_token]
        )
        # Past the base class, which wants the part for films.
        ProcessorMixin.__init__(self, image_processor, tokenizer, **options)

    @classmethod
    def from_folder(cls, folder: Path) -> PictureProcessor:
        """Read the processor saved in ``folder``.

        Raises:
            OSError, ValueError: it is not there or not readable.
        """
        return cls(
            image_processor=Qwen2VLImageProcessor.from_pretrained(str(folder), local_files_only=True),
            tokenizer=AutoTokenizer.from_pretrained(str(folder), local_files_only=True),
        )
