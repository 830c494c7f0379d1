"""Reading model files: safetensors, and pickled checkpoints without running what they contain."""
