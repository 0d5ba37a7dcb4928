"""Jobs and configurations as other vendors' users have them, written for these tests."""

from __future__ import annotations

import json

OPENAI = """\
{
  "object": "fine_tuning.job",
  "id": "ftjob-7Qm2",
  "model": "gpt-4.1-nano-2025-04-14",
  "created_at": 1762000000,
  "finished_at": 1762003600,
  "fine_tuned_model": "ft:gpt-4.1-nano-2025-04-14:acme:ticket-triage:C1x2",
  "organization_id": "org-acme",
  "result_files": ["file-res1"],
  "status": "succeeded",
  "validation_file": "file-valB2",
  "training_file": "file-trnA1",
  "hyperparameters": {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 1.8},
  "trained_tokens": 918223,
  "error": {},
  "estimated_finish": null,
  "integrations": [{"type": "wandb", "wandb": {"project": "triage"}}],
  "metadata": {"team": "support \\ud83d\\ude80"},
  "seed": 42,
  "user_provided_suffix": "Ticket Triage",
  "method": {
    "type": "supervised",
    "supervised": {
      "hyperparameters": {"n_epochs": 4, "batch_size": "auto", "learning_rate_multiplier": 1.8}
    }
  }
}
"""

OPENAI_DPO = json.dumps(
    {
        "model": "gpt-4o-2024-08-06",
        "training_file": "file-p1",
        "suffix": "polite",
        "method": {
            "type": "dpo",
            "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": "auto", "batch_size": 2}},
        },
    }
)

OPENAI_REINFORCEMENT = json.dumps(
    {
        "model": "o4-mini-2025-04-16",
        "training_file": "file-r1",
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": {"type": "string_check", "name": "same", "operation": "eq"},
                "hyperparameters": {"reasoning_effort": "low", "eval_samples": 4, "n_epochs": 2},
            },
        },
        "shared_with_openai": False,
    }
)

TOGETHER = """\
# together fine-tuning create
model: meta-llama/Meta-Llama-3.1-8B-Instruct-Reference
training_file: file-1a2b
n_epochs: 3
n_checkpoints: 1
batch_size: max
learning_rate: 1e-5
warmup_ratio: 0
lora: true
lora_r: 8
train_on_inputs: auto
suffix: my_faq
wandb_api_key: abcdef0123
"""

TOGETHER_JOB = json.dumps(
    {
        "id": "ft-9f",
        "status": "completed",
        "training_file": "faq.jsonl",
        "validation_file": "",
        "model": "google/gemma-3-4b-it",
        "model_output_name": "acme/gemma-3-4b-it-faq-9f",
        "n_epochs": 2,
        "n_evals": 0,
        "batch_size": 8,
        "learning_rate": 0.00002,
        "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0}},
        "weight_decay": 0.0,
        "training_type": {"type": "Full"},
        "training_method": {"method": "sft", "train_on_inputs": True},
        "events": [{"type": "JOB_START", "message": "started"}],
    }
)

AXOLOTL = """\
base_model: NousResearch/Llama-3.2-1B
load_in_4bit: true
datasets:
  - path: data/chat.jsonl
    type: chat_template
    field_messages: messages
    message_property_mappings: {role: role, content: content}
    roles_to_train: [assistant]
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
dataset_prepared_path: last_run_prepared
val_set_size: 0.05
output_dir: ./outputs/support-bot
sequence_len: 2048
sample_packing: true
adapter: qlora
lora_r: 16
wandb_project:
gradient_accumulation_steps: 2
micro_batch_size: 4
num_epochs: 2.5
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 2e-4
bf16: auto
flash_attention: true
warmup_ratio: 0.1
special_tokens:
  pad_token: "<|end_of_text|>"
hub_model_id: ${HF_USER}/bot
frobnicate: 7
"""

AXOLOTL_COLUMNS = """\
base_model: HuggingFaceTB/SmolLM2-360M
datasets:
  - path: json
    data_files: tickets.csv
    type:
      field_instruction: ticket
      field_output: queue
      format: "[INST] {instruction} [/INST]"
test_datasets:
  - path: held.csv
    type: alpaca
    split: train
val_set_size: 0
micro_batch_size: 2
num_epochs: 1
learning_rate: "0.0001"
train_on_inputs: false
"""

AXOLOTL_COMPLETION = """\
base_model: EleutherAI/pythia-70m
datasets:
  - path: acme/books
    type: completion
    field: text
max_steps: 100
batch_size: 32
micro_batch_size: 4
learning_rate: 0.001
"""

LLAMAFACTORY = """\
### model
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
dataset: faq,identity
dataset_dir: data
template: qwen
cutoff_len: 1024
max_samples: 1000
output_dir: saves/faq
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
bf16: true
val_size: 100
"""

LLAMAFACTORY_CHAT = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
stage: dpo
finetuning_type: full
dataset: chat
eval_dataset: identity
train_on_prompt: true
pref_beta: 0.1
num_train_epochs: 1
learning_rate: 5.0e-6
"""

DATASET_INFO = """\
{
  "faq": {
    "file_name": "faq.csv",
    "columns": {"prompt": "question", "response": "reply", "system": "role"},
    "num_samples": 5
  },
  "identity": {"hf_hub_url": "acme/identity"},
  "chat": {
    "file_name": "chat.jsonl",
    "formatting": "sharegpt",
    "ranking": true,
    "columns": {"messages": "messages", "tools": "tools"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
  }
}
"""

SAMPLES = {
    "openai": ("openai", OPENAI),
    "openai-dpo": ("openai", OPENAI_DPO),
    "openai-reinforcement": ("openai", OPENAI_REINFORCEMENT),
    "together": ("together", TOGETHER),
    "together-job": ("together", TOGETHER_JOB),
    "axolotl": ("axolotl", AXOLOTL),
    "axolotl-columns": ("axolotl", AXOLOTL_COLUMNS),
    "axolotl-completion": ("axolotl", AXOLOTL_COMPLETION),
    "llamafactory": ("llamafactory", LLAMAFACTORY),
    "llamafactory-chat": ("llamafactory", LLAMAFACTORY_CHAT),
}
"""Name: the kind, and the file."""
