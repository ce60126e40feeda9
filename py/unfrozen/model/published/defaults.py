"""What transformers takes for keys that a config.json leaves out, by model type.

Read off the configuration classes of transformers 5.24.0 by docs/model_defaults.py; left out is
what a reader takes anyway.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
llama hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=32000
mistral hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=14336 vocab_size=32000
qwen2 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32
  intermediate_size=22016 vocab_size=151936
qwen3 hidden_size=4096 num_attention_heads=32 head_dim=128 num_hidden_layers=32
  num_key_value_heads=32 intermediate_size=22016 vocab_size=151936
gemma hidden_size=3072 num_attention_heads=16 head_dim=256 num_hidden_layers=28
  num_key_value_heads=16 intermediate_size=24576 vocab_size=256000
gemma2 hidden_size=2304 num_attention_heads=8 head_dim=256 num_hidden_layers=26
  num_key_value_heads=4 intermediate_size=9216 vocab_size=256000
gemma3_text hidden_size=2304 num_attention_heads=8 head_dim=256 num_hidden_layers=26
  num_key_value_heads=4 intermediate_size=9216 vocab_size=262208
phi3 hidden_size=3072 num_attention_heads=32 num_hidden_layers=32 intermediate_size=8192
  vocab_size=32064
olmo hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=50304
olmo2 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=50304
mixtral hidden_size=4096 num_attention_heads=32 num_local_experts=8 num_experts_per_tok=2
  intermediate_size=14336 num_hidden_layers=32 num_key_value_heads=8 vocab_size=32000
qwen2_moe hidden_size=2048 num_attention_heads=16 num_experts=60 num_experts_per_tok=4
  moe_intermediate_size=1408 shared_expert_intermediate_size=5632 decoder_sparse_step=1
  num_hidden_layers=24 num_key_value_heads=16 intermediate_size=5632 vocab_size=151936
qwen3_moe hidden_size=2048 num_attention_heads=32 num_experts_per_tok=8 moe_intermediate_size=768
  decoder_sparse_step=1 num_hidden_layers=24 num_key_value_heads=4 intermediate_size=6144
  vocab_size=151936
smollm3 hidden_size=2048 num_attention_heads=16 num_hidden_layers=36 num_key_value_heads=4
  intermediate_size=11008 vocab_size=128256 tie_word_embeddings=True
granite hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=32000
ministral hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=14336 vocab_size=32000
ministral3 hidden_size=4096 num_attention_heads=32 head_dim=128 num_hidden_layers=34
  num_key_value_heads=8 intermediate_size=14336 vocab_size=131072
olmo3 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=50304
exaone4 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32
  intermediate_size=16384 vocab_size=102400
ernie4_5 hidden_size=1024 num_attention_heads=16 head_dim=128 num_hidden_layers=18
  num_key_value_heads=2 intermediate_size=3072 vocab_size=103424 tie_word_embeddings=True
seed_oss hidden_size=4096 num_attention_heads=80 head_dim=128 num_hidden_layers=64
  num_key_value_heads=8 intermediate_size=27648 vocab_size=155136 attention_bias=True
  residual_dropout=0.1
helium hidden_size=2560 num_attention_heads=20 head_dim=128 num_hidden_layers=24
  num_key_value_heads=20 intermediate_size=7040 vocab_size=48000
hunyuan_v1_dense hidden_size=4096 num_attention_heads=32 num_hidden_layers=32
  intermediate_size=11008 vocab_size=290943
glm hidden_size=4096 num_attention_heads=32 head_dim=128 num_hidden_layers=40 num_key_value_heads=2
  intermediate_size=13696 vocab_size=151552 attention_bias=True
glm4 hidden_size=4096 num_attention_heads=32 head_dim=128 num_hidden_layers=40
  num_key_value_heads=2 intermediate_size=13696 vocab_size=151552 attention_bias=True
cohere hidden_size=8192 num_attention_heads=64 num_hidden_layers=40 intermediate_size=22528
  vocab_size=256000 tie_word_embeddings=True
cohere2 hidden_size=8192 num_attention_heads=64 num_hidden_layers=40 intermediate_size=22528
  vocab_size=256000 tie_word_embeddings=True
starcoder2 hidden_size=3072 num_attention_heads=24 num_hidden_layers=30 num_key_value_heads=2
  intermediate_size=12288 vocab_size=49152 tie_word_embeddings=True hidden_act=gelu_pytorch_tanh
  use_bias=True residual_dropout=0.0
stablelm hidden_size=2560 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32
  intermediate_size=6912 vocab_size=50304 hidden_dropout=0.0
phi hidden_size=2048 num_attention_heads=32 num_hidden_layers=24 intermediate_size=8192
  vocab_size=51200 hidden_act=gelu_new resid_pdrop=0.0
nemotron hidden_size=6144 num_attention_heads=48 num_hidden_layers=32 intermediate_size=24576
  vocab_size=256000 hidden_act=relu2
arcee hidden_size=2560 num_attention_heads=32 num_hidden_layers=32 intermediate_size=18432
  vocab_size=32000 hidden_act=relu2
gpt_oss hidden_size=2880 num_attention_heads=64 head_dim=64 num_hidden_layers=36
  num_key_value_heads=8 intermediate_size=2880 vocab_size=201088 attention_bias=True
  num_local_experts=128 num_experts_per_tok=4
glm4_moe hidden_size=4096 num_attention_heads=96 num_hidden_layers=46 num_key_value_heads=8
  intermediate_size=10944 vocab_size=151552 moe_intermediate_size=1408 n_routed_experts=128
  num_experts_per_tok=8 n_shared_experts=1 first_k_dense_replace=1 norm_topk_prob=True n_group=1
  topk_group=1
dots1 hidden_size=4608 num_attention_heads=32 num_hidden_layers=62 num_key_value_heads=32
  intermediate_size=10944 vocab_size=152064 moe_intermediate_size=1408 first_k_dense_replace=0
  n_group=1 topk_group=1
ernie4_5_moe hidden_size=2560 num_attention_heads=20 num_hidden_layers=28 num_key_value_heads=4
  intermediate_size=12288 vocab_size=103424 tie_word_embeddings=True moe_intermediate_size=1536
  moe_layer_interval=1 moe_layer_end_index=-1 moe_layer_start_index=1 moe_num_experts=64 moe_k=6
  moe_num_shared_experts=2
granitemoe hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=32000 num_local_experts=8 num_experts_per_tok=2
granitemoeshared hidden_size=4096 num_attention_heads=32 num_hidden_layers=32
  intermediate_size=11008 vocab_size=32000 shared_intermediate_size=0 num_local_experts=8
  num_experts_per_tok=2
phimoe hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=6400 vocab_size=32064 num_local_experts=16 num_experts_per_tok=2
olmoe hidden_size=2048 num_attention_heads=16 num_hidden_layers=16 intermediate_size=2048
  vocab_size=50304 num_experts=64 num_experts_per_tok=8
flex_olmo hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=100352 num_experts=7 num_experts_per_tok=5
minimax_m2 hidden_size=3072 num_attention_heads=48 head_dim=128 num_hidden_layers=62
  num_key_value_heads=8 intermediate_size=1536 vocab_size=200064 num_local_experts=256
  num_experts_per_tok=8
llama4_text hidden_size=5120 num_attention_heads=40 head_dim=128 num_hidden_layers=48
  num_key_value_heads=8 intermediate_size=8192 vocab_size=202048 interleave_moe_layer_step=1
  num_local_experts=16 num_experts_per_tok=1 intermediate_size_mlp=16384
deepseek_v2 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=102400 q_lora_rank=1536 kv_lora_rank=512 qk_nope_head_dim=128 qk_rope_head_dim=64
  v_head_dim=128 moe_intermediate_size=1407 n_routed_experts=64 n_shared_experts=2
  first_k_dense_replace=0
deepseek_v3 hidden_size=7168 num_attention_heads=128 num_hidden_layers=61 num_key_value_heads=128
  intermediate_size=18432 vocab_size=129280 q_lora_rank=1536 kv_lora_rank=512 qk_nope_head_dim=128
  qk_rope_head_dim=64 v_head_dim=128 moe_intermediate_size=2048 n_routed_experts=256
  num_experts_per_tok=8 n_shared_experts=1 first_k_dense_replace=3 norm_topk_prob=True n_group=8
  topk_group=4
glm4_moe_lite hidden_size=2048 num_attention_heads=20 num_hidden_layers=47 num_key_value_heads=20
  intermediate_size=10240 vocab_size=154880 q_lora_rank=768 kv_lora_rank=512 qk_nope_head_dim=192
  qk_rope_head_dim=64 v_head_dim=256 moe_intermediate_size=1536 n_routed_experts=64
  num_experts_per_tok=4 n_shared_experts=1 norm_topk_prob=True n_group=1 topk_group=1
minicpm3 hidden_size=2560 num_attention_heads=40 num_hidden_layers=62 num_key_value_heads=40
  intermediate_size=6400 vocab_size=73448 tie_word_embeddings=True q_lora_rank=768 kv_lora_rank=256
  qk_nope_head_dim=64 qk_rope_head_dim=32
gemma3n_text hidden_size=2048 num_attention_heads=8 head_dim=256 num_hidden_layers=35
  num_key_value_heads=2 vocab_size=262400 tie_word_embeddings=True
  hidden_activation=gelu_pytorch_tanh altup_num_inputs=4 hidden_size_per_layer_input=256
  laurel_rank=64 num_kv_shared_layers=15 vocab_size_per_layer_input=262144 intermediate_size=16384
gemma4_text hidden_size=2304 num_attention_heads=8 head_dim=256 num_hidden_layers=30
  num_key_value_heads=4 intermediate_size=9216 vocab_size=262144 tie_word_embeddings=True
  hidden_activation=gelu_pytorch_tanh hidden_size_per_layer_input=256 num_kv_shared_layers=0
  vocab_size_per_layer_input=262144
mamba hidden_size=768 expand=2 state_size=16 time_step_rank=auto conv_kernel=4 num_hidden_layers=32
  vocab_size=50280
falcon_mamba hidden_size=768 expand=2 state_size=16 time_step_rank=auto conv_kernel=4
  num_hidden_layers=32 vocab_size=50280
mamba2 hidden_size=4096 num_heads=128 head_dim=64 state_size=128 n_groups=8 conv_kernel=4
  chunk_size=256 num_hidden_layers=64 vocab_size=32768 tie_word_embeddings=False
jamba hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=14336 vocab_size=65536 num_experts=16 expert_layer_period=2
  expert_layer_offset=1 num_experts_per_tok=2 mamba_expand=2 mamba_d_state=16 mamba_dt_rank=auto
  mamba_d_conv=4 attn_layer_period=8 attn_layer_offset=4
bamba hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=14336 vocab_size=128000 mamba_expand=2 mamba_n_heads=128 mamba_d_head=64
  mamba_d_state=256 mamba_n_groups=1 mamba_d_conv=4 mamba_chunk_size=256
granitemoehybrid hidden_size=4096 num_attention_heads=32 num_hidden_layers=32
  intermediate_size=11008 vocab_size=32000 num_local_experts=8 shared_intermediate_size=1024
  num_experts_per_tok=2 mamba_expand=2 mamba_n_heads=128 mamba_d_head=64 mamba_d_state=256
  mamba_n_groups=1 mamba_d_conv=4 mamba_chunk_size=256
falcon_h1 hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=14336 vocab_size=128000 mamba_expand=2 mamba_n_heads=128 mamba_d_head=8
  mamba_d_state=256 mamba_n_groups=1 mamba_d_conv=4 mamba_chunk_size=256 mamba_d_ssm=1024
nemotron_h hidden_size=4096 num_attention_heads=32 head_dim=128 num_key_value_heads=8
  intermediate_size=21504 vocab_size=131072 mamba_num_heads=128 mamba_head_dim=64
  ssm_state_size=128 n_groups=8 conv_kernel=4 chunk_size=128 moe_intermediate_size=7688
  n_routed_experts=8 num_experts_per_tok=2 n_shared_experts=1 norm_topk_prob=True n_group=1
  topk_group=1 moe_shared_expert_intermediate_size=7688
zamba2 hidden_size=2560 num_hidden_layers=54 num_attention_heads=32 vocab_size=32000
  n_mamba_heads=8 mamba_expand=2 mamba_d_state=64 mamba_ngroups=1 mamba_d_conv=4 chunk_size=256
  num_mem_blocks=1 adapter_rank=128
qwen3_next hidden_size=2048 num_attention_heads=16 head_dim=256 num_hidden_layers=48
  num_key_value_heads=2 intermediate_size=5632 vocab_size=151936 num_experts=512
  num_experts_per_tok=10 moe_intermediate_size=512 shared_expert_intermediate_size=512
  decoder_sparse_step=1 linear_num_key_heads=16 linear_num_value_heads=32 linear_key_head_dim=128
  linear_value_head_dim=128 linear_conv_kernel_dim=4
qwen3_5_text hidden_size=4096 num_attention_heads=16 head_dim=256 num_hidden_layers=32
  num_key_value_heads=4 intermediate_size=12288 vocab_size=248320 linear_num_key_heads=16
  linear_num_value_heads=32 linear_key_head_dim=128 linear_value_head_dim=128
  linear_conv_kernel_dim=4
qwen3_5_moe_text hidden_size=2048 num_attention_heads=16 head_dim=256 num_hidden_layers=40
  num_key_value_heads=2 vocab_size=248320 num_experts=256 num_experts_per_tok=8
  moe_intermediate_size=512 shared_expert_intermediate_size=512 linear_num_key_heads=16
  linear_num_value_heads=32 linear_key_head_dim=128 linear_value_head_dim=128
  linear_conv_kernel_dim=4
lfm2 hidden_size=2560 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=12288 vocab_size=65536 tie_word_embeddings=True block_ffn_dim_multiplier=1.0
  block_multiple_of=256 conv_L_cache=3
lfm2_moe hidden_size=2048 num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8
  intermediate_size=7168 vocab_size=65536 tie_word_embeddings=True num_dense_layers=2
  num_experts=32 num_experts_per_tok=4 moe_intermediate_size=1792 conv_L_cache=3
falcon hidden_size=4544 num_attention_heads=71 num_hidden_layers=32 vocab_size=65024
bloom hidden_size=64 n_head=8 n_layer=2 vocab_size=250880
opt hidden_size=768 num_attention_heads=12 num_hidden_layers=12 vocab_size=50272
  max_position_embeddings=2048 ffn_dim=3072 dropout=0.1
gptj n_embd=4096 n_head=16 n_layer=28 vocab_size=50400 tie_word_embeddings=False resid_pdrop=0.0
codegen n_embd=4096 n_head=16 n_layer=28 vocab_size=50400 tie_word_embeddings=False resid_pdrop=0.0
gpt_bigcode n_embd=768 n_head=12 n_layer=12 vocab_size=50257 n_positions=1024 resid_pdrop=0.1
mpt d_model=2048 n_heads=16 n_layers=24 vocab_size=50368 expansion_ratio=4
roberta max_position_embeddings=512 type_vocab_size=2 hidden_size=768 num_attention_heads=12
  num_hidden_layers=12 intermediate_size=3072 vocab_size=50265 hidden_dropout_prob=0.1
xlm-roberta max_position_embeddings=512 type_vocab_size=2 hidden_size=768 num_attention_heads=12
  num_hidden_layers=12 intermediate_size=3072 vocab_size=30522 hidden_dropout_prob=0.1
camembert max_position_embeddings=512 type_vocab_size=2 hidden_size=768 num_attention_heads=12
  num_hidden_layers=12 intermediate_size=3072 vocab_size=30522 hidden_dropout_prob=0.1
electra max_position_embeddings=512 type_vocab_size=2 hidden_size=256 num_attention_heads=4
  num_hidden_layers=12 intermediate_size=1024 vocab_size=30522 hidden_dropout_prob=0.1
  embedding_size=128
deberta-v2 max_position_embeddings=512 type_vocab_size=0 hidden_size=1536 num_attention_heads=24
  num_hidden_layers=24 intermediate_size=6144 vocab_size=128100 hidden_dropout_prob=0.1
distilbert dim=768 n_heads=12 n_layers=6 hidden_dim=3072 vocab_size=30522
  max_position_embeddings=512 dropout=0.1
modernbert hidden_size=768 num_attention_heads=12 num_hidden_layers=22 intermediate_size=1152
  vocab_size=50368 mlp_dropout=0.0
t5 d_model=512 d_ff=2048 num_heads=8 d_kv=64 num_layers=6 vocab_size=32128
  relative_attention_num_buckets=32 dropout_rate=0.1
mt5 d_model=512 d_ff=1024 num_heads=6 d_kv=64 num_layers=8 vocab_size=250112
  feed_forward_proj=gated-gelu relative_attention_num_buckets=32 dropout_rate=0.1
umt5 d_model=512 d_ff=1024 num_heads=6 d_kv=64 num_layers=8 vocab_size=250112
  feed_forward_proj=gated-gelu relative_attention_num_buckets=32 dropout_rate=0.1
mllama_text_model hidden_size=4096 num_attention_heads=32 num_hidden_layers=40
  num_key_value_heads=8 intermediate_size=14336 vocab_size=128256
kimi_k2 hidden_size=7168 num_attention_heads=128 num_hidden_layers=61 num_key_value_heads=128
  intermediate_size=18432 vocab_size=129280 q_lora_rank=1536 kv_lora_rank=512 qk_nope_head_dim=128
  qk_rope_head_dim=64 v_head_dim=128 moe_intermediate_size=2048 n_routed_experts=256
  num_experts_per_tok=8 n_shared_experts=1 first_k_dense_replace=3 norm_topk_prob=True n_group=8
  topk_group=4
minicpm hidden_size=4096 num_attention_heads=32 num_hidden_layers=32 intermediate_size=11008
  vocab_size=32000
qwen2_vl_text hidden_size=8192 num_attention_heads=64 num_hidden_layers=80 num_key_value_heads=8
  intermediate_size=29568 vocab_size=152064
qwen2_5_vl_text hidden_size=8192 num_attention_heads=64 num_hidden_layers=80 num_key_value_heads=8
  intermediate_size=29568 vocab_size=152064
qwen3_vl_text hidden_size=4096 num_attention_heads=32 head_dim=128 num_hidden_layers=32
  num_key_value_heads=32 intermediate_size=22016 vocab_size=151936
qwen3_vl_moe_text hidden_size=2048 num_attention_heads=16 num_experts_per_tok=4
  moe_intermediate_size=1408 decoder_sparse_step=1 num_hidden_layers=24 num_key_value_heads=16
  intermediate_size=5632 vocab_size=151936 tie_word_embeddings=True
glm4v_text hidden_size=4096 num_attention_heads=32 num_hidden_layers=40 num_key_value_heads=2
  intermediate_size=13696 vocab_size=151552 attention_bias=True
glm4v_moe_text hidden_size=4096 num_attention_heads=96 num_hidden_layers=46 num_key_value_heads=8
  intermediate_size=10944 vocab_size=151424 attention_bias=True moe_intermediate_size=1408
  n_routed_experts=128 num_experts_per_tok=8 n_shared_experts=1 first_k_dense_replace=1
  norm_topk_prob=True n_group=1 topk_group=1
"""


def _value(word: str) -> object:
    if word in ("True", "False"):
        return word == "True"
    if word.startswith("["):
        return [int(part) for part in word[1:-1].split(",") if part]
    try:
        return float(word) if "." in word else int(word)
    except ValueError:
        return word


def _read() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    latest: dict[str, object] = {}
    for word in _TABLE.split():
        key, said, value = word.partition("=")
        if said:
            latest[key] = _value(value)
        else:
            latest = found[key] = {}
    return found


DEFAULTS: Final = _read()
"""By model type, then by key."""
