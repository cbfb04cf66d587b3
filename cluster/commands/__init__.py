"""The commands of `manta`, by what they are about. Torch and Ray load inside them: `--help` needs neither."""
