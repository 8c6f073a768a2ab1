"""Model: an architecture instantiated with a checkpoint: backbone, head, tokenizer and settings together."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import torch
from torch import Tensor, nn

from zoo.checkpoint.reader import read_optional_json
from zoo.errors import InvalidInput
from zoo.footprint import Footprint
from zoo.generation.defaults import GENERATION_FILE, read_defaults
from zoo.generation.settings import GenerationSettings, Wishes
from zoo.layers.attention import recorded_attention
from zoo.layers.packing import packed_bytes, release
from zoo.layers.stacks import Decoder
from zoo.tasks import get_task
from zoo.tasks.base import IGNORED_LABEL, HeadSettings, Output, check_texts, tokenizer_of

if TYPE_CHECKING:
    from zoo.architecture import Architecture
    from zoo.checkpoint.fitting import Fit
    from zoo.checkpoint.manifest import Checkpoint
    from zoo.generation.decoding import Generated
    from zoo.generation.prefixes import PrefixCache
    from zoo.lora import LoraConfig
    from zoo.specs import Spec
    from zoo.tasks.base import PoolingMode
    from zoo.tasks.compiling import CompiledStep
    from zoo.tasks.conversation import Conversation
    from zoo.tasks.prompts import Prompt
    from zoo.tokenization import Tokenizer


@dataclass(frozen=True)
class TrainingRecord:
    """What a model was trained with and reached: the facts of its card.

    base, base_commit: the checkpoint it started from. examples, evaluated: how many. emissions: kg of CO2 equivalent.
    footprint: the same with how it is known. learnt: how many parameters were trained, of how many, in words.
    taught: how a teacher taught it, in sentences; the base is that teacher then.
    """

    base: str | None
    base_commit: str | None
    examples: int
    evaluated: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    emissions: float | None
    footprint: Footprint | None = None
    learnt: str | None = None
    taught: str | None = None


class Model(nn.Module):
    """A torch module that also predicts, embeds, shows its attention, and saves itself.

    spec, architecture, task (a name), labels: what it is. tokenizer: None where the checkpoint has none.
    checkpoint: where its weights came from, None for a model built at random. fresh_parameters: the names of parameters
    that no checkpoint filled. quantized: "int8" or "int4" where linear layers were quantised as it was loaded.
    packs_weights: whether `generate` may keep a second copy of the weights on a CPU, in the order that is read fastest
    (see zoo.layers.packing); packed_bytes says what it takes, `unpack` drops it.
    adapter: the settings of what was learnt beside its weights, None for nothing. learnt_whole: the names of parameters
    that belong to the adapter as they are, such as a classifier's.
    inherits_from: for a model without a checkpoint, the folder of one whose files say how it writes and pools too.
    """

    def __init__(
        self,
        *,
        architecture: Architecture,
        spec: Spec,
        task: str,
        backbone: nn.Module,
        head: nn.Module | None,
        settings: HeadSettings,
    ) -> None:
        """head: None where the backbone alone does the task. settings: what the head's outputs mean."""
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.architecture = architecture
        self.spec = spec
        self.task = task
        self.settings = settings
        self.tokenizer: Tokenizer | None = None
        self.checkpoint: Checkpoint | None = None
        self.config: Mapping[str, Any] | None = None
        self.ignored_config_keys: frozenset[str] = frozenset()
        self.kept: Mapping[str, Tensor] = {}
        self.fit: Fit | None = None
        self.fresh_parameters: tuple[str, ...] = ()
        self.quantized: str | None = None
        self.record: TrainingRecord | None = None
        self.inherits_from: Path | None = None
        self.packs_weights = True
        self.compiled_step: CompiledStep | None = None
        self.adapter: LoraConfig | None = None
        self.learnt_whole: frozenset[str] = frozenset()
        self._task = get_task(task)
        self._longest_input = spec.longest_input
        self._takes = tuple(inspect.signature(backbone.forward).parameters)
        self._reads = frozenset(self._takes)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Output:
        """Run the backbone and the head.

        input_ids, token_type_ids, decoder_input_ids: int64 (batch, time). attention_mask, decoder_attention_mask: bool
        or 0/1 (batch, time), 1 where to attend; padding may be on either side. Token types are not read where the
        architecture has none. Without decoder_input_ids a decoder reads the labels of text to text, else the input,
        each one to the right. documents: int64 (batch, time), which of several texts in a row a token belongs to,
        counted from 1, 0 in the padding; none attends to another. labels: as the task's loss wants them.
        Returns an Output with last_hidden_state and the task's fields. Raises InvalidInput for what is too long.
        """
        longest = self._longest_input
        for ids in (input_ids, decoder_input_ids):
            if longest is not None and ids is not None and ids.shape[1] > longest:
                raise InvalidInput(f"The input has {ids.shape[1]} tokens; the model takes at most {longest}")
        if decoder_input_ids is None and labels is not None and self._task.decodes_labels:
            decoder_attention_mask = labels != IGNORED_LABEL
            targets = labels.masked_fill(~decoder_attention_mask, self.spec.pad_token_id or 0)
            decoder_input_ids = self.backbone.shift(targets, decoder_attention_mask)  # type: ignore[operator]
        hidden, source = self.states(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            documents=documents,
        )
        scores = None if self.head is None else self.head(hidden, input_ids, attention_mask)
        output = self._task.output(scores, hidden, labels, self.settings)
        output.encoder_last_hidden_state = source
        return output

    def states(self, **inputs: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Run the backbone: the last hidden state, (batch, time, hidden), and its encoder's where it has both.

        inputs: those of `forward`. Raises InvalidInput for a decoder's where there is none.
        """
        for name in inputs.keys() - self._reads - {"token_type_ids"}:
            if inputs[name] is not None:
                raise InvalidInput(f"{name} was given; '{self.architecture.name}' takes {', '.join(self._takes)}")
        found = self.backbone(**{name: value for name, value in inputs.items() if name in self._reads})
        return found if isinstance(found, tuple) else (found, None)

    def train(self, mode: bool = True) -> Self:
        """Switch training mode; what was prepared for decoding is dropped when it begins."""
        if mode:
            self.unpack()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See torch.nn.Module."""
        self.unpack()
        return super().load_state_dict(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast: see torch.nn.Module."""
        self.unpack()
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def compile(self) -> None:
        """Compile the step that `generate` and `stream` make for each token: CUDA graphs on a GPU, C++ on a CPU.

        It is compiled at the first answers, once for each size of batch and each power of two of length, which takes up
        to a minute. It pays where a step is many small operations: on a GPU, and for small models on a CPU; for large
        ones there, prepared weights are faster, which a compiled model does without. Without a compiler `generate` warns
        and goes on without.
        """
        from zoo.tasks.compiling import CompiledStep

        self.unpack()
        self.compiled_step = CompiledStep()

    @property
    def packed_bytes(self) -> int:
        """How much memory the second copy of the weights takes that `generate` keeps on a CPU."""
        return packed_bytes(self)

    def unpack(self) -> None:
        """Drop that copy. The next long answer makes a new one, unless packs_weights is False."""
        release(self)

    @property
    def settings_folder(self) -> Path | None:
        """The folder whose files say how it writes and pools: its checkpoint's, or the one it inherits from."""
        return self.checkpoint.path if self.checkpoint is not None else self.inherits_from

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the head's outputs, empty where they have none."""
        return self.settings.labels

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next(self.parameters()).dtype

    @property
    def hidden_size(self) -> int:
        """Width of the last hidden state."""
        return int(self.spec.hidden_size)  # type: ignore[attr-defined]

    @property
    def keeps_documents_apart(self) -> bool:
        """Whether several texts may stand in one row of its input, none attending to another."""
        return "documents" in self._reads

    @property
    def writes(self) -> bool:
        """Whether there is a decoder among its layers, so that it could go on from a text."""
        return isinstance(getattr(self.backbone, "decoder", self.backbone), Decoder)

    @property
    def max_length(self) -> int | None:
        """The longest input in tokens: what positions and tokenizer both allow; None for no limit."""
        limits = [
            self.spec.longest_input,
            self.tokenizer.max_length if self.tokenizer else None,
        ]
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def pad_token_id(self) -> int:
        """The id to pad with; masked everywhere, so 0 serves where the checkpoint names none."""
        named = self.tokenizer.special_id("pad_token") if self.tokenizer else None
        return named if named is not None else (self.spec.pad_token_id or 0)

    def predict(self, inputs: Sequence[Any], batch_size: int = 32) -> list[Any]:
        """Give the task's typed result for each input, in input order.

        inputs: texts, or what the task takes instead (see its module). batch_size: inputs at once; they are sorted by
        length, so that little is padded. Raises InvalidInput, TokenizerMissing.
        """
        return self._task.predict(inputs, self, batch_size)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        batch_size: int = 32,
        truncate: bool = False,
        draft: Model | Literal["prompt"] | None = None,
        prefix_cache: PrefixCache | None = None,
        **wishes: Unpack[Wishes],
    ) -> list[Generated]:
        """Write on from each prompt, or with an encoder beside the decoder, what it makes of each. In prompt order.

        prompts: texts, or chats: lists of messages such as {"role": "user", "content": "Hello"}, which the checkpoint's
        template puts into words. A text goes on as it stands.
        truncate: cut prompts that are too long, which are refused otherwise. An encoder reads the start; a decoder keeps
        the end, as much as leaves room for the answer, which may take half of the positions.
        draft: guesses several tokens ahead, one prompt at a time: a smaller model with the same vocabulary, or "prompt"
        for what stood in the text before. Answers are as likely as without; it pays where the model is slow.
        prefix_cache: a zoo.PrefixCache; prompts are then answered one by one, and what each has in common with the text
        before it is not read again. The memory is yours to keep. For decoders without an encoder.
        wishes: max_new_tokens, temperature, top_k, top_p, num_beams, stop, seed and others: see
        zoo.generation.settings.GenerationSettings. What is left out is as the checkpoint's generation_config.json says,
        or else 64 new tokens, the likeliest each.
        Without a token to write, an answer is "" and its finish_reason "length". A stop text that never comes stops
        nothing. Raises InvalidInput, InvalidGenerationConfig, TokenizerMissing.
        """
        from zoo.tasks.writing import generate

        settings = self.generation_settings.with_wishes(wishes)
        return generate(prompts, self, settings, batch_size, truncate, draft, prefix_cache)

    def stream(
        self,
        prompt: Prompt,
        *,
        truncate: bool = False,
        prefix_cache: PrefixCache | None = None,
        **wishes: Unpack[Wishes],
    ) -> Iterator[str]:
        """Give what `generate` would write after one prompt, in pieces as it comes; they make its text together."""
        from zoo.tasks.writing import stream

        return stream(prompt, self, self.generation_settings.with_wishes(wishes), truncate, prefix_cache)

    def conversation(self, system: str | None = None) -> Conversation:
        """Give a chat with the model, which remembers what was said, and does not read it again.

        system: what the model is told before the chat. Raises InvalidInput without a chat template, TokenizerMissing.
        """
        from zoo.tasks.conversation import Conversation

        return Conversation(self, system)

    @property
    def generation_settings(self) -> GenerationSettings:
        """What `generate` does unless told otherwise: the checkpoint's generation_config.json over its spec.

        Raises CorruptFile, InvalidGenerationConfig, InvalidInput.
        """
        ends = self.spec.eos_token_id
        own = GenerationSettings(
            end_token_ids=() if ends is None else tuple(ends) if isinstance(ends, list) else (ends,),
            start_token_id=getattr(self.backbone, "start_token_id", None),
        )
        folder = self.settings_folder
        config = {} if folder is None else read_optional_json(folder / GENERATION_FILE)
        settings = read_defaults(config, own, self.ignored_config_keys)
        settings.check_ids(self.spec.vocab_size)
        return settings

    def embed(
        self,
        texts: Sequence[str],
        pooling: PoolingMode | None = None,
        normalize: bool | None = None,
        *,
        batch_size: int = 32,
    ) -> Tensor:
        """Give one vector a text: (batch, hidden), float32, on CPU, in input order.

        pooling: "mean", "cls", "max" or "mean_sqrt_len"; normalize: to length 1. Defaults from the checkpoint's pooling
        files, else the mean, not normalised. Raises InvalidInput, TokenizerMissing.
        """
        from zoo.tasks.feature_extraction import embed

        return embed(texts, self, pooling, normalize, batch_size)

    def attention(self, text: str, layers: Sequence[int] | None = None) -> Tensor:
        """Give the attention weights over one text: (layers, heads, time, time), float32, on CPU.

        layers: which, counted from 0 (negative from the end); None for all. Raises InvalidInput, TokenizerMissing.
        """
        check_texts([text])
        encoding = tokenizer_of(self).encode([text], max_length=self.max_length)[0]
        reader = getattr(self.backbone, "encoder", self.backbone)  # of two stacks, the one that reads the text
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode(), recorded_attention(reader) as recorded:
                self.states(
                    input_ids=torch.tensor([encoding.ids], device=self.device),
                    token_type_ids=torch.tensor([encoding.type_ids], device=self.device),
                )
        finally:
            self.train(was_training)
        wrong = [layer for layer in layers or () if not -len(recorded) <= layer < len(recorded)]
        if wrong:
            raise InvalidInput(f"There is no layer {wrong[0]}; the model has {len(recorded)}, counted from 0")
        every = torch.stack([weights[0].cpu() for weights in recorded])
        return every if layers is None else every[list(layers)]

    def save(self, folder: str | Path, max_shard_size: str = "5GB") -> None:
        """Write the model to a folder in the Hub's format, tokenizer included: `transformers` loads it unchanged.

        Of a model with an adapter it is the adapter alone, in PEFT's format, beside the digests of its base.
        max_shard_size: the largest file of weights, such as "500MB". Raises InvalidInput for quantised weights.
        """
        from zoo.saving import save

        save(self, Path(folder), max_shard_size)

    def merge_adapter(self) -> None:
        """Add what an adapter learnt to the weights: the model is an ordinary one again. Raises InvalidInput without one."""
        from zoo.adapters.attaching import merge

        merge(self)
