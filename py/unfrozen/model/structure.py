"""The architecture of a model that is known by its tensors alone: what each kind of layer is.

The tensors come from transformers' own source (`derived`). Their names and shapes tell attention
and its heads, an MLP and its width, experts, norms, and what stands in place of attention; what
they do not tell, such as how many experts a token is sent to, is read from the config.json. What a
layer saves for backward follows from that, and is an estimate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from unfrozen.errors import ModelError
from unfrozen.model import derived
from unfrozen.model.architecture import Architecture, Experts, Latent, Mixer, QkNorm, Selective
from unfrozen.model.attention_windows import windows
from unfrozen.model.blueprint import Blueprint, Tensor
from unfrozen.model.fields import LARGEST, MOST_LAYERS, Fields

Config = Mapping[str, Any]

_TOWER: Final = re.compile(
    r"vision|visual|image|video|audio|speech|sound|patch|vit|sam_|clip|resampler|perceiver|qformer"
    r"|(?<!vocab_)projector|multi_modal_projection|connector|merger|aligner|abstractor|adapter|vq|gen_|codec|action|expert_"
)
_TEXT: Final = ("text_config", "language_config", "llm_config", "decoder", "thinker_config")
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "embed_dim", "emb_dim", "model_dim"),
    "heads": (
        *("num_attention_heads", "n_head", "num_heads", "n_heads", "decoder_attention_heads"),
        *("encoder_attention_heads", "attention_heads", "num_decoder_attention_heads"),
    ),
    "vocab": ("vocab_size", "decoder_vocab_size"),
    "layers": (
        *("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"),
        *("num_decoder_layers", "encoder_layers"),
    ),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "ffn": (
        *("intermediate_size", "n_inner", "ffn_dim", "d_ff", "decoder_ffn_dim", "dff", "dim_ff"),
        *("ffn_hidden_size", "moe_intermediate_size"),
    ),
    "experts": ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"),
    "moe_ffn": ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size"),
    "per_token": (
        *("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts"),
        *("moe_top_k", "top_k", "num_selected_experts"),
    ),
    "activation": (
        *("hidden_act", "hidden_activation", "activation_function", "activation", "mlp_hidden_act"),
        "ffn_activation",
    ),
}
"""Names of keys that say the same."""
_LOGIT_CAPS: Final = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_KNOWN: Final = ("silu", "gelu", "gelu_pytorch_tanh", "relu", "gelu_new")
_FIRST: Final = re.compile(
    r"(^|\.)(q|k|v|query|key|value|q_proj|k_proj|v_proj|query_proj|key_proj|value_proj|pos_key_proj"
    r"|pos_query_proj|qkv|qkv_proj|query_key_value|Wqkv|c_attn|in_proj(_\w+)?|q_lin|k_lin|v_lin"
    r"|q_b_proj|kv_b_proj|gate_proj|up_proj|gate_up_proj|fc1|w1|w3|wi|wi_0|wi_1|Wi|c_fc|fc_in|lin1"
    r"|dense_h_to_4h|linear_1|up|wq|wk|wv|intermediate\.dense|input_linear|dt_proj|conv1d|conv\.conv)"
    r"\.(weight|bias)$|(^|\.)(A_log|D|dt_bias|sinks)$"
)
_LAST: Final = re.compile(
    r"(^|\.)(o|o_proj|out_proj|out|out_lin|down_proj|down|fc2|w2|wo|Wo|dense_4h_to_h|lin2|linear_2"
    r"|output_proj|fc_out|output\.dense|(self_)?att(entio)?n\.dense|c_proj|output_linear|x_proj"
    r"|relative_attention_bias)\.weight$"
)
_QUERY_NORM: Final = re.compile(r"(q|query)_?(layer)?_?norm")
_SHARED_NORM: Final = re.compile(r"^(mamba|mixer)\.norm\.weight$")
_NUMBER: Final = re.compile(r"\.(\d+)\.")
_KEYS: Final = re.compile(r"(^|\.)[kv](_(proj|lin))?\.|^k$|^v$")


def read(model_type: str, config: Config, tensors: list[Tensor]) -> Architecture:
    """Return the architecture of a model with these tensors; `config` has all of its keys.

    Raises ModelError where nothing in it is a stack of layers.
    """
    text = text_config(config)
    width = _value(text, "hidden", 0)
    blueprint, layers = blueprint_of(model_type, tensors, _value(text, "vocab", 0), 1, width)
    hidden = _width(text, blueprint)
    vocab = _value(text, "vocab", 0) or _rows(blueprint, hidden)
    kinds = [_layer(model_type, text, hidden, vocab, tensors) for tensors in blueprint.kinds]
    first = kinds[blueprint.order[0]]
    dense = frozenset(i for i, kind in enumerate(blueprint.order) if not kinds[kind].experts)
    experts = next((kind.experts for kind in kinds if kind.experts), None)
    if experts:
        experts = replace(experts, dense_layers=dense)
    ffn = max(kind.ffn for kind in kinds)
    heads = any(tensor.shape[:1] == (vocab,) for tensor in blueprint.after if len(tensor.shape) > 1)
    common: dict[str, Any] = {"layers": layers, "experts": experts, "tied": not heads}
    variants = tuple(replace(kind, **common) for kind in kinds)
    return replace(
        first,
        **common,
        ffn=ffn,
        blueprint=blueprint,
        variants=variants if len(variants) > 1 else (),
        order=blueprint.order if len(variants) > 1 else (),
        windows=windows(model_type, Fields(text), layers),
        **soft_caps(text),
    )


def soft_caps(text: Config) -> dict[str, Any]:
    """Return which of a language model's attention scores and logits are soft-capped (by tanh)."""
    logits = any(text.get(key) for key in _LOGIT_CAPS)
    return {"caps_scores": bool(text.get("attn_logit_softcapping")), "caps_logits": logits}


def sizes(config: Config) -> dict[str, int]:
    """Return the sizes of a config's language model under the names of Qwen3-MoE's keys, those
    that it has.
    """
    names = {
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "kv_heads": "num_key_value_heads",
        "ffn": "intermediate_size",
        "vocab": "vocab_size",
        "experts": "num_experts",
        "moe_ffn": "moe_intermediate_size",
        "per_token": "num_experts_per_tok",
    }
    text = text_config(config)
    found = {key: _value(text, name, 0) for name, key in names.items()}
    return {key: value for key, value in found.items() if value}


def names_alike(key: str) -> tuple[str, ...]:
    """Return the names of keys that say the same as one of a language model, it included."""
    return next((names for names in _NAMES.values() if key in names), (key,))


def text_config(config: Config) -> Config:
    """Return the config of the language model, inside the whole one or the whole one itself."""
    for name in _TEXT:
        inner = config.get(name)
        if isinstance(inner, Mapping) and any(key in inner for key in _NAMES["hidden"]):
            return text_config(inner)
    return config


def _value(config: Config, name: str, usual: Any) -> Any:
    """Return what a config says under one of the names of a key; a list says it by layer."""
    for key in _NAMES[name]:
        value = config.get(key)
        if isinstance(value, list) and value:
            value = max(value) if all(isinstance(one, int) for one in value) else value[0]
        if isinstance(value, type(usual)) and not isinstance(value, bool):
            return value
    return usual


def with_tensors(a: Architecture, config: Config) -> Architecture:
    """Return an architecture with the tensors of the model of its config. Raises ModelError."""
    entries = derived.table().entries
    entry = entries[a.model_type]
    for key in (key for key in entry["defaults"] if key.endswith("bias")):
        Fields(config).flag(key, False)
    read = {"head_dim": a.head_dim, "num_key_value_heads": a.kv_heads}
    usual = {key for key in read if entry["defaults"].get(key) is not None}
    missing = {key: read[key] for key in usual if config.get(key) is None}
    config = {**config, **missing, "tie_word_embeddings": a.tied}
    try:
        tensors = derived.tensors_of(entry, config, entries)
    except derived.NotDerived as error:
        bound = f"its tensors cannot be counted: {error}"
        raise ModelError(
            "model_type", a.model_type, bound, "copy the model's config.json"
        ) from None
    check_sizes(tensors)
    blueprint, layers = blueprint_of(a.model_type, tensors, a.vocab, a.head_dim, a.hidden)
    if layers != a.layers:
        bound = f"under another name of this key it says {layers}"
        raise ModelError("num_hidden_layers", a.layers, bound, "give one of them")
    layer = (t for kind in blueprint.kinds for t in kind)
    width = next((t.shape[-1] for t in layer if _QUERY_NORM.search(t.name)), 0)
    qk_norm: QkNorm = "none" if not width else "head" if width == a.head_dim else "width"
    variants = tuple(replace(one, qk_norm=qk_norm) for one in a.variants)
    return replace(a, blueprint=blueprint, qk_norm=qk_norm, variants=variants)


class _Stack(NamedTuple):
    """Layers under one name: their tensors by number."""

    at: str
    layers: dict[int, list[Tensor]]

    @property
    def size(self) -> int:
        """Parameters of all of them."""
        return sum(t.size for layer in self.layers.values() for t in layer)


def _stacks(tensors: Iterable[Tensor]) -> dict[str, _Stack]:
    """Return the stacks of layers, by the name before their number."""
    found: dict[str, _Stack] = {}
    for tensor in tensors:
        if match := _NUMBER.search(tensor.name):
            stack = found.setdefault(at := tensor.name[: match.start()], _Stack(at, {}))
            inner = Tensor(tensor.name[match.end() :], tensor.shape)
            stack.layers.setdefault(int(match[1]), []).append(inner)
    return found


def blueprint_of(
    model_type: str, tensors: list[Tensor], vocab: int, head_dim: int, hidden: int
) -> tuple[Blueprint, int]:
    """Return the blueprint of the tensors, and how many layers there are.

    Encoder and decoder of the same model are one stack, the encoder first.
    """
    stacks = _stacks(tensors)
    whole = [s for s in stacks.values() if not _TOWER.search(s.at)] or [*stacks.values()]
    inside = [s for s in whole if len(s.layers) > 1 or s.size * 3 > sum(o.size for o in whole)]
    if not inside:
        bound = "none of its tensors is a layer among others"
        raise ModelError("model_type", model_type, bound, "give it at least one layer")
    largest = max(inside, key=lambda stack: stack.size)
    main = [s for s in whole if s is largest or _are_halves(s, largest)]
    kinds: dict[tuple[Tensor, ...], int] = {}
    order, at = list[int](), list[tuple[str, int]]()
    for stack in main:
        at.append((f"{stack.at}.{{}}", len(order)))
        layers = ((*stack.layers.get(i, ()),) for i in range(max(stack.layers) + 1))
        order += [kinds.setdefault(layer, len(kinds)) for layer in layers]
    names = tuple(f"{stack.at}." for stack in main)
    begin = Tensor(f"{names[0]}0.", ())
    outside = [t for t in tensors if not (t.name.startswith(names) and _is_layer(t.name, names))]
    first = next(i for i, t in enumerate(tensors) if t.name.startswith(names[0]))
    ordered = in_order([*outside[:first], begin, *outside[first:]])
    place = ordered.index(begin)
    before, after = (
        [_outside(t, vocab, head_dim) for t in part]
        for part in (ordered[:place], ordered[place + 1 :])
    )
    towers = sorted({name for t in (*before, *after) if (name := _tower(t.name))})
    written = [_with_cuts(in_order(kind), head_dim, hidden) for kind in kinds]
    return Blueprint(before, written, order, after, (*at,), (*towers,)), len(order)


def _is_layer(name: str, stacks: tuple[str, ...]) -> bool:
    return any(name.removeprefix(at).partition(".")[0].isdecimal() for at in stacks)


def _are_halves(one: _Stack, other: _Stack) -> bool:
    """Return whether two stacks are the encoder and the decoder of one model."""
    first, second = one.at.split("."), other.at.split(".")
    alike = [a for a, b in zip(first, second, strict=False) if a != b]
    words = {"encoder", "decoder"}
    return len(first) == len(second) and len(alike) == 1 and {*first, *second} >= words


def _tower(name: str) -> str:
    """Return the beginning of a tensor's name as far as it says that it is of a tower."""
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if _TOWER.search(part):
            return ".".join(parts[: place + 1])
    return ""


def in_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return tensors in the order of a model's tree: those of a module before its submodules'."""
    tree: dict[str, Any] = {}
    for tensor in tensors:
        *path, last = tensor.name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[f"{last} "] = tensor
    return [*_walk(tree)]


def _walk(node: dict[str, Any]) -> Iterator[Tensor]:
    yield from (one for one in node.values() if isinstance(one, Tensor))
    for one in node.values():
        if isinstance(one, dict):
            yield from _walk(one)


def _outside(tensor: Tensor, vocab: int, head_dim: int) -> Tensor:
    """Return a tensor outside the layers with the dimension that tensor-parallel ranks share."""
    if _TOWER.search(tensor.name):
        return tensor
    if _NUMBER.search(tensor.name):
        return _with_cut(tensor, head_dim, (False, False))
    if vocab and tensor.shape[:1] == (vocab,) and not re.search("norm|dense", tensor.name.lower()):
        return replace(tensor, cut=0, vocabulary=True)
    return tensor


def _with_cuts(layer: list[Tensor], head_dim: int, hidden: int) -> list[Tensor]:
    """Return the tensors of a layer with the dimension that tensor-parallel ranks share."""
    biases = {t.name: t.shape[0] for t in layer if t.name.endswith("bias") and t.shape}
    linear = (t for t in layer if len(t.shape) == 2)
    of_biases = ((t.shape, biases.get(t.name.removesuffix("weight") + "bias")) for t in linear)
    turned = any(shape[0] != bias == shape[1] for shape, bias in of_biases)
    stacks = [t for t in layer if "experts" in t.name and len(t.shape) == 3]
    turned_experts = any(
        t.shape[2 if "down" in t.name else 1] == hidden != t.shape[1 if "down" in t.name else 2]
        for t in stacks
    )
    return [_with_cut(t, head_dim, (turned, turned_experts)) for t in layer]


def _with_cut(tensor: Tensor, head_dim: int, turned: tuple[bool, bool]) -> Tensor:
    """Return a tensor of a layer with the dimension that ranks share, by its name.

    `turned` are its matrices, and those of its stacked experts, that take inputs by rows.
    """
    name, shape = tensor.name, tensor.shape
    if "experts" in name and (len(shape) == 3 or name.endswith("_bias")):
        if len(shape) == 2:
            return tensor if "down" in name else replace(tensor, cut=1)
        return replace(tensor, cut=1 + (("down" in name) != turned[1]))
    if _FIRST.search(name) and not (len(shape) > 2 and "conv" not in name):
        least = head_dim if _KEYS.search(name) else 1
        return replace(tensor, cut=int(turned[0] and len(shape) == 2), least=min(least, shape[0]))
    if len(shape) == 2 and _LAST.search(name):
        return replace(tensor, cut=int(not turned[0]))
    if _SHARED_NORM.search(name) or (len(shape) == 2 and re.search(r"[qk]_norm\.weight$", name)):
        return replace(tensor, cut=0)
    return tensor


def _width(text: Config, blueprint: Blueprint) -> int:
    """Return the width of the residual stream: as the config says, or of the first norm."""
    if found := _value(text, "hidden", 0):
        return int(found)
    layer = blueprint.kinds[blueprint.order[-1]]
    return next((t.shape[0] for t in layer if len(t.shape) == 1), layer[0].shape[-1])


def _rows(blueprint: Blueprint, hidden: int) -> int:
    """Return the rows of the largest matrix outside the layers that is as wide as the model."""
    outside = (*blueprint.before, *blueprint.after)
    return max((t.shape[0] for t in outside if t.shape[1:] == (hidden,)), default=1)


def _layer(
    model_type: str, text: Config, hidden: int, vocab: int, tensors: tuple[Tensor, ...]
) -> Architecture:
    """Return the sizes and choices of a kind of layer."""
    heads = _value(text, "heads", 1) or 1
    q, kv, head_dim = _attention(text, tensors, hidden, heads)
    ffn, gated, experts = _feed(text, tensors, hidden)
    norms = [t for t in tensors if t.shape == (hidden,) and "norm" in t.name.lower() + "ln_"]
    weights = [t for t in norms if t.name.endswith("weight")]
    has_bias = any(t.name.endswith("bias") for t in norms)
    qk = [t for t in tensors if _QUERY_NORM.search(t.name)]
    activation = str(_value(text, "activation", "silu" if gated else "gelu"))
    count = max(1, q // head_dim)
    kv_heads = max(1, kv // head_dim)
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        layers=1,
        heads=count,
        kv_heads=kv_heads if count % kv_heads == 0 else count,
        head_dim=head_dim,
        ffn=ffn or 1,
        vocab=vocab,
        tied=False,
        activation=activation if activation in _KNOWN else ("silu" if gated else "gelu"),
        gated=gated,
        qk_norm="none" if not qk else "head" if qk[0].shape[-1] == head_dim else "width",
        norm="layer" if has_bias else "rms",
        norms=max(1, len(weights)),
        experts=experts,
        mixer=_mixer(text, tensors, hidden, count),
        feeds=bool(ffn or experts),
        estimated="what its layers save, by the shapes of their tensors",
    )


def _rows_of(tensors: Iterable[Tensor], names: str) -> list[int]:
    """Return the outputs of the linear layers whose name ends so."""
    pattern = re.compile(rf"(^|[._])({names})\.weight$")
    return [t.shape[0] for t in tensors if len(t.shape) == 2 and pattern.search(t.name)]


def _attention(
    text: Config, tensors: tuple[Tensor, ...], hidden: int, heads: int
) -> tuple[int, int, int]:
    """Return the widths of the queries and of the keys, and the dimension of a head."""
    given = text.get("head_dim")
    q = max(_rows_of(tensors, "q_proj|query|q|wq|q_lin|q_proj_linear"), default=0)
    kv = max(_rows_of(tensors, "k_proj|key|k|wk|k_lin"), default=0)
    fused = max(_rows_of(tensors, "qkv_proj|query_key_value|qkv|Wqkv|c_attn|att_proj"), default=0)
    if not q and fused:
        whole = given * heads if isinstance(given, int) and given else hidden
        q, kv = whole, max(1, (fused - whole) // 2)
    q = q or hidden
    head_dim = given if isinstance(given, int) and 0 < given <= q else max(1, q // heads)
    return q, kv or q, head_dim


def _feed(
    text: Config, tensors: tuple[Tensor, ...], hidden: int
) -> tuple[int, bool, Experts | None]:
    """Return the width of the MLP, whether a gate multiplies it, and the experts."""
    gates = [t for t in tensors if re.search(r"gate_proj|gate_up|w1\.|w3|wi_1|up_gate", t.name)]
    stacks = [t for t in tensors if "expert" in t.name and len(t.shape) == 3]
    linear = [t for t in tensors if len(t.shape) == 2]
    single = [t for t in linear if re.search(r"experts\.\d+\.", t.name)]
    shared = [t for t in linear if "shared" in t.name and "gate.w" not in t.name]
    pattern = r"(down_proj|fc2|w2|wo|Wo|dense_4h_to_h|lin2|linear_2|down|mlp\.c_proj|output\.dense)"
    ends = [
        t
        for t in linear
        if re.search(rf"{pattern}\.weight$", t.name) and t not in single and t not in shared
    ]
    inner = [next((n for n in t.shape if n != hidden), hidden) for t in ends]
    if not inner and not stacks and not single:  # what is wider than the model
        inner = [max(t.shape) for t in linear if hidden in t.shape and max(t.shape) > hidden]
    ffn = max(inner, default=0)
    if not stacks and not single:
        return ffn, bool(gates), None
    if stacks:
        down = min(stacks, key=lambda t: t.size)
        count, inner = down.shape[0], [n for n in down.shape[1:] if n != hidden]
    else:
        count = len({re.findall(r"experts\.(\d+)\.", t.name)[0] for t in single})
        inner = [n for t in single[-1:] for n in t.shape if n != hidden]
    size = inner[0] if inner else hidden
    beside = max((n for t in shared for n in t.shape if n != hidden), default=0)
    per_token = min(count, max(1, int(_value(text, "per_token", 2))))
    found = Experts(count, per_token, size, beside, normalised=True, shared_gate=False)
    return ffn or size, bool(gates) or bool(stacks), found


def _mixer(text: Config, tensors: tuple[Tensor, ...], hidden: int, heads: int) -> Mixer | None:
    """Return what stands in place of attention: latent attention, or a state space."""
    rank = text.get("kv_lora_rank")
    if isinstance(rank, int) and rank and any("kv_a_proj" in t.name for t in tensors):
        nope, rope, value, q_rank = (
            text.get(key) or 0
            for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "q_lora_rank")
        )
        return Latent(heads, q_rank, rank, nope, rope, value or nope)
    attends = any(re.search(r"(q_proj|query|qkv|c_attn|Wqkv)", t.name) for t in tensors)
    convolved = [t for t in tensors if len(t.shape) == 3 and "conv" in t.name]
    if attends or not (convolved or any("A_log" in t.name for t in tensors)):
        return None
    logs = [t for t in tensors if t.name.endswith("A_log")]
    state = next((t.shape[1] for t in logs if len(t.shape) == 2), 16)
    inner = max((t.shape[0] for t in convolved), default=2 * hidden)
    return Selective(inner, state, max(1, hidden // 16), 4)


def check_sizes(tensors: list[Tensor]) -> None:
    """Refuse tensors that no model has. Raises ModelError."""
    longest = max((n for t in tensors for n in t.shape), default=0)
    if not tensors or longest > LARGEST**2 or min(n for t in tensors for n in t.shape) < 0:
        bound = f"its tensors must have whole numbers of rows, at most {LARGEST**2:,}"
        raise ModelError("config", longest, bound, "copy it from the model's config.json")
    if len(tensors) > 1000 * MOST_LAYERS:
        raise ModelError("config", len(tensors), "it has too many tensors", "give fewer layers")
