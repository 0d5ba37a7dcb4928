"""What a job spec may say: its keys, what must hold between them, what is wrong with one."""
