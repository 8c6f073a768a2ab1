"""Stacks: what turns token ids into the last hidden state. The backbone contract of each kind of architecture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.layers.cache import Cache, LayerCache
from zoo.layers.masks import Context, padding_mask, window_mask, within_documents
from zoo.layers.positions import RelativeBias, positions, positions_in_documents
from zoo.layers.rotary import Rotary
from zoo.layers.static import StaticCache
from zoo.layers.timeline import Timeline


@dataclass(frozen=True)
class Reach:
    """How far a layer's attention looks, and by which rotary positions. window: see zoo.layers.masks.window_mask."""

    window: int | None = None
    rotary: Rotary | None = None


EVERYWHERE = Reach()


def run_layer(layer: nn.Module, hidden: Tensor, context: Context, cache: LayerCache | None) -> Tensor:
    """Run one layer of a stack: hidden states (batch, time, hidden) in and out."""
    output: Tensor = layer(hidden, context, cache)
    return output


class Stack(nn.Module):
    """Embeddings, layers, and a norm after the last of them."""

    causal = False

    def __init__(
        self,
        *,
        embeddings: nn.Module,
        layers: Iterable[nn.Module],
        norm: nn.Module | None = None,
        reaches: Sequence[Reach] | Reach = EVERYWHERE,
        relative_bias: RelativeBias | None = None,
        order: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        """norm: after the last layer. reaches: of each layer, or one for all. relative_bias: added to all layers' scores.

        order: which layer runs when, where some run more than once; None: each once, one after the other.
        dropout: of what comes out.
        """
        super().__init__()
        self.embeddings = embeddings
        self.relative_bias = relative_bias
        self.layers = nn.ModuleList(layers)
        self.norm = norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.recomputes = False  # whether a training pass keeps only each layer's input, and computes the rest again
        self.compiled: Callable[..., Tensor] | None = None  # run_layer, compiled: how layers run where they learn
        self.order = tuple(range(len(self.layers))) if order is None else tuple(order)
        every = [reaches] * len(self.order) if isinstance(reaches, Reach) else list(reaches)
        self.reaches = tuple(dict.fromkeys(every))  # each kind once: its mask and angles serve all its layers
        self.reach_of = tuple(self.reaches.index(reach) for reach in every)
        self._turns_past = any(reach.rotary is not None and reach.rotary.depends_on_length for reach in self.reaches)

    def run(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        *,
        token_type_ids: Tensor | None = None,
        cache: Cache | None = None,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """Give the last hidden state of new positions, (batch, time, hidden), after those in the cache.

        attention_mask: (batch, past + time); None for no padding, or what the cache knows of it. source: (batch,
        source_time, hidden), with its mask (batch, source_time). documents: (batch, time), without a cache, which text of
        its row a token belongs to; padding is told from it, not from the mask.
        """
        past, time = (0 if cache is None else cache.length), input_ids.shape[1]
        if cache is not None and attention_mask is None:
            if time == 1 and past and not self._turns_past:
                return self._step(input_ids, cache, source, padding_mask(source_mask))
            attention_mask = cache.attention_mask(past + time)
        if documents is None:
            places = positions(attention_mask, past + time, input_ids.device)
        else:
            attention_mask, places = None, positions_in_documents(documents)
        hidden: Tensor = self.embeddings(input_ids, places[:, past:], token_type_ids)
        bias = None if self.relative_bias is None else self.relative_bias(past, time)
        contexts = []
        for reach in self.reaches:
            context = self._context(reach, attention_mask, hidden, places, past)
            if documents is not None:
                context = context._replace(mask=within_documents(context.mask, documents, self.causal))
            contexts.append(context._replace(bias=bias, source=source, source_mask=padding_mask(source_mask)))
        return self._through(hidden, contexts, cache)

    def _step(self, input_ids: Tensor, cache: Cache, source: Tensor | None, source_mask: Tensor | None) -> Tensor:
        """Read one token a row: nothing is worked out that the first such step has not left in the cache."""
        places, contexts = self.timeline(cache).step(cache.length)
        if source is not None:
            contexts = [context._replace(source=source, source_mask=source_mask) for context in contexts]
        return self._through(self.embeddings(input_ids, places, None), contexts, cache)

    def static_step(self, input_ids: Tensor, past: Tensor, cache: StaticCache, source_mask: Tensor | None) -> Tensor:
        """Read one token a row after `past` positions, int64 (1), by tensors of the same shapes at every position.

        source_mask: bool (batch, source_time); the source itself is in the cache. Returns (batch, 1, hidden).
        """
        assert cache.timeline is not None
        places, contexts = cache.timeline.at(past)
        contexts = [context._replace(source_mask=padding_mask(source_mask)) for context in contexts]
        return self._through(self.embeddings(input_ids, places, None), contexts, cache)

    @property
    def has_static_steps(self) -> bool:
        """Whether static_step can be: not where a longer text turns its past anew."""
        return not self._turns_past

    def timeline(self, cache: Cache) -> Timeline:
        """Give what depends on positions alone, made at a cache's first step."""
        if cache.timeline is None:
            bias = None if self.relative_bias is None else self.relative_bias(cache.capacity - 1, 1)
            windows, rotaries = [reach.window for reach in self.reaches], [reach.rotary for reach in self.reaches]
            like = next(self.parameters())
            cache.timeline = Timeline(cache.capacity, cache.padding, windows, rotaries, bias, like)
        return cache.timeline

    def _through(self, hidden: Tensor, contexts: Sequence[Context], cache: Cache | None) -> Tensor:
        """Run the layers, each with the context of its way of looking, and the norm."""
        layers = list(self.layers)
        learns = self.training and torch.is_grad_enabled()
        call = self.compiled if learns and self.compiled is not None else run_layer
        for number, reach_number in zip(self.order, self.reach_of, strict=True):
            layer_cache, context = (None if cache is None else cache.layers[number]), contexts[reach_number]
            if self.recomputes and self.training:
                hidden = checkpoint(call, layers[number], hidden, context, layer_cache, use_reentrant=False)
            else:
                hidden = call(layers[number], hidden, context, layer_cache)
        output: Tensor = self.norm(hidden)
        return self.dropout(output) if self.training else output

    def new_cache(self, capacity: int) -> Cache:
        """Give an empty cache for texts of at most `capacity` tokens, shorter where a layer looks back less far."""
        return Cache(len(self.layers), capacity, [self.reaches[number].window for number in self.reach_of])

    def _context(
        self, reach: Reach, attention_mask: Tensor | None, hidden: Tensor, places: Tensor, past: int
    ) -> Context:
        mask = window_mask(
            attention_mask,
            hidden,
            past,
            causal=self.causal,
            window=reach.window,
            explicit=self.relative_bias is not None,
        )
        if reach.rotary is None:
            return Context(mask)
        if reach.rotary.depends_on_length:
            if attention_mask is not None:  # padding on the right makes no text longer
                places = places.masked_fill(~attention_mask.bool(), 0)
            cosines, sines = reach.rotary(places, hidden.dtype)
            return Context(mask, rotary=(cosines[:, :, past:], sines[:, :, past:]), key_rotary=(cosines, sines))
        return Context(mask, rotary=reach.rotary(places[:, past:], hidden.dtype))


class Encoder(Stack):
    """The backbone contract of encoder-only architectures: ids and mask in, last hidden state out."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """input_ids, token_type_ids: int64 (batch, time); attention_mask: (batch, time), true where to attend.

        documents: see run. Returns the last hidden state (batch, time, hidden).
        """
        return self.run(input_ids, attention_mask, token_type_ids=token_type_ids, documents=documents)


class Decoder(Stack):
    """The backbone contract of decoder-only architectures: as an encoder's, but no token sees a later one."""

    causal = True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """input_ids: int64 (batch, time), only the new ones where a cache holds the past.

        attention_mask: (batch, past + time), true where to attend; padding may be on either side. documents: see run,
        without a cache. Returns the last hidden state (batch, time, hidden).
        """
        return self.run(input_ids, attention_mask, cache=cache, documents=documents)


class EncoderAlone(nn.Module):
    """The encoder of an encoder-decoder without its decoder, its parameters under the same names."""

    def __init__(self, *, encoder: Encoder, tokens: nn.Embedding | None = None) -> None:
        """See EncoderDecoder."""
        super().__init__()
        self.tokens = tokens
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """input_ids: int64 (batch, time); attention_mask: (batch, time), true where to attend.

        Returns the last hidden state (batch, time, hidden).
        """
        encoded: Tensor = self.encoder(input_ids, attention_mask)
        return encoded


class EncoderDecoder(nn.Module):
    """The backbone contract of encoder-decoder architectures: a source is encoded once, and decoded token by token."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Decoder,
        start_token_id: int | None,
        tokens: nn.Embedding | None = None,
        wraps: bool = False,
    ) -> None:
        """start_token_id: what a decoder's input begins with; None for its own last token (Liu et al. 2020, mBART).

        tokens: the embedding that both stacks read, where checkpoints name it by itself. wraps: whether a text that is
        there already begins with its own last token all the same; start_token_id is for what is written anew then.
        """
        super().__init__()
        self.tokens = tokens
        self.encoder = encoder
        self.decoder = decoder
        self.start_token_id = start_token_id
        self.wraps = wraps

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """input_ids: int64 (batch, source_time); decoder_input_ids: (batch, time), None for the source, shifted.

        Masks: true where to attend. Returns the last hidden states of decoder and encoder, (batch, time, hidden) and
        (batch, source_time, hidden).
        """
        if decoder_input_ids is None:
            decoder_input_ids, decoder_attention_mask = self.shift(input_ids, attention_mask), attention_mask
        source = self.encode(input_ids, attention_mask)
        return self.decode(decoder_input_ids, decoder_attention_mask, source, attention_mask), source

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Give the encoder's last hidden state (batch, source_time, hidden)."""
        encoded: Tensor = self.encoder(input_ids, attention_mask)
        return encoded

    def decode(
        self,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None,
        source: Tensor,
        source_mask: Tensor | None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Give the decoder's last hidden state (batch, time, hidden); with a cache, of the new positions."""
        return self.decoder.run(
            decoder_input_ids, decoder_attention_mask, cache=cache, source=source, source_mask=source_mask
        )

    def new_cache(self, capacity: int) -> Cache:
        """Give an empty cache for answers of at most `capacity` tokens."""
        return self.decoder.new_cache(capacity)

    def shift(self, token_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Give the decoder's input that leads to these tokens: one to the right, after the start token.

        token_ids: int64 (batch, time). The start stands at each row's first attended position.
        """
        mask = torch.ones_like(token_ids) if attention_mask is None else attention_mask.long()
        first = mask.argmax(-1, keepdim=True)
        if self.start_token_id is None or self.wraps:
            last = mask.shape[1] - 1 - mask.flip(-1).argmax(-1, keepdim=True)
            start = token_ids.gather(1, last)
        else:
            start = torch.full_like(first, self.start_token_id)
        return token_ids.roll(1, -1).scatter(1, first, start)
