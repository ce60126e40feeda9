"""What leaves this machine is looked through: tokens and places are found, their like is not."""

from pathlib import Path

import pytest

from gpu_runner.errors import UsageError
from gpu_runner.outgoing import find_private, hide_private, private_in_folder, require_public

PRIVATE = {
    "a Hugging Face token": ["hf_" + "aB3" * 12],
    "an API key": ["sk-proj-" + "x1" * 20, "AIza" + "Sy0" * 12, "xoxb-1234567890-abc"],
    "a GitHub token": ["ghp_" + "a1" * 18, "github_pat_" + "A1_" * 10],
    "an AWS key": ["AKIA" + "Q7" * 8],
    "a secret": [
        *(
            "WANDB_API_KEY=0123abcd",
            '"openai_api_key": "abcdef"',
            "AWS_SECRET_ACCESS_KEY: abc/def+",
        ),
        *("HF_TOKEN='abcdefgh'", "export password=hunter2!"),
    ],
    "a token of a page": ["http://127.0.0.1:8000/runs/#t=0123456789abcdef"],
    "a bearer token": [
        *("Authorization: Bearer " + "ab.C" * 6, "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + ".c-d"),
    ],
    "a private key": ["-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"],
    "a password in an address": ["https://ann:s3cret@host.example/x"],
    "an address of files": ["file:///data/x.jsonl", "s3://bucket/rows", "gs://b/c", "hdfs://n/x"],
    "a network path": [r"\\server\share\x", r"\\\\server\\share"],
    "a home folder": ["/home/ann/x", "--data /Users/ann/x", r"C:\Users\ann", "/root/models"],
}
HARMLESS = (
    *(
        "hf_hub",
        "hf_token",
        "sk-learn",
        "task-specific-finetuning-of-models",
        "AKIA",
        "the password",
    ),
    *(
        "num_tokens=123456789",
        "pad_token: <|endoftext|>",
        "eos_token_id=50256",
        "#t=12",
        "bearer of",
    ),
    *("https://huggingface.co/a/b", "https://example.org/home/ann", "docs/home/page", "C:\\temp"),
    *(r"\\frac{a}{b}", "a line\\\\ of LaTeX", "-----BEGIN PUBLIC KEY-----", "/usr/bin/env", "6//2"),
)


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in PRIVATE.items() for text in texts]
)
def test_what_is_private_is_found_with_its_line_and_not_repeated(kind: str, text: str) -> None:
    ((line, found),) = find_private(f"first\nbefore {text} after")
    assert (line, found.partition(" (")[0]) == (2, kind)
    assert len(found) < len(kind) + 20
    assert text.split()[-1] not in hide_private(text) or len(text) < 20


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_alike_is_none(text: str) -> None:
    assert list(find_private(text)) == []


def test_texts_of_a_folder_are_refused_by_file_and_line_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"# M\n\n{'hf_' + 'a' * 30}\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.json").write_text('{"_name_or_path":\n "/home/ann/m"}')
    (tmp_path / "tokenizer.json").write_text('"/home/ann"')
    found = private_in_folder(tmp_path)
    assert found == [
        "README.md, line 3: a Hugging Face token (hf_aaaaaaaaa…)",
        "sub/config.json, line 2: a home folder (/home/ann)",
    ]
    with pytest.raises(UsageError, match=r"^m would tell .*README.md, line 3.*--allow-private"):
        require_public(found, "m", allowed=False)
    require_public(found, "m", allowed=True)
    require_public([], "m", allowed=False)
