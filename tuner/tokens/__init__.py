"""Tokens counted here, by the engine's own tokenizer: beside the command line, all that sees both towers."""
