"""The gate behind the onset detector: its sounds, its training, its card."""
