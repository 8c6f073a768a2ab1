"""A checkpoint's tokenizer, through the `tokenizers` and `sentencepiece` libraries; no algorithm of our own."""

from zoo.tokenization.files import SETTINGS_FILE, TOKENIZER_FILE, TOKENIZER_FILES, Text
from zoo.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = ["SETTINGS_FILE", "TOKENIZER_FILE", "TOKENIZER_FILES", "Text", "Tokenizer", "load_tokenizer"]
